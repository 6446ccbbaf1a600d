"""Who is calling, and what it may use: the credential of a request, wherever its SDK puts it, and the key that it is.

The same four places are read on every surface, since clients of one SDK are pointed at another's paths. Nothing of a
credential is kept, logged or sent on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from reconciler.core import keys
from reconciler.core.addresses import is_inside
from reconciler.core.state import Resource, State
from reconciler.gateway.query import keys_in
from reconciler.gateway.refusal import Refusal, listed

_HEADERS = (b"x-api-key", b"x-goog-api-key")
_HINT = "make one with: pai add key AGENT"


class AgentCaller(NamedTuple):
    """An agent, and the id and the digest of the key that it came with."""

    agent: str
    key: str
    digest: str


def now() -> str:
    """Give the time to the second, as events have it."""
    return _as_text(int(time.time()))


@lru_cache(1)
def _as_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def credential(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> str:
    """Find the one credential of a request. Raises Refusal if there is none, or two that differ."""
    found: set[str] = set()
    for name, value in headers:
        if name in _HEADERS:
            found.add(value.decode("latin-1").strip())
        elif name == b"authorization":
            scheme, _, rest = value.decode("latin-1").strip().partition(" ")
            found.add(rest.strip() if scheme.lower() == "bearer" else f"{scheme} {rest}")
    found |= keys_in(query)
    found.discard("")
    if len(found) > 1:
        raise Refusal("unauthenticated", "the request has two different credentials: send one key")
    if not found:
        raise Refusal("unauthenticated", f"the request has no key: send it as Authorization: Bearer ({_HINT})")
    return found.pop()


def identify(state: State, presented: str, now: str, address: str) -> AgentCaller:
    """Find the key in force. `now` is a time as events have it, `address` the client's. Raises Refusal."""
    key = state.keys.get(keys.digest(presented)) if keys.looks_like_key(presented) else None
    if key is None:
        raise Refusal("unauthenticated", f"the key is not known here: it must be a key of Pai, pak_... ({_HINT})")
    if key.expired(now):
        raise Refusal("unauthenticated", f"the key {key.name} expired at {key.expires} ({_HINT})")
    if key.networks and not is_inside(address, key.networks):
        raise Refusal("unauthenticated", f"the key {key.name} may not be used from {address or 'this address'}")
    if key.agent not in state.agents:
        raise Refusal("unauthenticated", f"agent {key.agent}, to whom the key {key.name} belongs, is not in force")
    return AgentCaller(key.agent, key.name, key.digest)


def names_of(state: State, agent: str) -> list[str]:
    """List the bindings that an agent may use, in force or not."""
    workload = state.agents.get(agent)
    return workload.agent.model_bindings if workload is not None else []


def find_binding(state: State, agent: str, name: str) -> Resource:
    """Find a binding that the agent may use. Raises Refusal."""
    resource = state.models.get(name)
    allowed = names_of(state, agent)
    if resource is not None and name in allowed:
        return resource
    names = listed(allowed) or "none"
    if resource is None:
        raise Refusal(
            "no-binding",
            f"there is no binding {name[:63]!r}: model names a binding, not a provider's model; the bindings of agent"
            f" {agent}: {names}",
        )
    raise Refusal("forbidden", f"agent {agent} may not use binding {name}; its bindings: {names}")


def bindings_of(state: State, agent: str) -> list[Resource]:
    """List the bindings in force that an agent may use."""
    return [state.models[name] for name in names_of(state, agent) if name in state.models]


def check_still(state: State, caller: AgentCaller, binding: str) -> None:
    """Raise Refusal if the key that a request came with was revoked, or expired, since, or the binding taken away."""
    key = state.keys.get(caller.digest)
    if key is None or key.expired(now()):
        raise Refusal("unauthenticated", f"the key {caller.key} was revoked, or expired, while the request waited")
    find_binding(state, caller.agent, binding)
