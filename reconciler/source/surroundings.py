"""The repository around a folder, as the git program finds it: what its variables name counts (git(1)).

A hook of another server runs so: GIT_DIR names the repository, and what is pushed lies in quarantine.
"""

from __future__ import annotations

import os
import unicodedata
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
        repository.work_tree = folder / files
    elif named and repository.configured("core.bare") != "true" and not repository.configured("core.worktree"):
        repository.work_tree = folder
    return repository


def work_tree(folder: Path) -> Path | None:
    """Find the top of the work tree that `folder` is inside of; None if there is none, or git does not trust it."""
    try:
        found = _discovered(folder)
        return None if found is None else Repository.open(found).work_tree
    except SourceUnavailable:
        return None


def carries(repository: Repository, place: Path) -> bool:
    """Tell whether what lies at a place came with the commit that is checked out, or in a submodule of it.

    Names count as equal that a file system may take for the same. Raises SourceUnavailable.
    """
    if repository.work_tree is None:
        return False
    top, real = repository.work_tree.resolve(), place.resolve()
    if not real.is_relative_to(top):
        return False
    folders = {repository.root(commit) for commit in repository.checked_out()}
    for part in real.relative_to(top).parts:
        wanted, found = _folded(part), [each for tree in folders for each in repository.names(tree)]
        alike = [(is_folder, oid) for name, is_folder, oid in found if _folded(name) == wanted]
        if not all(is_folder for is_folder, _ in alike):
            return True
        folders = {oid for _, oid in alike}
    return False


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


def _discovered(folder: Path, ceilings: str = "") -> Path | None:
    with mapped(folder):
        found = pygit2.discover_repository(str(folder), False, ceilings)
    return Path(found) if found else None
