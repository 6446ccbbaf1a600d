"""How the client of the providers makes, keeps and gives up connections, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from unittest.mock import create_autospec

import pytest
from aiohappyeyeballs import AddrInfoType

from reconciler.gateway import upstream as pools
from reconciler.gateway.connection import REST_S, ProviderConnection
from reconciler.gateway.upstream import Unsent, Upstream
from tests.support_upstream import HI, MIB, OK, RawProvider, Server, answering, asked, pool, run, serving


def test_connection_is_used_again() -> None:
    """After a whole answer, one after the other; at once, one connection each."""

    async def work() -> None:
        async with answering(*[HI] * 10, hang=True) as server, pool() as client:
            for _ in range(5):
                assert await asked(client, server.url) == (200, b"hi")
            assert server.connections == 1
            await asyncio.gather(*(asked(client, server.url) for _ in range(3)))
            assert server.connections == 3

    run(work())


def test_connection_asks_whether_a_silent_provider_is_still_there() -> None:
    """Models think for minutes, and routers forget connections: TCP keeps them alive, and sends at once."""

    async def work() -> None:
        async with answering(HI, hang=True) as server, pool() as client:
            await asked(client, server.url)
            (connection,) = client._open
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == pools.KEEP_AWAKE_S

    run(work())


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 2\r\nconnection: close\r\n\r\nhi",
        HI + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        HI + b"\0garbage",
        HI + b"HTTP/1.1 200 OK\r\nx-half: ",
    ],
)
def test_nothing_of_one_answer_gets_into_the_next(answer: bytes) -> None:
    """More than was asked for, or a connection that is to end: the next request has a new one, and its own answer."""

    async def work() -> None:
        async with answering(answer, OK + b"content-length: 4\r\n\r\nevil", hang=True) as server, pool() as client:
            for number in range(1, 4):
                assert await asked(client, server.url) == (200, b"hi")
                assert server.connections == number

    run(work())


def test_bytes_that_come_unasked_end_the_connection() -> None:
    """What a provider sends between two requests answers none of them."""
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.request(reader):
            writer.write(HI)
            await asyncio.sleep(0.05)
            writer.write(OK + b"content-length: 4\r\n\r\nevil")

    async def work() -> None:
        async with serving(handler, server), pool() as client:
            for number in range(1, 4):
                assert await asked(client, server.url) == (200, b"hi")
                await asyncio.sleep(0.2)
                assert (server.connections, server.ended) == (number, number)

    run(work())


def test_answer_that_waits_unasked_is_not_taken_for_the_next_one() -> None:
    """A provider answers twice, and the second answer is there, unread, when the next request is made."""
    provider = RawProvider()

    def answer(sock: socket.socket, request: bytes) -> bool:
        word = request[-1:]
        sock.sendall(OK + b"content-length: 1\r\n\r\n" + word)
        time.sleep(0.02)
        sock.sendall(OK + b"content-length: 1\r\n\r\n" + word)
        return True

    async def work() -> None:
        provider.answer = answer
        async with pool() as client:
            for word in (b"a", b"b", b"c"):
                assert await asked(client, provider.origin, word) == (200, word)
                time.sleep(0.1)  # nothing is read meanwhile

    run(work())
    provider.close()


def test_connections_of_a_provider_that_speaks_unasked_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer too many may as well come when the next request was sent: each has a connection of its own, for a time.

    Those of other providers are kept.
    """
    monkeypatch.setattr(pools, "DISTRUST_S", 0.5)
    second = iter([b"HTTP/1.1 408 Request Timeout\r\n\r\n", *[b""] * 9])
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.request(reader):
            writer.write(HI)
            await asyncio.sleep(0.05)
            writer.write(next(second))

    async def work() -> None:
        async with serving(handler, server), answering(*[HI] * 9, hang=True) as other, pool() as client:
            await asked(client, server.url)
            await asyncio.sleep(0.1)
            for number in range(2, 5):
                await asked(client, server.url)
                await asked(client, other.url)
                assert (server.connections, other.connections) == (number, 1)
            await asyncio.sleep(0.6)
            await asked(client, server.url)
            await asked(client, server.url)
            assert server.connections == 5

    run(work())


def test_answer_that_is_not_read_to_its_end_costs_its_connection() -> None:
    """Whoever closes early drops the connection: its rest would stand before the next answer."""

    async def work() -> None:
        async with answering(OK + b"content-length: 9\r\n\r\nhi", hang=True) as server, pool() as client:
            answer = await client.post(server.url, {}, b"")
            assert await answer.read() == b"hi"
            answer.close()
            answer.close()
            await asyncio.sleep(0.1)
            assert (server.connections, server.ended) == (1, 1)

    run(work())


def test_request_that_is_cancelled_drops_its_connection() -> None:
    """A task that ends while it waits leaves no connection that could bring its answer to somebody else."""

    async def work() -> None:
        async with answering(b"", hang=True) as server, pool() as client:
            task = asyncio.create_task(client.post(server.url, {}, b""))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.1)
            assert (server.connections, server.ended) == (1, 1)

    run(work())


def test_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept for a while, and no longer; one that the provider closed meanwhile is not used either."""
    monkeypatch.setattr(pools, "KEEP_ALIVE_S", 0.3)

    async def work() -> None:
        async with answering(HI, HI, hang=True) as server, pool() as client:
            await asked(client, server.url)
            await asyncio.sleep(0.1)
            await asked(client, server.url)
            assert server.connections == 1
            await asyncio.sleep(1)
            assert server.ended == 1
        async with answering(HI) as server, pool() as client:
            for number in range(1, 4):
                assert await asked(client, server.url) == (200, b"hi")
                await asyncio.sleep(0.1)
                assert server.connections == number

    run(work())


def test_answer_that_comes_before_the_whole_request_is_heard() -> None:
    """A provider that refuses a large body half way is understood, and its connection not used again."""
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\n\r\ntoo large")
        await writer.drain()
        await asyncio.sleep(0.3)

    async def work() -> None:
        async with serving(handler, server), pool() as client:
            for number in range(1, 3):
                assert await asked(client, server.url, b"x" * 32 * MIB) == (413, b"too large")
                assert server.connections == number

    run(work())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most there may be requests wait; a connection that is only kept gives way."""
    monkeypatch.setattr(pools, "CONNECTIONS_MAX", 2)

    async def work() -> None:
        async with answering(*[HI] * 9, hang=True) as one, answering(*[HI] * 9, hang=True) as other, pool() as client:
            await asyncio.gather(*(asked(client, one.url) for _ in range(8)))
            assert one.most == 2
            await asked(client, one.url)
            assert one.connections - one.ended == 1
            await asyncio.gather(*(asked(client, other.url) for _ in range(8)))
            assert other.most == 2

    run(work())


def test_provider_that_answers_nobody_takes_no_connection_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to one that hangs wait for its own; another one's are sent at once, and its connections kept."""
    monkeypatch.setattr(pools, "CONNECTIONS_MAX", 4)

    async def work() -> None:
        async with answering(b"", hang=True) as hanging, answering(*[HI] * 9, hang=True) as other, pool() as client:
            waiting = [asyncio.create_task(asked(client, hanging.url)) for _ in range(20)]
            await asyncio.sleep(0.2)
            assert hanging.connections == 4
            for _ in range(5):
                assert await asyncio.wait_for(asked(client, other.url), 2) == (200, b"hi")
                waiting.append(asyncio.create_task(asked(client, hanging.url)))
                await asyncio.sleep(0.05)
            assert other.connections == 1
            for task in waiting:
                task.cancel()

    run(work())


def test_rest_of_an_answer_gives_way_to_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that does not end what has said its last word keeps no connection from others, not for seconds."""
    monkeypatch.setattr(pools, "CONNECTIONS_MAX", 2)
    endless = OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"

    async def said_all(client: Upstream, url: str) -> None:
        answer = await client.post(url, {}, b"")
        assert await answer.read() == b"hi"
        answer.close(said_all=True)

    async def work() -> None:
        async with answering(endless, hang=True) as one, answering(HI, hang=True) as other, pool() as client:
            await said_all(client, one.url)
            await said_all(client, one.url)
            async with asyncio.timeout(REST_S / 2):
                await asked(client, other.url)
            waited = asyncio.gather(*(said_all(client, one.url) for _ in range(6)))  # some leave while others wait
            async with asyncio.timeout(REST_S / 2):
                await waited

    run(work())


def test_thousands_of_kept_connections_that_end_together_hold_nobody_up() -> None:
    """A provider may close all of them at once: each is forgotten without a look at the others."""

    def longest(count: int) -> float:
        client = pool()
        origin = pools._Origin(False, "localhost", 1)
        kept = [ProviderConnection.__new__(ProviderConnection) for _ in range(count)]
        client._loop = create_autospec(asyncio.AbstractEventLoop, instance=True)
        client._loop.time = lambda: 1.0  # type: ignore[method-assign]
        for connection in kept:
            client._open[connection] = origin
            client.take_back(connection)
        began = time.process_time()
        for connection in kept:
            client._lost(connection)
        assert not client._open
        return time.process_time() - began

    assert longest(4000) < 24 * longest(500) + 0.001


def unsent(url: str, connect_s: float = 5) -> str:
    said = []

    async def work() -> None:
        async with pool(connect_s) as client:
            with pytest.raises(Unsent) as caught:
                await client.post(url, {}, b"{}")
            said.append(str(caught.value))

    run(work())
    return said[0]


def test_provider_that_is_not_there_saw_nothing() -> None:
    """Nobody listens, no such name, nobody answers in time: said without an address."""

    async def free() -> None:
        async with answering(HI) as server:
            urls.append(server.url)

    urls: list[str] = []
    run(free())
    assert unsent(urls[0]) == "it cannot be reached: Connection refused"
    assert unsent("http://no-such-name.invalid/v1").startswith("it cannot be reached: ")


def test_failed_look_up_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that could not be found a moment ago may be found now."""

    async def work() -> None:
        async with answering(HI) as server, pool() as client:
            loop, asked_for = asyncio.get_running_loop(), []
            port = int(server.url.split(":")[2].split("/")[0])
            real = client._look_up

            async def look_up(origin: pools._Origin) -> list[AddrInfoType]:
                asked_for.append(loop.time())
                if len(asked_for) == 1:
                    raise OSError(5, "the resolver is down")
                return await real(origin._replace(host="127.0.0.1"))

            monkeypatch.setattr(client, "_look_up", look_up)
            with pytest.raises(Unsent):
                await client.post(f"http://provider.example:{port}/", {}, b"")
            await asyncio.gather(*(asked(client, f"http://provider.example:{port}/") for _ in range(5)))
            assert len(asked_for) == 2

    run(work())


def test_provider_that_does_not_finish_its_greeting_is_given_up() -> None:
    """The handshake of TLS is part of reaching a provider, and has its time."""

    async def work() -> None:
        server = Server()

        async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with serving(handler, server), pool(connect_s=0.3) as client:
            with pytest.raises(Unsent, match="it took too long"):
                await client.post(server.url.replace("http:", "https:"), {}, b"")

    run(work())
