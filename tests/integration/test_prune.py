"""`pai prune`: what goes is exported and verified first, what stays is as whole and as provable as before."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.audit.rehearsing import rehearsal
from reconciler.core.errors import CouldNotRun, LogNotWritable
from reconciler.core.state import FOLD_VERSION
from reconciler.evidence.verification import verify
from reconciler.log.check import beside
from reconciler.log.check.stored import BytesFindings
from reconciler.log.check.whole import Marks, check
from reconciler.log.replay import event_at
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.log.store import Snapshot
from reconciler.operations.parts import Parts
from reconciler.operations.pruning import prune
from reconciler.tlog.merkle import Frontier
from reconciler.workspace import Workspace
from tests import independent_verifier as stranger
from tests.support import DEADLINE_S, Daemon, Site, copied
from tests.support_prune import CUT, ROUNDS, SPANNING, busy, request
from tests.support_tokens import record, reserved


@pytest.fixture(scope="module")
def whole(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A busy log, only to be copied."""
    return busy(team_template, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def pruned_template(whole: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same, pruned, only to be copied; the part lies beside the workspace."""
    site = copied(whole, tmp_path_factory.mktemp("pruned"))
    done = site.pai("prune", "--before", f"#{CUT + 100}", "--export", site.folder / "part")
    assert done.out.startswith(f"pruned: events #0 to #{CUT - 1} are in ")
    return site


@pytest.fixture
def pruned(pruned_template: Site, tmp_path: Path) -> Site:
    """A pruned log of its own; its part is `pruned_template`'s."""
    return copied(pruned_template, tmp_path)


def part_of(pruned_template: Site) -> Path:
    """Give the folder with what was dropped."""
    return pruned_template.folder / "part"


def stored(site: Site) -> dict[int, bytes]:
    """Give the stored bytes of all events by position."""
    with contextlib.closing(open_reader(site.database)) as log:
        return {event.seq: event.body for event in log.read()}


def test_pruned_log_is_whole_from_its_beginning_on(whole: Site, pruned: Site, pruned_template: Site) -> None:
    """The state is identical but for the cut's own event, `pai verify` agrees, and says what it did not look at."""
    with contextlib.closing(open_reader(pruned.database)) as log:
        assert log.first() == CUT
    before, after = whole.state(), pruned.state()
    assert after.position == before.position + 1
    assert (after.models, after.agents, after.secrets, after.keys) == (
        before.models, before.agents, before.secrets, before.keys,
    )  # fmt: skip
    assert after.ledger.accounts == before.ledger.accounts
    done = pruned.pai("verify")
    assert done.out.startswith(f"ok: {after.position - CUT:,} events from #{CUT} on, ")
    assert f"the {CUT} events before were pruned" in done.err
    assert f"pai verify --with {part_of(pruned_template)}" in done.err
    (event,) = pruned.rows("type:log.pruned")
    assert event["actor"]
    assert (event["data"]["begin"], event["data"]["first"]) == (0, CUT)


def test_what_stays_has_the_bytes_of_before(whole: Site, pruned: Site) -> None:
    """Every event from the beginning on, and the kept ones, byte by byte; few are kept, and none of token traffic."""
    before, after = stored(whole), stored(pruned)
    assert {seq: body for seq, body in after.items() if seq in before} == {
        seq: body for seq, body in before.items() if seq in after
    }
    kept = [seq for seq in after if seq < CUT]
    assert 5 < len(kept) < 40
    assert len(after) == len(before) + 1 - CUT + len(kept)
    tokens = [json.loads(after[seq]) for seq in kept if b"tokens." in after[seq]]
    assert [(event["type"], event["data"]["request"]) for event in tokens] == [("tokens.reserved.v1", SPANNING)]


def test_part_is_an_export_that_strangers_verify(whole: Site, pruned_template: Site) -> None:
    """What was dropped is a tlog-tiles export of just that, under the log's key; with it the whole log verifies."""
    part = part_of(pruned_template)
    vkey = (whole.root / "data" / "vkey").read_text()
    assert stranger.verify_export(part, vkey) == CUT
    assert pruned_template.pai("verify", part, "--vkey", vkey.strip()).out.startswith(f"ok: {CUT} events of ")
    done = pruned_template.pai("verify", "--with", part)
    assert done.out.startswith(f"ok: {pruned_template.state().position:,} events, hashes")
    assert done.err == ""


def test_checkpoints_from_before_the_cut_are_compared_with_the_part(pruned: Site, pruned_template: Site) -> None:
    """Also those of sizes inside a tile: of these the log alone does not know the root any more."""
    workspace = Workspace.find(pruned.root)
    alone = verify(workspace, lambda _: None)
    together = verify(workspace, lambda _: None, [part_of(pruned_template)])
    assert alone.problems == together.problems == []
    assert (alone.before > 3, together.before) == (True, 0)
    assert together.checkpoints == alone.checkpoints + alone.before


def test_stories_of_what_stays_lack_nothing(whole: Site, pruned: Site) -> None:
    """Who set a limit, the history of what is in force, requests after the cut: word by word as before."""
    for words in (
        ["blame", "model", "flash"],
        ["history", "model", "flash"],
        ["history", "agent", "my-agent"],
        ["why", request(600)],
        ["why", request(400)],
        ["get", "models", "-o", "json"],
        ["status"],
        ["describe", "model", "flash"],
        ["usage", "since:0s"],
    ):
        assert pruned.pai(*words).out == whole.pai(*words).out, words
    spanning = pruned.pai("why", SPANNING).out
    assert "settled, 10 charged" in spanning
    assert "the rest of that day were pruned" in spanning
    assert "900,000" in spanning


def test_questions_that_reach_before_the_cut_are_answered_so(pruned: Site, pruned_template: Site) -> None:
    """What is missing is said on stderr; what is only in the part is not found, with the way to it."""
    part = str(part_of(pruned_template))
    done = pruned.pai("log", "type:tokens.settled", "-o", "jsonl")
    assert f"warning: the log begins at #{CUT} (" in done.err
    assert part in done.err
    assert len(done.out.splitlines()) < ROUNDS
    assert f"#{CUT}" in pruned.pai("usage").err
    assert f"#{CUT}" in pruned.pai("history", "model", "flash").err
    newest = pruned.pai("log", "-o", "json", "--limit", "1").json[0]["time"]
    assert pruned.pai("log", f"since:{newest}").err == ""
    gone = pruned.pai("why", request(1), code=1)
    assert f"no request {request(1)}" in gone.err
    assert part in gone.err
    for words in (["get", "models", "--at", "#300"], ["prove", "300"], ["log", "until:2026-01-01"]):
        done = pruned.pai(*words, code=1)
        assert "is not on the log any more" in done.err, words
        assert part in done.err
    assert "is not on the log any more" in pruned.pai("get", "models", "--at", "#5", code=1).err
    assert pruned.pai("get", "models", "--at", f"#{CUT}").out
    assert pruned.pai("history", "model", "gone", code=1).err


def test_proofs_hold_across_the_cut(whole: Site, pruned: Site) -> None:
    """Proofs of before verify still, and events that stayed are proven anew, also the kept ones."""
    bodies, vkey = stored(whole), (whole.root / "data" / "vkey").read_text()
    kept = [seq for seq in stored(pruned) if seq < CUT]
    for seq in (*kept[:3], kept[-1], CUT, CUT + 1, len(bodies) - 1):
        old, new = whole.pai("prove", str(seq)).out, pruned.pai("prove", str(seq)).out
        assert stranger.verify_proof(old, vkey, bodies[seq]) == seq
        assert stranger.verify_proof(new, vkey, bodies[seq]) == seq
        assert old.split("\n\n")[1] != new.split("\n\n")[1], "another checkpoint"
    assert len(new) <= 2048


def test_pruned_log_is_exported_from_its_beginning_on(pruned: Site, tmp_path: Path) -> None:
    """Tiles say where they begin and verify; rows have what is there, with its positions."""
    pruned.pai("export", tmp_path / "tiles")
    assert (tmp_path / "tiles" / "minimum-index").read_text() == f"{CUT}\n"
    done = pruned.pai("verify", tmp_path / "tiles", cwd=tmp_path)
    assert f"events #{CUT} to #" in done.out
    assert "not in this export" in done.err
    (tmp_path / "tiles" / "minimum-index").write_text("512\n")
    assert pruned.pai("verify", tmp_path / "tiles", code=1, cwd=tmp_path).out
    pruned.pai("export", tmp_path / "rows", "--format", "jsonl")
    lines = (tmp_path / "rows" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(stored(pruned))


def test_life_goes_on(pruned: Site, pruned_template: Site, tmp_path: Path) -> None:
    """A daemon serves a pruned log, records, answers; and it can be pruned again, by the folder that follows."""
    with pruned.daemon():
        pruned.pai("add", "secret", "later", "--from-literal", "k=v")
        refused = pruned.pai("prune", "--before", "#1200", "--export", tmp_path / "second", code=3)
        assert "hint: stop it" in refused.err
    assert not (tmp_path / "second").exists()
    flash = pruned.pai("blame", "model", "flash").out
    pruned.pai("prune", "--before", "#1600", "--export", tmp_path / "second")
    done = pruned.pai("verify", "--with", tmp_path / "second", "--with", part_of(pruned_template))
    assert done.out.startswith("ok: ")
    assert pruned.pai("blame", "model", "flash").out == flash
    assert pruned.pai("verify").out.startswith("ok: ")
    second = pruned.pai("verify", tmp_path / "second", cwd=tmp_path)
    assert f"ok: events #{CUT} to #1535 of " in second.out
    missing = pruned.pai("verify", "--with", tmp_path / "second", code=1)
    assert "no part has the events from #0 on" in missing.out
    assert str(part_of(pruned_template)) in pruned.pai("prove", "300", code=1).err
    assert str(tmp_path / "second") in pruned.pai("prove", "1000", code=1).err
    assert "nothing to prune" in pruned.pai("prune", "--before", "#1600", "--export", tmp_path / "x", code=1).err


def test_rehearsal_of_a_pruned_log_speaks_of_whole_days_only(whole: Site, pruned: Site) -> None:
    """What a limit would have met is said of the days that the log has all of, not of the one that it was cut in."""
    with contextlib.closing(open_reader(whole.database)) as log:
        now = datetime.fromisoformat(event_at(log, log.first()).time)
        found = rehearsal(log, "flash", 1_000, now)
        assert found is not None
        assert (len(found.days), sum(day.requests for day in found.days)) == (7, ROUNDS + 1)
    with contextlib.closing(open_reader(pruned.database)) as log:
        now = datetime.fromisoformat(event_at(log, log.first()).time)
        assert rehearsal(log, "flash", 1_000, now) is None
        later = rehearsal(log, "flash", 1_000, now + timedelta(days=2))
    assert later is None
    tomorrow = f"{now + timedelta(days=1):%Y-%m-%d}"
    record(pruned, reserved("req_late", on=tomorrow))
    with contextlib.closing(open_reader(pruned.database)) as log:
        later = rehearsal(log, "flash", 1_000, now + timedelta(days=2))
    assert later is not None
    assert [(day.day, day.requests) for day in later.days] == [
        (tomorrow, 1),
        (f"{now + timedelta(days=2):%Y-%m-%d}", 0),
    ]


def asked(site: Site, daemon: Daemon, path: str, **headers: str) -> bytes:
    """Ask the admin listener with the first token; of a stream the first part."""
    token = (site.root / "data" / "admin.token").read_text().strip()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", **headers})
        with connection.getresponse() as answer:
            return answer.read()


def test_api_says_that_the_log_was_pruned(pruned: Site) -> None:
    """Answers that may lack something name the position that the log begins at; a follower from before it is told."""
    late = f"/api/v1/requests/{request(ROUNDS - 1)}"
    lacking = ("events?q=type:tokens", "usage", "models/flash/history", "models/flash/blame", "agents/my-agent/history")
    with pruned.daemon() as daemon:
        for path in (*(f"/api/v1/{each}" for each in lacking), late):
            assert json.loads(asked(pruned, daemon, path))["prunedBefore"] == CUT, path
        gone = json.loads(asked(pruned, daemon, "/api/v1/state?at=%23300"))
        assert "is not on the log any more" in gone["error"]
        stream = asked(pruned, daemon, "/api/v1/events?follow=1", **{"Last-Event-ID": "10"})
        assert b"event: error" in stream
        assert f"begins at position {CUT}".encode() in stream


TAMPERED = {
    "kept event": "UPDATE kept SET body = CAST(replace(CAST(body AS TEXT), 'flash', 'slash') AS BLOB)",
    "kept event and its hash": "UPDATE kept SET leaf = zeroblob(32) WHERE seq = 0",
    "path": "UPDATE kept SET path = zeroblob(256) WHERE seq = 0",
    "kept event removed": "DELETE FROM kept WHERE seq = (SELECT max(seq) FROM kept)",
    "tile hash": "UPDATE subtrees SET hash = zeroblob(32) WHERE tier = 1 AND n = 1",
    "tile hash removed": "DELETE FROM subtrees WHERE tier = 1 AND n = 1",
    "state": "UPDATE base SET data = CAST(replace(CAST(data AS TEXT), 'flash', 'slash') AS BLOB)",
    "frontier": "UPDATE base SET peaks = zeroblob(length(peaks))",
    "beginning": "UPDATE base SET position = 1024",
    "another event": "UPDATE base SET event = 0",
    "event after the cut": "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'flash', 'slash') AS BLOB)"
    " WHERE seq = 800",
    "more dropped": "DELETE FROM events WHERE seq < 1024",
}


def tamper(database: Path, statement: str) -> None:
    """Change the file behind Pai's back."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(statement).rowcount > 0


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_with_what_stays_is_found(pruned: Site, what: str) -> None:
    """Kept events, hashes of what was dropped, state, beginning: whatever is changed behind Pai's back is told."""
    tamper(pruned.database, TAMPERED[what])
    done = pruned.run("verify")
    assert done.code in (1, 3)
    assert "ok" not in done.out


@pytest.mark.parametrize("what", ["nothing", *TAMPERED])
def test_second_process_checks_what_stays_as_one_does(pruned: Site, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bytes' half done by another process, a check of a pruned log finds the same problems and roots."""
    if what != "nothing":
        tamper(pruned.database, TAMPERED[what])
    monkeypatch.setattr(beside, "EVENTS_MIN", 1)
    monkeypatch.setattr(beside.os, "sched_getaffinity", lambda _: {0, 1})
    answers: list[bool] = []
    findings = beside.Helper.findings

    def counted(helper: beside.Helper) -> BytesFindings | None:
        found = findings(helper)
        answers.append(found is not None)
        return found

    monkeypatch.setattr(beside.Helper, "findings", counted)
    sizes = [256, CUT, CUT + 1, CUT + 300]
    alone, helped = Marks(sizes), Marks(sizes)
    with contextlib.closing(open_reader(pruned.database)) as log:
        wanted = check(log, marks=alone)
        assert check(log, marks=helped, place=str(pruned.database)) == wanted
    assert bool(wanted) == (what != "nothing")
    assert helped.roots == alone.roots
    assert all(answers)
    if what == "nothing":
        assert answers
        assert set(sizes) <= set(alone.roots)


def test_second_process_gives_up_when_the_log_was_pruned_since(pruned: Site) -> None:
    """It says nothing of a log that begins elsewhere than the one that is checked did."""
    with beside.start(str(pruned.database), Frontier(), 1000, [], False) as helper:
        assert helper is not None
        assert helper.findings() is None


def test_snapshot_where_the_log_begins_is_compared(pruned: Site) -> None:
    """A snapshot may stand at the very beginning; it has to be the state there."""
    for good in (True, False):
        backend = SqliteBackend(pruned.database)
        with contextlib.closing(backend.open()) as store:
            base = store.base()
            assert base is not None
            data = base.data if good else base.data.replace(b"flash", b"slash")
            store.save_snapshot(Snapshot.of(base.position, FOLD_VERSION, base.peaks, data))
        backend.release()
        with contextlib.closing(open_reader(pruned.database)) as log:
            told = [] if good else [f"the snapshot at position {CUT} is not the state that the events give"]
            assert [problem.message for problem in check(log)] == told


def test_guards_are_back_in_place(pruned: Site) -> None:
    """After the cut nothing deletes events, and nothing adds, changes or removes kept ones."""
    with contextlib.closing(sqlite3.connect(pruned.database, isolation_level=None)) as db:
        for statement in (
            "DELETE FROM events WHERE seq = 800",
            "UPDATE kept SET leaf = x''",
            "DELETE FROM kept",
            "INSERT INTO kept VALUES (3, x'', x'', x'')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                db.execute(statement)
        assert db.execute("SELECT min(seq), count(*) FROM log").fetchone()[0] == 0
        assert db.execute("SELECT sum(charged) FROM usage").fetchone()[0] > 0


def test_export_that_does_not_hold_drops_nothing(whole: Site, tmp_path: Path) -> None:
    """A folder with another export, or with one bit changed, is refused, and the log stays whole."""
    site = copied(whole, tmp_path)
    site.pai("export", tmp_path / "other")
    refused = site.pai("prune", "--before", f"#{CUT}", "--export", tmp_path / "other", code=1)
    assert f"#0 to #{CUT - 1} are to be dropped" in refused.err
    part = tmp_path / "part"
    template = copied(whole, tmp_path / "t")
    template.pai("prune", "--before", f"#{CUT}", "--export", part)
    bundle = part / "tile" / "entries" / "001"
    data = bytearray(bundle.read_bytes())
    data[500] ^= 1
    bundle.write_bytes(data)
    assert "no whole export" in site.pai("prune", "--before", f"#{CUT}", "--export", part, code=1).err
    assert len(stored(site)) == len(stored(whole))
    assert site.pai("verify").out.startswith("ok: ")
    assert "position 257" in template.pai("verify", "--with", part, code=1).out


def test_disk_that_is_full_once_all_was_dropped_is_told_so(
    whole: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events are in the folder alone then, which whoever pruned has to know."""
    site, opened = copied(whole, tmp_path), list[Parts]()

    def full(workspace: Workspace, wait_s: float) -> Parts:
        if opened:
            raise LogNotWritable("database or disk is full", "free space")
        opened.append(Parts(workspace, wait_s))
        return opened[0]

    monkeypatch.setattr("reconciler.operations.pruning.Parts", full)
    with pytest.raises(CouldNotRun) as told:
        prune(Workspace.find(site.root), f"#{CUT}", site.folder / "p", "alice", datetime.now(UTC), lambda _: None)
    where = f"events #0 to #{CUT - 1} are in {site.folder / 'p'} and no longer in the log"
    assert told.value.message == f"{where}, but then: database or disk is full"
    assert site.pai("verify", "--with", site.folder / "p").out.startswith("ok: ")


def test_part_of_a_log_that_is_whole_is_no_damage(whole: Site, tmp_path: Path) -> None:
    """Whoever names a folder too many is told so, and not to restore the log."""
    done = whole.pai("verify", "--with", tmp_path, code=1)
    assert done.out + done.err == (
        "error: the log was not pruned: there is nothing that a part could add\nhint: leave --with out\n"
    )
