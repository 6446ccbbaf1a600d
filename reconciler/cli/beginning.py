"""What an answer lacks of a log that was pruned, told beside it."""

from __future__ import annotations

from reconciler.audit.terms import Query
from reconciler.cli.output import note
from reconciler.core.diagnostics import printable
from reconciler.log.pruned import dropped, prunings
from reconciler.log.replay import event_at
from reconciler.log.store import Reader


def tell_pruned(log: Reader, query: Query | None = None) -> None:
    """Say that an answer lacks what was pruned, if it may. Raises NotFound if all that is asked for was."""
    first = log.first()
    if not first:
        return
    begins = event_at(log, first).time
    if query is not None and query.until and query.until <= begins:
        raise dropped(log, first - 1, f"what was before {query.until}")
    if query is None or query.since < begins:
        cut = next(prunings(log))
        told = f"what was before was pruned on {cut.event.time[:10]}, to {cut.payload.export}"
        note(printable(f"warning: the log begins at #{first} ({begins}); {told}"))
