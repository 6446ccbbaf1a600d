"""`pai export`: the log up to its newest checkpoint as files that anybody can verify (C2SP tlog-tiles).

Every event's bytes are hashed on the way, and the root has to be the one that the checkpoint vouches for; else nothing
is exported. Memory does not grow with the log. Reads only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from reconciler.core.errors import LogDamaged
from reconciler.evidence import folders, layout, published
from reconciler.evidence.checkpoints import Notary
from reconciler.log.check.pruned import left_part
from reconciler.log.store import Reader
from reconciler.tlog.merkle import TILE_HEIGHT, TILE_WIDTH, Frontier, Tiers, leaf_hash
from reconciler.tlog.note import VerifierKey
from reconciler.tlog.signed_checkpoint import Checkpoint, verify
from reconciler.workspace import Workspace

_HINT = "run `pai verify`; nothing was exported"


def export(workspace: Workspace, key: VerifierKey, target: Path, checked: Callable[[int], None]) -> Checkpoint:
    """Export what the newest checkpoint vouches for into the new or empty folder `target`.

    `checked` is told how many more events are done. Raises Refused, CouldNotRun, LogDamaged.
    """
    note = published.note(workspace)
    try:
        checkpoint = verify(note or b"", key)
    except ValueError as error:
        raise LogDamaged(f"data/checkpoint is not this log's: {error}", _HINT) from error
    with contextlib.closing(workspace.log().reader()) as log, folders.filled(target, "checkpoint") as draft:
        with log.moment():
            root = _Writer(draft, log).write(checkpoint.size, checked)
        if root != checkpoint.root:
            raise LogDamaged("the events are not those that the checkpoint vouches for", _HINT)
        (draft / "vkey").write_text(f"{key}\n")
        (draft / "checkpoint").write_bytes(note or b"")
    return checkpoint


def export_part(workspace: Workspace, notary: Notary, target: Path, stop: int, checked: Callable[[int], None]) -> None:
    """Export the events before position `stop`, a multiple of 256, with a checkpoint that says just these.

    Raises as `export` does.
    """
    with contextlib.closing(workspace.log().reader()) as log, folders.filled(target, "checkpoint") as draft:
        with log.moment():
            root = _Writer(draft, log).write(stop, checked)
        (draft / "vkey").write_text(f"{published.first_key(log)}\n")
        (draft / "checkpoint").write_bytes(notary.vouch(stop, root))


class _Writer:
    """Writes tiles and bundles as events come in."""

    def __init__(self, folder: Path, log: Reader) -> None:
        self._folder = folder
        self._log = log
        self._frontier = Frontier()
        self._tiers: dict[int, list[bytes]] = {}
        self._made: set[Path] = set()

    def _begin(self, first: int) -> None:
        """Write the hashes of what was dropped before `first`, and where the events begin."""
        self._frontier, problems = left_part(self._log.hashes, first)
        if problems or self._frontier.size != first:
            raise LogDamaged(problems[0], _HINT)
        tier = 1
        while count := first >> tier * TILE_HEIGHT:
            for n in range(0, count, TILE_WIDTH):
                hashes = self._log.hashes(tier, n, min(n + TILE_WIDTH, count))
                if len(hashes) == TILE_WIDTH:
                    self._put(layout.tile(tier, n // TILE_WIDTH), b"".join(hashes))
                else:
                    self._tiers[tier] = hashes
            tier += 1
        self._put(layout.MINIMUM_INDEX, b"%d\n" % first)

    def write(self, size: int, checked: Callable[[int], None]) -> bytes:
        """Write everything up to `size` events; give the root of what was written."""
        first = self._log.first()
        if first:
            self._begin(first)
        stream = self._log.read(first, size)
        while chunk := list(islice(stream, TILE_WIDTH)):
            bodies = []
            for position, (seq, body, _) in enumerate(chunk, self._frontier.size):
                if seq != position:
                    raise LogDamaged(f"position {position} is missing, {seq} follows", _HINT)
                bodies.append(body)
                if len(body) > layout.ENTRY_BYTES_MAX:
                    self._put(layout.large(position), body)
            self._add(bodies)
            checked(len(chunk))
        if self._frontier.size != size:
            raise LogDamaged(f"the log ends after {self._frontier.size} events, {size} are vouched for", _HINT)
        for tier, hashes in self._tiers.items():
            if hashes:
                n = (size >> 8 * tier) // TILE_WIDTH
                self._put(layout.tile(tier, n, len(hashes)), b"".join(hashes))
        return self._frontier.root()

    def _add(self, bodies: list[bytes]) -> None:
        n = self._frontier.size // TILE_WIDTH
        leaves = tuple(map(leaf_hash, bodies))
        self._put(layout.tile(layout.ENTRIES, n, len(bodies)), layout.bundle(bodies))
        tiers: Tiers = {0: (self._frontier.size, leaves)}
        self._frontier.extend(leaves, tiers)
        for tier, (first, hashes) in tiers.items():
            kept = self._tiers.setdefault(tier, [])
            kept += hashes
            if len(kept) == TILE_WIDTH:
                self._put(layout.tile(tier, first // TILE_WIDTH), b"".join(kept))
                kept.clear()

    def _put(self, name: str, content: bytes) -> None:
        path = self._folder / name
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        path.write_bytes(content)
