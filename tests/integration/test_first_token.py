"""The first token while a log that was rolled back is held, and in the moment that ends that."""

from __future__ import annotations

import pytest

from reconciler.core import keys
from reconciler.core.events import Draft, KeyRevoked
from reconciler.core.state import State
from reconciler.operations.first_token import NAME, first_token, identify
from reconciler.operations.operation import Caller
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import Site


def test_belief_ends_in_the_moment_that_ends_the_hold(team: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the token back at once, before the acceptance has returned, finds it believed no more."""
    before = team.database.read_bytes()
    team.pai("add", "secret", "later", "--from-literal", "k=-", stdin="v")
    team.database.write_bytes(before)
    with Parts(Workspace.open(team.root, {})) as parts:
        token = first_token(team.root / "data" / NAME).text
        parts.first_token = keys.digest(token)
        resume = parts.recorder.resume
        seen: list[Caller | None] = []

        def asked(state: State) -> Caller | None:
            return identify(state, parts.believed, f"Bearer {token}", "")

        def revoked(state: State) -> list[Draft]:
            (key,) = state.admins.values()
            return [Draft("a", f"key/{key.name}", KeyRevoked(agent=NAME, digest=key.digest))]

        def resumed(decide: object) -> object:
            receipt = resume(decide)  # type: ignore[arg-type]
            parts.recorder.record(revoked)
            seen.append(parts.recorder.read(asked))
            return receipt

        monkeypatch.setattr(parts.recorder, "resume", resumed)
        assert parts.recorder.read(asked) == Caller(NAME, "operator", "")
        assert parts.accept("operator")
        parts.recorder.hold("again")
        seen.append(parts.recorder.read(asked))
        parts.recorder.resume = resume  # type: ignore[method-assign]
        parts.recorder.resume(lambda _: [])
    assert seen == [None, None]
