"""The reporting thread: tells the forge what became of each commit, from the log, in its order.

It follows the log by a cursor that is on disk before the next commit is told, so what happened while the forge was
away, or the daemon, is told later; telling something twice is harmless. Memory does not grow with what waits: the log
is the queue. Nothing waits for this thread, and readiness does not look at it: what is wrong is in `problem`, in the
metrics and in `pai status`. Without a cursor it begins with the commit that was judged last.

A commit that the forge does not have is passed over; so is one whose outcome was followed by another while it waited.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from reconciler import durable
from reconciler.audit.query import search
from reconciler.audit.terms import EventRow, Query, Term
from reconciler.core import events as ev
from reconciler.core.errors import CouldNotRun, PaiError
from reconciler.core.objects import DEFAULT_SECRET_KEY
from reconciler.core.state import Row as Whole
from reconciler.daemon.worker import Pauses, Worker
from reconciler.forges.api import ForgeUnavailable
from reconciler.forges.hosts import CommitStatus, Forge, State, forge
from reconciler.log.store import Reader
from reconciler.secrets.secret_value import SecretValue
from reconciler.workspace import Workspace

log = logging.getLogger("pai.forge")

CONTEXT: Final = "pai"
"""The name of the statuses."""
AT_ONCE = 200
"""Events that are read at a time, which is what is coalesced."""
EVERY_S = 60.0
PATIENCE_S = 5.0
PAUSES = Pauses(first_s=1.0, max_s=300.0)
STOP_S = 3.0


class Cursor(msgspec.Struct, frozen=True):
    """Up to which position of which log everything was told to which place."""

    origin: str
    place: str
    position: int


class _Stopped(PaiError):
    """The daemon is stopping, so that nothing is waited for any longer."""


class Reporter(Worker):
    """Tells outcomes until it is stopped. `resolve` gives a secret's value by name and key."""

    def __init__(self, workspace: Workspace, resolve: Callable[[str, str], SecretValue]) -> None:
        self._workspace = workspace
        self._resolve = resolve
        settings = workspace.settings
        self._place = f"{settings.forge_kind} {settings.forge_api_url} {settings.forge_repo}"
        self._forge: tuple[str, Forge] | None = None
        self._set = self._skipped = self._waiting = 0
        super().__init__(
            "pai-forge",
            "telling the forge",
            self._report,
            PAUSES,
            log,
            said=lambda error: f"commit statuses are not told: {error.message}",
            patient=True,
            stop_s=STOP_S,
        )

    def stop(self) -> bool:
        """End the thread; what is not told yet is told after the next start."""
        ended = super().stop()
        if ended and self._forge is not None:
            self._forge[1].api.close()
        return ended

    def collect(self) -> Iterator[Metric]:
        """Give the metrics; called by the registry at every scrape."""
        yield CounterMetricFamily("pai_forge_statuses", "Commit statuses that were set on the forge", self._set)
        yield CounterMetricFamily("pai_forge_skipped", "Commits that the forge does not have", self._skipped)
        for name, text, value in (
            ("pai_forge_waiting", "Outcomes that are not told to the forge yet, of those read", self._waiting),
            ("pai_forge_up", "0 while the forge's API is in trouble", not self.problem),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))

    def _report(self, asked: bool) -> float:
        del asked
        with contextlib.suppress(_Stopped):
            self._tell_all()
        return EVERY_S

    def _tell_all(self) -> None:
        with contextlib.closing(self._workspace.log().reader()) as reader:
            cursor = self._cursor(reader)
            while rows := list(_outcomes(reader, cursor.position)):
                last = {row.data["commit"]: row.seq for row in rows}
                newest = _whole(reader).revision
                for number, row in enumerate(rows):
                    self._waiting = len(rows) - number
                    if last[row.data["commit"]] == row.seq:
                        self._tell_one(row.data["commit"], _status(row, newest))
                    cursor = msgspec.structs.replace(cursor, position=row.seq + 1)
                    self._keep(cursor)
                self._waiting = 0

    def _tell_one(self, commit: str, status: CommitStatus) -> None:
        self._sleep(0)
        host = self._opened()
        try:
            host.set_status(commit, status)
        except ForgeUnavailable as error:
            if not (error.status in (400, 422) or (error.status == 404 and host.visible())):
                raise
            log.warning("commit %s got no status: %s", commit[:7], error.message)
            self._skipped += 1
        else:
            self._set += 1

    def _opened(self) -> Forge:
        """Give the client, a new one if the token was changed. Raises SecretsUnavailable, UsageError."""
        settings = self._workspace.settings
        name, _, key = settings.forge_secret.partition(":")
        token = self._resolve(name, key or DEFAULT_SECRET_KEY).reveal().decode("utf-8", "replace").strip()
        if self._forge is None or self._forge[0] != token:
            if self._forge is not None:
                self._forge[1].api.close()
                self._forge = None
            where = (settings.forge_kind, settings.forge_api_url, settings.forge_repo)
            self._forge = token, forge(*where, token, patience_s=PATIENCE_S, sleep=self._sleep)
        return self._forge[1]

    def _sleep(self, seconds: float) -> None:
        if self.rest(seconds):
            raise _Stopped("stopping")

    def _cursor(self, reader: Reader) -> Cursor:
        """Read the cursor; one that is missing, or is another log's or place's, is made anew at the last outcome."""
        whole = _whole(reader)
        with contextlib.suppress(OSError, ValueError):
            kept = msgspec.json.decode(self._workspace.forge_cursor.read_bytes(), type=Cursor)
            if (kept.origin, kept.place) == (whole.origin, self._place) and 0 <= kept.position <= reader.size():
                return kept
        cursor = Cursor(whole.origin, self._place, whole.head.position if whole.head else reader.size())
        self._keep(cursor)  # what comes from now on must not be lost, whether or not anything can be told
        return cursor

    def _keep(self, cursor: Cursor) -> None:
        """Put the cursor on the disk. Raises CouldNotRun."""
        path = self._workspace.forge_cursor
        try:
            durable.replace(path, msgspec.json.encode(cursor))
        except OSError as error:
            raise CouldNotRun(f"{path} cannot be written: {error.strerror}", "check the disk") from error


def _outcomes(reader: Reader, start: int) -> Iterator[EventRow]:
    return search(reader, Query((Term("type", "revision."),)), AT_ONCE, oldest_first=True, start=start)


def _whole(reader: Reader) -> Whole:
    row = reader.row(("log", ""))
    return Whole("", "", "", "", None) if row is None else msgspec.json.decode(row, type=Whole)


def _status(row: EventRow, in_force: str) -> CommitStatus:
    """Say what became of a commit; one that was not judged by itself is a success, so that it blocks nothing."""
    data = row.data
    state: State = "success"
    match row.type:
        case ev.RevisionRejected.type:
            state, said = "failure", f"refused: {_first_problem(data)}"
        case ev.RevisionSuperseded.type:
            said = f"superseded by {data['by'][:7]}, not judged by itself"
        case _:
            said = f"{'in force' if data['commit'] == in_force else 'was in force'}: {_counts(data['counts'])}"
    return CommitStatus(CONTEXT, state, said)


def _first_problem(data: Mapping[str, Any]) -> str:
    errors = [d for d in data["diagnostics"] if d["severity"] == "error"]
    if not errors:
        return "see the log"
    return "{path}:{line}:{column} {rule} {message}".format(**errors[0])


def _counts(counts: Mapping[str, int]) -> str:
    said = [f"{counts[name]:,} {name}" for name in ("created", "changed", "deleted", "moved") if counts[name]]
    return ", ".join(said) or "no object changes"
