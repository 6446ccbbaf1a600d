"""Making a workspace whole: repository, hook, keys and log, each once and in an order that a crash cannot spoil.

The log is made last but for `data/vkey`, so a `vkey` without a log means that the log was lost, and it is never made
anew silently.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path

from reconciler import durable
from reconciler.core.errors import LogDamaged, WorkspaceError
from reconciler.log.creation import create_log
from reconciler.log.replay import projected
from reconciler.source.bare import init_bare
from reconciler.source.hook import install as install_hook
from reconciler.tlog.note import KeyPair, generate, parse_secret
from reconciler.workspace import Workspace, hide_from_git, require_owner


def install(folder: Path) -> Workspace:
    """Make the workspace in `folder`, or complete it.

    Raises WorkspaceError, LogDamaged, Refused (a foreign hook, another user's folder).
    """
    require_owner(folder.expanduser(), "init ...")
    workspace = Workspace.create(folder)
    hide_from_git(workspace.data)
    repository = workspace.repository
    if repository is not None and (repository == workspace.root / "config.git" or not repository.exists()):
        init_bare(repository, workspace.settings.source_branch)
        install_hook(repository, Path(sys.executable), workspace.root)
    _install_log(workspace)
    return workspace


def _install_log(workspace: Workspace) -> None:
    if workspace.log().exists():
        with contextlib.closing(workspace.log().reader()) as log:
            vkey = projected(log).vkey
    elif workspace.vkey.exists():
        raise LogDamaged(
            f"there was a log at {workspace.log()}, and it is gone",
            f"restore it from a backup or an export; to begin a new one, move {workspace.vkey} away first",
        )
    else:
        pair = _signing_key(workspace.signing_key)
        vkey = pair.vkey
        create_log(workspace.log(), origin=vkey.partition("+")[0], vkey=vkey)
    if not workspace.vkey.exists():
        durable.replace(workspace.vkey, f"{vkey}\n".encode())


def _signing_key(path: Path) -> KeyPair:
    """Read the signing key of a creation that was interrupted, or make one."""
    if path.exists():
        try:
            return parse_secret(path.read_text())
        except ValueError as error:
            raise WorkspaceError(f"{path} is no signing key: {error}", "move it away to make a new one") from error
    pair = generate(f"pai/{secrets.token_hex(8)}")
    durable.replace(path, f"{pair.secret}\n".encode())
    return pair
