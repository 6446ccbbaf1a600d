"""A process that writes a log and says what was acknowledged; the fault tests run and kill it.

    python -m tests.integration.log_writer LOG ACKS COUNT THREADS [LIMIT]

Each acknowledged decision becomes one line `ack FIRST ID...` in the file ACKS, written by one system call. A commit
that fails becomes `failed`. LIMIT is the largest size in bytes that any file may have until the first failure.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path

from reconciler.core.errors import LogNotWritable
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.support_log import binding, decide, secret


def write(log: Path, acks: Path, count: int, threads: int, limit: int = 0) -> None:
    """Record `count` decisions of two events in each of `threads` threads; 0 is no end."""
    fd = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    recorder = Recorder(SqliteBackend(log, wait_s=5), retry_s=0.01, snapshot_every=500)

    def work(number: int) -> None:
        done = 0
        while not count or done < count:
            try:
                receipt = recorder.record(decide(secret(f"t{number}", str(done)), binding(f"m{done % 50}", done + 1)))
            except LogNotWritable:
                if limit:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                os.write(fd, b"failed\n")
                time.sleep(0.02)
                done += bool(count)
                continue
            ids = " ".join(event.id for event in receipt.events)
            os.write(fd, f"ack {receipt.first} {ids}\n".encode())
            done += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    recorder.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
