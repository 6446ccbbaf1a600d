"""Keeping a repository small in files: has git pack loose objects, as git's own commands do after a commit.

Checkpoints are commits that no git command makes, so none tidies up behind them: three loose objects each, a million a
year and more. When there are more than the repository's `gc.auto` allows (0: never), `git gc --auto` runs beside us, on
one thread and with git's own locks; nobody waits for it, and what it fails at, the next run does. It keeps whatever a
ref reaches, and for two weeks what none does.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import RepositoryOpenFlag

from reconciler.source.gitrun import FRUGAL, UNCONFIGURED, without_repository

_AUTO: Final = 6700
"""Git's default of `gc.auto`: loose objects."""
_AUTO_PACKS: Final = 50
"""Git's default of `gc.autoPackLimit`: packs that nothing says to keep."""
_SAMPLE: Final = "17"
"""The folder of objects that git counts, one of 256 that fill evenly."""
LOOK_S: Final = 5.0
"""The least time between two looks, each of which opens a repository."""
PAUSE_S: Final = 60.0
"""The least time between two runs."""


class Packer:
    """Has one repository packed when it needs to be. Not to be shared between threads."""

    def __init__(self, path: Path, pause_s: float = PAUSE_S, look_s: float = LOOK_S) -> None:
        self._path = path
        self._pause_s = pause_s
        self._look_s = look_s
        self._running: threading.Thread | None = None
        self._again = 0.0

    def tidy(self) -> None:
        """Start packing if there are too many loose objects, and come back at once. Never fails."""
        if time.monotonic() < self._again or (self._running is not None and self._running.is_alive()):
            return
        self._again = time.monotonic() + self._look_s
        if not crowded(self._path):
            return
        self._again = time.monotonic() + self._pause_s
        self._running = threading.Thread(target=_gc, args=(self._path,), name="pai-packing", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: another time
            self._running.start()


def crowded(path: Path) -> bool:
    """Tell whether a repository has more loose objects or packs than its settings allow, estimated as git does."""
    try:
        repo = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
        allowed = repo.config.get_int("gc.auto") if "gc.auto" in repo.config else _AUTO
        packs_allowed = repo.config.get_int("gc.autoPackLimit") if "gc.autoPackLimit" in repo.config else _AUTO_PACKS
        folder = Path(repo.path, "objects")
        packs = sum(not each.with_suffix(".keep").exists() for each in folder.glob("pack/pack-*.pack"))
        found = len(list(folder.glob(f"{_SAMPLE}/*")))
    except (pygit2.GitError, OSError, ValueError):
        return False
    return allowed > 0 and (allowed < found * 256 or 0 < packs_allowed < packs)


def _gc(path: Path) -> None:
    settings = [word for pair in {"gc.autoDetach": "false", **FRUGAL}.items() for word in ("-c", "=".join(pair))]
    words = ["git", "-C", str(path), *settings, "gc", "--auto", "--quiet"]
    with contextlib.suppress(OSError):  # no git here: the repository only has more files than it needs
        subprocess.run(
            words,
            env={**without_repository(), **UNCONFIGURED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the end of a command does not end it
            check=False,
        )
