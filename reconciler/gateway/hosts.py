"""Which Host headers are answered: a page in a browser must not reach the gateway under a name of its own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from reconciler.gateway.refusal import Refusal


class Hosts:
    """Answers for this machine's names, for addresses, and for the names given."""

    def __init__(self, names: Iterable[str]) -> None:
        own = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        self._names = own | {name.lower().rstrip(".") for name in names if name}
        self._known: dict[bytes, bool] = {}

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise Refusal unless there is one Host and it is known."""
        found = [value for name, value in headers if name == b"host"]
        if len(found) != 1 or not self._is_known(found[0]):
            shown = found[0].decode("latin-1")[:100] if found else "none"
            raise Refusal("host", f"this gateway does not answer for the host {shown!r}: see gateway.hosts in pai.toml")

    def _is_known(self, value: bytes) -> bool:
        known = self._known.get(value)
        if known is None:
            known = self._judge(value.decode("latin-1").lower())
            if len(self._known) < 1000:
                self._known[value] = known
        return known

    def _judge(self, value: str) -> bool:
        host, bracket, _ = value.partition("]")
        host = host.removeprefix("[") if bracket else value.partition(":")[0]
        if host.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
