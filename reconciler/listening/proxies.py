"""From where a request came: the peer, or what a proxy says that the operator trusts.

Only `X-Forwarded-For` is believed, and only the part that trusted proxies wrote: from the right, up to and with the
first address that is not theirs (as `real_ip_recursive` of nginx). `Forwarded` and `X-Real-IP` never count: a proxy
that sets one of the three passes the others on as a client wrote them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.core.addresses import Address, read_address

HOPS_MAX: Final = 32

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The trusted proxies of a port, none by default."""

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def trust(self, peer: str) -> bool:
        """Tell whether an address is a trusted proxy's."""
        if not self._trusted:
            return False
        address = read_address(peer)
        return address is not None and self._has(address)

    def client(self, peer: str, fields: Mapping[bytes, Sequence[bytes]]) -> str:
        """Give the client's address behind a trusted peer. What cannot be read is not believed: then it is the peer."""
        client = peer
        lines = b",".join(fields.get(b"x-forwarded-for", ())).decode("latin-1")
        for hop in reversed(lines.rsplit(",", HOPS_MAX)) if lines else ():
            address = read_address(_without_port(hop.strip(" \t")))
            if address is None:  # also what is beyond HOPS_MAX, as one piece
                return peer
            client = str(address)
            if not self._has(address):
                break
        return client

    def scheme(self, fields: Mapping[bytes, Sequence[bytes]]) -> str:
        """Give the scheme that a trusted peer says its client uses."""
        return "https" if [value.lower() for value in fields.get(b"x-forwarded-proto", ())] == [b"https"] else "http"

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        host, bracket, port = hop[1:].partition("]")
        return host if bracket and (not port or (port[0] == ":" and port[1:].isdecimal())) else hop
    host, colon, port = hop.partition(":")
    return host if colon and port.isdecimal() else hop
