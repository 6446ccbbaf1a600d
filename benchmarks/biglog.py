"""Write a believable log of any size: what a team's gateway and repository leave behind in sixty days.

    python -m benchmarks.biglog PATH [--events N] [--bare]

50 bindings and 200 agents (each with one to five bindings; some of both are far busier than others), more by day than
by night. 95 of 100 events are about tokens: a reservation and, a moment later, what became of it; the rest are
refusals, and per day some twenty revisions that change bindings or are refused. The bytes are those of the real
encoder, the hashes and the Merkle frontier the real ones, and so are index, projection and snapshot, which a replay
makes afterwards unless `--bare` leaves them to the first start. What is generated depends on N alone.

One process writes events as text, another hashes and inserts them.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import multiprocessing.connection
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.state import FOLD_VERSION, State, dump, row, row_keys
from reconciler.log.creation import create_log
from reconciler.log.open import log_at
from reconciler.log.reindexing import reindex
from reconciler.log.replay import fold
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.log.stamp import _PAIRS, format_time
from reconciler.log.store import SNAPSHOT_SPAN, Snapshot, Store
from reconciler.tlog.merkle import Frontier

ORIGIN = "benchmark/log"
MODELS, AGENTS, DAYS = 50, 200, 60
REVISIONS_A_DAY = 20
CHUNK = 8192
DAY_US = 86_400_000_000
BEGIN_US = 1_790_812_800_000_000
"""2026-10-01T00:00:00Z."""

_CHARS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RESERVED = (
    '{"actor":"%s","data":{"agent":"%s","binding":%d,"day":"%s","input":%d,"key":"%s","output":%d,"request":"%s",'
    '"surface":"openai","tokens":%d},"id":"%s","subject":"model/%s","time":"%s","type":"tokens.reserved.v1"}'
)
_SETTLED = (
    '{"actor":"%s","data":{"agent":"%s","cacheWrite":0,"cached":%d,"charged":%d,"day":"%s","durations":'
    '{"firstByteMs":%d,"totalMs":%d},"input":%d,"output":%d,"reason":"","reasoning":0,"request":"%s","status":200},'
    '"id":"%s","subject":"model/%s","time":"%s","type":"tokens.settled.v1"}'
)
_LOST = (
    '{"actor":"%s","data":{"agent":"%s","day":"%s","durations":{"firstByteMs":0,"totalMs":%d},"reason":"%s",'
    '"request":"%s","status":%d,"tokens":%d},"id":"%s","subject":"model/%s","time":"%s","type":"tokens.%s.v1"}'
)
_REFUSED = (
    '{"actor":"%s","data":{"agent":"%s","count":1,"needed":%d,"reason":"day-budget","remaining":%d,"request":"%s",'
    '"surface":"openai"},"id":"%s","subject":"model/%s","time":"%s","type":"request.refused.v1"}'
)


class Open(NamedTuple):
    """A request in flight; sorts by when it ends."""

    ends_us: int
    request: str
    pair: int
    day: str
    input: int
    output: int
    began_us: int


class Team:
    """Who asks for what: pairs of an agent and a binding, with the weight that each has."""

    def __init__(self, chance: random.Random) -> None:
        self.models = [f"model-{n:02}" for n in range(MODELS)]
        self.agents = [f"agent-{n:03}" for n in range(AGENTS)]
        self.bindings = {agent: chance.sample(self.models, chance.randint(1, 5)) for agent in self.agents}
        self.keys = {agent: f"key-{n:010}" for n, agent in enumerate(self.agents)}
        self.pairs = [(agent, model) for agent in self.agents for model in self.bindings[agent]]
        self.weights = list(accumulate(1 / (1 + n) ** 0.7 for n in range(len(self.pairs))))
        chance.shuffle(self.pairs)


class Story:
    """Makes the bodies of the events, in order, one string each. `first` is the position of the first."""

    def __init__(self, events: int, first: int) -> None:
        self.chance = random.Random(20_261_123)
        self.team = Team(self.chance)
        self.events = events
        self.position = first
        self.us = BEGIN_US
        self.at = dict.fromkeys(self.team.models, 0)
        self.budgets = dict.fromkeys(self.team.models, 1_000_000_000)
        self.commits = 0
        self.commit = ""
        self._tails = ["".join(self.chance.choices(_CHARS, k=16)) for _ in range(4096)]
        self._second = -1
        self._second_text = ""

    def bodies(self) -> Iterator[str]:
        """Give all bodies."""
        for body in islice(self._everything(), self.events):
            yield body
            self.position += 1

    def _everything(self) -> Iterator[str]:
        yield from self._revision(create=True)
        gap = DAYS * DAY_US * 0.97 / max(1, self.events // 2)
        revisions = DAY_US // REVISIONS_A_DAY
        if (every := self.events // 200) < DAYS * REVISIONS_A_DAY:
            revisions = DAYS * DAY_US // max(1, every)
        due = self.us + revisions
        inflight: list[Open] = []
        chance, us = self.chance, self.us
        while True:
            arrivals = chance.choices(range(len(self.team.pairs)), cum_weights=self.team.weights, k=CHUNK)
            gaps = [gap * factor for factor in chance.choices((0.05, 0.3, 0.7, 1.2, 2.8), k=CHUNK)]
            for pair, wait in zip(arrivals, gaps, strict=True):
                us += int(wait * (0.7 if 7 <= us // 3_600_000_000 % 24 < 19 else 1.5))
                while inflight and inflight[0].ends_us <= us:
                    yield self._outcome(heapq.heappop(inflight))
                if us >= due:
                    due += revisions
                    self.us = us
                    yield from self._revision()
                self.us = max(self.us, us)
                yield self._request(pair, us, inflight)

    def _request(self, pair: int, us: int, inflight: list[Open]) -> str:
        agent, model = self.team.pairs[pair]
        tail = self._tails[us & 4095]
        number = us // 1000 & 1023
        request = f"req_{self._ms(us)}{tail}"
        size = 200 + us % 3989
        if us % 100 < 9:
            rest = (request, self._id(), model, self._time())
            return _REFUSED % (agent, agent, size + 4096, number, *rest)
        when = self._time()
        day = when[:10]
        heapq.heappush(inflight, Open(us + 400_000 + us % 30_000_000, request, pair, day, size, us % 900, us))
        binding, key = self.at[model], self.team.keys[agent]
        held = size + 2_048
        figures = (binding, day, held, key, 4096, request, held + 4096)
        return _RESERVED % (agent, agent, *figures, self._id(), model, when)

    def _outcome(self, done: Open) -> str:
        agent, model = self.team.pairs[done.pair]
        self.us = max(self.us, done.ends_us)
        took = (done.ends_us - done.began_us) // 1000
        if done.ends_us % 40:
            used = (done.input % 7 * 40, done.input + done.output, done.day, took // 4, took, done.input, done.output)
            return _SETTLED % (agent, agent, *used, done.request, self._id(), model, self._time())
        tokens = done.input + 2_048 + 4096
        how, why, status = ("voided", "upstream error", 429) if done.ends_us % 80 else ("forfeited", "timeout", 0)
        lost = (done.day, took, why, done.request, status, tokens)
        return _LOST % (agent, agent, *lost, self._id(), model, self._time(), how)

    def _revision(self, create: bool = False) -> Iterator[str]:
        """Make one revision: the first has everything, then one in ten is refused, the others change a budget."""
        self.commits += 1
        self.commit = sha256(b"%d" % self.commits).hexdigest()[:40]
        names = self.team.models if create else [self.chance.choice(self.team.models)]
        person = ev.Person(f"Dev {self.commits % 12}", f"dev{self.commits % 12}@example.com", self._time()[:19] + "Z")
        about: dict[str, object] = {
            "commit": self.commit,
            "parents": [],
            "author": person,
            "committer": person,
            "message": f"Change {names[0]}\n",
            "signature": None,
        }
        place = self.position
        subject, mail = f"revision/{self.commit}", person.email
        if not create and self.commits % 10 == 0:
            problem = Diagnostic(
                f"models/{names[0]}.yaml", 8, 3, "error", "PAI209", "unknown field spec.maxTokenPerDay"
            )
            rejected = ev.RevisionRejected(**about, diagnostics=[problem])  # type: ignore[arg-type]
            yield self._encoded(mail, subject, rejected)
            return
        for name in names:
            self.at[name] = place
            place += 1
            yield self._encoded(mail, f"model/{name}", self._binding(name, create))
        if create:
            for agent, models in self.team.bindings.items():
                spec: dict[str, object] = {"modelBindings": models}
                where = {"file": f"agents/{agent}.yaml", "line": 1, "revision": self.commit, "changed": []}
                created = ev.AgentCreated(spec=spec, previous=None, lines={"modelBindings": 6}, **where)  # type: ignore[arg-type]
                yield self._encoded(mail, f"agent/{agent}", created)
        made = len(names) + (AGENTS if create else 0)
        counts = ev.Counts(MODELS, AGENTS, made if create else 0, 0 if create else made, 0, 0)
        accepted = ev.RevisionAccepted(**about, counts=counts)  # type: ignore[arg-type]
        yield self._encoded(mail, subject, accepted)

    def _binding(self, name: str, create: bool) -> ev.BindingCreated | ev.BindingChanged:
        old = {"provider": "gemini", "model": "gemini-2.0-flash", "maxTokensPerDay": self.budgets[name]}
        where = {"file": f"models/{name}.yaml", "line": 1, "revision": self.commit}
        if create:
            lines = {"provider": 6, "model": 7, "maxTokensPerDay": 8}
            return ev.BindingCreated(spec=old, previous=None, changed=[], lines=lines, **where)  # type: ignore[arg-type]
        self.budgets[name] += self.chance.randint(1, 9) * 10_000_000
        new = {**old, "maxTokensPerDay": self.budgets[name]}
        changed = ["maxTokensPerDay"]
        return ev.BindingChanged(
            spec=new,
            previous=old,
            changed=changed,
            lines={"maxTokensPerDay": 8},
            **where,  # type: ignore[arg-type]
        )

    def _encoded(self, actor: str, subject: str, payload: ev.AnyPayload) -> str:
        return ev.encode(ev.Event(actor, payload, self._id(), subject, self._time())).decode()

    def _time(self) -> str:
        second, fraction = divmod(self.us, 1_000_000)
        if second != self._second:
            self._second, self._second_text = second, format_time(second * 1_000_000)[:20]
        return f"{self._second_text}{fraction:06d}Z"

    def _ms(self, us: int) -> str:
        ms, pairs = us // 1000, _PAIRS
        return (
            pairs[ms >> 40]
            + pairs[ms >> 30 & 1023]
            + pairs[ms >> 20 & 1023]
            + pairs[ms >> 10 & 1023]
            + pairs[ms & 1023]
        )

    def _id(self) -> str:
        """Give an id that grows with the position, whatever the millisecond."""
        n, pairs = self.position, _PAIRS
        return f"{self._ms(self.us)}000000000000{pairs[n >> 10 & 1023]}{pairs[n & 1023]}"


def _produce(events: int, first: int, pipe: multiprocessing.connection.Connection) -> None:
    chunk: list[str] = []
    for body in Story(events, first).bodies():
        chunk.append(body)
        if len(chunk) == CHUNK:
            pipe.send_bytes("\n".join(chunk).encode())
            chunk = []
    if chunk:
        pipe.send_bytes("\n".join(chunk).encode())
    pipe.send_bytes(b"")


def write(path: Path, events: int, vkey: str = "none") -> float:
    """Make a log with `events` events, without what is derived from them; gives the events written a second.

    `vkey` is the key that verifies its checkpoints, which also names it.
    """
    origin = vkey.partition("+")[0] if "+" in vkey else ORIGIN
    create_log(log_at(path), origin=origin, vkey=vkey, clock=lambda: BEGIN_US - 1_000_000)
    started = time.perf_counter()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    producer = multiprocessing.Process(target=_produce, args=(events - 1, 1, theirs), daemon=True)
    producer.start()
    db = sqlite3.connect(path, isolation_level=None)
    guard = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'events_insert'").fetchone()[0]
    for statement in ("PRAGMA synchronous = OFF", "PRAGMA wal_autocheckpoint = 4000", "DROP TRIGGER events_insert"):
        db.execute(statement)
    ((size, peaks),) = db.execute("SELECT size, peaks FROM head")
    frontier = Frontier.unpack(size, peaks)
    while chunk := ours.recv_bytes():
        bodies = chunk.split(b"\n")
        leaves = [sha256(b"\x00" + body).digest() for body in bodies]
        db.execute("BEGIN IMMEDIATE")
        rows = zip(range(frontier.size, frontier.size + len(bodies)), bodies, leaves, strict=True)
        db.executemany("INSERT INTO events (seq, body, leaf) VALUES (?, ?, ?)", rows)
        frontier.extend(leaves)
        db.execute("UPDATE head SET size = ?, peaks = ?", (frontier.size, frontier.pack()))
        db.execute("COMMIT")
    producer.join()
    db.execute(guard)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return frontier.size / (time.perf_counter() - started)


def finish(path: Path) -> float:
    """Make subtree hashes, index, projection and snapshots from all events; gives the events folded a second."""
    started = time.perf_counter()
    backend = SqliteBackend(path)
    store = backend.open()
    store.plant()
    state = reindex(store)
    store.project({key: row(state, key) or b"" for key in row_keys(state)}, FOLD_VERSION)
    rate = state.position / (time.perf_counter() - started)
    _take_snapshots(store)
    store.close()
    backend.release()
    return rate


def _take_snapshots(store: Store) -> None:
    """Keep those that a recorder would have left: of each million events one, and one of the end."""
    state, frontier, size = State(), Frontier(), store.size()
    for stop in (*range(SNAPSHOT_SPAN, size, SNAPSHOT_SPAN), size):
        fold(state, frontier, store.chunks(state.position, stop))
        store.save_snapshot(Snapshot.of(stop, FOLD_VERSION, frontier.pack(), dump(state)))


def main(argv: Sequence[str] | None = None) -> int:
    """Write a log and say how fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.biglog", description=__doc__)
    parser.add_argument("path", type=Path, help="the file to make, such as a workspace's data/log.db")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--bare", action="store_true", help="leave index, projection and snapshot to the first start")
    arguments = parser.parse_args(argv)
    print(f"{write(arguments.path, arguments.events):,.0f} events/s written")
    if not arguments.bare:
        print(f"{finish(arguments.path):,.0f} events/s folded and indexed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
