"""The fold and the plan: what is wanted, what has to happen, what is in force afterwards."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ledger, Reservation
from reconciler.core.errors import LogDamaged
from reconciler.core.objects import AgentSpec, BindingSpec, Manifest, Placed
from reconciler.core.plan import Difference, changed_fields, differences, plan
from reconciler.core.state import (
    PUSHES_MAX,
    Head,
    Key,
    Order,
    Push,
    Resource,
    State,
    changes_accounts,
    dump,
    from_rows,
    load,
    row,
    row_keys,
    row_value,
    rows_touched,
)

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
    with pytest.raises(LogDamaged, match=r"Expected .int|missing required field") as caught:
        state.models["a"].binding  # noqa: B018
    assert caught.value.hint == "pai verify says what else is wrong"


COUNTS = ev.Counts(0, 0, 0, 0, 0, 0)
COMMIT = {"parents": [], "author": PERSON, "committer": PERSON, "message": "", "signature": None}
PLACE = {"file": "a.yaml", "line": 3, "revision": "r1"}
NOTED = {"labels": {"team": "blue"}, "annotations": {"note": "kept"}}
OUTCOME = {"agent": "w", "day": "2026-11-23", "status": 200, "durations": ev.Durations(1, 2), "reason": ""}
SPEC: dict[str, object] = {"provider": "gemini", "model": "m"}
WANTS: dict[str, object] = {"modelBindings": ["a"]}


def reserved(request: str, tokens: int) -> ev.TokensReserved:
    return ev.TokensReserved(
        request=request, agent="w", key="k", surface="openai", day="2026-11-23", tokens=tokens, input=1, output=1,
        binding=0, node="n",
    )  # fmt: skip


def folded(state: State, *facts: tuple[str, ev.AnyPayload]) -> State:
    """Fold payloads by their subjects, each an hour after the one before."""
    for subject, payload in facts:
        state.apply(ev.Event("o@example.com", payload, "id", subject, f"2026-11-23T{state.position:02}:00:00.000000Z"))
    return state


def everything() -> State:
    """Give a state that has something of everything, by one event each."""
    return folded(
        State(),
        ("log", ev.LogCreated(origin="pai/1", vkey="pai/1+0+A")),
        ("model/a/b", ev.BindingCreated(spec=SPEC, previous=None, changed=[], **PLACE, **NOTED)),
        ("agent/w", ev.AgentCreated(spec=WANTS, previous=None, changed=[], **PLACE, **NOTED)),
        ("revision/r1", ev.RevisionAccepted(commit="r1", path="here", counts=COUNTS, **COMMIT)),
        ("secret/s", ev.SecretStored(keys={"k": "d"})),
        ("key/k1", ev.KeyIssued(agent="w", digest="d1", expires="2026-12-01T00:00:00Z", networks=["10.0.0.0/8"])),
        ("key/k2", ev.KeyIssued(agent="p", digest="d2", expires="", networks=[], admin=True)),
        ("model/a/b", reserved("one", 30)),
        ("model/a/b", reserved("two", 5)),
        ("model/a/b", ev.TokensSettled(request="one", input=9, cached=0, cache_write=0, output=4, reasoning=0,
                                       charged=13, **OUTCOME)),
        ("branch/main", ev.PushAdmitted(from_="r1", to="r2", key="")),
        ("revision/r1", ev.RevisionPinned(commit="r1", position=3, reason="night", counts=COUNTS)),
        ("branch/main", ev.ReconcilingSuspended(reason="moving")),
    )  # fmt: skip


def test_every_event_is_folded_into_what_it_says() -> None:
    """Each leaves exactly its own trace, with the position and the time of its event."""
    state = everything()
    place = ("a.yaml", 3, "r1")
    assert state == State(
        position=13,
        time="2026-11-23T12:00:00.000000Z",
        origin="pai/1",
        vkey="pai/1+0+A",
        revision="r1",
        head=Head("r1", "here", "accepted", 3),
        accepted=3,
        pin=Order("o@example.com", "2026-11-23T11:00:00.000000Z", "night", "r1"),
        suspension=Order("o@example.com", "2026-11-23T12:00:00.000000Z", "moving"),
        pushes=(Push("o@example.com", "r1", "r2"),),
        models={"a/b": Resource("a/b", SPEC, *place, 1, {"team": "blue"}, {"note": "kept"})},
        agents={"w": Resource("w", WANTS, *place, 2, {"team": "blue"}, {"note": "kept"})},
        secrets={"s": {"k": "d"}},
        keys={"d1": Key("k1", "w", "d1", "2026-12-01T00:00:00Z", ["10.0.0.0/8"], 5)},
        admins={"d2": Key("k2", "p", "d2", "", [], 6, True)},
        ledger=Ledger(
            "2026-11-23",
            {"a/b": Account("2026-11-23", 13, 5)},
            {"two": Reservation("a/b", "w", "2026-11-23", 5, 8, "n")},
        ),
    )
    assert state.agents["w"].agent == AgentSpec(["a"])
    assert [state.keys["d1"].expired(f"2026-{now}") for now in ("11-30T23:59:59Z", "12-01T00:00:00Z")] == [False, True]
    assert not state.admins["d2"].expired("9999")


def test_every_event_that_ends_something_takes_it_away() -> None:
    """Whatever there was; what was not there any more is no error."""
    state = everything()
    for _ in range(2):
        folded(
            state,
            ("branch/main", ev.ReconcilingResumed(reason="")),
            ("model/b", ev.BindingDeleted(spec=None, previous=SPEC, changed=[], **PLACE)),
            ("agent/w", ev.AgentDeleted(spec=None, previous=WANTS, changed=[], **PLACE)),
            ("revision/r1", ev.RevisionUnpinned(commit="r1", revision="r3", position=3, reason="", counts=COUNTS,
                                                moved=[ev.Moved("model", "a/b", "b.yaml", 9)])),
            ("secret/s", ev.SecretDeleted(keys=["k"])),
            ("key/k1", ev.KeyRevoked(agent="w", digest="d1")),
            ("key/k2", ev.KeyRevoked(agent="p", digest="d2")),
            ("model/a/b", ev.TokensForfeited(request="two", tokens=5, **OUTCOME)),
            ("branch/main", ev.PushWithdrawn(from_="r1", to="other", key="")),
        )  # fmt: skip
        assert state.pushes == (Push("o@example.com", "r1", "r2"),)
    folded(state, ("branch/main", ev.PushWithdrawn(from_="r1", to="r2", key="")))
    assert (state.suspension, state.pin, state.revision, state.pushes) == (None, None, "r3", ())
    assert (state.agents, state.secrets, state.keys, state.admins) == ({}, {}, {}, {})
    assert [(r.file, r.line, r.revision) for r in state.models.values()] == [("b.yaml", 9, "r1")]
    assert state.ledger == Ledger("2026-11-23", {"a/b": Account("2026-11-23", 18, 0)}, {})


@pytest.mark.parametrize("kind", [ev.RevisionRejected, ev.RevisionSuperseded])
def test_push_is_forgotten_with_its_commits_outcome(kind: type[ev.Commit]) -> None:
    """Another commit's outcome leaves it."""
    state = everything()
    rejected = kind is ev.RevisionRejected
    more = {"diagnostics": [], "omitted": 2, "path": "there"} if rejected else {"by": "r9"}
    folded(state, ("revision/r7", kind(commit="r7", **more, **COMMIT)))  # type: ignore[arg-type]
    assert state.pushes == (Push("o@example.com", "r1", "r2"),)
    folded(state, ("revision/r2", kind(commit="r2", **more, **COMMIT)))  # type: ignore[arg-type]
    assert state.pushes == ()
    if rejected:
        assert state.head == Head("r2", "there", "rejected", 14, 2)


def test_rows_are_the_state_in_parts() -> None:
    """All kinds of rows, each by its key; together, with the open reservations, they are the state again."""
    state = everything()
    named = {"model": ["a/b"], "agent": ["w"], "secret": ["s"], "key": ["k1", "k2"], "account": ["a/b"], "log": [""]}
    wanted = {(kind, name) for kind, names in named.items() for name in names}
    assert sorted(row_keys(state)) == sorted(wanted)
    assert row_value(state, ("model", "a/b")) is state.models["a/b"]
    assert row_value(state, ("agent", "w")) is state.agents["w"]
    assert row_value(state, ("secret", "s")) is state.secrets["s"]
    assert row_value(state, ("key", "k1")) is state.keys["d1"]
    assert row_value(state, ("key", "k2")) is state.admins["d2"]
    assert row_value(state, ("account", "a/b")) is state.ledger.accounts["a/b"]
    for kind in ("model", "agent", "secret", "key", "account"):
        assert row(state, (kind, "nobody")) is None
    rebuilt = from_rows({key: row(state, key) or b"" for key in wanted}, state.position)
    assert rebuilt.ledger.accounts == state.ledger.accounts
    rebuilt.ledger = state.ledger
    assert rebuilt == state
    assert from_rows({}, 7) == State(position=7)


def test_frozen_state_keeps_every_part() -> None:
    """Of no kind of object, key or account does the copy follow the live one."""
    state = everything()
    frozen, digest = state.freeze(), state.digest()
    assert frozen == state
    for kept in (state.models, state.agents, state.secrets, state.keys, state.admins, state.ledger.accounts):
        kept.clear()
    state.ledger.open.clear()
    assert (frozen, frozen.digest()) == (everything(), digest)
    assert state.digest() != digest


@pytest.mark.parametrize(
    ("subject", "payload", "rows"),
    [
        ("model/a/b", ev.BindingDeleted(spec=None, previous=SPEC, changed=[], **PLACE), [("model", "a/b")]),
        ("agent/w", ev.AgentDeleted(spec=None, previous=WANTS, changed=[], **PLACE), [("agent", "w")]),
        ("key/k1", ev.KeyRevoked(agent="w", digest="d1"), [("key", "k1")]),
        ("model/a/b", reserved("r", 1), [("account", "a/b")]),
        (
            "model/a",
            ev.RequestRefused(
                request="r", agent="a", surface="openai", reason="day", needed=1, remaining=0, count=1, others=[]
            ),
            [],
        ),
        ("branch/main", ev.ReconcilingResumed(reason=""), []),
    ],
)
def test_rows_touched_are_named_by_the_subject(subject: str, payload: ev.AnyPayload, rows: list[object]) -> None:
    """A name may hold a slash; what only says something touches no row of its own."""
    event = ev.Event("a", payload, "id", subject, "t")
    assert rows_touched(event) == rows
    assert changes_accounts(event) == isinstance(payload, ev.TokensReserved)


def test_plan_counts_what_it_does() -> None:
    """Objects in force afterwards, and what was created, changed, deleted and moved; events say lines and values."""
    state = State()
    first = {
        ("model", name): Placed("m.yaml", Manifest("model", name, {"x": 1, "y": True}, {}, {"n": "1"}, 1, 1, 1))
        for name in "abcde"
    } | {("agent", "w"): Placed("w.yaml", Manifest("agent", "w", {"z": {"deep": 1}}, {}, {}, 1, 1, 1, (), {"z": 4}))}
    drafts, moved, counts = plan(state, first, "r1", "o")  # type: ignore[arg-type]
    assert (moved, counts) == ([], ev.Counts(5, 1, 6, 0, 0, 0))
    assert drafts[-1].payload == ev.AgentCreated(
        spec={"z": {"deep": 1}}, previous=None, changed=[], file="w.yaml", line=1, revision="r1", lines={"z": 4}
    )
    assert drafts[0].payload.annotations == {"n": "1"}  # type: ignore[union-attr]
    accept(state, first, "r1")  # type: ignore[arg-type]
    lines = {"x": 5, "y": 6, "new": 7}
    second = {
        ("model", "a"): first["model", "a"],
        ("model", "b"): Placed("m.yaml", Manifest("model", "b", {"x": 1, "y": 1, "new": None}, {}, {"n": "2"}, 1, 1, 1,
                                                  (), lines)),
        ("model", "c"): Placed("m.yaml", Manifest("model", "c", {"x": 2, "y": True}, {}, {"n": "1"}, 1, 1, 1)),
        ("model", "d"): Placed("m.yaml", Manifest("model", "d", {"x": 1, "y": True}, {}, {"n": "1"}, 8, 8, 1)),
        ("model", "f"): first["model", "a"],
    }  # fmt: skip
    drafts, moved, counts = plan(state, second, "r2", "o")  # type: ignore[arg-type]
    assert (moved, counts) == ([ev.Moved("model", "d", "m.yaml", 8)], ev.Counts(5, 0, 1, 2, 2, 1))
    assert [draft.subject for draft in drafts] == ["model/b", "model/c", "model/f", "model/e", "agent/w"]
    assert drafts[0].payload == ev.BindingChanged(
        spec={"x": 1, "y": 1, "new": None},
        previous={"x": 1, "y": True},
        changed=["metadata.annotations.n", "new", "y"],
        annotations={"n": "2"},
        file="m.yaml",
        line=1,
        revision="r2",
        lines={"y": 6, "new": 7},
    )
    assert plan(state, second, "r2", "o", known=first) == (drafts, moved, counts)  # type: ignore[arg-type]


def test_differences_give_both_values() -> None:
    """Sorted by field; an object that is not there has no field, and None stands for what is not there."""
    now = Resource("a", {"x": 1, "deep": {"y": 2}}, "f", 1, "r", 0, {"l": "1"}, {"n": "1"})
    assert differences(now, None) == [
        Difference("deep", {"y": 2}, None),
        Difference("metadata.annotations.n", "1", None),
        Difference("metadata.labels.l", "1", None),
        Difference("x", 1, None),
    ]
    for part, field in (("spec", "a"), ("labels", "metadata.labels.a"), ("annotations", "metadata.annotations.a")):
        assert changed_fields(now, msgspec.structs.replace(now, **{part: {**getattr(now, part), "a": "new"}})) == [
            field
        ]
    assert differences(None, now)[0] == Difference("deep", None, {"y": 2})
    assert differences(None, None) == differences(now, now) == []
    other = Resource("a", {"x": True, "deep": {"y": 3}}, "f", 1, "r", 0, {"l": "1"}, {"n": "2"})
    assert differences(now, other) == [
        Difference("deep.y", 2, 3),
        Difference("metadata.annotations.n", "1", "2"),
        Difference("x", 1, True),
    ]
