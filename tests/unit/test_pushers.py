"""Pushes under way: one at a time is let in, and one that has ended is let in no more."""

from __future__ import annotations

import threading

import pytest

from reconciler.admin.git.report import PushReport
from reconciler.core.errors import Refused
from reconciler.core.state import Key, State
from reconciler.operations.first_token import NAME, require_in_force
from reconciler.operations.operation import Caller
from reconciler.operations.pushers import Ended, Pushes

ANN, BEA = Caller("ann", "operator", "key-a"), Caller("bea", "operator", "key-b")
MOVES = [("0" * 40, "a" * 40)]


def test_next_push_is_let_in_when_the_first_has_ended() -> None:
    """Not before, and not when it is only closed: what became of it is looked at then."""
    pushes = Pushes()
    ann, bea = pushes.begin(ANN), pushes.begin(BEA)
    with pushes.let_in(ann, MOVES, 0) as free:
        assert free
    for _ in range(2):
        with pushes.let_in(bea, MOVES, 0) as free:
            assert not free
        ended, again = pushes.close(ann), pushes.close(ann)
    assert (ended, again) == (None, None)
    pushes.end(ann)
    with pushes.let_in(bea, MOVES, 0) as free:
        assert free
    assert pushes.close(bea) == Ended(BEA, MOVES)


def test_push_that_has_ended_is_not_let_in() -> None:
    """Its hook may still ask, when git was killed under it."""
    pushes = Pushes()
    ann = pushes.begin(ANN)
    assert pushes.close(ann) == Ended(ANN, ())
    pushes.end(ann)
    with pushes.let_in(ann, MOVES, 0) as free:
        assert not free
    assert pushes.caller(ann) is None


def test_end_waits_until_what_is_being_recorded_is() -> None:
    """Else a push would be on the log as admitted after it was looked at."""
    pushes, closed = Pushes(), []
    ann = pushes.begin(ANN)
    with pushes.let_in(ann, MOVES, 0):
        closing = threading.Thread(target=lambda: closed.append(pushes.close(ann)))
        closing.start()
        closing.join(0.05)
        assert closed == []
    closing.join()
    assert closed == [Ended(ANN, MOVES)]


def test_push_needs_a_token_in_force_when_it_is_recorded() -> None:
    """Its name is on the log, not taken back and not expired; one that was believed without the log has none."""
    state = State()
    state.admins["d"] = Key("key-a", "ann", "d", "", [], 1, admin=True)
    state.admins["e"] = Key("key-b", "bea", "e", "2026-01-01T00:00:00Z", [], 1, admin=True)
    state.keys["f"] = Key("key-c", "an-agent", "f", "", [], 1)
    require_in_force(state, ANN)
    nameless = Caller(NAME, "operator", "")
    for caller in (BEA, Caller("cid", "operator", "key-c"), Caller("dan", "operator", "key-d"), nameless):
        with pytest.raises(Refused, match="no longer in force"):
            require_in_force(state, caller)


def line(text: bytes) -> bytes:
    """Write one of git's lines."""
    return b"%04x%b" % (len(text) + 4, text)


OK, NG = b"ok refs/heads/main\n", b"ng refs/heads/main failed to update ref\n"
OTHERS = line(b"unpack ok\n") + line(b"ok refs/heads/main2\n") + line(b"ng refs/heads/x ok refs/heads/main\n")


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize(("said", "moved"), [(OK, True), (NG, False), (b"", None)])
def test_report_of_git_is_read_in_any_pieces(said: bytes, moved: bool | None, band: bool, pieces: int) -> None:
    """With a side band and without; what a hook says there, and what is said of other refs, is not taken for it."""
    whole = OTHERS + (line(said) if said else b"") + b"0000"
    if band:
        half = len(whole) // 2
        whole = line(b"\2" + line(OK) + NG) + line(b"\1" + whole[:half]) + line(b"\1" + whole[half:]) + b"0000"
    report = PushReport("refs/heads/main")
    for start in range(0, len(whole), pieces):
        report.hear(whole[start : start + pieces])
    assert report.moved is moved
    report.hear(b"no line at all" * 10_000)
    assert report.moved is moved
