"""Say what would change between two commits, object by object and field by field, for review. No workspace is needed.

HEAD is `HEAD` unless given; `BASE...HEAD` compares with the commit that both come from, as git diff does. With a
workspace at hand, what last week's requests would have met under the proposed limits is said too. Exit 1 means that
HEAD would be refused, or with --exit-code that something changes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from reconciler.cli.output import note, print_error, print_json
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.core.errors import CouldNotRun, NotFound, Refused, SourceUnavailable, UsageError, WorkspaceError
from reconciler.core.text import counted
from reconciler.review.compare import compare
from reconciler.review.findings import Review, review
from reconciler.source.git import Repository
from reconciler.source.promised import bring
from reconciler.source.surroundings import carries, here
from reconciler.verdict import may_matter

SHOWN_MAX = 1000
PATH_VARIABLE = "PAI_SOURCE_PATH"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai diff`."""
    parser.add_argument("base", metavar="BASE", help="what is there now: any revision, or BASE...HEAD")
    parser.add_argument("head", nargs="?", metavar="HEAD", help="what is proposed (default: HEAD)")
    parser.add_argument("-o", "--output", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 if anything changes")
    path_option(parser)


def path_option(parser: argparse.ArgumentParser) -> None:
    """Declare where the manifests lie in a clone."""
    parser.add_argument(
        "--path", metavar="FOLDER", help=f"the folder of the manifests in a clone (default: {PATH_VARIABLE}, or all)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the review; 1 if the head would be refused."""
    with Progress("comparing"):
        found = find(args, args.base, args.head)
    show(found, args.output)
    if found.refused:
        print_error(refusal(found))
        return 1
    return 1 if args.exit_code and found.changes else 0


def show(found: Review, form: str) -> None:
    """Print a review in one of the forms."""
    if form == "json":
        print_json({"changes": [change.as_json() for change in found.changes]})
        for notice in found.notices:  # the other forms have them among their lines
            note(f"note: {notice}")
    elif form == "markdown":
        from reconciler.review.markdown import markdown

        print("\n".join(markdown(found)))
    else:
        from reconciler.review.text import text

        print("\n".join(text(found)))


def refusal(found: Review) -> Refused:
    """Say that the head would be refused, and why."""
    errors = [problem for problem in found.problems if problem.severity == "error"]
    message = f"{found.head[:7]} would be refused: {counted(len(errors), 'problem')}"
    return Refused(message, "correct the places above", errors[:SHOWN_MAX])


def find(args: argparse.Namespace, base: str, head: str | None) -> Review:
    """Compare two revisions of the repository around this folder, or of the workspace's."""
    found, path, old, new, reading = _read_first(args, readings(base, head))
    if reading.from_fork:
        old = fork(found, old, new)
    return reviewed(args, found, path, old, new)


def reviewed(args: argparse.Namespace, repository: Repository, path: str, old: str, new: str) -> Review:
    """Compare two commits, with what a partial clone lacks of them brought."""
    bring(repository, [old, new], path, may_matter)
    return rehearsed(args, review(compare(repository, path, old, new)))


class TwoRevisions(NamedTuple):
    """Two revisions, and whether the commit that both come from is the base."""

    base: str
    head: str
    from_fork: bool = False


def readings(base: str, head: str | None) -> list[TwoRevisions]:
    """Give what BASE and HEAD may mean, as git tries it: two dots divide, unless they are part of one revision.

    They may be, as revisions can quote a commit's message (gitrevisions(7)). What people mean if it means nothing
    stands first.
    """
    whole = TwoRevisions(base, head or "HEAD")
    left, dots, right = base.partition("..")
    if not dots:
        return [whole]
    if head is not None:
        return [whole, TwoRevisions("", "")]
    divided = TwoRevisions(left or "HEAD", right.removeprefix(".") or "HEAD", right.startswith("."))
    return [whole, divided] if left.startswith(":/") or left.count("{") > left.count("}") else [divided, whole]


def _read_first(
    args: argparse.Namespace, may_be: Sequence[TwoRevisions]
) -> tuple[Repository, str, str, str, TwoRevisions]:
    """Take the first reading of which there are both revisions. Raises what the first one raises if there is none."""
    missing: SourceUnavailable | None = None
    for reading in may_be:
        if not reading.base:
            raise UsageError(f"{may_be[0].base} names both revisions already", "leave out HEAD")
        try:
            return *located(args, reading.base, reading.head), reading
        except SourceUnavailable as error:
            if not isinstance(error.__cause__, NotFound):
                raise
            missing = missing or error
    assert missing is not None
    raise missing


def located(args: argparse.Namespace, base: str, head: str) -> tuple[Repository, str, str, str]:
    """Find the repository that has both revisions: it, the source path in it, and both commits."""
    missing: NotFound | None = None
    for repository, path in _repositories(args):
        try:
            return repository, path, repository.resolve(base), repository.resolve(head)
        except NotFound as error:
            missing = missing or _explained(error, repository)
    if missing is not None:
        raise SourceUnavailable(missing.message, missing.hint) from missing
    raise WorkspaceError("there is no git repository around this folder, and no workspace", "run it inside a clone")


def rehearsed(args: argparse.Namespace, found: Review) -> Review:
    """Add what last week's requests would have met under the proposed limits, if there is a workspace to ask."""
    if not found.limits:
        return found
    try:
        workspace = find_workspace(args.workspace)
    except WorkspaceError:
        return found
    if _is_proposed(args, workspace.log_file or workspace.root / "pai.toml"):
        return found
    from reconciler.audit.terms import Query, event_time
    from reconciler.cli.reading import open_reading, tell_pruned

    now = datetime.now(UTC)
    try:
        with open_reading(workspace) as reading:
            tell_pruned(reading, Query(since=event_time(now - timedelta(days=7))))
            days = [reading.rehearse(name, limit, now) for name, limit in found.limits]
    except CouldNotRun as error:
        note(f"note: the log says nothing of last week's use: {error.message}")
        return found
    return found._replace(rehearsals=tuple(each for each in days if each is not None))


def fork(repository: Repository, base: str, head: str) -> str:
    """Give the commit that both come from."""
    found = repository.merge_base(base, head)
    if found is None:
        why = "the clone is shallow: fetch the whole history" if repository.is_shallow else "compare BASE with HEAD"
        raise SourceUnavailable(f"{base[:7]} and {head[:7]} come from no common commit", why)
    return found


def _explained(error: NotFound, repository: Repository) -> NotFound:
    if repository.is_shallow:
        return NotFound(error.message, "the clone is shallow: fetch the whole history (fetch-depth: 0, GIT_DEPTH: 0)")
    return error


def _repositories(args: argparse.Namespace) -> list[tuple[Repository, str]]:
    """Give the repositories that the revisions may be of, with the source path in each."""
    found: list[tuple[Repository, str]] = []
    if (around := here(Path.cwd())) is not None:
        found.append((around, args.path or os.environ.get(PATH_VARIABLE) or "."))
    try:
        workspace = find_workspace(args.workspace)
        theirs = (Repository.open(workspace.local_repository()), args.path or workspace.settings.source_path)
        if _is_proposed(args, theirs[0].path / "HEAD"):
            return found
    except (WorkspaceError, SourceUnavailable):
        if args.workspace is not None:
            raise
        return found
    if args.workspace is None or around is None:
        return [*found, theirs]
    return [(around, theirs[1]), theirs] if around.is_kin(theirs[0]) else [theirs, *found]


def _is_proposed(args: argparse.Namespace, place: Path) -> bool:
    """Tell whether what lies there was committed to the repository around this folder, by whoever proposes a change.

    A workspace that nobody named is found by a `pai.toml`, which a proposal may have too, with a repository and a log
    of its own choice.
    """
    around = here(Path.cwd()) if args.workspace is None else None
    return around is not None and carries(around, place)
