"""What of an answer leaves, and when: its head with what of the body is there, and nothing that is not one answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from reconciler.listening.cycle import JOINED_BYTES_MAX, Cycle

START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep."""
        self.written.append(data)

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def is_closing(self) -> bool:
        """Tell."""
        return self.closed


def cycle(transport: Any, method: str = "GET") -> Cycle:
    """Make a cycle that writes to a transport."""
    return Cycle(
        scope={"type": "http", "method": method, "state": {}},  # type: ignore[typeddict-item]
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )


def sent(*messages: dict[str, Any], method: str = "GET", between: bool = False) -> list[bytes]:
    """Send messages, and give what was written; `between` them others have their turn."""
    transport = Transport()

    async def run() -> None:
        made = cycle(transport, method)
        for message in messages:
            await made.send(message)
            if between:
                await asyncio.sleep(0)

    asyncio.run(run())
    return transport.written


def test_whole_answer_is_one_write() -> None:
    """Each write is a call of the system, and another packet."""
    assert sent(START, BODY) == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok"]


def test_large_body_is_not_copied() -> None:
    """However many ask for the same one, it is there once; its head and what frames it stand around it."""
    body = b"a" * (JOINED_BYTES_MAX + 1)
    start = {**START, "headers": [(b"content-length", b"%d" % len(body))]}
    head, written = sent(start, {**BODY, "body": body})
    assert head.endswith(b"\r\n\r\n")
    assert written is body
    before, written, after = sent({**START, "headers": []}, {**BODY, "body": body})
    assert before.endswith(b"\r\n\r\n2001\r\n")
    assert written is body
    assert after == b"\r\n0\r\n\r\n"


def test_head_of_a_stream_waits_for_nothing() -> None:
    """It leaves with the first piece if that is there, and without it otherwise."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    pieces = [{**BODY, "more_body": True}, {**BODY, "body": b"", "more_body": False}]
    head = b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n"
    assert sent(start, *pieces) == [head + b"2\r\nok\r\n", b"0\r\n\r\n"]
    assert sent(start, *pieces, between=True) == [head, b"2\r\nok\r\n", b"0\r\n\r\n"]
    assert sent(start, {**BODY, "body": b""}) == [head + b"0\r\n\r\n"]


def test_head_alone_is_sent_for_head_and_where_no_body_may_be() -> None:
    """RFC 9110: HEAD has the length of what GET gives; 204 and 304 have no body."""
    assert sent(START, BODY, method="HEAD") == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\n"]
    assert sent({**START, "status": 204, "headers": []}, {**BODY, "body": b""}) == [
        b"HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n"
    ]


@pytest.mark.parametrize("sign", [*range(9), *range(10, 32), 127])
def test_header_with_a_control_character_is_not_sent(sign: int) -> None:
    """It could be more than one header, or more than one answer; nothing of it leaves."""
    for header in ((b"x-a", b"a" + bytes((sign,)) + b"b"), (b"x-" + bytes((sign,)), b"a"), (b"x", bytes((sign,)))):
        with pytest.raises(RuntimeError):
            sent({**START, "headers": [*START["headers"], header]})


@pytest.mark.parametrize("name", [b"", b"x a", b"x:", b"x(", b"x,y", b"x\t", b'x"', b"x\xe9", b"x/y", b"x@y"])
def test_name_that_is_no_token_is_not_sent(name: bytes) -> None:
    """RFC 9110 5.6.2."""
    with pytest.raises(RuntimeError):
        sent({**START, "headers": [(name, b"a")]})


def test_values_of_any_other_byte_are_sent() -> None:
    """A tab and bytes above ASCII are allowed (RFC 9110 5.5)."""
    value = bytes((9, *range(32, 127), *range(128, 256)))
    (written,) = sent({**START, "headers": [*START["headers"], (b"x-a", value)]}, BODY)
    assert b"\r\nx-a: " + value + b"\r\n" in written


@pytest.mark.parametrize("body", [b"", b"o", b"okay"])
def test_body_of_another_length_is_not_sent(body: bytes) -> None:
    """What follows on the connection would be taken for a part of it, or a part of it for what follows."""
    with pytest.raises(RuntimeError, match="as long"):
        sent(START, {**BODY, "body": body})


def test_failure_before_the_head_left_is_answered() -> None:
    """A head that is none leaves the way free for an answer that says so."""
    transport = Transport()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"5"), (b"x-a", b"a\r\nb: c")]})

    async def run() -> None:
        await cycle(transport).run_asgi(app)

    asyncio.run(run())
    text = b"".join(transport.written)
    assert text.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert text.endswith(b"\r\n\r\nInternal Server Error")
    assert transport.closed


def test_close_is_said_once_and_done() -> None:
    """Who says it means it."""
    transport = Transport()

    async def run() -> None:
        made = cycle(transport)
        await made.send({**START, "headers": [*START["headers"], (b"connection", b"close")]})
        await made.send(BODY)

    asyncio.run(run())
    assert transport.closed
    assert b"".join(transport.written).count(b"connection: close\r\n") == 1


def test_what_is_out_of_order_is_told() -> None:
    """A head comes first and once, and nothing after the end."""
    for messages in ((BODY,), (START, START), (START, BODY, BODY)):
        with pytest.raises(RuntimeError):
            sent(*messages)
