"""The command that proves a release runs what it says, in slices that add up, and stops at what fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import faults


@pytest.mark.parametrize("proof", faults.PROOFS, ids=lambda proof: proof.name)
def test_what_a_proof_runs_is_there(proof: faults.Proof) -> None:
    """Each test that is named exists, and each setting is one that its file reads."""
    for word in proof.command:
        path, _, test = word.partition("::")
        if path.endswith(".py"):
            text = (faults.ROOT / path).read_text("utf-8")
            assert f"def {test or 'test_'}" in text
            assert all(f'"{name}"' in text for name in proof.settings)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A proof of 25 of something, 10 at a time, that fails once the file `fail` is there; it notes what it ran."""
    code = (
        "import os, pathlib, sys; ran = pathlib.Path(sys.argv[1]);"
        "ran.open('a').write(' '.join([os.environ['SIZE'], os.environ['PAI_SEED'], *sys.argv[2:]]) + '\\n');"
        "sys.exit(ran.with_name('fail').exists())"
    )
    (tmp_path / "counting.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = ("counting", str(tmp_path / "ran"), "{first}-{last}")
    proof = faults.Proof("counting", "things that break", 2_500, 10, {"SIZE": "{size}"}, command)
    monkeypatch.setattr(faults, "PROOFS", (proof,))
    return tmp_path


def test_slices_add_up_and_what_passed_is_not_run_again(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that failed goes on after what passed; its seeds stay those of the slices."""
    ran, fail, folder = counting / "ran", counting / "fail", counting / "notes"
    fail.touch()
    assert faults.main(["--folder", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "alone: SIZE=10 PAI_SEED=1 " in said
    fail.unlink()
    assert faults.main(["--folder", str(folder)]) == 0
    assert faults.main(["--folder", str(folder)]) == 0
    assert ran.read_text().splitlines() == ["10 1 1-11", "10 1 1-11", "10 2 11-21", "5 3 21-26"]
    assert "| things that break: 0 | 25 |" in capsys.readouterr().out
    assert len(json.loads((folder / "passed.json").read_text())) == 3


def test_unknown_proof_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is mistyped runs nothing."""
    with pytest.raises(SystemExit):
        faults.main(["kils"])
    assert "there is no proof kils" in capsys.readouterr().err
