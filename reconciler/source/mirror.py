"""The mirror of a remote branch on this machine.

The mirror is a bare repository that belongs to whoever holds the log's lock, who alone fetches into it and pushes from
it, one at a time. Its `refs/heads/BRANCH` is the remote's branch as it was last seen; nothing else of the remote is
kept but, where Pai may push, the checkpoints there. Readers need no lock. What was fetched is checked by git (fsck),
is bounded, and lies apart before the ref moves, so a transfer that ends badly changes nothing and leaves nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from reconciler import durable
from reconciler.core.errors import Refused, SourceUnavailable
from reconciler.source.absence import listed
from reconciler.source.bare import init_bare
from reconciler.source.credentials import RemoteCredentials
from reconciler.source.git import Repository
from reconciler.source.gitrun import GitRunner, Ran
from reconciler.source.incoming import incoming
from reconciler.source.remote import Remote, RemoteGit

PAUSE_FIRST_S = 15.0
PAUSE_MAX_S = 3600.0
"""How long checkpoints of the remote that could not be fetched are left alone, unless others stand there."""
_MARK = "pai-remote.json"
_WHO_DROPS = "nothing is in force; ask whoever runs it which hook or proxy drops pushes (proc-receive, post-receive)"
_LEFT = ("objects/pack/tmp_*", "objects/tmp_objdir-*", "objects/??/tmp_obj_*", "*.lock", "refs/**/*.lock")
"""What a git that was killed leaves in a repository; nobody else is at work when it is removed."""


class _Barred(NamedTuple):
    """What keeps a ref of the remote from being fetched: the object that it is at, when to try again.

    `lost` tells that it is no commit, so nothing can be pushed on top of it either.
    """

    oid: str
    why: str
    lost: bool
    pause_s: float
    again: float


class _NoCommit(SourceUnavailable):
    """What was asked for came, and is no commit."""


class Mirrored(msgspec.Struct, frozen=True):
    """What the mirror holds: of which remote (a digest), which branch, and when it was last fetched (RFC 3339)."""

    remote: str
    branch: str
    fetched: str


class Mirror:
    """The mirror of one remote branch."""

    def __init__(
        self,
        path: Path,
        remote: Remote,
        credentials: Callable[[], RemoteCredentials],
        now: Callable[[], str],
        on_checkpoints: Callable[[], None] = lambda: None,
    ) -> None:
        """`credentials` is asked at each run, `now` gives the time as RFC 3339.

        `on_checkpoints` is called after a fetch that brought other checkpoints than the mirror had.
        """
        self.path = path
        self.remote = remote
        self._now = now
        self._lock = threading.Lock()
        self._moved = False
        self._barred: dict[str, _Barred] = {}
        self._on_checkpoints = on_checkpoints
        self._git = GitRunner(path, remote.timeout_s, remote.bytes_max, remote.memory_bytes_max)
        self._there = RemoteGit(self._git, remote, credentials)

    def prepare(self) -> None:
        """Make the mirror if it is not there, and forget what another remote or branch left in it."""
        if not (self.path / "HEAD").is_file():
            init_bare(self.path, self.remote.branch)
        self._remove(*_LEFT)
        seen = last_seen(self.path)
        another = seen is None or (seen.remote, seen.branch) != (self._there.digest, self.remote.branch)
        if another:
            self._note("")
            self._remove("refs/heads/*", "logs/refs/heads/*")  # whatever they hold: a name may bar the next one
        mirror = Repository.open(self.path)
        if another:
            mirror.drop_refs("refs/heads/", but=set())  # the packed ones
        places = set() if another else {_place(ref) for ref in self.remote.checkpoints}
        mirror.drop_refs("refs/pai/remote/", but=places)  # others may bar these

    @property
    def problem(self) -> str:
        """Say why checkpoints of the remote are not known here, "" if they are."""
        return "; ".join(barred.why for barred in list(self._barred.values()))

    def is_lost(self, ref: str) -> bool:
        """Tell whether a ref of checkpoints at the remote is no commit, so that nothing can be pushed there."""
        barred = self._barred.get(ref)
        return barred is not None and barred.lost

    def fetched(self) -> str:
        """Give the time of the last good fetch as RFC 3339, "" if there was none."""
        seen = last_seen(self.path)
        return seen.fetched if seen else ""

    def cancel(self) -> None:
        """End the transfer that runs, and let none begin any more."""
        self._git.cancel()

    def fetch(self) -> None:
        """Bring the mirror up to the remote's branch. Raises SourceUnavailable; then nothing has changed.

        Checkpoints there that cannot be fetched are no error: anybody may have put them there. See `problem`.
        """
        with self._lock, self._there.scrubbing():
            self._fetch()
            moved, self._moved = self._moved, False
        if moved:
            self._on_checkpoints()

    def push(self, commit: str, expected: str | None) -> bool:
        """Move the remote's branch from `expected` to `commit`; False if it is elsewhere, as the mirror then knows.

        Raises Refused with the remote's own words if it does not take the commit, SourceUnavailable.
        """
        if not self.remote.push:
            raise Refused(
                f"Pai does not push to {self.remote.shown}",
                "commit there; or set source.push = true, and let source.secret hold credentials that may push",
            )
        with self._lock, self._there.scrubbing():
            ran = self._send(f"{commit}:{self.remote.ref}")
            try:
                self._fetch(commit)  # whatever was said, the branch says what came of it
            except SourceUnavailable as error:
                if ran.code:
                    raise self._there.failure(ran) from None
                message = f"the push went to {self.remote.shown}, and whether it arrived is not known: {error.message}"
                hint = "run the command again when the remote answers; what arrived is not done twice"
                raise SourceUnavailable(message, hint) from None
            tip = Repository.open(self.path).tip(self.remote.branch)
            if tip is not None and self._holds(tip, commit):
                return True
            if tip != expected:
                return False
            if ran.code == 0:
                raise Refused(self._dropped(f"its branch {self.remote.branch}"), _WHO_DROPS)
            if refusal := self._there.refusal(ran):
                raise Refused(f"{self.remote.shown} refused the push: {refusal}", "see the remote's branch protection")
            raise self._there.failure(ran)

    def push_checkpoints(self) -> None:
        """Bring the mirror's checkpoints to the remote. Raises SourceUnavailable, also if the remote refuses them."""
        problem: SourceUnavailable | None = None
        with self._lock, self._there.scrubbing():
            for ref in self.remote.checkpoints:
                try:
                    self._push_checkpoints(ref)
                except SourceUnavailable as error:  # the other ref may be taken all the same
                    problem = problem or error
            if problem is not None:
                raise problem

    def _push_checkpoints(self, ref: str) -> None:
        repository = Repository.open(self.path)
        newest = repository.target(ref)
        if newest is None or newest == repository.target(_place(ref)):
            return
        ran = self._send(ref)
        if ran.code:
            if said := self._there.refusal(ran):
                raise SourceUnavailable(
                    f"{self.remote.shown} refused {ref}: {said}", "let Pai's credentials write that ref"
                )
            raise self._there.failure(ran)
        found = self._there.refs([ref]).get(ref)
        if found == newest:
            self._update(_place(ref), newest)
        elif found == repository.target(_place(ref)):
            raise SourceUnavailable(self._dropped(ref), _WHO_DROPS)  # elsewhere it is what the next fetch brings

    def _dropped(self, what: str) -> str:
        return f"{self.remote.shown} says that it took the push, and {what} did not move"

    def _send(self, what: str) -> Ran:
        """Push, and keep nothing that comes back: from a server of files git fetches before it pushes (http-push.c)."""
        with incoming(self.path) as place:
            return self._there.push(what, place.environment)

    def _fetch_checkpoints(self, ref: str, oid: str, timeout_s: float) -> None:
        """Bring one ref of checkpoints, or say in `problem` why it does not come, and leave it alone for a while."""
        barred = self._barred.get(ref)
        if barred is not None and barred.oid == oid and time.monotonic() < barred.again:
            return
        try:
            if Repository.open(self.path).target(_place(ref)) != oid:
                self._bring(oid, timeout_s)
                self._update(_place(ref), oid)
            self._absorb(ref)
        except SourceUnavailable as error:
            pause_s = min(PAUSE_MAX_S, barred.pause_s * 2) if barred and barred.oid == oid else PAUSE_FIRST_S
            why = f"{ref} of the remote is not known here: {self._there.scrub(error.message)}"
            self._barred[ref] = _Barred(oid, why, isinstance(error, _NoCommit), pause_s, time.monotonic() + pause_s)
        else:
            self._barred.pop(ref, None)

    def _absorb(self, ref: str) -> None:
        """Continue from the checkpoints of the remote, which is the witness; ours that differ are kept beside."""
        repository = Repository.open(self.path)
        ours, theirs = repository.target(ref), repository.target(_place(ref))
        if theirs is None or ours == theirs:
            return
        if ours is not None:
            if self._holds(ours, theirs):
                return  # what was not pushed yet
            if not self._holds(theirs, ours):
                self._update(f"refs/pai/kept/{ours}", ours)
        ran = self._git.run("update-ref", ref, theirs, ours or "")
        self._moved = self._moved or ran.code == 0  # else a checkpoint was just made: at the next fetch

    def _fetch(self, sent: str = "") -> None:
        """Bring what the remote shows; `sent` is a commit that was just pushed from here."""
        wanted = [self.remote.ref, *(self.remote.checkpoints if self.remote.push else ())]
        until = time.monotonic() + self.remote.timeout_s
        shown = self._there.refs(wanted)
        tip = shown.pop(self.remote.ref, None)
        mirror = Repository.open(self.path)
        if tip is None:
            self._without_branch()
        elif mirror.target(self.remote.ref) != tip:
            if tip != sent:
                self._bring(tip, until - time.monotonic())
            self._update(self.remote.ref, tip)
        for ref in self._barred.keys() - shown.keys():
            del self._barred[ref]
        for ref in wanted[1:]:
            if ref in shown:
                self._fetch_checkpoints(ref, shown[ref], until - time.monotonic())
            elif mirror.target(_place(ref)) is not None:
                self._update("-d", _place(ref))  # somebody deleted it there
        self._note(self._now())

    def _bring(self, oid: str, timeout_s: float) -> None:
        """Fetch what makes a commit whole, all of it or nothing.

        No ref moves here: git would leave one where it was, without a word, if the remote has no whole history.
        """
        shallow = self.path / "shallow"
        shallow.unlink(missing_ok=True)  # of a program that was killed
        with incoming(self.path) as place:
            self._there.fetch(oid, place.environment, timeout_s)
            if shallow.exists():
                shallow.unlink()
                raise SourceUnavailable(
                    f"{self.remote.shown} is a shallow clone, whose older commits are missing",
                    "git fetch --unshallow there, or set source.repo to the repository that it was cloned from",
                )
            if chain := place.excess():
                raise SourceUnavailable(
                    f"{self.remote.shown} sends {chain.said}", f"run there: git repack -a -d -F --depth={chain.depth}"
                )
            if not Repository.open(self.path, place.folders).is_commit(oid):
                raise _NoCommit(f"object {oid} of {self.remote.shown} is no commit", "move the ref there")
            place.keep()

    def _without_branch(self) -> None:
        """Tell an empty remote, which is an empty state, from one that lacks our branch, or hides it: a fault."""
        branches = self._there.first_refs("refs/heads/", "--heads")
        others = [] if branches else self._there.first_refs("")
        if branches or others or Repository.open(self.path).tip(self.remote.branch) is not None:
            hint = f"its branches: {listed(branches) or 'none'}; set source.branch, or push {self.remote.branch} again"
            if others:
                hint = (
                    f"it shows no branch, but {listed(others)}; push {self.remote.branch}, "
                    "or use credentials to which it is not hidden"
                )
            raise SourceUnavailable(f"branch {self.remote.branch} does not exist in {self.remote.shown}", hint)

    def _holds(self, tip: str, commit: str) -> bool:
        return Repository.open(self.path).walk(tip, commit).relation in ("same", "forward", "merged")

    def _update(self, *words: str) -> None:
        """Move a ref of the mirror to a commit, or drop it (`-d`)."""
        ran = self._git.run("update-ref", *words)
        if ran.code and not ran.cancelled:
            raise SourceUnavailable(f"the mirror {self.path} cannot be written: {ran.err.strip()}", "check the disk")

    def _note(self, fetched: str) -> None:
        seen = Mirrored(self._there.digest, self.remote.branch, fetched)
        try:
            durable.replace(self.path / _MARK, msgspec.json.encode(seen), 0o644)
        except OSError as error:
            raise SourceUnavailable(
                f"the mirror {self.path} cannot be written: {error.strerror}", "check the disk"
            ) from error

    def _remove(self, *patterns: str) -> None:
        """Remove files and folders of the mirror, as far as that can be done."""
        for pattern in patterns:
            for path in self.path.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        path.unlink()


def _place(ref: str) -> str:
    """Name the mirror's ref for one of Pai's own at the remote."""
    return f"refs/pai/remote/{ref.removeprefix('refs/pai/')}"


def last_seen(path: Path) -> Mirrored | None:
    """Read what the mirror at `path` holds, None if it was never made."""
    try:
        return msgspec.json.decode((path / _MARK).read_bytes(), type=Mirrored)
    except (OSError, ValueError):
        return None
