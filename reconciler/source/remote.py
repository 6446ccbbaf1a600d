"""A branch of a repository on another machine: where it is, and what git asks it, fetches from it and pushes to it.

Whatever is said of a remote, in an error too, is without the secrets that it was reached with.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.core.errors import Refused, SourceUnavailable
from reconciler.source import git_refusals
from reconciler.source.absence import SHOWN_MAX
from reconciler.source.credentials import RemoteAddress, RemoteCredentials, opened
from reconciler.source.gitrun import MEMORY_BYTES_MAX, GitRunner, Ran
from reconciler.source.mapping import SHA1
from reconciler.source.witness import CHECKPOINTS

WHOLE = "--depth=2147483647"
"""To git that is all of the history (git.git, Documentation/technical/shallow.txt).

A remote that serves files alone, of which git checks nothing and counts nothing, cannot be asked for a depth: git then
refuses it (remote-curl.c, `fetch_dumb`).
"""
_SHA256_DIGITS = 64
_ID = re.compile(f"[0-9a-f]{{40}}|[0-9a-f]{{{_SHA256_DIGITS}}}")
_OF_EMPTY = ("refs/pai/", "refs/meta/")
"""Refs of a repository to which nothing was pushed yet: checkpoints, and the settings that Gerrit keeps in each."""


class Remote(NamedTuple):
    """Where a branch is and how it is reached. `shown` is the address without credentials, for people.

    `checkpoints` are the refs on which the log's checkpoints may be.
    """

    repo: str
    shown: str
    branch: str
    ca_file: Path | None
    timeout_s: float
    bytes_max: int
    push: bool
    memory_bytes_max: int = MEMORY_BYTES_MAX
    checkpoints: Sequence[str] = (CHECKPOINTS,)

    @property
    def ref(self) -> str:
        """The branch's full name."""
        return f"refs/heads/{self.branch}"


class RemoteGit:
    """Speaks with a remote. Used by one thread at a time."""

    def __init__(self, git: GitRunner, remote: Remote, credentials: Callable[[], RemoteCredentials]) -> None:
        """`git` runs in the repository that takes what is fetched; `credentials` is asked at each run."""
        self._git = git
        self._remote = remote
        self._credentials = credentials
        self._address = RemoteAddress.parse(remote.repo)
        self._used = RemoteCredentials()

    @property
    def digest(self) -> str:
        """Tell this address from others."""
        return hashlib.sha256(self._address.url.encode()).hexdigest()

    def refs(self, wanted: Sequence[str]) -> dict[str, str]:
        """Ask where refs are; those that the remote does not show are left out. Raises SourceUnavailable."""
        only = ("--heads",) if list(wanted) == [self._remote.ref] else ()  # spares a large remote listing the others
        found = self._list(*only, "--quiet", "--", self._address.url, *wanted)
        shown = {ref: oid for oid, ref in found if ref in wanted}
        if any(len(oid) == _SHA256_DIGITS for oid in shown.values()):
            raise SourceUnavailable(f"{self._remote.shown} uses SHA-256 object ids, which are not supported", SHA1)
        return shown

    def first_refs(self, folder: str, *words: str) -> list[str]:
        """Give the first few refs by their names below a folder; none that even an empty remote has."""
        names = (
            ref.removeprefix(folder)
            for _, ref in self._list(*words, "--quiet", "--", self._address.url)
            if ref.startswith(folder) and not ref.startswith(_OF_EMPTY)
        )
        return heapq.nsmallest(SHOWN_MAX + 1, filter(None, names))  # to put 150,000 in order is one call of 0.1 s

    def _list(self, *words: str) -> Iterator[tuple[str, str]]:
        """Give ids and refs as `git ls-remote` says them, a line each.

        A line ends at LF alone. What else Python takes for the end of one may stand in the name of anybody's branch,
        which would then be cut to the name of another one. A first line that lost its beginning has no whole id.
        """
        ran = self._run("ls-remote", *words)
        if ran.code:
            raise self.failure(ran)
        for line in ran.out.split("\n"):
            oid, _, ref = line.partition("\t")
            if _ID.fullmatch(oid):
                yield oid, ref

    def fetch(self, oid: str, environment: Mapping[str, str], timeout_s: float) -> None:
        """Fetch a commit with all of its history. Raises SourceUnavailable."""
        words = ("--no-write-fetch-head", "--no-tags", "--no-recurse-submodules", "--force", "--quiet", WHOLE, "--")
        ran = self._run("fetch", *words, self._address.url, oid, environment=environment, timeout_s=timeout_s)
        if ran.code:
            raise self.failure(ran)

    def push(self, what: str, environment: Mapping[str, str]) -> Ran:
        """Push a ref, or a commit to a ref; what came of it is the caller's to see."""
        words = ("push", "--porcelain", "--no-verify", "--", self._address.url, what)
        return self._run(*words, environment=environment)

    def _run(self, *words: str, environment: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Ran:
        held, address = self._credentials(), self._address
        held = self._used = held._replace(
            username=held.username or address.username, password=held.password or address.password
        )
        with opened(address, held, self._remote.ca_file, self._remote.timeout_s) as access:
            return self._git.run(
                *words,
                options=access.options,
                environment={**access.environment, **(environment or {})},
                pass_fds=access.descriptors,
                timeout_s=None if timeout_s is None else max(0.0, timeout_s),
            )

    def scrub(self, text: str) -> str:
        """Take the secrets of the last call out of a text."""
        return self._used.scrub(text)

    @contextlib.contextmanager
    def scrubbing(self) -> Iterator[None]:
        """Scrub what is said in the end: what was done to the words of a remote may have put a secret together."""
        try:
            yield
        except (SourceUnavailable, Refused) as error:
            if (clean := self.scrub(error.message)) == error.message:
                raise
            raise type(error)(clean, self.scrub(error.hint)) from None

    def refusal(self, ran: Ran) -> str:
        """Give the remote's own words for not taking a push, "" if it did not come to that."""
        return git_refusals.push_refused(self._scrubbed(ran))

    def failure(self, ran: Ran) -> SourceUnavailable:
        """Say why a call failed."""
        # The address stands before the message anyway, and its words must not be taken for the reason. Nothing is
        # replaced once the secrets are out of it: a remote could have a word fall between the halves of one.
        remote, url = self._remote, self._address.url.rstrip("/")
        said = self._scrubbed(ran._replace(err=ran.err.replace(f"'{url}/'", "it").replace(url, "it")))
        limits = remote.timeout_s, remote.bytes_max, remote.memory_bytes_max
        return git_refusals.failure(said, remote.shown, self._address.scheme, *limits)

    def _scrubbed(self, ran: Ran) -> Ran:
        return ran._replace(out=self.scrub(ran.out), err=self.scrub(ran.err))
