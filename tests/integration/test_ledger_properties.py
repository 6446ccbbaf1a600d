"""Whatever happens to requests, clocks, disks and bindings: no day's tokens pass the budget, and nothing is lost.

The machine drives the decisions of the ledger through a real recorder on a real log, behaves as the gateway has to, and
keeps two accounts of its own: what the budget must count, and what the provider really charged, which the gateway does
not always get to know. Amounts lie near what is left and times near minutes and days, where mistakes are;
`tests/mutants.py` plants some to see them found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ask
from reconciler.core.errors import LogNotWritable, NotFound
from reconciler.core.reservations import (
    NO_DURATIONS,
    UNUSABLE,
    Denied,
    Reserved,
    Usage,
    forfeit,
    forfeit_open,
    reserve,
    settle,
    void,
)
from reconciler.core.state import State
from reconciler.gateway.day import DRIFT, TOLERANCE_S, Days
from reconciler.log.check.whole import check
from reconciler.log.memory import MemoryLog
from reconciler.log.replay import projected
from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.stamp import format_time, parse_time
from reconciler.log.store import Log
from reconciler.recorder import Decide, Receipt, Recorder
from tests.support import replayed
from tests.support_log import FaultyBackend, new_log_of

EXAMPLES = int(os.environ.get("PAI_EXAMPLES", "25"))
MIDNIGHT = parse_time("2026-11-24T00:00:00Z")
SECOND = 1_000_000

NAMES = st.sampled_from(("a", "b"))
LIMITS = st.sampled_from((60, 61, 100, 86_399, 1, None))
SPANS = st.sampled_from((0, 1, 59, 60, 61, 299, 300, 301, 3600, 86_399, 86_400))
JUMPS = st.sampled_from((86_400, 86_399, 3600, 301, 300, 299, 60, 59, -59, -60, -300, -301, -3600, -86_400))


class Size(NamedTuple):
    """An amount to ask for: so many tokens more or less than a share of what is left."""

    share: Literal["left", "half", "limit", "nothing"]
    more: int

    def of(self, limit: int | None, left: int) -> int:
        """Give the amount, at least 1."""
        bases = {"left": left, "half": left // 2, "limit": limit or 0, "nothing": 0}
        return max(1, bases[self.share] + self.more)


Charge = Literal["nothing", "one", "less", "all"]
"""What a provider charges of what was reserved."""

SIZES = st.builds(Size, st.sampled_from(("left", "half", "nothing", "limit")), st.sampled_from((0, 1, -1)))
CHARGES: st.SearchStrategy[Charge] = st.sampled_from(("all", "less", "one", "nothing"))
PICKS = st.integers(0, 7)
FAULTS = st.sampled_from(("before_commit", "after_commit", "unknown"))


def charged(charge: Charge, tokens: int) -> int:
    """Give the tokens that a provider charges."""
    return {"nothing": 0, "one": min(1, tokens), "less": max(0, tokens - 1), "all": tokens}[charge]


def usage(tokens: int) -> Usage:
    """Give what a provider says it used."""
    return Usage(input=tokens, cached=0, cache_write=0, output=0, reasoning=0, charged=tokens)


class Flight(NamedTuple):
    """A request that has left or may leave: what it holds, and of which binding's which day."""

    model: str
    day: str
    tokens: int

    @property
    def account(self) -> tuple[str, str]:
        """The account that it counts to."""
        return self.model, self.day


class Told:
    """What the events of a log say, read from their bytes as far as they are there."""

    def __init__(self) -> None:
        self.position = 0
        self.reserved: dict[str, Flight] = {}
        self.outcomes: Counter[str] = Counter()
        self.counted: Counter[tuple[str, str]] = Counter()

    def read(self, log: Log) -> None:
        """Read what has come since."""
        with contextlib.closing(log.reader()) as reader:
            for stored in reader.read(self.position):
                event = ev.decode(stored.body)
                self.add(event.subject.removeprefix("model/"), event.payload)
                self.position = stored.seq + 1

    def add(self, model: str, payload: ev.AnyPayload) -> None:
        """Count one event; an outcome is of a reservation before it, and says the same of model and day."""
        if isinstance(payload, ev.TokensReserved):
            assert payload.request not in self.reserved
            assert payload.tokens == payload.input + payload.output
            self.reserved[payload.request] = Flight(model, payload.day, payload.tokens)
        elif isinstance(payload, ev.Resolved):
            held = self.reserved[payload.request]
            assert (model, payload.day) == held.account
            self.outcomes[payload.request] += 1
            if isinstance(payload, ev.TokensSettled):
                self.counted[held.account] += payload.charged
            elif isinstance(payload, ev.TokensForfeited):
                assert payload.tokens == held.tokens
                self.counted[held.account] += payload.tokens


class Budgets(RuleBasedStateMachine):
    """The ledger with all that can happen around it, and the two accounts beside."""

    kind = "sqlite"
    place = "."

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pai-ledger-"))
        self.log = new_log_of(self.kind, self.folder)
        self.us, self.steady_s = MIDNIGHT, 0.0
        self.limits: dict[str, int | None] = {}
        self.versions: dict[str, int] = {}
        self.flights: dict[str, Flight] = {}
        self.ended: list[str] = []
        self.counted: Counter[tuple[str, str]] = Counter()
        self.real: Counter[tuple[str, str]] = Counter()
        self.ceiling: dict[tuple[str, str], int | None] = {}
        self.day = ""
        self.number = self.started = 0
        self.told = Told()
        self.open()

    def open(self) -> None:
        """Start as a daemon does: open the log, believe the clock, forfeit what nobody can know of."""
        self.backend = FaultyBackend(self.log)
        self.recorder = Recorder(self.backend, clock=lambda: self.us, retry_s=0, snapshot_every=9)
        self.days = Days(lambda: self.us, lambda: self.steady_s)
        self.started_us, self.started_s = self.us, self.steady_s
        self.recorder.record(lambda state: forfeit_open(state, "restart"))

    def teardown(self) -> None:
        """Check the whole log from its bytes, and remove everything."""
        try:
            self.recorder.close()
            with contextlib.closing(self.log.reader()) as log:
                assert check(log) == []
        finally:
            shutil.rmtree(self.folder)

    @initialize(second=st.sampled_from((-86_400, -3600, -301, -60, -59, -1, 0)), limits=st.tuples(LIMITS, LIMITS))
    def begin(self, second: int, limits: Sequence[int | None]) -> None:
        """Begin shortly before a midnight, with two bindings."""
        self.us += second * SECOND
        self.restart(True, "nothing", 0)
        for name, limit in zip("ab", limits, strict=True):
            self.put(name, limit)

    # What people do in git.

    def put(self, name: str, limit: int | None) -> None:
        """Create a binding, or change its limit."""
        kind = ev.BindingChanged if name in self.limits else ev.BindingCreated
        spec: dict[str, object] = {"provider": "openai", "model": "m"}
        if limit is not None:
            spec["maxTokensPerDay"] = limit
        payload = kind(spec=spec, previous=None, changed=[], file="m.yaml", line=1, revision="a" * 40)
        receipt = self.recorder.record(lambda _state: [ev.Draft("ann", f"model/{name}", payload)])
        self.limits[name], self.versions[name] = limit, receipt.first

    @rule(name=NAMES, limit=LIMITS, away=st.booleans())
    def change(self, name: str, limit: int | None, away: bool) -> None:
        """Change a limit, or delete a binding; it may come back with another limit, and finds its day as it was."""
        if name in self.limits and away:
            payload = ev.BindingDeleted(spec=None, previous={}, changed=[], file="m.yaml", line=1, revision="b" * 40)
            self.recorder.record(lambda _state: [ev.Draft("ann", f"model/{name}", payload)])
            del self.limits[name]
        else:
            self.put(name, limit)

    # What requests do.

    def today(self) -> str:
        """Give the day that counts now."""
        return max(self.day, self.days.today())

    def held(self, account: tuple[str, str]) -> int:
        """Give what requests in flight hold of an account."""
        return sum(flight.tokens for flight in self.flights.values() if flight.account == account)

    def left(self, name: str) -> int:
        """Give what is left of a binding's day by the machine's own account; a great deal without a limit."""
        limit, account = self.limits.get(name), (name, self.today())
        return 1000 if limit is None else max(0, limit - self.counted[account] - self.held(account))

    def asking(self, name: str, amount: int, lower: bool, made: list[Reserved]) -> tuple[str, Decide]:
        """Give a new request's id and its decision, which also puts what it made into `made`."""
        self.number += 1
        request, day = f"r{self.number}", self.days.today()
        asked = Ask(input=min(1, amount), counted=0, output=amount - min(1, amount))

        def decide(state: State) -> list[ev.Draft]:
            reserved = reserve(
                state, name, asked, lower=lower, day=day, request=request, agent="x", key="k", surface="openai"
            )
            made.append(reserved)
            return [reserved.draft]

        return request, decide

    def took_off(self, name: str, request: str, receipt: Receipt) -> Flight:
        """Note a reservation that is durable, and check what it says."""
        (event,) = receipt.events
        payload = event.payload
        assert isinstance(payload, ev.TokensReserved)
        assert (payload.request, payload.day, payload.binding) == (request, self.today(), self.versions[name])
        flight = self.flights[request] = Flight(name, payload.day, payload.tokens)
        self.day = flight.day
        self.ceiling[flight.account] = self.limits[name]
        return flight

    @rule(name=NAMES, size=SIZES, lower=st.booleans())
    def reserve(self, name: str, size: Size, lower: bool) -> None:
        """Ask for tokens: granted if they fit, and lowered to what is left if they may be."""
        limit, left = self.limits.get(name), self.left(name)
        amount = size.of(limit, left)
        request, decide = self.asking(name, amount, lower, [])
        least = min(2, amount) if lower else amount
        if name not in self.limits:
            with pytest.raises(NotFound):
                self.recorder.record(decide)
        elif limit is not None and least > left:
            with pytest.raises(Denied) as caught:
                self.recorder.record(decide)
            assert caught.value.denial[1:] == (least, left)
        else:
            flight = self.took_off(name, request, self.recorder.record(decide))
            assert flight.tokens == (amount if limit is None else min(amount, left))

    @rule(name=NAMES, more=st.sampled_from((0, 1)))
    def reserve_part(self, name: str, more: int) -> None:
        """Ask for about half of what is left, so that several requests are in flight."""
        self.reserve(name, Size("half", more), False)

    @precondition(lambda self: self.limits)
    @rule(pick=PICKS, size=SIZES, callers=st.integers(2, 3))
    def reserve_together(self, pick: int, size: Size, callers: int) -> None:
        """Ask from several threads at once: as many are granted as fit."""
        name = sorted(self.limits)[pick % len(self.limits)]
        limit, left = self.limits[name], self.left(name)
        amount = size.of(limit, left)
        granted: dict[str, Receipt] = {}
        asked = [self.asking(name, amount, False, []) for _ in range(callers)]

        def call(request: str, decide: Decide) -> None:
            def slowly(state: State) -> Sequence[ev.Draft]:
                drafts = decide(state)
                time.sleep(0.001)  # whoever may come in between, does
                return drafts

            with contextlib.suppress(Denied):
                granted[request] = self.recorder.record(slowly)

        threads = [threading.Thread(target=call, args=each) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for request, receipt in granted.items():
            self.took_off(name, request, receipt)
        assert len(granted) == (callers if limit is None else min(callers, left // amount))

    def picked(self, pick: int) -> tuple[str, Flight]:
        """Give one of the requests in flight."""
        return list(self.flights.items())[pick % len(self.flights)]

    def landed(self, request: str, counted: int, real: int) -> None:
        """Note an outcome."""
        flight = self.flights.pop(request)
        self.counted[flight.account] += counted
        self.real[flight.account] += real
        self.ended.append(request)

    @precondition(lambda self: self.flights)
    @rule(pick=PICKS, charge=CHARGES)
    def settle(self, pick: int, charge: Charge) -> None:
        """The provider says what it charged."""
        request, flight = self.picked(pick)
        tokens = charged(charge, flight.tokens)
        self.recorder.record(lambda state: settle(state, request, usage(tokens), status=200, durations=NO_DURATIONS))
        self.landed(request, tokens, tokens)

    @precondition(lambda self: self.flights)
    @rule(pick=PICKS, charge=CHARGES)
    def settle_late(self, pick: int, charge: Charge) -> None:
        """The provider says what it charged after midnight, when others have begun with the new day."""
        self.pass_midnight(60)
        for name in list(self.limits):
            self.reserve(name, Size("half", 0), False)
        self.settle(pick, charge)

    @precondition(lambda self: self.flights)
    @rule(pick=PICKS)
    def void(self, pick: int) -> None:
        """The provider refuses the request and charges nothing."""
        request, _ = self.picked(pick)
        self.recorder.record(lambda state: void(state, request, status=429, durations=NO_DURATIONS, reason="refused"))
        self.landed(request, 0, 0)

    @precondition(lambda self: self.flights)
    @rule(pick=PICKS, charge=CHARGES, said=st.sampled_from((None, -1, 2**53)))
    def forfeit(self, pick: int, charge: Charge, said: int | None) -> None:
        """The connection is lost, or the provider says what cannot be; it charges what it likes."""
        request, flight = self.picked(pick)

        def decide(state: State) -> list[ev.Draft]:
            if said is None:
                return forfeit(state, request, status=0, durations=NO_DURATIONS, reason=UNUSABLE)
            return settle(state, request, usage(said), status=200, durations=NO_DURATIONS)

        receipt = self.recorder.record(decide)
        assert [getattr(event.payload, "reason", "") for event in receipt.events] == [UNUSABLE]
        self.landed(request, flight.tokens, charged(charge, flight.tokens))

    @precondition(lambda self: self.ended)
    @rule(pick=PICKS, outcome=st.sampled_from((settle, void, forfeit)))
    def resolve_again(self, pick: int, outcome: object) -> None:
        """A second outcome of whatever kind is no event."""
        request = self.ended[-1 - pick % len(self.ended)]

        def decide(state: State) -> list[ev.Draft]:
            if outcome is settle:
                return settle(state, request, usage(1), status=200, durations=NO_DURATIONS)
            resolve = void if outcome is void else forfeit
            return resolve(state, request, status=0, durations=NO_DURATIONS, reason="again")

        assert self.recorder.record(decide).events == ()

    # What happens to the machine.

    @precondition(lambda self: self.flights and self.number - self.started >= 3)
    @rule(clean=st.booleans(), charge=CHARGES, jump=st.sampled_from((-86_400, 0, 86_400, -3600)))
    def restart(self, clean: bool, charge: Charge, jump: int) -> None:
        """End in order, or by losing all that is not on the disk; the provider goes on, and the clock may be set."""
        self.started = self.number
        self.us += jump * SECOND
        if not clean:
            self.log = self.left_on_disk()
        self.recorder.close()
        self.open()
        for request, flight in list(self.flights.items()):
            self.landed(request, flight.tokens, charged(charge, flight.tokens))

    def left_on_disk(self) -> Log:
        """Give what a machine without power has of the log."""
        place = self.folder / f"{time.monotonic_ns()}"
        place.mkdir()
        for name in ("log.db", "log.db-wal"):
            shutil.copy(self.folder / self.place / name, place / name)
        self.place = place.name
        return SqliteLog(place / "log.db")

    @contextlib.contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        """Let the next commit fail: without reaching the disk, after it did, or so that nobody knows for a while."""
        due = self.backend.due
        due.before_commit = int(fault == "before_commit")
        due.after_commit = int(fault != "before_commit")
        due.opens = int(fault == "unknown")
        yield
        assert (due.before_commit, due.after_commit, due.opens) == (0, 0, 0)

    def insist(self, decide: Decide) -> Receipt:
        """Record it as soon as the log can be written again."""
        for _ in range(10):
            with contextlib.suppress(LogNotWritable):
                return self.recorder.record(decide)
        pytest.fail("the log does not recover")

    @precondition(lambda self: any(self.left(name) for name in self.limits))
    @rule(pick=PICKS, fault=FAULTS)
    def reserve_badly(self, pick: int, fault: str) -> None:
        """A reservation's commit fails: nothing leaves unless it is there all the same, and what is there is voided."""
        names = [name for name in sorted(self.limits) if self.left(name)]
        name = names[pick % len(names)]
        request, decide = self.asking(name, self.left(name), False, [])
        try:
            with self.failing(fault):
                receipt = self.recorder.record(decide)
        except LogNotWritable:
            assert fault != "after_commit"
        else:
            assert fault == "after_commit"
            self.took_off(name, request, receipt)
            return
        receipt = self.insist(lambda state: void(state, request, status=0, durations=NO_DURATIONS, reason="unsent"))
        assert len(receipt.events) == int(fault == "unknown")
        if receipt.events:
            self.day = self.today()
            self.ceiling[name, self.day] = self.limits[name]
            self.ended.append(request)

    @precondition(lambda self: self.flights)
    @rule(pick=PICKS, fault=FAULTS, charge=CHARGES)
    def settle_badly(self, pick: int, fault: str, charge: Charge) -> None:
        """A settlement's commit fails: settled again once the log can be written, it counts once."""
        request, flight = self.picked(pick)
        tokens = charged(charge, flight.tokens)

        def decide(state: State) -> list[ev.Draft]:
            return settle(state, request, usage(tokens), status=200, durations=NO_DURATIONS)

        with self.failing(fault):
            try:
                self.recorder.record(decide)
            except LogNotWritable:
                assert fault != "after_commit"
            else:
                assert fault == "after_commit"
        receipt = self.insist(decide)
        assert len(receipt.events) == int(fault == "before_commit")
        self.landed(request, tokens, tokens)

    @rule(seconds=SPANS)
    def pass_by(self, seconds: int) -> None:
        """Let time pass."""
        self.steady_s += seconds
        self.us += seconds * SECOND

    @rule(seconds=st.sampled_from((0, 1, -1, 60, 86_399)))
    def pass_midnight(self, seconds: int) -> None:
        """Let time pass until so many seconds after the next midnight of the wall clock."""
        self.pass_by((-self.us // SECOND) % 86_400 + seconds)

    @rule(seconds=JUMPS)
    def jump(self, seconds: int) -> None:
        """Set the wall clock."""
        self.us += seconds * SECOND

    # What must always hold.

    @invariant()
    def day_is_near_the_steady_clocks(self) -> None:
        """The day begins at the midnight of the clock that nobody sets, but for five minutes and the drift."""
        passed = self.steady_s - self.started_s
        now, slack = self.started_us + passed * SECOND, (TOLERANCE_S + passed / DRIFT) * SECOND
        assert format_time(round(now - slack))[:10] <= self.days.today() <= format_time(round(now + slack))[:10]

    @invariant()
    def nothing_passes_the_limit(self) -> None:
        """Counted and held tokens of any day stay within the limit at its last grant, and cover what was charged."""
        for account, limit in self.ceiling.items():
            assert limit is None or self.counted[account] + self.held(account) <= limit
        assert all(real <= self.counted[account] for account, real in self.real.items())

    @invariant()
    def log_tells_the_same(self) -> None:
        """By the log's bytes each reservation has one outcome or is in flight, and the days count what they must."""
        self.told.read(self.log)
        resolved = self.told.outcomes
        assert set(resolved.values()) <= {1}
        assert {r: f for r, f in self.told.reserved.items() if r not in resolved} == self.flights
        assert +self.told.counted == +self.counted

    @invariant()
    def ledger_is_what_a_replay_gives(self) -> None:
        """The live accounts are the machine's own; replay and projection give the same."""
        live = self.recorder.read(State.freeze)
        ledger, day = live.ledger, self.today()
        for name in ("a", "b"):
            account = (name, day)
            assert ledger.account(name, ledger.today(day)) == Account(day, self.counted[account], self.held(account))
        opened = {request: Flight(r.model, r.day, r.tokens) for request, r in ledger.open.items()}
        assert opened == self.flights
        with contextlib.closing(self.log.reader()) as log:
            assert replayed(log).digest() == live.digest()
            assert projected(log).ledger.accounts == ledger.accounts


class BudgetsInMemory(Budgets):
    """The same on a log in memory: what holds is the ledger's and the recorder's, and not SQLite's."""

    kind = "memory"

    def left_on_disk(self) -> Log:
        """Give a copy."""
        assert isinstance(self.log, MemoryLog)
        return self.log.copied()


@pytest.fixture(autouse=True, scope="module")
def far_from_utc() -> Iterator[None]:
    """Live where the day begins 5 h 30 min before UTC's."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "XXX-5:30"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


TestBudgets = Budgets.TestCase
TestBudgetsInMemory = BudgetsInMemory.TestCase
# Shrinking takes minutes; the printed blob repeats a failure, PAI_SHRINK=1 makes it small.
TestBudgets.settings = TestBudgetsInMemory.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.shrink or "PAI_SHRINK" in os.environ],
)
