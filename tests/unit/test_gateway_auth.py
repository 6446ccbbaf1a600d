"""A key is known by its whole digest, until it expires, from where it may be used."""

from __future__ import annotations

import itertools

import pytest

from reconciler.core import keys
from reconciler.core.state import Key, Resource, State
from reconciler.gateway.auth import AgentCaller, check_still, identify
from reconciler.gateway.refusal import Refusal

NOW = "2026-11-24T12:00:00Z"
KEYS = [keys.make_key(number.to_bytes(keys.KEY_BYTES, "big")) for number in range(5_000)]


def _state(key: str, expires: str = "", networks: tuple[str, ...] = ()) -> State:
    """Give a state in which `key` belongs to agent `ann`, who is in force."""
    state = State()
    state.agents["ann"] = Resource("ann", {"modelBindings": ["flash"]}, "agents/ann.yaml", 1, "c" * 40, 0)
    state.models["flash"] = Resource("flash", {}, "models/flash.yaml", 1, "c" * 40, 0)
    digest = keys.digest(key)
    state.keys[digest] = Key("key-1", "ann", digest, expires, list(networks), 1)
    return state


def test_key_in_force_names_its_agent() -> None:
    """The agent and the key's name come from the log, never from the request."""
    assert identify(_state(KEYS[0]), KEYS[0], NOW, "127.0.0.1") == AgentCaller("ann", "key-1", keys.digest(KEYS[0]))


def test_key_of_an_agent_that_is_not_in_force_is_none() -> None:
    """An agent that was deleted, or never was, has no key that works; one that comes back has its own again."""
    state = _state(KEYS[0])
    ann = state.agents.pop("ann")
    with pytest.raises(Refusal, match="not in force") as caught:
        identify(state, KEYS[0], NOW, "")
    assert caught.value.status == 401
    state.agents["ann"] = ann
    assert identify(state, KEYS[0], NOW, "")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_key_whose_digest_begins_alike_is_not_known(length: int) -> None:
    """Two keys of which the digests share their first digits are two keys."""
    by_prefix = itertools.groupby(sorted(KEYS, key=keys.digest), key=lambda key: keys.digest(key)[:length])
    known, other = next(pair for _, group in by_prefix if len(pair := list(group)[:2]) == 2)
    assert identify(_state(known), known, NOW, "")
    with pytest.raises(Refusal, match="not known"):
        identify(_state(known), other, NOW, "")


@pytest.mark.parametrize("presented", ["", "pak_", KEYS[0][:-1], KEYS[0] + "0", KEYS[0].upper(), KEYS[0] + "\0"])
def test_part_of_a_key_is_not_known(presented: str) -> None:
    """Nothing but the whole key will do."""
    with pytest.raises(Refusal, match="not known"):
        identify(_state(KEYS[0]), presented, NOW, "")


def test_key_ends_at_its_second() -> None:
    """It is in force until the second before."""
    assert identify(_state(KEYS[0], expires="2026-11-24T12:00:01Z"), KEYS[0], NOW, "")
    with pytest.raises(Refusal, match="expired"):
        identify(_state(KEYS[0], expires=NOW), KEYS[0], NOW, "")


@pytest.mark.parametrize(
    ("address", "inside"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("10.2.0.1", False), ("2001:db8::1", True), ("", False)],
)
def test_key_holds_in_its_networks_only(address: str, inside: bool) -> None:
    """An address that is unknown is in no network."""
    state = _state(KEYS[0], networks=("10.1.0.0/16", "2001:db8::/32"))
    if inside:
        assert identify(state, KEYS[0], NOW, address)
    else:
        with pytest.raises(Refusal, match="may not be used from"):
            identify(state, KEYS[0], NOW, address)


def test_key_that_expired_while_a_request_waited_is_none() -> None:
    """It is looked at again when the request is decided."""
    caller = AgentCaller("ann", "key-1", keys.digest(KEYS[0]))
    check_still(_state(KEYS[0], expires="2999-01-01T00:00:00Z"), caller, "flash")
    with pytest.raises(Refusal, match="expired"):
        check_still(_state(KEYS[0], expires="2000-01-01T00:00:00Z"), caller, "flash")


def test_binding_that_was_taken_away_while_a_request_waited_is_none() -> None:
    """So is an agent that was deleted."""
    caller = AgentCaller("ann", "key-1", keys.digest(KEYS[0]))
    state = _state(KEYS[0])
    state.models["sonnet"] = state.models["flash"]
    with pytest.raises(Refusal, match="may not use binding sonnet"):
        check_still(state, caller, "sonnet")
    del state.agents["ann"]
    with pytest.raises(Refusal, match="may not use binding flash"):
        check_still(state, caller, "flash")
