"""Orders of an operator that come while a reconciling pass is under way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler.core import events as ev
from reconciler.core import steering
from reconciler.core.errors import Refused, SourceUnavailable
from reconciler.core.state import State
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import Site, binding


def opened(site: Site) -> Parts:
    """Open the workspace as a command does."""
    return Parts(Workspace.open(site.root, {}))


def test_order_during_a_pass_keeps_what_the_pass_found_out(team: Site) -> None:
    """A suspension that is recorded after the pass looked and before it records: the pass looks again, and waits."""
    before = team.state().revision
    team.clone().pushed({"models/flash.yaml": binding("flash", 2)})
    with opened(team) as parts:

        def meanwhile(_: State) -> Sequence[ev.Draft]:
            parts.recorder.record(lambda state: steering.suspend(state, "main", "alice", ""))
            return []

        result = parts.reconciler.run(first=meanwhile)
    assert "the reconciling is suspended" in result.waits
    assert team.state().revision == before
    assert team.types("type:reconciling") == ["reconciling.suspended"]


def test_second_unpin_is_refused_and_records_nothing(team: Site) -> None:
    """Of two who unpin at the same time one is told that nothing is pinned."""
    revision = team.state().revision
    team.pai("pin", revision)
    with opened(team) as parts:
        then = parts.recorder.read(State.freeze)
        parts.reconciler.run(first=lambda state: steering.unpin(state, then, revision, "alice", ""))
        with pytest.raises(Refused, match="no revision is pinned"):
            parts.reconciler.run(first=lambda state: steering.unpin(state, then, revision, "bob", ""))
    assert [row["actor"] for row in team.rows("type:revision.unpinned")] == ["alice"]


def test_what_comes_before_a_pass_is_recorded_also_if_the_source_is_away(team: Site) -> None:
    """An order does not depend on the repository."""
    team.pai("pin", team.state().revision)
    (team.root / "config.git" / "HEAD").unlink()
    with opened(team) as parts:
        then = parts.recorder.read(State.freeze)
        with pytest.raises(SourceUnavailable):
            parts.reconciler.run(first=lambda state: steering.unpin(state, then, then.revision, "alice", ""))
    assert team.state().pin is None
