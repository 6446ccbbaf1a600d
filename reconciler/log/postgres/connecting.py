"""A connection to Postgres that gives up on a server that says nothing.

The server's own timeouts cannot end a wait for answers that never arrive: a host that is gone, a network that swallows.
"""

from __future__ import annotations

import time
from typing import Final, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from reconciler.log.url import PostgresAddress

T = TypeVar("T")

CONNECT_S: Final = 5
SILENCE_S: Final = 6.0
"""How long a turn waits for one answer: longer than the server lets it wait for the lock."""
_INTERVAL_S: Final = 0.1


class Database(psycopg.Connection[TupleRow]):
    """A connection; while `patience_s` is set, one that is silent for so long is closed."""

    patience_s: float | None = None

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:
        """Wait as psycopg does. Raises OperationalError after `patience_s`."""
        if timeout is not None or self.patience_s is None:
            return super().wait(gen, interval, timeout)
        until = time.monotonic() + self.patience_s
        try:
            return super().wait(gen, interval, self.patience_s)
        except psycopg.OperationalError:
            if time.monotonic() >= until:
                self.close()
            raise

    @classmethod
    def to(cls, address: PostgresAddress) -> Self:
        """Open one whose transactions are begun by us. Raises psycopg's errors."""
        return cls.connect(
            address.conninfo,
            autocommit=True,
            prepare_threshold=None,  # a pooler in transaction mode gives each transaction another session
            connect_timeout=CONNECT_S,
            client_encoding="utf8",  # whatever PGCLIENTENCODING or the role says
            application_name="pai",
        )
