"""A node for the fault tests: threads that reserve and settle on one log in Postgres, and tell what was acknowledged.

    python -m tests.integration.postgres_node ADDRESS NODE ACKS THREADS

Each line of ACKS is `ack POSITION ID ...`, written after the recorder has answered.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from pathlib import Path

from reconciler.core.errors import LogNotWritable, PaiError
from reconciler.core.reservations import NO_DURATIONS, Denied, Usage, settle
from reconciler.log.postgres.place import PostgresLog
from reconciler.log.url import read_address
from reconciler.recorder import Receipt, Recorder
from tests.support_log import hold_tokens

RETRY_S = 0.05


def work(recorder: Recorder, node: str, thread: int, acks: Path) -> None:
    """Reserve and settle for ever; whatever could not be recorded is left as it is."""
    chance = random.Random(f"{node} {thread}")  # noqa: S311
    with acks.open("a", buffering=1) as out:
        for number in itertools.count():
            request, tokens = f"{node}-{thread}-{number}", chance.randrange(1, 50)
            try:
                tell(out, recorder.record(hold_tokens(request, tokens, node)))
                used = Usage(tokens, 0, 0, 0, 0, tokens)
                tell(
                    out,
                    recorder.record(lambda s, r=request, u=used: settle(s, r, u, status=200, durations=NO_DURATIONS)),
                )
            except Denied:
                out.write("denied\n")
            except LogNotWritable as error:
                out.write(f"failed {error.message}\n")
                threading.Event().wait(RETRY_S)


def tell(out, receipt: Receipt[object]) -> None:
    """Note what was acknowledged."""
    out.write(" ".join(["ack", str(receipt.first), *(event.id for event in receipt.events)]) + "\n")


def main(address: str, node: str, acks: str, threads: str) -> None:
    """Work until killed; a log that cannot be opened yet is tried again."""
    while True:
        try:
            recorder = Recorder(PostgresLog(read_address(address)).writer(), housekeeping=False, retry_s=RETRY_S)
            break
        except PaiError:
            threading.Event().wait(RETRY_S)
    for number in range(int(threads)):
        threading.Thread(target=work, args=(recorder, node, number, Path(f"{acks}.{number}"))).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
