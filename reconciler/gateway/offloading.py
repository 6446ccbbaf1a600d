"""What is read from a request's body and written anew, wherever that is done: here for a small one, else elsewhere.

A small body is taken apart by the loop itself, which costs less than any change of threads. A large one would keep
everybody else waiting, so another process has it (`body_worker.py`), and what is asked of it is asked there. Both
run the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Call, Needs, Route
from reconciler.gateway.query import kept_query, unframed
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.spool import Spool
from reconciler.providers.provider import Provider

NAMES_MAX = 16
"""Bindings that one request may name."""
NAME_CHARS_MAX = 300
"""Of a name that is passed on: no binding has one as long."""

Ask = Callable[..., Awaitable[Any]]
"""Asks another process: a word and its arguments."""


class Elsewhere(Body):
    """A body that another process has: only its size is known here, and looking into it is a bug."""

    __slots__ = ("ask", "drop")

    def __init__(self, size: int, ask: Ask, drop: Callable[[], object]) -> None:
        """`size` is what that process found, `ask` asks it, `drop` tells it that nobody will any more."""
        self.size = size
        self.ask = ask
        self.drop = drop


def parse(
    route: Route, body: Body, fallback: tuple[str, ...], query: bytes, headers: Mapping[str, str] | None = None
) -> Call:
    """Read a request; `headers` go upstream. Raises Refusal."""
    call = route.surface.parse(route, body, fallback, query)
    if len(call.names) > NAMES_MAX:
        raise Refusal("invalid", f"a request may name at most {NAMES_MAX} bindings")
    if max(map(len, call.names)) > NAME_CHARS_MAX:
        call = call._replace(names=tuple(name[:NAME_CHARS_MAX] for name in call.names))
    kept = kept_query(query)
    if not route.surface.framed_by_query:
        kept = unframed(kept)
    return call._replace(query=kept, version=route.version, headers=headers or {})


async def needs(call: Call, provider: Provider, model: str) -> Needs:
    """Say how much the call can cost. Raises Refusal."""
    if isinstance(call.body, Elsewhere):
        return Needs(*await call.body.ask("needs", provider.name, model))
    return call.surface.judges[call.operation](call.body, provider, model)


async def write(call: Call, model: str, output: int | None, provider: Provider, *, last: bool) -> bytes | Spool:
    """Give the body that goes upstream; after the `last` time the call is not asked about again. Raises Refusal."""
    if isinstance(call.body, Elsewhere):
        found: Spool = await call.body.ask("write", provider.name, model, output, last)
        return found
    return call.surface.write(call, model, output, provider)


async def write_count(call: Call, model: str) -> tuple[bytes | Spool, int]:
    """Give the body of the free count of the call's input, and the bytes that it lacks and that a model may read."""
    if isinstance(call.body, Elsewhere):
        return await call.body.ask("count", model), await call.body.ask("uncounted")
    return call.surface.write_count(call, model), call.surface.uncounted(call)
