"""Which log a workspace has: the one place where what keeps it is chosen."""

from __future__ import annotations

from pathlib import Path

from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.store import Log


def log_at(path: Path) -> Log:
    """Give the log at a place, which need not exist yet; nothing is opened before it is asked for."""
    return SqliteLog(path)
