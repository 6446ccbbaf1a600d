"""What an error carries for whoever shows it."""

from __future__ import annotations

from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import LogBusy, NotFound, PaiError, QueryError, Refused


def test_error_carries_its_message_and_its_way_out() -> None:
    """Without a way out it says none; the message is also Python's own."""
    for error in (LogBusy("taken"), PaiError("taken"), Refused("taken"), QueryError("taken")):
        assert (str(error), error.message, error.hint) == ("taken", "taken", "")
    assert LogBusy("taken", "wait").hint == Refused("taken", "wait").hint == QueryError("taken", "wait").hint == "wait"


def test_refusal_keeps_its_diagnostics_and_a_query_its_place() -> None:
    """As values that nobody changes; a query that is not given has no place."""
    found = Diagnostic("a.yaml", 1, 2, "error", "PAI101", "wrong")
    assert NotFound("no", "", [found]).diagnostics == (found,)
    assert NotFound("no").diagnostics == ()
    error = QueryError("no", "", "a b", 2, 1)
    assert (error.query, error.start, error.length) == ("a b", 2, 1)
    error = QueryError("no")
    assert (error.query, error.start, error.length) == ("", 0, 0)
