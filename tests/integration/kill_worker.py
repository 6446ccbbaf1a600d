"""Reconcilers to be killed, for test_kill.py: for every line on stdin a fresh process that passes without end.

Each is forked from this one, which has done the slow imports and opened nothing yet. A line `start PID` says that one
is about to open the workspace, a number is the log's length that it has acknowledged, `end` that it is gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pygit2  # noqa: F401 - before the fork, so that kills hit the work and not the imports

from reconciler.core.errors import LogBusy
from reconciler.manifests.judging import judge
from reconciler.manifests.reading import read_manifests
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import BAD, agent, binding


def say(text: object) -> None:
    """Write a line at once and whole."""
    os.write(1, f"{text}\n".encode())


def work(root: Path) -> None:
    """Open the workspace and reconcile until the end."""
    say(f"start {os.getpid()}")
    while True:
        try:
            with Parts(Workspace.open(root, {}), wait_s=5) as parts:
                while True:
                    parts.reconciler.run()
                    say(parts.recorder.read(lambda state: state.position))
                    parts.reconciler.save()
        except LogBusy:
            continue


def main() -> None:
    """Fork one worker a line and wait for its end."""
    judge({name: read_manifests(text.encode()) for name, text in (("a", BAD), ("b", binding("b")), ("c", agent("c")))})
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(Path(sys.argv[1]))
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        say("end")


if __name__ == "__main__":
    main()
