"""The address of a log in Postgres: what is read from its URL, and the little of it that is ever shown. Pure.

libpq splits a URL at its first `@`, so it would quote half of a password that has one. Nothing of a URL is shown here
unless every part of it looks as it should; a password never is.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from reconciler.core.errors import WorkspaceError

SCHEME: Final = "postgresql"
SCHEMA: Final = "pai"
"""The schema of a URL that names none."""

_URL: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>[^@/?#]*)"
    r"(?:/(?P<database>[^@/?#]*))?(?:\?(?P<options>[^@#]*))?"
)
_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
_HOST: Final = re.compile(rf"(?:{_NAME}|\[[0-9A-Fa-f:.]+\]|)(?::[0-9]{{1,5}})?")
_PLAIN: Final = re.compile(_NAME)
_SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HINT: Final = f"write {SCHEME}://USER@HOST:PORT/DATABASE, with what is not a letter or digit written as %XX"


class PostgresAddress(NamedTuple):
    """Where a log lies: `url` and `conninfo`, which is for libpq, are secret, `shown` is for everybody."""

    url: str
    conninfo: str
    schema: str
    shown: str

    def __repr__(self) -> str:
        return f"PostgresAddress({self.shown})"


def is_address(text: str) -> bool:
    """Tell whether a setting names Postgres, right or wrong, and not a file."""
    return re.match(r"postgres(ql)?:", text, re.IGNORECASE) is not None


def read_address(text: str) -> PostgresAddress:
    """Read a URL. Raises WorkspaceError, whose message shows nothing of it."""
    found = _URL.fullmatch(text)
    if found is None:
        raise WorkspaceError("the address of the database is no URL of Postgres", _HINT)
    user, hosts, database = (unquote(found[name] or "") for name in ("user", "hosts", "database"))
    options = [option.partition("=") for option in (found["options"] or "").split("&") if option]
    schema = next((unquote(value) for name, _, value in options if name == "schema"), SCHEMA)
    if not _SCHEMA_NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise WorkspaceError("the schema in the address of the database is no plain name", "use letters, digits and _")
    kept = "&".join(name + equals + value for name, equals, value in options if name != "schema")
    conninfo = text.partition("?")[0] + (f"?{kept}" if kept else "")
    return PostgresAddress(text, conninfo, schema, _shown(user, hosts, database, schema))


def with_password(url: str, password: str) -> str:
    """Give a URL that says the password too."""
    return f"{url}{'&' if '?' in url else '?'}password={quote(password, safe='')}"


def _shown(user: str, hosts: str, database: str, schema: str) -> str:
    """Give scheme, user, hosts and database if all look as such do, else the scheme alone."""
    plain = all(not part or _PLAIN.fullmatch(part) for part in (user, database))
    if not plain or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{SCHEME}://..."
    before = f"{user}@" if user else ""
    return f"{SCHEME}://{before}{hosts}/{database}" + (f"?schema={schema}" if schema != SCHEMA else "")
