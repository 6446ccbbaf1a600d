"""The check of a log: many events at a time says what one by one says, and two processes what one says."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.events import are_canonical, decode, decode_all
from reconciler.log.check import beside
from reconciler.log.check.stored import BytesCheck, check_bytes
from reconciler.log.check.whole import Marks, check
from reconciler.log.problems import LogProblem
from reconciler.log.sqlite.store import open_reader
from reconciler.tlog.merkle import Frontier, leaf_hash
from tests.integration.test_log_tampering import tamper
from tests.support_log import binding, new_log, secret, stored, with_snapshots

DRAFTS = [binding(f"m{n % 3}", n) if n % 2 else secret(f"s{n % 4}") for n in range(12)]
ENTRIES = [tuple(each) for each in stored(0, DRAFTS)]
CHANGES = (
    (b'"time":"2027', b'"time":"2026'),
    (b'"time":"2027', b'"time":"2028'),
    (b'"time":"2027-01-15', b'"time":"2027-02-30'),
    (b'"id":"0', b'"id":"8'),
    (b'"id":"01', b'"id":"00'),
    (b'"id":"01', b'"id":"0I'),
    (b'"id":"0', b'"id":"'),
    (b'{"actor"', b'{ "actor"'),
    (b'"data"', b'\n"data"'),
    (b"tester", b"te\\u0073ter"),
    (b"secret.stored.v1", b"secret.stored.v2"),
    (b'"subject"', b'"sabject"'),
    (b"}", b"]"),
    (b'"line":1', b'"line":1.0'),
    (b'{"actor"', b'{"actor":"x","actor"'),
    (b'"maxTokensPerDay":7', b'"maxTokensPerDay":7.0'),
    (b'"spec":{', b'"spec":{"\xf0\x9f\x98\x80":1,"\xee\x80\x80":1,'),
)
HARMLESS = ((b'Z","type"', b'+00:00","type"'), (b"0000Z", b"Z"), (b"digest", "dïgest".encode()))


class _OneByOne(BytesCheck):
    """The check without its quick way."""

    def _all_right(self, entries: Sequence[object]) -> bool:
        return not entries


def _problems(check_: BytesCheck, entries: Sequence[tuple[int, bytes, bytes]], step: int) -> list[LogProblem]:
    found: list[LogProblem] = []
    for at in range(0, len(entries), step):
        found += check_.take(entries[at : at + step])
    return found


@settings(max_examples=300, deadline=None)
@given(
    step=st.integers(1, 12),
    changes=st.lists(st.tuples(st.integers(0, 11), st.sampled_from(CHANGES + HARMLESS)), max_size=3),
    swaps=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=2),
    dropped=st.none() | st.integers(0, 11),
)
def test_many_at_a_time_says_what_one_by_one_says(
    step: int,
    changes: list[tuple[int, tuple[bytes, bytes]]],
    swaps: list[tuple[int, int]],
    dropped: int | None,
) -> None:
    """Whatever is wrong with some events, reading them in batches finds exactly the same problems."""
    bodies = [body for _, body, _ in ENTRIES]
    for place, (old, new) in changes:
        bodies[place] = bodies[place].replace(old, new, 1)
    for one, other in swaps:
        bodies[one], bodies[other] = bodies[other], bodies[one]
    entries = [(seq, body, leaf_hash(body)) for seq, body in enumerate(bodies) if seq != dropped]

    quick, slow = BytesCheck(_no_hashes, Frontier()), _OneByOne(_no_hashes, Frontier())
    found = _problems(quick, entries, step)

    assert found == _problems(slow, entries, 12)
    assert quick.frontier.pack() == slow.frontier.pack()


def _no_hashes(*_: int) -> list[bytes]:
    raise AssertionError("twelve events complete no subtree")


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_each_change_is_a_problem(old: bytes, new: bytes) -> None:
    """Every change that the comparison above is made with is one that the check complains about."""
    changed = next(seq for seq, body, _ in ENTRIES if seq > 4 and old in body)
    bodies = [body.replace(old, new, 1) if seq == changed else body for seq, body, _ in ENTRIES]

    entries = [(seq, body, leaf_hash(body)) for seq, body in enumerate(bodies)]

    assert _problems(BytesCheck(_no_hashes, Frontier()), entries, 12)


def test_lines_within_bodies_do_not_pass_for_events() -> None:
    """Bodies that hold line breaks, or parts of two events, are never taken for events that they are not."""
    one, two = (body for _, body, _ in ENTRIES[:2])
    middle = two.index(b',"data"')
    torn = [[one + b"\n" * n + two[:middle], two[middle:]] for n in (1, 2, 3)]

    assert decode_all([one, two]) == decode_all([one + b"\n", two]) == [decode(one), decode(two)]
    assert not are_canonical([one + b"\n" + two, b""], [decode(one), decode(two)])
    for bodies in (*torn, [one, b""], [one + b"\n" + two], [one + b"\n" + two, b""]):
        with pytest.raises(ValueError, match=r"."):
            decode_all(bodies)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with events, rows, snapshots and an index; it checks clean."""
    made = new_log(tmp_path)
    with_snapshots(made)
    return made


@pytest.fixture(params=["beside", "here"])
def second(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process, once as it is, once as one that runs in this process and can be looked into."""
    if request.param == "here":
        monkeypatch.setattr(beside.subprocess, "Popen", Here)


class Here:
    """A second process that is no other one."""

    def __init__(self, _: Sequence[str], stdin: IO[bytes], stdout: IO[bytes], **_rest: int) -> None:
        self.code = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
            patch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))
            try:
                beside.main()
            except Exception:
                self.code = 1

    def wait(self) -> int:
        """Give the code that it ended with."""
        return self.code

    def kill(self) -> None:
        """Do nothing: it has ended."""


@pytest.mark.usefixtures("second")
def test_second_process_finds_the_same(path: Path) -> None:
    """The bytes' half, done by another process, gives the findings that it gives here."""
    tamper(path, "UPDATE events SET body = x'7b7d' WHERE seq IN (5, 40)")
    asked = (Frontier(), 60, [3, 0, 41, 99], True)
    with contextlib.closing(open_reader(path)) as log, beside.start(str(path), *asked) as helper:
        assert helper is not None
        found = helper.findings()
        assert found == check_bytes(log, *asked)
    assert found is not None
    assert set(found.frontiers) == {0, 3, 41, 60}
    assert {problem.position for problem in found.problems} == {5, 40}


@pytest.mark.usefixtures("second")
def test_second_process_says_nothing_of_a_log_that_begins_elsewhere(path: Path) -> None:
    """It was pruned meanwhile."""
    with beside.start(str(path), Frontier(1, (leaf_hash(b""),)), 60, [], False) as helper:
        assert helper is not None
        assert helper.findings() is None


def test_answer_of_another_version_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program may be replaced while it runs."""
    with beside.start(str(path), Frontier(), 60, [], False) as helper:
        monkeypatch.setattr(beside, "__version__", "0")
        assert helper is not None
        assert helper.findings() is None


@pytest.mark.parametrize(
    ("cpus", "events", "worth"), [(2, 50_000, True), (2, 49_999, False), (1, 50_000, False), (None, 50_000, False)]
)
@pytest.mark.parametrize("counted", ["all", "allowed"])
def test_second_process_is_for_long_logs_on_more_than_one_cpu(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, events: int, worth: bool, counted: str
) -> None:
    """What counts are the CPUs that this process may use, where the system tells; one, where it tells nothing."""
    if counted == "allowed":
        monkeypatch.setattr(beside.os, "sched_getaffinity", lambda _: set(range(cpus or 1)), raising=False)
        monkeypatch.setattr(beside.os, "cpu_count", lambda: 3 - (cpus or 1))
    else:
        monkeypatch.delattr(beside.os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(beside.os, "cpu_count", lambda: cpus)
    assert beside.is_worth_it(events) is worth


@pytest.mark.parametrize("broken", [False, True])
def test_check_with_two_processes_is_the_check(path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    """With a second process, and with one that fails, a check finds the same problems, roots and sizes."""
    tampered = path.with_name("tampered.db")
    shutil.copy(path, tampered)
    tamper(tampered, "DELETE FROM events WHERE seq = 33", "UPDATE marks SET offsets = x'' WHERE block = 12")
    monkeypatch.setattr(beside, "EVENTS_MIN", 1)
    monkeypatch.setattr(beside.os, "sched_getaffinity", lambda _: {0, 1})
    if broken:
        monkeypatch.setattr(beside, "_HELPER", "raise SystemExit(1)")

    for file in (path, tampered):
        alone, helped = Marks([7, 30]), Marks([7, 30])
        with contextlib.closing(open_reader(file)) as log:
            wanted = check(log, marks=alone)
            assert check(log, marks=helped, place=str(file)) == wanted
        assert bool(wanted) == (file == tampered)
        assert helped.roots == alone.roots
        assert {0, 7, 30} <= set(alone.roots)


def test_problems_are_told_by_position(path: Path) -> None:
    """Both halves' problems come in one order: events by position first, what concerns none of them after."""
    places = [3, 20, 21, 58]
    tamper(path, "UPDATE events SET body = x'7b7d' WHERE seq IN (3, 20, 21, 58)")
    with contextlib.closing(open_reader(path)) as log:
        problems = check(log)

    positions = [problem.position for problem in problems]
    told = [position for position in positions if position is not None]
    assert told == sorted(told)
    assert sorted(set(told)) == places
    assert positions[: len(told)] == told
