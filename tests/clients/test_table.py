"""The table of clients in docs/gateway.md against what the lock files here install."""

from __future__ import annotations

import re
from pathlib import Path

from tests.clients import installed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway.md"
PACKAGES = {
    "Claude Code": "@anthropic-ai/claude-code",
    "Codex": "@openai/codex",
    "Gemini CLI": "@google/gemini-cli",
    "AI SDK": "ai",
    "pydantic-ai": "pydantic-ai-slim",
    "LiteLLM": "litellm",
}
"""Clients whose package has another name."""


def test_table_names_the_versions_that_are_tested() -> None:
    """Every row names a client and the version that is installed here, as exactly as it does."""
    table = PAGE.read_text("utf-8").partition("| client | needs besides |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (?:\w+: )?([\w -]+?) ([\d.]+) \|", table, re.MULTILINE)
    assert len(rows) == table.count("\n") - 1 >= len(PACKAGES), rows
    versions = installed.versions()
    for client, version in rows:
        tested = versions[PACKAGES.get(client, client)]
        assert f"{tested}.".startswith(f"{version}."), (client, version, tested)
