"""The gateway put together: everything between the agents' socket and the recorder, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from reconciler.core.errors import LogNotWritable
from reconciler.core.reservations import forfeit_open
from reconciler.gateway.admission import Admission
from reconciler.gateway.app import Gateway, Ready
from reconciler.gateway.body_pool import BodyPool
from reconciler.gateway.books import Books
from reconciler.gateway.bridge import Bridge
from reconciler.gateway.client import named
from reconciler.gateway.day import Days
from reconciler.gateway.exchange import Exchange
from reconciler.gateway.ids import RequestIds
from reconciler.gateway.metrics import GatewayMetrics
from reconciler.gateway.open_requests import OpenRequests
from reconciler.gateway.recorded_refusals import Refusals
from reconciler.gateway.refusal_lines import RefusalLines
from reconciler.gateway.request import GatewayParts
from reconciler.gateway.room import Room
from reconciler.gateway.routing import Routing
from reconciler.gateway.surfaces import SURFACES
from reconciler.gateway.upstream import CONNECTIONS_MAX, Upstream
from reconciler.listening import Door, DoorLimits, Hosts, Listener, Network, Proxies
from reconciler.providers import PROVIDERS
from reconciler.recorder import Recorder
from reconciler.secrets.reader import SecretReader, Secrets

NODE = ""
"""The name of the node, where the log has this one alone."""
LAG_EVERY_S = 0.5
LOG_EVERY_S = 1.0
HEADS_BYTES_ALL, HEADS_BYTES_EACH = 64 * 1024 * 1024, 8 * 1024 * 1024
"""Of large heads of requests that are open, for all agents and for one, beyond its first ones: in memory each is there
two or three times."""


class Options(NamedTuple):
    """What the gateway is told: providers' base URLs by name, a default output limit, further Host names, deadlines.

    `connect_s` and `read_s` are those of the providers, `left_s` is for an answer whose client has left, `limits` are
    those of the clients; `proxies` are trusted.
    """

    origins: Mapping[str, str]
    default_output: int
    hosts: tuple[str, ...]
    connect_s: float
    read_s: float
    left_s: float
    limits: DoorLimits
    proxies: tuple[Network, ...] = ()
    node: str = ""


class Service:
    """Serves agents. `secrets` gives the providers' keys, `health` says whether the whole is ready."""

    def __init__(
        self,
        recorder: Recorder,
        secrets: Secrets,
        options: Options,
        days: Days,
        registry: CollectorRegistry,
        health: Callable[[], Ready],
    ) -> None:
        self._recorder = recorder
        self._secrets = secrets
        self._options = options
        self._days = days
        self._metrics = GatewayMetrics(registry)
        self._health = health

    async def run(self, listening: socket.socket, stopping: asyncio.Event) -> None:
        """Answer on `listening` until `stopping` is set and what is open has ended.

        What an earlier process left reserved is forfeited first; while the log is held, its acceptance does that.
        """
        if not self._recorder.status().held:
            self._recorder.record(lambda state: forfeit_open(state, "the daemon was restarted", NODE))
        async with Upstream(self._options.connect_s, self._options.read_s) as upstream:
            parts = self._parts(upstream)
            parts.judging.start()
            door = self._door(parts)
            listener = Listener(door, listening)
            parts.open_requests.most = max(1, min(door.connections_max, CONNECTIONS_MAX) // 2)
            watching = [asyncio.create_task(self._watch_lag()), asyncio.create_task(self._watch_log())]
            serving = asyncio.create_task(listener.run())
            try:
                await asyncio.wait(
                    (serving, waiting := asyncio.create_task(stopping.wait())), return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                listener.stop()
                await serving
            finally:
                for task in watching:
                    task.cancel()
                parts.judging.close()
                parts.refusals.flush()
                parts.lines.flush()
                await parts.books.close()

    def _parts(self, upstream: Upstream) -> GatewayParts:
        options = self._options
        providers = {name: each._replace(origin=options.origins[name]) for name, each in PROVIDERS.items()}
        books = Books(self._recorder, Bridge(), self._days.today, self._metrics.commits.observe, NODE)
        secrets = SecretReader(self._secrets)
        return GatewayParts(
            routing=Routing(SURFACES),
            books=books,
            admission=Admission(books, upstream, secrets, providers, SURFACES, options.default_output),
            judging=BodyPool(),
            exchange=Exchange(books, upstream, self._metrics, options.left_s),
            refusals=Refusals(self._recorder),
            metrics=self._metrics,
            lines=RefusalLines(),
            open_requests=OpenRequests(CONNECTIONS_MAX // 2),
            ids=RequestIds(),
            room=Room(),
            heads=Room(HEADS_BYTES_ALL, HEADS_BYTES_EACH),
            node=options.node.encode("ascii", "replace"),
        )

    def _door(self, parts: GatewayParts) -> Door:
        """Give the agents' door; also an answer that no application gives names its request."""
        app = Gateway(parts, self._health)
        options = self._options
        return Door(
            app,
            app.foreign,
            Hosts(options.hosts),
            Proxies(options.proxies),
            options.limits,
            lambda: named(parts.ids.next().encode()),
        )

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_EVERY_S)
            self._metrics.lag.set(max(0.0, loop.time() - before - LAG_EVERY_S))

    async def _watch_log(self) -> None:
        """Open a log that failed again once it takes events: while no request can be read, none asks for it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOG_EVERY_S)
            if not self._recorder.status().writable:
                with contextlib.suppress(LogNotWritable):
                    await loop.run_in_executor(None, self._recorder.probe)
