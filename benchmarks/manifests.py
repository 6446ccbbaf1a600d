"""Manifests to measure with: what they say depends on their number and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

A_FOLDER = 100
"""Manifests of one folder, as a team would keep them."""

_PROVIDERS = (
    ("anthropic", "claude-sonnet-4-6"),
    ("gemini", "gemini-2.0-flash"),
    ("openai", "gpt-4o"),
    ("openrouter", "vendor/model"),
)


def write_manifests(folder: Path, models: int, agents: int) -> Iterator[str]:
    """Write that many ModelBindings and AgentWorkloads, one a file, and give their paths in the folder."""
    for number in range(models + agents):
        if number < models:
            path, text = f"models/team-{number // A_FOLDER:03}/model-{number:05}.yaml", _model(number)
        else:
            path, text = f"agents/team-{number // A_FOLDER:03}/agent-{number:05}.yaml", _agent(number, models)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        yield path


def _model(number: int) -> str:
    provider, model = _PROVIDERS[number % len(_PROVIDERS)]
    return f"""# Bought by team {number // A_FOLDER}; ask there before raising a limit.
apiVersion: pai.io/v1
kind: ModelBinding
metadata:
  name: model-{number:05}
  labels:
    team: team-{number // A_FOLDER:03}
  annotations:
    revision: r0
spec:
  provider: {provider}
  model: {model}
  maxTokensPerDay: {1_000_000 + number}
  maxTokensPerRequest: 32000
  apiKeySecretRef:
    name: {provider}-key
    key: api-key
"""


def _agent(number: int, models: int) -> str:
    bindings = "".join(f"    - model-{(number * 31 + step * 1009) % models:05}\n" for step in range(3))
    return f"""apiVersion: pai.io/v1
kind: AgentWorkload
metadata:
  name: agent-{number:05}
  annotations:
    revision: r0
spec:
  image: registry.example.com/agents/agent-{number:05}:1.4.2
  replicas: 2
  env:
    - name: LOG_LEVEL
      value: info
  modelBindings:
{bindings}"""
