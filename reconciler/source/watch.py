"""Noticing that a branch may have moved.

A Watch only says "look again", sometimes for nothing, never with data: truth is the ref itself. The operating system's
notices make it quick (2 ms); a slow look at the tip behind them makes it certain, since refs can be packed, replaced or
restored with their whole repository. It watches single folders, never the objects. It owns a thread and its own view of
the repository; nothing raises out of that thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePath

# The documented lower half of watchfiles: its `watch()` cannot say when the notices are on, so that what moved just
# before would only be found by the slow look.
from watchfiles._rust_notify import RustNotify

from reconciler.core.errors import PaiError
from reconciler.source.git import Repository

DEBOUNCE_MS = 10
STEP_MS, HURRY_STEP_MS = 10, 1
"""How often the notices of the system are read, in ms: each reading takes the interpreter from other threads."""
HURRY_S = 2.0
"""How long the notices are read more often after `hurry`."""
_TOP_FILES = frozenset({"HEAD", "packed-refs"})

_Armed = tuple[tuple[str, int, int], ...]


class Watch:
    """Calls `wake()` from a thread of its own whenever the branch may have moved or the repository came or went."""

    def __init__(self, path: Path, branch: str, wake: Callable[[], None], poll_s: float = 1.0) -> None:
        self._path = path
        self._branch = branch
        self._wake_up = wake
        self._poll_ms = max(1, round(poll_s * 1000))
        self._stop = threading.Event()
        self._hurry_until = 0.0
        self._slow = False
        self._armed = threading.Event()
        self._repository: Repository | None = None
        self._tip: str | None = None
        self._source_error = ""
        self._notices_error = ""
        self._wake_error = ""
        self._thread = threading.Thread(target=self._run, name="pai-watch", daemon=True)

    @property
    def error(self) -> str:
        """What is wrong with the repository, the notices or the last `wake()`; "" if nothing is."""
        return self._source_error or self._wake_error or self._notices_error

    def start(self) -> None:
        """Start watching; `wake()` is called once right away, and `start` returns when the notices are on."""
        self._thread.start()
        self._armed.wait(5)

    def hurry(self) -> None:
        """Expect a push to move the branch soon; from any thread."""
        self._hurry_until = time.monotonic() + HURRY_S

    def is_set(self) -> bool:
        """Tell the notices whether to end: when the watch does, or is to look more often than it was told."""
        return self._stop.is_set() or (self._slow and self._hurries())

    def _hurries(self) -> bool:
        return time.monotonic() < self._hurry_until

    def stop(self) -> None:
        """Stop watching and wait for the thread; safe to call twice, and from `wake()` itself."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        self._look()
        self._wake()
        while not self._stop.is_set():
            try:
                self._follow()
            except FileNotFoundError:  # a folder went just before it was to be watched: begin again
                self._stop.wait(0.001)
            except Exception as error:  # whatever the notices raise: the slow look still works, so the watch goes on
                self._notices_error = f"git is only looked at every {self._poll_ms} ms: {error}"
                self._pause()

    def _follow(self) -> None:
        """Wait for notices until the folders they come from are others than before."""
        folders = self._folders()
        armed = _identities(folders)
        if not armed:
            self._pause()
            return
        watched = [folder for folder, _, _ in armed]
        with RustNotify(watched, False, False, 0, False, False) as notices:
            self._notices_error = ""
            self._armed.set()
            self._look_and_wake()  # what moved before the notices were on
            while not self._stop.is_set() and _identities(self._folders()) == armed:
                self._slow = not self._hurries()
                found = notices.watch(DEBOUNCE_MS, STEP_MS if self._slow else HURRY_STEP_MS, self._poll_ms, self)
                if found == "stop" and not self._stop.is_set():
                    continue
                paths = {path for _, path in found} if isinstance(found, set) else set()
                if any(map(_matters, paths)):
                    self._look()
                    self._wake()
                else:
                    self._look_and_wake()
                # A folder made anew may get the number of the old one, so a notice about the folder itself counts too.
                if not paths.isdisjoint(watched):
                    return

    def _pause(self) -> None:
        self._armed.set()
        self._stop.wait(self._poll_ms / 1000)
        self._look_and_wake()

    def _folders(self) -> list[Path]:
        """List the folders that hold the branch's ref, its packed form and HEAD."""
        if self._repository is None:
            return []
        top = self._repository.git_dir
        folders = [top, top / "refs", top / "refs" / "heads"]
        for part in PurePath(self._branch).parts[:-1]:
            folders.append(folders[-1] / part)
        return folders

    def _look_and_wake(self) -> None:
        if self._look():
            self._wake()

    def _look(self) -> bool:
        """Read the tip, and tell whether it, or the repository's health, is other than last time."""
        before = (self._tip, self._source_error)
        try:
            if self._repository is None or self._repository.replaced:
                self._repository = Repository.open(self._path)
            self._tip = self._repository.tip(self._branch)
            self._source_error = ""
        except PaiError as error:
            self._repository = None
            self._source_error = error.message
        except Exception as error:
            self._repository = None
            self._source_error = repr(error)
        return before != (self._tip, self._source_error)

    def _wake(self) -> None:
        try:
            self._wake_up()
            self._wake_error = ""
        except Exception as error:
            self._wake_error = f"wake failed: {error!r}"


def _matters(path: str) -> bool:
    """Tell whether a notice about `path` may be about a branch; Pai's own refs are none."""
    top = PurePath(path)
    return top.name.removesuffix(".lock") in _TOP_FILES or ("refs" in top.parts and top.parts[-2:] != ("refs", "pai"))


def _identities(folders: list[Path]) -> _Armed:
    """Tell which of the folders exist, by inode number: a restored folder mostly has another one."""
    found = []
    for folder in folders:
        try:
            stat = folder.stat()
        except OSError:
            continue
        found.append((str(folder), stat.st_dev, stat.st_ino))
    return tuple(found)
