"""A Postgres server of Debian's package for tests: one a test process, run by a plain user on a socket of its own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from reconciler.log.postgres.place import PostgresLog, prepare
from reconciler.log.url import PostgresAddress, read_address

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian puts the server's programs, which are on nobody's PATH."""
_numbers = itertools.count()


class Postgres:
    """A running server in a folder of its own; `address` names a schema in it."""

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="pai-pg-"))
        self.data = self.folder / "data"
        self.user = _plain_user()
        self.folder.chmod(0o755)
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", str(self.data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        own = ("listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=60")
        options = " ".join(f"-c {setting}" for setting in (*own, *self._settings))
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; "immediate" is what a crash leaves."""
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def address(self, schema: str, user: str = "owner") -> PostgresAddress:
        """Give the address of a schema."""
        return read_address(f"postgresql://{user}@/postgres?host={self.folder}&schema={schema}")

    def new_schema(self) -> PostgresAddress:
        """Make a schema that no other test has, without a log in it."""
        address = self.address(f"log_{os.getpid()}_{next(_numbers)}")
        prepare(address)
        return address

    def drop_schemas(self, process: int) -> None:
        """Drop those that a process made which has ended; one that is still locked stays."""
        with psycopg.connect(self.address("public").conninfo, autocommit=True) as db:
            named = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"
            for (name,) in db.execute(named, (f"log_{process}_",)).fetchall():
                with contextlib.suppress(psycopg.errors.LockNotAvailable):
                    db.execute("SET lock_timeout = '2s'")
                    db.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))

    def remove(self) -> None:
        """Stop it and delete everything."""
        subprocess.run(
            [PROGRAMS[-1] / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            user=self.user,
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [PROGRAMS[-1] / program, *arguments], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, user=self.user, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@functools.cache
def postgres() -> Postgres:
    """Give the server of this test process, started when it is first asked for."""
    server = Postgres()
    atexit.register(server.remove)
    return server


def new_schema() -> PostgresLog:
    """Give a log that is not made yet, in a schema of its own."""
    return PostgresLog(postgres().new_schema())


def _plain_user() -> str | None:
    """Name a user who may run a server: root may not."""
    if os.geteuid():
        return None
    return next(name for name in ("postgres", "nobody") if name in {each.pw_name for each in pwd.getpwall()})
