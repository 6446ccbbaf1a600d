"""The bytes of one large body, kept by the kernel instead of this process's heap, and handed to another process whole.

Written and read in pieces, so that no body is ever one object here; gone at once when it is closed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from mmap import PROT_READ, mmap

PIECE_BYTES = 128 * 1024


class Spool:
    """Bytes to be added at the end, and read. To be closed; `on_close` is called then, once."""

    def __init__(self, fd: int = -1, size: int = 0) -> None:
        """Begin empty, or take over an open file of `size` bytes."""
        self._fd = fd if fd >= 0 else _anonymous()
        self.size = size
        self.on_close: Callable[[], object] | None = None

    def __len__(self) -> int:
        return self.size

    def fileno(self) -> int:
        """Give the open file, to be passed on."""
        return self._fd

    def add(self, data: bytes) -> None:
        """Put bytes behind those there are."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            view, self.size = view[written:], self.size + written

    def pieces(self) -> Iterator[bytes]:
        """Give the bytes from their beginning."""
        for start in range(0, self.size, PIECE_BYTES):
            yield os.pread(self._fd, PIECE_BYTES, start)

    def mapped(self) -> mmap:
        """Give the bytes as memory, which stays when this is closed. There has to be one at least."""
        return mmap(self._fd, self.size, prot=PROT_READ)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bytes; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self.on_close is not None:
                self.on_close()


def _anonymous() -> int:
    """Open a file that nobody else can open: in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pai-body", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
