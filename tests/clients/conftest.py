"""Fixtures of the clients' tests: one gateway, one shell after `pai env`, days that are spent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.surroundings import Shell, no_way_out, prepare, spend
from tests.support import Site, copied
from tests.support_gateway import opened


@pytest.fixture(scope="session")
def shell(empty_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Give the shell of an agent's user, in front of a running gateway; some of its bindings are spent for today."""
    site = copied(empty_template, tmp_path_factory.mktemp("clients"))
    prepare(site)
    with no_way_out() as way, opened(site, tmp_path_factory.mktemp("bench")) as bench:
        shell = Shell(bench, way)
        spend(bench, shell.exported["OPENAI_API_KEY"])
        yield shell
