"""Orders of an operator as pure decisions: whatever comes in which order, the state is that of what is in force."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core import steering
from reconciler.core.errors import Refused
from reconciler.core.objects import Desired, Kind, Manifest, Placed
from reconciler.core.plan import plan
from reconciler.core.state import Resource, State, dump, load

PERSON = ev.Person("A", "a@example.com", "2026-11-23T00:00:00+00:00")
MODEL: Kind = "model"
WANTED = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=4)
"""Bindings by name: a budget and the line they stand at."""


def desired(wanted: dict[str, tuple[int, int]]) -> Desired:
    """Give the objects as a revision would want them."""
    return {
        (MODEL, name): Placed("m.yaml", Manifest(MODEL, name, {"maxTokensPerDay": budget}, {}, {}, line, line, 1))
        for name, (budget, line) in wanted.items()
    }


@dataclass
class Site:
    """A state, and what it was after every accepted revision."""

    state: State = field(default_factory=State)
    accepted: dict[str, State] = field(default_factory=dict)

    def fold(self, drafts: list[ev.Draft]) -> None:
        """Fold decided events as they would come off the log."""
        for draft in drafts:
            stored = ev.encode(ev.Event(draft.actor, draft.payload, "id", draft.subject, "2026-11-23T00:00:00.000000Z"))
            self.state.apply(ev.decode(stored))

    def accept(self, wanted: dict[str, tuple[int, int]]) -> None:
        """Accept a revision, as a pass does."""
        commit = f"{len(self.accepted):040x}"
        drafts, moved, counts = plan(self.state, desired(wanted), commit, "a@example.com")
        payload = ev.RevisionAccepted(
            commit=commit,
            parents=[],
            author=PERSON,
            committer=PERSON,
            message="",
            signature=None,
            counts=counts,
            moved=moved,
        )
        self.fold([*drafts, ev.Draft("a@example.com", f"revision/{commit}", payload)])
        self.accepted[commit] = self.state.freeze()

    def models(self) -> dict[str, tuple[object, str, int]]:
        """Give what is in force: spec and place of each binding."""
        return objects(self.state)


def objects(state: State) -> dict[str, tuple[object, str, int]]:
    """Give what a state has in force; the commit may be another one that gave an object the same content."""
    return {name: (r.spec, r.file, r.line) for name, r in state.models.items()}


@given(revisions=st.lists(WANTED, min_size=1, max_size=5), steps=st.lists(st.integers(-1, 4), max_size=6))
def test_pin_gives_the_pinned_objects_and_unpin_the_last_accepted(
    revisions: list[dict[str, tuple[int, int]]], steps: list[int]
) -> None:
    """Any pins one after the other, and unpinning between them; -1 unpins, another number pins that revision."""
    site = Site()
    for wanted in revisions:
        site.accept(wanted)
    commits = list(site.accepted)
    last = commits[-1]
    for step in steps:
        if step >= 0:
            commit = commits[step % len(commits)]
            then = site.accepted[commit]
            site.fold(steering.pin(site.state, then, commit, then.accepted, "o", "why"))
            assert site.state.pin is not None
            assert (site.models(), site.state.revision) == (objects(then), commit)
            assert steering.pin(site.state, then, commit, then.accepted, "o", "") == []
        elif site.state.pin is None:
            with pytest.raises(Refused, match=r"^no revision is pinned$") as caught:
                steering.unpin(site.state, site.accepted[last], last, "o", "")
            assert caught.value.hint == "pai status says what is in force"
            continue
        else:
            site.fold(steering.unpin(site.state, site.accepted[last], last, "o", ""))
            assert site.state.pin is None
            assert (site.models(), site.state.revision) == (objects(site.accepted[last]), last)
        assert site.state.accepted == site.accepted[last].accepted
        assert load(dump(site.state)).digest() == site.state.digest()


def test_orders_are_told_with_who_when_and_why() -> None:
    """One sentence each, which ends with the way out; a reason in several lines is one."""
    site = Site()
    site.accept({"a": (1, 1)})
    commit = site.state.revision
    assert steering.standing_orders(site.state) == []
    with pytest.raises(Refused, match=r"^no revision is pinned$") as caught:
        steering.unpin(site.state, site.state, commit, "o", "")
    assert caught.value.hint == "pai status says what is in force"
    site.fold(steering.pin(site.state, site.state.freeze(), commit, 0, "o@example.com", "two\nlines"))
    site.fold(steering.suspend(site.state, "main", "p@example.com", ""))
    assert steering.suspend(site.state, "main", "p@example.com", "") == []
    assert steering.standing_orders(site.state) == [
        "revision 0000000 is pinned since 2026-11-23T00:00:00Z by o@example.com (two lines): pai unpin",
        "the reconciling is suspended since 2026-11-23T00:00:00Z by p@example.com: pai resume",
    ]
    site.fold(steering.resume(site.state, "main", "p@example.com", ""))
    assert site.state.suspension is None
    with pytest.raises(Refused, match=r"^the reconciling is not suspended$") as caught:
        steering.resume(site.state, "main", "p@example.com", "")
    assert caught.value.hint == "pai status says what is in force"


def test_what_a_pin_brings_back_keeps_the_commit_that_gave_it_its_content() -> None:
    """Models and agents alike, whatever their names; what only lies elsewhere is told as moved."""
    spec: dict[str, object] = {"maxTokensPerDay": 1}
    then = State(
        models={
            "a/b": Resource("a/b", spec, "m.yaml", 3, "r1", 0),
            "still": Resource("still", {}, "m.yaml", 9, "r2", 0),
        },
        agents={"a/b": Resource("a/b", {"modelBindings": ["a/b"]}, "w.yaml", 4, "r2", 0, {"l": "1"}, {"n": "1"})},
    )
    state = State(models={"still": Resource("still", {}, "old.yaml", 1, "r2", 0)}, accepted=7)
    drafts = steering.pin(state, then, "r3", 5, "o", "why")
    assert [(draft.actor, draft.subject) for draft in drafts] == [
        ("o", "model/a/b"),
        ("o", "agent/a/b"),
        ("o", "revision/r3"),
    ]
    moved, counts = [ev.Moved("model", "still", "m.yaml", 9)], ev.Counts(2, 1, 2, 0, 0, 1)
    assert [draft.payload for draft in drafts] == [
        ev.BindingCreated(spec=spec, previous=None, changed=[], file="m.yaml", line=3, revision="r1"),
        ev.AgentCreated(
            spec={"modelBindings": ["a/b"]}, previous=None, changed=[], file="w.yaml", line=4, revision="r2",
            labels={"l": "1"}, annotations={"n": "1"},
        ),
        ev.RevisionPinned(commit="r3", position=5, reason="why", counts=counts, moved=moved),
    ]  # fmt: skip
    for draft in drafts:
        state.apply(ev.Event(draft.actor, draft.payload, "id", draft.subject, "t"))
    state.models["still"] = Resource("still", {}, "old.yaml", 1, "r2", 0)
    state.models["gone"] = Resource("gone", spec, "g.yaml", 2, "r3", 0)
    gone, last = steering.unpin(state, then, "r4", "p", "back")
    assert gone.payload == ev.BindingDeleted(spec=None, previous=spec, changed=[], file="g.yaml", line=2, revision="r4")
    assert (last.actor, last.subject) == ("p", "revision/r3")
    assert last.payload == ev.RevisionUnpinned(
        commit="r3", revision="r4", position=7, reason="back", counts=ev.Counts(2, 1, 0, 0, 1, 1), moved=moved
    )
