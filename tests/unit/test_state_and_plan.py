"""The fold and the plan: what is wanted, what has to happen, what is in force afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core.errors import LogDamaged
from reconciler.core.objects import BindingSpec, Manifest, Placed
from reconciler.core.plan import changed_fields, plan
from reconciler.core.state import PUSHES_MAX, Resource, State, dump, from_rows, load, row, row_keys, rows_touched

PERSON = ev.Person("A", "a@example.com", "2026-11-23T10:00:00Z")


def manifest(kind: str, name: str, spec: dict[str, object], line: int = 1, **labels: str) -> Manifest:
    """Make a manifest of a kind."""
    return Manifest("model" if kind == "model" else "agent", name, spec, labels, {}, line, line + 3, 9)


def accept(state: State, wanted: dict[tuple[str, str], Placed], revision: str) -> list[ev.Draft]:
    """Plan a revision and fold its events as a pass does."""
    drafts, moved, counts = plan(state, wanted, revision, "a@example.com")  # type: ignore[arg-type]
    accepted = ev.RevisionAccepted(
        commit=revision,
        parents=[],
        author=PERSON,
        committer=PERSON,
        message="",
        signature=None,
        counts=counts,
        moved=moved,
    )
    drafts = [*drafts, ev.Draft("a@example.com", f"revision/{revision}", accepted)]
    for draft in drafts:
        state.apply(ev.Event(draft.actor, draft.payload, "id", draft.subject, "2026-11-23T10:00:00.000000Z"))
    return drafts


NAMES = st.sampled_from(["a", "b", "c", "d"])
SPECS = st.dictionaries(
    st.sampled_from(["x", "y"]), st.integers(0, 2) | st.dictionaries(st.just("z"), st.integers(0, 1))
)
WANTED = st.dictionaries(
    st.tuples(st.sampled_from(["model", "agent"]), NAMES),
    st.tuples(st.sampled_from(["p.yaml", "q.yaml"]), SPECS, st.integers(1, 3), st.booleans()),
)


@given(st.lists(WANTED, max_size=5))
def test_plan_makes_the_state_what_the_revision_wants(
    revisions: list[dict[tuple[str, str], tuple[object, ...]]],
) -> None:
    """After any sequence of revisions the state is the last one's objects, and planning it again gives nothing."""
    state = State()
    for number, revision in enumerate(revisions):
        wanted = {
            key: Placed(str(path), manifest(key[0], key[1], spec, line, **({"l": "1"} if label else {})))  # type: ignore[arg-type]
            for key, (path, spec, line, label) in revision.items()
        }
        accept(state, wanted, str(number))
        for kind in ("model", "agent"):
            have = {r.name: (r.spec, r.labels, r.file, r.line) for r in state.resources(kind).values()}  # type: ignore[arg-type]
            want = {
                n: (p.manifest.spec, p.manifest.labels, p.path, p.manifest.line)
                for (k, n), p in wanted.items()
                if k == kind
            }
            assert have == want
        assert plan(state, wanted, "again", "x")[0] == []  # type: ignore[arg-type]
    assert load(dump(state)) == state
    rows = {key: row(state, key) for key in row_keys(state)}
    rebuilt = from_rows({key: body for key, body in rows.items() if body is not None}, state.position)
    assert rebuilt.digest() == state.digest()


def test_object_that_moved_keeps_its_revision() -> None:
    """A new place is no change of content: no event of its own, the same revision, the new file and line."""
    state = State()
    key = ("model", "a")
    accept(state, {key: Placed("old.yaml", manifest("model", "a", {"x": 1}))}, "r1")
    drafts = accept(state, {key: Placed("new.yaml", manifest("model", "a", {"x": 1}, line=7))}, "r2")
    assert [draft.payload.type for draft in drafts] == ["revision.accepted.v1"]
    now = state.models["a"]
    assert (now.revision, now.file, now.line) == ("r1", "new.yaml", 7)


def test_accepted_stands_behind_its_objects_events() -> None:
    """Whoever can read revision.accepted finds its objects' events before it."""
    drafts = accept(State(), {("model", "a"): Placed("a.yaml", manifest("model", "a", {}))}, "r1")
    assert [draft.payload.type for draft in drafts] == ["binding.created.v1", "revision.accepted.v1"]


def test_changed_fields_are_named_to_the_leaf() -> None:
    """Nested specs, labels and removed fields are named with dots, sorted."""
    now = Resource("a", {"ref": {"name": "s", "key": "k"}, "gone": 1, "same": [1]}, "f", 1, "r", 0, {"team": "blue"})
    wanted = manifest("model", "a", {"ref": {"name": "t", "key": "k"}, "same": [1], "new": None}, team="red")
    assert changed_fields(now, wanted) == ["gone", "metadata.labels.team", "new", "ref.name"]


def test_rejected_revision_leaves_what_is_in_force() -> None:
    """A refusal moves the head and nothing else."""
    state = State()
    accept(state, {("model", "a"): Placed("a.yaml", manifest("model", "a", {}))}, "r1")
    rejected = ev.RevisionRejected(
        commit="r2", parents=[], author=PERSON, committer=PERSON, message="", signature=None, diagnostics=[], omitted=2
    )
    state.apply(ev.Event("a", rejected, "id", "revision/r2", "t"))
    assert state.revision == "r1"
    assert state.head is not None
    assert (state.head.commit, state.head.outcome, state.head.problems) == ("r2", "rejected", 2)
    assert list(state.models) == ["a"]


def test_frozen_state_does_not_follow() -> None:
    """What was frozen stays as it was while the live state goes on."""
    state = State()
    frozen = state.freeze()
    accept(state, {("model", "a"): Placed("a.yaml", manifest("model", "a", {}))}, "r1")
    assert frozen.models == {}
    assert frozen.position == 0


def test_rows_touched_name_every_row_that_changes() -> None:
    """The projection is told of moved objects too, not only of those with events of their own."""
    counts = ev.Counts(0, 0, 0, 0, 0, 1)
    moved = [ev.Moved("agent", "a", "f", 1)]
    accepted = ev.RevisionAccepted(
        commit="r", parents=[], author=PERSON, committer=PERSON, message="", signature=None, counts=counts, moved=moved
    )
    assert rows_touched(ev.Event("a", accepted, "id", "revision/r", "t")) == [("agent", "a")]
    secret = ev.Event("a", ev.SecretStored(keys={"k": "d"}), "id", "secret/s", "t")
    assert rows_touched(secret) == [("secret", "s")]


def test_secret_keys_are_kept_until_the_secret_goes() -> None:
    """Storing a key again replaces it and keeps the others; deleting takes all."""
    state = State()
    for keys in ({"a": "1", "b": "2"}, {"a": "3"}):
        state.apply(ev.Event("a", ev.SecretStored(keys=keys), "id", "secret/s", "t"))
    assert state.secrets == {"s": {"a": "3", "b": "2"}}
    state.apply(ev.Event("a", ev.SecretDeleted(keys=["a", "b"]), "id", "secret/s", "t"))
    assert state.secrets == {}


def test_pushes_of_one_do_not_make_anothers_forgotten() -> None:
    """When there are too many, the oldest goes of the pusher who has most; with one each, the oldest of all."""
    state = State()

    def admitted(pusher: str, number: int) -> None:
        payload = ev.PushAdmitted(from_=f"{number:040}", to=f"{number + 1:040}", key="k")
        state.apply(ev.Event(pusher, payload, "id", "branch/main", "2026-11-23T10:00:00.000000Z"))

    admitted("victim", 0)
    for number in range(1, 3 * PUSHES_MAX):
        admitted("mallory", number)
    assert [push.pusher for push in state.pushes] == ["victim"] + ["mallory"] * (PUSHES_MAX - 1)
    assert state.pushes[-1].old == f"{3 * PUSHES_MAX - 1:040}"
    for number in range(PUSHES_MAX):
        admitted(f"person-{number}", 100 + number)
    assert [push.pusher for push in state.pushes] == [f"person-{number}" for number in range(PUSHES_MAX)]


def test_spec_of_a_newer_program_is_kept_and_read_as_far_as_it_is_known() -> None:
    """A field that this program does not know is in the state, its snapshot and its row, and in nobody's way."""
    spec: dict[str, object] = {"provider": "gemini", "model": "m", "fallbacks": [{"to": "b"}], "maxTokensPerDay": 5}
    state = State()
    accept(state, {("model", "a"): Placed("a.yaml", manifest("model", "a", spec))}, "r")
    before = dump(state)
    assert state.models["a"].binding == BindingSpec("gemini", "m", 5)
    assert state.models["a"].spec == spec
    assert (dump(state), load(before).models["a"].spec) == (before, spec)


@pytest.mark.parametrize("spec", [{}, {"provider": "gemini", "model": "m", "maxTokensPerDay": {"usd": 5}}])
def test_spec_that_cannot_be_read_fails_its_readers_and_not_the_fold(spec: dict[str, object]) -> None:
    """What is on the log stays readable as a whole, whatever one of its bindings says."""
    state = State()
    accept(state, {("model", "a"): Placed("a.yaml", manifest("model", "a", spec))}, "r")
    assert load(dump(state)) == state
    with pytest.raises(LogDamaged, match=r"Expected .int|missing required field"):
        state.models["a"].binding  # noqa: B018
