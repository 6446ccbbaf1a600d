"""Making the bare repository of a workspace. Needs the git program, as everybody who pushes does."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pygit2

from reconciler.core.errors import CouldNotRun, Refused
from reconciler.source.gitrun import HARMLESS, UNCONFIGURED

SETTINGS = {
    # A user's own core.hooksPath must not switch the pre-receive hook off; relative to the repository, so it may move.
    "core.hooksPath": "hooks",
    "transfer.fsckObjects": "true",
    **{f"receive.fsck.{finding}": "ignore" for finding in HARMLESS},
    "core.useReplaceRefs": "false",  # objects are what they are, whatever somebody pushed under refs/replace
}
TIMEOUT_S = 30

log = logging.getLogger("pai.source")


def init_bare(path: Path, branch: str) -> None:
    """Make a bare repository at `path` whose first branch will be `branch`; an existing one keeps what it holds.

    Raises Refused if something else is there, CouldNotRun if git is missing or fails.
    """
    if not (path / "HEAD").is_file():
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Refused(f"{path} exists and is not a bare git repository", "move it away")
        # No template: hooks from somebody's template folder would take the place of ours.
        options = ["--quiet", "--bare", "--template=", "--object-format=sha1", f"--initial-branch={branch}"]
        _git("-c", "init.defaultRefFormat=files", "init", *options, "--", str(path))
    try:
        _set(path)
    except (pygit2.GitError, OSError, ValueError) as error:
        raise CouldNotRun(f"the settings of {path} cannot be written: {error}", "pai init can be run again") from error


def put_right(path: Path) -> None:
    """Set in a bare repository that was made before what `init_bare` sets now. Never fails; the log says so."""
    try:
        _set(path)
    except (pygit2.GitError, OSError, ValueError) as error:
        log.warning("the settings of %s stay as they are: %s", path, error)


def _set(path: Path) -> None:
    config = pygit2.Config(str(path / "config"))
    for key, value in SETTINGS.items():
        if key not in config or config[key] != value:
            config[key] = value


def _git(*arguments: str) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | UNCONFIGURED
    try:
        done = subprocess.run(
            ["git", *arguments],
            env=clean,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise CouldNotRun("git is not installed", "install git 2.28 or newer") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CouldNotRun(f"git {arguments[0]} failed: {error}", "pai init can be run again") from error
    if done.returncode:
        raise CouldNotRun(f"git failed: {done.stderr.strip()}", "pai init can be run again")
