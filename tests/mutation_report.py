"""What a mutation run found: a line for each module and package, and which survivors have no reason to live."""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from mutmut.mutation.file_mutation import mutate_file_contents

from tests.mutation_mutants import mutated

ROOT = Path(__file__).resolve().parent.parent
SURVIVORS = ROOT / "tests" / "mutation_survivors.yaml"
"""Why a mutant may live: by the reason, what it is (`changed_to`)."""
RESULTS = "results.jsonl"


Spans = dict[str, list[tuple[int, int, str]]]
"""By module, the first and last line of each mutant, where all stand side by side, and its name."""


def side_by_side(folder: Path, paths: Sequence[Path]) -> Spans:
    """Write sources in which all mutants of the modules stand, and say where."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "reconciler", folder / "reconciler")
    shutil.copy2(ROOT / "pyproject.toml", folder)
    spans: Spans = {}
    for path in paths:
        text = mutate_file_contents(str(path), path.read_text(encoding="utf-8")).code
        (folder / path).write_text(text, encoding="utf-8")
        spans[str(path)] = [(node.lineno, node.end_lineno or 0, name) for name, node in mutated(path, text)]
    return spans


def found_by_types(folder: Path, spans: Spans) -> set[str]:
    """Give the mutants that mypy complains of."""
    command = [sys.executable, "-m", "mypy", "--output", "json"]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    errors = [error for error in map(json.loads, told.splitlines()) if error["severity"] == "error"]
    return {
        name for error in errors for first, last, name in spans.get(error["file"], ()) if first <= error["line"] <= last
    }


def changed_to(mutant: Mapping[str, str]) -> str:
    """Say what a mutant is, in words that hold while the lines around it change: function, and the new text."""
    lines = mutant["diff"].splitlines()
    old, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return f"{mutant['name'].rpartition(':')[0]}: {new or f'without {old}'}"


def report(folder: Path, paths: Sequence[Path]) -> int:
    """Print a line for each module and package, and every survivor without a reason; 1 if there is one."""
    lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
    spans = side_by_side(folder / "types", paths)
    there = {name for each in spans.values() for _, _, name in each}
    last = {found["name"]: found for found in map(json.loads, lines) if found["name"] in there}
    by_types = found_by_types(folder / "types", spans)
    known = yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")) if SURVIVORS.exists() else {}
    reasons = {text for texts in known.values() for text in texts}
    sums: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    open_: list[str] = []
    for name, found in last.items():
        path = name.partition(":")[0]
        verdict = "test" if found["status"] not in ("survived", "not reached") else "types"
        if verdict == "types" and name not in by_types:
            verdict = "may live" if changed_to(found) in reasons else "left"
        if verdict == "left":
            open_.append(changed_to(found))
        for group in (path, "/".join(Path(path).parts[:2]), "together"):
            sums[group][verdict] += 1
    sys.stdout.write("| what | mutants | found by a test | by the type check | may live | left | found |\n")
    sys.stdout.write("| --- " * 7 + "|\n" + "".join(_row(name, counts) for name, counts in sorted(sums.items())))
    sys.stdout.write("".join(f"no reason: {text}\n" for text in open_))
    return bool(open_)


def _row(name: str, counts: Mapping[str, int]) -> str:
    tests, types_, may, left = (counts.get(verdict, 0) for verdict in ("test", "types", "may live", "left"))
    share = 100 * (tests + types_) / sum(counts.values())
    return f"| {name} | {sum(counts.values())} | {tests} | {types_} | {may} | {left} | {share:.1f} % |\n"
