"""The two kinds of manifest as values: what a revision wants to be true, and what their specs say.

`manifests/` makes these from YAML, `plan` compares them with the state. A spec is stored as the JSON values that were
written. Whoever goes by what it says takes the struct of its kind, which holds the names of the fields; a field that
this version does not know stays in the stored spec and is in no struct.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Self, cast

import msgspec

from reconciler.core.budget import Limits
from reconciler.core.errors import LogDamaged

Kind = Literal["model", "agent"]
"""The short word used in subjects and commands; manifests say `ModelBinding` and `AgentWorkload`."""

KIND_OF_MANIFEST: Mapping[str, Kind] = {"ModelBinding": "model", "AgentWorkload": "agent"}
KINDS: tuple[Kind, Kind] = ("model", "agent")
MANIFEST_OF_KIND: Mapping[Kind, str] = {"model": "ModelBinding", "agent": "AgentWorkload"}
API_VERSION = "pai.io/v1"
DEFAULT_SECRET_KEY = "token"  # noqa: S105 (the name of a key, not a secret)

Spec = dict[str, object]
"""A manifest's `spec` as JSON values (str, int, float, bool, None, list, dict)."""


class _Typed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A spec by its fields."""

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """Read a spec that was accepted. Raises LogDamaged if it lacks a field or has another type in it."""
        try:
            return msgspec.convert(spec, cls)
        except msgspec.ValidationError as error:
            raise LogDamaged(
                f"a spec on the log cannot be read: {error}", "pai verify says what else is wrong"
            ) from error

    def written(self) -> Spec:
        """Give the spec as a manifest has it, without what is not set."""
        return cast("Spec", msgspec.to_builtins(self))


class SecretReference(msgspec.Struct, frozen=True, gc=False):
    """A secret, and the key in it whose value is meant."""

    name: str
    key: str = DEFAULT_SECRET_KEY


class BindingSpec(_Typed, frozen=True, gc=False):
    """What a ModelBinding says. Limits are in tokens, None is no limit. Without a secret it is never ready."""

    provider: str
    model: str
    max_tokens_per_day: int | None = None
    max_tokens_per_request: int | None = None
    api_key_secret_ref: SecretReference | None = None

    @property
    def limits(self) -> Limits:
        """Give the limits that a request is held to."""
        return Limits(self.max_tokens_per_day, self.max_tokens_per_request)


class AgentSpec(_Typed, frozen=True, gc=False):
    """What Pai goes by of an AgentWorkload: the names of its bindings, the preferred one first."""

    model_bindings: list[str]


_WRITTEN = dict(zip(BindingSpec.__struct_fields__, BindingSpec.__struct_encode_fields__, strict=True))
DAY_LIMIT: Final = _WRITTEN["max_tokens_per_day"]
REQUEST_LIMIT: Final = _WRITTEN["max_tokens_per_request"]
"""How manifests, events and people call the two limits."""

NO_REFERENCE: Final = f"{_WRITTEN['api_key_secret_ref']} is not set"
"""Why a binding without one is not ready."""


class Reference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A binding's name in the list of an agent, with its place in the file."""

    name: str
    line: int
    column: int


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """One valid object of one document. It knows its line, not its path: the same blob may lie at several paths.

    `line` is the line of the document's first token; `name_line`, `name_column` the place of the `metadata.name` value;
    `lines` those of the fields of `spec`.
    """

    kind: Kind
    name: str
    spec: Spec
    labels: dict[str, str]
    annotations: dict[str, str]
    line: int
    name_line: int
    name_column: int
    references: tuple[Reference, ...] = ()
    lines: dict[str, int] = {}


class Placed(NamedTuple):
    """A manifest and the path it was found at."""

    path: str
    manifest: Manifest


Desired = Mapping[tuple[Kind, str], Placed]
"""Everything a revision wants, by kind and name."""
