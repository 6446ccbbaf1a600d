"""Webhooks: a forge says that something was pushed, and Pai looks again. Paths below /webhooks/ of the admin listener.

A forge has no token of ours; it proves itself by the secret that both know. One without a secret in the settings has no
path here at all. The order is fixed: the body's limit, by the length that is claimed and while it is read; the proof,
and only then the payload, of which nothing but the names of refs is read. A delivery carries no information: whatever
it says, it only makes the daemon look at the repository that the operator set, so repeated ones are one look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from reconciler.admin.deliveries import FORGES, Malformed, Sender
from reconciler.core.errors import PaiError
from reconciler.secrets.reader import SecretReader

log = logging.getLogger("pai.webhooks")

T = TypeVar("T")

BODY_BYTES_MAX: Final = 1024 * 1024
BUFFERED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of all bodies that are being read, or looked at, at a time."""
SMALL_BYTES: Final = 64 * 1024
BODY_S_MAX: Final = 10.0
TOLD_S: Final = 60.0
"""Refusals of one forge for one reason are told in the daemon's log this often at most."""

_DELIVERY = re.compile(r"[A-Za-z0-9_.:{}-]{1,64}")
_REFUSALS: Final[Mapping[str, tuple[int, str]]] = {
    "too_large": (413, f"a delivery has at most {BODY_BYTES_MAX:,} bytes"),
    "too_slow": (408, f"a delivery comes within {BODY_S_MAX:.0f} s"),
    "busy": (503, "too much is being delivered now"),
    "unsigned": (401, "the delivery is not signed: set the secret at the forge"),
    "signature": (401, "the delivery is not signed with the secret that is set here"),
    "timestamp": (401, "the delivery's time is not now: check both clocks"),
    "malformed": (400, "the payload cannot be read"),
    "no_secret": (404, ""),
}


class Webhooks:
    """The endpoints of the forges that have a secret.

    `secrets` names it for each, as `SECRET:KEY`; `branch` is the one whose pushes matter; `look` is called to look
    again.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        reader: SecretReader,
        branch: str,
        look: Callable[[], None],
        registry: CollectorRegistry,
    ) -> None:
        self._secrets = secrets
        self._reader = reader
        self._ref = f"refs/heads/{branch}"
        self._look = look
        self._buffered = 0
        self._reading = asyncio.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self._accepted = Counter(
            "pai_webhooks_accepted", "Deliveries that proved themselves", ["forge", "event"], registry=registry
        )
        self._refused = Counter("pai_webhooks_refused", "Deliveries refused", ["forge", "reason"], registry=registry)

    def routes(self) -> list[BaseRoute]:
        """Give a route for each forge that has a secret; the others are not there."""
        return [
            Route(f"/webhooks/{name}", self._endpoint(name, forge), methods=["POST"])
            for name, forge in FORGES.items()
            if self._secrets.get(name)
        ]

    def _endpoint(self, name: str, forge: Sender) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            try:
                return await self._deliver(name, forge, request)
            except _Refusal as refusal:
                return self._refuse(name, refusal.reason)

        return answer

    async def _deliver(self, name: str, forge: Sender, request: Request) -> Response:
        secret = await self._secret(name)
        headers = request.headers
        event: str = forge.event(headers)
        async with self._body(request) as body:
            if proof := await self._beside(body, lambda: forge.prove(headers, body, secret, time.time())):
                raise _Refusal(proof)
            if event == "push":
                try:
                    refs = await self._beside(body, lambda: forge.refs(body))
                except Malformed:
                    raise _Refusal("malformed") from None
                if refs is not None and self._ref not in refs:
                    event = "other"
        if event == "push":
            self._look()
        self._accepted.labels(name, event).inc()
        given = headers.get(forge.delivery, "")
        log.info("webhook of %s: %s, delivery %s", name, event, given if _DELIVERY.fullmatch(given) else "-")
        results = {"push": (200, "looking"), "ping": (200, "pong"), "other": (202, "ignored")}
        status, result = results[event]
        return JSONResponse({"result": result}, status, {"Cache-Control": "no-store"})

    async def _beside(self, body: bytes, work: Callable[[], T]) -> T:
        """Do something with a body: with a large one beside the loop, and one at a time."""
        if len(body) <= SMALL_BYTES:
            return work()
        async with self._reading:
            return await asyncio.to_thread(work)

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body within the limits of size, time and memory, and count it until the block ends."""
        claimed = request.headers.get("content-length", "")
        if claimed.isdecimal() and int(claimed) > BODY_BYTES_MAX:
            raise _Refusal("too_large")
        pieces = bytearray()
        size = 0
        try:
            try:
                async with asyncio.timeout(BODY_S_MAX):
                    async for chunk in request.stream():
                        if size + len(chunk) > BODY_BYTES_MAX:
                            raise _Refusal("too_large")
                        if self._buffered + len(chunk) > BUFFERED_BYTES_MAX:
                            raise _Refusal("busy")
                        self._buffered += len(chunk)
                        size += len(chunk)
                        pieces += chunk
            except (TimeoutError, ClientDisconnect):
                raise _Refusal("too_slow") from None
            body, pieces = bytes(pieces), bytearray()
            yield body
        finally:
            self._buffered -= size

    async def _secret(self, forge: str) -> bytes:
        name, _, key = self._secrets[forge].partition(":")
        try:
            value = await self._reader.read(name, key)
        except PaiError as error:
            self._tell(forge, "no_secret", error.message)
            raise _Refusal("no_secret") from None
        return value.reveal()

    def _refuse(self, forge: str, reason: str) -> Response:
        self._refused.labels(forge, reason).inc()
        status, text = _REFUSALS[reason]
        if reason == "no_secret":  # as if there were nothing here
            return PlainTextResponse("Not Found", status)
        self._tell(forge, reason, text)
        headers = {"Cache-Control": "no-store", **({"Connection": "close"} if status in (408, 413) else {})}
        return JSONResponse({"error": text}, status, headers)

    def _tell(self, forge: str, reason: str, text: str) -> None:
        """Say in the daemon's log what was refused; of a flood, how many."""
        now = time.monotonic()
        since, count = self._told.get((forge, reason), (-TOLD_S, 0))
        if now - since < TOLD_S:
            self._told[forge, reason] = (since, count + 1)
            return
        self._told[forge, reason] = (now, 0)
        more = f" (and {count:,} more before)" if count else ""
        log.warning("webhook of %s refused: %s%s", forge, text, more)


class _Refusal(Exception):
    """A delivery is refused for one of the reasons of `_REFUSALS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
