"""What people see of the state: objects with their status, conditions, the lines of `pai status`.

Reads a State and the secret backends' word on whether a secret is there; decides nothing and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from reconciler.core.objects import API_VERSION, DEFAULT_SECRET_KEY, MANIFEST_OF_KIND, Kind
from reconciler.core.state import Resource, State

Object = dict[str, object]
SecretProblem = Callable[[str, str], str]
"""Says why a secret's key cannot be used, or "" if it can: (name, key) -> message."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a binding's budget counts today, and what open reservations hold."""

    used: int = 0
    reserved: int = 0


class View:
    """The state at one moment as objects for people. `usage` maps binding names to today's tokens."""

    def __init__(
        self, state: State, secret_problem: SecretProblem, now: datetime, usage: Mapping[str, Usage] | None = None
    ) -> None:
        self.state = state
        self._secret_problem = secret_problem
        self._usage = usage or {}
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._resets = (midnight + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def objects(self, kind: Kind) -> list[Object]:
        """Give all objects of a kind by name, as manifests plus `status`."""
        return [self.object(kind, name) for name in sorted(self.state.resources(kind))]

    def object(self, kind: Kind, name: str) -> Object:
        """Give one object. Raises KeyError if it is not in force."""
        resource = self.state.resources(kind)[name]
        metadata: Object = {"name": name}
        if resource.labels:
            metadata["labels"] = resource.labels
        if resource.annotations:
            metadata["annotations"] = resource.annotations
        status = self._model_status(resource) if kind == "model" else self._agent_status(resource)
        return {
            "apiVersion": API_VERSION,
            "kind": MANIFEST_OF_KIND[kind],
            "metadata": metadata,
            "spec": resource.spec,
            "status": status,
        }

    def secrets(self) -> list[Object]:
        """Give the stored secrets: their names and the names of their keys."""
        return [self.secret(name) for name in sorted(self.state.secrets)]

    def secret(self, name: str) -> Object:
        """Give one stored secret. Raises KeyError if there is none."""
        keys = sorted(self.state.secrets[name])
        return {"apiVersion": API_VERSION, "kind": "Secret", "metadata": {"name": name}, "keys": keys}

    def not_ready(self, resource: Resource) -> str:
        """Say why a binding cannot serve, or "" if it can."""
        reference = resource.spec.get("apiKeySecretRef")
        if not isinstance(reference, dict):
            return "apiKeySecretRef is not set"
        return self._secret_problem(str(reference["name"]), str(reference.get("key", DEFAULT_SECRET_KEY)))

    def status_line(self, name: str) -> str:
        """Give a binding's line of `pai status` (SPEC section 4.1)."""
        resource = self.state.models.get(name)
        if resource is None:
            return f"- {name} — not ready: no such binding"
        spec, usage = resource.spec, self._usage.get(name, Usage())
        limit = spec.get("maxTokensPerDay")
        figure = f"{usage.used:,} / {limit:,}" if isinstance(limit, int) else f"{usage.used:,}"
        line = f"- {name} ({spec['provider']} / {spec['model']}) — {figure} tokens today"
        if usage.reserved:
            line += f" (+{usage.reserved:,} reserved)"
        if isinstance(limit, int) and usage.used >= limit:
            line += " — exhausted until 00:00 UTC"
        problem = self.not_ready(resource)
        return line + (f" — not ready: {problem}" if problem else "")

    def _model_status(self, resource: Resource) -> Object:
        usage = self._usage.get(resource.name, Usage())
        status: Object = {"usedTokensToday": usage.used, "reservedTokens": usage.reserved}
        limit = resource.spec.get("maxTokensPerDay")
        if isinstance(limit, int):
            status["remainingTokens"] = max(0, limit - usage.used - usage.reserved)
        status["resetsAt"] = self._resets
        problem = self.not_ready(resource)
        status.update(_origin(resource))
        status["conditions"] = [_condition("SecretNotReady" if problem else "Resolved", problem)]
        return status

    def _agent_status(self, resource: Resource) -> Object:
        names = resource.spec.get("modelBindings")
        waiting = []
        for name in names if isinstance(names, list) else []:
            model = self.state.models.get(name)
            if model is None or self.not_ready(model):
                waiting.append(name)
        reason = "BindingsNotReady" if waiting else "BindingsReady"
        message = f"not ready: {', '.join(waiting)}" if waiting else ""
        return _origin(resource) | {"conditions": [_condition(reason, message)]}


def _origin(resource: Resource) -> Object:
    return {"revision": resource.revision, "source": {"path": resource.file, "line": resource.line}}


def _condition(reason: str, problem: str) -> Object:
    return {"type": "Ready", "status": "False" if problem else "True", "reason": reason, "message": problem}
