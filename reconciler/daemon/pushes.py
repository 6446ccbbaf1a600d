"""The verdict on a push that git holds in quarantine, by a daemon that knows the tree or by the hook alone.

Both ways end in the same `Judge.revision`; they differ only in where the names in force and what was read of the tree
come from. Nothing here changes the log or the repository.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reconciler.core.objects import Kind
from reconciler.core.state import RowKey, from_rows, row_keys
from reconciler.log.replay import FOLD_VERSION, projected
from reconciler.log.sqlite import open_reader
from reconciler.manifests import Verdict
from reconciler.source import Repository
from reconciler.verdict import Index, Judge, load_index, save_index
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    from reconciler.source import Signatures

SAVED_AFTER_FILES = 500
"""Files read beyond which the index is kept, so that the next push is fast even if no daemon runs."""

_KINDS: Mapping[str, Kind] = {"model": "model", "agent": "agent"}
Names = Set[tuple[Kind, str]]


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pushed commit: `repository` is its git directory, `folders` are where git keeps the pushed objects."""

    commit: str
    repository: str
    folders: list[str]


def judge_push(
    workspace: Workspace, push: Push, present: Names, revision: str, index: Index | None
) -> tuple[Verdict, Judge]:
    """Judge the commit as the successor of `revision`, which put the objects `present` in force."""
    repository = Repository.open(Path(push.repository), push.folders)
    judge = Judge(repository, workspace.settings.source_path, index, signatures_of(workspace))
    return judge.revision(push.commit, present, revision), judge


def signatures_of(workspace: Workspace) -> Signatures | None:
    """Give whose signature a revision needs, None for nobody's."""
    settings = workspace.settings
    if settings.source_require_signatures == "off":
        return None
    from reconciler.source import Signatures  # the hook is in a hurry

    signers, home = workspace.file(settings.source_allowed_signers), workspace.file(settings.source_gnupg_home)
    return Signatures(settings.source_require_signatures, signers, home)


def judge_alone(workspace: Workspace, push: Push) -> Verdict:
    """Judge without a daemon. Raises LogDamaged and what else reading the log and the repository raises."""
    present, revision = _in_force(workspace)
    index = load_index(workspace.index_file)
    verdict, judge = judge_push(workspace, push, present, revision, index)
    if verdict.accepted and judge.index is not None and judge.files_read > SAVED_AFTER_FILES:
        save_index(workspace.index_file, judge.index)
    return verdict


def names(keys: Iterable[RowKey]) -> Names:
    """Pick the objects out of row keys."""
    return {(_KINDS[kind], name) for kind, name in keys if kind in _KINDS}


def _in_force(workspace: Workspace) -> tuple[Names, str]:
    """Name the objects that were accepted last and give their revision, without decoding what they say if that can be.

    They are those in force, unless an operator has another revision pinned.
    """
    with contextlib.closing(open_reader(workspace.database)) as log:
        with log.moment():
            head, rows = log.head(), log.rows()
        if (head.projected, head.fold) == (head.size, FOLD_VERSION):
            with contextlib.suppress(ValueError):  # then it is damaged, and `projected` says so
                state = from_rows({key: rows[key] for key in rows if key[0] not in _KINDS}, head.size)
                if state.pin is None:
                    return names(rows), state.revision
        state = projected(log)
        if state.pin is not None:
            from reconciler.audit import accepted_state

            state = accepted_state(log, state)
        return names(row_keys(state)), state.revision
