"""Asking one connection to a log's schema: statements with `{s}` for the schema, and errors of ours."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from reconciler.log.postgres.connecting import Database
from reconciler.log.postgres.errors import mapped


@lru_cache(maxsize=512)
def statement(template: str, schema: str) -> str:
    """Give a statement for one schema, whose name is plain (see `address`)."""
    return template.replace("{s}", f'"{schema}"')


class Asking:
    """A connection with the schema that it asks; the base of what reads and writes there."""

    _db: Database
    _schema: str
    _shown: str
    _writing = False

    def _mapped(self) -> AbstractContextManager[None]:
        return mapped(self._shown, self._writing)

    def _ask(self, template: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Give the rows of one statement; values that come as bytes are asked for as such."""
        with self._mapped():
            return self._db.execute(statement(template, self._schema), arguments or None, binary=True).fetchall()

    def _one(self, template: str, arguments: Sequence[object] = ()) -> tuple[Any, ...]:
        """Give the one row of a statement."""
        (found,) = self._ask(template, arguments)
        return found

    def _tell(self, template: str, arguments: Sequence[object] = ()) -> int:
        """Run a statement that gives no rows, and give how many rows it changed."""
        with self._mapped():
            return self._db.execute(statement(template, self._schema), arguments or None).rowcount
