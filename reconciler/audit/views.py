"""What people see of the state: objects with their status, conditions, the lines of `pai status`.

Reads a State and the secret backends' word on whether a secret is there; decides nothing and prints nothing. Nothing of
a key is shown but its name, whose it is and when and from where it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from reconciler.core.errors import NotFound
from reconciler.core.objects import API_VERSION, MANIFEST_OF_KIND, NO_REFERENCE, Kind
from reconciler.core.standing import Standing, standing
from reconciler.core.state import Key, Resource, State
from reconciler.core.text import COMPARED_CHARACTERS_MAX, alike

Object = dict[str, object]
SecretProblem = Callable[[str, str], str]
"""Says why a secret's key cannot be used, or "" if it can: (name, key) -> message."""


def not_found(kind: str, name: str, known: Collection[str]) -> NotFound:
    """Make the error that there is no such model, agent, secret or key; its hint is the nearest name."""
    import difflib

    word = name[:COMPARED_CHARACTERS_MAX]
    near = difflib.get_close_matches(word, alike(word, known), 1)
    return NotFound(f"there is no {kind} {name}", f"did you mean {near[0]}?" if near else f"pai get {kind}s lists them")


class View:
    """The state at one moment as objects for people; usage is that of `day`, or of the ledger's if that is later."""

    def __init__(self, state: State, secret_problem: SecretProblem, day: str) -> None:
        self.state = state
        self._secret_problem = secret_problem
        self._day = day

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

    def issued_keys(self) -> list[Object]:
        """Give the keys that are not revoked, also expired ones: by agent, oldest first, then those of people."""
        return [_key(key) for key in sorted(self.state.issued(), key=lambda key: (key.admin, key.agent, key.position))]

    def issued_key(self, name: str) -> Object:
        """Give one key by its name. Raises KeyError if there is none."""
        found = next((key for key in self.state.issued() if key.name == name), None)
        if found is None:
            raise KeyError(name)
        return _key(found)

    def not_ready(self, resource: Resource) -> str:
        """Say why a binding cannot serve, or "" if it can."""
        reference = resource.binding.api_key_secret_ref
        return NO_REFERENCE if reference is None else self._secret_problem(reference.name, reference.key)

    def status_line(self, name: str) -> str:
        """Give a binding's line of `pai status` (SPEC section 4.1)."""
        resource = self.state.models.get(name)
        if resource is None:
            return f"- {name} — not ready: no such binding"
        spec, stands = resource.binding, self._standing(name)
        used, reserved = stands.account.used, stands.account.reserved
        figure = f"{used:,}" if stands.limit is None else f"{used:,} / {stands.limit:,}"
        line = f"- {name} ({spec.provider} / {spec.model}) — {figure} tokens today"
        if reserved:
            line += f" (+{reserved:,} reserved)"
        if stands.exhausted:
            line += " — exhausted until 00:00 UTC"
        problem = self.not_ready(resource)
        return line + (f" — not ready: {problem}" if problem else "")

    def _standing(self, name: str) -> Standing:
        return standing(self.state, name, self._day)

    def _model_status(self, resource: Resource) -> Object:
        stands = self._standing(resource.name)
        status: Object = {"usedTokensToday": stands.account.used, "reservedTokens": stands.account.reserved}
        if stands.left is not None:
            status["remainingTokens"] = stands.left
        status["resetsAt"] = stands.resets
        problem = self.not_ready(resource)
        status.update(_origin(resource))
        status["conditions"] = [_condition("SecretNotReady" if problem else "Resolved", problem)]
        return status

    def _agent_status(self, resource: Resource) -> Object:
        waiting = []
        for name in resource.agent.model_bindings:
            model = self.state.models.get(name)
            if model is None or self.not_ready(model):
                waiting.append(name)
        reason = "BindingsNotReady" if waiting else "BindingsReady"
        message = f"not ready: {', '.join(waiting)}" if waiting else ""
        return _origin(resource) | {"conditions": [_condition(reason, message)]}


def _key(key: Key) -> Object:
    item: Object = {
        "apiVersion": API_VERSION,
        "kind": "Key",
        "metadata": {"name": key.name},
        "agent": key.agent,
        "expires": key.expires or None,
        "networks": key.networks,
    }
    return item | {"admin": True} if key.admin else item


def _origin(resource: Resource) -> Object:
    return {"revision": resource.revision, "source": {"path": resource.file, "line": resource.line}}


def _condition(reason: str, problem: str) -> Object:
    return {"type": "Ready", "status": "False" if problem else "True", "reason": reason, "message": problem}
