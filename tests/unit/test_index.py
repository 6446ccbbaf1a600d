"""The index of the log: by which values an event is found, and what a block adds up."""

from __future__ import annotations

import pytest

from reconciler.core import events as ev
from reconciler.core.budget import Account
from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import LogDamaged
from reconciler.log.index import Block, BlockBuilder, Mark, added, marks_of, read_account, spend, unpack

ANN = ev.Person("Ann", "ann@example.com", "2026-11-23T10:04:11+01:00")
COMMIT = {"commit": "c1", "parents": [], "author": ANN, "committer": ANN, "message": "", "signature": None}
PLACE = {"file": "m.yaml", "line": 3, "revision": "r1"}
OUTCOME = {
    "request": "q1",
    "agent": "bot",
    "day": "2026-11-22",
    "status": 200,
    "durations": ev.Durations(first_byte_ms=12, total_ms=34),
    "reason": "",
}
COUNTS = ev.Counts(0, 0, 0, 0, 0, 0)
RESERVED = ev.TokensReserved(
    request="q1", agent="bot", key="k", surface="openai", day="2026-11-22", tokens=30, input=20, output=10, binding=4
)
SETTLED = ev.TokensSettled(**OUTCOME, input=9, cached=3, cache_write=2, output=4, reasoning=1, charged=13)
FORFEITED = ev.TokensForfeited(**OUTCOME, tokens=30)
REFUSED = ev.RequestRefused(
    request="q2", agent="bot", surface="openai", reason="day", needed=30, remaining=2, count=2, others=["q3", "q4"]
)


def event(payload: ev.AnyPayload, subject: str = "model/a/b", actor: str = "ann", time: str = "10:04") -> ev.Event:
    """Put a payload into an envelope."""
    return ev.Event(actor, payload, "id", subject, f"2026-11-23T{time}:11.123456Z")


@pytest.mark.parametrize(
    ("found", "marks"),
    [
        (event(RESERVED), [("model", "a/b"), ("agent", "bot"), ("actor", "ann")]),
        (event(SETTLED, actor="bot"), [("model", "a/b"), ("agent", "bot")]),
        (
            event(FORFEITED),
            [("type", "tokens.forfeited.v1"), ("model", "a/b"), ("agent", "bot"), ("actor", "ann")],
        ),
        (event(REFUSED, actor="bot"), [("type", "request.refused.v1"), ("model", "a/b"), ("agent", "bot")]),
        (
            event(ev.BindingChanged(spec={}, previous={}, changed=["x", "y"], **PLACE)),
            [("type", "binding.changed.v1"), ("model", "a/b"), ("actor", "ann"), ("version", "model/a/b"),
             ("revision", "r1"), ("path", "m.yaml"), ("field", "x"), ("field", "y")],
        ),
        (
            event(ev.AgentDeleted(spec=None, previous={}, changed=[], **PLACE), "agent/w"),
            [("type", "agent.deleted.v1"), ("agent", "w"), ("actor", "ann"), ("version", "agent/w"),
             ("revision", "r1"), ("path", "m.yaml")],
        ),
        (
            event(
                ev.RevisionAccepted(
                    **COMMIT, counts=COUNTS, moved=[ev.Moved("model", "a", "new.yaml", 2)],
                    warnings=[Diagnostic(path, 1, 1, "warning", "PAI301", "odd") for path in ("odd.yaml", "new.yaml")],
                ),
                "revision/c1",
            ),
            [("type", "revision.accepted.v1"), ("actor", "ann"), ("revision", "c1"), ("path", "new.yaml"),
             ("path", "odd.yaml")],
        ),
        (
            event(
                ev.RevisionRejected(
                    **COMMIT, path="", diagnostics=[Diagnostic("bad.yaml", 1, 1, "error", "PAI101", "wrong")], omitted=0
                ),
                "revision/c1",
            ),
            [("type", "revision.rejected.v1"), ("actor", "ann"), ("revision", "c1"), ("path", "bad.yaml")],
        ),
        (
            event(ev.RevisionSuperseded(**COMMIT, by="c2", pusher=""), "revision/c1"),
            [("type", "revision.superseded.v1"), ("actor", "ann"), ("revision", "c1")],
        ),
        (
            event(ev.HistoryRewritten(from_="c0", to="c1"), "branch/main"),
            [("type", "history.rewritten.v1"), ("actor", "ann"), ("revision", "c1")],
        ),
        (
            event(ev.PushAdmitted(from_="c0", to="c1", key="key-a"), "branch/main"),
            [("type", "push.admitted.v1"), ("actor", "ann"), ("revision", "c1")],
        ),
        (
            event(ev.RevisionPinned(commit="c1", position=7, reason="", counts=COUNTS), "revision/c1"),
            [("type", "revision.pinned.v1"), ("actor", "ann"), ("revision", "c1")],
        ),
        (
            event(
                ev.RevisionUnpinned(
                    commit="c1", revision="c2", position=9, reason="", counts=COUNTS,
                    moved=[ev.Moved("model", "a", "new.yaml", 2)],
                ),
                "revision/c1",
            ),
            [("type", "revision.unpinned.v1"), ("actor", "ann"), ("revision", "c1"), ("revision", "c2"),
             ("path", "new.yaml")],
        ),
        (event(ev.SecretDeleted(keys=["x"]), "secret/s"), [("type", "secret.deleted.v1"), ("actor", "ann")]),
        (
            event(ev.KeyRevoked(agent="bot", digest="d"), "key/k"),
            [("type", "key.revoked.v1"), ("agent", "bot"), ("actor", "ann")],
        ),
    ],
)  # fmt: skip
def test_event_is_found_by_what_it_names(found: ev.Event, marks: list[tuple[str, str]]) -> None:
    """Each value once; the types that most events have are found by no type."""
    assert marks_of(found) == marks


def test_outcomes_are_summed_by_hour_day_model_and_agent() -> None:
    """What was settled counts by its figures, what was forfeited as charged in full, and nothing else counts."""
    spent: dict[tuple[str, str, str, str], list[int]] = {}
    for payload in (SETTLED, FORFEITED, SETTLED, RESERVED, ev.TokensVoided(**OUTCOME, tokens=5), REFUSED):
        spend(spent, event(payload))
    spend(spent, event(FORFEITED, time="11:00"))
    assert spent == {
        ("2026-11-23T10", "2026-11-22", "a/b", "bot"): [3, 18, 6, 8, 2, 56],
        ("2026-11-23T11", "2026-11-22", "a/b", "bot"): [1, 0, 0, 0, 0, 30],
    }


def test_sums_stay_within_what_json_keeps() -> None:
    """Damaged events may hold anything."""
    assert added([1, MAX_SAFE_INTEGER - 1], [2, 1]) == [3, MAX_SAFE_INTEGER]
    assert added([1, MAX_SAFE_INTEGER], [2, 1]) == [3, MAX_SAFE_INTEGER]


def test_block_has_marks_requests_sums_and_accounts_of_its_events() -> None:
    """Offsets are from its first event; an event that cannot be read takes a place and adds nothing."""
    builder = BlockBuilder(100, size=8)
    builder.extend([event(RESERVED), None, event(SETTLED, time="11:59"), event(SETTLED)])
    assert (builder.full(), builder.full(3), builder.full(4)) == (False, False, True)
    builder.add(event(REFUSED, subject="model/none"))
    builder.extend([event(FORFEITED, actor="bot")] * 2 + [event(ev.SecretDeleted(keys=[]), "secret/s")])
    assert builder.full()
    account = Account("2026-11-22", 5, 6)
    block = builder.seal({"a/b": account, "bot": account})
    offsets = {(mark.kind, mark.value): list(unpack(mark.offsets)) for mark in block.marks}
    assert offsets == {
        ("actor", "ann"): [0, 2, 3, 4, 7],
        ("agent", "bot"): [0, 2, 3, 4, 5, 6],
        ("model", "a/b"): [0, 2, 3, 5, 6],
        ("model", "none"): [4],
        ("type", "request.refused.v1"): [4],
        ("type", "secret.deleted.v1"): [7],
        ("type", "tokens.forfeited.v1"): [5, 6],
    }
    assert list(offsets) == sorted(offsets)
    accounts = {mark.value: mark.account for mark in block.marks if mark.account is not None}
    assert {name: read_account(text) for name, text in accounts.items()} == {"a/b": account}
    assert (block.first, block.stop) == (100, 108)
    requests = [("q1", 100), ("q1", 102), ("q1", 103), ("q2", 104), ("q3", 104), ("q4", 104), ("q1", 105), ("q1", 106)]
    assert block.requests == requests
    place = ("2026-11-22", "a/b", "bot")
    assert block.spent == {
        ("hour", "2026-11-23T10", *place): [3, 9, 3, 4, 1, 73],
        ("hour", "2026-11-23T11", *place): [1, 9, 3, 4, 1, 13],
        ("day", "2026-11-23", *place): [4, 18, 6, 8, 2, 86],
    }


def test_next_block_begins_with_nothing() -> None:
    """Where the one before ended; a request that an event names twice stands in it once."""
    builder = BlockBuilder(0, size=1)
    builder.add(event(SETTLED))
    builder.seal({})
    assert (builder.full(), builder.full(1)) == (False, True)
    assert builder.seal({}) == Block(1, 1, [], [], {})
    twice = ev.RequestRefused(
        **{field: getattr(REFUSED, field) for field in REFUSED.__struct_fields__} | {"others": ["q2"]}
    )
    builder.add(event(twice, actor="bot"))
    kinds = (("agent", "bot"), ("model", "a/b"), ("type", "request.refused.v1"))
    assert builder.seal({}) == Block(1, 2, [Mark(*kind, bytes(4)) for kind in kinds], [("q2", 1)], {})


def test_index_that_cannot_be_read_is_damage() -> None:
    """Positions that are cut, and an account that is none, each with a way out."""
    with pytest.raises(LogDamaged, match=r"^the index of the log is damaged: a list of positions is cut$") as caught:
        unpack(bytes(5))
    assert caught.value.hint == "run `pai verify` to see all that is wrong, and restore the file from a backup"
    with pytest.raises(LogDamaged, match=r"^the index of the log is damaged: .*truncated") as caught:
        read_account('{"day"')
    assert caught.value.hint == "run `pai verify` to see all that is wrong, and restore the file from a backup"
    assert list(unpack(b"\1\0\0\0\0\1\0\0")) == [1, 256]
