"""Under which names a port answers: a page in a browser must not reach it under a name of its own (DNS rebinding).

An address needs no name server, so any address is answered; of names, this machine's and those that were given.
Whatever is not plainly one of these is foreign.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final

KNOWN_MAX: Final = 1000

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#\s]+))(?::[0-9]{0,5})?")


class Hosts:
    """Answers for this machine's names, for addresses, and for the names given."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _own_names() | {name.lower().removesuffix(".") for name in names if name}
        self._known: set[bytes] = set()

    def know(self, authorities: Iterable[bytes]) -> bool:
        """Tell whether every authority (a Host, and the target's if it has one) is answered for."""
        for authority in authorities:
            if authority not in self._known:
                if not self._judge(authority):
                    return False
                if len(self._known) < KNOWN_MAX:
                    self._known.add(authority)
        return True

    def _judge(self, authority: bytes) -> bool:
        found = _HOST.fullmatch(authority)
        if found is None:
            return False
        literal, name = found.groups()
        if literal is not None:
            return _is_address(ipaddress.IPv6Address, literal)
        named = name.decode("latin-1").lower().removesuffix(".")
        return named in self._names or _is_address(ipaddress.IPv4Address, name)


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], text: bytes) -> bool:
    try:
        kind(text.decode("latin-1"))
    except ValueError:
        return False
    return True


@functools.cache
def _own_names() -> frozenset[str]:
    return frozenset(("localhost", socket.gethostname().lower(), socket.getfqdn().lower()))
