"""`pai verify PROOF`: what `pai prove` printed is checked anywhere, and what was changed or is missing is said."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from reconciler.tlog.note import generate
from tests.support import Site


@pytest.fixture
def proven(team: Site, tmp_path: Path) -> tuple[Site, Path, Path]:
    """A team, and in a folder of its own the proof of one of its events with the event's row."""
    folder = tmp_path / "auditor"
    folder.mkdir()
    seq = team.rows()[1]["seq"]
    (folder / "proof").write_text(team.pai("prove", str(seq)).out)
    rows = [row for row in team.pai("log", "-o", "jsonl").out.splitlines() if json.loads(row)["seq"] == seq]
    (folder / "event.jsonl").write_text(rows[0] + "\n")
    return team, folder / "proof", folder / "event.jsonl"


def key(team: Site) -> str:
    """Give the log's verifier key."""
    return (team.root / "data" / "vkey").read_text().strip()


def test_proof_is_checked_with_no_workspace(proven: tuple[Site, Path, Path]) -> None:
    """The proof, a row of `pai log` and the key are all that is needed; the key may be a file."""
    team, proof, event = proven
    seq = json.loads(event.read_text())["seq"]
    for vkey in (key(team), str(team.root / "data" / "vkey")):
        done = team.pai("verify", proof, "--event", event, "--vkey", vkey, cwd=proof.parent)
        assert done.out.startswith(f"ok: position {seq} ({json.loads(event.read_text())['type']} ")
        assert done.err == ""


@pytest.mark.parametrize("form", ["json", "jsonl", "stored"])
def test_event_is_read_in_every_form_it_is_shown_in(proven: tuple[Site, Path, Path], form: str) -> None:
    """As one array, as lines among others, and as the bytes that an export holds."""
    team, proof, event = proven
    if form == "stored":
        text = team.pai("prove", str(json.loads(event.read_text())["seq"]), "--with-event").out
        event.write_bytes(base64.b64decode(text.splitlines()[1].removeprefix("extra ")))
    else:
        event.write_text(team.pai("log", "-o", form).out)
    assert team.pai("verify", proof, "--event", event, "--vkey", key(team), cwd=proof.parent).out.startswith("ok: ")


def test_proof_with_its_event_needs_nothing_else(proven: tuple[Site, Path, Path]) -> None:
    """`pai prove SEQ --with-event` is one file; a key beside it is used, and told to be nobody's but its own."""
    team, proof, _ = proven
    proof.write_text(team.pai("prove", "1", "--with-event").out)
    (proof.parent / "vkey").write_text(key(team) + "\n")
    done = team.pai("verify", proof, cwd=proof.parent)
    assert done.out.startswith("ok: position 1 (")
    assert "name one that you trust with --vkey" in done.err


def test_operator_needs_neither_event_nor_key(proven: tuple[Site, Path, Path]) -> None:
    """In a workspace its log has the event and its folder the key."""
    team, proof, _ = proven
    done = team.pai("verify", proof)
    assert done.out.startswith("ok: position ")
    assert "that of this workspace" in done.err


def test_missing_key_is_no_proof(proven: tuple[Site, Path, Path]) -> None:
    """Whoever made the checkpoint may have made all of it up: said, and exit 1."""
    team, proof, event = proven
    done = team.run("verify", str(proof), "--event", str(event), cwd=proof.parent)
    assert done.code == 1
    assert "nobody knows who signed" in done.err
    assert not done.out.startswith("ok")


def test_missing_event_is_asked_for(proven: tuple[Site, Path, Path]) -> None:
    """A proof alone says nothing about any event."""
    team, proof, _ = proven
    done = team.run("verify", str(proof), "--vkey", key(team), cwd=proof.parent)
    assert done.code == 2
    assert "--event FILE" in done.err


@pytest.mark.parametrize("change", ["event", "position", "path", "size", "root", "signature", "key", "other event"])
def test_whatever_was_changed_is_found(proven: tuple[Site, Path, Path], change: str) -> None:
    """A changed event, position, step, checkpoint or signature, or another log's key: exit 1, and no `ok`."""
    team, proof, event = proven
    lines, row = proof.read_text().split("\n"), json.loads(event.read_text())
    vkey = key(team)
    blank = lines.index("")
    match change:
        case "event":
            event.write_text(json.dumps(row | {"actor": "mallory@example.com"}))
        case "other event":
            row = next(other for other in team.rows() if other["seq"] != row["seq"])
            event.write_text(json.dumps({name: value for name, value in row.items() if name != "seq"}))
        case "position":
            lines[1] = f"index {row['seq'] + 1}"
            event.write_text(json.dumps({name: value for name, value in row.items() if name != "seq"}))
        case "path":
            lines[2] = base64.b64encode(b"\1" * 32).decode()
        case "size":
            lines[blank + 2] = str(int(lines[blank + 2]) + 1)
        case "root":
            lines[blank + 3] = base64.b64encode(b"\1" * 32).decode()
        case "signature":
            mark, name, signature = lines[blank + 5].split(" ")
            data = bytearray(base64.b64decode(signature))
            data[-1] ^= 1
            lines[blank + 5] = f"{mark} {name} {base64.b64encode(data).decode()}"
        case _:
            vkey = generate(vkey.partition("+")[0]).vkey
    proof.write_text("\n".join(lines))
    done = team.pai("verify", proof, "--event", event, "--vkey", vkey, code=1, cwd=proof.parent)
    assert "ok" not in done.out
    assert done.err.startswith("error: ")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"c2sp.org/tlog-proof@v1\nindex 1\n", b"[" * 100_000])
def test_what_is_no_proof_is_said_to_be_none(team: Site, tmp_path: Path, content: bytes) -> None:
    """Any file at all: a message and exit 1, never a stack trace."""
    (tmp_path / "file").write_bytes(content)
    done = team.pai("verify", tmp_path / "file", code=1, cwd=tmp_path)
    assert "neither an export nor a proof" in done.out
