"""The libraries that agents are built with, as installed, set up by `pai env` and the lines of docs/gateway.md.

Each is driven in a process of its own, by a program of this folder that tells what came of its cells: a plain call, a
loop with a tool, a stream, and a plain call on a binding whose day is spent.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients import installed
from tests.clients.surroundings import LIVE, REPLY, SPENT, Shell

SPENT_OF = {provider: name for name, (provider, _, _) in SPENT.items()}


class Library(NamedTuple):
    """A client as its user sets it up: the environment that has it, the way it is told, the binding."""

    driver: str
    lock: str
    kind: str
    binding: str
    said: str = REPLY
    tries: int = 1
    """Requests that it makes of a spent day before it gives up."""


LIBRARIES = {
    "langchain-openai": Library("langchain", "langchain", "openai", "gpt-4o"),
    "langchain-anthropic": Library("langchain", "langchain", "anthropic", "claude-sonnet-4-6"),
    "langchain-google-genai": Library("langchain", "langchain", "google", "gemini-flash"),
    "pydantic-ai-openai": Library("pydantic_ai", "langchain", "openai", "gpt-4o"),
    "pydantic-ai-openai-chat": Library("pydantic_ai", "langchain", "openai-chat", "gpt-4o"),
    "pydantic-ai-anthropic": Library("pydantic_ai", "langchain", "anthropic", "claude-sonnet-4-6"),
    "pydantic-ai-google": Library("pydantic_ai", "langchain", "google", "gemini-flash"),
    "openai-agents": Library("openai_agents", "langchain", "responses", "gpt-4o"),
    "instructor-openai": Library("instructor", "litellm", "openai", "gpt-4o", said="sea"),
    "instructor-anthropic": Library("instructor", "litellm", "anthropic", "claude-sonnet-4-6", said="sea"),
    "instructor-google": Library("instructor", "litellm", "google", "gemini-flash", said="sea"),
    "litellm-openai": Library("litellm", "litellm", "openai", "gpt-4o"),
    "litellm-anthropic": Library("litellm", "litellm", "anthropic", "claude-sonnet-4-6"),
    "litellm-gemini": Library("litellm", "litellm", "gemini", "gemini-flash"),
    "litellm-openrouter": Library("litellm", "litellm", "openai", "router"),
    "llama-index-openai": Library("llama_index", "llama_index", "openai", "gpt-4o", tries=3),
    "llama-index-responses": Library("llama_index", "llama_index", "responses", "gpt-4o", tries=3),
    "llama-index-anthropic": Library("llama_index", "llama_index", "anthropic", "claude-sonnet-4-6"),
    "llama-index-google": Library("llama_index", "llama_index", "google", "gemini-flash"),
    "ai-sdk-openai": Library("ai_sdk", "", "openai", "gpt-4o", tries=3),
    "ai-sdk-openai-reasoning": Library("ai_sdk", "", "openai", "o3-mini", tries=3),
    "ai-sdk-openai-chat": Library("ai_sdk", "", "openai-chat", "gpt-4o", tries=3),
    "ai-sdk-anthropic": Library("ai_sdk", "", "anthropic", "claude-sonnet-4-6", tries=3),
    "ai-sdk-google": Library("ai_sdk", "", "google", "gemini-flash", tries=3),
}


def _command(library: Library) -> list[str | Path]:
    """Give the program that drives the library; one of npm's lies beside the modules that it imports."""
    if library.lock:
        return [installed.interpreter(library.lock), installed.PYTHON / f"drive_{library.driver}.py"]
    program = installed.modules() / f"drive_{library.driver}.mjs"
    shutil.copy(installed.NPM / program.name, program)
    return ["node", program]


@pytest.mark.parametrize("name", LIBRARIES)
def test_library_works_on_a_binding_with_a_budget(shell: Shell, tmp_path: Path, name: str) -> None:
    """All its cells give what the model said, and a spent day ends it; no provider is asked besides."""
    library = LIBRARIES[name]
    provider, model = LIVE[library.binding]
    before = len(shell.way.asked), shell.refused(), shell.noted(model)

    done = shell.run([*_command(library), library.kind, library.binding, SPENT_OF[provider]], tmp_path, {})

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    spent = told.pop("spent")
    failed = {cell: found for cell, found in told.items() if not str(found.get("said")).startswith(library.said)}
    assert not failed, json.dumps(failed, indent=2)
    assert set(told) == {"plain", "tools", "stream"}
    assert shell.noted(model) > before[2], "no tool's result reached the model"
    assert "tokens today" in spent.get("failed", ""), spent
    assert shell.refused() - before[1] == library.tries
    assert shell.way.providers(before[0]) == []
    shell.bench.quiet()
