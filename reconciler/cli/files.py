"""Manifests on disk: folders and files as the facts of one revision, by path.

What is read is what a commit of these files would hold: symbolic links and repositories inside a folder are told and
not followed, pipes and sockets in it are passed over, `.paiignore` has the bounds that it has in a commit. What cannot
be read ends in CouldNotRun with its path, never in a verdict on the rest.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from reconciler.core.errors import CouldNotRun, Refused, UsageError
from reconciler.core.objects import Kind
from reconciler.manifests.facts import Entry, Facts, Problem
from reconciler.manifests.given import Given, GivenDocument, read_given
from reconciler.manifests.ignore import BYTES_MAX, IGNORE_FILE, IgnoreRefused, IgnoreRules
from reconciler.manifests.judging import Verdict, judge
from reconciler.manifests.reading import GIVEN_BYTES_MAX, SIZE_MAX, SUFFIXES, facts_of
from reconciler.manifests.rules import NO_BINDING, TREE

STDIN: Final = Path("-")
_Read = TypeVar("_Read", Facts, Given)


def read_paths(paths: list[Path]) -> dict[str, Facts]:
    """Read folders and files from disk, by path; what is named twice is read once, by the name that comes first.

    Paths are relative to a folder that is named alone; of several they are as they were typed, so that each says where
    it is. `-` is stdin, and a pipe is read to its end. Raises CouldNotRun for what cannot be read.
    """
    return _read(paths, lambda entry: entry if isinstance(entry, Facts) else facts_of(entry, {}), SIZE_MAX)


def judged_given(names: Sequence[str], undone: str) -> tuple[dict[str, Given], Verdict]:
    """Read what `-f` names, and judge it on its own, but for references, which the whole repository answers.

    Raises Refused if it is not valid, UsageError if there is nothing; `undone` says what was not done then.
    """
    given = _read([Path(name) for name in names], _as_given, GIVEN_BYTES_MAX)
    verdict = judge({path: each.facts for path, each in given.items()})
    errors = tuple(d for d in verdict.diagnostics if d.severity == "error" and d.rule != NO_BINDING)
    if errors:
        raise Refused(f"these manifests are not valid, so nothing was {undone}", "correct the places above", errors)
    if not verdict.objects:
        hint = "nothing came on stdin" if names == ["-"] else "manifests end in .yaml or .yml, and are not empty"
        raise UsageError(f"there are no manifests in {', '.join(names)}", hint)
    return given, verdict


def _as_given(entry: Entry | Facts) -> Given | None:
    if isinstance(entry, Facts):
        return Given(entry, {})
    documents: dict[tuple[Kind, str], GivenDocument] = {}

    def read(data: bytes) -> Facts:
        given = read_given(data)
        documents.update(given.documents)
        return given.facts

    facts = facts_of(entry, {}, read, GIVEN_BYTES_MAX)
    return None if facts is None else Given(facts, documents)


def _read(paths: list[Path], read: Callable[[Entry | Facts], _Read | None], most: int) -> dict[str, _Read]:
    """Read paths; of a stream no more than shows that it has more than `most` bytes."""
    files: dict[str, _Read] = {}
    seen: set[str] = set()
    found: Iterator[tuple[str, Entry | Facts]]
    try:
        for path in dict.fromkeys(paths):
            if path == STDIN:
                prefix, place, found = "stdin", "-", iter([("", _streamed(sys.stdin.buffer, most))])
            else:
                place = str(path.resolve())
                prefix, found = _named(path, most, alone=len(paths) == 1)
            for below, entry in found:
                known = os.path.join(place, below) if below else place
                if known not in seen and (taken := read(entry)) is not None:
                    seen.add(known)
                    files[prefix + below] = taken
    except OSError as error:
        where = Path(os.fsdecode(error.filename or paths[0]))
        raise CouldNotRun(f"cannot read {where}: {error.strerror}", "check the path and its permissions") from error
    return files


def _named(path: Path, most: int, *, alone: bool) -> tuple[str, Iterator[tuple[str, Entry | Facts]]]:
    """Give what a path holds, and what stands before the paths below it."""
    mode, shown = path.stat().st_mode, _as_git_names(path.as_posix())
    if stat.S_ISDIR(mode):
        return "" if alone else f"{shown}/", _folder(str(path))
    if stat.S_ISREG(mode):
        return shown, iter([("", _named_file(path))])
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):  # `<(command)`, /dev/stdin
        with path.open("rb") as stream:
            return shown, iter([("", _streamed(stream, most))])
    raise CouldNotRun(f"cannot read {path}: it is no file, no folder and no pipe", "check the path")


def _streamed(stream: BinaryIO, most: int) -> Entry:
    """Take what comes from a stream, as far as the bound of a file."""
    data = stream.read(most + 1)
    return Entry(f"stdin{SUFFIXES[0]}", "file", "", len(data), lambda: data)


def _named_file(path: Path) -> Entry:
    """Take a file that is named: whatever its ending, its content is judged."""
    name = _as_git_names(path.name)
    shown = name if name.endswith(SUFFIXES) else f"{name}{SUFFIXES[0]}"
    return Entry(shown, "file", "", path.stat().st_size, path.read_bytes)


def _folder(root: str) -> Iterator[tuple[str, Entry | Facts]]:
    """Yield what lies in a folder and may be a manifest, by its path there: how to read it, or what it says."""
    try:
        rules = _ignore_rules(os.path.join(root, IGNORE_FILE))
    except IgnoreRefused as error:
        yield IGNORE_FILE, Facts(problems=(Problem(1, 1, "error", TREE, error.message, error.hint),))
        return
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as listing:
            entries = list(listing)
        if prefix and any(entry.name == ".git" for entry in entries):
            if not rules.skips(prefix[:-1]):
                yield prefix[:-1], Entry(prefix[:-1], "submodule", "", 0, bytes)
            continue
        for entry in entries:
            path = prefix + _as_git_names(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    waiting.append((entry.path, f"{path}/"))
            elif not rules.skips(path) and (found := _entry(entry, path)) is not None:
                yield path, found


def _entry(entry: os.DirEntry[str], path: str) -> Entry | None:
    if entry.is_symlink():
        return Entry(path, "symlink", "", 0, bytes)
    if not path.endswith(SUFFIXES) or not entry.is_file(follow_symlinks=False):
        return None  # pipes and sockets cannot be committed either, and reading one would not end
    return Entry(path, "file", "", entry.stat(follow_symlinks=False).st_size, Path(entry.path).read_bytes)


def _ignore_rules(path: str) -> IgnoreRules:
    """Read `.paiignore` if it is a file, as far as its bound; a link to one is no `.paiignore` in a commit either."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return IgnoreRules.parse(None)
    if not stat.S_ISREG(mode):
        return IgnoreRules.parse(None)
    with open(path, "rb") as file:
        return IgnoreRules.parse(file.read(BYTES_MAX + 1))


def _as_git_names(path: str) -> str:
    """Give a path as it is in a tree, which is UTF-8 whatever this machine's locale says."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "surrogateescape")
