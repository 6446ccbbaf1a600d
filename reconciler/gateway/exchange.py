"""One reserved call on its way: sent, its answer passed on while it is metered, and settled before it ends.

Invariants
- A reservation that comes in here is resolved here exactly once, whatever happens on either side.
- Voided is only what the provider certainly did not charge: it was not reached, or it answered with an error (a status
  of 400 to 599) that names no usage. What nobody knows is forfeited, a redirect and a status that is none included.
- A redirect is never followed nor passed on: it would carry a prompt and a key to whoever it names.
- A client that leaves changes nothing: the answer is read to its end and settled.
- The last byte of an answer leaves after its tokens are settled durably.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from reconciler.core.events import Durations
from reconciler.core.reservations import Usage
from reconciler.gateway.admission import Held
from reconciler.gateway.answer_headers import passed
from reconciler.gateway.books import Books
from reconciler.gateway.calls import FREE
from reconciler.gateway.client import Client, Headers
from reconciler.gateway.connection import Lost
from reconciler.gateway.masking import Mask
from reconciler.gateway.metering import meter
from reconciler.gateway.metrics import GatewayMetrics
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.streams import Stream, stream_of
from reconciler.gateway.upstream import Answer, Unsent, Upstream

log = logging.getLogger("pai.gateway")

WHOLE_BYTES_MAX = 256 * 1024 * 1024
ERROR_BYTES_MAX = 4 * 1024 * 1024

RETRIED = frozenset((408, 429))
"""Errors below 500 after which an alternative is tried."""


class Failed(NamedTuple):
    """A provider's failure before the client was sent anything: an alternative may be tried."""

    status: int
    headers: Headers
    body: bytes


class Exchange:
    """Carries out reserved calls."""

    def __init__(self, books: Books, upstream: Upstream, metrics: GatewayMetrics) -> None:
        self._books = books
        self._upstream = upstream
        self._metrics = metrics

    async def run(self, held: Held, client: Client, began: float) -> Failed | None:
        """Send the call and pass its answer on; None if the client has it.

        `began` is the loop's time when the request came. Raises Refusal if the provider was not reached, or the log
        does not take the outcome.
        """
        one = _One(self._books, self._metrics, held, client, began)
        try:
            return await one.run(self._upstream)
        except BaseException:
            one.abandon()
            raise


class _One:
    """One exchange."""

    def __init__(self, books: Books, metrics: GatewayMetrics, held: Held, client: Client, began: float) -> None:
        self._books = books
        self._metrics = metrics
        self._held = held
        self._client = client
        self._began = began
        self._first = 0.0
        self._resolved = False
        self._mask = Mask(held.credentials.values())
        self._meter = meter(held.call.operation, held.provider.name)

    def abandon(self) -> None:
        """Forfeit what was not resolved: the work was cancelled, or failed by a bug."""
        if not self._resolved:
            self._books.forfeit_now(self._held.request, "the gateway was interrupted")

    async def run(self, upstream: Upstream) -> Failed | None:
        held = self._held
        try:
            headers = {**held.call.headers, **held.credentials}
            answer = await upstream.post(held.url, headers, held.body, self._mask)
        except Unsent as error:
            await self._void(0, f"not sent: {error}")
            raise Refusal("upstream", f"{held.provider.title} was not reached: {error}") from None
        except Lost as error:
            await self._forfeit(0, f"no answer: {error}")
            raise Refusal("upstream", f"{held.provider.title} gave no answer: {error}") from None
        self._first = asyncio.get_running_loop().time()
        try:
            if not 200 <= answer.status < 600 or 300 <= answer.status < 400:
                await self._forfeit(answer.status, "the provider's status says neither success nor failure")
                title = held.provider.title
                raise Refusal("broken", f"{title} answered with status {answer.status}, which is not passed on")
            if answer.status >= 400:
                return await self._error(answer)
            stream = stream_of(held.call, answer.content_type)
            if stream is None:
                await self._whole(answer)
            else:
                await self._stream(answer, stream)
            return None
        finally:
            answer.close()

    async def _error(self, answer: Answer) -> Failed | None:
        """Settle an error, which may have cost tokens, and pass it on unless an alternative may do better."""
        status = answer.status
        try:
            body = await answer.whole(ERROR_BYTES_MAX)
        except Lost as error:
            await self._forfeit(status, f"broken off: {error}")
            raise Refusal("broken", f"{self._held.provider.title} broke its answer off: {error}") from None
        self._meter.feed(body)
        usage = self._meter.usage(complete=True)
        if usage is None or usage.charge == 0:
            await self._void(status, "the provider answered with an error")
        else:
            await self._settle(status, "the provider answered with an error")
        headers = passed(answer.headers, self._mask)
        if status in RETRIED or status >= 500:
            return Failed(status, headers, body)
        await self._client.whole(status, headers, body)
        return None

    async def _whole(self, answer: Answer) -> None:
        try:
            body = await answer.whole(WHOLE_BYTES_MAX)
        except Lost as error:
            await self._charge(answer.status, f"broken off: {error}", complete=False)
            raise Refusal("broken", f"{self._held.provider.title} broke its answer off: {error}") from None
        self._meter.feed(body)
        await self._charge(answer.status, "no usage in the answer", complete=True)
        await self._client.whole(answer.status, passed(answer.headers, self._mask), body)

    async def _stream(self, answer: Answer, stream: Stream) -> None:
        """Pass pieces on as they come; what may be the last of them is held back until the tokens are settled."""
        client = self._client
        await client.start(answer.status, passed(answer.headers, self._mask))
        lost = ""
        last: list[bytes] = []
        try:
            while piece := await answer.read():
                now, last = stream.feed(piece, self._meter, last)
                if now:
                    await client.piece(now)
        except (Lost, ValueError) as error:
            lost = str(error)
        ending = stream.rest(self._meter)
        reason = f"broken off: {lost}" if lost else "no usage in the answer"
        await self._charge(answer.status, reason, complete=not lost)
        if not lost or stream.ended:  # an answer that said its last word may lack the end of its framing
            await client.end(b"".join((*last, ending)))
        # Else the answer is left without an end, and the server closes the connection: the client sees it broken.

    async def _charge(self, status: int, reason: str, complete: bool) -> None:
        """Settle by what the meter read; without a usage, all that was reserved counts, or the most that it saw."""
        held, read = self._held, self._meter
        if held.call.operation in FREE:
            return await self._settle(status, "")
        if read.usage(complete) is not None:
            return await self._settle(status, "", complete)
        read_bound = held.tokens - held.output
        known = read.known_input if held.input_given else None
        owed = read.forfeit(read_bound, held.output, input_given=held.input_given)
        if known is None and owed <= held.tokens:
            return await self._forfeit(status, reason)
        used = read_bound if known is None else known
        return await self._record(status, Usage(used, 0, 0, max(0, owed - used), 0, owed), reason)

    async def _settle(self, status: int, reason: str, complete: bool = True) -> None:
        said = self._meter.usage(complete)
        await self._record(status, Usage(*said) if said is not None else Usage(0, 0, 0, 0, 0, 0), reason)

    async def _record(self, status: int, usage: Usage, reason: str) -> None:
        await self._books.settle(self._held.request, usage, status, self._durations(), reason)
        self._resolved = True
        self._told(status, usage)

    async def _void(self, status: int, reason: str) -> None:
        await self._books.void(self._held.request, status, self._durations(), reason)
        self._resolved = True
        self._told(status, None)

    async def _forfeit(self, status: int, reason: str) -> None:
        await self._books.forfeit(self._held.request, status, self._durations(), reason)
        self._resolved = True
        held = self._held
        self._told(status, Usage(held.tokens - held.output, 0, 0, held.output, 0, held.tokens))

    def _durations(self) -> Durations:
        now = asyncio.get_running_loop().time()
        first = round((self._first - self._began) * 1000) if self._first else 0
        return Durations(first, round((now - self._began) * 1000))

    def _told(self, status: int, usage: Usage | None) -> None:
        """Have it counted and logged as soon as what the client waits for has been sent."""
        loop = asyncio.get_running_loop()
        loop.call_soon(self._observe, status, usage, loop.time())

    def _observe(self, status: int, usage: Usage | None, now: float) -> None:
        held = self._held
        self._metrics.observe(
            held, status, usage, self._first - self._began if self._first else None, now - self._began
        )
        log.info(
            "request=%s agent=%s binding=%s operation=%s status=%d charged=%d ms=%d",
            held.request,
            held.agent,
            held.binding,
            held.call.operation,
            status,
            usage.charged if usage is not None else 0,
            round((now - self._began) * 1000),
        )
