"""Judge manifests with the same verdict as the hook and the daemon. No workspace is needed.

PATH may be folders and files (default: this folder); all of them together are judged as one revision. With --rev a
commit of the repository around this folder (or of the workspace's) is judged instead, with --staged what `git commit`
would commit there. Then PATH is the folder inside the repository that holds the manifests, if it is not the whole.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.files import read_paths
from reconciler.cli.findings import OUTPUTS, Place, place_of, print_findings
from reconciler.cli.progress import Progress
from reconciler.core.errors import CouldNotRun, UsageError
from reconciler.manifests.judging import Verdict, judge

if TYPE_CHECKING:
    from reconciler.source.git import Repository


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai validate`."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folders and files (default: .)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rev", metavar="REV", help="judge this commit instead of files")
    which.add_argument("--staged", action="store_true", help="judge what is staged for the next commit")
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="how to print what is found")


def run(args: argparse.Namespace) -> int:
    """Print every problem; 1 if one of them is an error."""
    if (args.rev or args.staged) and len(args.paths) > 1:
        option = "--staged" if args.staged else "--rev"
        raise UsageError(f"{option} takes one PATH, the folder of the manifests", "name the folder alone, or none")
    with Progress("judging"):
        verdict, place = _of_staged(args) if args.staged else _of_commit(args) if args.rev else _of_files(args)
    print_findings(verdict, args.output, place)
    return 0 if verdict.accepted else 1


_Judged = tuple[Verdict, Callable[[], Place]]


def _of_files(args: argparse.Namespace) -> _Judged:
    paths = args.paths or [Path()]
    verdict = judge(read_paths(paths))
    return verdict, lambda: place_of(paths[0] if len(paths) == 1 and paths[0].is_dir() else Path.cwd())


def _of_staged(args: argparse.Namespace) -> _Judged:
    from reconciler.source.staging import staged

    with staged(Path.cwd()) as (repository, tree):
        return _of_tree(repository, tree, _folder_in(repository, args.paths), "what is staged")


def _of_commit(args: argparse.Namespace) -> _Judged:
    from reconciler.cli.place import find_workspace
    from reconciler.source.git import Repository
    from reconciler.source.promised import bring
    from reconciler.source.surroundings import here
    from reconciler.verdict import may_matter

    around, path = here(Path.cwd()), "."
    if around is None or args.workspace is not None:
        workspace = find_workspace(args.workspace)
        repository, path = Repository.open(workspace.local_repository()), workspace.settings.source_path
    if around is not None and (args.workspace is None or around.is_kin(repository)):
        repository = around
    path = _folder_in(repository, args.paths) if args.paths else path
    commit = repository.resolve(args.rev)
    bring(repository, [commit], path, may_matter)
    return _of_tree(repository, commit, path, args.rev)


def _of_tree(repository: Repository, commit: str, path: str, what: str) -> _Judged:
    """Judge a folder of a commit; it is no typing mistake only if it is there."""
    from reconciler.verdict import Judge

    verdict = Judge(repository, path).commit(commit)
    if not verdict.objects and not verdict.diagnostics and not repository.has_folder(commit, path):
        raise CouldNotRun(f"there is no folder {path} in {what}", "check the path, which counts from this folder")
    top = str(repository.work_tree or "")
    return verdict, lambda: Place(top, top)


def _folder_in(repository: Repository, paths: list[Path]) -> str:
    """Give the folder that PATH means from the top of the repository; in a bare one it is meant from there already."""
    top = repository.work_tree
    if not paths:
        return "."
    path = os.path.normpath(paths[0])
    if top is not None:
        path = os.path.relpath(os.path.realpath(path), os.path.realpath(top))
    if os.path.isabs(path) or path.split(os.sep, 1)[0] == os.pardir:
        raise UsageError(f"{paths[0]} is not inside the repository {top or repository.path}", "name a folder inside it")
    return Path(path).as_posix()
