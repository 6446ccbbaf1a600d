"""Write the log into a new or empty folder, as files that anybody can verify, or as rows for other tools.

Without --format it is the C2SP tlog-tiles layout up to a checkpoint signed now: `checkpoint`, `vkey`, `tile/...`;
verify it anywhere with `pai verify DIR --vkey KEY`. With --format it is one file of rows, each with its position and
leaf hash: `events.csv`, `events.jsonl` (jsonl, CloudEvents 1.0, OCSF 1.3.0) or `events.parquet`. Either all of it is
there, or nothing.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from reconciler.cli.place import find_workspace, folder
from reconciler.cli.progress import Progress
from reconciler.workspace import Workspace

FORMATS = ("jsonl", "csv", "cloudevents", "ocsf", "parquet")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai export`."""
    parser.add_argument("dir", type=folder, metavar="DIR", help="a new or an empty folder")
    parser.add_argument("--format", choices=FORMATS, help="rows instead of tiles")


def run(args: argparse.Namespace) -> int:
    """Export, and say what is there now."""
    workspace = find_workspace(args.workspace)
    with contextlib.closing(workspace.log().reader()) as log:
        size = log.size()
    return _tiles(workspace, args.dir, size) if args.format is None else _rows(workspace, args.dir, args.format, size)


def _tiles(workspace: Workspace, folder: Path, size: int) -> int:
    from reconciler.cli.vouching import sign
    from reconciler.evidence.folders import require_new
    from reconciler.evidence.published import key_of, own
    from reconciler.evidence.tiles import export

    require_new(folder)  # before anything is signed for nothing
    key = key_of(workspace)
    claim = own(workspace, key)
    if claim is None or claim.checkpoint is None or claim.checkpoint.size < size:
        sign(workspace)
    with Progress("exporting", size) as progress:
        checkpoint = export(workspace, key, folder, progress.add)
    print(f"{checkpoint.size:,} events in {folder}; verify them anywhere: pai verify {folder} --vkey '{key}'")
    return 0


def _rows(workspace: Workspace, folder: Path, form: str, size: int) -> int:
    from reconciler.evidence.published import key_of
    from reconciler.evidence.rows import FILES, export

    origin = key_of(workspace).name
    known = next(name for name in FILES if name == form)
    with Progress("exporting", size) as progress:
        count = export(workspace, folder, known, origin, progress.add)
    print(f"{count:,} events in {folder / FILES[known]}")
    return 0
