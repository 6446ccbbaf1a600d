"""Signs checkpoints of the log and publishes them.

Invariants
- The root is recomputed from the stored bytes on the disk, read through a connection of its own: all that came after
  the last checkpoint, on top of a frontier whose root is the one that it signed. What does not add up is not signed.
- Of any two checkpoints one is a beginning of the other, unless an operator accepted a log that was rolled back.
- The workspace's own copy is durable before anything is published, so the copy is never behind the repository.
- Before publishing on top of what somebody else put on the ref, that is compared with the log. Where it is another
  log's, or no commit, this log's checkpoints go on a ref of their own.

Safe to use from several threads; the caller holds the log's lock, so there is one notary for a log.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from reconciler import durable
from reconciler.core.errors import CouldNotRun, LogDamaged, SourceUnavailable
from reconciler.evidence import guard, published
from reconciler.evidence.published import Line
from reconciler.log import pruned
from reconciler.log.store import Reader
from reconciler.log.tree import Tree, extend
from reconciler.source import witness
from reconciler.source.git import Author
from reconciler.source.packing import Packer
from reconciler.tlog.merkle import Frontier
from reconciler.tlog.note import VerifierKey, parse_vkey
from reconciler.tlog.proofs import verify_consistency
from reconciler.tlog.signed_checkpoint import Checkpoint, sign
from reconciler.workspace import Workspace

_HINT = "run `pai verify` to see all that is wrong"


class Notary:
    """Vouches for the log of one workspace."""

    def __init__(self, workspace: Workspace, vkey: str, is_lost: Callable[[str], bool] | None = None) -> None:
        """`vkey` is the verifier key that the log's first event names. Raises LogDamaged if it is none.

        `is_lost` tells whether a ref is at something at the remote that nothing can be pushed on top of.
        """
        self._workspace = workspace
        try:
            self._key: VerifierKey = parse_vkey(vkey)
        except ValueError as error:
            raise LogDamaged(f"the log names no verifier key: {error}", _HINT) from error
        self._lock = threading.Lock()
        self._last: Checkpoint | None = None
        self._frontier: Frontier | None = None
        """What the newest checkpoint signed, if that was signed here."""
        self._is_lost = is_lost or (lambda _: False)
        self._lines: dict[str, Line] = {}
        """What each ref had when the log was compared with it, or when something was published there since."""
        self._packer: Packer | None = None

    @property
    def size(self) -> int:
        """The number of events that the newest checkpoint vouches for, 0 while this notary has none."""
        last = self._last
        return last.size if last else 0

    @property
    def warning(self) -> str:
        """Say what on the repository's refs is not this log's, "" if nothing is."""
        return guard.warning(list(self._lines.values()))

    def begin(self) -> guard.Finding:
        """Compare the log with what was vouched for, and continue from there unless that is contradicted."""
        with self._lock:
            finding = guard.examine(self._workspace, self._key, self._lines)
            self._lines = {line.ref: line for line in finding.lines}
            self._last = finding.last
            return finding

    def attest(self) -> str:
        """Sign and publish; gives and raises what `publish` does."""
        self.sign()
        return self.publish()

    def sign(self) -> Checkpoint:
        """Give the checkpoint of the whole log, signed now unless it was before.

        Raises LogDamaged if the stored bytes do not add up to it, CouldNotRun if key or copy cannot be used.
        """
        with self._lock:
            with contextlib.closing(self._workspace.log().reader()) as log, log.moment():
                head = log.head()
                last = self._last
                if last is not None and last.size == head.size:
                    return last
                kept = self._frontier
                if last is None:
                    _, frontier = pruned.start(log)
                elif kept is not None and (kept.size, kept.root()) == (last.size, last.root):
                    frontier = Frontier(kept.size, kept.peaks)
                else:
                    frontier = _resumed(log, last)
                extend(frontier, log, head.size)
                if frontier.pack() != head.peaks:
                    raise LogDamaged(f"the Merkle frontier of {head.size} events is not the one stored", _HINT)
            checkpoint = Checkpoint(self._key.name, head.size, frontier.root())
            try:
                durable.replace(self._workspace.checkpoint, self._signed(checkpoint).encode())
            except OSError as error:
                told = f"{self._workspace.checkpoint} cannot be written: {error.strerror}"
                raise CouldNotRun(told, "check its folder's owner and mode, and the disk") from error
            self._last, self._frontier = checkpoint, frontier
            return checkpoint

    def vouch(self, size: int, root: bytes) -> bytes:
        """Give a signed note for a beginning of the log that the newest checkpoint covers: for a part to be exported.

        It is kept nowhere here. Raises LogDamaged if the log does not begin so, CouldNotRun if the key cannot be used.
        """
        with self._lock, contextlib.closing(self._workspace.log().reader()) as log, log.moment():
            last = self._last
            if last is None or size > last.size:
                raise LogDamaged(f"no checkpoint covers the first {size:,} events", _HINT)
            proof = Tree(log).consistency(size, last.size)
            if not verify_consistency(size, last.size, proof, root, last.root):
                raise LogDamaged(f"the log signed before does not begin with these {size:,} events", _HINT)
            return self._signed(Checkpoint(self._key.name, size, root)).encode()

    def publish(self) -> str:
        """Commit the newest checkpoint to the config repository unless it is there.

        Gives "", or why the log is not the one that was published meanwhile. Raises SourceUnavailable, RaceLost,
        CouldNotRun, LogDamaged.
        """
        with self._lock:
            repository = self._workspace.local_repository()
            note = published.note(self._workspace)
            if note is None:
                raise CouldNotRun(f"{self._workspace.checkpoint} is gone", "the next checkpoint writes it again")
            own = published.claim_of(note, self._key)
            if own.checkpoint is None:
                raise CouldNotRun(own.problem, "the next checkpoint writes it again")
            lines = guard.read_lines(repository, self._key, self._lines)
            known = {line.claim for line in self._lines.values()}
            if any(line.claim not in known for line in lines if line.claim is not None):
                finding = guard.examine(self._workspace, self._key, self._lines)
                if finding.rollback:
                    return finding.rollback
            self._lines = {line.ref: line for line in lines}
            home = guard.home(lines, lost=self._is_lost(lines[0].ref))
            if home.claim is not None and home.claim.digest == own.digest:
                return ""
            if home.broken:
                raise SourceUnavailable(home.other, f"move {home.ref} away")
            contents = {"checkpoint": note, "vkey": f"{self._key}\n".encode()}
            message = f"Checkpoint of {self.size:,} events\n"
            author = Author("Pai", "pai@localhost")
            commit = witness.publish(repository, home.tip, contents, message, author, home.ref)
            self._lines[home.ref] = published.ours(home.ref, commit, own)
            if self._packer is None:
                self._packer = Packer(repository)
            self._packer.tidy()
            return ""

    def _signed(self, checkpoint: Checkpoint) -> str:
        path = self._workspace.signing_key
        try:
            secret = path.read_text("utf-8")
            text = sign(checkpoint, secret)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CouldNotRun(f"{path} cannot sign: {why}", "restore it from a backup") from error
        if published.claim_of(text.encode(), self._key).checkpoint is None:
            raise CouldNotRun(f"{path} is not the key that the log names", "restore it from a backup")
        return text


def _resumed(log: Reader, last: Checkpoint) -> Frontier:
    frontier = guard.signed_frontier(log, last)
    if frontier is None:
        raise LogDamaged(f"the log does not begin with the {last.size:,} events signed before", _HINT)
    return frontier
