"""The one writer, and what those who call it hold in their hands."""

from reconciler.recorder.prepared import Prepared
from reconciler.recorder.recorder import Decide, Recorder, Status
from reconciler.recorder.tickets import Receipt, Ticket

__all__ = ["Decide", "Prepared", "Receipt", "Recorder", "Status", "Ticket"]
