"""What came between two commits.

First-parent history is the branch's own story: what a merge brought in came into force with the merge. Reads nothing
of a commit but its parents (libgit2's own walks want sound author lines), so that no commit that got in can stop it,
and takes a shallow clone's edge for the beginning. Callers map libgit2's exceptions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set
from typing import Literal, NamedTuple

import pygit2
from pygit2.enums import ObjectType

from reconciler.core.errors import SourceUnavailable
from reconciler.source.commits import parents_in
from reconciler.source.mapping import fsck

Relation = Literal["first", "same", "forward", "merged", "rewritten"]

COMMIT_BYTES_MAX = 1024 * 1024
"""No commit that people make is larger, and what packs to a few kilobytes must not fill the memory."""
LONG_BYTES, LONG_BYTES_MAX = 64 * 1024, 8 * 1024 * 1024
"""From which size on a commit is long, and how many bytes of long ones a walk reads: a long one may be packed to a
thousandth, and the time to unpack it goes by its size."""
PARENTS_MAX = 256
"""The most parents of a commit; all of them go to the log. The largest merge of Linux has 66."""


class CommitUnreadable(SourceUnavailable):
    """A commit is there and cannot be read. Repairing the repository does not help, only other commits do."""


class Walk(NamedTuple):
    """How a branch got from one commit to another.

    `relation`: "first" (there is no `since`), "same", "forward" (`since` lies on the first-parent chain), "merged"
    (`since` is an ancestor beside that chain), "rewritten" (no ancestor, or its object is gone). `commits`: those of
    the first-parent chain that `since` does not reach, oldest first; empty if the branch was set back to an ancestor.
    `unreadable`: the error that ended the walk, None if it came to its end; the commits behind it cannot be listed.
    """

    relation: Relation
    commits: list[str]
    unreadable: CommitUnreadable | None = None


def walk(repo: pygit2.Repository, tip: str, since: str | None) -> Walk:
    """Walk from `tip` back to `since`.

    If the object of `since` is gone, nobody can tell which commits are new: the tip alone is listed.
    A commit below the tip that cannot be read is where the walk ends, and `since` lies beyond it then.
    """
    if tip == since:
        return Walk("same", [])
    chain: list[str] = []
    unreadable = None
    try:
        for sha in first_parents(repo, tip):
            if sha == since:
                return Walk("forward", chain[::-1])
            chain.append(sha)
    except CommitUnreadable as error:
        if not chain:
            raise
        unreadable = error
    if since is None:
        return Walk("first", chain[::-1], unreadable)
    if since not in repo.odb:
        return Walk("rewritten", [tip], unreadable)
    old = frozenset(ancestors(repo, since))
    new = [sha for sha in reversed(chain) if sha not in old]
    merged = since in ancestors(repo, tip, old - {since})
    return Walk("merged" if merged else "rewritten", new, unreadable)


def first_parents(repo: pygit2.Repository, tip: str) -> Iterator[str]:
    """List `tip` and its first parents, newest first, to the root or to the edge of a shallow clone."""
    odb, sha, room = repo.odb, tip, _Room()
    while (parents := _parents(repo, odb, sha, tip, room)) is not None:
        yield sha
        if not parents:
            return
        sha = parents[0]


def reachable(repo: pygit2.Repository, sha: str, hide: str | None) -> Iterator[str]:
    """List the commits reachable from `sha` and not from `hide`, `sha` first; `sha` alone if `hide` is gone.

    A commit that cannot be read is listed, and what it comes from is not.
    """
    if hide is not None and hide not in repo.odb:
        yield sha
        return
    yield from ancestors(repo, sha, frozenset() if hide is None else frozenset(ancestors(repo, hide)))


def ancestors(repo: pygit2.Repository, start: str, hidden: Set[str] = frozenset()) -> Iterator[str]:
    """List `start` and all that it comes from, each once, nearest first, without what is `hidden`."""
    odb, seen, room = repo.odb, {start}, _Room()
    waiting = deque(() if start in hidden else (start,))
    while waiting:
        sha = waiting.popleft()
        try:
            parents = _parents(repo, odb, sha, start, room)
        except CommitUnreadable:
            parents = []
        if parents is None:
            continue
        yield sha
        for parent in parents:
            if parent not in seen and parent not in hidden:
                seen.add(parent)
                waiting.append(parent)


class _Room:
    """What one walk may still read of long commits."""

    def __init__(self) -> None:
        self._left = LONG_BYTES_MAX

    def take(self, repo: pygit2.Repository, sha: str, size: int) -> None:
        """Count a commit of so many bytes. Raises CommitUnreadable."""
        self._left -= size if size > LONG_BYTES else 0
        if self._left < 0:
            message = f"commit {sha} in {repo.path} and others have more than {LONG_BYTES_MAX:,} bytes together"
            raise CommitUnreadable(message, "shorten their messages")


def _parents(repo: pygit2.Repository, odb: pygit2.Odb, sha: str, start: str, room: _Room) -> list[str] | None:
    """Give a commit's parents; None beyond the edge of a shallow clone, where a walk from `start` ends."""
    try:
        room.take(repo, sha, require_small(repo, odb, sha))
        kind, raw = odb.read(sha)
    except KeyError:
        if sha != start and repo.is_shallow:
            return None
        raise
    if kind != ObjectType.COMMIT:
        raise SourceUnavailable(f"object {sha} in {repo.path} is not a commit", fsck(repo.path))
    return parents_of(repo, sha, raw)


def parents_of(repo: pygit2.Repository, sha: str, raw: bytes) -> list[str]:
    """Give the parents of a commit object. Raises CommitUnreadable."""
    parents = parents_in(raw)
    if parents is None:
        raise CommitUnreadable(f"object {sha} in {repo.path} is not a sound commit", fsck(repo.path))
    if len(parents) > PARENTS_MAX:
        raise CommitUnreadable(
            f"commit {sha} in {repo.path} has more than {PARENTS_MAX} parents", "take it off the branch"
        )
    return parents


def require_small(repo: pygit2.Repository, odb: pygit2.Odb, sha: str) -> int:
    """See that a commit can be read at all, and give its size. Raises CommitUnreadable, KeyError."""
    size: int = odb.read_header(sha)[1]
    if size > COMMIT_BYTES_MAX:
        raise CommitUnreadable(
            f"commit {sha} in {repo.path} has more than {COMMIT_BYTES_MAX:,} bytes", "take it off the branch"
        )
    return size
