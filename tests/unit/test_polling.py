"""Following a remote: when it is fetched, who waits for it, and what is told while it fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reconciler.core.errors import CouldNotRun, SourceUnavailable
from reconciler.daemon.polling import Poll
from tests.support import until


class Remote:
    """A remote whose fetches end when they are let go, as `error` says."""

    def __init__(self) -> None:
        self.error = ""
        self.begun = 0
        self.hangs = threading.Event()
        self.hangs.set()
        self.times = 0

    def fetch(self) -> None:
        """Wait until it is let go, and fail if there is an error."""
        self.begun += 1
        self.hangs.wait(30)
        if self.error:
            raise SourceUnavailable(self.error)
        self.times += 1

    def fetched(self) -> str:
        """Give how many fetches went well, as if that were a time."""
        return f"T{self.times}" if self.times else ""

    def cancel(self) -> None:
        """Let everything go, as a failure."""
        self.error = "cancelled"
        self.hangs.set()


@pytest.fixture
def remote() -> Remote:
    """Give a remote that answers at once."""
    return Remote()


@pytest.fixture
def woken() -> list[int]:
    """Give a list that grows with every wake-up."""
    return []


@pytest.fixture
def poll(remote: Remote, woken: list[int]) -> Iterator[Poll]:
    """Give a poll that would fetch again only after an hour."""
    poll = Poll(
        remote,
        "https://host/x",
        3600,
        lambda: woken.append(1),
        lambda seconds: f"in {seconds > 0}",
        lambda _seconds, _error: None,
    )
    poll.start()
    yield poll
    poll.stop()


def test_first_fetch_comes_at_once_and_the_next_when_somebody_says_so(
    poll: Poll, remote: Remote, woken: list[int]
) -> None:
    """A wake-up cuts the pause of an hour short, and each good fetch wakes whoever reads the mirror."""
    until("the first fetch", lambda: remote.times == 1)
    assert poll.read
    poll.wake()
    until("the second fetch", lambda: remote.times == 2)
    poll.request()
    assert (remote.times, len(woken)) == (3, 3)
    assert poll.status().problem == ""
    assert poll.status().fetched == "T3"
    assert poll.status().next == "in True"


def test_many_wakes_while_a_fetch_runs_are_one_further_fetch(poll: Poll, remote: Remote) -> None:
    """A flood of wake-ups costs one fetch, which begins after all of them."""
    until("the first fetch", lambda: remote.times == 1)
    remote.hangs.clear()
    poll.wake()
    until("a fetch that hangs", lambda: remote.begun == 2)
    for _ in range(1000):
        poll.wake()
    remote.hangs.set()
    poll.request()
    assert remote.begun in (3, 4)  # the flood and the request, together or one after the other


def test_request_waits_for_a_fetch_that_begins_after_it(poll: Poll, remote: Remote) -> None:
    """What a fetch under way finds is too old for who asks now."""
    until("the first fetch", lambda: remote.times == 1)
    remote.hangs.clear()
    poll.wake()
    until("a fetch that hangs", lambda: remote.begun == 2)
    done = threading.Event()
    asking = threading.Thread(target=lambda: (poll.request(), done.set()))
    asking.start()
    remote.hangs.set()
    assert done.wait(30)
    assert remote.begun == 3
    asking.join()


def test_failure_is_told_with_its_first_moment_and_a_good_fetch_ends_it(poll: Poll, remote: Remote) -> None:
    """`since` is the first failure in a row, `fetched` stays the last good one, and who asked gets the error."""
    until("the first fetch", lambda: remote.times == 1)
    remote.error = "no answer"
    with pytest.raises(SourceUnavailable, match="no answer"):
        poll.request()
    status = poll.status()
    assert (status.problem, status.since, status.fetched) == ("no answer", "in False", "T1")
    remote.error = ""
    poll.request()
    status = poll.status()
    assert (status.problem, status.since, status.fetched) == ("", "", "T2")


def test_stop_ends_a_fetch_that_hangs_and_whoever_waits_for_it(poll: Poll, remote: Remote) -> None:
    """Stopping cancels the fetch; a command that waits is told that the daemon stops."""
    until("the first fetch", lambda: remote.times == 1)
    remote.hangs.clear()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            poll.request()
        except (CouldNotRun, SourceUnavailable) as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until("a fetch that hangs", lambda: remote.begun == 2)
    poll.stop()
    asking.join(30)
    assert len(failed) == 1
    assert remote.begun == 2


def test_who_wakes_again_and_again_has_no_more_than_a_pace(
    poll: Poll, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery may be sent a thousand times: the remote is asked now and then, and once more for the last one."""
    monkeypatch.setattr(poll, "rest_s", 3600)
    until("the first fetch", lambda: remote.times == 1)
    poll.wake()
    until("the fetch that was woken", lambda: remote.times == 2)
    for _ in range(1000):
        poll.wake()
    assert remote.begun == 2
    poll.stop()
    assert remote.begun == 2
