"""Judge manifests with the same verdict as the hook and the daemon. No workspace is needed.

PATH may be folders and files (default: this folder); all of them together are judged as one revision. With --rev a
commit of the repository around this folder (or of the workspace's) is judged instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from reconciler.cli.output import note, print_diagnostics, print_json
from reconciler.cli.progress import Progress
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import CouldNotRun, UsageError
from reconciler.manifests import Entry, Facts, IgnoreRules, Verdict, facts_of, judge
from reconciler.verdict import IGNORE_FILE

SHOWN_MAX = 1000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai validate`."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folders and files (default: .)")
    parser.add_argument("--rev", metavar="REV", help="judge this commit instead of files")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print what is found")


def run(args: argparse.Namespace) -> int:
    """Print every problem; 1 if one of them is an error."""
    if args.rev and args.paths:
        raise UsageError("--rev judges a whole commit and takes no PATH", "leave out the paths")
    with Progress("judging"):
        verdict = _of_commit(args) if args.rev else judge(read_paths(args.paths or [Path()]))
    diagnostics = verdict.diagnostics
    if args.output == "json":
        print_json({"diagnostics": msgspec.to_builtins(diagnostics)})
    else:
        print_diagnostics(diagnostics[:SHOWN_MAX], len(diagnostics) - SHOWN_MAX)
        note(_summary(verdict, diagnostics))
    return 0 if verdict.accepted else 1


def _summary(verdict: Verdict, diagnostics: tuple[Diagnostic, ...]) -> str:
    errors = sum(1 for d in diagnostics if d.severity == "error")
    if errors:
        files = len({d.path for d in diagnostics if d.severity == "error"})
        return f"{errors:,} error{'s' * (errors != 1)} in {files:,} file{'s' * (files != 1)}"
    warnings = f", {len(diagnostics):,} warning{'s' * (len(diagnostics) != 1)}" if diagnostics else ""
    return f"ok: {len(verdict.objects):,} object{'s' * (len(verdict.objects) != 1)}{warnings}"


def _of_commit(args: argparse.Namespace) -> Verdict:
    from reconciler.source import Repository, discover
    from reconciler.verdict import Judge
    from reconciler.workspace import Workspace

    here = None if args.workspace is not None else discover(Path.cwd())
    if here is not None:
        repository, path = Repository.open(here), "."
    else:
        workspace = Workspace.find(args.workspace)
        repository, path = Repository.open(workspace.local_repository()), workspace.settings.source_path
    return Judge(repository, path).commit(repository.resolve(args.rev))


def read_paths(paths: list[Path]) -> dict[str, Facts]:
    """Read folders and files from disk, by path; what is named twice is read once, by the name that comes first.

    Raises CouldNotRun for what cannot be read.
    """
    files: dict[str, Facts] = {}
    seen: set[Path] = set()
    for path in dict.fromkeys(paths):
        # One folder: paths relative to it. Several: as they were typed, so that each says where it is.
        prefix = "" if len(paths) == 1 else f"{_as_git_names(path)}/"
        with _named(path):
            mode, place = path.stat().st_mode, path.resolve()
        if stat.S_ISDIR(mode):
            found = _folder(path)
        elif stat.S_ISREG(mode):
            name = _as_git_names(path)
            prefix, found = "", iter([(name, "", _file_entry(path, name, judged_by_name=False))])
        else:
            raise CouldNotRun(f"cannot read {path}: it is no file and no folder", "check the path")
        for name, below, entry in found:
            if (place / below) not in seen and (facts := facts_of(entry, {})) is not None:
                seen.add(place / below)
                files[prefix + name] = facts
    return files


def _folder(root: Path) -> Iterator[tuple[str, str, Entry]]:
    """Yield what lies in a folder and may be a manifest: its path there, twice, and how to read it."""
    ignore = root / IGNORE_FILE
    with _named(ignore):
        rules = IgnoreRules.parse(ignore.read_bytes() if ignore.is_file() else None)
    for folder, subfolders, names in os.walk(root, onerror=_unreadable):
        relative = Path(folder).relative_to(root)
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name not in links)
        for name in sorted([*names, *links]):
            path = _as_git_names(relative / name)
            if rules.skips(path):
                continue
            file = Path(folder) / name
            with _named(file):
                mode = file.lstat().st_mode
            if stat.S_ISLNK(mode) or stat.S_ISREG(mode):
                # pipes and sockets cannot be committed either, and reading one would not end
                yield path, path, _file_entry(file, path)


def _as_git_names(path: Path) -> str:
    """Give a path as it is in a tree, which is UTF-8 whatever this machine's locale says."""
    return os.fsencode(path.as_posix()).decode("utf-8", "surrogateescape")


def _file_entry(file: Path, path: str, *, judged_by_name: bool = True) -> Entry:
    with _named(file):
        if judged_by_name and file.is_symlink():
            return Entry(path, "symlink", "", 0, bytes)
        shown = path if judged_by_name or path.endswith((".yaml", ".yml")) else f"{path}.yaml"
        return Entry(shown, "file", "", file.stat().st_size, lambda: _bytes(file))


def _bytes(file: Path) -> bytes:
    with _named(file):
        return file.read_bytes()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let what cannot be read say which path it is."""
    try:
        yield
    except OSError as error:
        raise CouldNotRun(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error


def _unreadable(error: OSError) -> None:
    with _named(Path(error.filename)):
        raise error
