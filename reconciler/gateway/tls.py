"""TLS with providers: Python's own settings, without what lets a provider keep everybody waiting.

Keys exchanged in a large finite field take 0.1 to 0.9 s of one call, in which nobody is served, and a provider may ask
for that on each connection: by a cipher in TLS 1.2, by a second hello in TLS 1.3, again and again by renegotiation. An
elliptic curve takes a millisecond, and all servers of TLS 1.3 have one (RFC 8446 9.1).
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final

HELLO_BYTES_MAX: Final = 4096
"""Of a server's first message, as long as it is not whole: usual ones have 100 bytes, with the largest keys 1,200."""

_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2
_RANDOM_AT: Final = 6
_AGAIN: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""What a hello has for its random bytes that asks for another one (RFC 8446 4.1.3)."""
_FINITE_FIELD: Final = re.compile(rb"\x00\x33\x00\x02\x01[\x00-\xff]")
"""The extension in which it names the group of the keys, one of ffdhe2048 to ffdhe8192 (RFC 8446 4.2.7, 4.2.8)."""


class _Side(ssl.SSLObject):
    """Our side of a connection, which looks at the first message of the other one before it is obeyed."""

    _incoming: ssl.MemoryBIO
    _heard: bytes | None

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, *more: Any, **named: Any) -> _Side:
        side: _Side = super()._create(incoming, *more, **named)  # type: ignore[misc]
        side._incoming, side._heard = incoming, b""
        return side

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises SSLError."""
        if self._heard is not None:
            came = self._incoming.read()
            self._incoming.write(came)
            self._heard = _hello(self._heard + came)
        super().do_handshake()


def _hello(heard: bytes) -> bytes | None:
    """Give what was heard of a server's first message, None once it is whole and can be obeyed. Raises SSLError."""
    message, at = b"", 0
    while len(heard) >= at + 5:
        end = at + 5 + int.from_bytes(heard[at + 3 : at + 5])
        if heard[at] == _HANDSHAKE:  # others may stand before it and mean nothing
            message += heard[at + 5 : end]
        at = end
    size = 4 + int.from_bytes(message[1:4])
    if len(message) < size:
        if len(heard) > HELLO_BYTES_MAX:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "its greeting is too long")
        return heard
    again = message[0] == _SERVER_HELLO and message.startswith(_AGAIN, _RANDOM_AT)
    if again and _FINITE_FIELD.search(message, 0, size):
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, "it asks for keys in a finite field, which take too long to be made")
    return None


def client_context() -> ssl.SSLContext:
    """Make the settings for all providers, which takes a while: certificates are read."""
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    ciphers: list[Any] = tls.get_ciphers()
    tls.set_ciphers(":".join(cipher["name"] for cipher in ciphers if cipher["kea"] != "kx-dhe"))
    tls.options |= ssl.OP_NO_RENEGOTIATION
    tls.sslobject_class = _Side
    return tls
