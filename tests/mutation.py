"""A general mutation run: every small change that mutmut can think of, and whether a test notices it.

    pip install mutmut==3.8.1
    python -m tests.mutation --folder DIR [MODULE ...]

What is mutated stands in `[tool.mutmut]` of pyproject.toml. mutmut only says what the mutants are: starting pytest anew
for each takes seconds, and there are thousands. Here the tests are collected once. A mutant is a forked child in which
the mutated function's code takes the place of the original, and which runs the tests that reach the changed line, the
quick ones first, until one fails. Code that runs while its module is imported is imported anew, and the module's own
tests run. Nothing of the sources is written. A mutant that no test notices may still fail the
type check, which is a check of this project as well.

DIR keeps the results, one JSON line a mutant, so that a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import gc
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import time
import types
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests import support_log
from tests.mutation_mutants import Mutant, modules, mutants_of
from tests.mutation_report import RESULTS, report
from tests.support_postgres import Postgres, postgres

ROOT = Path(__file__).resolve().parent.parent
FOUND = ("killed", "timeout")
CHILDREN = 2
TEST_S_MAX = 4
"""A test of a mutant may take ten times as long as without it, and this longer; then the mutant counts as found."""
EXAMPLES = 25
"""Examples of a property; a failing one is not made smaller."""
TESTS = (
    *(
        f"tests/unit/test_{name}.py"
        for name in (
            "admin_metrics", "bridge", "budget", "canonical", "checkpoint", "control", "daemon_logs", "day",
            "diagnostics", "errors", "events", "gateway_auth", "housekeeper", "index", "keys", "log_files",
            "log_memory", "log_opening", "log_schema", "log_views", "manifests_judging", "manifests_said",
            "masking", "merkle", "metering", "note", "open_requests", "output", "postgres_url", "proofs",
            "pruned_base", "query", "recorder", "rehearsal", "reindexing", "replay", "secrets", "stamp", "standing",
            "state_and_plan", "steering", "tail", "text", "tickets", "tlog_proof", "views",
        )
    ),
    "tests/contract/test_log_store.py",
    "tests/contract/test_logs_alike.py",
    *(
        f"tests/integration/test_{name}.py"
        for name in (
            "ledger_properties", "log_check", "log_faults", "log_index", "log_past", "log_past_pruned", "log_tampering",
            "log_tree", "postgres_store", "recorder_alone", "recorder_decisions", "recorder_failures",
            "recorders_on_one_log", "replay_properties", "sqlite_store", "tampering_evidence",
        )
    ),
)  # fmt: skip
LEFT_OUT = ("kill_", "sync", "acknowledged", "failing_disk", "full_file_system")
"""Words in the names of those that are left out: they start other processes."""

POSTGRES = "reconciler/log/postgres"
"""Only for what is here the tests that need a server run: the children share one, each with schemas of its own."""


class Runner:
    """The plugin of pytest that runs mutants in place of tests."""

    def __init__(self, folder: Path, paths: Sequence[Path], given: argparse.Namespace, server: Postgres | None) -> None:
        """Prepare a run of the modules in `paths`; results of before lie in `folder`."""
        self.server = server
        self.folder = folder
        self.seconds = given.seconds
        self.every = given.every
        self.passed_over = FOUND if not given.new else (*FOUND, "survived", "not reached")
        self.paths = paths
        self.results = folder / RESULTS
        self.items: dict[str, pytest.Item] = {}
        self.durations: dict[str, float] = {}
        self.reached: dict[str, dict[int, list[str]]] = {}
        self.running: dict[int, tuple[Mutant, float]] = {}
        self.killers: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        """What found mutants so far, by function and by module."""

    def pytest_configure(self) -> None:
        """Have properties tried seldom, and leave their failing examples as they are."""
        from hypothesis import Phase, settings  # which pytest must import first

        quick = settings(database=None, max_examples=EXAMPLES, phases=(Phase.explicit, Phase.generate))
        settings.register_profile("mutation", quick)
        settings.load_profile("mutation")
        if not self.server:
            support_log.LOGS.pop("postgres", None)  # else each child that asks for it starts a server

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests once without a mutant, then those that reach each mutant."""
        self.items = {item.nodeid: item for item in session.items}
        self._baseline()
        gc.freeze()  # what is there need not be gone through, and so copied, in every child
        done = self._done()
        for name, kept in done.items():
            self.killers[name.rpartition(":")[0]][kept["by"]] += 1
            self.killers[name.partition(":")[0]][kept["by"]] += 1
        for path in self.paths:
            reached = _by_statement(path, self.reached.get(str(path), {}))
            chosen = itertools.islice(mutants_of(path), 0, None, self.every)
            for mutant in [mutant for mutant in chosen if done.get(mutant.name, {}).get("diff") != mutant.diff]:
                while len(self.running) >= CHILDREN:
                    self._wait()
                tests = self._ordered(mutant, reached.get(mutant.line, []))
                if tests or own_tests(path).exists():
                    self._start(mutant, tests)
                else:
                    self._write(mutant, "not reached", "", 0)
        while self.running:
            self._wait()
        return True

    def _done(self) -> dict[str, dict[str, str]]:
        lines = self.results.read_text(encoding="utf-8").splitlines() if self.results.exists() else []
        return {found["name"]: found for found in map(json.loads, lines) if found["status"] in self.passed_over}

    def _ordered(self, mutant: Mutant, tests: Sequence[str]) -> list[str]:
        near, far = self.killers[mutant.name.rpartition(":")[0]], self.killers[mutant.path]
        stem, last = Path(mutant.path).stem, self.seconds / 2

        def order(test: str) -> tuple[bool, int, bool, int, float]:
            named_so = stem in test.partition("::")[0]
            return self.durations[test] > last, -near[test], not named_so, -far[test], self.durations[test]

        found = sorted((test for test in tests if test in self.items), key=order)
        chosen, left = [], self.seconds
        for test in found:
            if self.durations[test] <= left or not chosen:
                chosen.append(test)
                left -= self.durations[test]
        return chosen

    def _start(self, mutant: Mutant, tests: Sequence[str]) -> None:
        report = self.folder / f"child-{mutant.name.replace('/', '.')}"
        child = os.fork()
        if child:
            self.running[child] = (mutant, time.monotonic())
            return
        os.setsid()
        self._alone()
        if not tests:
            os._exit(_fails_anew(mutant))
        mutant.function.__code__ = mutant.code
        mutant.function.__defaults__, mutant.function.__kwdefaults__ = mutant.defaults
        for test in tests:
            report.write_text(test)
            signal.setitimer(signal.ITIMER_REAL, TEST_S_MAX + 10 * self.durations[test])
            if self._fails(self.items[test]):
                os._exit(1)
        os._exit(0)

    def _alone(self) -> None:
        """Let a child print nothing and have temporary files of its own."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        factory = next(iter(self.items.values())).config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = self.folder / f"tmp-{os.getpid()}"
        factory._basetemp.mkdir()

    def _fails(self, item: pytest.Item) -> bool:
        """Run one test, fixtures included, and say whether it fails."""
        return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))

    def _wait(self) -> None:
        child, status = os.wait()
        mutant, started = self.running.pop(child)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        shutil.rmtree(self.folder / f"tmp-{child}", ignore_errors=True)
        if self.server:
            self.server.drop_schemas(child)
        report = self.folder / f"child-{mutant.name.replace('/', '.')}"
        by = report.read_text() if report.exists() else ""
        report.unlink(missing_ok=True)
        code = os.waitstatus_to_exitcode(status)
        verdict = {0: "survived", 1: "killed", -signal.SIGALRM: "timeout"}.get(code, f"killed ({code})")
        if code:
            self.killers[mutant.name.rpartition(":")[0]][by] += 1
            self.killers[mutant.path][by] += 1
        self._write(mutant, verdict, by if code else "", time.monotonic() - started)

    def _write(self, mutant: Mutant, status: str, by: str, seconds: float) -> None:
        line = {"name": mutant.name, "status": status, "line": mutant.line, "diff": mutant.diff, "by": by}
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"s": round(seconds, 2)}) + "\n")

    def _baseline(self) -> None:
        """Learn in a child how long each test takes and which lines it reaches, unless that is known.

        A test that fails without a mutant is left out, and told.
        """
        kept = self.folder / f"baseline-{sources_digest()}.json"
        known = json.loads(kept.read_text()) if kept.exists() else {"durations": {}, "reached": {}, "files": {}}
        files = {name.partition("::")[0] for name in self.items}
        digests = {file: hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16] for file in files}
        changed = {file for file in files if known["files"].get(file) != digests[file]}
        new = [
            item
            for name, item in self.items.items()
            if name not in known["durations"] or name.partition("::")[0] in changed
        ]
        if new:
            child = os.fork()
            if not child:
                self._alone()
                kept.write_text(json.dumps(_measured(self, new, known) | {"files": digests}))
                os._exit(0)
            os.waitpid(child, 0)
            known = json.loads(kept.read_text())
        failed = [name for name, seconds in known["durations"].items() if seconds < 0]
        if failed:
            sys.stderr.write("without a mutant these fail and are left out: " + " ".join(failed) + "\n")
        self.durations = known["durations"]
        self.items = {name: item for name, item in self.items.items() if name not in failed}
        self.reached = {
            path: {int(line): tests for line, tests in lines.items()} for path, lines in known["reached"].items()
        }


def own_tests(path: Path) -> Path:
    """Name the tests that are a module's own, if it has any."""
    own = Path("tests", "unit", f"test_log_{path.stem}.py")
    return own if own.exists() else Path("tests", "unit", f"test_{path.stem}.py")


def _fails_anew(mutant: Mutant) -> bool:
    """Import everything anew with a mutant of code that runs while it is imported, and say if its own tests fail."""
    given = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> types.CodeType | None:
        code = given(loader, name)
        if code is None or loader.path != str(ROOT / mutant.path):
            return code
        functions = {mutant.function.__name__: mutant.code}
        return code.replace(co_consts=tuple(functions.get(getattr(c, "co_name", ""), c) for c in code.co_consts))

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("reconciler", "tests")]:
        del sys.modules[name]
    signal.alarm(60)
    return pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", str(own_tests(Path(mutant.path)))]) != 0


def _measured(runner: Runner, items: Sequence[pytest.Item], known: dict[str, Any]) -> dict[str, Any]:
    """Run tests under coverage. What a fixture of a whole module reaches counts for all tests of its file."""
    cover = coverage.Coverage(data_file=None, config_file=False, include=[str(ROOT / "reconciler" / "*")])

    class Contexts:
        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
            if fixturedef.scope == "function":
                return (yield)
            cover.switch_context(f"file {request.node.nodeid.partition('::')[0]}")
            result = yield
            cover.switch_context(request.session._test_of_now)
            return result

    items[0].config.pluginmanager.register(Contexts())
    cover.start()
    for item in items:
        cover.switch_context(item.nodeid)
        item.session._test_of_now = item.nodeid  # type: ignore[attr-defined]
        started = time.monotonic()
        failed = runner._fails(item)
        known["durations"][item.nodeid] = -1 if failed else time.monotonic() - started
    cover.stop()
    data = cover.get_data()
    by_file = collections.defaultdict(list)
    for name in runner.items:
        by_file[name.partition("::")[0]].append(name)
    for path in modules():
        lines = known["reached"].setdefault(str(path), {})
        for line, contexts in data.contexts_by_lineno(str(ROOT / path)).items():
            tests = set(lines.get(str(line), lines.get(line, [])))
            for context in contexts:
                tests.update(by_file[context.removeprefix("file ")] if context.startswith("file ") else [context])
            lines.pop(str(line), None)
            lines[line] = sorted(tests - {""})
    return known


def _by_statement(path: Path, reached: dict[int, list[str]]) -> dict[int, list[str]]:
    """Give the tests that reach the statement of each line: of one over many lines not each line is told."""
    result: dict[int, list[str]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # outer ones come first
        if isinstance(node, ast.stmt | ast.match_case | ast.ExceptHandler):
            first = getattr(node, "lineno", 0) or node.pattern.lineno  # type: ignore[union-attr]
            body = getattr(node, "body", None)
            last = max(first, body[0].lineno - 1) if body else node.end_lineno  # type: ignore[union-attr]
            lines = range(first, last + 1)
            if isinstance(node, ast.FunctionDef):
                lines = range(first, (node.end_lineno or first) + 1)  # default values, and what follows overrides
            tests = sorted({test for line in lines for test in reached.get(line, ())})
            result.update(dict.fromkeys(lines, tests))
    return result


def sources_digest() -> str:
    """Name what is mutated by its bytes."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in modules())).hexdigest()[:16]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutants of the modules that are named, or of all; print a line for each module."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Change each line, see a test fail.")
    parser.add_argument("--folder", type=Path, required=True, help="where results are kept")
    parser.add_argument("--seconds", type=float, default=60, help="of tests for a mutant, at most (default 60)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth of a module: a sample")
    parser.add_argument("--new", action="store_true", help="try no survivor of before again")
    parser.add_argument("--report", action="store_true", help="run nothing, only tell what is known")
    parser.add_argument("names", nargs="*", metavar="MODULE", help="a path or its beginning (default: all)")
    arguments = parser.parse_args(argv)
    os.chdir(ROOT)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder.resolve()
    paths = [path for name in arguments.names or [""] for path in modules() if str(path).startswith(name)]
    if not arguments.report:
        _run(folder, paths, arguments)
    return report(folder, paths)


def _run(folder: Path, paths: Sequence[Path], given: argparse.Namespace) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no", "--hypothesis-seed=0"]
    server = postgres() if any(str(path).startswith(POSTGRES) for path in paths) else None
    left_out = LEFT_OUT if server else (*LEFT_OUT, "postgres")
    runner = Runner(folder, paths, given, server)
    pytest.main([*options, "-k", f"not ({' or '.join(left_out)})", *TESTS], plugins=[runner])


if __name__ == "__main__":
    sys.exit(main())
