"""Who commits, as git knows it: `git var` reads every configuration and variable that `git commit` would.

A commit gets no guessed author. Stored secrets and keys, which are no commits, get some author in any case.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.core.errors import CouldNotRun, Refused
from reconciler.source.gitrun import git

TIMEOUT_S: Final = 10.0
_IDENT: Final = re.compile(r"(?P<name>.*?) ?<(?P<email>[^<>]*)> (?P<when>[0-9]+) (?P<sign>[+-])(?P<h>\d\d)(?P<m>\d\d)")
_HINT: Final = 'git config --global user.email "you@example.com" and git config --global user.name "Your Name"'


class Author(NamedTuple):
    """The author of a commit, and when: seconds since 1970 and minutes east of UTC, None for when it is made."""

    name: str
    email: str
    when: int | None = None
    offset: int = 0


class Identity(NamedTuple):
    """Who wrote a change, and who commits it."""

    author: Author
    committer: Author


def identity(git_dir: Path | None) -> Identity:
    """Tell who commits in a repository, or anywhere.

    Raises Refused with git's words if git would not commit, CouldNotRun if there is no git.
    """
    return Identity(_ident(git_dir, "GIT_AUTHOR_IDENT"), _ident(git_dir, "GIT_COMMITTER_IDENT"))


def somebody(git_dir: Path | None) -> Author:
    """Tell who works here, and if git cannot say so, whose account it is."""
    try:
        return _ident(git_dir, "GIT_AUTHOR_IDENT")
    except (Refused, CouldNotRun):
        login = _login()
        return Author(login, f"{login}@{socket.gethostname() or 'localhost'}")


def _ident(git_dir: Path | None, variable: str) -> Author:
    place = [] if git_dir is None else [f"--git-dir={git_dir}"]
    done = git([*place, "var", variable], os.environ, TIMEOUT_S)
    # Whatever bytes the environment holds: the name goes into a commit or onto the log, which take text.
    found = _IDENT.fullmatch(done.stdout.decode("utf-8", "replace").strip())
    if done.returncode or found is None:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("fatal: ")]
        why = said[-1].removeprefix("fatal: ") if said else "it knows no name and no address"
        raise Refused(f"git does not know who you are: {why}", _HINT)
    offset = int(found["h"]) * 60 + int(found["m"])
    return Author(found["name"], found["email"], int(found["when"]), -offset if found["sign"] == "-" else offset)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"
