"""The one writer, and what those who call it hold in their hands."""

from reconciler.recorder.deciding import Decide, Decided
from reconciler.recorder.prepared import Prepared
from reconciler.recorder.recorder import Recorder, Status
from reconciler.recorder.tickets import Receipt, Ticket

__all__ = ["Decide", "Decided", "Prepared", "Receipt", "Recorder", "Status", "Ticket"]
