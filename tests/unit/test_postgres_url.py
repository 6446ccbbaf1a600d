"""What is read from a URL of Postgres, and that no part of a secret is ever shown."""

from __future__ import annotations

import pytest

from reconciler.core.errors import WorkspaceError
from reconciler.log.url import is_address, read_address

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "conninfo", "schema", "shown"),
    [
        ("postgresql://db/pai", "postgresql://db/pai", "pai", "postgresql://db/pai"),
        ("postgres://u@db:5432/pai?schema=x", "postgres://u@db:5432/pai", "x", "postgresql://u@db:5432/pai?schema=x"),
        (
            "postgresql://u:s3cr3t@a:1,[::1]:2/pai?sslmode=verify-full&schema=two_1",
            "postgresql://u:s3cr3t@a:1,[::1]:2/pai?sslmode=verify-full",
            "two_1",
            "postgresql://u@a:1,[::1]:2/pai?schema=two_1",
        ),
        ("postgresql:///pai?host=/tmp/x", "postgresql:///pai?host=/tmp/x", "pai", "postgresql:///pai"),
        ("postgresql://u:s3%40cr3t@db/pai", "postgresql://u:s3%40cr3t@db/pai", "pai", "postgresql://u@db/pai"),
    ],
)
def test_address_is_read_and_shown_without_its_password(url: str, conninfo: str, schema: str, shown: str) -> None:
    """The schema is ours, the rest is libpq's."""
    address = read_address(url)
    assert (address.conninfo, address.schema, address.shown) == (conninfo, schema, shown)
    assert is_address(url)
    assert repr(address) == f"PostgresAddress({shown})"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@s3cr3t@db/pai",
        "postgresql://u:s3cr3t/s3cr3t@db/pai",
        "postgresql://u:12/s3cr3t@db/pai",
        "postgresql://u:12?s3cr3t@db/pai",
        "postgresql://u:s3cr3t#s3cr3t@db/pai",
        "postgresql:/u:s3cr3t@db/pai",
        "postgresql:u:s3cr3t@db/pai",
        "PostgreSQL://u:s3cr3t@db/pai",
        "postgresql://u:x@db/pai?schema=s3cr3t%20x",
        "postgresql://u:x@db/pai?schema=pg_catalog",
    ],
)
def test_wrong_address_is_refused_without_showing_it(url: str) -> None:
    """An error says what to write, and nothing of what was written."""
    assert is_address(url)
    with pytest.raises(WorkspaceError) as caught:
        read_address(url)
    assert SECRET not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://s3cr3t%0A:x@db/pai",
        "postgresql://u:x@s3cr3t%20host/pai",
        "postgresql://u:x@db:s3cr3t/pai",
        "postgresql://u:x@db/s3cr3t%3Fx",
        "postgresql://s3cr3t:s3cr3t:s3cr3t/pai",
    ],
)
def test_parts_that_do_not_look_so_are_not_shown(url: str) -> None:
    """What may be half of a password is none of a name, a host or a port."""
    assert read_address(url).shown == "postgresql://..."


@pytest.mark.parametrize("text", ["sqlite:data/log.db", "data/postgresql.db", "mysql://db/pai", ""])
def test_other_places_are_no_addresses(text: str) -> None:
    """Files stay files."""
    assert not is_address(text)
