"""From stored events back to the state: what is refused on the way, and in which words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import msgspec
import pytest

from reconciler.core import events as ev
from reconciler.core.errors import LogDamaged, NotFound
from reconciler.core.state import FOLD_VERSION, State, dump, row, row_keys
from reconciler.log import replay
from reconciler.log.stamp import Stamper, format_ulid
from reconciler.log.store import Base, LogHead, Reader, Snapshot, Stored
from reconciler.recorder.following import folded, state_of
from reconciler.tlog.merkle import Frontier, leaf_hash

HINT = "run `pai verify` to see all that is wrong, and restore the file from a backup"
TIME = "2026-11-23T10:00:00.000000Z"
SPEC: dict[str, object] = {"provider": "gemini", "model": "m"}
PLACE = {"file": "a.yaml", "line": 1, "revision": "r"}
EVENTS = [
    ev.Event("a", ev.LogCreated(origin="o", vkey="v"), "id", "log", TIME),
    ev.Event("a", ev.BindingCreated(spec=SPEC, previous=None, changed=[], **PLACE), "id", "model/m", TIME),
    ev.Event(
        "a", ev.AgentCreated(spec={"modelBindings": ["m"]}, previous=None, changed=[], **PLACE), "id", "agent/w", TIME
    ),
    ev.Event("a", ev.SecretStored(keys={"k": "d"}), "id", "secret/s", TIME),
    ev.Event("a", ev.KeyIssued(agent="w", digest="d1", expires=TIME, networks=[]), "id", "key/k1", TIME),
    ev.Event(
        "w",
        ev.TokensReserved(
            request="r", agent="w", key="", surface="", day="2026-11-23", tokens=9, input=1, output=1, binding=1
        ),
        "id",
        "model/m",
        TIME,
    ),
]  # fmt: skip
STORED = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(map(ev.encode, EVENTS))]
SIZE = len(STORED)


def state(size: int = SIZE) -> State:
    found = State()
    for event in EVENTS[:size]:
        found.apply(event)
    return found


def peaks(size: int = SIZE) -> bytes:
    frontier = Frontier()
    frontier.extend([stored.leaf for stored in STORED[:size]])
    return frontier.pack()


def snapshot(size: int, fold: int = FOLD_VERSION, data: bytes | None = None, peaks_: bytes | None = None) -> Snapshot:
    """Give an intact one, whatever is in it."""
    return Snapshot.of(size, fold, peaks(size) if peaks_ is None else peaks_, data or dump(state(size)))


ROWS = {key: cast("bytes", row(state(), key)) for key in row_keys(state())}
HEAD = LogHead(SIZE, peaks(), SIZE, FOLD_VERSION, 0, 0)


class Log:
    """A log in memory of which every part may be wrong."""

    def __init__(self, **parts: object) -> None:
        self._parts = {"stored": STORED, "head": HEAD, "rows": ROWS, "snapshots": [], "base": None} | parts

    def moment(self) -> contextlib.AbstractContextManager[None]:
        """Stand still anyway."""
        return contextlib.nullcontext()

    def head(self) -> LogHead:
        """Give its end."""
        return cast("LogHead", self._parts["head"])

    def rows(self) -> dict[tuple[str, str], bytes]:
        """Give its projection."""
        return cast("dict[tuple[str, str], bytes]", self._parts["rows"])

    def snapshots(self) -> list[Snapshot]:
        """Give its snapshots."""
        return cast("list[Snapshot]", self._parts["snapshots"])

    def base(self) -> Base | None:
        """Give what it begins with."""
        return cast("Base | None", self._parts["base"])

    def first(self) -> int:
        """Give where it begins."""
        base = self.base()
        return base.position if base else 0

    def read(self, start: int, stop: int = SIZE) -> Iterator[Stored]:
        """Give its events."""
        return (each for each in cast("list[Stored]", self._parts["stored"]) if start <= each.seq < stop)

    def chunks(self, start: int, stop: int = SIZE) -> Iterator[list[Stored]]:
        """Give its events two at a time."""
        found = list(self.read(start, stop))
        return (found[n : n + 2] for n in range(0, len(found), 2))


def log(**parts: object) -> Reader:
    return cast("Reader", Log(**parts))


def refused(error: type[LogDamaged | NotFound], function: object, *arguments: object) -> tuple[str, str]:
    """Call, and give message and hint of the error."""
    with pytest.raises(error) as caught:
        function(*arguments)  # type: ignore[operator]
    return caught.value.message, caught.value.hint


def other(body: bytes, seq: int = 1) -> list[Stored]:
    """Give the stored events with another body at a position, hashed as it is."""
    return [*STORED[:seq], Stored(seq, body, leaf_hash(body)), *STORED[seq + 1 :]]


def test_state_is_restored_from_the_newest_good_snapshot() -> None:
    """A bad one is passed over, whichever way it is bad; the state is the same with any of them and with none."""
    bad = [
        snapshot(5, fold=FOLD_VERSION - 1),
        snapshot(5)._replace(digest=bytes(32)),
        snapshot(5, data=b"none"),
        snapshot(5, peaks_=b"none"),
        snapshot(5, data=dump(state(4))),
    ]
    for snapshots, used in (([], 0), ([snapshot(4)], 4), ([*bad, snapshot(4), snapshot(2)], 4), ([snapshot(6)], 6)):
        found = replay.restore(log(snapshots=snapshots))
        assert (found.state, found.frontier.pack(), found.snapshot) == (state(), peaks(), used)
    for position in range(SIZE + 1):
        assert replay.state_at(log(snapshots=[snapshot(4), snapshot(2)]), position) == state(position)
    assert replay.snapshot_before(log(snapshots=[snapshot(4), snapshot(2)]), 3) == state(2)
    assert replay.snapshot_before(log(snapshots=[snapshot(4)]), 3) == State()


def test_end_that_is_another_than_the_head_says_is_damage() -> None:
    """Its size, or its frontier."""
    assert refused(LogDamaged, replay.restore, log(head=HEAD._replace(size=7))) == (
        "the log ends at position 6, its head says 7",
        HINT,
    )
    assert refused(LogDamaged, replay.restore, log(head=HEAD._replace(peaks=bytes(64)))) == (
        "the Merkle frontier of 6 events is not the one stored",
        HINT,
    )


def test_position_outside_the_log_is_not_found() -> None:
    """Beyond its end, and before its beginning."""
    assert refused(NotFound, replay.state_at, log(), 7) == (
        "the log has 6 events, there is no position 7",
        "pai log shows them",
    )
    base = Base(4096, b"", b"", "", 5, FOLD_VERSION)
    said = "the state after 1,023 events is not on the log any more, which begins at #4096"
    message, _ = refused(LogDamaged, replay.state_at, log(base=base), 1023)
    assert message == "the event at position 5 does not say that the log was pruned"
    cut = ev.LogPruned(
        first=4096, begin=0, root="", checkpoint="", export="/e", state="", kept=0, digest="", previous=None
    )
    told = other(ev.encode(ev.Event("a", cut, "id", "log", TIME)), 5)
    message, _ = refused(NotFound, replay.state_at, log(base=base, stored=told), 1023)
    assert message == f"{said}: pruned on 2026-11-23 by a"
    message, _ = refused(NotFound, replay.event_at, log(base=base, stored=told), 4095)
    assert message.startswith("position 4095 is not on the log any more")
    message, _ = refused(NotFound, replay.event_at, log(base=base, stored=told[5:]), 0)
    assert message.startswith("position 0 is not on the log any more")
    message, _ = refused(LogDamaged, replay.event_at, log(base=base, stored=told), 4096)
    assert message == "position 4096 is missing"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([*STORED[:2], *STORED[3:]], "position 2 is missing, 3 follows"),
        (
            [*STORED[:1], STORED[1]._replace(leaf=bytes(32)), *STORED[2:]],
            "the event at position 1 does not match its hash",
        ),
        (other(b"{}"), "the event at position 1 cannot be read: Object missing required field `type`"),
        (
            other(ev.encode(EVENTS[0]).replace(b"log.created.v1", b"log.created.v2")),
            "the event at position 1 cannot be read: event type log.created.v2 is unknown to this version of Pai",
        ),
    ],
)
def test_events_that_are_not_whole_are_damage(stored: list[Stored], message: str) -> None:
    """The first position that is wrong is named, also where many are read at a time."""
    assert refused(LogDamaged, replay.restore, log(stored=stored)) == (message, HINT)


def test_one_event_is_read_with_its_hash() -> None:
    """Or it is said what is wrong with it."""
    assert replay.event_at(log(), 1) == EVENTS[1]
    assert refused(LogDamaged, replay.event_at, log(), 6) == ("position 6 is missing", HINT)
    assert refused(LogDamaged, replay.event_at, log(), -1) == ("position -1 is missing", HINT)
    assert refused(LogDamaged, replay.read_event, STORED[1]._replace(leaf=bytes(32))) == (
        "the event at position 1 does not match its hash",
        HINT,
    )
    assert refused(LogDamaged, replay.read_event, other(b"{}")[1]) == (
        "the event at position 1 cannot be read: Object missing required field `type`",
        HINT,
    )


def test_projection_is_taken_if_it_is_up_to_date() -> None:
    """Reservations are in no row, so this state lacks them; one that lags, or of another fold, is replayed."""
    found = replay.projected(log(stored=[]))
    assert (found.models, found.position, found.ledger.open) == (state().models, SIZE, {})
    for head in (HEAD._replace(projected=5), HEAD._replace(fold=FOLD_VERSION + 1)):
        assert replay.projected(log(head=head, rows={})) == state()


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        (("model", "m"), b'"name":"m"', b'"name":"n"', "the row of m is about n"),
        (("agent", "w"), b'"name":"w"', b'"name":"n"', "the row of w is about n"),
        (("model", "m"), b'"provider"', b'"supplier"', "the row of m: a spec on the log cannot be read: "),
        (("agent", "w"), b'"modelBindings"', b'"bindings"', "the row of w: a spec on the log cannot be read: "),
        (("key", "k1"), TIME.encode(), b"soon", "Invalid isoformat string: 'soon'"),
        (("key", "k1"), b'"name":"k1"', '"name":"ü"'.encode(), r"a row has the name '\xfc'"),
        (("account", "m"), b'"2026-11-23"', b'"some day"', "Invalid isoformat string: 'some day'"),
        (("secret", "s"), b'"d"', b"7", "Expected `str`, got `int`"),
    ],
)
def test_projection_that_is_damaged_says_how(key: tuple[str, str], old: bytes, new: bytes, message: str) -> None:
    """Rows have no hash; what every object of their kind has must be there."""
    assert old in ROWS[key]
    rows = ROWS | {key: ROWS[key].replace(old, new)}
    said, hint = refused(LogDamaged, replay.projected, log(rows=rows))
    assert said.startswith(f"the projection is damaged: {message}")
    assert hint == HINT


@pytest.mark.parametrize("kind", ["model", "agent", "secret", "account"])
def test_name_that_no_object_can_have_is_damage(kind: str) -> None:
    """Names are ASCII; a row with another was not written by us."""
    (name,) = [name for of, name in ROWS if of == kind]
    rows = {key: body for key, body in ROWS.items() if key[0] != kind}
    rows[kind, "ü"] = ROWS[kind, name]
    message, _ = refused(LogDamaged, replay.projected, log(rows=rows))
    assert message == r"the projection is damaged: a row has the name '\xfc'"


def test_key_for_ever_is_no_damage() -> None:
    """It has no time."""
    rows = ROWS | {("key", "k1"): ROWS["key", "k1"].replace(TIME.encode(), b"")}
    assert replay.projected(log(rows=rows)).keys["d1"].expires == ""


def stamper() -> Stamper:
    return Stamper(lambda: 0, bytes)


def test_recorder_goes_on_after_the_last_event() -> None:
    """Its state, the snapshot that it came from, and no time or id that was given already."""
    ids = [format_ulid((1 << 126) + n) for n in (5, 9)]
    last = [msgspec.structs.replace(EVENTS[n], id=ids[n]) for n in (0, 1)]
    bodies = [ev.encode(event) for event in last]
    whole = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(bodies)]
    frontier = Frontier()
    frontier.extend([each.leaf for each in whole])
    head = LogHead(2, frontier.pack(), 0, 0, 0, 0)
    one, other_one = stamper(), stamper()
    found, snapshot_at = state_of(log(stored=whole, head=head), one)
    assert (found.position, snapshot_at) == (2, 0)
    assert (one.now(), one.next_id()) == (TIME, format_ulid((1 << 126) + 10))
    behind = State()
    assert folded(behind, whole, other_one) == last
    assert (behind, other_one.now(), other_one.next_id()) == (found, TIME, format_ulid((1 << 126) + 10))
    assert folded(behind, [], other_one) == []
    assert state_of(log(stored=[], head=LogHead(0, b"", 0, 0, 0, 0)), stamper()) == (State(), 0)


def test_last_event_without_a_time_or_an_id_is_damage() -> None:
    """It was not written by us; its position is named."""
    message, _ = refused(LogDamaged, state_of, log(), stamper())
    assert message == "the event at position 5 is no event of Pai: 'id' is no ULID"
