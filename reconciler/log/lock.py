"""The single-writer lock: one process at a time may open the log for writing.

An exclusive flock on a file beside the log, released by the kernel however the process ends. The file itself stays (it
holds the last holder's process id, for messages only) and must not be removed while a process may hold it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from reconciler.core.errors import LogBusy, LogNotWritable

_POLL_S = 0.01


class WriterLock:
    """The held lock; `release` gives it back. Taking it twice in one process fails like any other holder."""

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        """Take the lock, waiting up to `wait_s` seconds.

        Raises LogBusy with the holder's process id, LogNotWritable if the lock file cannot be made.
        """
        self.path = path
        deadline = time.monotonic() + wait_s
        while True:
            fd = _open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(fd)
                os.close(fd)
                if time.monotonic() >= deadline:
                    raise LogBusy(
                        f"another process writes this log{holder} ({path})",
                        "stop it, or let it do the work: commands use a running daemon by themselves",
                    ) from None
                time.sleep(_POLL_S)
                continue
            if _is_file(fd, path):
                break
            os.close(fd)  # somebody replaced the file between our open and our lock
        self._fd: int | None = fd
        with contextlib.suppress(OSError):  # a full disk: the process id is for messages only
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LogNotWritable(
            f"the lock file {path} cannot be opened: {error.strerror}", "check the folder's owner and mode"
        ) from error


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return f", process {text}" if text.isdigit() else ""
