"""The mirror of a remote branch on this machine.

The mirror is a bare repository that belongs to whoever holds the log's lock, who alone fetches into it and pushes from
it, one at a time. Its `refs/heads/BRANCH` is the remote's branch as it was last seen; nothing else of the remote is
kept but, where Pai may push, the checkpoints there. Readers need no lock. What was fetched is checked by git (fsck),
is bounded, and lies apart before the ref moves, so a transfer that ends badly changes nothing and leaves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from reconciler.core.errors import Refused, SourceUnavailable
from reconciler.source import git_refusals
from reconciler.source.absence import SHOWN_MAX, listed
from reconciler.source.bare import init_bare
from reconciler.source.credentials import RemoteAddress, RemoteCredentials, opened
from reconciler.source.git import Repository
from reconciler.source.gitrun import GitRunner, Ran
from reconciler.source.incoming import incoming
from reconciler.source.mapping import SHA1
from reconciler.source.remote import Remote

PAUSE_FIRST_S = 15.0
PAUSE_MAX_S = 3600.0
"""How long checkpoints of the remote that could not be fetched are left alone, unless others stand there."""
WHOLE = "--depth=2147483647"
"""To git that is all of the history (git.git, Documentation/technical/shallow.txt).

A remote that serves files alone, of which git checks nothing and counts nothing, cannot be asked for a depth: git then
refuses it (remote-curl.c, `fetch_dumb`).
"""
_MARK = "pai-remote.json"
_SHA256_DIGITS = 64
_ID = re.compile(f"[0-9a-f]{{40}}|[0-9a-f]{{{_SHA256_DIGITS}}}")
_OF_EMPTY = ("refs/pai/", "refs/meta/")
"""Refs of a repository to which nothing was pushed yet: checkpoints, and the settings that Gerrit keeps in each."""
_WHO_DROPS = "nothing is in force; ask whoever runs it which hook or proxy drops pushes (proc-receive, post-receive)"


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
        self._address = RemoteAddress.parse(remote.repo)
        self._credentials = credentials
        self._now = now
        self._lock = threading.Lock()
        self._moved = False
        self._barred: dict[str, _Barred] = {}
        self._used = RemoteCredentials()
        self._on_checkpoints = on_checkpoints
        self._git = GitRunner(path, remote.timeout_s, remote.bytes_max, remote.memory_bytes_max)
        self._digest = hashlib.sha256(self._address.url.encode()).hexdigest()

    def prepare(self) -> None:
        """Make the mirror if it is not there, and forget what another remote or branch left in it."""
        if not (self.path / "HEAD").is_file():
            init_bare(self.path, self.remote.branch)
        self._tidy("refs/**/*.lock")  # nobody else is at work yet
        places = {_place(ref) for ref in self.remote.checkpoints}
        seen = last_seen(self.path)
        another = seen is None or (seen.remote, seen.branch) != (self._digest, self.remote.branch)
        if another:
            self._note("")
            for below in ("refs/heads/*", "logs/refs/heads/*"):
                for path in self.path.glob(below):
                    _remove(path)  # whatever they hold: a name may bar the next one
        mirror = Repository.open(self.path)
        mirror.drop_refs("refs/pai/remote/", but=places)  # others may bar these
        if another:
            mirror.drop_refs("refs/heads/", but=set())  # the packed ones
            for place in places:
                self._drop(place)

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
        with self._lock, self._scrubbing():
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
        with self._lock, self._scrubbing():
            ran = self._send(f"{commit}:{self._ref}")
            try:
                self._fetch(commit)  # whatever was said, the branch says what came of it
            except SourceUnavailable as error:
                raise (self._failed(ran) if ran.code else self._unconfirmed(error)) from None
            tip = Repository.open(self.path).tip(self.remote.branch)
            if tip is not None and self._holds(tip, commit):
                return True
            if tip != expected:
                return False
            if ran.code == 0:
                raise Refused(self._dropped(f"its branch {self.remote.branch}"), _WHO_DROPS)
            if refusal := git_refusals.push_refused(self._scrubbed(ran)):
                raise Refused(f"{self.remote.shown} refused the push: {refusal}", "see the remote's branch protection")
            raise self._failed(ran)

    def push_checkpoints(self) -> None:
        """Bring the mirror's checkpoints to the remote. Raises SourceUnavailable, also if the remote refuses them."""
        problem: SourceUnavailable | None = None
        with self._lock, self._scrubbing():
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
            if said := git_refusals.push_refused(self._scrubbed(ran)):
                raise SourceUnavailable(
                    f"{self.remote.shown} refused {ref}: {said}", "let Pai's credentials write that ref"
                )
            raise self._failed(ran)
        found = self._shown([ref], self.remote.timeout_s).get(ref)
        if found == newest:
            self._update(_place(ref), newest)
        elif found == repository.target(_place(ref)):
            raise SourceUnavailable(self._dropped(ref), _WHO_DROPS)  # elsewhere it is what the next fetch brings

    def _dropped(self, what: str) -> str:
        return f"{self.remote.shown} says that it took the push, and {what} did not move"

    def _unconfirmed(self, error: SourceUnavailable) -> SourceUnavailable:
        message = f"the push went to {self.remote.shown}, and whether it arrived is not known: {error.message}"
        return SourceUnavailable(
            message, "run the command again when the remote answers; what arrived is not done twice"
        )

    def _send(self, what: str) -> Ran:
        """Push, and keep nothing that comes back: from a server of files git fetches before it pushes (http-push.c)."""
        with incoming(self.path) as place:
            words = ("push", "--porcelain", "--no-verify", "--", self._address.url, what)
            return self._run(*words, environment=place.environment)

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
            why = f"{ref} of the remote is not known here: {self._used.scrub(error.message)}"
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

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.remote.branch}"

    def _fetch(self, sent: str = "") -> None:
        """Bring what the remote shows; `sent` is a commit that was just pushed from here."""
        wanted = [self._ref, *(self.remote.checkpoints if self.remote.push else ())]
        until = time.monotonic() + self.remote.timeout_s
        shown = self._shown(wanted, self.remote.timeout_s)
        tip = shown.pop(self._ref, None)
        mirror = Repository.open(self.path)
        if tip is None:
            self._without_branch()
        elif mirror.target(self._ref) != tip:
            if tip != sent:
                self._bring(tip, until - time.monotonic())
            self._update(self._ref, tip)
        for ref in self._barred.keys() - shown.keys():
            del self._barred[ref]
        for ref in wanted[1:]:
            if ref in shown:
                self._fetch_checkpoints(ref, shown[ref], until - time.monotonic())
            elif mirror.target(_place(ref)) is not None:
                self._drop(_place(ref))  # somebody deleted it there
        self._note(self._now())

    def _shown(self, wanted: Sequence[str], timeout_s: float) -> dict[str, str]:
        """Ask where refs of the remote are; those that it does not show are left out. Raises SourceUnavailable."""
        only = ("--heads",) if list(wanted) == [self._ref] else ()  # spares a large remote the listing of the others
        ran = self._run("ls-remote", *only, "--quiet", "--", self._address.url, *wanted, timeout_s=timeout_s)
        if ran.code:
            raise self._failed(ran)
        shown = {ref: oid for oid, ref in _listed(ran.out) if ref in wanted}
        if any(len(oid) == _SHA256_DIGITS for oid in shown.values()):
            raise SourceUnavailable(f"{self.remote.shown} uses SHA-256 object ids, which are not supported", SHA1)
        return shown

    def _bring(self, oid: str, timeout_s: float) -> None:
        """Fetch what makes a commit whole, all of it or nothing.

        No ref moves here: git would leave one where it was, without a word, if the remote has no whole history.
        """
        shallow = self.path / "shallow"
        shallow.unlink(missing_ok=True)  # of a program that was killed
        with incoming(self.path) as place:
            words = ("--no-write-fetch-head", "--no-tags", "--no-recurse-submodules", "--force", "--quiet", WHOLE, "--")
            ran = self._run("fetch", *words, self._address.url, oid, environment=place.environment, timeout_s=timeout_s)
            if ran.code:
                raise self._failed(ran)
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
        branches = self._some("refs/heads/", "--heads")
        others = [] if branches else self._some("")
        if branches or others or Repository.open(self.path).tip(self.remote.branch) is not None:
            hint = f"its branches: {listed(branches) or 'none'}; set source.branch, or push {self.remote.branch} again"
            if others:
                hint = (
                    f"it shows no branch, but {listed(others)}; push {self.remote.branch}, "
                    "or use credentials to which it is not hidden"
                )
            raise SourceUnavailable(f"branch {self.remote.branch} does not exist in {self.remote.shown}", hint)

    def _some(self, folder: str, *words: str) -> list[str]:
        """Give the first few refs of the remote by their names below a folder; none that even an empty one has."""
        ran = self._run("ls-remote", *words, "--quiet", "--", self._address.url)
        if ran.code:
            raise self._failed(ran)
        names = (
            ref.removeprefix(folder)
            for _, ref in _listed(ran.out)
            if ref.startswith(folder) and not ref.startswith(_OF_EMPTY)
        )
        return heapq.nsmallest(SHOWN_MAX + 1, filter(None, names))  # to put 150,000 in order is one call of 0.1 s

    def _run(self, *words: str, environment: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Ran:
        held = self._used = self._held()
        with opened(self._address, held, self.remote.ca_file, self.remote.timeout_s) as access:
            return self._git.run(
                *words,
                options=access.options,
                environment={**access.environment, **(environment or {})},
                pass_fds=access.descriptors,
                timeout_s=None if timeout_s is None else max(0.0, timeout_s),
            )

    def _held(self) -> RemoteCredentials:
        """Put together what the secret and the address hold; the secret comes first."""
        held, address = self._credentials(), self._address
        return held._replace(username=held.username or address.username, password=held.password or address.password)

    def _scrubbed(self, ran: Ran) -> Ran:
        return ran._replace(out=self._used.scrub(ran.out), err=self._used.scrub(ran.err))

    @contextlib.contextmanager
    def _scrubbing(self) -> Iterator[None]:
        """Scrub what is said in the end: what was done to the words of a remote may have put a secret together."""
        try:
            yield
        except (SourceUnavailable, Refused) as error:
            if (clean := self._used.scrub(error.message)) == error.message:
                raise
            raise type(error)(clean, self._used.scrub(error.hint)) from None

    def _failed(self, ran: Ran) -> SourceUnavailable:
        # The address stands before the message anyway, and its words must not be taken for the reason. Nothing is
        # replaced once the secrets are out of it: a remote could have a word fall between the halves of one.
        remote, url = self.remote, self._address.url.rstrip("/")
        said = self._scrubbed(ran._replace(err=ran.err.replace(f"'{url}/'", "it").replace(url, "it")))
        limits = remote.timeout_s, remote.bytes_max, remote.memory_bytes_max
        return git_refusals.failure(said, remote.shown, self._address.scheme, *limits)

    def _holds(self, tip: str, commit: str) -> bool:
        return Repository.open(self.path).walk(tip, commit).relation in ("same", "forward", "merged")

    def _update(self, ref: str, commit: str) -> None:
        self._local("update-ref", ref, commit)

    def _drop(self, ref: str) -> None:
        self._local("update-ref", "-d", ref)

    def _local(self, *words: str) -> None:
        ran = self._git.run(*words)
        if ran.code and not ran.cancelled:
            raise SourceUnavailable(f"the mirror {self.path} cannot be written: {ran.err.strip()}", "check the disk")

    def _note(self, fetched: str) -> None:
        seen = Mirrored(self._digest, self.remote.branch, fetched)
        place = self.path / _MARK
        temporary = place.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(seen))
            temporary.replace(place)
        except OSError as error:
            raise SourceUnavailable(
                f"the mirror {self.path} cannot be written: {error.strerror}", "check the disk"
            ) from error

    def _tidy(self, *further: str) -> None:
        """Remove what a git that was killed left; what other threads of this program may be writing stays."""
        left = ("objects/pack/tmp_*", "objects/tmp_objdir-*", "objects/??/tmp_obj_*", "*.lock", "refs/heads/**/*.lock")
        for pattern in (*left, "refs/pai/remote/*.lock", *further):
            for path in self.path.glob(pattern):
                _remove(path)


def _place(ref: str) -> str:
    """Name the mirror's ref for one of Pai's own at the remote."""
    return f"refs/pai/remote/{ref.removeprefix('refs/pai/')}"


def _listed(said: str) -> Iterator[tuple[str, str]]:
    """Read what `git ls-remote` says: ids and refs, a line each.

    A line ends at LF alone. What else Python takes for the end of one may stand in the name of anybody's branch, which
    would then be cut to the name of another one. A first line that lost its beginning has no whole id.
    """
    for line in said.split("\n"):
        oid, _, ref = line.partition("\t")
        if _ID.fullmatch(oid):
            yield oid, ref


def last_seen(path: Path) -> Mirrored | None:
    """Read what the mirror at `path` holds, None if it was never made."""
    try:
        return msgspec.json.decode((path / _MARK).read_bytes(), type=Mirrored)
    except (OSError, ValueError):
        return None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            for inner in sorted(path.rglob("*"), reverse=True):
                inner.rmdir() if inner.is_dir() else inner.unlink()
            path.rmdir()
        else:
            path.unlink()
