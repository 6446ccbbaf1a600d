"""The one place where libgit2's exceptions become Pai's."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from reconciler.core.errors import SourceUnavailable

SHA1 = "commit its files to a new repository of shorter ids: git init --object-format=sha1"
"""Git has no way to convert one (git.git, Documentation/technical/hash-function-transition.txt)."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Faults of the disk, which the repository does not show; libgit2 reports them in the system's words."""


_OWNED = re.compile(r"repository path '(.+)' is not owned by")
_EXTENSION = re.compile(r"unsupported extension name extensions\.(\S+)")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn what libgit2 raises about the repository at `path` into SourceUnavailable."""
    try:
        yield
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise unavailable(path, error) from error


def unavailable(path: Path, error: Exception) -> SourceUnavailable:
    """Give the error that says why the repository at `path` cannot be used, and the way out."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if owned := _OWNED.search(text):
        return SourceUnavailable(f"the repository {path} belongs to another user", trust(owned[1]))
    if extension := _EXTENSION.search(text):
        return _of_extension(path, extension[1])
    if "unknown object format" in text or "sha256" in text.lower():
        return SourceUnavailable(f"{path} uses SHA-256 object ids, which are not supported", SHA1)
    if "not found at" in text:
        return SourceUnavailable(f"{path} is not a git repository", "check source.repo, or run pai init")
    if any(os.strerror(number) in text for number in _DISK):
        hint = "check the disk: its space, its quota, and whether it can be written"
    else:
        hint = fsck(path)
    return SourceUnavailable(f"cannot use the repository {path}: {text}", hint)


def fsck(path: Path | str) -> str:
    """Give the command that checks a repository as a whole."""
    return f"git -C {shlex.quote(str(path))} fsck says more"


def trust(place: str) -> str:
    """Say how to have git trust a repository of another user; `place` is its name for git, the work tree's if any."""
    return f"if you trust it: git config --global --add safe.directory {shlex.quote(place.rstrip('/') or '/')}"


def _of_extension(path: Path, name: str) -> SourceUnavailable:
    """Give the error for a repository with an extension that libgit2 does not know."""
    place = shlex.quote(str(path))
    if name.lower() == "refstorage":
        return SourceUnavailable(
            f"{path} keeps its refs as a reftable, which is not supported",
            f"with git 2.46 or newer: git -C {place} refs migrate --ref-format=files",
        )
    hint = f"a clone has none, if you use that: git clone --bare --no-local {place} NEW"
    return SourceUnavailable(f"{path} uses git's extension {name}, which is not supported", hint)
