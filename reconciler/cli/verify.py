"""Recompute everything from the stored bytes and compare: hashes, positions, the Merkle tree, the state, checkpoints.

Without PATH it is the workspace's log, held against every checkpoint that was published; it only reads, also beside a
daemon. PATH is an export (`pai export`) or a proof (`pai prove`), which need no workspace. Names the first bad position
of each kind of fault; exit code 1 if there is any. A log that was rolled back on purpose (an older backup) is taken
into use by --accept.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.actor import order
from reconciler.cli.output import note
from reconciler.cli.place import find_workspace
from reconciler.cli.progress import Progress
from reconciler.cli.proof_file import named_key, verify_proof
from reconciler.core.diagnostics import printable
from reconciler.core.errors import Refused, UsageError
from reconciler.log.problems import MADE_ANEW, LogProblem
from reconciler.workspace import Workspace
from reconciler.workspace.paths import CONFIG_NAME

if TYPE_CHECKING:
    from reconciler.evidence.verification import Report


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai verify`."""
    parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help="an export, or a proof, to verify instead")
    parser.add_argument(
        "--vkey", metavar="KEY|FILE", help="with PATH: the key to trust (default: the file vkey that lies there)"
    )
    parser.add_argument(
        "--event", type=Path, metavar="FILE", help="with a proof: its event, such as a row of pai log -o jsonl"
    )
    parser.add_argument(
        "--with",
        dest="parts",
        type=Path,
        action="append",
        metavar="DIR",
        help="verify what was pruned as well: a folder that pai prune exported to; may be repeated",
    )
    parser.add_argument(
        "--accept", action="store_true", help="take the log as it is, although it was rolled back; this is recorded"
    )


def run(args: argparse.Namespace) -> int:
    """Print what is wrong, or how much was found right."""
    if args.parts and (args.path is not None or args.accept):
        raise UsageError("--with is for the workspace's log alone", "pai verify --with DIR")
    if args.path is not None and args.accept:
        raise UsageError("--accept is for the workspace's log, not for an export or a proof", "leave out the path")
    for option in ("vkey", "event"):
        if getattr(args, option) is not None and args.path is None:
            raise UsageError(f"--{option} is for an export or a proof", f"pai verify PATH --{option} ...")
    if args.path is not None:
        _require_evidence(args.path)
    if args.path is not None and args.path.is_file():
        return verify_proof(args.path, args.vkey, args.event, args.workspace)
    if args.event is not None:
        raise UsageError("--event is for a proof, which is a file", "leave it out")
    if args.path is not None:
        return _export(args.path, args.vkey)
    workspace = find_workspace(args.workspace, strict=args.accept)
    return _accept(workspace) if args.accept else _log(workspace, args.parts or ())


def _require_evidence(path: Path) -> None:
    """Say what to verify instead of what carries no proof at all. Raises UsageError."""
    if (path / CONFIG_NAME).is_file():
        raise UsageError(f"{path} is a workspace, and no export", f"pai verify --workspace {shlex.quote(str(path))}")
    rows = next((file for file in _ROWS if (path / file).is_file()), "")
    if rows and not (path / "checkpoint").exists():
        hint = "pai export DIR without --format can be verified; pai prove SEQ proves the event of a row"
        raise UsageError(f"{path} has rows ({rows}), which carry no proof", hint)
    if path.is_dir() and not ((path / "checkpoint").exists() or (path / "vkey").exists()):
        raise UsageError(f"{path} is no export: it has neither checkpoint nor vkey", "name the folder of pai export")
    with contextlib.suppress(OSError):
        if path.is_file() and path.open("rb").read(16) == b"SQLite format 3\0":
            raise UsageError(f"{path} is a log itself", "pai verify --workspace DIR, the workspace that it lies in")


_ROWS = ("events.jsonl", "events.csv", "events.parquet")


def _log(workspace: Workspace, parts: Sequence[Path]) -> int:
    from reconciler.evidence.verification import verify

    with Progress("verifying", _size(workspace)) as progress:
        report = verify(workspace, progress.add, parts)
    if report.warning:
        note(f"warning: {report.warning}")
    if report.amiss:
        told = "; ".join(report.amiss)
        note(f"warning: {workspace.log()} was written by another tool ({told}): {MADE_ANEW}")
    if report.problems:
        _print(report.problems)
        raise _refusal(workspace, report, parts)
    print(f"ok: {_events(report, parts)}, hashes, positions, tree, state and published checkpoints agree")
    _tell_pruned(workspace, report, parts)
    if not report.checkpoints:
        note("there is no published checkpoint to compare with")
    if report.excused:
        note(f"{report.excused:,} older ones are not compared, since an operator accepted the log: pai log type:log")
    return 0


def _refusal(workspace: Workspace, report: Report, parts: Sequence[Path]) -> Refused:
    if all(problem.message.endswith(MADE_ANEW) for problem in report.problems):
        return Refused(
            f"{workspace.log()} has what another version of Pai, or another tool, made beside its events",
            "the events themselves agree; run pai reconcile once, or start the daemon, and verify again",
        )
    if report.shorter:
        meant = "if a backup was put back on purpose: pai verify --accept"
        return Refused(
            f"{workspace.log()} is whole, but older than what was vouched for",
            f"{meant}; if not, keep a copy for investigation, then restore the newest log",
        )
    also = ", or what was pruned from it," if parts else ""
    return Refused(
        f"{workspace.log()}{also} has been damaged or tampered with",
        "keep a copy for investigation, then restore the log from a backup",
    )


def _events(report: Report, parts: Sequence[Path]) -> str:
    if not report.first or parts:
        return f"{report.size:,} events"
    return f"{report.size - report.first:,} events from #{report.first} on"


def _tell_pruned(workspace: Workspace, report: Report, parts: Sequence[Path]) -> None:
    """Say what of a pruned log was not looked at."""
    if not report.first or parts:
        return
    from reconciler.log.pruned import prunings

    with contextlib.closing(workspace.log().reader()) as log:
        where = [f"--with {cut.payload.export}" for cut in prunings(log)]
    note(f"the {report.first:,} events before were pruned: the hashes of their tiles agree, their bytes are not here")
    if report.before:
        note(f"{report.before:,} older checkpoints are about them alone and are not compared")
    note(printable(f"pai verify {' '.join(reversed(where))} verifies them too"))


def _export(folder: Path, vkey: str | None) -> int:
    from reconciler.evidence.offline import verify_export

    trusted = named_key(vkey) if vkey is not None else None
    with Progress("verifying") as progress:
        found = verify_export(folder, trusted, progress.add)
    if found.problems or found.checkpoint is None:
        _print(found.problems)
        raise Refused(
            f"{folder} is not a whole export, or has been tampered with",
            "export again, and compare the key with the one that you were given",
        )
    size, origin = found.checkpoint.size, found.checkpoint.origin
    which = f"events #{found.first} to #{size - 1}" if found.first else f"{size:,} events"
    print(f"ok: {which} of {origin} are those that the checkpoint vouches for")
    if not found.told:
        note(
            f"no event in it tells why it begins at #{found.first}: as a part of a log it need not, else it was cut off"
        )
        note("a part is verified together with its log: pai verify --with DIR, in the workspace")
    elif found.first:
        note(f"the log was pruned: the {found.first:,} events before are not in this export, only their tiles' hashes")
    if trusted is None:
        note("the key is the export's own; name one that you trust with --vkey")
    return 0


def _accept(workspace: Workspace) -> int:
    """Have the log accepted, once it is known to be whole in itself."""
    from reconciler.log.check.whole import check
    from reconciler.operations.orders import AcceptLog

    size = _size(workspace)
    with contextlib.closing(workspace.log().reader()) as log, Progress("verifying", size) as progress:
        problems = check(log, checked=progress.add, place=workspace.log().place())
    if problems:
        _print(problems)
        raise Refused("the log is damaged in itself, and only a whole log can be accepted", "restore it from a backup")
    reason = order(workspace, AcceptLog()).reason
    if not reason:
        print("ok: nothing to accept, the log is the one that was vouched for")
        return 0
    print(printable(f"accepted, and recorded as log.accepted.v1 ({reason})"))
    return 0


def _size(workspace: Workspace) -> int:
    with contextlib.closing(workspace.log().reader()) as log:
        return log.size()


def _print(problems: Sequence[LogProblem]) -> None:
    for problem in problems:
        where = "" if problem.position is None else f"position {problem.position}: "
        print(printable(where + problem.message))
