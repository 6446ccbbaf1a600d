"""Making the bare repository of a workspace. Needs the git program, as everybody who pushes does."""

from __future__ import annotations

import logging
from pathlib import Path

import pygit2

from reconciler.core.errors import CouldNotRun, Refused
from reconciler.source.gitrun import HARMLESS, UNCONFIGURED, git, without_repository

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
        words = ["-c", "init.defaultRefFormat=files", "init", *options, "--", str(path)]
        done = git(words, {**without_repository(), **UNCONFIGURED}, TIMEOUT_S)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise CouldNotRun(f"git failed: {said}", "pai init can be run again")
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
