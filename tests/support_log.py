"""What the tests of the log and the recorder share: small logs, drafts, stores that fail on purpose."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from reconciler.core.budget import Ask
from reconciler.core.errors import LogNotWritable
from reconciler.core.events import BindingChanged, Draft, Event, SecretDeleted, SecretStored, encode
from reconciler.core.reservations import reserve
from reconciler.core.state import State, dump
from reconciler.log.creation import create_log
from reconciler.log.index import BLOCK_EVENTS
from reconciler.log.memory import MemoryLog
from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.log.stamp import Stamper
from reconciler.log.store import Backend, Log, Rows, Store, Stored
from reconciler.recorder import Decide, Decided, Prepared, Receipt, Recorder, Ticket
from reconciler.tlog.merkle import leaf_hash
from tests.support_postgres import new_schema

ORIGIN = "example.com/log"
DAY = "2026-11-23"


def new_log(folder: Path) -> Path:
    """Make a log with its first event and give its path."""
    path = folder / "log.db"
    create_log(SqliteLog(path), origin=ORIGIN, vkey="key")
    return path


def secret(name: str, value: str = "digest") -> Draft:
    """Draft the storing of a secret."""
    return Draft("tester", f"secret/{name}", SecretStored(keys={"token": value}))


def no_secret(name: str) -> Draft:
    """Draft the removal of a secret."""
    return Draft("tester", f"secret/{name}", SecretDeleted(keys=["token"]))


def binding(name: str, budget: int, note: str = "") -> Draft:
    """Draft a new version of a binding."""
    spec: dict[str, object] = {"provider": "gemini", "model": "gemini-2.0-flash", "maxTokensPerDay": budget}
    payload = BindingChanged(
        spec=spec,
        previous=None,
        changed=["maxTokensPerDay"],
        file=f"models/{name}.yaml",
        line=1,
        revision="a" * 40,
        annotations={"note": note} if note else {},
    )
    return Draft("tester", f"model/{name}", payload)


def stored(first: int, drafts: Sequence[Draft]) -> list[Stored]:
    """Make stored events of drafts, as a recorder would."""
    stamper = Stamper(itertools.count(1_800_000_000_000_000 + first * 1000, 1000).__next__, bytes)
    events = []
    for seq, draft in enumerate(drafts, first):
        now = stamper.now()
        body = encode(Event(draft.actor, draft.payload, stamper.next_id(), draft.subject, now))
        events.append(Stored(seq, body, leaf_hash(body)))
    return events


def some(first: int, count: int) -> list[Stored]:
    """Make so many events from position `first` on."""
    return stored(first, [secret(f"s{n}") for n in range(first, first + count)])


class Faults:
    """What shall go wrong with the next transactions of a FaultyStore."""

    def __init__(self) -> None:
        self.before_commit = 0  # so many appends fail without reaching the disk
        self.after_commit = 0  # so many appends reach the disk and say they did not
        self.opens = 0  # so many openings fail
        self.settles = 0  # so many proofs that a write works fail
        self.appends: list[int] = []  # sizes of the batches that were tried
        self.gate = threading.Event()  # appends wait for it
        self.gate.set()
        self.waiting = threading.Semaphore(0)  # released by every append that reaches the gate

    def take(self, name: str) -> bool:
        """Tell whether this fault is due, and count it down."""
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0


class FaultyStore:
    """A real store that fails when told to."""

    def __init__(self, store: Store, due: Faults) -> None:
        self._store = store
        self._due = due

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Append, or fail before or after doing so."""
        due = self._due
        due.appends.append(len(events))
        due.waiting.release()
        assert due.gate.wait(5)
        if due.take("before_commit"):
            raise LogNotWritable("disk full, says the test")
        self._store.append(events, rows)
        if due.take("after_commit"):
            raise LogNotWritable("fsync failed, says the test")

    def settle(self) -> None:
        """Settle, or fail."""
        if self._due.take("settles"):
            raise LogNotWritable("still full, says the test")
        self._store.settle()


class FaultyBackend:
    """The right to write a log, by stores that fail when told to; a path is that of a log in SQLite."""

    def __init__(self, log: Log | Path) -> None:
        self.log: Log = SqliteLog(log) if isinstance(log, Path) else log
        self._backend = self.log.writer()
        self.due = Faults()
        self.mended: list[str] = []

    def open(self) -> Store:
        """Open a store, or fail."""
        if self.due.take("opens"):
            raise LogNotWritable("cannot open, says the test")
        return cast("Store", FaultyStore(self._backend.open(), self.due))

    def is_lost(self) -> bool:
        """Tell what is so."""
        return self._backend.is_lost()

    def release(self) -> None:
        """Give the right back."""
        self._backend.release()


LOGS: dict[str, Callable[[Path], Log]] = {
    "sqlite": lambda folder: SqliteLog(folder / "log.db"),
    "memory": lambda _: MemoryLog(),
    "shared": lambda _: MemoryLog(shared=True),
    "postgres": lambda _: new_schema(),
}
"""Every kind of log, by name: makes its place in a folder."""
SHARED = ["postgres", "shared"]
"""The kinds that several recorders may write."""
OWN = sorted(LOGS.keys() - set(SHARED))
"""The kinds that one recorder has for itself."""


def new_log_of(kind: str, folder: Path) -> Log:
    """Make a log of a kind, with its first event."""
    log = LOGS[kind](folder)
    create_log(log, origin=ORIGIN, vkey="key")
    return log


class LoneRecorder(Recorder):
    """A recorder whose callers commit by themselves wherever they may, however slow the disk is."""

    def __init__(
        self, backend: Backend, *, snapshot_every: int = 10_000, block_events: int = BLOCK_EVENTS, retry_s: float = 1.0
    ) -> None:
        super().__init__(
            backend, snapshot_every=snapshot_every, block_events=block_events, retry_s=retry_s, quick_s=math.inf
        )

    def record(self, decide: Decide[Any]) -> Receipt[Any]:  # type: ignore[override]
        """Record as one who has nobody else to serve."""
        return self.submit(decide, alone=True).wait()


class TwiceRecorder(Recorder):
    """A recorder that makes each decision twice, since it may: both must be the same, and leave the state alone."""

    def _decide(self, state: State, decide: Decide[Any], ticket: Ticket[Any]) -> int:
        def twice(state: State) -> Any:
            before = dump(state)
            first = decide(state)
            assert dump(state) == before
            again = decide(state)
            assert first == again or isinstance(first, Prepared)
            return again

        return super()._decide(state, twice, ticket)


def with_snapshots(path: Path, rounds: int = 3, every: int = 10) -> None:
    """Fill a log by restarting a recorder, so that it has two snapshots, some blocks of an index, and a tail."""
    for number in range(rounds):
        with Recorder(SqliteBackend(path), snapshot_every=every, block_events=12) as recorder:
            for n in range(every + 1):
                recorder.record(lambda _state, n=n, number=number: [binding(f"m{n % 4}", n + 1), secret(f"s{number}")])


def decide(*drafts: Draft) -> Callable[[object], list[Draft]]:
    """Make a decision that gives these drafts whatever the state."""
    return lambda _state: list(drafts)


def hold_tokens(request: str, tokens: int, node: str) -> Callable[[State], Decided[int]]:
    """Decide to reserve on the binding "m", as the gateway does."""

    def decided(state: State) -> Decided[int]:
        made = reserve(
            state,
            "m",
            Ask(tokens, tokens, 0),
            lower=False,
            day=DAY,
            request=request,
            agent="a",
            key="key-1",
            surface="openai",
            node=node,
        )
        return Decided([made.draft], made.grant.tokens)

    return decided
