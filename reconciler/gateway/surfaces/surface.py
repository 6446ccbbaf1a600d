"""What a client dialect is: its paths, how its bodies are read, bounded and written, and its words for what is refused.

Each other file of this room is one dialect, and what a dialect does nobody else decides by its name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.refusal import Reason
from reconciler.providers.provider import Provider

Judge = Callable[[Body, Provider, str], Needs]
"""Says how much a body may cost at a provider, for a model. Raises Refusal."""


class Surface(ABC):
    """One dialect.

    `routes`: operations by their paths, behind the version, where a path has no other parts; `more` shows a client
    those that have. `own`: how paths begin that are meant for it, whether they exist or not. `headers` and
    `takes_query_key`: by which a client shows that it speaks it. `framed_by_query`: `alt` says how answers are framed.

    `judges`: how each operation is bounded. `ways`: operations that a client may be told to use instead, and how.
    `counted`: fields that go into a free count of the input, `unread`: those that no model reads. `count_field`
    has the answer.
    """

    name: ClassVar[str]
    routes: ClassVar[Mapping[str, str]] = {}
    more: ClassVar[tuple[str, ...]] = ()
    own: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    headers: ClassVar[frozenset[bytes]] = frozenset()
    takes_query_key: ClassVar[bool] = False
    framed_by_query: ClassVar[bool] = False
    judges: ClassVar[Mapping[str, Judge]]
    ways: ClassVar[Mapping[str, str]]
    counted: ClassVar[tuple[str, ...]] = ()
    unread: ClassVar[frozenset[str]] = frozenset()
    count_field: ClassVar[str] = "input_tokens"

    def route(self, version: str, rest: str) -> Route | None:
        """Find what a path asks for, cut into its version and the rest."""
        operation = self.routes.get(rest) if version in ("", "v1") else None
        return Route(self, operation, version=version) if operation else None

    @abstractmethod
    def parse(self, route: Route, body: Body, fallback: tuple[str, ...], query: bytes) -> Call:
        """Read a request; `fallback` are bindings to try besides. Raises Refusal."""

    @abstractmethod
    def write(self, call: Call, model: str, output: int | None, provider: Provider) -> bytes:
        """Give the body that goes upstream; `output` limits each of its answers, None to leave that as it is."""

    def write_count(self, call: Call, model: str) -> bytes:
        """Give the body that asks how many tokens a call's input has."""
        return call.body.only(self.counted, model=model)

    def uncounted(self, call: Call) -> int:
        """Give what may become of the fields that are not in that body, and that a model may read, in bytes."""
        return call.body.size_without(self.unread.union(self.counted))

    def read_count(self, answer: Any) -> int | None:
        """Read the answer to that, None if it says no count."""
        return answer.get(self.count_field) if isinstance(answer, dict) else None

    @abstractmethod
    def error(self, reason: Reason, status: int, message: str, request_id: str) -> bytes:
        """Give a refusal as this dialect's SDK expects it."""

    @abstractmethod
    def model(self, name: str, provider: str) -> dict[str, Any]:
        """Give one binding as a model."""

    @abstractmethod
    def models(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Give a list of bindings."""
