"""Making a key: what `pai add key` and `pai env --new-key` share.

The key is made in this process. Its digest goes to the recorder, the key itself nowhere: whoever calls prints it once.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reconciler.cli.actor import order
from reconciler.cli.output import note
from reconciler.cli.reading import or_what_waits
from reconciler.core.errors import OutcomeUnknown, UsageError
from reconciler.core.keys import ID_BYTES, KEY_BYTES, digest, make_id, make_key
from reconciler.operations.orders import IssueKey
from reconciler.workspace import Workspace

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Issued(NamedTuple):
    """A key that is in force, and its public name."""

    name: str
    key: str


def issue(
    workspace: Workspace, agent: str, expires: str = "", networks: Sequence[str] = (), *, admin: bool = False
) -> Issued:
    """Make a key for an agent, or with `admin` for a person, and return when it is in force.

    Raises NotFound if there is no such agent, OutcomeUnknown with the key's name if it may be in force all the same.
    """
    made = Issued(make_id(os.urandom(ID_BYTES)), make_key(os.urandom(KEY_BYTES)))
    try:
        with or_what_waits(workspace):
            order(workspace, IssueKey(made.name, agent, digest(made.key), expires, [*networks], admin))
    except OutcomeUnknown as error:
        hint = f"if `pai get keys` lists {made.name}, take it back, nobody has it: pai delete key {made.name}"
        raise OutcomeUnknown(error.message, hint) from error
    return made


def announce(name: str, agent: str, expires: str = "", networks: Sequence[str] = ()) -> None:
    """Say on stderr which key was made; the key is alone on stdout."""
    until = f", until {expires}" if expires else ""
    source = f", from {', '.join(networks)} only" if networks else ""
    note(f"key/{name} created for {agent}{until}{source}; it is not shown again")


def parse_expiry(text: str, now: datetime) -> str:
    """Turn `12h`, `90d`, a date (its beginning, UTC) or an RFC 3339 time into the time of a key's end.

    Raises UsageError.
    """
    try:
        duration = _DURATION.fullmatch(text)
        if duration is not None:
            when = now + timedelta(seconds=int(duration[1]) * _UNITS_S[duration[2]])
        else:
            when = datetime.fromisoformat(text)
            when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        hint = "write 30m, 12h, 90d, 2w, 2027-01-31 or 2027-01-31T10:00:00Z"
        raise UsageError(f"--expires: cannot read the time {text!r}", hint) from None
    if when <= now:
        raise UsageError(f"--expires {text} is not in the future", "leave it out for a key that does not expire")
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_networks(given: Sequence[str]) -> list[str]:
    """Check networks and write each in its shortest form, `10.0.0.1` as `10.0.0.1/32`. Raises UsageError."""
    return list(dict.fromkeys(_network(text) for text in given))


def is_network(text: str) -> bool:
    """Tell whether a word is an address or a network, right or wrong in its bits; no name of an agent is."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
        if "%" in text:
            raise ValueError("a zone means something on one machine only")
    except ValueError:
        raise UsageError(f"--cidr: {text!r} is no network", "write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32") from None
    if ipaddress.ip_interface(text).ip != network.network_address:
        hint = f"write {network} for the network, or {text.partition('/')[0]} for the one address"
        raise UsageError(f"--cidr: {text} has bits set beyond its prefix", hint)
    return str(network)
