"""What came between two commits.

First-parent history is the branch's own story: what a merge brought in came into force with the merge. Works on commit
objects alone, so that a commit with an odd author line cannot stop it, and takes a shallow clone's edge for the
beginning. Callers map libgit2's exceptions.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import pygit2
from pygit2.enums import ObjectType, SortMode

from reconciler.core.errors import SourceUnavailable

Relation = Literal["first", "same", "forward", "merged", "rewritten"]

_FIRST_PARENT = re.compile(rb"\Atree [0-9a-f]{40}\n(?:parent ([0-9a-f]{40})\n)?")


class Walk(NamedTuple):
    """How a branch got from one commit to another.

    `relation`: "first" (there is no `since`), "same", "forward" (`since` lies on the first-parent chain), "merged"
    (`since` is an ancestor beside that chain), "rewritten" (no ancestor, or its object is gone). `commits`: those of
    the first-parent chain that `since` does not reach, oldest first; empty if the branch was set back to an ancestor.
    `truncated`: how many older ones were left out.
    """

    relation: Relation
    commits: list[str]
    truncated: int = 0


def walk(repo: pygit2.Repository, tip: str, since: str | None, limit: int | None) -> Walk:
    """Walk from `tip` back to `since`, keeping the newest `limit` commits (None keeps all).

    If the object of `since` is gone, nobody can tell which commits are new: the tip alone is listed, the others count
    as truncated.
    """
    if tip == since:
        return Walk("same", [])
    chain: list[str] = []
    for sha in first_parents(repo, tip):
        if sha == since:
            return _walk("forward", chain, limit)
        chain.append(sha)
    if since is None:
        return _walk("first", chain, limit)
    if since not in repo.odb:
        return _walk("rewritten", chain, 1 if limit is None else min(1, limit))
    # Along the chain, everything older than the first commit that `since` reaches is reached too.
    known = bisect.bisect_left(chain, True, key=lambda sha: repo.descendant_of(since, sha))
    relation: Relation = "merged" if repo.descendant_of(tip, since) else "rewritten"
    return _walk(relation, chain[:known], limit)


def first_parents(repo: pygit2.Repository, tip: str) -> Iterator[str]:
    """List `tip` and its first parents, newest first, to the root or to the edge of a shallow clone."""
    odb = repo.odb
    sha = tip
    while True:
        try:
            kind, raw = odb.read(sha)
        except KeyError:
            if sha != tip and repo.is_shallow:
                return
            raise
        found = _FIRST_PARENT.match(raw)
        if kind != ObjectType.COMMIT or found is None:
            raise SourceUnavailable(f"object {sha} in {repo.path} is not a sound commit", "git fsck says more")
        yield sha
        if found[1] is None:
            return
        sha = found[1].decode("ascii")


def reachable(repo: pygit2.Repository, sha: str, hide: str | None) -> Iterator[str]:
    """List the commits reachable from `sha` and not from `hide`, newest first; `sha` alone if `hide` is gone."""
    if hide is not None and hide not in repo.odb:
        yield sha
        return
    walker = repo.walk(sha, SortMode.TOPOLOGICAL)
    if hide is not None:
        walker.hide(hide)
    for commit in walker:
        yield str(commit.id)


def _walk(relation: Relation, newest_first: list[str], limit: int | None) -> Walk:
    kept = newest_first if limit is None else newest_first[:limit]
    return Walk(relation, kept[::-1], len(newest_first) - len(kept))
