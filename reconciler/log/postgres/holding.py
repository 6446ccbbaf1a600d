"""Who may write a log in Postgres: one program at a time, by a row that is renewed by the database's clock.

The row has an epoch that each taking raises, under the lock of turns. A turn reads it under the same lock, so whoever
was replaced, however late it wakes up, adds nothing any more. A program that ended without giving the log back is
waited for until its lease is over, unless the next one runs in the same folder, whose lock file it has then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Final

from reconciler.core.errors import LogBusy, LogNotWritable, PaiError
from reconciler.log.lock import WriterLock
from reconciler.log.postgres.asking import Asking
from reconciler.log.postgres.schema import BEGIN, LOCK
from reconciler.log.url import PostgresAddress

LEASE_S: Final = 10
"""How long the log stays the holder's without a word from it."""
RENEW_S: Final = 2.5
_POLL_S: Final = 0.2

_TAKE: Final = (
    "INSERT INTO {s}.holder AS h (id, epoch, name, place, until)"
    # An epoch is of the clock, so that a database that was put back to an earlier state gives none a second time.
    " VALUES (0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, %s, %s,"
    " clock_timestamp() + %s * interval '1 s')"
    " ON CONFLICT (id) DO UPDATE SET epoch = greatest(h.epoch + 1, excluded.epoch), name = excluded.name,"
    " place = excluded.place, until = excluded.until"
    " WHERE h.until < clock_timestamp() OR h.place = excluded.place RETURNING epoch"
)
_WHO: Final = "SELECT name, greatest(0, extract(epoch FROM until - clock_timestamp()))::float8 FROM {s}.holder"
_RENEW: Final = "UPDATE {s}.holder SET until = clock_timestamp() + %s * interval '1 s' WHERE epoch = %s"
_END: Final = (
    "INSERT INTO {s}.holder AS h (id, epoch, name, place, until) VALUES (0, 1, %s, '', 'infinity')"
    " ON CONFLICT (id) DO UPDATE SET epoch = h.epoch + 1, name = excluded.name, place = '', until = 'infinity'"
    " WHERE %s::bigint IS NULL OR h.epoch = %s"
)
_GIVE_BACK: Final = "UPDATE {s}.holder SET until = '-infinity' WHERE epoch = %s"


class Holding:
    """The right to write one log alone, from construction to `release`; its `epoch` is what turns compare.

    `lost` tells whether another program has taken it.
    """

    def __init__(self, address: PostgresAddress, folder: Path, wait_s: float = 0.0) -> None:
        """Take it, waiting up to `wait_s` seconds; `folder` has the lock file of programs on this machine.

        Raises LogBusy with the holder's name, LogDamaged if there is no log, LogNotWritable.
        """
        self.lost = False
        self._address = address
        deadline = time.monotonic() + wait_s
        self._lock = WriterLock(folder / "log.lock", wait_s)
        try:
            self.epoch = self._wait(deadline)
        except BaseException:
            self._lock.release()
            raise
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="pai-log-lease", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Give it back; safe to call twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._renewing.join()
        with contextlib.suppress(PaiError), contextlib.closing(_Row(self._address)) as row:
            row.give_back(self.epoch)
        self._lock.release()

    def _wait(self, deadline: float) -> int:
        name, place = f"{socket.gethostname()} (process {os.getpid()})", _place(self._lock.path)
        with contextlib.closing(_Row(self._address)) as row:
            while (epoch := row.take(name, place)) is None:
                if time.monotonic() >= deadline:
                    other, left_s = row.who()
                    hint = f"stop it there; if it is gone, the log is free in {left_s:.0f} s"
                    raise LogBusy(f"{self._address.shown} is written by {other}", hint)
                time.sleep(_POLL_S)
        return epoch

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            # Turns tell whoever was replaced, so nothing depends on what comes of it.
            with contextlib.suppress(PaiError), contextlib.closing(_Row(self._address)) as row:
                self.lost = not row.renew(self.epoch)


class _Row(Asking):
    """The row that says who writes, on a connection of its own."""

    _writing = True

    def take(self, name: str, place: str) -> int | None:
        """Take it in a turn, so that no other one's is open; None while it is another program's."""
        with self._ending():
            try:
                self._tell(f"{BEGIN}; {LOCK}")
            except LogBusy:  # somebody's turn is long
                self._tell("ROLLBACK")
                return None
            found = self._ask(_TAKE, (name, place, LEASE_S))
            self._tell("COMMIT")
        return int(found[0][0]) if found else None

    def who(self) -> tuple[str, float]:
        """Give the holder's name, and how many seconds its lease has left."""
        name, left_s = self._one(_WHO)
        return name, left_s

    def renew(self, epoch: int) -> bool:
        """Make the lease a whole one again; tell whether it still is this one."""
        return self._tell(_RENEW, (LEASE_S, epoch)) == 1

    def end(self, to: str, epoch: int | None) -> None:
        """Put the place where the log is now into the holder's, in a turn, if it still is of this epoch."""
        with self._ending():
            self._tell(f"{BEGIN}; {LOCK}")
            if not self._tell(_END, (to, epoch, epoch)):
                raise LogNotWritable(f"{self._shown} is written by another program by now", "move it again")
            self._tell("COMMIT")

    def give_back(self, epoch: int) -> None:
        """End the lease, if it is still this one."""
        self._tell(_GIVE_BACK, (epoch,))


def leave(address: PostgresAddress, to: str, epoch: int | None) -> None:
    """Have nobody write or read a log any more, which is in another place now; `epoch` is that of its holder.

    Raises LogNotWritable, also if there is another holder.
    """
    with contextlib.closing(_Row(address)) as row:
        row.end(to, epoch)


def _place(lock: Path) -> str:
    """Name the one file on the one running system that holders in the same folder lock."""
    machine = str(uuid.getnode())
    with contextlib.suppress(OSError):
        machine = Path("/proc/sys/kernel/random/boot_id").read_text()
    about = lock.stat()
    return hashlib.sha256(f"{machine} {about.st_dev} {about.st_ino}".encode()).hexdigest()[:32]
