"""What callers of the recorder are told: tickets, receipts, and the words for a commit that failed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import cast

import pytest

from reconciler.core.errors import LogBusy, LogDamaged, LogNotWritable, OutcomeUnknown, Refused
from reconciler.core.events import DaemonStopped, Draft, Event, SecretStored
from reconciler.core.state import State
from reconciler.log.stamp import Stamper, parse_time, parse_ulid
from reconciler.log.store import FREE, Reader, Stored
from reconciler.recorder.batches import Batch, cut_of, hint, message, not_recorded
from reconciler.recorder.deciding import NOTHING, Decided, Made, made
from reconciler.recorder.housekeeper import NOTHING_DUE
from reconciler.recorder.prepared import Prepared
from reconciler.recorder.tickets import Receipt, Ticket

DRAFTS = [Draft("a", "daemon", DaemonStopped(reason=reason)) for reason in ('"id":"', "b")]


def stamper() -> Stamper:
    return Stamper(lambda: 1_795_428_251_000_456, bytes)


def receipt(first: int = 7) -> Receipt[str]:
    events = tuple(Event(draft.actor, draft.payload, "id", draft.subject, "t") for draft in DRAFTS)
    return Receipt(first, events, "told")


def test_positions_are_those_of_the_events() -> None:
    """One after the other from the first."""
    assert receipt().positions == range(7, 9)


def test_ticket_gives_its_receipt_once_the_batch_is_answered() -> None:
    """Before, waiting ends with the time that it was given."""
    batch, ticket = Batch(7), Ticket[str]()
    batch.add(ticket)
    ticket.decided(receipt())
    assert not ticket.done
    with pytest.raises(TimeoutError, match=r"^the log has not answered yet$"):
        ticket.wait(0.001)
    batch.answer(None)
    assert ticket.done
    assert ticket.wait() == ticket.wait(0) == receipt()
    assert ticket.taken() == receipt()
    with pytest.raises(AssertionError):
        ticket.taken()


def test_every_ticket_of_a_batch_passes_its_gate() -> None:
    """Also one that asks before it looks whether it is done, as a thread does that waits."""
    batch, tickets = Batch(0), [Ticket[str](), Ticket[str]()]
    for ticket in tickets:
        batch.add(ticket)
        ticket.decided(receipt())
    batch.answer(None)
    for ticket in tickets:
        ticket._done = False
        assert ticket.wait(1) == receipt()


def test_ticket_raises_what_its_decision_raised() -> None:
    """Whether or not somebody waits."""
    ticket = Ticket[str]()
    ticket.decided(Refused("no"))
    ticket.resolve(None)
    with pytest.raises(Refused, match=r"^no$"):
        ticket.wait()
    assert isinstance(ticket.taken(), Refused)


@pytest.mark.parametrize("internal", [False, True])
def test_each_waiter_gets_an_error_of_its_own(internal: bool) -> None:
    """In the same words, from the same cause: the frames of one are not those of another."""
    error = LogNotWritable("full", "make room")
    error.internal = internal
    ticket = Ticket[str]()
    ticket.decided(receipt())
    ticket.resolve(error)
    one, other = ticket.taken(), ticket.taken()
    for found in (one, other):
        assert isinstance(found, LogNotWritable)
        assert (found.message, found.hint, found.internal, found.__cause__) == ("full", "make room", internal, error)
    assert one is not other is not error


def test_callbacks_are_called_once_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    """Each is given the ticket; one that fails is logged and holds up none."""
    told: list[object] = []
    ticket = Ticket[str]()
    ticket.add_done_callback(lambda each: told.append((1, each)))
    ticket.add_done_callback(lambda _: 1 // 0)
    ticket.add_done_callback(lambda each: told.append((2, each)))
    assert told == []
    ticket.resolve(None)
    ticket.add_done_callback(lambda each: told.append((3, each)))
    assert told == [(1, ticket), (2, ticket), (3, ticket)]
    assert [record.getMessage() for record in caplog.records] == ["a callback of the recorder failed"]


@pytest.mark.parametrize(
    ("error", "said", "way_out", "internal"),
    [
        (LogDamaged("torn", "restore it"), "torn", "restore it", False),
        (LogDamaged("torn"), "torn", FREE, False),
        (LogBusy("taken", "wait"), "taken", FREE, False),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device", FREE, False),
        (KeyError("secret"), "an internal error, KeyError", FREE, True),
    ],
)
def test_failed_commit_is_worded_for_callers(
    error: Exception, said: str, way_out: str, internal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What the file or the disk says; of a bug its name alone, and the rest in the daemon's own log."""
    assert (message(error), hint(error)) == (said, way_out)
    with caplog.at_level(logging.ERROR):
        problem = not_recorded(error)
    assert (problem.message, problem.hint, problem.internal) == (
        f"the event was not recorded: {said}",
        way_out,
        internal,
    )
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("the recorder failed by a bug", True)
    ] * internal


def test_decision_is_stamped_and_noted_on_its_ticket() -> None:
    """Events, their bytes and the receipt belong together; what it raises is noted too."""
    state, ticket = State(position=7), Ticket[str]()
    found = made(lambda _: Decided(DRAFTS, "told"), state, stamper(), ticket)
    assert [event.payload for event in found.events] == [draft.payload for draft in DRAFTS]
    assert len(found.bodies) == 2
    ticket.resolve(None)
    assert ticket.wait() == Receipt(7, tuple(found.events), "told")
    refused = Ticket[None]()
    error = Refused("no")

    def no(_: State) -> list[Draft]:
        raise error

    assert made(no, state, stamper(), refused) is NOTHING
    refused.resolve(None)
    assert refused.taken() is error
    nothing = Ticket[None]()
    assert made(lambda _: [], state, stamper(), nothing) is NOTHING
    nothing.resolve(None)
    assert nothing.taken() == Receipt(7, (), None)


def test_prepared_events_are_those_that_deciding_gives() -> None:
    """Byte by byte, also where a text within looks like the place of an id; ids grow, all have one time."""
    prepared = Prepared(DRAFTS)
    events, bodies = prepared.stamped(stamper())
    plain = made(lambda _: DRAFTS, State(), stamper(), Ticket[None]())
    assert (events, bodies) == (plain.events, plain.bodies)
    assert {parse_time(event.time) for event in events} == {1_795_428_251_000_456}
    assert parse_ulid(events[1].id) == parse_ulid(events[0].id) + 1
    assert prepared.keys == []


def batch_of(*bodies: bytes) -> Batch:
    batch = Batch(7)
    for body in bodies:
        batch.put(Made(receipt().events[:1], [body]))
    return batch


class Log:
    """A log that has some bodies from a position on, or cannot be read."""

    def __init__(self, first: int, *bodies: bytes, error: Exception | None = None) -> None:
        self._bodies, self._error = dict(enumerate(bodies, first)), error

    def read(self, start: int, stop: int) -> Iterator[Stored]:
        """Give those between two positions."""
        if self._error:
            raise self._error
        return (Stored(seq, self._bodies[seq], b"") for seq in range(start, stop) if seq in self._bodies)


@pytest.mark.parametrize(
    ("batch", "log", "found"),
    [
        (batch_of(b"a", b"b"), Log(7, b"a", b"b"), True),
        (batch_of(b"a", b"b"), Log(7, b"a", b"b", b"c"), True),
        (batch_of(b"a", b"b"), Log(7, b"a"), False),
        (batch_of(b"a", b"b"), Log(6, b"a", b"b"), False),
        (batch_of(b"a", b"b"), Log(7, b"a", b"x"), False),
        (batch_of(), Log(7, b"a"), False),
        (batch_of(b"a"), Log(7, error=LogDamaged("torn")), None),
        (batch_of(b"a"), None, None),
    ],
)
def test_batch_is_on_a_log_that_has_its_bytes_at_its_place(batch: Batch, log: Log | None, found: bool | None) -> None:
    """All of them and there; of a log that cannot be read nobody knows, but for a batch that was never given to it."""
    assert type(batch.outcome(cast("Reader", log), LogNotWritable("EIO"))) is LogNotWritable
    batch.tried = True
    told = batch.outcome(cast("Reader", log), LogNotWritable("EIO"))
    assert type(told) is {True: type(None), False: LogNotWritable, None: OutcomeUnknown}[found]


def test_cut_takes_the_rows_that_its_events_touch() -> None:
    """In the order of their table, the log's own first; keys that are known are not looked for again."""
    state, batch = State(secrets={"b": {"k": "d"}, "a": {}}), Batch(0)
    for name in ("b", "a"):
        event = Event("o", SecretStored(keys={"k": "d"}), "id", f"secret/{name}", "t")
        batch.put(Made([event], [name.encode()]))
    assert (len(batch.events), batch.bodies) == (2, [b"b", b"a"])
    cut = cut_of(batch, state, None)
    assert list(cut.rows) == [("log", ""), ("secret", "a"), ("secret", "b")]
    assert cut.rows["secret", "b"] is state.secrets["b"]
    assert (cut.batch, cut.due) == (batch, NOTHING_DUE)
    batch.keys = [("secret", "b")]
    assert list(cut_of(batch, state, None).rows) == [("log", ""), ("secret", "b")]
