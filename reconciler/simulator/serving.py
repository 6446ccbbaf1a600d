"""The simulated providers as servers on loopback, each with a port of its own, on one thread with its own loop.

Invariants: after `start` every origin answers; after `stop` no port is bound, no connection open, no thread left.
What a caller's thread reads is a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from reconciler.simulator.app import ProviderApp
from reconciler.simulator.books import Charged, SeenRequest, SimulatedAccount, SimulatorState
from reconciler.simulator.faults import Fault
from reconciler.simulator.replying import WIRE
from reconciler.simulator.shapes import PROVIDERS, Provider, SimulatorSettings

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

    `port_base` asks for four ports in a row instead of free ones. The other arguments are those of SimulatorSettings.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(self, *, port_base: int | None = None, **settings: Any) -> None:
        self._state = SimulatorState(SimulatorSettings(**settings))
        self._ports = {name: port_base + place if port_base else 0 for place, name in enumerate(PROVIDERS)}
        self._configs = {name: _config(ProviderApp(name, self._state)) for name in PROVIDERS}
        self._server_state = ServerState()
        self._servers: dict[Provider, asyncio.Server] = {}
        self._thread: threading.Thread | None = None
        self.pending = self._state.faults.waiting
        self.clear = self._state.faults.clear

    def __enter__(self) -> Self:
        """Start the thread and listen on all ports. Raises OSError if a port is taken."""
        self._loop = (self._configs["openai"].get_loop_factory() or asyncio.new_event_loop)()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pai-simulator", daemon=True)
        self._thread.start()
        try:
            for provider in PROVIDERS:
                self.up(provider)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close all ports and connections and end the thread. Safe to call twice."""
        if self._thread is None:
            return
        for provider in PROVIDERS:
            self.down(provider)
        self._call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = None

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
        return dict(self._state.charged)

    def total(self, provider: Provider | None = None, model: str | None = None) -> Charged:
        """Give the sum of what was charged, of one provider or model or of all."""
        total = Charged()
        for account, charged in self.charged.items():
            if provider in (None, account.provider) and model in (None, account.model):
                total = total.plus(charged)
        return total

    def requests(self) -> list[SeenRequest]:
        """Give the last requests as they came, oldest first."""
        return list(self._state.seen.copy())

    def fault(self, *faults: Fault) -> None:
        """Queue faults for the next requests."""
        self._state.faults.add(faults)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, provider: Provider) -> None:
        config = self._configs[provider]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Wire(config, self._server_state, {}, loop), HOST, self._ports[provider], backlog=BACKLOG
        )
        self._servers[provider] = server
        self._ports[provider] = server.sockets[0].getsockname()[1]

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
