"""Who may use the admin listener: the token that a first start makes, and the check of what a request presents.

The first token lies in `data/admin.token`, whose name it has on the log: it is issued there as further ones are, those
of people (`key.issued` with `admin`). Only digests are kept, in another map than those of agents, so that neither opens
the other's door. While a log that was rolled back is held, nothing is recorded, and the file alone is believed; from
its acceptance on, which issues the token too, the log alone says whether it is in force.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
from pathlib import Path
from typing import Final, NamedTuple

from reconciler import durable
from reconciler.audit.query import search
from reconciler.audit.terms import Query, Term
from reconciler.core import keys
from reconciler.core.addresses import is_inside
from reconciler.core.errors import CouldNotRun, Refused
from reconciler.core.events import Draft, KeyIssued, KeyRevoked
from reconciler.core.state import State
from reconciler.log.stamp import format_time, wall_clock
from reconciler.log.store import Reader
from reconciler.operations.operation import Caller

NAME: Final = "admin.token"
ACTOR: Final = "pai"


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
                raise CouldNotRun(f"{path} holds no token", "move it away: the next start makes a new one")
            return Token(text, made=False)
        text = keys.make_key(os.urandom(keys.KEY_BYTES))
        durable.replace(path, f"{text}\n".encode())
    except OSError as error:
        raise CouldNotRun(f"{path} cannot be used: {error.strerror}", "check its owner and mode") from error
    return Token(text, made=True)


def token_in_force(path: Path, log: Reader) -> Token:
    """Give the first token as `first_token` does; one that was deleted on the log (`pai delete key`) is replaced."""
    token = first_token(path)
    found = keys.digest(token.text)
    if any(row.data["digest"] == found for row in search(log, Query((Term("type", KeyRevoked.type),)))):
        path.unlink(missing_ok=True)
        return first_token(path)
    return token


def forget_first(path: Path, digest: str) -> None:
    """Remove the file of the first token if that is the one with this digest: the next start makes another."""
    with contextlib.suppress(OSError):
        if keys.digest(path.read_text("ascii", "replace").strip()) == digest:
            path.unlink()


def issue_first(state: State, digest: str) -> list[Draft]:
    """Put the first token in force, and those which the file held before out of force, unless that is so already.

    Raises CouldNotRun if it is an agent's key.
    """
    if digest in state.keys:
        raise CouldNotRun(f"data/{NAME} holds an agent's key", "move it away: the next start makes a new one")
    former = [key for key in state.admins.values() if key.agent == NAME and key.digest != digest]
    drafts = [Draft(ACTOR, f"key/{key.name}", KeyRevoked(agent=NAME, digest=key.digest)) for key in former]
    if digest not in state.admins:
        payload = KeyIssued(agent=NAME, digest=digest, expires="", networks=[], admin=True)
        drafts.append(Draft(ACTOR, f"key/{keys.make_id(os.urandom(keys.ID_BYTES))}", payload))
    return drafts


def identify(state: State, first: str, authorization: str, address: str, *, basic: bool = False) -> Caller | None:
    """Tell whose token an Authorization header holds: the first one, or a person's that is in force; None for neither.

    `first` is the digest of a token that is believed without the log, "" for none; no other first token is then, since
    a log that was rolled back may lack that it was deleted. `address` is where the request comes from. With `basic` a
    token is taken as the password of HTTP Basic too, which is all that git knows.
    """
    scheme, _, presented = authorization.strip().partition(" ")
    presented = presented.strip()
    if basic and scheme.lower() == "basic":
        presented = _password(presented)
    elif scheme.lower() != "bearer":
        return None
    if not keys.looks_like_key(presented):
        return None
    digest = keys.digest(presented)
    if hmac.compare_digest(digest, first):
        return Caller(NAME, "operator", "")
    key = state.admins.get(digest)
    if key is None or key.expired(format_time(wall_clock())) or (first and key.agent == NAME):
        return None
    return Caller(key.agent, "operator", key.name) if not key.networks or is_inside(address, key.networks) else None


def require_in_force(state: State, caller: Caller) -> None:
    """See that the token by which a caller was identified is in force still. Raises Refused.

    One that was believed without the log has no name there: it never is, since what is recorded goes by the log.
    """
    key = next((each for each in state.admins.values() if each.name == caller.key), None)
    if key is None or key.expired(format_time(wall_clock())):
        raise Refused("the token that it came with is no longer in force", "push again with one that is")


def _password(encoded: str) -> str:
    """Give the password of HTTP Basic credentials, "" for none; the user's name means nothing here."""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")[2]
    except ValueError:
        return ""
