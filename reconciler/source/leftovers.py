"""What a git that was killed leaves of a push: the folder that held its objects in quarantine.

A git that ends by itself removes it. What may still be worked in stays: a push by file may come from where its process
cannot be seen from here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path


def remove_leftovers(repository: Path, age_s: float) -> None:
    """Remove such folders of a repository in which nothing was written for `age_s` seconds. Never fails."""
    with contextlib.suppress(OSError):
        for folder in list(repository.glob("objects/tmp_objdir-incoming-*")):
            with contextlib.suppress(OSError):
                if _written(folder) < time.time() - age_s:
                    shutil.rmtree(folder, ignore_errors=True)


def _written(folder: Path) -> float:
    """Tell when something was last written in a folder, in seconds of Unix time. Raises OSError."""
    places = [folder, *(Path(above, name) for above, below, files in os.walk(folder) for name in (*below, *files))]
    return max(place.lstat().st_mtime for place in places)
