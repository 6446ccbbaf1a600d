"""Orders of an operator as pure decisions: whatever comes in which order, the state is that of what is in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core import steering
from reconciler.core.errors import Refused
from reconciler.core.objects import Desired, Kind, Manifest, Placed
from reconciler.core.plan import plan
from reconciler.core.state import State, dump, load

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
            try:
                steering.unpin(site.state, site.accepted[last], last, "o", "")
            except Refused:
                continue
            raise AssertionError("nothing was pinned")
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
    site.fold(steering.pin(site.state, site.state.freeze(), commit, 0, "o@example.com", "two\nlines"))
    site.fold(steering.suspend(site.state, "main", "p@example.com", ""))
    assert steering.suspend(site.state, "main", "p@example.com", "") == []
    assert steering.standing_orders(site.state) == [
        "revision 0000000 is pinned since 2026-11-23T00:00:00Z by o@example.com (two lines): pai unpin",
        "the reconciling is suspended since 2026-11-23T00:00:00Z by p@example.com: pai resume",
    ]
    site.fold(steering.resume(site.state, "main", "p@example.com", ""))
    assert site.state.suspension is None
