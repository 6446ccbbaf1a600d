"""One reserved call on its way: sent, its answer passed on while it is metered, and settled before it ends.

Invariants
- A reservation that comes in here is resolved here exactly once, whatever happens on either side.
- Voided is only what the provider certainly did not charge: it was not reached, or it answered with an error (a status
  of 400 to 599) that names no usage. What nobody knows is forfeited, a redirect and a status that is none included.
- A redirect is never followed nor passed on: it would carry a prompt and a key to whoever it names.
- An answer whose client leaves is read on and settled, for a stated time and size; then it is cut and charged as one
  that broke off.
- The last byte of an answer leaves after its tokens are settled durably. A stream ends with its last word: what follows
  that at once is metered and passed on with it, what comes later is thrown away.
- What is held of answers is bounded, for one agent and for all; what finds no room passes without being held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from itertools import chain
from time import perf_counter
from typing import NamedTuple, NoReturn

from reconciler.core import reservations
from reconciler.core.events import Durations
from reconciler.core.reservations import Usage
from reconciler.gateway.admission import Held
from reconciler.gateway.answer_headers import Shield, passed
from reconciler.gateway.books import Books, Draw
from reconciler.gateway.calls import FREE
from reconciler.gateway.client import Client, Headers
from reconciler.gateway.connection import Lost
from reconciler.gateway.masking import Mask
from reconciler.gateway.metering import meter
from reconciler.gateway.metrics import GatewayMetrics
from reconciler.gateway.pace import AnswerPace
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.room import Room, Share
from reconciler.gateway.streams import EVENT_BYTES_MAX, EVENT_STREAM, Array, Large, Sse, Stream, stream_of
from reconciler.gateway.upstream import Answer, Unsent, Upstream
from reconciler.gateway.waiting import within

log = logging.getLogger("pai.gateway")

HELD_BYTES_MAX = 128 * 1024
"""What is held of one whole answer; what is larger passes in parts."""
HELD_BYTES_EACH = 16 * 1024 * 1024
HELD_BYTES_ALL = 32 * 1024 * 1024
"""The same of all answers of one agent, and of all agents."""
LAST_BYTES_MAX = 2 * EVENT_BYTES_MAX
"""What is held of the last word of a stream and what follows it, as long as something does."""
SLICE_BYTES = 8 * 1024
"""What of an answer is worked on before others have their turn."""
LEFT_BYTES_MAX = 4 * 1024 * 1024
"""What is read of an answer whose client has left."""

RETRIED = frozenset((408, 429))
"""Errors below 500 after which an alternative is tried."""


class Failed(NamedTuple):
    """A provider's failure before the client was sent anything: an alternative may be tried.

    `share` holds the room that it takes meanwhile, to be given back by who has it.
    """

    status: int
    headers: Headers
    body: bytes
    share: Share


class Exchange:
    """Carries out reserved calls on the running loop.

    `left_s`: for how long an answer is read whose client has left.
    """

    def __init__(self, books: Books, upstream: Upstream, metrics: GatewayMetrics, left_s: float) -> None:
        self.books = books
        self.metrics = metrics
        self.left_s = left_s
        self.loop = asyncio.get_running_loop()  # asked for once: that is a call of the system each time
        self.room = Room(HELD_BYTES_ALL, HELD_BYTES_EACH)
        self.pace = AnswerPace()
        self._upstream = upstream

    async def run(self, held: Held, client: Client, began: float) -> Failed | None:
        """Send the call and pass its answer on; None if the client has it.

        `began` is the loop's time when the request came. Raises Refusal if the provider was not reached, or the log
        does not take the outcome.
        """
        one = _One(self, held, client, began)
        try:
            return await one.run(self._upstream)
        except BaseException:  # it was cancelled, or failed by a bug
            if not one.resolved:
                self.books.forfeit_now(held.request, held.binding, "the gateway was interrupted")
            raise


class _One:
    """One exchange. `resolved`: its reservation is."""

    def __init__(self, whole: Exchange, held: Held, client: Client, began: float) -> None:
        self._books = whole.books
        self._metrics = whole.metrics
        self._left_s = whole.left_s
        self._held = held
        self._client = client
        self._began = began
        self._loop = whole.loop
        self._first = 0.0
        self.resolved = False
        self._mask = Mask(held.credentials.values())
        self._shield = Shield(held.credentials.values(), self._mask)
        self._meter = meter(held.call.operation, held.provider, held.choices)
        self._share = Share(whole.room, held.agent, HELD_BYTES_MAX)
        self._handed = False  # whether somebody else gives the share back
        self._said_all = False
        self._watching = False
        self._leaving: asyncio.TimerHandle | None = None
        self._pace = whole.pace
        self._due = partial(whole.pace.due, held.agent)
        self._turned = False  # whether a turn was taken that is not over
        self._begun = 0.0  # when the work on a piece began that is not over
        self._unwanted = 0  # bytes that nobody takes any more

    async def run(self, upstream: Upstream) -> Failed | None:
        held = self._held
        try:
            headers = {**held.call.headers, **held.credentials}
            answer = await upstream.post(held.url, headers, held.body, self._mask, held.agent)
        except Unsent as error:
            await self._void(0, f"not sent: {error}")
            raise Refusal("upstream", f"{held.provider.title} was not reached: {error}") from None
        except Lost as error:
            await self._forfeit(0, f"no answer: {error}")
            raise Refusal("upstream", f"{held.provider.title} gave no answer: {error}") from None
        self._first = self._loop.time()
        answer.due, answer.turn = self._due, self._turn
        try:
            if not 200 <= answer.status < 600 or 300 <= answer.status < 400:
                await self._forfeit(answer.status, "the provider's status says neither success nor failure")
                title = held.provider.title
                raise Refusal("broken", f"{title} answered with status {answer.status}, which is not passed on")
            stream = await self._framing(answer)
            if stream is None:
                return await self._whole(answer)
            await self._stream(answer, stream)
            return None
        finally:
            if not self._handed:
                self._share.give_back()
            if self._watching:
                self._client.forget()
            if self._leaving is not None:
                self._leaving.cancel()
            answer.close(said_all=self._said_all)

    async def _framing(self, answer: Answer) -> Stream | None:
        """Tell how an answer is streamed, None if it is a whole or an error; its first bytes say so if nothing else."""
        call = self._held.call
        if answer.status >= 400 or not (call.stream or answer.content_type == EVENT_STREAM):
            return None
        if answer.content_type == EVENT_STREAM:
            return Sse(call)
        self._watch(answer)
        begin = b""
        with contextlib.suppress(Lost):  # which is said again to who reads on
            begin = await answer.peek()
        self._took(answer)
        return stream_of(call, begin, answer.content_type)

    async def _lost(self, answer: Answer, error: Lost) -> NoReturn:
        """Charge an answer that broke off before any of it was passed on."""
        await self._charge(answer.status, f"broken off: {error}", complete=False)
        raise Refusal("broken", f"{self._held.provider.title} broke its answer off: {error}") from None

    async def _whole(self, answer: Answer) -> Failed | None:
        """Pass on an answer that is no stream; an error is handed back if an alternative may do better."""
        held = bytearray()
        try:
            while piece := await self._next(answer):
                held += piece
                if not self._share.holds(len(held)):
                    self._share.give_back()
                    answer.put_back(bytes(held))
                    held.clear()
                    await self._stream(answer, Large())
                    return None
                if answer.over:
                    break
                self._took(answer)
                if answer.open_ended:
                    self._watch(answer)
        except Lost as error:
            await self._lost(answer, error)
        status, body, headers = answer.status, bytes(held), passed(answer.headers, self._shield)
        await self._read(answer, body)
        await self._charge(status, "no usage in the answer", complete=True)
        if (status in RETRIED or status >= 500) and self._share.holds(len(body) + sum(map(len, chain(*headers)))):
            self._handed = True
            return Failed(status, headers, body, self._share)
        await self._client.whole(status, headers, body)
        return None

    async def _read(self, answer: Answer, body: bytes) -> None:
        """Meter a whole answer. It may hold events, or be an array, as Google's errors are: then slice by slice."""
        stream = stream_of(self._held.call, body, answer.content_type)
        if stream is None and body.lstrip().startswith(b"["):
            stream = Array()
        step = SLICE_BYTES if stream else HELD_BYTES_MAX
        for at in range(0, len(body), step):
            part = body[at : at + step]
            if not self._turned and self._due(len(part)):
                await self._turn(answer)
            self._begun = perf_counter()
            if stream:
                stream.feed(part, self._meter, [])
            else:
                self._meter.feed(part)
            self._took(answer)
        if stream:
            stream.rest(self._meter)

    async def _stream(self, answer: Answer, stream: Stream) -> None:
        """Pass pieces on as they come; what may be the last of them is held back until the tokens are settled."""
        client = self._client
        await client.start(answer.status, passed(answer.headers, self._shield))
        answer.headers.clear()
        self._watch(answer)
        lost = ""
        last: list[bytes] = []
        try:
            piece = await self._next(answer)
            while piece:
                for at in range(0, len(piece), SLICE_BYTES):
                    part = piece if len(piece) <= SLICE_BYTES else piece[at : at + SLICE_BYTES]
                    if at:
                        await self._turn(answer)
                    self._begun = perf_counter()
                    now, last = stream.feed(part, self._meter, last)
                    self._took(answer)
                    if now:
                        await client.piece(now)
                piece = await (self._more(answer, stream, last) if last else self._next(answer))
        except Lost as error:
            lost = str(error)
        ending = stream.rest(self._meter)
        reason = f"broken off: {lost}" if lost else "no usage in the answer"
        await self._charge(answer.status, reason, complete=not lost)
        if not lost or stream.ended:  # an answer that said its last word may lack the end of its framing
            await client.end(b"".join((*last, ending)))
        # Else the answer is left without an end, and the server closes the connection: the client sees it broken.

    async def _more(self, answer: Answer, stream: Stream, last: list[bytes]) -> bytes:
        """Give the next piece, b"" at the end: that of the connection, or of the stream if nothing follows soon."""
        patience = stream.patience(self._meter, last)
        if patience is None:
            return await self._next(answer)
        if sum(map(len, last)) > LAST_BYTES_MAX:
            return b""
        answer.due = None  # the time is for what comes, and not for a turn to work on it
        try:
            piece = await within(patience, self._next(answer))
        except TimeoutError:
            self._said_all = True
            return b""
        answer.due = self._due
        if self._due(len(piece)):
            await self._turn(answer)
        return piece

    async def _next(self, answer: Answer) -> bytes:
        """Give the next piece, b"" at the end. Raises Lost, also if its client has left and it goes on and on."""
        piece = await answer.read()
        if self._client.gone:
            self._left(answer)
            self._unwanted += len(piece)
            if self._unwanted > LEFT_BYTES_MAX:
                raise Lost(f"its client left, and {LEFT_BYTES_MAX:,} bytes more came")
        return piece

    async def _turn(self, answer: Answer) -> None:
        """Wait until a piece may be worked on; `_took` follows."""
        if self._turned:
            self._took(answer)  # what came with the turn before gave nothing
        await self._pace.turn(self._held.agent)
        self._turned = True

    def _took(self, answer: Answer) -> None:
        """End the work on a piece, and its turn if one was taken."""
        worked_s = answer.worked_s()
        if self._begun:
            worked_s += perf_counter() - self._begun
        if self._turned:
            self._pace.took(worked_s)
        else:
            self._pace.small(self._held.agent, worked_s)
        self._turned, self._begun = False, 0.0

    def _watch(self, answer: Answer) -> None:
        """Have the answer given up some time after its client has left, or was given up itself."""
        if not self._watching:
            self._watching = True
            self._client.watch(lambda: self._left(answer))

    def _left(self, answer: Answer) -> None:
        if self._leaving is None:
            reason = f"its client left {self._left_s:g} s before"
            self._leaving = self._loop.call_later(self._left_s, answer.give_up, reason)

    async def _charge(self, status: int, reason: str, complete: bool) -> None:
        """Settle by what the meter read; without a usage, all that was reserved counts, or the most that it saw."""
        held, read = self._held, self._meter
        usage = read.usage(complete)
        if status >= 400 and complete and not read.unread:
            if usage is None or usage.charged == 0:
                return await self._void(status, "the provider answered with an error")
            return await self._settle(status, "the provider answered with an error")
        if held.call.operation in FREE:
            return await self._settle(status, "")
        if usage is not None:
            return await self._settle(status, "", complete)
        read_bound = held.tokens - held.output
        known = read.known_input if held.input_given else None
        owed = read.forfeit(read_bound, held.output, input_given=held.input_given)
        if known is None and owed <= held.tokens:
            return await self._forfeit(status, reason)
        used = read_bound if known is None else known
        return await self._record(status, Usage(used, 0, 0, max(0, owed - used), 0, owed), reason)

    async def _settle(self, status: int, reason: str, complete: bool = True) -> None:
        await self._record(status, self._meter.usage(complete) or Usage(0, 0, 0, 0, 0, 0), reason)

    async def _record(self, status: int, usage: Usage, reason: str) -> None:
        await self._resolve(partial(reservations.settle, usage=usage), status, reason, usage)

    async def _void(self, status: int, reason: str) -> None:
        await self._resolve(reservations.void, status, reason, None)

    async def _forfeit(self, status: int, reason: str) -> None:
        held = self._held
        usage = Usage(held.tokens - held.output, 0, 0, held.output, 0, held.tokens)
        await self._resolve(reservations.forfeit, status, reason, usage)

    async def _resolve(self, draw: Draw, status: int, reason: str, usage: Usage | None) -> None:
        """Record an outcome, and have it counted and logged as soon as what the client waits for has been sent."""
        await self._books.resolve(self._held.request, self._held.binding, draw, status, self._durations(), reason)
        self.resolved = True
        self._loop.call_soon(self._observe, status, usage, self._loop.time())

    def _durations(self) -> Durations:
        now = self._loop.time()
        first = round((self._first - self._began) * 1000) if self._first else 0
        return Durations(first, round((now - self._began) * 1000))

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
