"""A log in Postgres by its address: opening it, and making it whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.core.state import RowKey
from reconciler.log.postgres.connecting import Database
from reconciler.log.postgres.errors import mapped
from reconciler.log.postgres.holding import Holding, leave
from reconciler.log.postgres.schema import admit, make
from reconciler.log.postgres.store import PostgresReader, PostgresStore
from reconciler.log.store import Stored
from reconciler.log.url import PostgresAddress


class PostgresLog:
    """A log by its address."""

    def __init__(self, address: PostgresAddress, folder: Path | None = None) -> None:
        """With a `folder`, for the lock file of this machine, one program alone writes at a time (see `holding`)."""
        self.address = address
        self._folder = folder
        self._epoch: int | None = None  # of the holder that `writer` made last

    def __str__(self) -> str:
        return self.address.shown

    def place(self) -> str:
        """Give the URL, which has the password."""
        return self.address.url

    def exists(self) -> bool:
        """Tell whether a log was made there. Raises LogDamaged if there is no schema for it, CouldNotRun."""
        with contextlib.closing(PostgresReader(self.address, made=False)) as reader:
            return reader.made()

    def reader(self) -> PostgresReader:
        """Open it for reading. Raises LogDamaged, CouldNotRun."""
        return PostgresReader(self.address)

    def writer(self, wait_s: float = 0.0) -> PostgresBackend:
        """Take the right to write it, waiting for so long. Raises LogBusy, LogDamaged, LogNotWritable."""
        self.reader().close()
        holding = Holding(self.address, self._folder, wait_s) if self._folder else None
        self._epoch = holding.epoch if holding else None
        return PostgresBackend(self.address, holding)

    def create(self, events: Sequence[Stored], rows: Mapping[RowKey, bytes], fold: int) -> None:
        """Make it, in a schema that `prepare` has made. Raises LogDamaged if there is one already, LogNotWritable."""
        with contextlib.closing(PostgresStore(self.address, made=False)) as store:
            store.make(events, rows, fold)

    def leave(self, to: str) -> None:
        """Let nobody open it any more. Raises LogNotWritable."""
        leave(self.address, to, self._epoch)


class PostgresBackend:
    """Opening stores of one log. `mended` is empty: there are no settings of ours."""

    def __init__(self, address: PostgresAddress, holding: Holding | None = None) -> None:
        self.mended: list[str] = []
        self._address = address
        self._holding = holding

    def open(self) -> PostgresStore:
        """Open the store for writing. Raises LogDamaged, LogNotWritable."""
        return PostgresStore(self._address, epoch=self._holding.epoch if self._holding else None)

    def is_lost(self) -> bool:
        """Tell whether another program has taken the log."""
        return self._holding is not None and self._holding.lost

    def release(self) -> None:
        """Give the right back; safe to call twice."""
        if self._holding is not None:
            self._holding.release()


def prepare(address: PostgresAddress, role: str = "", password: str = "") -> None:
    """Make the schema at an address, by an owner's right, and let `role` work there; what is there stays as it is.

    Raises LogDamaged, LogNotWritable, CouldNotRun if the role cannot be made.
    """
    with mapped(address.shown, writing=True), Database.to(address) as db:
        make(db, address.schema)
        if role:
            admit(db, address.schema, role, password)
