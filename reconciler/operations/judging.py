"""The verdict on a push that git holds in quarantine, by a daemon that knows the tree or by the hook alone.

Both ways end in the same `Judge.revision`; they differ only in where the names in force and what was read of the tree
come from. The daemon judges small pushes only, since it serves agents meanwhile; the hook judges larger ones in its own
process. Nothing here changes the log or the repository.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reconciler.core.objects import KINDS, Kind
from reconciler.core.state import FOLD_VERSION, from_rows
from reconciler.log.replay import projected
from reconciler.manifests.judging import Verdict
from reconciler.manifests.reading import size_of
from reconciler.operations.hook_verbs import JudgePush
from reconciler.source.git import Repository
from reconciler.source.trailer_search import weight
from reconciler.verdict import Judge, Most, TooLarge, TreeIndex, in_force, load_index, save_index
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    from reconciler.source.signatures import Signatures

SAVED_AFTER_FILES = 500
"""Files read beyond which the index is kept, so that the next push is fast even if no daemon runs."""

SMALL_COMMITS = 500
"""Commits that the daemon reads for a push, back to the one in force; a long one counts as several."""
SMALL = Most(
    entries=50_000,
    paths=500,
    tree_bytes=2 * 1024 * 1024,
    characters=256 * 1024,
    file_bytes=256 * 1024,
    commits=SMALL_COMMITS,
)
"""What the daemon reads for a push: some 20 ms of work."""
SMALL_DENSITY = 2 * 1024 * 1024
"""What all of the files together may be for `size_of`: 16,000 lines, fields and items, which take longer than text."""
SMALL_PACK_BYTES = 64 * 1024
"""Of a pack that git keeps as it came. Its objects may be made of others a thousand times its size."""

Names = Set[tuple[Kind, str]]


def judge_small(
    workspace: Workspace, push: JudgePush, present: Names, revision: str, index: TreeIndex | None
) -> Verdict:
    """Judge the commit as the successor of `revision`, which put the objects `present` in force.

    Raises TooLarge if that takes more than a moment.
    """
    packs = [pack for folder in push.folders[:1] for pack in Path(folder, "pack").glob("*.pack")]
    if any(os.path.getsize(pack) > SMALL_PACK_BYTES for pack in packs):
        raise TooLarge("many objects are pushed")
    judge = _judge(workspace, push, index, SMALL)
    _require_few_commits(judge.repository, push.commit, revision)
    return judge.revision(push.commit, present, revision)


def _require_few_commits(repository: Repository, tip: str, revision: str) -> None:
    """See that what was pushed on top of `revision` ("" for nothing before) can be walked over. Raises TooLarge."""
    looked = 0
    for commit in repository.first_parents(tip):
        if commit == revision:
            return
        looked += weight(repository, commit)
        if looked > SMALL_COMMITS:
            break
    if revision or looked > SMALL_COMMITS:
        raise TooLarge("many commits are pushed, or another line of history")


class _Small(Repository):
    """A repository of which no more files are read than take a moment. Raises TooLarge."""

    _density = SMALL_DENSITY

    def blob(self, oid: str) -> bytes:
        """Give the content of a file."""
        data = super().blob(oid)
        self._density -= size_of(data)
        if self._density < 0:
            raise TooLarge("very many lines, fields and items are pushed")
        return data


def _judge(workspace: Workspace, push: JudgePush, index: TreeIndex | None, most: Most | None) -> Judge:
    repository = (_Small if most else Repository).open(Path(push.repository), push.folders)
    return Judge(repository, workspace.settings.source_path, index, signatures_of(workspace), most)


def signatures_of(workspace: Workspace) -> Signatures | None:
    """Give whose signature a revision needs, None for nobody's."""
    settings = workspace.settings
    if settings.source_require_signatures == "off":
        return None
    from reconciler.source.signatures import Signatures

    signers, home = workspace.file(settings.source_allowed_signers), workspace.file(settings.source_gnupg_home)
    return Signatures(settings.source_require_signatures, signers, home)


def judge_alone(workspace: Workspace, push: JudgePush) -> Verdict:
    """Judge without a daemon. Raises LogDamaged and what else reading the log and the repository raises."""
    present, revision = _in_force(workspace)
    judge = _judge(workspace, push, load_index(workspace.index_file), None)
    walk = judge.repository.walk(push.commit, revision or None)  # as the reconciler will for their outcomes
    if walk.unreadable is not None:
        raise walk.unreadable
    verdict = judge.revision(push.commit, present, revision)
    if verdict.accepted and judge.index is not None and judge.files_read > SAVED_AFTER_FILES:
        save_index(workspace.index_file, judge.index)
    return verdict


def _in_force(workspace: Workspace) -> tuple[Names, str]:
    """Name the objects that were accepted last and give their revision, without decoding what they say if that can be.

    They are those in force, unless an operator has another revision pinned.
    """
    with contextlib.closing(workspace.log().reader()) as log:
        with log.moment():
            head, rows = log.head(), log.rows()
        if (head.projected, head.fold) == (head.size, FOLD_VERSION):
            with contextlib.suppress(ValueError):  # then it is damaged, and `projected` says so
                state = from_rows({key: rows[key] for key in rows if key[0] not in KINDS}, head.size)
                if state.pin is None:
                    return cast("Names", {key for key in rows if key[0] in KINDS}), state.revision
        state = projected(log)
        if state.pin is not None:
            from reconciler.log.past import accepted_state

            state = accepted_state(log, state)
        return in_force(state), state.revision
