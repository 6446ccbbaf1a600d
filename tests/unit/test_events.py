"""Events: their stored bytes, and what is refused when they are read back."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic

ALICE = ev.Person("Alice", "alice@example.com", "2026-11-23T10:04:11+01:00")
COMMIT = {
    "commit": "a" * 40,
    "parents": ["b" * 40],
    "author": ALICE,
    "committer": ALICE,
    "message": "Raise the budget – üñí\U0001f600\n",
    "signature": ev.Signature("ssh", verified=False),
}
SPEC = {"provider": "gemini", "model": "gemini-2.0-flash", "maxTokensPerDay": 1_000_000}
OPEN_SPEC = {"modelBindings": ["a"], "\ue000": 1, "\U0001f600": {"cpu": 0.5, "share": 1e21}, "none": None}
PLACE = {"file": "models/a.yaml", "line": 3, "revision": "a" * 40}
PROBLEM = Diagnostic("a.yaml", 1, 2, "error", "PAI101", "wrong", "right", "wr")
OUTCOME = {
    "request": "r",
    "agent": "a",
    "day": "2026-11-23",
    "status": 200,
    "durations": ev.Durations(first_byte_ms=12, total_ms=34),
    "reason": "",
}

EXAMPLES: list[ev.AnyPayload] = [
    ev.RevisionAccepted(**COMMIT, counts=ev.Counts(1, 1, 1, 0, 0, 1), moved=[ev.Moved("model", "a", "b.yaml", 2)]),
    ev.RevisionRejected(**COMMIT, path="teams/blue", diagnostics=[PROBLEM], omitted=3),
    ev.RevisionSuperseded(**{**COMMIT, "signature": None}, by="c" * 40, pusher="dora@example.com"),
    ev.HistoryRewritten(from_="a" * 40, to="b" * 40),
    ev.PushAdmitted(from_="0" * 40, to="a" * 40, key="key-aaaaaaaaaaaa"),
    ev.PushWithdrawn(from_="0" * 40, to="a" * 40, key="key-aaaaaaaaaaaa"),
    ev.RevisionPinned(commit="a" * 40, position=7, reason="night", counts=ev.Counts(1, 1, 0, 1, 0, 0)),
    ev.RevisionUnpinned(
        commit="a" * 40,
        revision="b" * 40,
        position=9,
        reason="",
        counts=ev.Counts(1, 1, 0, 1, 0, 0),
        moved=[ev.Moved("model", "a", "b.yaml", 2)],
    ),
    ev.ReconcilingSuspended(reason="moving"),
    ev.ReconcilingResumed(reason=""),
    ev.BindingCreated(spec=SPEC, previous=None, changed=[], annotations={"pai.io/unbounded-input": "allow"}, **PLACE),
    ev.BindingChanged(spec=SPEC, previous={}, changed=["maxTokensPerDay"], labels={"team": "blue"}, **PLACE),
    ev.BindingDeleted(spec=None, previous=SPEC, changed=[], **PLACE),
    ev.AgentCreated(spec=OPEN_SPEC, previous=None, changed=[], **PLACE),
    ev.AgentChanged(spec=OPEN_SPEC, previous={"modelBindings": ["b"]}, changed=["modelBindings"], **PLACE),
    ev.AgentDeleted(spec=None, previous=OPEN_SPEC, changed=[], **PLACE),
    ev.SecretStored(keys={"api-key": "ab" * 32}),
    ev.SecretDeleted(keys=["api-key"]),
    ev.KeyIssued(agent="a", digest="ab" * 32, expires="2026-12-01T00:00:00Z", networks=["10.0.0.0/8"]),
    ev.KeyRevoked(agent="a", digest="ab" * 32),
    ev.TokensReserved(
        request="r", agent="a", key="k", surface="openai", day="2026-11-23", tokens=30, input=20, output=10, binding=4
    ),
    ev.TokensSettled(**OUTCOME, input=9, cached=3, cache_write=2, output=4, reasoning=1, charged=13),
    ev.TokensVoided(**{**OUTCOME, "reason": "upstream error"}, tokens=30),
    ev.TokensForfeited(**{**OUTCOME, "status": 0, "reason": "restart"}, tokens=30),
    ev.RequestRefused(
        request="r", agent="a", surface="openai", reason="day", needed=30, remaining=2, count=2, others=["s"]
    ),
    ev.LogCreated(origin="pai/1", vkey="pai/1+00000000+AAAA"),
    ev.LogAccepted(size=7, root="AAAA", reason="rollback detected: ...", commit="a" * 40, copy=""),
    ev.LogPruned(
        first=256,
        begin=0,
        root="AAAA",
        checkpoint="pai/1\n256\nAAAA\n\n— pai/1 AAAA\n",
        export="/archive",
        state="b" * 64,
        kept=3,
        digest="c" * 64,
        previous=None,
    ),
    ev.DaemonStarted(version="0.1.0", settings={"source.branch": "main"}),
    ev.DaemonStopped(reason="SIGTERM"),
]


def event(payload: ev.AnyPayload) -> ev.Event:
    """Put a payload into an envelope."""
    return ev.Event(
        "alice@example.com", payload, "01K0000000000000000000000A", "model/a", "2026-11-23T10:04:11.123456Z"
    )


def test_examples_cover_every_type() -> None:
    """A new event type without an example here fails."""
    assert {type(example) for example in EXAMPLES} == set(ev.AnyPayload.__args__)


@pytest.mark.parametrize("payload", EXAMPLES, ids=lambda payload: payload.type)
def test_event_is_stored_as_canonical_json_and_read_back(payload: ev.AnyPayload) -> None:
    """The bytes are those of RFC 8785, have the fields of the contract, and give the same event again."""
    body = ev.encode(event(payload))
    plain = json.loads(body)
    assert body == rfc8785.dumps(plain)
    assert sorted(plain) == ["actor", "data", "id", "subject", "time", "type"]
    assert plain["type"] == payload.type
    assert ev.decode(body) == event(payload)


@pytest.mark.parametrize(
    "payload", [e for e in EXAMPLES if e.type.startswith(("binding.", "agent."))], ids=lambda p: p.type
)
def test_object_event_stores_every_field_of_the_contract(payload: ev.AnyPayload) -> None:
    """Created, changed and deleted carry the same six fields in their bytes, also where there is nothing to say."""
    data = json.loads(ev.encode(event(payload)))["data"]
    assert {"spec", "previous", "changed", "file", "line", "revision"} <= data.keys()
    if payload.type.endswith(".deleted.v1"):
        assert (data["spec"], data["changed"]) == (None, [])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) - 2, 2**53 + 2)
    | st.floats()
    | st.sampled_from(["", "a", "\ue000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_whatever_a_user_wrote_is_stored_canonically_or_refused(spec: dict[str, object]) -> None:
    """The short way of encoding is taken only for what it writes as RFC 8785 does."""
    payload = ev.AgentCreated(spec=spec, previous=None, changed=[], **PLACE)
    try:
        wanted = rfc8785.dumps(spec)
    except rfc8785.CanonicalizationError:
        with pytest.raises(ValueError, match=r"."):
            ev.encode(event(payload))
    else:
        assert b'"spec":' + wanted in ev.encode(event(payload))


def test_types_are_versioned_words() -> None:
    """Type tags are explicit strings with a version, never class names."""
    for example in EXAMPLES:
        family, verb, version = example.type.split(".")
        assert family.islower()
        assert verb.islower()
        assert version == "v1"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "binding.exploded.v1"},
        {"type": "daemon.stopped.v2"},
        {"data": {"reason": "x", "more": 1}},
        {"data": {}},
        {"data": {"reason": 1}},
        {"extra": 1},
    ],
)
def test_unknown_or_wrong_content_fails_loudly(change: dict[str, object]) -> None:
    """An old program never half-understands a new log."""
    body = json.loads(ev.encode(event(ev.DaemonStopped(reason="SIGTERM"))))
    with pytest.raises(ValueError, match=r"."):
        ev.decode(json.dumps(body | change).encode())


def test_unknown_type_is_named() -> None:
    """Whoever reads a newer program's log is told which event is unknown; a known type's own fault stays its own."""
    body = json.loads(ev.encode(event(ev.DaemonStopped(reason="SIGTERM"))))
    with pytest.raises(ValueError, match=r"^event type daemon\.stopped\.v2 is unknown to this version of Pai$"):
        ev.decode(json.dumps(body | {"type": "daemon.stopped.v2"}).encode())
    with pytest.raises(ValueError, match=r"missing required field `reason`"):
        ev.decode(json.dumps(body | {"data": {}}).encode())


def test_events_are_equal_by_their_fields() -> None:
    """Read back or made anew, an event is the same; nothing else equals it."""
    made = event(EXAMPLES[0])
    read = ev.decode(ev.encode(made))
    assert made == read
    assert hash(made) == hash(read) == hash(made.id)
    others = [event(EXAMPLES[1]), ("alice@example.com", EXAMPLES[0], made.id, made.subject, made.time)]
    assert [(made == other, made != other) for other in [read, *others]] == [(True, False), *[(False, True)] * 2]
    assert type(ev.encode(made)) is bytes


def test_bodies_are_canonical_if_they_are_what_encoding_gives() -> None:
    """One byte, one body more or fewer, or a mapping of somebody's own that takes the long way, says no."""
    bodies = [ev.encode(event(example)) for example in EXAMPLES if not example.free]
    plain = [ev.decode(body) for body in bodies]
    assert ev.are_canonical(bodies, plain)
    assert ev.are_canonical([], [])
    assert not ev.are_canonical(bodies[:-1], plain)
    assert not ev.are_canonical(bodies, plain[:-1])
    assert not ev.are_canonical([*bodies[:-1], bodies[-1] + b" "], plain)
    odd = ev.encode(event(next(each for each in EXAMPLES if each.type == "agent.created.v1")))
    assert not ev.are_canonical([odd], [ev.decode(odd)])


@pytest.mark.parametrize("space", [b"", b"\n"])
def test_many_bodies_are_read_as_each_by_itself(space: bytes) -> None:
    """Also if a body has line breaks of its own, which no program of ours writes."""
    bodies = [ev.encode(event(example)) for example in EXAMPLES]
    bodies[3] = bodies[3].replace(b",", b"," + space)
    assert ev.decode_all(bodies) == [ev.decode(body) for body in bodies]
    assert ev.decode_all([]) == []
    with pytest.raises(ValueError, match=r"."):
        ev.decode_all([*bodies, b"{}"])
