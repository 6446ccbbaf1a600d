"""Asking one connection to a log's schema: statements with `{s}` for the schema, and errors of ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import psycopg

from reconciler.core.errors import TooLong
from reconciler.log.postgres.connecting import SILENCE_S, Database
from reconciler.log.postgres.errors import mapped
from reconciler.log.url import PostgresAddress


@lru_cache(maxsize=512)
def statement(template: str, schema: str) -> str:
    """Give a statement for one schema, whose name is plain (see `log.url`)."""
    return template.replace("{s}", f'"{schema}"')


class Asking:
    """A connection with the schema that it asks; the base of what reads and writes there."""

    _writing = False
    _deadline: float | None = None

    def __init__(self, address: PostgresAddress) -> None:
        """Connect. Raises CouldNotRun, LogNotWritable of who writes."""
        self._schema, self._shown = address.schema, address.shown
        with self._mapped():
            self._db = Database.to(address)
        if self._writing:  # whoever waits for a writer shall hear of a server that says nothing
            self._db.patience_s = SILENCE_S

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._db.close()

    def _mapped(self) -> AbstractContextManager[None]:
        return mapped(self._shown, self._writing)

    def _ask(self, template: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Give the rows of one statement; values that come as bytes are asked for as such."""
        with self._mapped(), self._limited():
            return self._db.execute(statement(template, self._schema), arguments or None, binary=True).fetchall()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Roll back what does not come to its end, and map the errors."""
        try:
            with self._mapped():
                yield
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Let statements inside the `with` end at the deadline, if there is one, and no later ones of the session."""
        if self._deadline is None:
            yield
            return
        left_ms = int((self._deadline - time.monotonic()) * 1000)
        if left_ms <= 0:
            raise TooLong
        with self._db.transaction():
            self._db.execute(f"SET LOCAL statement_timeout = {left_ms}")
            yield

    def _one(self, template: str, arguments: Sequence[object] = ()) -> tuple[Any, ...]:
        """Give the one row of a statement."""
        (found,) = self._ask(template, arguments)
        return found

    def _tell(self, template: str, arguments: Sequence[object] = ()) -> int:
        """Run a statement that gives no rows, and give how many rows it changed."""
        with self._mapped():
            return self._db.execute(statement(template, self._schema), arguments or None).rowcount
