"""What an answer lacks of a log that was pruned, told beside it."""

from __future__ import annotations

from reconciler.audit.reading import Reading
from reconciler.audit.terms import Query
from reconciler.cli.output import note
from reconciler.core.diagnostics import printable


def tell_pruned(reading: Reading, query: Query | None = None) -> None:
    """Say that an answer lacks what was pruned, if it may. Raises NotFound if all that is asked for was."""
    begin = reading.beginning(query)
    if begin is not None:
        told = f"what was before was pruned on {begin.pruned[:10]}, to {begin.export}"
        note(printable(f"warning: the log begins at #{begin.position} ({begin.time}); {told}"))
