"""A connection's transport as uvicorn's cycle of one request sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class ClientFlow(FlowControl):
    """uvicorn's flow control; whether there is more to read is the connection's business."""

    def __init__(self, transport: asyncio.Transport, wanted: Callable[[], None]) -> None:
        super().__init__(transport)
        self._wanted = wanted

    def resume_reading(self) -> None:
        """Tell the connection that more is wanted."""
        self._wanted()

    def read(self, *, on: bool) -> None:
        """Read from the socket, or stop reading."""
        if on == self.read_paused:
            if on:
                super().resume_reading()
            else:
                self.pause_reading()


class ClientOut:
    """What uvicorn's cycle writes to. It closes it after the last answer; what that means, the connection decides."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close
