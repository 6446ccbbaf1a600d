"""Serves an application on a bound socket: uvicorn's server around our connections, and an orderly end."""

from __future__ import annotations

import contextlib
import math
import resource
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from reconciler.listening.connection import ClientConnection
from reconciler.listening.door import Door

BACKLOG: Final = 2048


def at_most(connections: int) -> int:
    """Give so many connections, or a quarter of the files that may be open if that is less."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if files == resource.RLIM_INFINITY else min(connections, files // 4)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which is the daemon's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves what is behind a door on a bound socket until it is told to stop."""

    def __init__(self, door: Door, listening: socket.socket) -> None:
        """Prepare; nothing is answered before `run`. A port takes at most a quarter of the files that may be open."""
        door.connections_max = at_most(door.connections_max)
        served = type("Served", (ClientConnection,), {"door": door})
        # Where nothing is given uvicorn asks the environment (WEB_CONCURRENCY, FORWARDED_ALLOW_IPS).
        config = uvicorn.Config(
            door.app,
            http=served,
            ws="none",
            loop="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            forwarded_allow_ips=[],
            workers=1,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=math.ceil(door.limits.drain_s),
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        self._listening = listening

    async def run(self) -> None:
        """Serve until `stop`; returns when the last request has ended, or was given up."""
        await self._server.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Take no more requests and let the open ones end."""
        self._server.should_exit = True
