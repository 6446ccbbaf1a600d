"""The repository around a folder, as the git program finds it: what its variables name counts (git(1)).

A hook of another server runs so: GIT_DIR names the repository, and what is pushed lies in quarantine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pygit2

from reconciler.core.errors import SourceUnavailable
from reconciler.source.git import Repository
from reconciler.source.mapping import mapped
from reconciler.source.quarantine import quarantine_folders


def here(folder: Path, environment: Mapping[str, str] = os.environ) -> Repository | None:
    """Open the repository that commands in `folder` are about; None if there is none. Raises SourceUnavailable."""
    named, files = environment.get("GIT_DIR"), environment.get("GIT_WORK_TREE")
    found = folder / named if named else _discovered(folder, environment.get("GIT_CEILING_DIRECTORIES", ""))
    if found is None:
        return None
    try:
        repository = Repository.open(found, quarantine_folders(environment))
    except SourceUnavailable as error:
        if named and "is not a git repository" in error.message:
            raise SourceUnavailable(error.message, "GIT_DIR names it: unset GIT_DIR, or correct it") from None
        raise
    if files:
        repository.stand_in(folder / files)
    elif named and repository.configured("core.bare") != "true" and not repository.configured("core.worktree"):
        repository.stand_in(folder)
    return repository


def work_tree(folder: Path) -> Path | None:
    """Find the top of the work tree that `folder` is inside of; None if there is none, or git does not trust it."""
    try:
        found = _discovered(folder)
        return None if found is None else Repository.open(found).work_tree
    except SourceUnavailable:
        return None


def _discovered(folder: Path, ceilings: str = "") -> Path | None:
    with mapped(folder):
        found = pygit2.discover_repository(str(folder), False, ceilings)
    return Path(found) if found else None
