"""Checkpoints of a real workspace: when they are signed, from what, where they lie, and what contradicts them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core import events as ev
from reconciler.core.errors import LogDamaged, LogNotWritable, OutcomeUnknown, SourceUnavailable
from reconciler.core.state import State
from reconciler.daemon.checkpointing import Attester
from reconciler.evidence.verification import Report, verify
from reconciler.log.sqlite.store import open_reader
from reconciler.operations.install import install
from reconciler.operations.parts import Parts
from reconciler.source import witness
from reconciler.source.git import Author
from reconciler.source.witness import CHECKPOINTS, refs_of
from reconciler.tlog.note import generate, parse_vkey
from reconciler.tlog.signed_checkpoint import Checkpoint, read, sign
from reconciler.tlog.signed_checkpoint import verify as verified
from reconciler.workspace import Workspace
from tests.support import Git, Site, binding, until
from tests.support_log import decide, secret

PAI = Author("Pai", "pai@localhost")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A new workspace."""
    return install(tmp_path / "workspace")


@pytest.fixture
def parts(workspace: Workspace) -> Iterator[Parts]:
    """That workspace, open."""
    with Parts(workspace) as opened:
        yield opened


def repository(workspace: Workspace) -> Path:
    """Give the config repository."""
    assert workspace.repository is not None
    return workspace.repository


def published(workspace: Workspace) -> list[Checkpoint]:
    """Give all published checkpoints, oldest first, each verified under the workspace's key."""
    key = parse_vkey(workspace.vkey.read_text())
    return [verified(found.files["checkpoint"], key) for found in witness.history(repository(workspace))][::-1]


def publish(workspace: Workspace, checkpoint: str) -> str:
    """Publish a note behind Pai's back; give the commit's id."""
    newest = witness.newest(repository(workspace))
    files = {"checkpoint": checkpoint.encode(), "vkey": workspace.vkey.read_bytes()}
    return witness.publish(repository(workspace), newest.commit if newest else None, files, "x\n", PAI)


def record(workspace: Workspace, *names: str) -> None:
    """Record some events and close the workspace, which vouches for them."""
    with Parts(workspace) as parts:
        for name in names:
            parts.recorder.record(decide(secret(name)))


def roll_back(workspace: Workspace, *names: str) -> None:
    """Record `names`, then put the log of before in place, as restoring a backup does."""
    before = workspace.log_file.read_bytes()
    record(workspace, *names)
    workspace.log_file.write_bytes(before)


def checked(workspace: Workspace) -> Report:
    """Verify everything."""
    return verify(workspace, lambda _: None)


def said(workspace: Workspace) -> list[str]:
    """Give what verifying complains about, with positions."""
    return [f"{p.position} {p.message}" for p in checked(workspace).problems]


def change(workspace: Workspace, statement: str) -> None:
    """Change the log behind Pai's back, guards removed."""
    with contextlib.closing(sqlite3.connect(workspace.log_file, isolation_level=None)) as db:
        guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(statement)
        for _, sql in guards:
            db.execute(sql)


def test_closing_vouches_for_all_and_only_if_something_is_new(workspace: Workspace) -> None:
    """Every command that records something leaves a checkpoint of it, in one commit on top of the one before."""
    record(workspace, "a")
    record(workspace, "b", "c")
    record(workspace)
    assert [checkpoint.size for checkpoint in published(workspace)] == [2, 4]
    assert read(workspace.checkpoint.read_bytes()) == published(workspace)[-1]
    newest = witness.newest(repository(workspace))
    assert newest is not None
    assert newest.files == {"checkpoint": workspace.checkpoint.read_bytes(), "vkey": workspace.vkey.read_bytes()}
    assert checked(workspace) == Report([], 4, 3, 0, "")


def test_attester_signs_at_once_then_every_thousand_events(parts: Parts, workspace: Workspace) -> None:
    """What nobody vouched for is signed at the start, further events when there are enough of them, or in time."""
    attester = Attester(parts, every_s=3600, every_events=50)
    attester.start()
    until("the first checkpoint", lambda: parts.notary.size == 1)
    for n in range(49):
        parts.recorder.record(decide(secret(f"s{n}")))
    assert parts.notary.size == 1
    parts.recorder.record(decide(secret("last")))
    until("the second checkpoint", lambda: parts.notary.size == 51)
    until("its publication", lambda: [c.size for c in published(workspace)] == [1, 51])
    attester.stop()
    assert attester.problem == ""


def test_attester_signs_in_time(parts: Parts) -> None:
    """A single event is vouched for within the interval."""
    attester = Attester(parts, every_s=0.05)
    attester.start()
    until("the first checkpoint", lambda: parts.notary.size == 1)
    parts.recorder.record(decide(secret("a")))
    until("the second checkpoint", lambda: parts.notary.size == 2)
    attester.stop()


def test_signing_while_many_record_never_contradicts_itself(parts: Parts, workspace: Workspace) -> None:
    """Whatever is recorded meanwhile, each checkpoint is a beginning of the log, and they only grow."""
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            parts.recorder.record(decide(secret(f"s{number}")))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        parts.attest()
    stop.set()
    for thread in threads:
        thread.join()
    sizes = [checkpoint.size for checkpoint in published(workspace)]
    assert sizes == sorted(set(sizes))
    assert said(workspace) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'tester', 'nobody') AS BLOB) WHERE seq = 2",
        "UPDATE events SET leaf = zeroblob(32) WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
    ],
)
def test_stored_bytes_are_read_again_before_signing(parts: Parts, workspace: Workspace, statement: str) -> None:
    """An event that changed on the disk since it was recorded is not signed, and the reason names its position."""
    parts.attest()
    for name in ("a", "b", "c"):
        parts.recorder.record(decide(secret(name)))
    change(workspace, statement)
    with pytest.raises(LogDamaged, match="position 2"):
        parts.attest()
    assert [checkpoint.size for checkpoint in published(workspace)] == [1]


def test_stored_hash_that_is_wrong_does_not_stop_a_signature(workspace: Workspace) -> None:
    """Subtree hashes only shorten the way: where they are damaged, the events' bytes decide."""
    with Parts(workspace) as parts:
        parts.recorder.record(decide(*(secret(f"s{n}") for n in range(300))))
    change(workspace, "UPDATE subtrees SET hash = zeroblob(32)")
    record(workspace, "a")
    assert [checkpoint.size for checkpoint in published(workspace)] == [301, 302]


def test_log_that_ends_too_early_is_held(workspace: Workspace) -> None:
    """A log restored from an older copy is read-only: it says why, and takes nothing."""
    roll_back(workspace, "a", "b")
    with Parts(workspace) as parts:
        status = parts.recorder.status()
        assert status.held
        assert status.reason.startswith("rollback detected: the log ends after 1 events, commit ")
        with pytest.raises(LogNotWritable, match="rollback detected"):
            parts.recorder.record(decide(secret("c")))
        assert parts.recorder.read(lambda state: state.position) == 1
    assert [checkpoint.size for checkpoint in published(workspace)] == [3]
    assert said(workspace)[0].startswith("1 the log ends here, commit ")


def test_log_that_was_rewritten_is_held(workspace: Workspace) -> None:
    """A log that has other events than those vouched for is held, however long it is."""
    before = workspace.log_file.read_bytes()
    record(workspace, "a", "b")
    copies = (workspace.checkpoint.read_bytes(), shutil.copytree(repository(workspace), workspace.root / "kept.git"))
    workspace.log_file.write_bytes(before)
    workspace.checkpoint.unlink()
    shutil.rmtree(repository(workspace))
    Workspace.create(workspace.root)
    install(workspace.root)
    record(workspace, "c", "d", "e")
    shutil.rmtree(repository(workspace))
    shutil.copytree(copies[1], repository(workspace))
    with Parts(workspace) as parts:
        assert "the first 3 events are not those that commit" in parts.recorder.status().reason
    assert said(workspace)[0].startswith("0 positions 0 to 2 are not those that commit")


@pytest.mark.parametrize("lost", ["ref", "copy"])
def test_either_witness_is_enough(workspace: Workspace, lost: str) -> None:
    """Whoever takes away the ref, or the workspace's own copy, still meets the other."""
    roll_back(workspace, "a")
    if lost == "ref":
        (repository(workspace) / "refs" / "pai" / "checkpoints").unlink()
    else:
        workspace.checkpoint.unlink()
    with Parts(workspace) as parts:
        assert parts.recorder.status().held
    assert said(workspace)


def test_repository_that_comes_back_is_compared_before_anything_is_published(workspace: Workspace) -> None:
    """If it could not be read at the start, the log is held as soon as it can and says otherwise."""
    roll_back(workspace, "a")
    workspace.checkpoint.unlink()
    away = repository(workspace).rename(workspace.root / "away.git")
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
        with pytest.raises(SourceUnavailable):
            parts.attest()
        away.rename(repository(workspace))
        with pytest.raises(LogNotWritable, match="rollback detected"):
            parts.attest()
        assert parts.recorder.status().held


def test_acceptance_ends_the_hold_and_is_recorded(workspace: Workspace) -> None:
    """An operator's word is an event; it excuses what was published until then, at the next start as well."""
    roll_back(workspace, "a", "b")
    with Parts(workspace) as parts:
        reason = parts.accept("op@example.com")
        assert reason.startswith("rollback detected")
        assert not parts.recorder.status().held
        parts.recorder.record(decide(secret("c")))
        assert parts.accept("op@example.com") == ""
    with contextlib.closing(open_reader(workspace.log_file)) as log:
        event = ev.decode(next(iter(log.read(1, 2))).body)
    assert isinstance(event.payload, ev.LogAccepted)
    assert (event.actor, event.payload.size, event.payload.reason) == ("op@example.com", 1, reason)
    assert len(base64.b64decode(event.payload.root)) == 32
    assert [checkpoint.size for checkpoint in published(workspace)] == [3, 3]
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
    assert checked(workspace) == Report([], 3, 2, 1, "")


def test_acceptance_whose_answer_was_lost_is_said_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on the log, where nothing has to be accepted any more, and the hold ends all the same."""
    roll_back(workspace, "a", "b")
    with Parts(workspace) as parts:
        resume = parts.recorder.resume

        def lost(decide: Callable[[State], list[ev.Draft]]) -> object:
            reason = parts.recorder.status().reason
            resume(decide)
            parts.recorder.hold(reason)
            raise OutcomeUnknown("says the test")

        monkeypatch.setattr(parts.recorder, "resume", lost)
        with pytest.raises(OutcomeUnknown):
            parts.accept("op@example.com")
        monkeypatch.undo()
        assert parts.recorder.status().held
        assert parts.accept("op@example.com") == ""
        parts.recorder.record(decide(secret("c")))


def test_crash_between_acceptance_and_publication_needs_no_second_word(workspace: Workspace) -> None:
    """The event itself excuses, even if nothing could be signed or published after it."""
    roll_back(workspace, "a", "b")
    old = workspace.checkpoint.read_bytes()
    kept = shutil.copytree(repository(workspace), workspace.root / "kept.git")
    with Parts(workspace) as parts:
        parts.accept("op@example.com")
    workspace.checkpoint.write_bytes(old)
    shutil.rmtree(repository(workspace))
    kept.rename(repository(workspace))
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
    assert checked(workspace).problems == []


def beside(workspace: Workspace) -> str:
    """Name the ref that is this log's alone."""
    return refs_of(parse_vkey(workspace.vkey.read_text()).name)[1]


def sizes(workspace: Workspace, ref: str) -> list[int]:
    """Give the sizes of the log's own checkpoints on a ref, oldest first."""
    key = parse_vkey(workspace.vkey.read_text())
    found = []
    for each in witness.history(repository(workspace), ref):
        with contextlib.suppress(ValueError):
            found.append(verified(each.files.get("checkpoint", b""), key).size)
    return found[::-1]


def new_log(workspace: Workspace, *kept: str) -> None:
    """Begin another log in the workspace, beside the same repository."""
    for name in {"log.db", "vkey", "signing.key", "checkpoint"} - {*kept}:
        (workspace.data / name).unlink()
    install(workspace.root)


def test_new_log_beside_an_old_repository_publishes_beside(workspace: Workspace) -> None:
    """Another log's checkpoints are a warning; each log has a ref, where a rollback of it is still found."""
    record(workspace, "a")
    old = witness.newest(repository(workspace))
    new_log(workspace)
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
        assert "refs/pai/checkpoints has checkpoints of another log" in parts.warning
        assert beside(workspace) in parts.warning
        parts.recorder.record(decide(secret("b")))
        parts.attest()
        assert sizes(workspace, beside(workspace)) == [2]
    assert witness.newest(repository(workspace)) == old
    report = checked(workspace)
    assert (report.problems, report.checkpoints) == ([], 2)
    assert "1 that say nothing about this log" in report.warning
    roll_back(workspace, "c")
    workspace.checkpoint.unlink()
    with Parts(workspace) as parts:
        assert f"of {beside(workspace)} vouches for 3" in parts.recorder.status().reason


def test_log_that_was_replaced_beside_its_own_copy_is_held(workspace: Workspace) -> None:
    """The copy in `data/` is nobody else's: a log that is not the one it vouches for is held."""
    record(workspace, "a")
    new_log(workspace, "checkpoint")
    with Parts(workspace) as parts:
        assert "the checkpoint in data/checkpoint is not this log's" in parts.recorder.status().reason


def plant(workspace: Workspace, kind: str) -> None:
    """Put something on the shared ref that says nothing about the log."""
    git = Git(repository(workspace), {"PATH": os.environ["PATH"]})
    match kind:
        case "blob":
            git("update-ref", CHECKPOINTS, git("hash-object", "-w", "--stdin", stdin="x"))
        case "missing":
            place = git.folder / CHECKPOINTS
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("1" * 40 + "\n")
        case "no ref":
            (git.folder / CHECKPOINTS).write_text("x")
        case "tree":
            git("update-ref", CHECKPOINTS, git("mktree", stdin=""))
        case "another log":
            publish(workspace, sign(Checkpoint("dev", 9, bytes(32)), generate("dev").secret))
        case "many":
            for _ in range(5):
                publish(workspace, "x")
        case "large":
            publish(workspace, "x" * 1_000_000)
        case _:
            publish(workspace, forged(workspace, kind))


@pytest.mark.parametrize(
    "kind",
    ["blob", "missing", "no ref", "tree", "another log", "many", "large", "another key", "no signature", "empty"],
)
def test_what_is_no_checkpoint_of_the_log_holds_nothing(workspace: Workspace, kind: str) -> None:
    """Whoever may write the ref can put anything there: it is told, the log goes on, and is published all the same."""
    record(workspace, "a")
    lost = kind in ("blob", "missing", "no ref", "tree")
    plant(workspace, kind)
    with Parts(workspace) as parts:
        assert parts.warning
        parts.recorder.record(decide(secret("b")))
        parts.attest()
        parts.recorder.record(decide(secret("c")))
        parts.attest()
        assert not parts.recorder.status().held
        ref = beside(workspace) if lost or kind == "another log" else CHECKPOINTS
        assert sizes(workspace, ref)[-2:] == [3, 4]
        assert (parts.warning == "") == (ref == CHECKPOINTS)
    report = checked(workspace)
    assert report.problems == []
    assert report.warning


@pytest.mark.parametrize("kind", ["another log", "many", "another key", "empty"])
def test_rollback_is_found_below_what_says_nothing(workspace: Workspace, kind: str) -> None:
    """The newest checkpoint of the log counts, whatever lies on top of it, and an acceptance excuses it for good."""
    roll_back(workspace, "a", "b")
    workspace.checkpoint.unlink()
    plant(workspace, kind)
    with Parts(workspace) as parts:
        assert "the log ends after 1 events, commit " in parts.recorder.status().reason
        assert "rollback detected" in parts.accept("op@example.com")
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
        parts.recorder.record(decide(secret("c")))
    assert checked(workspace).problems == []


def test_what_could_not_be_read_is_looked_for_again(workspace: Workspace) -> None:
    """A rollback below a commit that was missing for a while is found as soon as it can be, though no ref moved."""
    roll_back(workspace, "a", "b")
    workspace.checkpoint.unlink()
    plant(workspace, "many")
    commits = [found.commit for found in witness.history(repository(workspace))]
    place = repository(workspace) / "objects" / commits[2][:2] / commits[2][2:]
    away = place.rename(workspace.root / "away")
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
        away.rename(place)
        with pytest.raises(LogNotWritable, match="the log ends after 1 events"):
            parts.attest()


def test_acceptance_excuses_what_both_refs_have(workspace: Workspace) -> None:
    """A log that published beside for a while is accepted as a whole; what comes afterwards counts again."""
    record(workspace, "a", "b")
    plant(workspace, "another log")
    record(workspace, "c")
    before = workspace.log_file.read_bytes()
    record(workspace, "d")
    witness.publish(
        repository(workspace),
        witness.newest(repository(workspace)).commit,  # type: ignore[union-attr]
        {"checkpoint": workspace.checkpoint.read_bytes()},
        "x\n",
        PAI,
    )
    workspace.log_file.write_bytes(before)
    with Parts(workspace) as parts:
        assert parts.accept("op@example.com")
    with Parts(workspace) as parts:
        assert not parts.recorder.status().held
    assert checked(workspace).problems == []
    roll_back(workspace, "e")
    with Parts(workspace) as parts:
        assert parts.recorder.status().held


def forged(workspace: Workspace, kind: str) -> str:
    """Make a checkpoint that nobody should believe."""
    newest = published(workspace)[-1]
    secret_key = workspace.signing_key.read_text()
    match kind:
        case "another key":
            return sign(newest, generate(newest.origin).secret)
        case "another root":
            return sign(newest._replace(root=bytes(32)), secret_key)
        case "another size":
            return sign(newest._replace(size=newest.size - 1), secret_key)
        case "beyond the end":
            return sign(newest._replace(size=newest.size + 1), secret_key)
        case "an older one":
            return sign(published(workspace)[0], secret_key)
        case "no signature":
            return newest.text() + "\n"
        case _:
            return ""


@pytest.mark.parametrize("kind", ["another root", "another size", "beyond the end", "an older one"])
def test_forged_checkpoint_is_found(workspace: Workspace, kind: str) -> None:
    """Every commit of the ref is compared, also below the newest one, and its place is named."""
    record(workspace, "a")
    record(workspace, "b")
    commit = publish(workspace, forged(workspace, kind))
    publish(workspace, workspace.checkpoint.read_text())
    problems = said(workspace)
    assert problems
    assert commit[:12] in problems[0]


def test_checkpoint_that_cannot_be_published_is_told_and_tried_again(parts: Parts, workspace: Workspace) -> None:
    """A ref that another process has locked stops nothing else, is told, and is used when it is free."""
    lock = repository(workspace) / "refs" / "pai" / "checkpoints.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    attester = Attester(parts)
    attester.start()
    until("the problem", lambda: "refs/pai/checkpoints is locked" in attester.problem)
    assert parts.notary.size == 1
    parts.recorder.record(decide(secret("a")))
    lock.unlink()
    until("the publication", lambda: [c.size for c in published(workspace)] == [2])
    until("no problem", lambda: attester.problem == "")
    attester.stop()


def test_foreign_signing_key_is_refused(parts: Parts, workspace: Workspace) -> None:
    """A key that is not the one of the log's first event signs nothing."""
    workspace.signing_key.write_text(generate(parse_vkey(workspace.vkey.read_text()).name).secret)
    with pytest.raises(Exception, match="is not the key that the log names"):
        parts.attest()
    assert published(workspace) == []


def test_daemon_holds_a_log_that_was_rolled_back_until_it_is_accepted(team: Site) -> None:
    """`/readyz` and the gateway answer 503 with the reason, nothing is recorded, and --accept ends it while it runs."""
    before = team.database.read_bytes()
    team.pai("add", "secret", "later", "--from-literal", "k=-", stdin="v")
    team.database.write_bytes(before)
    size = len(team.rows())
    assert "rollback detected" in team.pai("add", "secret", "no", "--from-literal", "k=-", stdin="v", code=3).err
    assert "- rollback detected" in team.pai("status").out
    with team.daemon(ready=False) as daemon:
        clone = team.clone()
        sha = clone.pushed({"models/new.yaml": binding("new")})
        status, ready = daemon.readiness()
        assert (status, ready["reasons"][0][:19]) == (503, "rollback detected: ")
        gateway = re.search(r"gateway for agents on http://(\S+)", daemon.log)
        assert gateway is not None
        for path in ("/v1/models", "/v1/chat/completions"):
            connection = http.client.HTTPConnection(gateway[1], timeout=30)
            connection.request("POST" if "chat" in path else "GET", path, b"{}")
            answer = connection.getresponse()
            assert answer.status == 503
            assert b"rollback detected" in answer.read()
            connection.close()
        assert team.pai("verify", code=1).out.startswith(f"position {size}: the log ends here")
        assert len(team.rows()) == size
        until("the line", lambda: "not ready: rollback detected: " in daemon.log)
        accepted = team.pai("verify", "--accept").out
        assert accepted.startswith("accepted, and recorded as log.accepted.v1 (rollback detected: the log ends")
        until("readiness", lambda: daemon.readiness()[0] == 200)
        until("the line", lambda: ": ready\n" in daemon.log)
        assert team.state().revision == sha
        rows = team.rows()
        assert (rows[size]["type"], rows[size]["actor"]) == ("log.accepted.v1", "alice@example.com")
        assert team.pai("verify").out.startswith("ok: ")
        assert "nothing to accept" in team.pai("verify", "--accept").out
    with team.daemon():
        pass
    assert team.pai("verify").out.startswith("ok: ")


def test_daemon_stays_ready_whatever_is_put_on_the_ref(team: Site) -> None:
    """What a stranger puts there is told by readiness, status, metrics, verify and the daemon's log, and no more."""
    with team.daemon() as daemon:
        team.bare("update-ref", CHECKPOINTS, team.bare("rev-parse", "main"))
        team.pai("add", "secret", "later", "--from-literal", "k=-", stdin="v")
        team.bare("update-ref", CHECKPOINTS, team.bare("hash-object", "-w", "--stdin", stdin="no checkpoint"))
        team.pai("prove", str(len(team.rows()) - 1))
        until("the word", lambda: "missing or no commit" in str(daemon.readiness()[1]["reasons"]))
        status, ready = daemon.readiness()
        assert (status, ready["ready"]) == (200, True)
        assert "whose checkpoints go to refs/pai/checkpoints-pai/" in ready["reasons"][-1]
        assert "that says nothing about this log" in team.pai("status").out
        assert "pai_checkpoints_foreign 1.0" in daemon.get("/metrics")[1]
        until("the line", lambda: "that says nothing about this log" in daemon.log)
        assert "warning: " in team.pai("verify").err
    assert "that says nothing about this log" in team.pai("status").out
    with team.daemon() as daemon:
        assert daemon.readiness()[0] == 200


def test_damaged_log_cannot_be_accepted(workspace: Workspace) -> None:
    """--accept is about which log it is, never about one that is damaged."""
    record(workspace, "a", "b")
    change(workspace, "DELETE FROM events WHERE seq = 2")
    change(workspace, "UPDATE events SET leaf = zeroblob(32) WHERE seq = 1")
    done = Site(workspace.root.parent).run("verify", "--accept", cwd=workspace.root)
    assert done.code == 1
    assert "only a whole log can be accepted" in done.err
