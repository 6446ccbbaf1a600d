"""Run the daemon: it watches the config repository, brings every push into force and answers on the admin listener.

SIGTERM, SIGINT or SIGHUP ends it in order, with exit code 0. A second daemon in the same workspace is refused. With
--simulate simulated providers on this machine answer in place of all real ones: for a first hour without keys.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from reconciler.cli.output import note
from reconciler.cli.place import find_workspace
from reconciler.core.errors import CouldNotRun
from reconciler.providers import PROVIDERS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai serve`."""
    parser.add_argument("--simulate", action="store_true", help="let simulated providers answer, on this machine")


def run(args: argparse.Namespace) -> int:
    """Run the daemon until a signal ends it."""
    from reconciler.daemon.serve import serve

    find_workspace(args.workspace, strict=True)  # what is wrong with it comes before anything is started
    with _simulated() if args.simulate else contextlib.nullcontext():
        serve(find_workspace(args.workspace, strict=True), note)
    return 0


@contextlib.contextmanager
def _simulated() -> Iterator[None]:
    """Run the simulated providers in a process of their own, and have the settings lead to them."""
    # Nothing is imported from the current folder (-P); whatever ends the daemon ends it, too.
    command = [sys.executable, "-P", "-m", "reconciler.simulator", "--until-eof"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in PROVIDERS]
        if not all(lines):
            raise CouldNotRun("the simulated providers did not start", "leave out --simulate")
        for name, _, value in (line.partition("=") for line in lines):
            os.environ[name] = value
        note("simulated providers answer: no request leaves this machine, and any key will do")
        yield
    finally:
        process.terminate()
        process.wait()
