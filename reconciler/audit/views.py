"""What people see of the state: objects with their status and conditions.

Reads a State and the secret backends' word on whether a secret is there; decides nothing and prints nothing. Nothing of
a key is shown but its name, whose it is and when and from where it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from reconciler.audit.in_force import Object
from reconciler.core.errors import NotFound
from reconciler.core.objects import API_VERSION, MANIFEST_OF_KIND, NO_REFERENCE, Kind
from reconciler.core.standing import standing
from reconciler.core.state import Key, Resource, State
from reconciler.core.text import COMPARED_CHARACTERS_MAX, alike

SecretProblem = Callable[[str, str], str]
"""Says why a secret's key cannot be used, or "" if it can: (name, key) -> message."""


class Missing(NotFound):
    """There is no object of this name, and there was none before."""


def not_found(kind: str, name: str, known: Collection[str]) -> Missing:
    """Make the error that there is no such model, agent, secret or key; its hint is the nearest name."""
    import difflib

    word = name[:COMPARED_CHARACTERS_MAX]
    near = difflib.get_close_matches(word, alike(word, known), 1)
    return Missing(f"there is no {kind} {name}", f"did you mean {near[0]}?" if near else f"pai get {kind}s lists them")


class View:
    """The state at one moment as objects for people; usage is that of `day`, or of the ledger's if that is later."""

    def __init__(self, state: State, secret_problem: SecretProblem, day: str) -> None:
        self.state = state
        self._secret_problem = secret_problem
        self._day = day

    def objects(self, kind: str) -> list[Object]:
        """Give all objects of a kind: by name, and keys by agent, oldest first, then those of people.

        Keys are those that are not revoked, also expired ones.
        """
        if kind == "key":
            return [_key(key) for key in self._keys()]
        return [self.object(kind, name) for name in self.names(kind)]

    def names(self, kind: str) -> list[str]:
        """Give the names of all objects of a kind."""
        match kind:
            case "model" | "agent":
                return sorted(self.state.resources(kind))
            case "secret":
                return sorted(self.state.secrets)
            case _:
                return [key.name for key in self._keys()]

    def object(self, kind: str, name: str) -> Object:
        """Give one object: a manifest plus `status`, or names alone of a secret or key. Raises KeyError."""
        match kind:
            case "model" | "agent":
                return self._resource(kind, self.state.resources(kind)[name])
            case "secret":
                keys = sorted(self.state.secrets[name])
                return {"apiVersion": API_VERSION, "kind": "Secret", "metadata": {"name": name}, "keys": keys}
            case _:
                return _key({key.name: key for key in reversed(self._keys())}[name])

    def models_of(self, agent: str) -> list[Object]:
        """Give the models in force that an agent may use, in its order."""
        return [
            self.object("model", name)
            for name in self.state.agents[agent].agent.model_bindings
            if name in self.state.models
        ]

    def _keys(self) -> list[Key]:
        return sorted(self.state.issued(), key=lambda key: (key.admin, key.agent, key.position))

    def _resource(self, kind: Kind, resource: Resource) -> Object:
        metadata: Object = {"name": resource.name}
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

    def not_ready(self, resource: Resource) -> str:
        """Say why a binding cannot serve, or "" if it can."""
        reference = resource.binding.api_key_secret_ref
        return NO_REFERENCE if reference is None else self._secret_problem(reference.name, reference.key)

    def _model_status(self, resource: Resource) -> Object:
        stands = standing(self.state, resource.name, self._day)
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
