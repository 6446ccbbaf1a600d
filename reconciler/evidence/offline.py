"""`pai verify PATH`: an export recomputed from its own files, with no workspace and no trust in whoever made it.

The key to trust is the caller's, or the export's own `vkey`, which then proves only that the export is of one piece.
Every entry is hashed, read and compared with its tile; the tiles are recomputed; the root has to be the signed one.
Files that do not belong there are told too. Reads only, and never more of a file than it may hold.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from reconciler import durable
from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.events import LogCreated, LogPruned, decode
from reconciler.core.state import State
from reconciler.evidence import layout
from reconciler.log.check.derived import Replay
from reconciler.log.check.pruned import left_part
from reconciler.log.check.stored import BytesCheck
from reconciler.log.check.whole import Marks
from reconciler.log.problems import PROBLEMS_MAX, LogProblem
from reconciler.log.store import Stored
from reconciler.log.tree import Tree
from reconciler.tlog.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, leaf_hash
from reconciler.tlog.note import VerifierKey, parse_vkey
from reconciler.tlog.proofs import verify_inclusion
from reconciler.tlog.signed_checkpoint import NOTE_BYTES_MAX, Checkpoint, verify

LARGE_BYTES_MAX = 64 << 20
_PART_BYTES = 1 << 20
"""How many bytes of events are decoded at a time, at least one event: what they become takes many times as much."""
_PRUNED = b'"type":"log.pruned.v1"'
_BUNDLE_BYTES_MAX = TILE_WIDTH * (layout.ENTRY_BYTES_MAX + 2)


class Export(NamedTuple):
    """What was found in an export: `checkpoint` is None if none could be believed.

    Its events begin at `first`; `told` is whether they say why that is not 0. `state` is the one after them, if it was
    asked for and the one before is known.
    """

    problems: list[LogProblem]
    checkpoint: Checkpoint | None
    first: int = 0
    state: State | None = None
    told: bool = True


def verify_export(
    folder: Path,
    trusted: VerifierKey | None,
    checked: Callable[[int], None],
    before: State | None = None,
    marks: Marks | None = None,
) -> Export:
    """Recompute an export; `checked` is told how many more events are done. Raises NotFound if there is no folder.

    `before` is the state that the events of a part go on from, if it is known, for whoever wants that after them;
    `marks` is filled.
    """
    if not folder.is_dir():
        raise NotFound(
            f"there is no {folder}", "name the folder that pai export made, or the file that pai prove printed"
        )
    try:
        checkpoint = _checkpoint(folder, trusted)
        first = _minimum_index(folder, checkpoint.size)
    except _Missing as missing:
        return Export([LogProblem(None, str(missing))], None)
    except ValueError as error:
        return Export([LogProblem(None, f"the checkpoint cannot be believed: {error}")], None)
    files = _Files(folder, checkpoint, first)
    told: list[bool] = []
    frontier, wrong = left_part(files.hashes, first)
    if frontier.size != first:
        return Export([LogProblem(None, wrong[0])], checkpoint)
    check = BytesCheck(files.hashes, frontier, marks.sizes if marks else ())
    replay = Replay(before) if before is not None and before.position == first else None
    found = chain(
        (LogProblem(None, each) for each in wrong), _problems(files, check, replay, checkpoint, checked, told)
    )
    problems = list(islice(found, PROBLEMS_MAX))
    if marks is not None:
        marks.take(check.frontiers, replay.accepted if replay else ())
    return Export(problems, checkpoint, first, replay.state if replay else None, not first or bool(told))


class _Missing(Exception):
    """A file is not there, or is more than it may be."""


def _checkpoint(folder: Path, trusted: VerifierKey | None) -> Checkpoint:
    text = _read(folder, "vkey", NOTE_BYTES_MAX)
    try:
        key = parse_vkey(text.decode("utf-8"))
    except ValueError as error:
        raise _Missing(f"vkey is no verifier key: {error}") from error
    if text != f"{key}\n".encode():
        raise _Missing("vkey holds more than a verifier key")
    if trusted is not None and trusted != key:
        raise _Missing("vkey is not the key to trust")
    return verify(_read(folder, "checkpoint", NOTE_BYTES_MAX), key)


def _minimum_index(folder: Path, size: int) -> int:
    """Give the position that the events of an export begin at. Raises ValueError, _Missing."""
    if not os.path.lexists(folder / layout.MINIMUM_INDEX):
        return 0
    text = _read(folder, layout.MINIMUM_INDEX, layout.MINIMUM_INDEX_BYTES_MAX)
    first = int(text) if text.strip().isdigit() else -1
    if text != b"%d\n" % first or not 0 < first <= size or first % TILE_WIDTH:
        raise _Missing(f"{layout.MINIMUM_INDEX} names no position that the events may begin at")
    return first


def _problems(
    files: _Files,
    check: BytesCheck,
    replay: Replay | None,
    checkpoint: Checkpoint,
    checked: Callable[[int], None],
    told: list[bool],
) -> Iterator[LogProblem]:
    """Give what does not fit; `told` is filled if an event tells why the events begin where they do."""
    created, start = b"", base64.b64encode(check.frontier.root()).decode("ascii")
    for n in range(files.first, checkpoint.size, TILE_WIDTH):
        try:
            for entries in files.entries(n // TILE_WIDTH):
                created = created or entries[0].body
                if files.first and _is_told(files.first, start, entries):
                    told.append(True)
                yield from check.take(entries)
                if replay is not None:
                    replay.take([body for _, body, _ in entries])
                checked(len(entries))
        except (_Missing, ValueError) as error:
            yield LogProblem(n, str(error))
            return
    yield from _compare(files, check.frontier.root(), created, checkpoint)
    for name in sorted(files.strangers()):
        yield LogProblem(None, f"{name} is no file of this export")


def _is_told(first: int, root: str, entries: Sequence[Stored]) -> bool:
    """Tell whether one of the events says that the log begins at `first`, with the tree before it that has a root."""
    for _, body, _ in entries:
        if _PRUNED in body:
            with contextlib.suppress(ValueError):
                payload = decode(body).payload
                if isinstance(payload, LogPruned) and (payload.first, payload.root) == (first, root):
                    return True
    return False


def _compare(files: _Files, root: bytes, created: bytes, checkpoint: Checkpoint) -> Iterator[LogProblem]:
    for level, n, width in layout.tiles(checkpoint.size, files.first):
        try:
            files.tile(level, n, width)
        except _Missing as missing:
            yield LogProblem(n * TILE_WIDTH << level * TILE_HEIGHT, str(missing))
    if root != checkpoint.root:
        span = f"positions {files.first} to {checkpoint.size - 1}"
        yield LogProblem(files.first, f"{span} are not those that the checkpoint vouches for")
    if not files.first and _origin(created) != checkpoint.origin:
        yield LogProblem(0, f"the log's first event does not name {checkpoint.origin}")


def _origin(created: bytes) -> str:
    """Give the name in the key that the log's first event names, "" if it names none."""
    with contextlib.suppress(ValueError):
        payload = decode(created).payload
        return payload.vkey.partition("+")[0] if isinstance(payload, LogCreated) else ""
    return ""


class _Files:
    """The files of an export of `size` events."""

    def __init__(self, folder: Path, checkpoint: Checkpoint, first: int) -> None:
        self.first = first
        self._folder = folder
        self._size, self._root = checkpoint.size, checkpoint.root
        self._tree = Tree(self)
        self._large: list[str] = []

    def entries(self, n: int) -> Iterator[list[Stored]]:
        """Give the events of bundle `n` with their leaf hashes, some at a time. Raises _Missing, ValueError."""
        first = n * TILE_WIDTH
        width = min(TILE_WIDTH, self._size - first)
        name = layout.tile(layout.ENTRIES, n, width)
        try:
            bodies = layout.entries(_read(self._folder, name, _BUNDLE_BYTES_MAX))
        except ValueError as error:
            raise ValueError(f"{name} is no bundle of events: {error}") from error
        if len(bodies) != width:
            raise ValueError(f"{name} has {len(bodies)} events, {width} belong there")
        leaves = self.tile(0, n, width)
        part, size = list[Stored](), 0
        for seq, (body, leaf) in enumerate(zip(bodies, leaves, strict=True), first):
            part.append(Stored(seq, body or self._too_large(seq, leaf), leaf))
            size += len(part[-1].body)
            if size >= _PART_BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def hashes(self, tier: int, start: int, stop: int) -> list[bytes]:
        """Give the hashes of one level, as `Reader.hashes` does."""
        found: list[bytes] = []
        count = self._size >> tier * TILE_HEIGHT
        for n in range(start // TILE_WIDTH, (stop - 1) // TILE_WIDTH + 1):
            try:
                found += self.tile(tier, n, min(TILE_WIDTH, count - n * TILE_WIDTH))
            except _Missing:
                break
        skipped = start % TILE_WIDTH
        return found[skipped : skipped + stop - start]

    def tile(self, level: int, n: int, width: int) -> list[bytes]:
        """Give the hashes of one tile. Raises _Missing."""
        name = layout.tile(level, n, width)
        data = _read(self._folder, name, TILE_WIDTH * HASH_SIZE)
        if len(data) != width * HASH_SIZE:
            raise _Missing(f"{name} has {len(data)} bytes, {width * HASH_SIZE} belong there")
        return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]

    def strangers(self) -> Iterator[str]:
        """Give the files that do not belong to an export of this size."""
        wanted = {"checkpoint", "vkey", *self._large, *([layout.MINIMUM_INDEX] if self.first else [])}
        for level, n, width in layout.tiles(self._size, self.first):
            wanted.add(layout.tile(level, n, width))
            if level == 0:
                wanted.add(layout.tile(layout.ENTRIES, n, width))
        for root, _, names in os.walk(self._folder):
            found = (Path(root, name).relative_to(self._folder).as_posix() for name in names)
            yield from (name for name in found if name not in wanted)

    def _too_large(self, position: int, leaf: bytes) -> bytes:
        """Give an event that has a file of its own, once the checkpoint vouches for its hash and that for it."""
        name = layout.large(position)
        self._large.append(name)
        try:
            path = self._tree.inclusion(position, self._size)
        except LogDamaged as damaged:
            raise _Missing(damaged.message) from damaged
        body = _read(self._folder, name, LARGE_BYTES_MAX)
        if leaf_hash(body) != leaf or not verify_inclusion(leaf, position, self._size, path, self._root):
            raise _Missing(f"{name} is not the event at position {position} that the checkpoint vouches for")
        return body


def _read(folder: Path, name: str, most: int) -> bytes:
    try:
        return durable.read(folder / name, most)
    except OSError as error:
        raise _Missing(f"{name} is missing: {error.strerror}") from error
    except ValueError as error:
        raise _Missing(f"{name} {error}") from error
