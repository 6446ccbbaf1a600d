"""Who may use the admin listener: the token that a first start makes, and the check of what a request presents.

The first token lies in `data/admin.token`, and nowhere else: whoever can read that file can read the log beside it too.
Further tokens are keys of people (`key.issued` with `admin`); only their digests are kept, in another map than those of
agents, so that neither opens the other's door.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
from pathlib import Path
from typing import NamedTuple

from reconciler.core import keys
from reconciler.core.errors import CouldNotRun
from reconciler.core.state import Key, State
from reconciler.log.stamp import format_time, wall_clock


class Token(NamedTuple):
    """The first token; `made` tells whether this start made it."""

    text: str
    made: bool


def first_token(path: Path) -> Token:
    """Read the first token, or make it and put it into its file, mode 0600. Raises CouldNotRun."""
    try:
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text("ascii", "replace").strip()
            if not keys.looks_like_key(text):
                raise CouldNotRun(f"{path} holds no token", "remove it: the next start makes a new one")
            return Token(text, made=False)
        text = keys.make_key(os.urandom(keys.KEY_BYTES))
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        raise CouldNotRun(f"{path} cannot be used: {error.strerror}", "check its owner and mode") from error
    return Token(text, made=True)


def admitted(state: State, first: str, authorization: str, address: str) -> bool:
    """Tell whether an Authorization header holds the first token, or a person's key that is in force.

    `first` is the first token's digest, `address` where the request comes from.
    """
    scheme, _, presented = authorization.strip().partition(" ")
    presented = presented.strip()
    if scheme.lower() != "bearer" or not keys.looks_like_key(presented):
        return False
    digest = keys.digest(presented)
    if hmac.compare_digest(digest, first):
        return True
    key = state.admins.get(digest)
    if key is None or (key.expires and key.expires <= format_time(wall_clock())):
        return False
    return not key.networks or _inside(address, key)


def _inside(address: str, key: Key) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in ipaddress.ip_network(network) for network in key.networks)
