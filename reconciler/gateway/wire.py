"""Messages between the gateway and the processes that judge for it: a length, the bytes, and open files beside them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

TEXT_CHARS_MAX = 2000
"""Of a text that another process words; what an agent sends may stand in it."""
_LENGTH_BYTES = 4
_CHUNK_BYTES = 65536


def put(sock: socket.socket, message: bytes, fds: Sequence[int] = ()) -> None:
    """Send a message, and open files with it. Raises OSError."""
    data = len(message).to_bytes(_LENGTH_BYTES) + message
    sent = socket.send_fds(sock, [data], fds)
    sock.sendall(data[sent:])


def take(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for a message and the open files that came with it. Raises EOFError at the end, OSError."""
    data, fds, _, _ = socket.recv_fds(sock, _CHUNK_BYTES, 1)
    try:
        while len(data) < _LENGTH_BYTES or len(data) < _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES]):
            more = sock.recv(_CHUNK_BYTES) if data else b""
            if not more:
                raise EOFError
            data += more
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return data[_LENGTH_BYTES:], list(fds)
