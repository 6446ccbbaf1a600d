"""Whether a trailer stands on any commit that came since another one, side branches included, without endless walks.

The first-parent line is looked at first: its commits above the older one are new, however long the history is. Which of
the others are new is known once all ancestors of the older commit are. So many commits are read of new and of old ones
at most, a long one counted as several; beyond that the answer is "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.source.git import Repository
from reconciler.source.history import CommitUnreadable

LOOKED_MAX: Final = 5_000
"""The most new commits that are read, and the most old ones: 0.2 s of work."""
COMMIT_BYTES: Final = 4096
"""A commit of so many bytes counts as one, a longer one as several: it may be packed to a hundredth."""


def weight(repository: Repository, commit: str) -> int:
    """Give how many usual commits one of this size counts as, by the time that reading it takes."""
    return 1 + repository.size(commit) // COMMIT_BYTES


class TrailerSearch:
    """Searches that begin at several commits and end at the same one; together they read as much as one alone may."""

    def __init__(self, repository: Repository, key: str, value: str, since: str, most: int = LOOKED_MAX) -> None:
        """`since` is "" if everything is new; `most` commits are read of the new ones, and of the old ones."""
        self.since = since
        self._repository = repository
        self._trailer = key, value
        self._most = most
        self._looked = 0
        self._old_known: bool | None = None if since else True
        self._with: set[str] = set()
        self._without = {since}
        """Old commits, and new ones that neither carry it nor come from one that does."""

    def found(self, sha: str) -> bool | None:
        """Tell whether `sha`, or what it brought since, carries the trailer; None if there is too much to look through.

        If `since` is no longer in the repository nobody can tell what came since, and `sha` alone is looked at. Raises
        SourceUnavailable.
        """
        if self.since and not self._repository.holds(self.since):
            return self._carries(sha)
        answer = self._on_the_line(sha) or self._anywhere(sha)
        if answer:
            self._with.add(sha)
        return answer

    def _on_the_line(self, sha: str) -> bool:
        line: list[str] = []
        try:
            for commit in self._few(self._repository.first_parents(sha)):
                if commit in self._with:
                    return True
                if commit in self._without:
                    break
                line.append(commit)
            else:
                if self.since:  # another line of history, or a long one: nothing tells yet how much of it is new
                    return False
        except CommitUnreadable:
            if self.since:
                return False
        return any(self._carries(commit) for commit in line)

    def _few(self, commits: Iterator[str]) -> Iterator[str]:
        """Give commits as long as there are some to be read, counted."""
        while self._looked < self._most and (commit := next(commits, "")):
            self._looked += weight(self._repository, commit)
            yield commit

    def _anywhere(self, sha: str) -> bool | None:
        if self._old_known is None:
            self._old_known = self._know_old()
        if not self._old_known:
            return None
        new = []
        for commit in self._repository.ancestors(sha, self._without):
            if self._looked >= self._most:
                return None
            self._looked += weight(self._repository, commit)
            new.append(commit)
            if commit in self._with or self._carries(commit):
                return True
        self._without.update(new)
        return False

    def _know_old(self) -> bool:
        """Learn all that the older commit comes from; False if that is too much."""
        old, looked = [], 0
        for commit in self._repository.ancestors(self.since):
            looked += weight(self._repository, commit)
            if looked > self._most:
                return False
            old.append(commit)
        self._without.update(old)
        return True

    def _carries(self, commit: str) -> bool:
        try:
            return self._repository.has_trailer(commit, *self._trailer)
        except CommitUnreadable:
            return False  # what nobody can read permits nothing
