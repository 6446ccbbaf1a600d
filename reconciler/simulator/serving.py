"""The simulated providers as servers on loopback, each with a port of its own, on one thread with its own loop.

Invariants: after `start` every origin answers; after `stop` no port is bound, no connection open, no thread left.
What a caller's thread reads is a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Collection, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from reconciler.simulator.app import ProviderApp, SimulatorState
from reconciler.simulator.books import Charged, SeenRequest, SimulatedAccount
from reconciler.simulator.faults import Fault
from reconciler.simulator.replying import WIRE
from reconciler.simulator.shapes import PROVIDERS, TEXT, Provider, SimulatorSettings

HOST = "127.0.0.1"
BACKLOG = 2048
KEEP_ALIVE_S = 300
STOP_S = 5.0
"""How long requests may take to notice that their connection was closed at the end."""


class _Wire(HttpToolsProtocol):
    """One connection, which an application finds in its scope's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {WIRE: transport}


class Simulator:
    """The four providers, running while the context is entered.

    `keys` are the credentials that a provider accepts (None, and a provider not named: any). `port_base` asks for four
    ports in a row instead of free ones. The other arguments are those of Settings, which tells what they mean.
    """

    def __init__(
        self,
        *,
        keys: Mapping[Provider, Collection[str]] | None = None,
        port_base: int | None = None,
        reply_tokens: int = 30,
        reasoning_tokens: int = 12,
        chunks: int = 20,
        latency_s: float = 0.0,
        delay_s: float = 0.0,
        text: str = TEXT,
    ) -> None:
        settings = SimulatorSettings(
            keys=None if keys is None else {name: frozenset(values) for name, values in keys.items()},
            reply_tokens=reply_tokens,
            reasoning_tokens=reasoning_tokens,
            chunks=chunks,
            latency_s=latency_s,
            delay_s=delay_s,
            text=text,
        )
        self._state = SimulatorState(settings)
        self._ports = {name: port_base + place if port_base else 0 for place, name in enumerate(PROVIDERS)}
        self._configs = {name: _config(ProviderApp(name, self._state)) for name in PROVIDERS}
        self._server_state = ServerState()
        self._servers: dict[Provider, asyncio.Server] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread and listen on all ports. Raises OSError if a port is taken."""
        assert self._thread is None, "it runs already"
        factory = self._configs["openai"].get_loop_factory() or asyncio.new_event_loop
        self._loop = factory()
        self._thread = threading.Thread(target=self._run, name="pai-simulator", daemon=True)
        self._thread.start()
        try:
            for provider in PROVIDERS:
                self.up(provider)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all ports and connections and end the thread. Safe to call twice."""
        if self._loop is None or self._thread is None:
            return
        for provider in PROVIDERS:
            self.down(provider)
        self._call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def up(self, provider: Provider) -> None:
        """Listen on the provider's port, on the same one as before."""
        if provider not in self._servers:
            self._call(self._listen(provider))

    def down(self, provider: Provider) -> None:
        """Stop listening: connections are refused, and those that are open are cut."""
        server = self._servers.pop(provider, None)
        if server is not None:
            self._call(self._close(provider, server))

    @contextlib.contextmanager
    def unreachable(self, provider: Provider) -> Iterator[None]:
        """Have the provider refuse connections meanwhile."""
        self.down(provider)
        try:
            yield
        finally:
            self.up(provider)

    def origin(self, provider: Provider) -> str:
        """Give the provider's origin, as `http://127.0.0.1:PORT`."""
        return f"http://{HOST}:{self._ports[provider]}"

    @property
    def environment(self) -> dict[str, str]:
        """Give the variables that point a gateway to these providers."""
        return {f"PAI_PROVIDERS_{name.upper()}_BASE_URL": self.origin(name) for name in PROVIDERS}

    @property
    def charged(self) -> dict[SimulatedAccount, Charged]:
        """What each (provider, model, credential) was really charged."""
        return self._state.books.charged()

    def total(self, provider: Provider | None = None, model: str | None = None) -> Charged:
        """Give the sum of what was charged, of one provider or model or of all."""
        total = Charged()
        for account, charged in self.charged.items():
            if provider in (None, account.provider) and model in (None, account.model):
                total = total.plus(charged)
        return total

    def requests(self) -> list[SeenRequest]:
        """Give the last requests as they came, oldest first."""
        return self._state.books.requests()

    def fault(self, *faults: Fault) -> None:
        """Queue faults for the next requests."""
        self._state.faults.add(faults)

    def pending(self) -> list[Fault]:
        """Give the faults that wait for a request."""
        return self._state.faults.waiting()

    def clear(self) -> None:
        """Forget the faults that wait."""
        self._state.faults.clear()

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, provider: Provider) -> None:
        config = self._configs[provider]
        loop = asyncio.get_running_loop()
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((HOST, self._ports[provider]))
            self._ports[provider] = bound.getsockname()[1]
            self._servers[provider] = await loop.create_server(
                lambda: _Wire(config, self._server_state, {}, loop), sock=bound, backlog=BACKLOG
            )
        except BaseException:
            bound.close()
            raise

    async def _close(self, provider: Provider, server: asyncio.Server) -> None:
        server.close()
        for connection in list(self._server_state.connections):
            transport = connection.transport
            if transport.get_extra_info("sockname")[1] == self._ports[provider]:
                transport.abort()

    async def _drain(self) -> None:
        """Wait for the requests whose connections were cut; they end by themselves."""
        if self._server_state.tasks:
            await asyncio.wait(self._server_state.tasks, timeout=STOP_S)
        await asyncio.sleep(0)


def _config(app: ProviderApp) -> uvicorn.Config:
    """Give a configuration that touches nobody's logging and adds nothing to an answer."""
    config = uvicorn.Config(
        app,
        http=_Wire,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    return config
