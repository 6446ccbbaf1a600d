"""A TCP proxy that misbehaves when told to: it swallows, loses the answer to a commit, or resets."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from pathlib import Path


class Proxy:
    """Listens on a port of its own and passes bytes on to a socket of the file system, until told otherwise.

    `black`: nothing is passed on any more, in either direction. `lose_answers`: so many answers to a COMMIT are lost,
    and their connection reset. `lose_commits`: so many COMMITs are lost before they reach the server.
    """

    def __init__(self, target: Path) -> None:
        self.black = threading.Event()
        self.lose_answers = self.lose_commits = 0
        self.lost = 0
        self._target = str(target)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            losing = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for each in ready:
                    data = each.recv(65536)
                    if not data:
                        return None
                    if self.black.is_set():
                        continue
                    if each is client and b"COMMIT\0" in data:
                        if self.lose_commits:
                            self.lose_commits, self.lost = self.lose_commits - 1, self.lost + 1
                            return _reset(client)
                        if self.lose_answers:
                            self.lose_answers, losing = self.lose_answers - 1, True
                    elif each is server and losing:
                        self.lost += 1
                        return _reset(client)
                    (server if each is client else client).sendall(data)

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


def _reset(sock: socket.socket) -> None:
    """End a connection as a host does that knows nothing of it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
