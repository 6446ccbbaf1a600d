"""Another user at the workspace, as a real process.

As root that is `nobody`, who may read everything (else not even Python, which may lie in root's home) and write
nothing. Elsewhere there is no second user to become.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

NOBODY = 65534
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
IS_ROOT = os.geteuid() == 0 and shutil.which("setpriv") is not None
WHY_NOT = "nobody here can become another user: not root, or no setpriv(1)"


def give(folder: Path, user: int) -> None:
    """Let a folder and everything in it belong to a user, as root."""
    for place in (folder, *folder.rglob("*")):
        os.chown(place, user, user, follow_symlinks=False)


def let_through(folder: Path) -> None:
    """Let others come to a folder of the tests: access(2) asks for that without the right to read everything."""
    for place in (folder, *folder.parents):
        if place != Path(tempfile.gettempdir()) and place.is_relative_to(tempfile.gettempdir()):
            place.chmod(place.stat().st_mode | 0o011)


def owners(folder: Path) -> dict[int, list[str]]:
    """Give what lies in a folder, by the user that it belongs to."""
    found: dict[int, list[str]] = {}
    for place in (folder, *folder.rglob("*")):
        found.setdefault(place.lstat().st_uid, []).append(str(place.relative_to(folder)))
    return found
