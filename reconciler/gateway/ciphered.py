"""A connection to a provider over TLS: what comes is deciphered in turns, and little of it at once while that is dear.

Deciphering keeps the loop busy as parsing does, and a provider chooses how much of it there is: records may have one
byte each. Invariants
- While the time for what comes is used up, nothing is deciphered before its agent's turn.
- What gives nothing to read is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from time import thread_time
from typing import Any, Final

from reconciler.gateway.connection import READ_BYTES_MAX, ProviderConnection

DRY_BYTES_MAX: Final = 32 * 1024
"""Of TLS that gives nothing to read: a record that is not whole has 16 KiB, and what follows a handshake is little."""
DECIPHERED_S: Final = 0.002
"""What deciphering is taken for until it is over."""
DEAR_BYTE_S: Final = 0.2e-6
LITTLE_BYTES: Final = 512
"""Deciphered at once, at first and while a byte takes so long: a record may have one, and takes as long as others."""
_NO_ROOM: Final = memoryview(b"")
_ASKED_BESIDE: Final = 256
"""So much more room than there are bytes of TLS is asked for by uvloop (sslproto.pyx)."""


class CipheredConnection(ProviderConnection):
    """A connection over TLS."""

    plain = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._cipher: ssl.SSLObject | None = None
        self._waits = False  # to decipher what came
        self._turn_s = self._guess_s = self._began = 0.0
        self._dry = 0
        self._room = self._buffer[:LITTLE_BYTES]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        super().connection_made(transport)
        side = transport.get_extra_info("ssl_object")
        self._cipher = side if isinstance(side, ssl.SSLObject) else None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where the next bytes are put, none if they may not be deciphered yet."""
        if self._cipher is None:
            return self._buffer
        return self._room if self._may_decipher(sizehint) else _NO_ROOM

    def _may_decipher(self, size: int) -> bool:
        """Tell whether so many bytes of TLS may be deciphered now, which are read again if not."""
        if not self._turn_s and self._parsing.full():
            self._transport.pause_reading()
            self._waits = True
            self._parsing.later(self.agent, self._decipher_late)
            return False
        self._guess_s, self._turn_s = self._turn_s, 0.0
        came = size - _ASKED_BESIDE
        self._dry += came
        if self._dry > DRY_BYTES_MAX + came:  # in what came before this, which may have anything in it
            self._loop.call_soon(self.fail, "it sends what is no answer")
            return False
        self._began = thread_time()
        return True

    def _decipher_late(self) -> None:
        self._waits = False
        if self.usable and not self._paused:
            self._turn_s = DECIPHERED_S
            self._parsing.took(DECIPHERED_S)
            self._transport.resume_reading()

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes of the answer."""
        if self._cipher is not None:
            self._dry = 0
            worked_s = thread_time() - self._began
            self._worked += worked_s
            self._parsing.took(worked_s - self._guess_s)
            self._room = self._buffer[:LITTLE_BYTES] if worked_s > nbytes * DEAR_BYTE_S else self._buffer
        super().buffer_updated(nbytes)

    def end(self) -> bool:
        """End the exchange as other connections do; what waits to be deciphered belongs to nobody."""
        self._keep = self._keep and not (self._waits or self._turn_s)
        return super().end()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._cipher = None  # nobody wants what it holds
        super().abort()

    def _left_over(self) -> Iterator[bytes]:
        """Give what came and was not deciphered while reading was paused, little as it is."""
        if self._cipher is not None:
            with contextlib.suppress(ssl.SSLError):  # it gives no more
                while piece := self._cipher.read(READ_BYTES_MAX):
                    yield piece
