"""The pre-receive hook's verdict: reads the pushed refs on stdin, prints what is wrong, exits 1 to refuse the push.

Judges the new tip of the source branch only. Other branches pass; the source branch cannot be deleted, `refs/pai/*` not
be pushed. It runs inside git's quarantine: the pushed objects are visible here and nowhere else yet. It needs no daemon
and changes nothing but the kept index, which is derived. Whatever goes wrong here refuses the push.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from reconciler.cli.output import print_diagnostics, print_error
from reconciler.core.errors import PaiError, Refused
from reconciler.core.objects import Kind
from reconciler.core.state import RowKey, from_rows, row_keys
from reconciler.log.replay import FOLD_VERSION, projected
from reconciler.log.sqlite import open_reader
from reconciler.manifests import Verdict
from reconciler.source import RefUpdate, Repository, parse_updates
from reconciler.verdict import Judge, load_index, save_index
from reconciler.workspace import Workspace

SHOWN_MAX = 100
_KINDS: Mapping[str, Kind] = {"model": "model", "agent": "agent"}
SAVED_AFTER_FILES = 500
"""Files read beyond which the index is kept, so that the next push is fast even if no daemon runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the push on stdin; 0 lets it in."""
    gc.disable()  # a short life that keeps nearly all it makes: looking for garbage was a fifth of it
    parser = argparse.ArgumentParser(prog="pre-receive")
    parser.add_argument("--workspace", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        workspace = Workspace.open(args.workspace)
        for update in parse_updates(sys.stdin):
            _judge(workspace, update)
    except PaiError as error:
        print_error(error)
        return 1
    return 0


def _judge(workspace: Workspace, update: RefUpdate) -> None:
    if update.ref.startswith("refs/pai/"):
        raise Refused(f"{update.ref} belongs to Pai and cannot be pushed", "push branches only")
    branch = workspace.settings.source_branch
    if update.ref != f"refs/heads/{branch}":
        return
    if update.deleted:
        raise Refused(
            f"branch {branch} is what Pai enforces and cannot be deleted",
            "push a commit that removes the manifests, or change source.branch first",
        )
    verdict = _verdict(workspace, update.new)
    if verdict.accepted:
        print_diagnostics(verdict.diagnostics[:SHOWN_MAX], len(verdict.diagnostics) - SHOWN_MAX, to_stderr=True)
        return
    errors = [d for d in verdict.diagnostics if d.severity == "error"]
    print_diagnostics(errors[:SHOWN_MAX], len(errors) - SHOWN_MAX, to_stderr=True)
    problems = f"{len(errors)} problem{'s' * (len(errors) != 1)}"
    raise Refused(f"Pai refuses {update.new[:7]}: {problems}", "correct the places above and push again")


def _verdict(workspace: Workspace, commit: str) -> Verdict:
    present, revision = _in_force(workspace)
    repository = Repository.open(Path(os.environ.get("GIT_DIR", ".")), quarantine=True)
    judge = Judge(repository, workspace.settings.source_path, load_index(workspace.index_file))
    verdict = judge.revision(commit, present, revision)
    if verdict.accepted and judge.index is not None and judge.files_read > SAVED_AFTER_FILES:
        save_index(workspace.index_file, judge.index)
    return verdict


def _in_force(workspace: Workspace) -> tuple[Set[tuple[Kind, str]], str]:
    """Name the objects in force and give their revision; what they say is not decoded if the projection has the names.

    Raises LogDamaged and what else opening the log raises.
    """
    with contextlib.closing(open_reader(workspace.database)) as log:
        with log.moment():
            head, rows = log.head(), log.rows()
        if (head.projected, head.fold) == (head.size, FOLD_VERSION):
            with contextlib.suppress(ValueError):  # then it is damaged, and `projected` says so
                state = from_rows({key: rows[key] for key in rows if key[0] not in _KINDS}, head.size)
                return _names(rows), state.revision
        state = projected(log)
        return _names(row_keys(state)), state.revision


def _names(keys: Iterable[RowKey]) -> Set[tuple[Kind, str]]:
    return {(_KINDS[kind], name) for kind, name in keys if kind in _KINDS}


if __name__ == "__main__":
    sys.exit(main())
