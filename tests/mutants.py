"""Mistakes planted on purpose: each must make a test fail, or the tests are worth nothing.

    python -m tests.mutants [--seed N] [NAME ...]

Each mutant is planted by exact replacement of text into a copy of the sources, where the tests that must find it are
run. A text that is not there exactly once is an error: whoever changes the code moves the mutant along. Without a
mutant the same tests must pass. What a mutant breaks is never the working tree.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("reconciler", "tests", "schemas", "manifests", "pyproject.toml")
TIMEOUT_S = 300
EXAMPLES = 50
"""Examples that a state machine may try; a healthy one gets by with fewer."""

LEDGER = "tests/integration/test_ledger_properties.py"
BUDGET = "tests/unit/test_budget.py"
DAY = "tests/unit/test_day.py"
SHARED = "tests/integration/test_recorders_on_one_log.py"
RECORDER = "tests/integration/test_recorder_decisions.py"
AUTH = "tests/unit/test_gateway_auth.py"
BOOKS = "tests/integration/test_gateway_books.py"
METERING = "tests/unit/test_metering.py"
JUDGING = "tests/unit/test_gateway_judging.py"
ANSWERS = "tests/integration/test_upstream_answers.py"
CONNECTIONS = "tests/integration/test_upstream_connections.py"
SYNC = "tests/integration/test_log_faults.py::test_every_acknowledgement_follows_a_sync"


class Mutant(NamedTuple):
    """A mistake: `old` becomes `new` in `file`, and one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (LEDGER,)


MUTANTS = (
    Mutant(
        "unknown-outcome-is-refunded",
        "reconciler/core/state.py",
        "self.ledger.resolve(payload.request, payload.tokens)",
        "self.ledger.resolve(payload.request, 0)",
    ),
    Mutant(
        "restart-refunds",
        "reconciler/core/reservations.py",
        '_whole(TokensForfeited, request, held, "pai", 0,',
        '_whole(TokensVoided, request, held, "pai", 0,',
    ),
    Mutant(
        "restart-forgets-what-is-open",
        "reconciler/core/reservations.py",
        "        for request, held in state.ledger.open.items()\n",
        "        for request, held in list(state.ledger.open.items())[1:]\n",
    ),
    Mutant(
        "settled-twice",
        "reconciler/core/budget.py",
        "reservation = self.open.pop(request, None)",
        "reservation = self.open.get(request)",
    ),
    Mutant(
        "settled-to-today",
        "reconciler/core/reservations.py",
        "day=held.day,\n        status=status,\n        durations=durations,\n        reason=reason or",
        "day=state.ledger.day,\n        status=status,\n        durations=durations,\n        reason=reason or",
    ),
    Mutant(
        "folded-into-today",
        "reconciler/core/budget.py",
        "if now is not None and now.day == reservation.day:",
        "if now is not None:",
    ),
    Mutant(
        "checked-before-the-lock",
        "reconciler/recorder/recorder.py",
        "        with self._lock:\n            state = self._state\n            if state is None or self._reason",
        "        assert self._state is not None\n        drafts = decide(self._state)\n"
        "        decide = lambda _: drafts\n        with self._lock:\n            state = self._state\n"
        "            if state is None or self._reason",
    ),
    Mutant(
        "reserved-counts-when-settled",
        "reconciler/core/budget.py",
        "limit - self.used - self.reserved",
        "limit - self.used",
    ),
    Mutant(
        "one-token-over",
        "reconciler/core/budget.py",
        "left = remaining - ask.input\n",
        "left = remaining - ask.input + 1\n",
    ),
    Mutant(
        "bound-of-one-choice",
        "reconciler/core/budget.py",
        "return Grant(room, ask.input + room * ask.choices)",
        "return Grant(room, ask.input + room)",
        (BUDGET,),
    ),
    Mutant(
        "charge-is-cut-to-the-reservation",
        "reconciler/core/reservations.py",
        "**usage._asdict(),",
        "**{**usage._asdict(), 'charged': min(usage.charged, held.tokens)},",
        (BUDGET,),
    ),
    Mutant(
        "new-binding-has-a-new-budget",
        "reconciler/core/state.py",
        "            case ev.BindingDeleted():\n",
        "            case ev.BindingDeleted():\n                self.ledger.accounts.pop(name, None)\n",
    ),
    Mutant(
        "day-of-the-ledger-goes-back",
        "reconciler/core/budget.py",
        "return max(self.day, day)",
        "return day",
    ),
    Mutant(
        "day-in-local-time",
        "reconciler/gateway/day.py",
        "                day = wall // _DAY\n",
        "                day = (wall - time.timezone * _SECOND) // _DAY\n",
    ),
    Mutant(
        "clock-jump-opens-a-day",
        "reconciler/gateway/day.py",
        "day = trusted // _DAY",
        "day = wall // _DAY",
    ),
    Mutant(
        "small-jumps-add-up",
        "reconciler/gateway/day.py",
        "trusted + max(-most, min(most, gap)), steady",
        "trusted + gap, steady",
        (DAY,),
    ),
    Mutant(
        "jump-back-opens-a-day-again",
        "reconciler/gateway/day.py",
        "if day > self._day:",
        "if day != self._day:",
        (DAY,),
    ),
    Mutant(
        "acknowledged-before-the-commit",
        "reconciler/recorder/recorder.py",
        """        try:
            assert self._store is not None
            cut.append_to(self._store)
        except BaseException as error:
            return batch, error
        if batch.bodies:
            self._took_s = time.monotonic() - began
        self._expected = len(batch.tickets) + len(self._pending.tickets)
        batch.answer(None)
""",
        """        batch.answer(None)
        try:
            assert self._store is not None
            cut.append_to(self._store)
        except BaseException as error:
            return None, error
        if batch.bodies:
            self._took_s = time.monotonic() - began
        self._expected = len(batch.tickets) + len(self._pending.tickets)
""",
    ),
    Mutant(
        "state-kept-after-a-failed-commit",
        "reconciler/recorder/recorder.py",
        "        self._spoiled = False\n        self._reopen()\n",
        "        self._spoiled = False\n",
    ),
    Mutant(
        "decided-before-the-others-events",
        "reconciler/recorder/recorder.py",
        "                    self._follow(tail)\n                    batch.first",
        "                    batch.first",
        (SHARED,),
    ),
    Mutant(
        "everybodys-are-forfeited-at-a-start",
        "reconciler/core/reservations.py",
        "if node is None or held.node == node",
        "if True",
        (SHARED,),
    ),
    Mutant(
        "turn-that-others-do-not-wait-for",
        "reconciler/log/memory.py",
        "return self._writing if self.shared else contextlib.nullcontext()",
        "return contextlib.nullcontext()",
        ("tests/contract/test_log_store.py",),
    ),
    Mutant(
        "only-the-last-chunk-is-charged",
        "reconciler/gateway/metering.py",
        "if self._usage is None or usage.charged >= self._usage.charged:",
        "if True:",
        (METERING,),
    ),
    Mutant(
        "thoughts-are-forgotten",
        "reconciler/gateway/metering.py",
        "(candidates or 0) + thoughts, thoughts, total)",
        "candidates or 0, 0, None)",
        (METERING,),
    ),
    Mutant(
        "deltas-are-added",
        "reconciler/gateway/metering.py",
        "        self._counts |= now\n",
        "        self._counts = {name: self._counts.get(name, 0) + now.get(name, 0) for name in self._counts | now}\n",
        (METERING,),
    ),
    Mutant(
        "bytes-do-where-midnight-comes-between",
        "reconciler/gateway/admission.py",
        "            if must_count and counted is None:  #",
        "            if False:  #",
        ("tests/integration/test_gateway_midnight.py",),
    ),
    Mutant(
        "whatever-is-called-an-image-is-one",
        "reconciler/gateway/judging/walk.py",
        "        return tuple(self._trail) in self._images\n",
        "        return True\n",
        ("tests/unit/test_gateway_placements.py",),
    ),
    Mutant(
        "thinking-is-limited-anywhere",
        "reconciler/gateway/judging/walk.py",
        "THOUGHTS.get(name) == self._trail[-1]",
        "name in THOUGHTS",
        (JUDGING,),
    ),
    Mutant(
        "keys-in-another-case-show",
        "reconciler/gateway/answer_headers.py",
        "not any(key in folded for key in self._folded) and ",
        "",
        ("tests/unit/test_answer_headers.py",),
    ),
    Mutant(
        "unknown-system-parameters-pass",
        "reconciler/gateway/query.py",
        """(name.startswith("$") and name not in _SYSTEM)""",
        "False",
        ("tests/unit/test_gateway_query.py",),
    ),
    Mutant(
        "what-is-not-known-passes",
        "reconciler/gateway/judging/walk.py",
        "        elif isinstance(item, dict | list) or _asks(item):  # that it is there may be what asks for it\n"
        "            self.found.refuse(what)\n",
        "",
        (JUDGING,),
    ),
    Mutant(
        "tools-are-judged-at-the-top-alone",
        "reconciler/gateway/judging/fields.py",
        '    (Treatment.TOOLS, "tools definition"),\n',
        '    (Treatment.TEXT, "tools definition"),\n',
        (JUDGING,),
    ),
    Mutant(
        "keys-by-prefix",
        "reconciler/gateway/auth.py",
        "key = state.keys.get(keys.digest(presented)) if keys.looks_like_key(presented) else None\n",
        "wanted = keys.digest(presented)[:2]\n"
        "    key = next((key for digest, key in state.keys.items() if digest[:2] == wanted), None)\n",
        (AUTH,),
    ),
    Mutant(
        "nothing-voided-on-cancel",
        "reconciler/gateway/books.py",
        "            self.void_now(request, model, 0, NOT_SENT)\n            if isinstance",
        "            if isinstance",
        (BOOKS,),
    ),
    Mutant(
        "outcome-dropped-on-cancel",
        "reconciler/gateway/books.py",
        "        except asyncio.CancelledError:\n            self._retry()\n            raise\n",
        "",
        (BOOKS,),
    ),
    Mutant(
        "synchronous-normal",
        "reconciler/log/sqlite/writing.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        (SYNC,),
    ),
    Mutant(
        "normal-forms-are-not-longer",
        "reconciler/gateway/growth.py",
        'for form in ("NFC", "NFKC"))',
        'for form in ("NFC",))',
        ("tests/unit/test_gateway_growth.py",),
    ),
    Mutant(
        "numbers-stay-as-they-are",
        "reconciler/gateway/growth.py",
        "_NUMBER_BYTES * len(_POWERS.findall(raw))",
        "0 * len(_POWERS.findall(raw))",
        ("tests/unit/test_gateway_growth.py",),
    ),
    Mutant(
        "turns-are-first-come-first-served",
        "reconciler/gateway/pace.py",
        "            if turns:  # behind all others\n                self._waiting[agent] = turns\n",
        "            if turns:\n                self._waiting = {agent: turns, **self._waiting}\n",
        ("tests/unit/test_gateway_pace.py",),
    ),
    Mutant(
        "who-has-left-stays-in-line",
        "reconciler/listening/connection.py",
        "            self.door.turns.leave(self)\n",
        "            pass\n",
        ("tests/integration/test_turns_of_strangers.py",),
    ),
    Mutant(
        "who-takes-nothing-is-answered-again",
        "reconciler/listening/connection.py",
        "        if self._flow.write_paused:\n            return False\n",
        "",
        ("tests/integration/test_listening.py",),
    ),
    Mutant(
        "cut-answer-is-whole",
        "reconciler/gateway/connection.py",
        "exc is None and self._begun and not self._framed",
        "exc is None and self._begun",
        (ANSWERS,),
    ),
    Mutant(
        "answer-to-nobody-is-kept",
        "reconciler/gateway/connection.py",
        "            self._on_unasked(self)\n            self.abort()\n            return\n",
        "            return\n",
        (CONNECTIONS,),
    ),
    Mutant(
        "rest-of-an-answer-is-the-next-one",
        "reconciler/gateway/connection.py",
        "        self.abort()\n        return False\n",
        "        self._parser = None\n        return True\n",
        (CONNECTIONS,),
    ),
    Mutant(
        "header-holds-two",
        "reconciler/gateway/upstream.py",
        'text.count("\\n") == text.count("\\r") == len(headers) + 4 or "\\0" in text',
        "text",
        (ANSWERS,),
    ),
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


class BrokenMutant(Exception):
    """The mutant cannot be planted, or the tests could not be run."""


class Verdict(NamedTuple):
    """Whether a test failed, and the first that did."""

    failed: bool
    by: str


def plant(mutant: Mutant, root: Path) -> None:
    """Make the mistake in the sources at `root`. Raises BrokenMutant if the text is not there exactly once."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise BrokenMutant(f"{mutant.name}: {mutant.file} has {text.count(mutant.old)} times: {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stale.unlink()


def judge(tests: Sequence[str], mutant: Mutant | None = None, seed: int = 0) -> Verdict:
    """Run tests on a copy of the sources, with a mutant in it or without. Raises BrokenMutant if they cannot run."""
    with tempfile.TemporaryDirectory(prefix="pai-mutant-") as folder:
        root = Path(folder)
        for part in PARTS:
            here = ROOT / part
            if here.is_dir():
                shutil.copytree(here, root / part, ignore=shutil.ignore_patterns(".hypothesis"))
            else:
                shutil.copy2(here, root / part)
        if mutant is not None:
            plant(mutant, root)
        return _tested(root, tests, seed)


def _tested(root: Path, tests: Sequence[str], seed: int) -> Verdict:
    """Run pytest inside `root` until the first failure; the copy's own modules must be the ones it imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PAI_"))}
    environment |= {"PAI_EXAMPLES": str(EXAMPLES), "TMPDIR": str(root / "tmp")}
    (root / "tmp").mkdir()
    code = (
        "import sys, pytest, reconciler; assert reconciler.__file__.startswith(sys.argv[1]), reconciler.__file__;"
        " sys.exit(pytest.main(sys.argv[2:]))"
    )
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", f"--hypothesis-seed={seed}"]
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(root.resolve()), *options, *tests],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokenMutant(f"the tests did not end within {TIMEOUT_S} s") from error
    if done.returncode not in (0, 1):
        raise BrokenMutant(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return Verdict(done.returncode == 1, found[1] if found else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Plant the mutants that are named, or all; print what found each; 1 if one was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Plant mistakes, see tests fail.")
    parser.add_argument("--seed", type=int, default=0, help="what Hypothesis starts from (default 0)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BY_NAME)} (default: all)")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - BY_NAME.keys()
    if unknown:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    mutants = [BY_NAME[name] for name in arguments.names] or list(MUTANTS)
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    healthy = judge(tests, seed=arguments.seed)
    if healthy.failed:
        sys.stderr.write(f"without any mutant {healthy.by} fails\n")
        return 1
    survived = 0
    for mutant in mutants:
        started = time.monotonic()
        verdict = judge(mutant.tests, mutant, arguments.seed)
        survived += not verdict.failed
        by = f"found by {verdict.by}" if verdict.failed else "NOT FOUND"
        sys.stdout.write(f"{mutant.name:34} {time.monotonic() - started:5.1f} s  {by}\n")
        sys.stdout.flush()
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
