"""The one place where libgit2's exceptions become Pai's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from reconciler.core.errors import SourceUnavailable

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What no look at the repository explains; libgit2 tells it by the system's own words."""


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
    if "not owned by" in text:
        hint = f"git config --global --add safe.directory {path}"
    elif "unknown object format" in text or "sha256" in text.lower():
        return SourceUnavailable(
            f"{path} uses SHA-256 object ids, which are not supported", "use a repository with git's default, SHA-1"
        )
    elif "not found at" in text:
        return SourceUnavailable(f"{path} is not a git repository", "check source.repo, or run pai init")
    elif any(os.strerror(number) in text for number in _DISK):
        hint = "check the disk: its space, its quota, and whether it can be written"
    else:
        hint = "git fsck in the repository says more"
    return SourceUnavailable(f"cannot use the repository {path}: {text}", hint)
