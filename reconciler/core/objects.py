"""The two kinds of manifest as values: what a revision wants to be true.

`manifests/` makes these from YAML, `plan` compares them with the state. Nothing here checks anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["model", "agent"]
"""The short word used in subjects and commands; manifests say `ModelBinding` and `AgentWorkload`."""

KIND_OF_MANIFEST: Mapping[str, Kind] = {"ModelBinding": "model", "AgentWorkload": "agent"}
MANIFEST_OF_KIND: Mapping[Kind, str] = {"model": "ModelBinding", "agent": "AgentWorkload"}
API_VERSION = "pai.io/v1"
DEFAULT_SECRET_KEY = "token"  # noqa: S105 (the name of a key, not a secret)

Spec = dict[str, object]
"""A manifest's `spec` as JSON values (str, int, float, bool, None, list, dict)."""


def key_reference(spec: Spec) -> tuple[str, str] | None:
    """Give the name and the key of the secret that a binding's requests go with; None if it names none."""
    reference = spec.get("apiKeySecretRef")
    if not isinstance(reference, dict) or not reference.get("name"):
        return None
    return str(reference["name"]), str(reference.get("key", DEFAULT_SECRET_KEY))


NO_REFERENCE = "apiKeySecretRef is not set"
"""Why a binding without one is not ready."""


class Reference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A binding's name as an agent's list item names it, with its place in the file."""

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
