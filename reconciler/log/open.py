"""Which log a workspace has: the one place where what keeps it is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core.errors import CouldNotRun, WorkspaceError
from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.store import Log
from reconciler.log.url import is_address, read_address, with_password

if TYPE_CHECKING:
    from types import ModuleType


def log_at(place: Path) -> SqliteLog:
    """Give the log of a file, which need not exist yet; nothing is opened before it is asked for."""
    return SqliteLog(place)


def log_of(url: str, folder: Path | None, password_file: Path | None = None) -> Log:
    """Give the log of a URL; `folder` is where the lock file of this machine lies, None for a log that is just made.

    Raises WorkspaceError for a URL or a password file that cannot be used, CouldNotRun without the extra.
    """
    if password_file is not None:
        try:
            password = password_file.read_text().removesuffix("\n")
        except (OSError, ValueError) as error:
            what = f"log.password_secret_file {password_file} cannot be read: {error}"
            raise WorkspaceError(what, "check its owner and mode") from error
        url = with_password(url, password)
    log: Log = _postgres().PostgresLog(read_address(url), folder)
    return log


def again(place: str) -> Log:
    """Give the log whose `place` this is, for reading, in another process."""
    return _postgres().PostgresLog(read_address(place)) if is_address(place) else SqliteLog(Path(place))


def prepare(url: str, role: str, password: str) -> str:
    """Make the schema for a log in Postgres, and let `role`, if any, work there; give what is shown of the URL.

    Raises WorkspaceError, LogDamaged, LogNotWritable, CouldNotRun.
    """
    address = read_address(url)
    _postgres().prepare(address, role, password)
    return address.shown


def _postgres() -> ModuleType:
    try:
        from reconciler.log.postgres import place
    except ModuleNotFoundError as error:
        raise CouldNotRun("a log in Postgres needs psycopg 3.3", "pip install 'psycopg[binary]>=3.3'") from error
    return place
