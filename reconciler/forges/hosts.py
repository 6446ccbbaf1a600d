"""The three kinds of API: GitHub, GitLab, and Gitea, whose API Forgejo keeps.

Each lists, writes and edits the comments of a pull request, sets the status of a commit, and tells who the token is.
Nothing here decides anything. Pages are asked for by number until the forge says that there is no next one.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from reconciler.core.errors import UsageError
from reconciler.core.text import cut
from reconciler.forges.api import PATIENCE_S, ForgeApi, ForgeUnavailable

KINDS: Final = ("github", "gitlab", "gitea")
"""What a forge may be; Forgejo is a gitea."""
State = Literal["pending", "success", "failure"]
PAGES_MAX = 100
DESCRIPTION_MAX = 140
_NEXT = re.compile(r'<[^>]*>\s*;[^,]*\brel="?next"?')


class Comment(NamedTuple):
    """A comment of a pull request."""

    id: int
    author: str
    body: str


class CommitStatus(NamedTuple):
    """What a commit's page shows: under the name `context`, a state and a few words."""

    context: str
    state: State
    description: str
    url: str = ""


class Forge(ABC):
    """One repository on a forge. `comment_max` is how long a comment may be, in characters."""

    comment_max: int
    per_page: int = 100
    user_field = "login"
    job_login = ""
    """The user of tokens of CI jobs, which may not ask who they are."""
    edits_by = "PATCH"
    states: Mapping[State, str] = {}
    """What the forge calls states that have another name there."""

    def __init__(self, api: ForgeApi, repository: str) -> None:
        self.api = api
        self.repository = repository

    @property
    @abstractmethod
    def _path(self) -> str:
        """The repository's path."""

    @abstractmethod
    def _comments_path(self, number: int) -> str: ...

    @abstractmethod
    def _comment_path(self, number: int, comment: int) -> str: ...

    @abstractmethod
    def _comment(self, item: Mapping[str, Any]) -> Comment: ...

    def login(self) -> str:
        """Give the name under which the token comments; "" if the forge does not tell."""
        try:
            found, _ = self.api.call("GET", "/user")
        except ForgeUnavailable as error:
            if error.status in (403, 404):
                return self.job_login
            raise
        return (str(found.get(self.user_field, "")) if isinstance(found, dict) else "") or self.job_login

    def create(self, number: int, body: str) -> None:
        """Write a comment. May have been done although it raises ForgeUnavailable with `uncertain`."""
        self.api.call("POST", self._comments_path(number), body={"body": body}, repeatable=False)

    def edit(self, number: int, comment: int, body: str) -> None:
        """Replace a comment's text."""
        self.api.call(self.edits_by, self._comment_path(number, comment), body={"body": body})

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """Set a commit's status; one of the same context is replaced."""
        said: dict[str, object] = {"state": self.states.get(status.state, status.state), "context": status.context}
        said["description"] = cut(status.description, DESCRIPTION_MAX)
        said |= {"target_url": status.url} if status.url else {}
        self.api.call("POST", f"{self._path}/statuses/{commit}", body=said)

    def visible(self) -> bool:
        """Tell whether the token sees the repository at all."""
        try:
            self.api.call("GET", self._path)
        except ForgeUnavailable as error:
            if error.status == 404:
                return False
            raise
        return True

    def comments(self, number: int) -> Iterator[Comment]:
        """List the comments of a pull request, oldest first. Raises ForgeUnavailable, also for an endless list."""
        params: dict[str, str | int] = {"per_page": self.per_page, "limit": self.per_page, "sort": "asc"}
        for page in range(1, PAGES_MAX + 1):
            found, headers = self.api.call("GET", self._comments_path(number), params={"page": page, **params})
            try:
                yield from [self._comment(item) for item in found]
            except (TypeError, KeyError, AttributeError) as error:
                raise ForgeUnavailable(
                    f"{self.api.host} answered with no list of comments", "check --forge and --api-url"
                ) from error
            if not found or not (_NEXT.search(headers.get("link", "")) or headers.get("x-next-page")):
                return
        raise ForgeUnavailable(f"{self.api.host} has more than {PAGES_MAX} pages of comments", "comment by hand")


class GitHub(Forge):
    """api.github.com and GitHub Enterprise Server (`https://HOST/api/v3`)."""

    comment_max = 65_536
    job_login = "github-actions[bot]"

    @property
    def _path(self) -> str:
        return f"/repos/{self.repository}"

    def _comments_path(self, number: int) -> str:
        return f"{self._path}/issues/{number}/comments"

    def _comment_path(self, number: int, comment: int) -> str:  # noqa: ARG002 (GitLab needs the number)
        return f"{self._path}/issues/comments/{comment}"

    def _comment(self, item: Mapping[str, Any]) -> Comment:
        author = item.get("user") or {}  # a deleted user is null
        return Comment(int(item["id"]), str(author.get("login", "")), str(item.get("body") or ""))


class Gitea(GitHub):
    """Gitea and Forgejo (`https://HOST/api/v1`)."""

    per_page = 50
    job_login = "gitea-actions"


class GitLab(Forge):
    """gitlab.com and self-managed GitLab (`https://HOST/api/v4`); the repository is a path or a number."""

    comment_max = 1_000_000
    user_field = "username"
    edits_by = "PUT"
    states: Mapping[State, str] = {"failure": "failed"}

    @property
    def _path(self) -> str:
        return f"/projects/{quote(self.repository, safe='')}"

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """Set a commit's status. GitLab refuses to set what is set already, which is as good."""
        try:
            super().set_status(commit, status)
        except ForgeUnavailable as error:
            if error.status != 400 or "Cannot transition status" not in error.message:
                raise

    def _comments_path(self, number: int) -> str:
        return f"{self._path}/merge_requests/{number}/notes"

    def _comment_path(self, number: int, comment: int) -> str:
        return f"{self._comments_path(number)}/{comment}"

    def _comment(self, item: Mapping[str, Any]) -> Comment:
        # What GitLab writes itself ("added 1 commit") is a note of the user who did it.
        body = "" if item.get("system") else str(item.get("body") or "")
        return Comment(int(item["id"]), str(item["author"]["username"]), body)


def forge(
    kind: str,
    url: str,
    repository: str,
    token: str,
    *,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Forge:
    """Open a repository on a forge. Raises UsageError. Whoever opens it closes `api`."""
    if kind not in KINDS:
        raise UsageError(f"unknown forge {kind}", f"one of {', '.join(KINDS)}")
    if kind != "gitlab" and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise UsageError("the repository is not OWNER/NAME", "such as acme/llm-config")
    if not repository or not token.isascii() or not token.isprintable() or not token:
        raise UsageError("the repository or the token is missing, or no text", "check the settings")
    headers = {
        "github": {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": "2022-11-28"},
        "gitlab": {"PRIVATE-TOKEN": token},
        "gitea": {"Authorization": f"token {token}"},
    }
    api = ForgeApi(url, headers[kind], patience_s=patience_s, sleep=sleep)
    makers: Mapping[str, type[Forge]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}
    return makers[kind](api, repository)
