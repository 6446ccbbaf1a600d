"""The admin listener, for people and tools, never on the agents' port: `/healthz`, `/readyz` and `/metrics` without a
token, and the API behind one.

It reads what it is given and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import Counter, Histogram
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from reconciler.core.errors import LogNotWritable, PaiError
from reconciler.core.health import Health
from reconciler.core.pass_result import Result
from reconciler.core.standing import Standing, standing
from reconciler.core.state import State
from reconciler.recorder import Recorder

FETCH_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PASS_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What the daemon counts, and the gauges that are read off the state when somebody asks."""

    def __init__(
        self,
        recorder: Recorder,
        health: Callable[[], Health],
        day: Callable[[], str],
        foreign: Callable[[], str] = lambda: "",
    ) -> None:
        """`day` gives the trusted day, which has begun also where nothing was asked for yet.

        `foreign` says what on the refs of the checkpoints is not this log's, "" if nothing is.
        """
        self._recorder = recorder
        self._day = day
        self._health = health
        self._foreign = foreign
        self._figures = [0.0] * len(_OF_STATE)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._passes = Histogram(
            "pai_reconcile_duration_seconds",
            "Time of a reconciling pass, from looking at the tip to durable",
            buckets=PASS_BUCKETS_S,
            registry=self.registry,
        )
        self._commits = Counter(
            "pai_revisions", "Commits that were given an outcome", ["tip_outcome"], registry=self.registry
        )

        self._fetches = Histogram(
            "pai_source_fetch_duration_seconds",
            "Time of a fetch from the remote, by how it went",
            ["outcome"],
            buckets=FETCH_BUCKETS_S,
            registry=self.registry,
        )

    def fetched(self, duration_s: float, error: PaiError | None) -> None:
        """Count a fetch from the remote that has ended."""
        self._fetches.labels("failed" if error else "good").observe(duration_s)

    def observe(self, result: Result, duration_s: float) -> None:
        """Count a finished pass."""
        if result.commits:
            self._passes.observe(duration_s)
            self._commits.labels(str(result.outcome)).inc(result.commits)

    def collect(self) -> Iterator[Metric]:
        """Give the gauges; called by the registry at every scrape."""
        yield from self._budgets()
        health, writable = self._health(), self._recorder.status().writable
        with contextlib.suppress(LogNotWritable):  # then the gauges keep their last values
            self._figures = self._recorder.read(lambda state: [float(figure(state)) for _, _, figure in _OF_STATE])
        others = bool(self._foreign())
        for name, text, value in (
            ("pai_ready", "1 if the daemon is ready", health.ready),
            ("pai_log_writable", "1 if the log takes commits", writable),
            *((name, text, value) for (name, text, _), value in zip(_OF_STATE, self._figures, strict=True)),
            ("pai_checkpoints_foreign", "1 while the checkpoints' refs have what is not this log's", others),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        yield from _source(health)

    def _budgets(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("pai_budget_used_tokens", "Tokens settled and forfeited today", labels=["model"])
        reserved = GaugeMetricFamily("pai_budget_reserved_tokens", "Tokens of open reservations", labels=["model"])
        limit = GaugeMetricFamily("pai_budget_limit_tokens", "maxTokensPerDay in force", labels=["model"])
        with contextlib.suppress(LogNotWritable):
            day = self._day()
            for name, stands in self._recorder.read(lambda state: _budgets(state, day)):
                used.add_metric([name], stands.account.used)
                reserved.add_metric([name], stands.account.reserved)
                if stands.limit is not None:
                    limit.add_metric([name], stands.limit)
        yield from (used, reserved, limit)


def _source(health: Health) -> Iterator[Metric]:
    """Give how following a remote goes; nothing for a repository on this machine."""
    if health.source is None:
        return
    up = 0.0 if health.source.problem or not health.source.fetched else 1.0
    yield GaugeMetricFamily("pai_source_up", "1 while the remote can be fetched", value=up)
    if health.source.fetched:
        yield GaugeMetricFamily(
            "pai_source_last_fetch_timestamp_seconds",
            "When the remote was last fetched, in seconds since 1970",
            value=datetime.fromisoformat(health.source.fetched).timestamp(),
        )


def _budgets(state: State, day: str) -> list[tuple[str, Standing]]:
    """Say how each binding in force stands that has a limit or was used."""
    found = [(name, standing(state, name, day)) for name in state.models]
    return [(name, stands) for name, stands in found if stands.limit is not None or name in state.ledger.accounts]


def _head_refused(state: State) -> bool:
    return state.head is not None and state.head.outcome == "rejected"


_OF_STATE: Final[tuple[tuple[str, str, Callable[[State], float]], ...]] = (
    ("pai_log_events", "Events on the log", lambda state: state.position),
    ("pai_model_bindings", "ModelBindings in force", lambda state: len(state.models)),
    ("pai_agent_workloads", "AgentWorkloads in force", lambda state: len(state.agents)),
    ("pai_head_refused", "1 while the branch's tip is refused and an older revision in force", _head_refused),
    ("pai_revision_pinned", "1 while an operator has a revision pinned", lambda state: state.pin is not None),
    (
        "pai_reconciling_suspended",
        "1 while an operator has the reconciling suspended",
        lambda state: state.suspension is not None,
    ),
)
"""The gauges that the state alone tells."""


foreign = JSONResponse(
    {"error": "this listener does not answer for that host", "hint": "set admin.hosts in pai.toml to its names"},
    421,
    {"Cache-Control": "no-store"},
)
"""Answers a request under a name that is not ours, whatever it asks for."""


TEXTS_MAX: Final = 4
"""So many texts are held by answers that are not taken; whoever asks meanwhile is given the last one."""
UNDER_WAY_MAX: Final = 4
"""So many answers are sent at a time."""
PLACE_S: Final = 0.05
"""So long one counts as being sent if its client does not take it: who reads nothing keeps nobody out."""
WAITING_MAX: Final = 100
_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class _Text:
    """A text, and how many answers hold it."""

    __slots__ = ("answers", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answers = 0


class _Scrapes:
    """Answers with the text of all metrics.

    One is made for all who ask meanwhile, in no more than a third of the time; it may be large, and is not copied.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._next: asyncio.Task[_Text] | None = None
        self._turn = asyncio.Lock()
        self._free = 0.0
        self._last = _Text(b"")
        self._held = self._waiting = 0
        self._places = asyncio.Semaphore(UNDER_WAY_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        text = await self.text()
        if self._waiting >= WAITING_MAX:
            crowd = PlainTextResponse("too many ask for the metrics; try again later\n", 503, {"Retry-After": "1"})
            await crowd(scope, receive, send)
            return
        self._held += not text.answers
        text.answers += 1
        self._waiting += 1
        try:
            async with self._places:
                self._waiting -= 1
                sending = asyncio.get_running_loop().create_task(_send(text.data, send))
                await asyncio.wait({sending}, timeout=PLACE_S)
            await sending
        finally:
            text.answers -= 1
            self._held -= not text.answers

    async def text(self) -> _Text:
        """Give one that was begun after this call, or the last one while too many are held."""
        if self._held >= TEXTS_MAX:
            return self._last
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._made())
        return await asyncio.shield(self._next)

    async def _made(self) -> _Text:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._free - monotonic()))
            self._next = None
            began = monotonic()
            self._last = _Text(await run_in_threadpool(generate_latest, self._metrics.registry))
            self._free = monotonic() + 2 * (monotonic() - began)
            return self._last


async def _send(text: bytes, send: Send) -> None:
    """Send a text, and return when it was taken: a next piece is waited with until then."""
    headers = [(b"content-type", _TYPE), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def admin_app(
    health: Callable[[], Health], metrics: Metrics, hide: Callable[[str], str], api: Sequence[BaseRoute] = ()
) -> Starlette:
    """Build the ASGI application of the admin listener; `api` are the routes behind the token.

    `hide` takes out of a message where files lie on this machine.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        now = await run_in_threadpool(health)
        told: dict[str, object] = {"ready": now.ready, "reasons": list(map(hide, now.reasons))}
        if now.source is not None:
            told["source"] = msgspec.to_builtins(msgspec.structs.replace(now.source, problem=hide(now.source.problem)))
        return JSONResponse(told, 200 if now.ready else 503)

    open_routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", _Scrapes(metrics), methods=["GET"]),
    ]
    return Starlette(routes=[*open_routes, *api])
