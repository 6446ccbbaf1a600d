"""A worker's turns: when they come, who is answered by which, and what is told while they fail."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from reconciler.core.errors import CouldNotRun, PaiError, SourceUnavailable
from reconciler.daemon.worker import Pauses, Worker
from tests.support import until

NEVER_S = 3600.0
LOG = logging.getLogger("pai.test")


class Work:
    """Turns that are counted, wait while they are held, and raise `error` if there is one."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.at: list[float] = []
        self.error: Exception | None = None
        self.again_s: float | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()

    def turn(self, asked: bool) -> float | None:
        """Take one turn."""
        self.asked.append(asked)
        self.at.append(time.monotonic())
        self.goes_on.wait(30)
        if self.error is not None:
            raise self.error
        return self.again_s


@pytest.fixture
def work() -> Work:
    """Give work that goes well and asks for no further turn."""
    return Work()


Make = Callable[..., Worker]


@pytest.fixture
def make(work: Work) -> Iterator[Make]:
    """Give a function that makes workers, which are stopped at the end."""
    made: list[Worker] = []

    def worker(pauses: Pauses = Pauses(NEVER_S, NEVER_S), **options: object) -> Worker:  # noqa: B008 (a value)
        made.append(Worker("pai-test", "testing", work.turn, pauses, LOG, **options))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield worker
    work.goes_on.set()
    for each in made:
        each.stop()


def test_pauses_double_up_to_the_longest() -> None:
    """Each further failure doubles the pause, and a thousand of them are no overflow."""
    assert [Pauses(1, 30).after(n) for n in (1, 2, 3, 5, 6, 1100)] == [1, 2, 4, 16, 30, 30]


def test_pauses_are_spread() -> None:
    """Pauses of many daemons differ, within the part that is allowed."""
    found = {Pauses(10, 100, 0.2).after(1) for _ in range(100)}
    assert len(found) > 50
    assert min(found) >= 8
    assert max(found) <= 12


def test_first_turn_comes_by_itself_and_answers_who_asked_before(work: Work, make: Make) -> None:
    """The start counts as asking; without an interval nothing else happens until somebody asks."""
    worker = make()
    until("the first turn", lambda: work.asked == [True])
    worker.wait(worker.ask(), 30)
    assert work.asked == [True, True]
    assert (worker.due, worker.began, worker.problem) == (None, None, "")


def test_turn_comes_again_when_it_said_so_unless_somebody_asks(work: Work, make: Make) -> None:
    """A turn is told whether it comes because somebody asked."""
    work.again_s = 0.01
    make()
    until("three turns", lambda: len(work.asked) > 2)
    assert work.asked[:3] == [True, False, False]


def test_many_who_ask_during_a_turn_get_one_further_turn(work: Work, make: Make) -> None:
    """A turn under way is too old for who asks now, and one is enough for all of them."""
    work.goes_on.clear()
    worker = make()
    until("the first turn", lambda: len(work.asked) == 1)
    assert worker.began is not None
    numbers = [worker.ask() for _ in range(100)]
    work.goes_on.set()
    for number in numbers:
        worker.wait(number, 30)
    assert len(work.asked) == 2


def test_who_waits_gets_the_error_until_a_turn_goes_well(work: Work, make: Make) -> None:
    """An error is kept, raised to whoever waits, and gone with the next good turn."""
    work.error = SourceUnavailable("no answer", "wait")
    worker = make()
    with pytest.raises(SourceUnavailable, match="no answer"):
        worker.wait(worker.ask(), 30)
    assert worker.problem == "no answer"
    work.error = None
    worker.wait(worker.ask(), 30)
    assert worker.problem == ""


def test_bug_is_an_error_and_the_thread_goes_on(work: Work, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is told once with its stack, and every turn after it is tried all the same."""
    work.error = ZeroDivisionError("bug")
    worker = make()
    for _ in range(3):
        with pytest.raises(CouldNotRun, match="internal error while testing: ZeroDivisionError"):
            worker.wait(worker.ask(), 30)
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]
    assert worker.alive


def test_each_error_is_told_once_until_there_is_another(
    work: Work, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that stays the same is one line, whatever the number of tries; a good turn ends it."""
    worker = make(said=lambda error: f"broken: {error.message}")
    for error in (None, "a", "a", "b", None, "b"):
        work.error = SourceUnavailable(error) if error else None
        with contextlib.suppress(SourceUnavailable):
            worker.wait(worker.ask(), 30)
    assert [record.getMessage() for record in caplog.records] == ["broken: a", "broken: b", "broken: b"]


def test_failed_turn_comes_again_after_its_pause(work: Work, make: Make) -> None:
    """The first pauses in a row are short, and each is twice as long as the one before."""
    work.error = SourceUnavailable("x")
    make(Pauses(0.04, 10))
    until("four turns", lambda: len(work.at) >= 4)
    pauses = [later - earlier for earlier, later in zip(work.at, work.at[1:], strict=False)][:3]
    assert all(pause >= least for pause, least in zip(pauses, (0.04, 0.08, 0.16), strict=True))


def test_error_may_ask_for_a_longer_pause(work: Work, make: Make) -> None:
    """A forge that asks to be left alone is, for an hour at most."""
    work.error = SourceUnavailable("busy")
    work.error.wait_s = 1e9
    worker = make(Pauses(0.01, 0.01))
    until("the first turn", lambda: worker.due is not None)
    assert worker.due is not None
    assert 3500 < worker.due - time.monotonic() <= 3600


def test_asking_cuts_a_pause_short_unless_the_worker_is_patient(work: Work, make: Make) -> None:
    """Who asks a patient worker in trouble waits with it."""
    work.error = SourceUnavailable("x")
    worker, patient = make(), make(patient=True)
    until("both first turns", lambda: len(work.asked) == 2 and None not in (worker.error, patient.error))
    patient.ask()
    with pytest.raises(CouldNotRun, match="did not finish testing in time"):
        patient.wait(patient.ask(), 0.05)
    with pytest.raises(SourceUnavailable):
        worker.wait(worker.ask(), 30)
    assert len(work.asked) == 3


def test_rest_is_kept_whoever_asks(work: Work, make: Make) -> None:
    """Between two turns there is a rest; asking a thousand times does not shorten it."""
    worker = make(rest_s=NEVER_S)
    until("the first turn", lambda: worker.began is None and len(work.asked) == 1)
    for _ in range(1000):
        worker.ask()
    with pytest.raises(CouldNotRun, match="in time"):
        worker.wait(worker.ask(), 0.05)
    assert len(work.asked) == 1


def test_stop_tells_who_waits_and_hastens_the_turn(work: Work, make: Make) -> None:
    """No turn begins any more; the one that runs may be ended by whoever stops."""
    work.goes_on.clear()
    worker = make(hasten=work.goes_on.set)
    until("the first turn", lambda: len(work.asked) == 1)
    number = worker.ask()
    failed: list[PaiError] = []

    def wait() -> None:
        try:
            worker.wait(number, 30)
        except PaiError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert worker.stop()
    waiting.join(30)
    assert [error.message for error in failed] == ["the daemon is stopping"]
    assert len(work.asked) == 1


def test_stop_leaves_a_turn_that_hangs(work: Work, make: Make) -> None:
    """What hangs does not keep the daemon from ending: `stop` says so after its time."""
    work.goes_on.clear()
    worker = make(stop_s=0.05)
    until("the first turn", lambda: len(work.asked) == 1)
    assert not worker.stop()


def test_every_turn_is_observed_before_who_waits_is_answered(work: Work, make: Make) -> None:
    """Metrics know of a turn when a command that waited for it goes on."""
    seen: list[PaiError | None] = []
    worker = make(observe=lambda _seconds, error: seen.append(error))
    worker.wait(worker.ask(), 30)
    work.error = SourceUnavailable("x")
    with pytest.raises(SourceUnavailable):
        worker.wait(worker.ask(), 30)
    assert seen[-1] is work.error
    assert seen[0] is None
