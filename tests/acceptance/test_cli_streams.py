"""Commands whose output goes nowhere, or only part of the way: readers that leave, descriptors that are closed."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import threading

import pytest

from reconciler.log.lock import WriterLock
from tests.support import PAI, Site, binding


def _shell(site: Site, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line.replace("pai", shlex.quote(PAI), 1)],
        env=site.environment,
        cwd=site.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("words", [["log"], ["log", "-o", "jsonl"], ["log", "--reverse", "-o", "csv"]])
def test_a_reader_that_leaves_early_is_no_error(site: Site, words: list[str]) -> None:
    """`pai log | head` ends quietly with exit code 0, also in the middle of the log."""
    site.clone().pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(100)})
    site.pai("reconcile")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [PAI, *words], env=site.environment, cwd=site.root, stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("line", "code"),
    [("pai log >&-", 0), ("pai get models nobody >&- 2>&-", 1), ("pai apply -f - <&-", 2), ("pai verify <&- >&-", 0)],
)
def test_closed_streams_change_nothing_but_the_output(team: Site, line: str, code: int) -> None:
    """The exit code is the usual one, and nothing is written into a file that took the place of a closed stream."""
    done = _shell(team, line)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    team.pai("verify")


def test_what_takes_over_a_second_shows_a_bar_on_a_terminal(team: Site) -> None:
    """While another command holds the log, the one that waits says so on a terminal, and wipes it off in the end."""
    lock = WriterLock(team.database.with_name("log.db.lock"))
    ours, theirs = pty.openpty()
    timer = threading.Timer(2.0, lock.release)
    timer.start()
    environment = {**team.environment, "TERM": "xterm"}
    try:
        done = subprocess.run(
            [PAI, "reconcile"], env=environment, cwd=team.root, stdout=subprocess.PIPE, stderr=theirs, check=False
        )
    finally:
        timer.join()
        os.close(theirs)
    shown = _all_of(ours).decode()
    assert done.returncode == 0
    assert shown.startswith("\rreconciling [")
    assert shown.endswith("\r")
    assert shown.split("\r")[-2].strip() == ""
    assert b"in force" in done.stdout


def _all_of(terminal: int) -> bytes:
    """Read what was written to a terminal that nobody has open any more: its end is an error."""
    parts = []
    with open(terminal, "rb", buffering=0) as stream, contextlib.suppress(OSError):
        while part := stream.read(4096):
            parts.append(part)
    return b"".join(parts)
