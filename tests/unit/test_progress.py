"""The progress bar: when it shows, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import io
import re
import time

import pytest

from reconciler.cli.progress import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def until_drawn(stream: io.StringIO) -> None:
    deadline = time.monotonic() + 10
    while not stream.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_bar_is_drawn_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn over itself on one line, and at the end the line is empty again."""
    monkeypatch.delenv("TERM", raising=False)
    stream = Terminal()
    with Progress("judging", stream=stream, after_s=0):
        until_drawn(stream)
    parts = stream.getvalue().split("\r")
    assert re.match(r"judging \[ *===== *\]", parts[1]), "the bar moves: where it is hangs on when it was drawn"
    assert parts[-1] == ""
    assert parts[-2].strip() == ""
    assert len(parts[-2]) >= len(parts[1].rstrip())
    assert "\n" not in stream.getvalue()


def test_bar_counts_when_there_is_a_total() -> None:
    """Figures have separators, and more than all is not drawn."""
    progress = Progress("verifying", 8000, stream=io.StringIO())
    assert progress.line() == f"verifying [{' ' * 24}] 0 of 8,000"
    progress.add(4000)
    assert progress.line() == f"verifying [{'=' * 12}{' ' * 12}] 4,000 of 8,000"
    progress.add(9000)
    assert progress.line() == f"verifying [{'=' * 24}] 13,000 of 8,000"


def test_bar_without_a_total_keeps_its_width() -> None:
    """It moves to and fro inside its brackets."""
    progress = Progress("judging", stream=io.StringIO())
    seen = set()
    for tenths in range(100):
        progress._began = time.monotonic() - tenths / 10
        bar = progress.line().partition("]")[0]
        assert (len(bar), bar.count("=")) == (len("judging [") + 24, 5)
        seen.add(bar)
    assert len(seen) > 15


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")])
def test_no_bar_where_none_can_be_drawn(stream: io.StringIO, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, pipes and terminals without a cursor get nothing."""
    monkeypatch.setenv("TERM", term)
    with Progress("judging", stream=stream, after_s=0):
        time.sleep(0.05)
    assert stream.getvalue() == ""


def test_no_bar_for_what_is_quickly_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes less than a second leaves the terminal alone."""
    monkeypatch.delenv("TERM", raising=False)
    stream = Terminal()
    with Progress("judging", stream=stream):
        pass
    assert stream.getvalue() == ""
