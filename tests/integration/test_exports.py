"""Exports and proofs: whole or not there, verified by Pai and by a verifier that shares no code with it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from reconciler.core import events as ev
from reconciler.core.errors import CouldNotRun, LogDamaged, NotFound, Refused
from reconciler.core.events import Draft, SecretDeleted
from reconciler.evidence import folders, formats, layout, rows, tiles
from reconciler.evidence.offline import verify_export
from reconciler.evidence.proof_check import bodies_in
from reconciler.evidence.proving import prove
from reconciler.evidence.published import key_of
from reconciler.log.sqlite.store import open_reader
from reconciler.operations.install import install
from reconciler.operations.parts import Parts
from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import generate
from reconciler.tlog.tlog_proof import parse, write
from reconciler.workspace import Workspace
from tests import independent_verifier as stranger
from tests.support import PAI, Site, maybe_daemon, run
from tests.support_log import decide, secret

SIZE = 700
LARGE = 300
"""The position of an event that is too large for a bundle."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with 700 events, more than two tiles, all vouched for."""
    made = install(tmp_path_factory.mktemp("export") / "workspace")
    large = Draft("tester", "secret/large", SecretDeleted(keys=[f"key-{n}" for n in range(9000)]))
    with Parts(made) as parts:
        drafts = [secret(f"s{n}") for n in range(1, SIZE)]
        drafts[LARGE - 1] = large
        parts.recorder.record(decide(*drafts))
    return made


@pytest.fixture(scope="module")
def exported(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export."""
    folder = tmp_path_factory.mktemp("out") / "new" / "export"
    assert tiles.export(workspace, key_of(workspace), folder, lambda _: None).size == SIZE
    return folder


def bodies(workspace: Workspace) -> list[bytes]:
    """Give the stored bytes of all events."""
    reader = open_reader(workspace.log_file)
    try:
        return [stored.body for stored in reader.read()]
    finally:
        reader.close()


def test_export_verifies_with_both_verifiers(workspace: Workspace, exported: Path) -> None:
    """What is exported is what a checkpoint vouches for, under the log's own key, byte by byte."""
    assert stranger.verify_export(exported, workspace.vkey.read_text()) == SIZE
    found = verify_export(exported, key_of(workspace), lambda _: None)
    assert found.problems == []
    assert found.checkpoint is not None
    assert found.checkpoint.size == SIZE


def test_export_has_the_files_of_the_layout(workspace: Workspace, exported: Path) -> None:
    """Full and partial tiles, bundles, the large event, key and checkpoint, and nothing else."""
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert files == {
        "checkpoint", "vkey", "tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2", "tile/large/300",
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/188",
    }  # fmt: skip
    stored = bodies(workspace)
    found = [
        entry
        for n in ("000", "001", "002.p/188")
        for entry in layout.entries((exported / f"tile/entries/{n}").read_bytes())
    ]
    assert found == [body if n != LARGE else b"" for n, body in enumerate(stored)]
    assert (exported / "tile/large/300").read_bytes() == stored[LARGE]
    assert (exported / "tile/0/000").read_bytes() == b"".join(leaf_hash(body) for body in stored[:256])


@pytest.mark.parametrize(
    ("n", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067"), (10**6, "x001/x000/000")]
)
def test_tile_numbers_are_spelled_as_specified(n: int, path: str) -> None:
    """Three digits a folder, all but the last behind an x."""
    assert layout.number(n) == stranger.spelled(n) == path


def test_tiles_of_a_size_are_those_of_the_specification() -> None:
    """A tree of 70,000 has the tiles that C2SP tlog-tiles counts for it; one of 256 a full and a partial one."""
    found = list(layout.tiles(70_000))
    assert [(level, width) for level, _, width in found].count((0, 256)) == 273
    assert [tile for tile in found if tile[2] != 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(layout.tiles(256)) == [(0, 0, 256), (1, 0, 1)]


def test_every_position_has_a_proof_that_a_stranger_can_check(workspace: Workspace) -> None:
    """Proofs lead from the stored bytes to the signed root, are at most 2 KB, and fit no other event."""
    vkey, stored = workspace.vkey.read_text(), bodies(workspace)
    for position in (0, 1, 255, 256, LARGE, 511, 512, SIZE - 1):
        proof = prove(workspace, key_of(workspace), position)
        assert proof is not None
        assert len(proof) <= 2048
        assert stranger.verify_proof(proof, vkey, stored[position]) == position
        assert write(parse(proof)) == proof
        with pytest.raises(stranger.Bad):
            stranger.verify_proof(proof, vkey, stored[position - 1])
        with pytest.raises(stranger.Bad):
            stranger.verify_proof(proof, generate(key_of(workspace).name).vkey, stored[position])


def test_proof_beyond_the_end_is_not_found(workspace: Workspace) -> None:
    """The message names the last position there is."""
    with pytest.raises(NotFound, match="the log's last is 699"):
        prove(workspace, key_of(workspace), SIZE)


@pytest.mark.parametrize("daemon", [False, True])
def test_commands_sign_what_is_not_covered_yet(team: Site, tmp_path: Path, daemon: bool) -> None:
    """`pai prove` and `pai export` cover the newest event, with and without a daemon; verifying needs no workspace."""
    with maybe_daemon(team, daemon):
        team.pai("add", "secret", "s1", "--from-literal", "k=-", stdin="v")
        last = team.rows()[-1]["seq"]
        proof = team.pai("prove", str(last)).out
        assert f"\nindex {last}\n" in proof
        team.pai("add", "secret", "s2", "--from-literal", "k=-", stdin="v")
        team.pai("export", tmp_path / "export")
        vkey = (team.root / "data" / "vkey").read_text()
        assert stranger.verify_export(tmp_path / "export", vkey) >= last + 2
        assert team.pai("prove", str(10**6), code=1).err.startswith(
            "error: there is no position 1,000,000: the log's last is "
        )
        assert team.pai("prove", "-1x", code=2).out == ""
    done = team.pai("verify", tmp_path / "export", "--vkey", vkey.strip(), cwd=tmp_path)
    assert done.out.startswith("ok: ")
    other = generate("pai/other").vkey
    assert "not the key to trust" in team.pai("verify", tmp_path / "export", "--vkey", other, code=1, cwd=tmp_path).out


def test_export_goes_into_an_empty_folder_and_no_other(workspace: Workspace, tmp_path: Path) -> None:
    """An empty folder is filled, a folder with anything in it, or a file, is refused and left alone."""
    target = tmp_path / "target"
    target.mkdir()
    tiles.export(workspace, key_of(workspace), target, lambda _: None)
    assert sorted(path.name for path in target.iterdir()) == ["checkpoint", "tile", "vkey"]
    with pytest.raises(Refused, match="not empty"):
        tiles.export(workspace, key_of(workspace), target, lambda _: None)
    with pytest.raises(Refused, match="no folder"):
        rows.export(workspace, target / "vkey", "csv", "o", lambda _: None)
    assert verify_export(target, None, lambda _: None).problems == []


def written(workspace: Workspace, target: Path, form: rows.Format | None) -> None:
    """Export in any form; None is the tiles."""
    if form is None:
        tiles.export(workspace, key_of(workspace), target, lambda _: None)
    else:
        rows.export(workspace, target, form, "o", lambda _: None)


@pytest.mark.parametrize("there", [False, True])
def test_full_disk_leaves_nothing(workspace: Workspace, tmp_path: Path, there: bool) -> None:
    """An export that does not fit says so and takes away what it wrote; an existing folder is empty again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False).returncode == 0
    )
    if not mounted:
        pytest.skip("mounting needs root")
    try:
        for form in (None, *rows.FILES):
            target = disk / "export" if not there else disk
            with pytest.raises(CouldNotRun, match="No space left"):
                written(workspace, target, form)
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_killed_export_is_recognised(tmp_path: Path) -> None:
    """What a crash leaves has no checkpoint, and the next export names the folder to remove."""
    (tmp_path / f"{folders.PARTIAL}1").mkdir()
    with pytest.raises(Refused, match="pai-partial") as caught, folders.filled(tmp_path, "checkpoint"):
        pass
    assert "cut off" in caught.value.hint
    assert verify_export(tmp_path, None, lambda _: None).problems


def test_damaged_log_is_not_exported(workspace: Workspace, tmp_path: Path) -> None:
    """Events that do not lead to the checkpoint's root leave no export."""
    copy = install(tmp_path / "workspace")
    for name in ("log.db", "vkey", "checkpoint"):
        (copy.data / name).write_bytes((workspace.data / name).read_bytes())
    import sqlite3

    db = sqlite3.connect(copy.log_file, isolation_level=None)
    db.execute("DROP TRIGGER events_update")
    db.execute("UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'tester', 'nobody') AS BLOB) WHERE seq = 5")
    db.close()
    with pytest.raises(LogDamaged):
        tiles.export(copy, key_of(copy), tmp_path / "export", lambda _: None)
    with pytest.raises(LogDamaged, match="position 5"):
        rows.export(copy, tmp_path / "export", "jsonl", "o", lambda _: None)
    with pytest.raises(LogDamaged, match="position 5"):
        prove(copy, key_of(copy), 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["workspace"]


def exported_rows(workspace: Workspace, folder: Path, form: rows.Format) -> str:
    """Export rows and give the file's text."""
    assert rows.export(workspace, folder / form, form, key_of(workspace).name, lambda _: None) == SIZE
    (file,) = (folder / form).iterdir()
    assert file.name == rows.FILES[form]
    return file.read_text()


def test_rows_carry_position_and_leaf_hash(workspace: Workspace, tmp_path: Path) -> None:
    """Each row of each form leads back to its event in the log."""
    leaves = [leaf_hash(body).hex() for body in bodies(workspace)]
    for form in rows.FILES.keys() - {"parquet"}:
        text = exported_rows(workspace, tmp_path, form)
        if form == "csv":
            csv.field_size_limit(10**6)
            found = [(int(row["seq"]), row["leafHash"]) for row in csv.DictReader(text.splitlines())]
        else:
            lines = [json.loads(line) for line in text.splitlines()]
            found = [_traced(line) for line in lines]
        assert found == list(enumerate(leaves))


def _traced(line: dict[str, object]) -> tuple[int, str]:
    if "specversion" in line:
        assert line["specversion"] == "1.0"
        assert {"id", "source", "type"} <= line.keys()
        assert all(name.isascii() and name.isalnum() and name.islower() for name in line)
        return int(str(line["position"])), str(line["leafhash"])
    if "class_uid" in line:
        unmapped = line["unmapped"]
        assert isinstance(unmapped, dict)
        return unmapped["position"], unmapped["leaf_hash"]
    return int(str(line["seq"])), str(line["leafHash"])


def test_rows_of_jsonl_are_those_of_the_log_command(team: Site, tmp_path: Path) -> None:
    """`pai export --format jsonl` and `pai log -o jsonl --reverse` give the same rows."""
    team.pai("export", tmp_path / "rows", "--format", "jsonl")
    exported = [json.loads(line) for line in (tmp_path / "rows" / "events.jsonl").read_text().splitlines()]
    shown = [json.loads(line) for line in team.pai("log", "-o", "jsonl", "--reverse").out.splitlines()]
    assert exported == shown


def test_every_event_type_has_its_ocsf_class() -> None:
    """No type is left out, and docs/exports.md has the table that the code follows."""
    assert sorted(formats.OCSF) == sorted(payload.type for payload in ev.AnyPayload.__args__)
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    for name, kind in formats.OCSF.items():
        activity = formats.ACTIVITY_NAMES[kind.class_uid][kind.activity_id]
        words = f"| `{name}` | {kind.class_uid} {formats.CLASS_NAMES[kind.class_uid]} | {kind.activity_id} {activity} |"
        assert f"{words} {kind.severity_id} " in page
        assert not kind.status_id or f"| {kind.status_id} {formats.STATUS_NAMES[kind.status_id]} |" in page


@pytest.mark.parametrize("name", ["vkey", "checkpoint", "tile/0/001", "tile/entries/001", "tile/large/300"])
def test_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(exported: Path, tmp_path: Path, name: str) -> None:
    """Nobody writes into it, so that reading it would never end; its path is told."""
    folder = tmp_path / "export"
    shutil.copytree(exported, folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    problems = verify_export(folder, None, lambda _: None).problems
    assert f"{name} is no file" in [problem.message for problem in problems]


def test_pipe_beside_a_proof_is_no_key_and_not_waited_for(team: Site, tmp_path: Path) -> None:
    """The key is then that of the workspace."""
    proof = tmp_path / "proof"
    proof.write_text(team.pai("prove", "0", "--with-event").out)
    os.mkfifo(tmp_path / "vkey")
    assert "that of this workspace" in team.pai("verify", proof).err


def test_large_events_are_read_once_the_checkpoint_vouches_for_them(exported: Path, tmp_path: Path) -> None:
    """A bundle that claims its events lie in files of their own does not have them all read, nor any decoded."""
    folder = tmp_path / "forged"
    shutil.copytree(exported, folder)
    (folder / layout.tile("entries", 0)).write_bytes(b"\0\0" * 256)
    for position in range(256):
        file = folder / layout.large(position)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as sparse:
            sparse.truncate(32 << 20)
    tracemalloc.start()
    found = verify_export(folder, None, lambda _: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.problems[0].message == "tile/large/000 is not the event at position 0 that the checkpoint vouches for"
    assert peak < 100 << 20


def test_beginning_that_no_event_tells_of_is_found_out(exported: Path, tmp_path: Path) -> None:
    """An export of a whole log cannot be made to look like one of a log that was pruned."""
    folder = tmp_path / "cut"
    shutil.copytree(exported, folder)
    (folder / "minimum-index").write_text("256\n")
    for level in ("0", "entries"):
        (folder / layout.tile(level, 0)).unlink()
    found = verify_export(folder, None, lambda _: None)
    assert (found.problems, found.first, found.told) == ([], 256, False)
    assert verify_export(exported, None, lambda _: None).told
    said = run([PAI, "verify", str(folder)], dict(os.environ), tmp_path)
    assert "no event in it tells why it begins at #256" in said.err
    assert "was pruned" not in said.err


@pytest.mark.parametrize("text", ["AA==\n" * 4_000_000, "\n".join(["AAAA"] * 65) + "\n"], ids=["20 MB", "65 steps"])
def test_proof_has_no_more_steps_than_a_tree(text: str) -> None:
    """More are refused before they take memory."""
    tracemalloc.start()
    proof = f"c2sp.org/tlog-proof@v1\nindex 1\n{text}\nnote"
    with pytest.raises(ValueError, match="at most 64 steps"):
        parse(proof)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(proof) + 10_000


def test_rows_of_a_file_are_taken_as_they_are_written() -> None:
    """A row, a list of rows or one a line; another row for the position is told, and what is none is passed over."""
    body = b'{"actor":"a","data":{"x":1},"id":"i","subject":"s","time":"t","type":"y"}'
    row = {"seq": 7, "type": "y", "time": "t", "subject": "s", "id": "i", "data": {"x": 1}, "actor": "a", "leaf": "00"}
    other = {**row, "seq": 8, "actor": "b"}
    for written in (
        json.dumps(row, indent=1), json.dumps([other, row]), f"{json.dumps(other)}\nnothing\n{json.dumps(row)}\n",
        json.dumps({name: value for name, value in row.items() if name != "seq"}),
    ):  # fmt: skip
        assert bodies_in(written.encode(), 7)[-1] == body
    assert bodies_in(body + b"\n", 7)[1] == body
    with pytest.raises(ValueError, match="different rows for position 7"):
        bodies_in(json.dumps([row, {**row, "actor": "mallory"}]).encode(), 7)
    tracemalloc.start()
    for hostile in (b"[" + b"[]," * 3_000_000 + b"[]]", b'{"data":[' + b"[]," * 3_000_000 + b"[]]}", b"\n" * 300_000):
        assert bodies_in(hostile, 7)[0] == hostile
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 << 20
