"""The watch on real repositories: it may call too often, never too seldom."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from watchfiles._rust_notify import RustNotify

from reconciler.source import watch, witness
from reconciler.source.git import Author, Repository
from reconciler.source.watch import Watch

from .conftest import Git

DEADLINE_S = 10.0
NEVER_POLLED_S = 300.0
"""A poll so slow that only the operating system's notices can explain a call."""


class Seen:
    """What a reconciler would see: the tip, read anew at every call."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self._folder = folder
        self._branch = branch
        self._changed = threading.Condition()
        self.tip: str | None = None
        self.calls = 0

    def wake(self) -> None:
        """Read the tip, as the watch asks for."""
        with self._changed:
            self.calls += 1
            self.tip = Repository.open(self._folder).tip(self._branch)
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a call made the condition true."""
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE_S)


@contextmanager
def watching(folder: Path, branch: str = "main", poll_s: float = NEVER_POLLED_S) -> Iterator[tuple[Seen, Watch]]:
    """Watch a branch, and see what a reconciler would."""
    seen = Seen(folder, branch)
    with Watch(folder, branch, seen.wake, poll_s) as running:
        yield seen, running


def poll(condition: Callable[[], bool]) -> None:
    """Wait for what no call announces."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_watch_notices_commits_pushes_packing_and_deletion(git: Git, bare: Git) -> None:
    """Every way in which git moves a ref ends in a call, by notice alone."""
    first = git.commit({"a": "1"})
    git("push", "--quiet", str(bare.folder), "main")
    with watching(bare.folder) as (seen, running):
        seen.until(lambda: seen.tip == first)
        second = git.commit({"a": "2"})
        git("push", "--quiet", str(bare.folder), "main")
        seen.until(lambda: seen.tip == second)
        bare("pack-refs", "--all")
        bare("update-ref", "refs/heads/main", first)
        seen.until(lambda: seen.tip == first)
        bare("pack-refs", "--all")
        bare("update-ref", "-d", "refs/heads/main")
        seen.until(lambda: seen.tip is None)
        bare("update-ref", "refs/heads/main", second)
        seen.until(lambda: seen.tip == second)
        assert running.error == ""


def test_watch_follows_a_branch_in_a_folder_that_comes_and_goes(git: Git) -> None:
    """The folder of `team/main` does not exist before its branch does, and vanishes with it."""
    first = git.commit({"a": "1"})
    second = git.commit({"a": "2"})
    with watching(git.folder, "team/main") as (seen, _):
        for _ in range(3):
            git("update-ref", "refs/heads/team/main", first)
            seen.until(lambda: seen.tip == first)
            git("update-ref", "refs/heads/team/main", second)
            seen.until(lambda: seen.tip == second)
            git("update-ref", "-d", "refs/heads/team/main")
            seen.until(lambda: seen.tip is None)


def test_watch_of_a_linked_work_tree_watches_the_common_refs(git: Git, tmp_path: Path) -> None:
    """A linked work tree keeps its branches in the main repository."""
    git.commit({"a": "1"})
    git("worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    with watching(tmp_path / "linked", "linked") as (seen, _):
        new = git.at(tmp_path / "linked").commit({"a": "2"})
        seen.until(lambda: seen.tip == new)


def test_watch_is_deaf_to_objects_and_index(git: Git) -> None:
    """Writing objects and refreshing the index call nobody."""
    git.commit({"a": "1"})
    with watching(git.folder) as (seen, _):
        seen.until(lambda: seen.tip is not None)
        before = seen.calls
        for number in range(20):
            git("hash-object", "-w", "--stdin", stdin=b"%d" % number)
        (git.folder / "b").write_text("x")
        git("add", "b")
        git("update-ref", "refs/heads/other", "main")
        seen.until(lambda: seen.calls > before)
        assert seen.calls - before <= 3, "the ref was announced, and nothing before it"


def test_watch_is_deaf_to_published_checkpoints(git: Git) -> None:
    """Pai's own ref wakes nobody, not even the first time, when its folder comes into being."""
    with watching(git.folder) as (seen, _):
        calls = seen.calls
        first = witness.publish(git.folder, None, {"checkpoint": b"1"}, "1\n", Author("Pai", "pai@localhost"))
        witness.publish(git.folder, first, {"checkpoint": b"2"}, "2\n", Author("Pai", "pai@localhost"))
        threading.Event().wait(0.3)
        assert seen.calls == calls
        sha = git.commit({"a": "1"})
        seen.until(lambda: seen.tip == sha)
    assert [found.files for found in witness.history(git.folder)] == [{"checkpoint": b"2"}, {"checkpoint": b"1"}]


def test_watch_finds_by_polling_what_no_notice_told(git: Git) -> None:
    """The slow look alone is enough: here all notices are about another repository's folder."""
    first = git.commit({"a": "1"})
    second = git.commit({"a": "2"})
    with watching(git.folder, poll_s=0.02) as (seen, running):
        seen.until(lambda: seen.tip == second)
        running._folders = list  # type: ignore[method-assign]
        git("update-ref", "refs/heads/main", first)
        seen.until(lambda: seen.tip == first)
        git("update-ref", "refs/heads/main", second)
        seen.until(lambda: seen.tip == second)


def test_watch_survives_a_repository_that_vanishes_and_comes_back(git: Git, tmp_path: Path) -> None:
    """The loss and the return are both announced, the error is told meanwhile, and notices work again after."""
    first = git.commit({"a": "1"})
    shutil.copytree(git.folder, tmp_path / "backup")
    git.commit({"a": "2"})
    seen: list[str] = []
    with Watch(git.folder, "main", lambda: seen.append("call"), poll_s=0.02) as running:
        poll(lambda: len(seen) == 1)
        shutil.rmtree(git.folder)
        poll(lambda: running.error != "")
        calls = len(seen)
        shutil.copytree(tmp_path / "backup", git.folder)
        poll(lambda: running.error == "" and len(seen) > calls)
        running._poll_ms = int(NEVER_POLLED_S * 1000)
        assert Repository.open(git.folder).tip("main") == first
        calls = len(seen)
        git("update-ref", "refs/heads/main", git.commit({"a": "3"}))
        poll(lambda: len(seen) > calls)


def test_watch_starts_without_a_repository(tmp_path: Path, git: Git) -> None:
    """A source that is not there yet is an error to tell, and watched as soon as it appears."""
    folder = tmp_path / "later.git"
    seen: list[str] = []
    with Watch(folder, "main", lambda: seen.append("call"), poll_s=0.02) as running:
        poll(lambda: "is not a git repository" in running.error)
        git.commit({"a": "1"})
        git("clone", "--quiet", "--bare", str(git.folder), str(folder))
        poll(lambda: running.error == "" and len(seen) >= 2)


def test_watch_outlives_a_wake_that_raises(git: Git) -> None:
    """An error of the callee is reported, and the next change calls again."""
    git.commit({"a": "1"})
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("callee")

    with Watch(git.folder, "main", fail, poll_s=NEVER_POLLED_S) as running:
        poll(lambda: "callee" in running.error)
        before = len(calls)
        git.commit({"a": "2"})
        poll(lambda: len(calls) > before)


def test_watch_outlives_notices_that_fail(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any notices (no inotify instances left, say) the slow look goes on."""
    first = git.commit({"a": "1"})
    second = git.commit({"a": "2"})

    def refuse(*_: object) -> None:
        raise OSError("no more watches")

    monkeypatch.setattr(watch, "RustNotify", refuse)
    with watching(git.folder, poll_s=0.02) as (seen, running):
        seen.until(lambda: seen.tip == second)
        git("update-ref", "refs/heads/main", first)
        seen.until(lambda: seen.tip == first)
        poll(lambda: "no more watches" in running.error)
        calls = seen.calls
        git("update-ref", "refs/heads/main", second)
        seen.until(lambda: seen.tip == second)
        assert seen.calls - calls <= 2


def test_watch_stops_quickly_and_twice(git: Git) -> None:
    """Stopping does not wait for the slow look."""
    git.commit({"a": "1"})
    running = Watch(git.folder, "main", lambda: None, poll_s=NEVER_POLLED_S)
    running.start()
    begin = time.monotonic()
    running.stop()
    running.stop()
    assert time.monotonic() - begin < 1
    assert not running._thread.is_alive()


def test_watch_looks_more_often_while_a_push_is_expected(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as that is said, although it was told to look less often, and for a while only."""
    steps: list[int] = []

    class Spied:
        def __init__(self, *arguments: Any) -> None:
            self._notices = RustNotify(*arguments)

        def __enter__(self) -> Spied:
            return self

        def __exit__(self, *_: object) -> None:
            self._notices.close()

        def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop: Any) -> Any:
            steps.append(step_ms)
            return self._notices.watch(debounce_ms, step_ms, timeout_ms, stop)

    monkeypatch.setattr(watch, "RustNotify", Spied)
    monkeypatch.setattr(watch, "HURRY_S", 0.3)
    with watching(git.folder) as (_, running):  # no poll ends the slow look
        poll(lambda: steps == [watch.STEP_MS])
        running.hurry()
        poll(lambda: steps == [watch.STEP_MS, watch.HURRY_STEP_MS])
    steps.clear()
    with watching(git.folder, poll_s=0.2) as (_, running):
        running.hurry()
        poll(lambda: watch.HURRY_STEP_MS in steps)
        poll(lambda: steps[-1] == watch.STEP_MS)
