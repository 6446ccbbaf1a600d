"""One connection of a client: what it may send before, while and after it is answered, and for how long.

A connection is in one of five states: it waits for a head (`_body` and `cycle` are None); it has one, and waits for its
turn (`_in_line`); it reads a body (`_body`; without a `cycle` that body was answered already, and is thrown away); it
waits for an answer (`cycle` alone); or it was told its last word and has a moment to read it (`_ended`). Invariants: no
byte of a request is looked at before the one before it was answered; what is kept unread is at most a head, or one read
and PIPELINED_BYTES_MAX; at most one timer runs.
"""

from __future__ import annotations

import asyncio
import logging
import math
from types import SimpleNamespace
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from reconciler.listening.connection_places import STRANGER
from reconciler.listening.cycle import ClientFlow, Cycle
from reconciler.listening.deadline import Deadline
from reconciler.listening.door import Door
from reconciler.listening.framing import BadRequest, Body, NoRequest
from reconciler.listening.head import Beginning, RequestHead
from reconciler.listening.turns import Full

IDLE_S: Final = 75.0
"""How long a connection may be idle between requests: longer than clients and proxies keep theirs."""
SEND_S: Final = 60.0
TAKEN_BYTES_MIN: Final = 64 * 1024
"""So much of what waits for a client it has to take in that time, or all of it."""
LINGER_S: Final = 2.0
"""How long a client may go on sending after the last word: a closed socket would take that word away from it."""
AHEAD_BYTES_MAX: Final = 8 * 1024
"""Of a body that nobody has asked for yet: beyond this nothing is read of it, since many may come at once."""
PIPELINED_BYTES_MAX: Final = 64 * 1024
"""Beyond this nothing is read while a request is answered."""
UNTAKEN_BYTES_MAX: Final = 8 * 1024
"""Of an answer that its client does not take: beyond this the application waits."""
LITTLE_BYTES: Final = 512
"""What is less at once and ends nothing is a little piece: it costs as much to read as a large one."""
LITTLE_TURNS: Final = 16
"""Of what is thrown away: so four thousand a second are read on a port."""
HEAD_BYTES_A_TURN: Final = 1024
"""A stranger's larger head takes more turns: what its names and its target cost grows with them."""

_logger = logging.getLogger("uvicorn.error")

_TOO_SLOW: Final = ("the head of the request did not come in time", "408 Request Timeout")
_FULL: Final = ("too many requests wait; try again later", "503 Service Unavailable")
_BUSY: Final = ("too many requests are half sent; try again later", "503 Service Unavailable")


class ClientConnection(asyncio.BufferedProtocol):
    """One client's connection, for a server of uvicorn."""

    door: Door

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del config, app_state
        self._state = server_state
        self._connections: set[Any] = server_state.connections
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: Any = None
        self.cycle: Cycle | None = None
        self._body: Body | None = None
        self._unread = b""
        self._beginning = Beginning()
        self._head_begun = True
        self._pipelined = False
        self._expects = self._keeps = False
        self._shown: dict[str, Any] = {}
        self._owner = STRANGER
        self._turn = self._in_line = False
        self._going = False
        self._deaf = self._ended = self._stopping = False
        self._unsent = 0.0
        self._owed = 0.0
        self._resting = False
        self._deadline = Deadline(self._loop)

    # What the event loop and the server say.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = transport
        self._transport.set_write_buffer_limits(UNTAKEN_BYTES_MAX)
        self.door.places.enter(self, self._owner)
        if len(self._connections) >= self.door.connections_max:
            (self.door.places.giving_way(self.door.connections_max) or self).abort()
        self._connections.add(self)
        self._flow = ClientFlow(self._transport, self._wanted)
        # What uvicorn's cycle writes to. It closes that after the last answer; what that means is decided here.
        write, is_closing = self._transport.write, self._transport.is_closing
        self._out: Any = SimpleNamespace(write=write, is_closing=is_closing, close=self._finish)
        self._client = get_remote_addr(self._transport)
        self._trusted = self._client is not None and self.door.proxies.trust(self._client[0])
        self._deadline.within(self.door.limits.head_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that its client has left."""
        del exc
        self._connections.discard(self)
        self.door.places.leave(self, self._owner)
        self._end()
        self.door.thrown.leave(self)
        self._deadline.end()
        self._give_up()
        self._flow.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where the next bytes are put: no more is read at once, however much has come on however many sockets."""
        del sizehint
        return self.door.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read what came."""
        data = bytes(self.door.buffer[:nbytes])
        if self._deaf or (self._body is not None and self.cycle is None):
            self._owed += len(data) / 1024
        if self._deaf:
            self._owed += LITTLE_TURNS * (nbytes < LITTLE_BYTES)
            self._pay()
            if self._resting:
                self._flow.read(on=False)
        else:
            self._read(self._unread + data if self._unread else data, came=nbytes)

    def eof_received(self) -> None:
        """Look at nothing more: the event loop closes the connection when what was written is taken, or given up.

        A client that closes its side has left: nobody could tell it from one that closes its own side alone, and what a
        provider writes for nobody is paid for.
        """
        self._end()
        self._await_taken()

    def pause_writing(self) -> None:
        """Give up a client that takes nothing of its answer for too long."""
        self._flow.pause_writing()
        if not self._ended:
            self._await_taken()

    def resume_writing(self) -> None:
        """Go on sending."""
        self._flow.resume_writing()
        if self.cycle is not None:
            self._deadline.forget()
        elif not self._ended:
            self._await_next()
            if self._unread or self._flow.read_paused:
                self._go_on_soon()

    def shutdown(self) -> None:
        """Take no more requests, and let the one that is open end."""
        self._stopping = True
        if self.cycle is None:
            self._close()
        else:
            self.cycle.keep_alive = self._keeps = False

    # Reading.

    def _read(self, data: bytes, *, came: int = 0) -> None:
        """Read as far as may be read now, keep the rest, and say whether more is wanted from the socket.

        What came last has to be paid for if it ends neither a head nor a body, and is little or of a stranger's head.
        """
        before = self.cycle, self._body
        try:
            while data and not self._deaf:
                body = self._body
                if body is not None:
                    data = self._read_body(body, data)
                    if not body.whole:
                        break
                elif self.cycle is not None or (rest := self._read_head(data)) is None:
                    break
                else:
                    data = rest
        except BadRequest as bad:
            self._refuse(bad)
        if not self._deaf:
            if data or self._unread:
                self._keep(data)
            if came and before == (self.cycle, self._body):
                in_head = before == (None, None) and not self._in_line and not self._shown.get("owner")
                self._owed += LITTLE_TURNS * (came < LITTLE_BYTES or in_head)
            self._flow.read(on=self._wants_more())

    def _wants_more(self) -> bool:
        body, cycle = self._body, self.cycle
        self._pay()
        if self._resting:
            return False
        if self._in_line or (cycle is None and body is None and self._flow.write_paused):
            # Nothing is begun now; but nobody would see that the client has left.
            return len(self._unread) < PIPELINED_BYTES_MAX
        if cycle is not None and len(cycle.body) > AHEAD_BYTES_MAX:
            return False
        if body is not None and body.turn_over:
            self._go_on_soon()
            return False
        return cycle is None or body is not None or len(self._unread) < PIPELINED_BYTES_MAX

    def _pay(self) -> None:
        """Rest until there are turns for what was thrown away, or came in little pieces: a port has one budget."""
        if self._owed >= 1 and not self._resting:
            self._resting = not self.door.thrown.take(self._loop, self, self._rested, self._owed)
            self._owed = 0.0

    def _rested(self) -> bool:
        self._resting = False
        if not self._ended:
            self._go_on()
        elif not self._transport.is_closing():
            self._flow.read(on=True)
        return True

    def _go_on_soon(self) -> None:
        if not self._going:
            self._going = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going = False
        if not self._deaf and not self._resting:
            self._read(self._unread)

    def _wanted(self) -> None:
        """Hear that the application wants (more of) the body; uvicorn's cycle has just told the client to continue."""
        if self._expects and self.cycle is not None:
            self._expects = False
            self.cycle.keep_alive = self._keeps
        if self._flow.read_paused:
            self._go_on_soon()

    def _read_head(self, data: bytes) -> bytes | None:
        """Begin a request, and give what follows its head; None if that is not whole. Raises Bad."""
        begin = 2 if data.startswith(b"\r\n") else 0  # an empty line before a request is ignored (RFC 9112 2.2)
        try:
            end = self._beginning.end(data, begin)
        except BadRequest:
            if self._may_begin(len(data)):
                raise
            return None
        if not end:
            if not self._head_begun:
                self._head_begun = True
                self._deadline.within(self.door.limits.head_s, self._too_slow)
            return None
        if not self._may_begin(end - begin):
            return None
        self._begin(RequestHead(data[begin:end]))
        return data[end:]

    def _may_begin(self, size: int) -> bool:
        """Tell whether a request with so large a head may begin, or be refused, now; it is read again when it may.

        None may whose client has not taken what was sent before. Raises Bad.
        """
        if self._flow.write_paused:
            return False
        if not self._turn and not self._in_line and (self._pipelined or not self._shown.get("owner")):
            try:
                turns = 1 + size // HEAD_BYTES_A_TURN
                self._turn = self.door.turns.take(self._loop, self, self._called, turns)
            except Full:
                raise BadRequest(*_FULL) from None
            self._in_line = not self._turn
            if self._in_line:
                self._deadline.forget()
        return not self._in_line

    def _called(self) -> bool:
        """Begin or refuse the request that waited, and tell whether there was one still."""
        self._in_line, self._turn = False, True
        self._go_on()
        self._turn = False
        return self.cycle is not None or self._ended

    def _leave_line(self) -> None:
        if self._in_line:
            self._in_line = False
            self.door.turns.leave(self)

    def _begin(self, head: RequestHead) -> None:
        """Hand a request to the application that answers it."""
        self._beginning.anew()
        self._head_begun = self._pipelined = self._turn = False
        self._deadline.forget()
        self._body, self._expects, self._keeps = head.body, head.expects, head.keeps
        self._shown = {}
        scope: Any = self.door.scope(head, self._client, self._shown, trusted=self._trusted)
        cycle = self.cycle = Cycle(
            scope=scope,
            transport=self._out,
            flow=self._flow,
            logger=_logger,
            access_logger=_logger,
            access_log=False,
            default_headers=self._state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects,
            # Who is answered without being told to continue may send its body or not: nobody could tell which.
            keep_alive=head.keeps and not head.expects,
            on_response=self._answered,
        )
        if head.body is None:
            cycle.more_body = False
            cycle.message_event.set()
        known = self.door.hosts.know(head.hosts)
        task = self._loop.create_task(cycle.run_asgi(self.door.app if known else self.door.foreign))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    def _read_body(self, body: Body, data: bytes) -> bytes:
        """Give a body's bytes to its reader, if it has one still, and what follows them. Raises Bad."""
        piece, rest = body.take(data)
        cycle = self.cycle
        if cycle is None or (body.turn_over and not self._shown.get("owner")):
            self._owed += body.chunks
        if cycle is not None and (piece or body.whole):
            cycle.body += piece
            cycle.more_body = not body.whole
            cycle.message_event.set()
        if body.whole:
            self._body = None
            if cycle is None:
                self._await_next()
        return rest

    def _keep(self, data: bytes) -> None:
        """Keep what cannot be read yet; where all together keep too much, those who keep most are refused."""
        self.door.unread_bytes += len(data) - len(self._unread)
        self._unread = data
        if self.door.unread_bytes > self.door.unread_bytes_max and data:
            for each in sorted(self._connections, key=lambda each: len(each._unread), reverse=True):
                if self.door.unread_bytes > self.door.unread_bytes_max * 3 / 4:  # else they are looked for soon again
                    each._refuse(BadRequest(*_BUSY))

    # Ends.

    def _answered(self) -> None:
        """Go on after an answer: with the rest of its request, then with the next one."""
        self._state.total_requests += 1
        self.cycle = None
        if (owner := self._shown.get("owner", STRANGER)) != self._owner:
            self.door.places.leave(self, self._owner)
            self._owner = owner
            self.door.places.enter(self, owner)
        if self._ended:
            return
        self._await_next()
        self._pipelined = bool(self._unread)
        if self._unread or self._flow.read_paused:
            self._go_on_soon()

    def _await_next(self) -> None:
        """Wait for the next request, or for the rest of the one that was answered."""
        if not self._flow.write_paused:  # else its answer is waited for
            seconds = IDLE_S if self._body is None else self.door.limits.head_s
            self._deadline.within(seconds, self._finish)

    def _refuse(self, bad: BadRequest) -> None:
        """Say why nothing more is read, unless an answer has begun; one that is under way is ended first."""
        cycle = self.cycle
        if cycle is not None and self._body is None:  # it concerns what came behind
            self._deaf = True
            self._keep(b"")
            cycle.keep_alive = self._keeps = False
            return
        garbage = self._pipelined and isinstance(bad, NoRequest)  # behind a request it gets no answer of its own
        if not garbage and (self._body is None or (cycle is not None and not cycle.response_started)):
            self._transport.write(self.door.refusal(bad))
        self._give_up()
        self._finish()

    def _too_slow(self) -> None:
        self._refuse(BadRequest(*_TOO_SLOW))

    def _give_up(self) -> None:
        """Tell the application of a request under way that nobody listens any more."""
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
            self._shown["left"] = True
            if told := self._shown.get("on_left"):
                told()

    def _end(self) -> None:
        """Look at nothing that comes from now on."""
        self._deaf = self._ended = True
        self._leave_line()
        self._keep(b"")

    def _finish(self) -> None:
        """Send the end after the last word, and close when the client has read it, or has had its time."""
        if self._ended:
            return
        if self._stopping:
            self._close()
            return
        self._end()
        self._transport.write_eof()
        self._flow.read(on=True)
        self._unsent = math.inf
        self._deadline.within(LINGER_S, self._untaken)

    def _await_taken(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._deadline.within(SEND_S, self._untaken)

    def _untaken(self) -> None:
        """Close for good, unless the client is still taking what was sent before, and not next to nothing of it."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and self._unsent - unsent >= TAKEN_BYTES_MIN:
            self._await_taken()
        else:
            self.abort()

    def _close(self) -> None:
        self._end()
        self._transport.close()
        self._await_taken()

    def abort(self) -> None:
        """Close it at once."""
        self._deaf = self._ended = True
        self._leave_line()
        self.door.places.leave(self, self._owner)
        self._transport.abort()

    def gives_way(self) -> bool:
        """Tell whether nothing is asked on it; a stranger's may wait for its turn, its body, or to be taken."""
        stranger = not self._shown.get("owner")
        if self.cycle is None:
            return stranger or not self._in_line
        return stranger and (self._body is not None or self._flow.write_paused)
