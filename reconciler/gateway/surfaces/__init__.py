"""What clients speak: one module for the words of each SDK."""

from __future__ import annotations

from typing import Any, Protocol

from reconciler.gateway.calls import Call
from reconciler.gateway.refusal import Reason
from reconciler.gateway.surfaces import anthropic, gemini, openai
from reconciler.providers.provider import Provider


class Surface(Protocol):
    """What every module of this package gives."""

    NAME: str

    def write(self, call: Call, model: str, output: int | None, provider: Provider) -> bytes:
        """Give the body that goes upstream."""
        ...

    def write_count(self, call: Call, model: str) -> bytes:
        """Give the body of the free count of a call's input."""
        ...

    def uncounted(self, call: Call) -> int:
        """Give the bytes that a model may read and that are not in that body."""
        ...

    def read_count(self, answer: Any) -> int | None:
        """Read the answer to that, None if it says no count."""
        ...

    def error(self, reason: Reason, status: int, message: str, request_id: str) -> bytes:
        """Give a refusal as this surface's SDK expects it."""
        ...

    def model(self, name: str, provider: str, created: int) -> dict[str, Any]:
        """Give one binding as a model."""
        ...

    def models(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Give a list of bindings."""
        ...


SURFACES: dict[str, Surface] = {surface.NAME: surface for surface in (openai, anthropic, gemini)}

__all__ = ["SURFACES", "Surface", "anthropic", "gemini", "openai"]
