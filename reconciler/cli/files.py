"""Manifests on disk: folders and files as the facts of one revision, by path.

What is read is what a commit of these files would hold: symbolic links and repositories inside a folder are told and
not followed, pipes and sockets are passed over, `.paiignore` has the bounds that it has in a commit. What cannot be
read ends in CouldNotRun with its path, never in a verdict on the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.core.errors import CouldNotRun
from reconciler.manifests import Entry, Facts, IgnoreRefused, IgnoreRules, Problem, facts_of
from reconciler.manifests.ignore import BYTES_MAX, IGNORE_FILE
from reconciler.manifests.reading import SUFFIXES
from reconciler.manifests.rules import TREE


def read_paths(paths: list[Path]) -> dict[str, Facts]:
    """Read folders and files from disk, by path; what is named twice is read once, by the name that comes first.

    Paths are relative to a folder that is named alone; of several they are as they were typed, so that each says where
    it is. Raises CouldNotRun for what cannot be read.
    """
    files: dict[str, Facts] = {}
    seen: set[str] = set()
    try:
        for path in dict.fromkeys(paths):
            mode, place = path.stat().st_mode, str(path.resolve())
            if stat.S_ISDIR(mode):
                prefix = "" if len(paths) == 1 else f"{_as_git_names(path.as_posix())}/"
                found = _folder(str(path))
            elif stat.S_ISREG(mode):
                prefix, found = _as_git_names(path.as_posix()), iter([("", _named_file(path))])
            else:
                raise CouldNotRun(f"cannot read {path}: it is no file and no folder", "check the path")
            for below, entry in found:
                known = os.path.join(place, below) if below else place
                if known not in seen and (facts := _facts(entry)) is not None:
                    seen.add(known)
                    files[prefix + below] = facts
    except OSError as error:
        where = Path(os.fsdecode(error.filename or paths[0]))
        raise CouldNotRun(f"cannot read {where}: {error.strerror}", "check the path and its permissions") from error
    return files


def _facts(entry: Entry | Facts) -> Facts | None:
    return entry if isinstance(entry, Facts) else facts_of(entry, {})


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
