"""docs/security.md claims nothing that no test shows: every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:unit|integration|acceptance|contract)/[\w/]+\.py)(?:::(\w+))?`", TEXT)))
LINES_MAX = 200
ROLES = ("nobody", "browser page", "agent", "broken provider", "pusher", "malicious remote", "local user")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_test_that_the_page_names_is_there(file: str, name: str) -> None:
    """A renamed or removed test is renamed or removed in the page too."""
    text = (ROOT / "tests" / file).read_text()
    assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE)


def test_every_row_is_shown_by_something() -> None:
    """Each row of what was tried has a role of the list, and ends with a test or the benchmark."""
    rows = [line for line in TEXT.partition("## What was tried")[2].splitlines() if line.startswith("| ")][1:]
    rows = [row for row in rows if not row.startswith("| ---")]
    assert {row.split("|")[1].strip() for row in rows} >= set(ROLES)
    for row in rows:
        shown = row.split("|")[4]
        assert ".py" in shown or "benchmark" in shown, row


def test_page_is_short_enough_to_be_read() -> None:
    """What nobody reads protects nobody."""
    assert len(TEXT.splitlines()) < LINES_MAX
