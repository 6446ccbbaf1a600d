"""The daemon: opens the workspace, watches, reconciles, serves agents; ends in order on SIGTERM.

Order of starting: the log's lock (a second daemon ends here), the comparison with published checkpoints, both ports,
`daemon.started`, the control socket, the loop, the attesting thread, the watch, the gateway. Ending goes the other way
round, records `daemon.stopped` and vouches for it. With a log that was rolled back nothing is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop

from reconciler import __version__, quick
from reconciler.admin.api import Api
from reconciler.admin.app import Metrics, admin_app, foreign
from reconciler.admin.git.smart_http import SmartHttp
from reconciler.admin.webhooks import Webhooks
from reconciler.control.server import Asked, Server
from reconciler.core import events as ev
from reconciler.core.errors import CouldNotRun, LogBusy, LogNotWritable, PaiError, SourceUnavailable
from reconciler.core.health import Health
from reconciler.core.keys import digest
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.core.state import Head
from reconciler.core.steering import standing_orders
from reconciler.daemon import log_lines
from reconciler.daemon.checkpointing import Attester
from reconciler.daemon.hidden_settings import hidden_from_the_hook
from reconciler.daemon.loop import ReconcileLoop
from reconciler.daemon.polling import Poll
from reconciler.daemon.readiness_lines import ReadinessLines
from reconciler.daemon.worker import Worker
from reconciler.gateway.app import Ready
from reconciler.gateway.day import Days
from reconciler.gateway.service import Options, Service
from reconciler.listening import Door, DoorLimits, Hosts, Listener, Pace, Proxies
from reconciler.operations.asking import ask_daemon
from reconciler.operations.first_token import issue_first, token_in_force
from reconciler.operations.handlers import Operations
from reconciler.operations.health import judge_health, unreachable
from reconciler.operations.hook_verbs import JudgePush
from reconciler.operations.orders import Ping
from reconciler.operations.parts import Parts
from reconciler.operations.pushers import Pushes
from reconciler.operations.remote_settings import moment
from reconciler.operations.session import at_keyboard
from reconciler.secrets.backends import OfBindings
from reconciler.secrets.reader import SecretReader
from reconciler.source.watch import Watch
from reconciler.workspace import Address, Workspace
from reconciler.workspace.other_secrets import others

if TYPE_CHECKING:
    from reconciler.daemon.commit_statuses import Reporter

log = logging.getLogger("pai.daemon")

COMMAND_S = 10.0
"""How long a start waits for a command that holds the log."""
ADMIN_DRAIN_S = 5.0
"""How long open requests of people may take to end when the daemon stops."""
ADMIN_STRANGERS: Final = Pace(a_second=500, waiting=1000)
"""People, forges and probes are fewer than agents, and the loop is the same: a crowd at both ports adds up."""
TELL_S: Final = 1.0
"""How often it is looked whether a line about readiness is due."""
FILES: Final = 32 * 1024
"""More than both ports and all upstreams together may have open, in 256 KiB."""


class Daemon:
    """The running parts. `run` blocks until a signal asks to stop, and returns when everything is down."""

    def __init__(
        self, workspace: Workspace, parts: Parts, admin: socket.socket, agents: socket.socket, token: str
    ) -> None:
        self._workspace = workspace
        self._parts = parts
        self._admin = admin
        self._token = digest(token)
        self._agents = agents
        self._days = Days()
        self._metrics = Metrics(parts.recorder, self.health, self._days.today, lambda: parts.warning)
        self._loop = ReconcileLoop(parts.reconciler, parts.recorder.probe, self._observe)
        self._poll = self._follower()
        self._pushes = Pushes()
        addresses = _addresses(workspace, admin, agents)
        self._operations = Operations(parts, self._look, self._status, addresses, self._pushes, self._days.today)
        self._attester = Attester(parts)
        self._reporter = _reporter(workspace, parts)
        if self._reporter is not None:
            self._metrics.registry.register(self._reporter)
        self._had_state = parts.recorder.read(lambda state: state.head is not None)
        self._known: tuple[str, Head | None, list[str]] = ("", None, [])
        self._lines = ReadinessLines()
        self._subject = f"daemon/{_node(workspace)}"
        self._gateway = Service(
            parts.recorder,
            OfBindings(parts.backends, others(workspace.settings)),
            _options(workspace),
            self._days,
            self._metrics.registry,
            self._ready,
        )

    def health(self) -> Health:
        """Say how things stand now."""
        recorder, loop = self._parts.recorder, self._loop
        status = recorder.status()
        with contextlib.suppress(LogNotWritable):  # until the log can be read again, what was known is told
            self._known = recorder.read(lambda state: (state.revision, state.head, standing_orders(state)))
        revision, head, orders = self._known
        error = loop.error
        # A log that takes a small event may still have no room for the one that waits.
        log_problem = status.reason or (error.message if isinstance(error, LogNotWritable) else "")
        following = self._poll.status() if self._poll else None
        source_problem = unreachable(following) or (error.message if isinstance(error, SourceUnavailable) else "")
        health = judge_health(
            revision,
            head,
            log_problem,
            source_problem,
            source_read=loop.source_read and (self._poll is None or self._poll.read),
            head=loop.head,
            held=loop.held,
            in_force=self._had_state,
            fault=loop.fault,
            orders=orders,
        )
        told = [self._days.problem(), self._attester.problem, self._parts.warning]
        health = msgspec.structs.replace(health, reasons=[*health.reasons, *filter(None, told)], source=following)
        self._lines.see(health)
        return health

    def look_again(self) -> None:
        """Say that the source may have changed: a remote is fetched at once, a repository here is read."""
        (self._poll or self._loop).wake()

    def _status(self) -> Health:
        """Say how things stand to people: also what no readiness depends on."""
        health = self.health()
        if self._reporter is None or not self._reporter.problem:
            return health
        told = f"commit statuses are not told to the forge: {self._reporter.problem}"
        return msgspec.structs.replace(health, reasons=[*health.reasons, told])

    def _ready(self) -> Ready:
        now = self.health()
        return Ready(now.ready, now.reasons)

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT, or the terminal is closed."""
        stopping = asyncio.Event()
        reason = "stopped"

        def stop(name: str) -> None:
            nonlocal reason
            reason = name
            stopping.set()

        hang_up = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)  # nohup ignores it
        for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
            asyncio.get_running_loop().add_signal_handler(number, stop, number.name)
        settings = dict(self._workspace.settings.shown)
        if self._parts.recorder.status().held:
            self._parts.first_token = self._token
        else:
            self._record(ev.DaemonStarted(version=__version__, settings=settings))
            self._parts.recorder.record(lambda state: issue_first(state, self._token))
        try:
            with self._threads():
                async with asyncio.TaskGroup() as serving:
                    serving.create_task(self._serve_admin(stopping))
                    serving.create_task(self._tell(stopping))
                    serving.create_task(self._gateway.run(self._agents, stopping))
        finally:
            with contextlib.suppress(PaiError):  # a log that cannot be written must not keep the daemon from ending
                self._record(ev.DaemonStopped(reason=reason))

    async def _tell(self, stopping: asyncio.Event) -> None:
        """Write a line whenever readiness changes, and when there is another warning about the checkpoints."""
        warning = ""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TELL_S)
                return
            await asyncio.to_thread(self._parts.recorder.look)
            if self._parts.recorder.is_replaced():
                stopping.set()
            self._lines.begin(await asyncio.to_thread(self.health))
            if self._parts.warning != warning:
                warning = self._parts.warning
                log.warning("%s", warning or "the refs of the checkpoints have nothing any more that is not this log's")

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        settings = self._workspace.settings
        watch = Watch(self._workspace.local_repository(), settings.source_branch, self._loop.wake)
        # The last one stops first: it ends what git does for the others, too.
        workers: tuple[Worker | Watch | None, ...] = (self._loop, self._attester, self._reporter, self._poll or watch)

        def answer(asked: Asked) -> dict[str, object]:
            if asked.verb == JudgePush.word():  # the hook asks that just before git moves the branch
                watch.hurry()
            return self._operations.answer(asked.verb, asked.arguments, at_keyboard(asked.actor, asked.uid))

        with Server(self._workspace.socket, answer), contextlib.ExitStack() as stack:
            for worker in workers:
                if worker is not None:
                    worker.start()
                    stack.callback(worker.stop)
            yield

    def _follower(self) -> Poll | None:
        """Give what follows a remote, None for a repository on this machine, which is watched."""
        mirror, settings = self._parts.mirror, self._workspace.settings
        if mirror is None:
            return None
        shown = settings.shown["source.repo"]
        return Poll(mirror, shown, settings.source_interval_s, self._loop.wake, moment, self._metrics.fetched)

    def _look(self, accept_rewrite: RewriteAccepted | None) -> Result:
        """Look at the source now, also at a remote one, and give what came of it."""
        if self._poll is not None:
            self._poll.request()
        return self._loop.request(accept_rewrite)

    async def _serve_admin(self, stopping: asyncio.Event) -> None:
        parts = self._parts
        api = Api(self._workspace, parts.recorder, self._days.today, lambda: parts.believed, stopping)
        git = SmartHttp(
            self._workspace, parts.recorder, lambda: parts.believed, self._pushes, self.look_again, stopping
        )
        hooks = Webhooks(
            self._workspace.settings.webhooks,
            SecretReader(self._parts.backends),
            self._workspace.settings.source_branch,
            self.look_again,
            self._metrics.registry,
        )
        routes = [*api.routes(), *git.routes(), *hooks.routes()]
        app = admin_app(self.health, self._metrics, self._workspace.without_places, routes)
        settings = self._workspace.settings
        door = Door(
            app,
            foreign,
            Hosts((*settings.admin_hosts, settings.admin_listen.host)),
            Proxies(settings.admin_trusted_proxies),
            DoorLimits(settings.gateway_head_timeout_s, ADMIN_DRAIN_S),
            pace=ADMIN_STRANGERS,
        )
        listener = Listener(door, self._admin)
        serving = asyncio.create_task(listener.run())
        await stopping.wait()
        api.end_following()
        listener.stop()
        await serving
        await git.ended()
        api.close()

    def _record(self, payload: ev.DaemonStarted | ev.DaemonStopped) -> None:
        draft = ev.Draft("pai", self._subject, payload)
        self._parts.recorder.record(lambda _: [draft])

    def _observe(self, result: Result, duration_s: float) -> None:
        self._metrics.observe(result, duration_s)
        if self._reporter is not None:  # at every pass: what `pai unpin` let in, its own pass did
            self._reporter.wake()
        if result.commits:
            counts = {"commits": result.commits} | (msgspec.structs.asdict(result.counts) if result.counts else {})
            told = " ".join(f"{name}={value}" for name, value in counts.items())
            log.info("%s %s after %.1f ms: %s", result.head[:7], result.outcome, duration_s * 1000, told)


def _reporter(workspace: Workspace, parts: Parts) -> Reporter | None:
    """Make what tells the forge, if there is one; without it no client of an API is loaded."""
    if not workspace.settings.forge_kind:
        return None
    from reconciler.daemon.commit_statuses import Reporter

    return Reporter(workspace, parts.backends.resolve)


def serve(workspace: Workspace, announce: Callable[[str], None]) -> None:
    """Run the daemon of a workspace until a signal ends it.

    `announce` is told the addresses of both listeners, and at the first start the token that people use. Raises LogBusy
    for a second daemon, CouldNotRun for a port in use, and what opening the workspace raises.
    """
    log_lines.configure(sys.stderr)
    for line in hidden_from_the_hook(workspace):
        log.warning("%s", line)
    _make_room_for_files()
    settings = workspace.settings
    with (
        _opened(workspace) as parts,
        bound(settings.admin_listen, "admin.listen") as admin,
        bound(settings.gateway_listen, "gateway.listen") as agents,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        addresses = _addresses(workspace, admin, agents)
        announce(f"admin listener on http://{addresses['admin.listen']}")
        with contextlib.closing(workspace.log().reader()) as found:
            token = token_in_force(workspace.admin_token, found)
        if token.made:
            where = f"http://{addresses['admin.listen']}/#token={token.text}"
            announce(f"people use {where} (kept in {workspace.admin_token})")
        announce(f"gateway for agents on http://{addresses['gateway.listen']}")
        quick.long_life()
        runner.run(Daemon(workspace, parts, admin, agents, token.text).run())
        if parts.recorder.is_replaced():
            raise LogBusy(f"another program writes {workspace.log()} by now", "it serves in place of this one")


def _make_room_for_files() -> None:
    """Take as many open files as the system gives: each stream is two, and shells are given 1,024 at first.

    Their table in the kernel is made large now. It never shrinks, and Linux doubles it when it is full: a process that
    has threads then waits 10 to 20 ms (`synchronize_rcu` in fs/file.c), and all its connections with it.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError):  # a daemon may be started without a standard input
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, min(most, FILES) - 1))


def _addresses(workspace: Workspace, admin: socket.socket, agents: socket.socket) -> dict[str, Address]:
    """Give what the listeners are bound to, by setting: port 0 has become a real one."""
    settings = workspace.settings
    return {
        "admin.listen": settings.admin_listen._replace(port=admin.getsockname()[1]),
        "gateway.listen": settings.gateway_listen._replace(port=agents.getsockname()[1]),
    }


def _node(workspace: Workspace) -> str:
    return workspace.settings.node_name or socket.gethostname()


def _options(workspace: Workspace) -> Options:
    settings = workspace.settings
    return Options(
        settings.base_urls,
        settings.gateway_default_max_output_tokens,
        (*settings.gateway_hosts, settings.gateway_listen.host),
        settings.gateway_connect_timeout_s,
        settings.gateway_read_timeout_s,
        settings.gateway_left_timeout_s,
        DoorLimits(settings.gateway_head_timeout_s, settings.gateway_drain_timeout_s),
        settings.gateway_trusted_proxies,
        _node(workspace),
    )


def _opened(workspace: Workspace) -> Parts:
    """Open the workspace, waiting for a short command that holds the log, but not for another daemon."""
    try:
        return Parts(workspace)
    except LogBusy:
        if ask_daemon(workspace, Ping()) is not None:
            raise
        return Parts(workspace, wait_s=COMMAND_S)


def bound(address: Address, setting: str) -> socket.socket:
    """Bind a listening address. Raises CouldNotRun, naming the setting, if that is not possible."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=512)
    except OSError as error:
        raise CouldNotRun(
            f"cannot listen on {address}: {os.strerror(error.errno or 0)}",
            f"set {setting} to a free address, in pai.toml or as PAI_{setting.upper().replace('.', '_')}",
        ) from error
