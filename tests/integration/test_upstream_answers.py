"""What the client of the providers makes of their answers, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import gzip
import time
import weakref
import zlib
from unittest.mock import create_autospec

import pytest

from reconciler.gateway import connection as connections
from reconciler.gateway import upstream as pools
from reconciler.gateway.connection import HEAD_BYTES_MAX, READ_BYTES_MAX, Lost
from reconciler.gateway.masking import Mask
from reconciler.gateway.pace import LoopShare
from reconciler.gateway.room import Room
from reconciler.gateway.unpacking import PIECE_BYTES_MAX
from reconciler.gateway.upstream import Answer, Unsent
from tests.support_upstream import HI, MIB, OK, Server, answering, asked, pool, run, serving


def lost(*answers: bytes, hang: bool = False) -> str:
    """Give what is said of an answer that does not come to its end."""
    said = []

    async def work() -> None:
        async with answering(*answers, hang=hang) as server, pool(read_s=0.5) as client:
            with pytest.raises(Lost) as caught:
                await asked(client, server.url)
            said.append(str(caught.value))

    run(work())
    return said[0]


def got(answer: bytes) -> tuple[int, bytes]:
    """Give status and body of what a provider answers before it closes."""
    found = []

    async def work() -> None:
        async with answering(answer) as server, pool() as client:
            found.append(await asked(client, server.url))

    run(work())
    return found[0]


def test_request_is_written_as_it_was_given() -> None:
    """One head with host and length, the headers in order, the body untouched."""

    async def work() -> None:
        async with answering(HI) as server, pool() as client:
            answer = await client.post(server.url, {"x-one": "1", "x-two": "zwölf"}, b'{"a":1}')
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert await answer.whole(10) == b"hi"
            answer.close()
            host = server.url.split("/")[2]
            head = (
                f"POST /v1/chat?a=b HTTP/1.1\r\nhost: {host}\r\nx-one: 1\r\nx-two: zwölf\r\ncontent-length: 7\r\n\r\n"
            )
            assert server.requests == [head.encode() + b'{"a":1}']

    run(work())


class Turns:
    """Stands for an exchange, which an answer is given for its turns."""

    async def wait(self, _: Answer) -> None:
        """Wait for nothing."""


@pytest.mark.parametrize("packed", [False, True])
def test_closed_answer_keeps_nothing(packed: bool) -> None:
    """Not even itself: what hung on it, the request's body too, stayed until cycles were looked for, 150 MB of it."""
    body = gzip.compress(b"hi")
    coded = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def work() -> None:
        async with answering(coded if packed else HI) as server, pool() as client:
            turns = Turns()
            answer = await client.post(server.url, {}, b"{}")
            answer.turn = turns.wait
            assert await answer.whole(10) == b"hi"
            answer.close()
            kept = [weakref.ref(answer), weakref.ref(turns)]
            gc.disable()
            try:
                del answer, turns
                assert [each() for each in kept] == [None, None]
            finally:
                gc.enable()

    run(work())


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
def test_header_that_would_be_two_is_never_sent(value: str) -> None:
    """A line break in a header's value would let it say anything: nothing of the request leaves."""

    async def work() -> None:
        async with answering(HI) as server, pool() as client:
            with pytest.raises(Unsent, match="line break"):
                await client.post(server.url, {"x-a": value}, b"{}")
            assert server.connections == 0

    run(work())


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-late: 1\r\n\r\n", b"abc"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (OK + b"content-length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + HI, b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_body_ends_where_its_framing_says(answer: bytes, body: bytes) -> None:
    """Chunks with extensions and trailers, none at all until the connection ends, and answers before the answer."""
    assert got(answer)[1] == body


def test_headers_are_the_answers_own() -> None:
    """Neither those of an answer before the answer nor those after the body are among them."""

    async def work() -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n"
        chunked = OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-late: 1\r\n\r\n"
        async with answering(early + chunked) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            assert await answer.whole(10) == b"a"
            assert [name for name, _ in answer.headers] == [b"content-type", b"transfer-encoding"]
            answer.close()

    run(work())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "it closed the connection"),
        (b"HTTP/1.1 200 O", "it closed the connection"),
        (OK + b"content-length: 10\r\n\r\nabc", "it closed the connection"),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "it closed the connection"),
        (OK + b"transfer-encoding: chunked\r\n\r\nzzz\r\n", "its answer is no HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "its answer is no HTTP"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            "its answer is no HTTP",
        ),
        (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "its answer is no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 900_000 + b"\r\n\r\n",
            "its answer has more than 65,536 bytes in its head",
        ),
    ],
)
def test_answer_that_does_not_come_to_its_end_is_lost(answer: bytes, said: str) -> None:
    """Cut, garbled, switched over, framed twice or endless in its head: nobody may take it for whole."""
    assert lost(answer).startswith(said)


def test_what_came_before_the_end_is_given_first() -> None:
    """A broken stream gives its pieces, then says that it is broken."""

    async def work() -> None:
        async with answering(OK + b"content-length: 10\r\n\r\nabc") as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            assert await answer.read() == b"abc"
            with pytest.raises(Lost):
                await answer.read()
            answer.close()

    run(work())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", OK + b"content-length: 10\r\n\r\nabc"])
def test_silence_is_given_up(answer: bytes) -> None:
    """A provider that says nothing, or no more, has its time and no longer."""
    assert lost(answer, hang=True) == "it took too long"


def test_answer_that_goes_on_may_take_any_time() -> None:
    """Only silence is bounded: pieces that keep coming take longer altogether than one may."""
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK + b"content-length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.2)
            writer.write(b"a")

    async def work() -> None:
        async with serving(handler, server), pool(read_s=0.6) as client:
            assert await asked(client, server.url) == (200, b"a" * 8)

    run(work())


def test_slow_reader_slows_the_provider_down() -> None:
    """What was read and not taken is bounded, and all of it comes in the end."""
    server, sent = Server(), 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await server.request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            writer.write(b"x" * MIB)
            await writer.drain()
            sent += MIB

    async def work() -> None:
        async with serving(handler, server), pool() as client:
            answer = await client.post(server.url, {}, b"")
            await asyncio.sleep(0.5)
            assert sent < 32 * MIB
            size = 0
            while piece := await answer.read():
                assert len(piece) <= 2 * connections.BUFFER_BYTES_MAX
                size += len(piece)
            assert size == 64 * MIB
            answer.close()

    run(work())


def test_answer_that_is_too_large_is_lost() -> None:
    """A whole answer has a bound."""

    async def work() -> None:
        async with answering(OK + b"content-length: 20\r\n\r\n" + b"a" * 20) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            with pytest.raises(Lost, match="more than 19 bytes"):
                await answer.whole(19)
            answer.close()

    run(work())


@pytest.mark.parametrize("count", [1, 7])
def test_fields_of_all_heads_of_an_answer_are_bounded_together(count: int) -> None:
    """Those of heads that come before the answer too; no more of them is read than there may be."""
    early = b"HTTP/1.1 103 Early Hints\r\n" + b"a:\r\n" * (1900 // count) + b"\r\n"

    async def work() -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(connections.READ_BYTES_MAX))
        came = connections.ProviderConnection(loop, 5.0, lambda _: None, lambda _: None, buffer, Room(), LoopShare())
        came.connection_made(create_autospec(asyncio.Transport, instance=True))
        came.send(b"", b"")
        data = early * count + OK + b"content-length: 0\r\n\r\n"
        buffer[: len(data)] = data
        came.buffer_updated(len(data))
        with pytest.raises(Lost, match="256 headers"):
            await came.begun()
        assert came._fields + len(came.headers) == connections.HEADERS_MAX + 1
        came.connection_lost(None)

    run(work())


def framed(encoding: bytes, body: bytes) -> bytes:
    return OK + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding, len(body)) + body


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b"plain text", mtime=0)),
        (b"X-GZIP", gzip.compress(b"plain text", mtime=0)),
        (b"deflate", zlib.compress(b"plain text")),
        (b"gzip", gzip.compress(b"plain ", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"text", mtime=0)),
        (b"identity", b"plain text"),
    ],
)
def test_packed_answer_is_read_plain(encoding: bytes, packed: bytes) -> None:
    """Gzip of one or more members, and deflate as HTTP means it."""
    assert got(framed(encoding, packed)) == (200, b"plain text")


@pytest.mark.parametrize(
    ("encoding", "packed", "said"),
    [
        (b"gzip", gzip.compress(b"plain text", mtime=0)[:-5], "its packed answer is cut"),
        (b"gzip", b"plain text", "its packed answer cannot be unpacked"),
        (b"gzip", gzip.compress(b"plain text", mtime=0) + b"garbage", "its packed answer cannot be unpacked"),
        (b"br", b"plain text", "its answer is packed in a way that was not asked for"),
        (b"gzip, br", gzip.compress(b"plain text", mtime=0), "its answer is packed in a way that was not asked for"),
    ],
)
def test_packed_answer_that_cannot_be_read_is_lost(encoding: bytes, packed: bytes, said: str) -> None:
    """What cannot be read has no usage that anybody could believe."""
    assert lost(framed(encoding, packed)) == said


@pytest.mark.parametrize("size", [PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 40 * MIB])
def test_packed_answer_comes_in_bounded_pieces(size: int) -> None:
    """Zeros pack a thousandfold: what is unpacked at once is bounded all the same, and nothing is left out."""

    async def work() -> None:
        async with answering(framed(b"gzip", gzip.compress(bytes(size), mtime=0))) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            found = 0
            while piece := await answer.read():
                assert len(piece) <= PIECE_BYTES_MAX
                found += len(piece)
            assert found == size
            answer.close()

    run(work())


def test_answer_is_the_same_however_it_is_cut() -> None:
    """Byte by byte, as TCP may give it: the same headers and body as at once."""
    answers = (
        HI,
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-late: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        + OK
        + b"content-encoding: gzip\r\n\r\n"
        + gzip.compress(b"abc", mtime=0),
    )
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        answer = answers[(server.connections - 1) // 2]
        for byte in answer if server.connections % 2 else ():
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        writer.write(b"" if server.connections % 2 else answer)

    async def work() -> None:
        async with serving(handler, server), pool() as client:
            for _ in answers:
                found = []
                for _ in range(2):
                    answer = await client.post(server.url, {}, b"")
                    found.append((answer.status, answer.headers, await answer.whole(MIB)))
                    answer.close()
                    await asyncio.sleep(0.05)
                assert found[0] == found[1]

    run(work())


def test_turn_comes_before_unpacking_also_of_what_gives_nothing() -> None:
    """Megabytes may be packed that become no byte: each piece waits for its turn, and its work is counted."""
    nothing = b"\x00\x00\x00\xff\xff" * 100_000  # blocks with nothing in them
    head = OK + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % (len(nothing) + 2)
    turns: list[float] = []

    async def turn(answer: Answer) -> None:
        turns.append(answer.worked_s())

    async def work() -> None:
        async with answering(head + b"\x78\x9c" + nothing) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            answer.due, answer.turn = lambda size: size > 2048, turn
            with pytest.raises(Lost, match="packed"):
                await answer.read()
            answer.close()

    run(work())
    assert len(turns) >= len(nothing) // READ_BYTES_MAX // 2
    assert all(worked_s > 0 for worked_s in turns[1:])


def test_looking_for_the_key_is_counted_as_work() -> None:
    """A small piece that begins a key at every place is dear, and shows as that."""
    piece, key = b"ab" * 1000, "ab" * 50 + "c"
    mask = Mask([key])
    began = time.thread_time()
    mask.feed(piece)
    least_s = (time.thread_time() - began) / 4

    async def work() -> None:
        head = OK + b"content-length: %d\r\n\r\n" % len(piece)
        async with answering(head + piece) as server, pool() as client:
            answer = await client.post(server.url, {}, b"", Mask([key]))
            answer.worked_s()
            await answer.read()
            assert answer.worked_s() > least_s > 0.0001
            answer.close()

    run(work())


def test_answer_that_has_to_be_small_is_read_no_longer_however_it_is_framed() -> None:
    """What is packed and gives nothing counts as it comes."""
    nothing = b"\x00\x00\x00\xff\xff" * 100_000
    head = OK + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % (len(nothing) + 2)

    async def work() -> None:
        async with answering(head + b"\x78\x9c" + nothing, hang=True) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            with pytest.raises(Lost, match="longer"):
                await answer.whole(1000)
            answer.close()

    run(work())


HEADS = {"bytes": b"x: " + b"v" * 20_000 + b"\r\n", "fields": b"x: v\r\n" * 100}


@pytest.mark.parametrize("kind", HEADS)
def test_large_heads_have_a_bounded_room_together(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds none is an answer lost, small ones need none, half is left to others, and all is given back."""
    monkeypatch.setattr(pools, "HEADS_BYTES_MAX", 4 * HEAD_BYTES_MAX)
    large = OK + HEADS[kind] + b"content-length: 2\r\n\r\nhi"

    async def work() -> None:
        async with answering(*[large] * 9) as server, answering(*[HI] * 9) as small, pool() as client:
            for _ in range(2):
                one, other = [await client.post(server.url, {}, b"") for _ in range(2)]
                with pytest.raises(Lost, match="head is large"):
                    await client.post(server.url, {}, b"")
                assert await asked(client, small.url) == (200, b"hi")
                (await client.post(server.url, {}, b"", agent="another")).close()
                assert [await one.read(), await one.read()] == [b"hi", b""]
                one.close()
                other.close()  # in the middle of it
                await asyncio.sleep(0.05)
            assert await asked(client, server.url) == (200, b"hi")

    run(work())


@pytest.mark.parametrize(
    ("framed", "over"),
    [
        (b"content-length: 3\r\n\r\nabc", True),
        (b"content-length: 4\r\n\r\nabc", False),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
    ],
)
def test_answer_is_over_when_its_framing_says_so_and_it_was_read(framed: bytes, over: bool) -> None:
    """Nobody has to ask for more to find that there is nothing; what may be a key's beginning is still to come."""

    async def work() -> None:
        for mask, kept in ((None, b""), (Mask(["c" * 20]), b"c")):
            async with answering(OK + framed) as server, pool() as client:
                answer = await client.post(server.url, {}, b"", mask)
                assert not answer.over
                assert await answer.read() == b"abc".removesuffix(kept)
                assert answer.over == (over and not kept)
                answer.close()

    run(work())


def test_what_follows_an_answer_that_waits_is_not_read() -> None:
    """Nobody asked for it, and it has no end: whoever takes an answer slowly would have the loop parse all of it."""
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await server.request(reader)
        writer.write(HI)
        await asyncio.sleep(0.1)
        while sent < 64 * MIB:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" * 2000)
            await writer.drain()
            sent += 54_000

    server = Server()

    async def work() -> None:
        async with serving(handler, server), pool() as client:
            answer = await client.post(server.url, {}, b"{}")
            async with asyncio.timeout(5):
                while not server.ended:
                    await asyncio.sleep(0.01)
            assert sent < 16 * MIB
            assert await answer.read() == b"hi"
            assert await answer.read() == b""
            answer.close()

    run(work())


class _Reading(asyncio.Transport):
    """A transport that notes whether it is to read."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


def test_pieces_that_come_at_once_are_parsed_in_turns_by_agent() -> None:
    """Thousands of tiny chunks on hundreds of connections in one moment keep nobody else waiting, nor get lost."""
    head, chunk, count = OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", 1300

    async def work() -> None:
        loop = asyncio.get_running_loop()
        parsing, buffer = LoopShare(), memoryview(bytearray(connections.READ_BYTES_MAX))
        all_of_them = []
        for agent in ["evil"] * 200 + ["nice"]:
            one = connections.ProviderConnection(loop, 5.0, lambda _: None, lambda _: None, buffer, Room(), parsing)
            transport = _Reading()
            one.connection_made(transport)
            one.agent = agent
            one.send(b"", b"")
            all_of_them.append((one, transport))
        for one, _ in all_of_them:
            data = head + chunk * (1 if one.agent == "nice" else count)
            buffer[: len(data)] = data
            one.buffer_updated(len(data))
        (first, _), (last, kept_back) = all_of_them[0], all_of_them[-1]
        assert await first.read() == b"a" * count
        assert (last._begun, kept_back.told) == (False, ["pause"])
        assert await last.read() == b"a"
        assert kept_back.told == ["pause", "resume"]
        assert sum(one._begun for one, _ in all_of_them) < 100
        for one, _ in all_of_them[1:-1]:
            assert await one.read() == b"a" * count
        for one, _ in all_of_them:
            one.connection_lost(None)

    run(work())


def test_piece_that_waits_is_parsed_when_the_connection_ends() -> None:
    """What came before the end is the answer's, however busy the loop was."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        parsing, buffer = LoopShare(), memoryview(bytearray(connections.READ_BYTES_MAX))
        one = connections.ProviderConnection(loop, 5.0, lambda _: None, lambda _: None, buffer, Room(), parsing)
        one.connection_made(create_autospec(asyncio.Transport, instance=True))
        one.send(b"", b"")
        parsing.took(1.0)
        buffer[: len(HI)] = HI
        one.buffer_updated(len(HI))
        assert not one._begun
        one.connection_lost(None)
        assert [await one.read(), await one.read()] == [b"hi", b""]

    run(work())
