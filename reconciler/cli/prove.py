"""Print a proof that one event is in the log: a C2SP tlog-proof, with the checkpoint that it leads to.

Whoever has the proof, the event and the log's verifier key needs nothing else: `pai verify PROOF` checks it, and
docs/log-format.md says how others do. With --with-event the event comes along in the proof itself.
If no checkpoint covers the event yet, one is signed first.
"""

from __future__ import annotations

import argparse

from reconciler.cli.place import find_workspace
from reconciler.core.errors import CouldNotRun, UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai prove`."""
    parser.add_argument("seq", metavar="SEQ", help="the event's position, as pai log shows it")
    parser.add_argument("--with-event", action="store_true", help="put the event itself into the proof's extra line")


def run(args: argparse.Namespace) -> int:
    """Print the proof."""
    from reconciler.cli.vouching import sign
    from reconciler.evidence.proving import prove
    from reconciler.evidence.published import key_of

    position = _position(args.seq)
    workspace = find_workspace(args.workspace)
    key = key_of(workspace)
    proof = prove(workspace, key, position, args.with_event)
    if proof is None:
        sign(workspace)
        proof = prove(workspace, key, position, args.with_event)
    if proof is None:
        raise CouldNotRun(f"no checkpoint covers position {position}", "pai verify says more")
    print(proof, end="")
    return 0


def _position(text: str) -> int:
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise UsageError(f"{text!r} is no position", "positions are 0, 1, 2, ...: pai log shows them")
    return int(number)
