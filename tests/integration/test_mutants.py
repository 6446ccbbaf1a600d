"""Each mistake of tests/mutants.py, planted into a copy of the sources, is found by the tests that must find it."""

from __future__ import annotations

import pytest

from tests.mutants import BUDGET, DAY, MUTANTS, BrokenMutant, Mutant, Verdict, judge, main


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_mutant_is_found(mutant: Mutant) -> None:
    """A test fails once the mistake is made; that it passes without is what the rest of the suite shows."""
    assert judge(mutant.tests, mutant).failed


def test_copy_without_a_mutant_passes() -> None:
    """What makes the tests fail is the mutant, not that they run in a copy."""
    assert judge((BUDGET, DAY)) == Verdict(failed=False, by="")


def test_mutant_that_cannot_be_planted_or_run_is_an_error() -> None:
    """A text that is not there, or there twice, and a copy that cannot be imported, never count as found."""
    where = ("reconciler/core/budget.py", "reserved", "forgotten")
    for old in ("no such text", "reserved"):
        with pytest.raises(BrokenMutant, match="times"):
            judge((BUDGET,), Mutant("broken", where[0], old, "x"))
    with pytest.raises(BrokenMutant, match="pytest ended with"):
        judge((BUDGET,), Mutant("broken", where[0], "import msgspec", "import msgspecs"))


def test_mutant_that_nobody_finds_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A change that breaks nothing is reported as not found, with exit code 1."""
    harmless = Mutant("harmless", "reconciler/core/budget.py", "import msgspec\n", "import msgspec\n\n", (BUDGET,))
    monkeypatch.setattr("tests.mutants.BY_NAME", {"harmless": harmless})

    assert main(["harmless"]) == 1
    assert "NOT FOUND" in capsys.readouterr().out
