"""A log in Postgres by its address: opening it, and making it whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from reconciler.core.state import RowKey
from reconciler.log.postgres.address import Address
from reconciler.log.postgres.connecting import Database
from reconciler.log.postgres.errors import mapped
from reconciler.log.postgres.schema import admit, make
from reconciler.log.postgres.store import PostgresReader, PostgresStore
from reconciler.log.store import Stored


class PostgresLog:
    """A log by its address."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __str__(self) -> str:
        return self.address.shown

    def reader(self) -> PostgresReader:
        """Open it for reading. Raises LogDamaged, CouldNotRun."""
        return PostgresReader(self.address)

    def writer(self, wait_s: float = 0.0) -> PostgresBackend:  # noqa: ARG002 (the port's; nobody has it alone)
        """Make sure that it can be written by this user. Raises LogDamaged, LogNotWritable."""
        PostgresStore(self.address).close()
        return PostgresBackend(self.address)

    def create(self, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Make it, in a schema that `prepare` has made. Raises LogDamaged if there is one already, LogNotWritable."""
        with contextlib.closing(PostgresStore(self.address, made=False)) as store:
            store.make(events, rows, fold)


class PostgresBackend:
    """Opening stores of one log; nothing is held between them. `mended` is empty: there are no settings of ours."""

    def __init__(self, address: Address) -> None:
        self.mended: list[str] = []
        self._address = address

    def open(self) -> PostgresStore:
        """Open the store for writing. Raises LogDamaged, LogNotWritable."""
        return PostgresStore(self._address)

    def release(self) -> None:
        """Do nothing: others write the log as well."""


def prepare(address: Address, role: str = "", password: str = "") -> None:
    """Make the schema at an address, by an owner's right, and let `role` work there; what is there stays as it is.

    Raises LogDamaged, LogNotWritable, CouldNotRun if the role cannot be made.
    """
    with mapped(address.shown, writing=True), Database.to(address) as db:
        make(db, address.schema)
        if role:
            admit(db, address.schema, role, password)
