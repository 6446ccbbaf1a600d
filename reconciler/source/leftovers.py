"""What a git that was killed leaves of a push: the folder that held its objects in quarantine.

A git that ends by itself removes it. Nothing is removed here while a push is taken that may still work in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def remove_leftovers(repository: Path) -> None:
    """Remove such folders of a repository, unless a git takes a push there now. Never fails."""
    left = list(repository.glob("objects/tmp_objdir-incoming-*"))  # before the look: who made one of these is seen
    processes = list(Path("/proc").glob("[0-9]*")) if left else []
    if processes and not any(_takes_a_push(process, repository) for process in processes):
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)


def _takes_a_push(process: Path, repository: Path) -> bool:
    """Tell whether a process is `git receive-pack` in that repository, which is where it stands."""
    try:
        return b"receive-pack" in (process / "cmdline").read_bytes() and (process / "cwd").samefile(repository)
    except OSError:
        return False
