"""Whose files the workspace's are: nobody else writes there, or the daemon could not read or write them any more.

Root may write everywhere, and what it makes belongs to it, so that the daemon's own user cannot open it afterwards.
Reads the owners of folders; changes nothing.
"""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

from reconciler.core.errors import Refused


def owner_of(root: Path) -> int | None:
    """Give the user that a workspace's files belong to; None where there are none yet and root gave the place.

    That is the folder's owner. In a folder of root's (a volume of a container) it is the owner of `data`.
    """
    owner = None
    for folder in (root, root / "data"):
        try:
            owner = folder.stat().st_uid
        except OSError:
            return None
        if owner:
            break
    return owner


def require_owner(root: Path, words: str = "...", program: str = "pai") -> None:
    """Refuse to write into a workspace of another user, with the line to type, `program words`. Raises Refused."""
    owner, user = owner_of(root), os.geteuid()
    if owner is None or owner == user:
        return
    name = _name(owner)
    raise Refused(
        f"the workspace {root} belongs to {name or f'user {owner}'}, and what {_name(user) or f'user {user}'} writes "
        "there could not be used any more",
        f"sudo -u {name or shlex.quote(f'#{owner}')} {program} {words}",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""
