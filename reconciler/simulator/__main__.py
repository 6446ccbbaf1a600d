"""`python -m reconciler.simulator`: the simulated providers by hand, until a signal.

Prints where they are as the variables that Pai reads. It has no state that outlives it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from reconciler.simulator.serving import Simulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m reconciler.simulator", description="Simulated LLM providers.")
    parser.add_argument("--port-base", type=int, metavar="N", help="take ports N to N+3 (default: any that are free)")
    parser.add_argument("--chunks", type=int, default=20, metavar="N", help="pieces of a stream (default: 20)")
    parser.add_argument("--delay-ms", type=float, default=0, metavar="N", help="wait between pieces (default: 0)")
    parser.add_argument("--latency-ms", type=float, default=0, metavar="N", help="wait before an answer (default: 0)")
    parser.add_argument("--tokens", type=int, default=30, metavar="N", help="tokens of a reply (default: 30)")
    parser.add_argument("--until-eof", action="store_true", help="end when stdin does")
    options = parser.parse_args(arguments)
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    simulator = Simulator(
        port_base=options.port_base,
        chunks=options.chunks,
        reply_tokens=options.tokens,
        delay_s=options.delay_ms / 1000,
        latency_s=options.latency_ms / 1000,
    )
    if options.until_eof:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    with simulator:
        for name, value in simulator.environment.items():
            sys.stdout.write(f"{name}={value}\n")
        sys.stdout.flush()
        signal.sigwait(signals)
    return 0


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 65_536):  # not by a buffer: the interpreter could not end while one is read
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
