"""What a CI job's environment says: which forge, which repository, which pull request, which commits.

Gitea and Forgejo set GitHub's variables too, so they are asked first. What is missing stays "" or 0; nothing is
guessed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

TOKEN = "PAI_FORGE_TOKEN"  # noqa: S105 (a variable's name)
"""The variable that holds the token, whichever forge it is."""


class Surroundings(NamedTuple):
    """`number` is that of the pull request; `base` and `commit` are commits: the target's, and the one to mark."""

    kind: str = ""
    url: str = ""
    repository: str = ""
    number: int = 0
    base: str = ""
    commit: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Surroundings({self.kind} {self.repository} {self.number})"  # never the token


def surroundings(env: Mapping[str, str]) -> Surroundings:
    """Read the environment of a CI job; all is empty elsewhere, except for a token."""
    token = env.get(TOKEN, "")
    if env.get("GITLAB_CI"):
        return _gitlab(env, token)
    if env.get("GITHUB_ACTIONS") or env.get("GITEA_ACTIONS") or env.get("FORGEJO_ACTIONS"):
        return _actions(env, token)
    return Surroundings(token=token)


def _gitlab(env: Mapping[str, str], token: str) -> Surroundings:
    return Surroundings(
        "gitlab",
        env.get("CI_API_V4_URL", ""),
        env.get("CI_PROJECT_ID", ""),
        _number(env.get("CI_MERGE_REQUEST_IID", "")),
        env.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", ""),
        # In a pipeline of the merged result the commit is one that nobody pushed.
        env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or env.get("CI_COMMIT_SHA", ""),
        token or env.get("GITLAB_TOKEN", ""),
    )


def _actions(env: Mapping[str, str], token: str) -> Surroundings:
    url = env.get("GITHUB_API_URL", "")
    gitea = bool(env.get("GITEA_ACTIONS") or env.get("FORGEJO_ACTIONS")) or url.rstrip("/").endswith("/api/v1")
    pull = _pull_request(env.get("GITHUB_EVENT_PATH", ""))
    found = re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", env.get("GITHUB_REF", ""))
    number = pull.get("number")
    return Surroundings(
        "gitea" if gitea else "github",
        url or ("" if gitea else "https://api.github.com"),
        env.get("GITHUB_REPOSITORY", ""),
        number if isinstance(number, int) else _number(found[1] if found else ""),
        _sha(pull, "base"),
        # What is checked out for a pull request is a merge that nobody pushed.
        _sha(pull, "head") or ("" if found else env.get("GITHUB_SHA", "")),
        token or (env.get("GITEA_TOKEN", "") if gitea else "") or env.get("GITHUB_TOKEN", ""),
    )


def _pull_request(path: str) -> Mapping[str, Any]:
    """Read the pull request of the event that started the job."""
    with contextlib.suppress(OSError, ValueError):
        event = json.loads(Path(path).read_bytes()) if path else {}
        pull = event.get("pull_request") if isinstance(event, dict) else None
        if isinstance(pull, dict):
            return pull
    return {}


def _sha(pull: Mapping[str, Any], side: str) -> str:
    found = pull.get(side)
    sha = found.get("sha") if isinstance(found, dict) else ""
    return sha if isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40}", sha) else ""


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else 0
