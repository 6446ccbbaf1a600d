"""What both sides of the control socket share: its path, its address, who is on the other side, and the limits."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "/api/v1/operations/"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Of the JSON of a request, and of an answer."""
HEAD_BYTES_MAX = 64 * 1024
"""Of the lines before it."""
PATH_BYTES_MAX = 100
"""Unix socket addresses end at 107 bytes (103 on some systems); longer paths take a detour."""


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give an address for `path` that fits into a socket address however long the path is."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptors = f"/proc/self/fd/{folder}"
        if os.path.isdir(descriptors):
            yield f"{descriptors}/{path.name}"
            return
        import tempfile

        with tempfile.TemporaryDirectory(prefix="pai-") as short:
            link = Path(short, "d")
            link.symlink_to(path.parent)
            yield str(link / path.name)
    finally:
        os.close(folder)


def peer(connection: socket.socket) -> int | None:
    """Tell as which user the other side runs; None where the system does not say.

    There the socket's mode and its folder's keep others out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def pieces(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Give what the other side sends until it ends, also if it does without having read. Raises TimeoutError."""
    with contextlib.suppress(ConnectionResetError):
        while True:
            connection.settimeout(left(deadline))
            piece = connection.recv(262_144)
            if not piece:
                return
            yield piece


def left(deadline: float) -> float:
    """Give the seconds until `deadline`. Raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
