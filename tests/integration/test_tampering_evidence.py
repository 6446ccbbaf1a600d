"""A thousand ways to tamper with the log, its checkpoints and its exports: every one is found, and where it begins.

Half of the mutations of the log are those of somebody who knows the format: after the change every hash, the frontier,
the projection and the guards are made anew, so that only what was published earlier tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.core.errors import PaiError
from reconciler.core.events import Event, decode, encode
from reconciler.core.state import FOLD_VERSION, State
from reconciler.evidence import tiles, verification
from reconciler.evidence.offline import verify_export
from reconciler.evidence.published import key_of
from reconciler.log.creation import projection_rows
from reconciler.log.sqlite import place, store
from reconciler.log.stamp import format_ulid, parse_ulid
from reconciler.log.store import Stored
from reconciler.operations.install import install
from reconciler.operations.parts import Parts
from reconciler.source import witness
from reconciler.source.git import Author
from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import generate
from reconciler.tlog.signed_checkpoint import Checkpoint, read, sign
from reconciler.workspace import Workspace
from tests import independent_verifier as stranger
from tests.support_log import binding, decide, secret

ROUNDS = int(os.environ.get("PAI_MUTATIONS", "500"))
"""Mutations of the log, and as many of exports."""
SEED = int(os.environ.get("PAI_SEED", "0"))
EVENTS = 300
STEP = 25
"""Events between checkpoints."""


class Kept(NamedTuple):
    """A workspace as it should be, to be put back before each mutation."""

    workspace: Workspace
    log: bytes
    earlier: bytes
    checkpoint: bytes
    commit: str
    bodies: list[bytes]
    export: Path
    old_checkpoint: bytes

    def restore(self) -> None:
        """Undo whatever was done."""
        for end in ("-wal", "-shm", ".lock"):
            self.workspace.log_file.with_name(f"log.db{end}").unlink(missing_ok=True)
        self.workspace.log_file.write_bytes(self.log)
        self.workspace.checkpoint.write_bytes(self.checkpoint)
        (repository(self.workspace) / witness.CHECKPOINTS).write_text(self.commit + "\n")


def repository(workspace: Workspace) -> Path:
    """Give the config repository."""
    assert workspace.repository is not None
    return workspace.repository


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A log of 300 events, with a checkpoint every 25 of them, exported."""
    folder = tmp_path_factory.mktemp("tampering")
    workspace = install(folder / "workspace")
    old = b""
    with Parts(workspace) as parts:
        while (size := parts.recorder.read(lambda state: state.position)) < EVENTS:
            drafts = [binding(f"m{n % 4}", n + 1) if n % 2 else secret(f"s{n}") for n in range(size, size + STEP)]
            parts.recorder.record(decide(*drafts[: EVENTS - size]))
            parts.attest()
            old = old or workspace.checkpoint.read_bytes()
            if size == 1 + 4 * STEP:
                with contextlib.closing(sqlite3.connect(f"file:{workspace.log_file}?mode=ro", uri=True)) as db:
                    earlier = db.serialize()
    with contextlib.closing(store.open_reader(workspace.log_file)) as log:
        bodies = [stored.body for stored in log.read()]
    tiles.export(workspace, key_of(workspace), folder / "export", lambda _: None)
    newest = witness.newest(repository(workspace))
    assert newest is not None
    files = workspace.log_file.read_bytes(), earlier, workspace.checkpoint.read_bytes()
    found = Kept(workspace, *files, newest.commit, bodies, folder / "export", old)
    assert verification.verify(workspace, lambda _: None).problems == []
    return found


# Mutations of the log by a program that knows SQLite: each gives the first position that is wrong.


def change(kept: Kept, *statements: str) -> None:
    """Change the file behind Pai's back, guards removed for the moment."""
    with contextlib.closing(sqlite3.connect(kept.workspace.log_file, isolation_level=None)) as db:
        guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, sql in guards:
            db.execute(sql)


def flip(kept: Kept, at: random.Random) -> int:
    """Flip a bit of stored bytes."""
    position = at.randrange(EVENTS)
    body = bytearray(kept.bodies[position])
    body[at.randrange(len(body))] ^= 1 << at.randrange(8)
    change(kept, f"UPDATE events SET body = x'{body.hex()}' WHERE seq = {position}")  # noqa: S608
    return position


def flip_leaf(kept: Kept, at: random.Random) -> int:
    """Flip a bit of a stored hash."""
    position = at.randrange(EVENTS)
    leaf = bytearray(leaf_hash(kept.bodies[position]))
    leaf[at.randrange(32)] ^= 1 << at.randrange(8)
    change(kept, f"UPDATE events SET leaf = x'{leaf.hex()}' WHERE seq = {position}")  # noqa: S608
    return position


def delete(kept: Kept, at: random.Random) -> int:
    """Delete a row."""
    position = at.randrange(EVENTS)
    change(kept, f"DELETE FROM events WHERE seq = {position}")  # noqa: S608
    return position


def swap(kept: Kept, at: random.Random) -> int:
    """Let two rows change places."""
    first, second = sorted(at.sample(range(EVENTS), 2))
    change(
        kept,
        f"UPDATE events SET seq = -1 WHERE seq = {first}",  # noqa: S608
        f"UPDATE events SET seq = {first} WHERE seq = {second}",  # noqa: S608
        f"UPDATE events SET seq = {second} WHERE seq = -1",  # noqa: S608
    )
    return first


def truncate(kept: Kept, at: random.Random) -> int:
    """Cut the tail."""
    position = at.randrange(1, EVENTS)
    change(kept, f"DELETE FROM events WHERE seq >= {position}")  # noqa: S608
    return position


# Mutations by somebody who makes everything anew that is derived.


def forge(kept: Kept, bodies: list[bytes]) -> None:
    """Put a log in place that is whole in itself and holds these bytes."""
    state = State()
    for body in bodies:
        state.apply(decode(body))
    kept.workspace.log_file.unlink()
    stored = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(bodies)]
    place.create(kept.workspace.log_file, stored, projection_rows(state), FOLD_VERSION)


def edited(body: bytes, **fields: str) -> bytes:
    """Give the event with other fields."""
    event = decode(body)
    said = {"actor": event.actor, "id": event.id, "subject": event.subject, "time": event.time} | fields
    return encode(Event(said["actor"], event.payload, said["id"], said["subject"], said["time"]))


def forge_flip(kept: Kept, at: random.Random) -> int:
    """Let somebody else have done it."""
    position = at.randrange(EVENTS)
    bodies = list(kept.bodies)
    bodies[position] = edited(bodies[position], actor="nobody")
    forge(kept, bodies)
    return position


def forge_delete(kept: Kept, at: random.Random) -> int:
    """Let it never have happened."""
    position = at.randrange(1, EVENTS)
    forge(kept, kept.bodies[:position] + kept.bodies[position + 1 :])
    return position


def forge_insert(kept: Kept, at: random.Random) -> int:
    """Let it have happened once more."""
    position = at.randrange(1, EVENTS)
    before = decode(kept.bodies[position - 1])
    more = edited(kept.bodies[position], actor="nobody", id=format_ulid(parse_ulid(before.id) + 1), time=before.time)
    forge(kept, [*kept.bodies[:position], more, *kept.bodies[position:]])
    return position


def forge_swap(kept: Kept, at: random.Random) -> int:
    """Let two things have happened the other way round, with the ids and times of the places."""
    first = at.randrange(1, EVENTS - 1)
    bodies = list(kept.bodies)
    one, two = decode(bodies[first]), decode(bodies[first + 1])
    bodies[first] = edited(bodies[first + 1], id=one.id, time=one.time)
    bodies[first + 1] = edited(kept.bodies[first], id=two.id, time=two.time)
    forge(kept, bodies)
    return first


def forge_truncate(kept: Kept, at: random.Random) -> int:
    """Let the last things never have happened."""
    position = at.randrange(1, EVENTS)
    forge(kept, kept.bodies[:position])
    return position


def old_copy(kept: Kept, _: random.Random) -> int:
    """Put the log of an earlier day back, the workspace's checkpoint of that day with it."""
    kept.workspace.log_file.write_bytes(kept.earlier)
    kept.workspace.checkpoint.write_bytes(kept.old_checkpoint)
    with contextlib.closing(store.open_reader(kept.workspace.log_file)) as log:
        return log.size()


def another_key(kept: Kept, at: random.Random) -> int:
    """Sign the newest checkpoint again with another key of the same name, at a random place."""
    newest = read(kept.checkpoint)
    return _publish(kept, sign(newest, generate(newest.origin).secret), at)


def forged_checkpoint(kept: Kept, at: random.Random) -> int:
    """Publish a checkpoint that the key did sign, of a log that never was."""
    newest, key = read(kept.checkpoint), kept.workspace.signing_key.read_text()
    wrong = Checkpoint(newest.origin, at.randrange(1, EVENTS + 50), at.randbytes(32))
    return _publish(kept, sign(wrong, key), at)


def _publish(kept: Kept, note: str, at: random.Random) -> int:
    if at.randrange(2):
        kept.workspace.checkpoint.write_text(note)
    else:
        files = {"checkpoint": note.encode(), "vkey": kept.workspace.vkey.read_bytes()}
        witness.publish(repository(kept.workspace), kept.commit, files, "x\n", Author("x", "x@x"))
    return EVENTS


LOG_MUTATIONS: list[Callable[[Kept, random.Random], int]] = [
    flip, flip_leaf, delete, swap, truncate,
    forge_flip, forge_delete, forge_insert, forge_swap, forge_truncate, old_copy, another_key, forged_checkpoint,
]  # fmt: skip


@pytest.mark.parametrize("part", range(10))
def test_mutated_log_is_found_out(kept: Kept, part: int) -> None:
    """Every mutation makes `pai verify` complain; what the log itself shows is named by its position.

    What only a checkpoint shows is named by the last position that is still vouched for, at most 25 before the change.
    """
    at = random.Random(SEED * 10 + part)  # noqa: S311
    for _ in range(ROUNDS // 10):
        mutation = at.choice(LOG_MUTATIONS)
        kept.restore()
        wrong = mutation(kept, at)
        try:
            report = verification.verify(kept.workspace, lambda _: None)
            problems = report.problems
            if mutation is another_key and not problems:  # what another key signed says nothing about the log
                problems = [verification.LogProblem(None, report.warning)] if report.warning else []
            named = [problem.position for problem in problems if problem.position is not None]
        except PaiError as error:
            problems, named = [verification.LogProblem(None, error.message)], [wrong]
        assert problems, (mutation.__name__, wrong)
        if mutation in (flip, flip_leaf, delete):
            assert named[0] == wrong or wrong == EVENTS - 1, (mutation.__name__, wrong, problems[:3])
        elif mutation not in (another_key, forged_checkpoint):
            latest = EVENTS if wrong >= EVENTS - STEP else wrong  # there only the log's length tells
            assert wrong - STEP <= min(named) <= latest, (mutation.__name__, wrong, problems[:3])
    kept.restore()


# Mutations of an export.


def files_of(folder: Path) -> list[Path]:
    """Give all its files."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def export_flip(folder: Path, at: random.Random) -> None:
    """Flip a bit anywhere."""
    file = at.choice(files_of(folder))
    data = bytearray(file.read_bytes())
    data[at.randrange(len(data))] ^= 1 << at.randrange(8)
    file.write_bytes(data)


def export_cut(folder: Path, at: random.Random) -> None:
    """Take bytes away from a file's end, or all of it."""
    file = at.choice(files_of(folder))
    data = file.read_bytes()
    file.write_bytes(data[: at.randrange(len(data))])


def export_grow(folder: Path, at: random.Random) -> None:
    """Put bytes into a file."""
    file = at.choice(files_of(folder))
    data = file.read_bytes()
    place = at.randrange(len(data) + 1)
    file.write_bytes(data[:place] + at.randbytes(at.randrange(1, 9)) + data[place:])


def export_lose(folder: Path, at: random.Random) -> None:
    """Remove a file."""
    at.choice(files_of(folder)).unlink()


def export_add(folder: Path, at: random.Random) -> None:
    """Add a file."""
    names = ["more", "tile/0/999", "tile/entries/000.p/7", "tile/2/000", "tile/large/001"]
    file = folder / at.choice(names)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")


def export_reorder(folder: Path, at: random.Random) -> None:
    """Let two events change places in a bundle."""
    file = folder / "tile/entries/000"
    data, entries = file.read_bytes(), []
    while data:
        length = 2 + int.from_bytes(data[:2], "big")
        entries.append(data[:length])
        data = data[length:]
    first, second = at.sample(range(256), 2)
    entries[first], entries[second] = entries[second], entries[first]
    file.write_bytes(b"".join(entries))


def export_rehash(folder: Path, at: random.Random) -> None:
    """Change an event and its leaf hash."""
    file, hashes = folder / "tile/entries/000", folder / "tile/0/000"
    data, position = file.read_bytes(), at.randrange(1, 256)
    place = 0
    for _ in range(position):
        place += 2 + int.from_bytes(data[place : place + 2], "big")
    length = int.from_bytes(data[place : place + 2], "big")
    entry = data[place + 2 : place + 2 + length].replace(b'"tester"', b'"nobody"')
    file.write_bytes(data[: place + 2] + entry + data[place + 2 + length :])
    leaves = bytearray(hashes.read_bytes())
    leaves[32 * position : 32 * position + 32] = hashlib.sha256(b"\x00" + entry).digest()
    hashes.write_bytes(leaves)


def export_resign(folder: Path, _: random.Random) -> None:
    """Sign it with another key of the same name, and put that key beside it."""
    checkpoint = read((folder / "checkpoint").read_bytes())
    pair = generate(checkpoint.origin)
    (folder / "checkpoint").write_text(sign(checkpoint, pair.secret))
    (folder / "vkey").write_text(pair.vkey + "\n")


EXPORT_MUTATIONS = [
    export_flip, export_cut, export_grow, export_lose, export_add, export_reorder, export_rehash, export_resign,
]  # fmt: skip


def test_mutated_export_is_found_out(kept: Kept, tmp_path: Path) -> None:
    """Every mutation of an export is found by Pai and by the verifier that shares no code with it."""
    at, key = random.Random(SEED), key_of(kept.workspace)  # noqa: S311
    for number in range(ROUNDS):
        mutation = at.choice(EXPORT_MUTATIONS)
        folder = tmp_path / str(number)
        shutil.copytree(kept.export, folder)
        mutation(folder, at)
        assert verify_export(folder, key, lambda _: None).problems, (mutation.__name__, number)
        with pytest.raises(Exception):  # noqa: B017, PT011
            stranger.verify_export(folder, str(key))
        shutil.rmtree(folder)


def test_checkpoint_of_an_older_export_does_not_fit(kept: Kept, tmp_path: Path) -> None:
    """Hiding the newest events behind an old checkpoint is found: the files of the newer ones are there."""
    shutil.copytree(kept.export, tmp_path / "export")
    (tmp_path / "export" / "checkpoint").write_bytes(kept.old_checkpoint)
    assert verify_export(tmp_path / "export", key_of(kept.workspace), lambda _: None).problems
    with pytest.raises(stranger.Bad):
        stranger.verify_export(tmp_path / "export", str(key_of(kept.workspace)))
