"""The registry of verbs: each is answered, by what takes its struct and gives the struct that it promises."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from reconciler.core.errors import UsageError
from reconciler.operations.handlers import Operations
from reconciler.operations.health import standalone_health
from reconciler.operations.install import install
from reconciler.operations.operation import Caller, Operation
from reconciler.operations.parts import Parts


@pytest.fixture
def operations(tmp_path: Path) -> Iterator[Operations]:
    """Give the operations of a workspace without a daemon."""
    with Parts(install(tmp_path)) as parts:
        yield Operations(
            parts, parts.look, lambda: standalone_health(parts.workspace, parts.recorder.read(lambda s: s.freeze())), {}
        )


def test_each_verb_is_answered_by_what_takes_and_gives_its_structs(operations: Operations) -> None:
    """No verb is left out, no two have the same word, and no handler was registered for another one's struct."""
    verbs: list[type[Operation[Any]]] = Operation.__subclasses__()
    assert set(operations.handlers) == set(verbs)
    assert max(Counter(verb.word() for verb in verbs).values()) == 1
    typed = {verb: handler for verb, handler in operations.handlers.items() if inspect.ismethod(handler)}
    assert len(typed) >= 12
    for verb, handler in typed.items():
        hints = get_type_hints(handler)
        assert hints.pop("return") == verb.answer()
        assert verb in hints.values() or not verb.__struct_fields__


@pytest.mark.parametrize("word", ["ping", "health", "reconcile"])
def test_verb_without_arguments_is_answered_with_its_struct(operations: Operations, word: str) -> None:
    """What has no fields to fill gives a struct of the promised type."""
    (verb,) = (verb for verb in operations.handlers if verb.word() == word)
    assert type(operations.handlers[verb](verb(), None)) is verb.answer()


@pytest.mark.parametrize("wrong", [{"id": "k\n"}, {"digest": "d" * 64 + "\n"}, {"actor": "eve"}, {"verb": "pin"}])
def test_order_that_no_command_writes_is_refused(operations: Operations, wrong: dict[str, str]) -> None:
    """No line end goes into an id, nobody says in an order who they are, and no order is another verb's."""
    order = {"id": "k", "agent": "a", "digest": "d" * 64, "expires": "", "networks": [], "admin": True}
    caller = Caller("alice@example.com", "operator", "")
    with pytest.raises(UsageError, match=r"key\.issue: "):
        operations.answer("key.issue", order | wrong, caller)
    assert operations.answer("key.issue", order, caller) == {}
