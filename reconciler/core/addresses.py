"""Addresses of clients, and the networks that they are in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_address(text: str) -> Address | None:
    """Read an address, None if it is none; one of IPv4 that is written as IPv6 is one of IPv4."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_inside(text: str, networks: Iterable[str]) -> bool:
    """Tell whether an address is in one of the networks. What is no address is in none."""
    address = read_address(text)
    return address is not None and any(address in ipaddress.ip_network(network) for network in networks)
