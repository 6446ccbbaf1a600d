"""The single-writer lock: one process at a time may open the log for writing.

An exclusive flock on a file beside the log, released by the kernel however the process ends. The file itself stays (it
holds the last holder's process id, for messages, and a note if that holder doubted the log) and must not be removed
while a process may hold it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from reconciler.core.errors import LogBusy, LogNotWritable

_POLL_S = 0.01
_DOUBTED = b"doubted\n"
_HINTS = {
    errno.EROFS: "mount it for writing; commands that only read work as it is",
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space on the disk",
}


class WriterLock:
    """The held lock; `release` gives it back. Taking it twice in one process fails like any other holder.

    `doubted` is what `doubt` said last, by this holder or the one before.
    """

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
            except OSError as error:
                os.close(fd)
                hint = "put the workspace on a disk of this machine, or mount the share with locks"
                raise LogNotWritable(f"the file system of {path} gives no lock: {error.strerror}", hint) from error
            if _is_file(fd, path):
                break
            os.close(fd)  # somebody replaced the file between our open and our lock
        self._fd: int | None = fd
        self.doubt(_DOUBTED in os.pread(fd, 64, 0))

    def doubt(self, doubted: bool) -> None:
        """Note, for the next holder too, whether the log has to be read as a whole before it is used."""
        self.doubted = doubted
        if self._fd is not None:
            said = f"{os.getpid()}\n".encode() + _DOUBTED * doubted
            with contextlib.suppress(OSError):  # a full disk: what was noted before stays
                os.pwrite(self._fd, said, 0)
                os.ftruncate(self._fd, len(said))

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the folder's owner and mode")
        raise LogNotWritable(f"the lock file {path} cannot be opened: {error.strerror}", hint) from error


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").partition("\n")[0]
    return f", process {text}" if text.isdigit() else ""
