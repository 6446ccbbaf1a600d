"""A refusal that lists names is short, however many there are, and looks at no more of them than it tells."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.core.errors import SecretMissing
from reconciler.core.state import State
from reconciler.gateway.admission import Admission
from reconciler.gateway.auth import find_binding
from reconciler.gateway.refusal import NAME_SHOWN_MAX, NAMES_SHOWN_MAX, Refusal, listed
from reconciler.secrets.secret_value import SecretValue

MANY = [f"binding-{number:04}" for number in range(1000)]
CHARS_MAX = NAMES_SHOWN_MAX * (NAME_SHOWN_MAX + 2) + 30


def test_few_names_are_all_told() -> None:
    """As they came, with nothing behind them."""
    assert listed([]) == ""
    assert listed(["a", "b"]) == "a, b"
    assert listed(MANY[:NAMES_SHOWN_MAX]).count(",") == NAMES_SHOWN_MAX - 1


@pytest.mark.parametrize("count", [31, 1000, 100_000])
def test_many_names_are_a_few_and_a_count(count: int) -> None:
    """The client learns how many there are, and the answer stays short."""
    told = listed(["n" * 253] * count)
    assert told.endswith(f" and {count - NAMES_SHOWN_MAX:,} more")
    assert len(told) < CHARS_MAX


@pytest.mark.parametrize("asked", ["binding-0001x", "other"])
def test_refusal_of_a_binding_names_a_few_of_the_agents(asked: str) -> None:
    """One that does not exist, and one that is another agent's."""
    workload = SimpleNamespace(agent=SimpleNamespace(model_bindings=MANY))
    state = cast("State", SimpleNamespace(models={"other": object()}, agents={"crew": workload}))
    with pytest.raises(Refusal) as caught:
        find_binding(state, "crew", asked)
    assert caught.value.message.endswith(f"binding-0029 and {1000 - NAMES_SHOWN_MAX} more")
    assert len(caught.value.message) < CHARS_MAX + 200


class _Secrets:
    """Has the keys of those whose names end with an even digit."""

    def __init__(self) -> None:
        self.read_names: list[str] = []

    async def read(self, name: str, key: str) -> SecretValue:
        self.read_names.append(name)
        if int(name[-1]) % 2:
            raise SecretMissing(f"{name} has no {key}")
        return SecretValue(b"sk-0123456789")


def test_spent_day_names_a_few_bindings_with_room_and_reads_the_keys_of_no_more() -> None:
    """Reading a thousand secrets for each refusal would make a cheap request a dear one."""
    secrets = _Secrets()
    unused = cast("Any", None)
    admission = Admission(unused, unused, cast("Any", secrets), {}, {}, 4096)
    others = [
        SimpleNamespace(name=name, binding=SimpleNamespace(api_key_secret_ref=SimpleNamespace(name=name, key="k")))
        for name in MANY
    ]
    told = asyncio.run(admission._ready(cast("Any", others)))
    assert told.startswith("binding-0000, binding-0002, ")
    assert told.count("binding-") == NAMES_SHOWN_MAX
    assert told.endswith(f" and up to {1000 - len(secrets.read_names)} more")
    assert len(secrets.read_names) <= 2 * NAMES_SHOWN_MAX
