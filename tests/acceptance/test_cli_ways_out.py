"""Words for somebody who stands in the wrong place or meets a wrong file: what it is, where, and what to type then."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import Site, agent, binding


def hint_of(text: str) -> str:
    """Give the hint that was printed."""
    return text.partition("hint: ")[2].strip()


@pytest.mark.parametrize("inside", ["data", "data/deeper", "config.git", "config.git/hooks"])
def test_workspace_is_not_made_inside_another_ones_own_folders(team: Site, inside: str) -> None:
    """Who types `pai init` in `data/` or `config.git/` has lost the way: nothing is made there."""
    before = sorted(team.root.rglob("*"))
    done = team.pai("init", team.root / inside, code=3)
    assert f"error: {team.root / inside} lies in " in done.err
    assert hint_of(done.err) in (f"pai init {team.root}", "name a folder outside of it")
    assert sorted(team.root.rglob("*")) == before
    team.pai("init", team.root)


def test_workspace_is_not_made_of_a_file(site: Site) -> None:
    """The mode of the folder is not what is wrong."""
    (site.folder / "file").write_text("")
    done = site.pai("init", site.folder / "file", code=3)
    assert "is a file, and a workspace is a folder" in done.err
    assert hint_of(done.err) == "name a folder, new or not: pai init DIR"


def test_what_is_missing_is_named_with_the_whole_usage(team: Site) -> None:
    """The hint is what can be typed."""
    done = team.pai("apply", "models/x.yaml", code=2)
    assert "error: pai apply needs -f/--filename" in done.err
    assert hint_of(done.err).startswith("pai apply -f FILE|DIR|- [--dry-run]")
    assert hint_of(team.pai("why", code=2).err).endswith(" REQUEST")
    assert "nothing came on stdin" in team.pai("apply", "-f", "-", code=2).err
    assert hint_of(team.pai("history", "flash", code=2).err).endswith("pai history TYPE NAME")


@pytest.mark.parametrize(
    "words", [["status", "late"], ["get", "agent", "late"], ["describe", "agent", "late"], ["env", "late"]]
)
def test_what_a_push_brings_later_is_said_to_wait(team: Site, words: list[str]) -> None:
    """Without a daemon a push is judged and not in force: whoever looks for what it brings is told so."""
    head = team.clone("clone").pushed({"agents/late.yaml": agent("late", "flash")})
    wanted = f"no daemon runs, and commit {head[:7]} is not reconciled yet: pai reconcile, or pai serve"
    done = team.pai(*words, code=1)
    assert (done.err.splitlines()[0], hint_of(done.err)) == ("error: there is no agent late", wanted)
    assert hint_of(team.pai("add", "key", "late", code=1).err) == wanted
    team.pai("reconcile")
    team.pai(*words, env={"PAI_GATEWAY_LISTEN": "127.0.0.1:8000"})


@pytest.mark.parametrize("verb", ["get", "describe"])
def test_what_was_deleted_is_answered_with_its_history(team: Site, verb: str) -> None:
    """And the hint works as it is typed."""
    team.pai("apply", "-f", "-", stdin=binding("gone"))
    team.pai("delete", "model", "gone")
    done = team.pai(verb, "model", "gone", code=1)
    assert done.err.startswith("error: model gone is not in force\n")
    hint = hint_of(done.err)
    assert hint == "pai history model gone shows what it was"
    assert "deleted" in team.pai(*hint.split()[1:4]).out
    assert "there is no model never" in team.pai(verb, "model", "never", code=1).err


def test_what_carries_no_proof_is_not_called_tampered_with(team: Site, tmp_path: Path) -> None:
    """A workspace, its log and exported rows are told apart from exports, with what to type instead."""
    team.pai("export", tmp_path / "rows", "--format", "csv")
    for path, said in (
        (team.root, "is a workspace, and no export"),
        (team.database, "is a log itself"),
        (tmp_path / "rows", "has rows (events.csv), which carry no proof"),
        (tmp_path, "is no export: it has neither checkpoint nor vkey"),
    ):
        done = team.pai("verify", path, code=2)
        assert f"error: {path} {said}" in done.err
        assert "tampered" not in done.err
    hint = hint_of(team.pai("verify", team.root, code=2).err)
    assert team.pai(*hint.split()[1:], cwd=tmp_path).out.startswith("ok: ")


def test_older_log_is_told_apart_from_a_damaged_one(team: Site) -> None:
    """A backup that was put back is whole: `pai verify` says how it is accepted, and why nothing can be proved."""
    old = team.folder / "old.db"
    shutil.copy(team.database, old)
    team.pai("apply", "-f", "-", stdin=binding("flash", 5))
    shutil.copy(old, team.database)
    done = team.pai("verify", code=1)
    assert f"error: {team.database} is whole, but older than what was vouched for" in done.err
    assert "if a backup was put back on purpose: pai verify --accept" in done.err
    assert "data/checkpoint vouches for" in team.pai("prove", "1", code=3).err
    team.pai("verify", "--accept")
    assert team.pai("verify").code == 0


def test_dropped_row_is_named_once(team: Site) -> None:
    """What follows it is at its own place, and not missing."""
    with closing(sqlite3.connect(team.database)) as db:
        db.execute("DROP TRIGGER events_delete")
        db.execute("DELETE FROM events WHERE seq = 2")
        db.commit()
    told = team.pai("verify", code=1).out.splitlines()
    assert [line for line in told if "is missing, " in line] == ["position 2: position 2 is missing, 3 stands there"]


def test_missing_verifier_key_is_written_again_as_the_hint_says(team: Site) -> None:
    """It is in the log's first event, too."""
    vkey = team.root / "data" / "vkey"
    before = vkey.read_text()
    vkey.unlink()
    assert (
        f"{vkey} cannot be read: No such file or directory; pai init writes it again" in team.pai("verify", code=1).out
    )
    team.pai("init", team.root)
    assert vkey.read_text() == before
    team.pai("verify")


def test_daemon_of_another_version_is_told_with_the_way_out(team: Site) -> None:
    """One that answers in lines of JSON, as before the socket spoke HTTP, is to be restarted; each command ends."""
    orders = (["status"], ["reconcile"], ["suspend"], ["add", "key", "robot"], ["apply", "-f", "-"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(team.root / "data" / "pai.sock"))
        listener.listen()
        threading.Thread(target=_answer_as_before, args=(listener,), daemon=True).start()
        told = "the daemon's answer cannot be read"
        for words in orders:
            done = team.pai(*words, code=3, stdin=binding("late"))
            assert done.err == f"error: {told}\nhint: is it another version? restart it\n", words
        assert team.pai("version").err == f"warning: {told} (is it another version? restart it)\n"
        listener.shutdown(socket.SHUT_RDWR)


def _answer_as_before(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100_000)
                error = {"class": "CouldNotRun", "message": "the message is not a JSON object", "hint": ""}
                connection.sendall(json.dumps({"error": error}).encode() + b"\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_named(team: Site) -> None:
    """No number of an error, and what it is about."""
    from tests.support import PAI, run

    command = ["sh", "-c", f"{PAI} log -o json > /dev/full"]
    done = run(command, team.environment, team.root)
    assert (done.code, done.err.splitlines()[0]) == (
        3,
        "error: the output, or what is needed for it: No space left on device",
    )
    assert json.loads(team.pai("log", "-o", "json").out)
