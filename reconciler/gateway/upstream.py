"""Requests to providers: one connection pool, a deadline for each phase, and what can be said when it goes wrong.

The one difference that money hangs on: Unsent means that the provider certainly saw nothing, Lost that nobody knows.
aiohttp's exceptions are mapped here and nowhere else. Redirects are answers, never followed; no proxy, cookie or
credential of the surroundings is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

KEEP_ALIVE_S = 15.0
CONNECTIONS_MAX = 4096


class Unsent(Exception):
    """The provider was not reached; it has seen nothing of the request."""


class Lost(Exception):
    """The request may have been sent, and its answer did not come to its end."""


class Answer:
    """A provider's answer that has begun. To be closed; closing before the end drops the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.raw_headers
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Give the next piece as it came, b"" at the end. Raises Lost."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Lost(_said(error)) from error

    async def whole(self, size_max: int) -> bytes:
        """Read to the end. Raises Lost, also if there are more than `size_max` bytes."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > size_max:
                raise Lost(f"the answer has more than {size_max} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back, or drop it if the answer was not read to its end."""
        self._response.close() if not self._response.content.at_eof() else self._response.release()


class Upstream:
    """The pool. Use it as an async context manager on the loop that sends.

    `connect_s` bounds the making of a connection, `read_s` the silence before an answer begins and between two pieces.
    """

    def __init__(self, connect_s: float, read_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=2**18,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request and wait for the answer to begin. Raises Unsent, Lost."""
        assert self._session is not None
        try:
            response = await self._session.post(
                URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise Unsent(_said(error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Lost(_said(error)) from error
        return Answer(response)


def _said(error: BaseException) -> str:
    """Word an error for people: without addresses and nothing of what was sent."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or type(error.os_error).__name__
        return f"it cannot be reached: {reason}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it closed the connection"
    return f"its answer was broken off ({type(error).__name__})"
