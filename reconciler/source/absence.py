"""What to say of a repository that lacks the branch. Pure: names in, an error out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from reconciler.core.errors import SourceUnavailable

SHOWN_MAX = 5


def missing(path: Path, branch: str, refs: Sequence[str], head: str | None) -> SourceUnavailable | None:
    """Give the error for `branch`, with the way out; None if no ref and no HEAD leads to a commit.

    `refs` are all that there are but Pai's own, `head` is the commit that HEAD leads to.
    """
    if not refs and head is None:
        return None
    message = f"branch {branch} does not exist in {path}"
    if f"refs/heads/{branch}" in refs:
        where = f"git -C {shlex.quote(str(path))} symbolic-ref {shlex.quote(f'refs/heads/{branch}')}"
        return SourceUnavailable(message, f"it leads to a branch that does not exist: {where} says to which")
    branches = sorted(ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/"))
    if bars := [name for name in branches if branch.startswith(f"{name}/") or name.startswith(f"{branch}/")]:
        hint = f"git cannot have it beside branch {bars[0]}; set source.branch = {bars[0]!r}, or rename that one"
        return SourceUnavailable(message, hint)
    here = f"git -C {shlex.quote(str(path))} branch {shlex.quote(branch)}"
    if branches:
        known = f"its branches: {listed(branches)}; set source.branch"
        return SourceUnavailable(
            message, f"{known}, or push {branch} again, or make it: {here} {shlex.quote(branches[0])}"
        )
    there = f"refs/remotes/origin/{branch}"
    begin = there if there in refs else head or min(refs)
    named = [f"HEAD at {head[:7]}"] if head else []
    named += [ref.removeprefix("refs/remotes/").removeprefix("refs/") for ref in sorted(refs)]
    shown = begin.removeprefix("refs/remotes/") if begin.startswith("refs/") else begin[:12]
    return SourceUnavailable(message, f"it has no branch, but {listed(named)}; make it: {here} {shlex.quote(shown)}")


def listed(names: Sequence[str]) -> str:
    """Name the first few."""
    return ", ".join(names[:SHOWN_MAX]) + (", …" if len(names) > SHOWN_MAX else "")
