"""An answer as JSON in pieces, which are sent one after the other as fast as its client takes them.

A large one is neither joined nor handed over as a whole: for as long as that takes nobody else in this process runs,
and what its client does not take stays in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reconciler.admin.git.cgi import PATIENCE_S, GitRefusal, Patience
from reconciler.core.errors import UsageError

ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one answer; so much is what one token may leave untaken before its next question waits."""
PIECE_BYTES: Final = 65_536
"""What a piece has at least, but for the last one."""
PAUSE_S: Final = 0.0005
"""Between two pieces that are made: the loop that serves agents gets its turn."""
_LESS: Final = "ask for one object by its name, or for less by q=since:, model: or agent:; or use pai get, pai usage"


def written(fields: Mapping[str, Any]) -> list[bytes]:
    """Write an object as JSON, its lists item by item, in pieces. Raises UsageError beyond ANSWER_BYTES_MAX."""
    return joined(_bounded(_tokens(fields)))


def joined(tokens: Iterable[bytes]) -> list[bytes]:
    """Join what is written to pieces, with a pause after each; none for nothing."""
    pieces: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for token in tokens:
        waiting.append(token)
        size += len(token)
        if size >= PIECE_BYTES:
            pieces.append(b"".join(waiting))
            waiting, size = [], 0
            time.sleep(PAUSE_S)
    return [*pieces, b"".join(waiting)] if waiting else pieces


def _bounded(tokens: Iterable[bytes]) -> Iterator[bytes]:
    left = ANSWER_BYTES_MAX
    for token in tokens:
        left -= len(token)
        if left < 0:
            raise UsageError(f"the answer would have more than {ANSWER_BYTES_MAX:,} bytes", _LESS)
        yield token


def _tokens(fields: Mapping[str, Any]) -> Iterator[bytes]:
    encode = msgspec.json.encode
    before = b"{"
    for name, value in fields.items():
        yield b"%b%b:" % (before, encode(name))
        before = b","
        if not isinstance(value, list):
            yield encode(value)
            continue
        yield b"["
        for number, item in enumerate(value):
            if number:
                yield b","
            yield encode(item)
        yield b"]"
    yield b"}" if fields else b"{}"


class Written(Response):
    """An answer whose pieces are sent as they are taken, and given free then.

    `taken` is called when the client has taken all of it, has left, or was given up because it takes next to nothing.
    """

    def __init__(self, pieces: list[bytes], taken: Callable[[], None]) -> None:
        length = str(sum(map(len, pieces)))
        super().__init__(headers={"Cache-Control": "no-store", "Content-Length": length}, media_type="application/json")
        self._pieces = pieces[::-1]
        self._taken = taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; each piece waits until the one before it was taken, and so does the end."""
        del scope, receive
        patience = Patience(PATIENCE_S)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._pieces:
                piece = self._pieces.pop()
                async with patience.waiting():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                patience.moved(len(piece))
            async with patience.waiting():
                await send({"type": "http.response.body", "body": b""})
        except GitRefusal:
            pass  # it is cut off
        finally:
            self._taken()
