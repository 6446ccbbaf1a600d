"""`pai prove`: one event, and why it is in the log that a checkpoint vouches for. Reads only."""

from __future__ import annotations

import contextlib

from reconciler.core.errors import LogDamaged, NotFound
from reconciler.evidence import published
from reconciler.log.pruned import dropped
from reconciler.log.tree import Tree
from reconciler.tlog.merkle import leaf_hash
from reconciler.tlog.note import VerifierKey
from reconciler.tlog.proofs import verify_inclusion
from reconciler.tlog.signed_checkpoint import verify
from reconciler.tlog.tlog_proof import Proof, write
from reconciler.workspace import Workspace


def prove(workspace: Workspace, key: VerifierKey, position: int, with_event: bool = False) -> str | None:
    """Give the proof of the event at `position`, None if the newest checkpoint does not cover it yet.

    `with_event` puts the event's bytes into it. Raises NotFound beyond the end and for an event that was
    dropped, LogDamaged if what is stored does not
    lead to the checkpoint's root.
    """
    with contextlib.closing(workspace.log().reader()) as log:
        end = log.size()
        if position >= end:
            raise NotFound(f"there is no position {position:,}: the log's last is {end - 1:,}", "pai log shows them")
        note = published.note(workspace)
        if note is None:
            return None
        try:
            checkpoint = verify(note, key)
        except ValueError as error:
            raise LogDamaged(f"data/checkpoint is not this log's: {error}", "run `pai verify`") from error
        if checkpoint.size <= position:
            return None
        if checkpoint.size > end:
            told = f"the log ends after {end:,} events, data/checkpoint vouches for {checkpoint.size:,}"
            raise LogDamaged(told, "pai verify says more")
        with log.moment():
            kept = log.kept(position, position + 1)
            if position < log.first() and not kept:
                raise dropped(log, position)
            path = Tree(log).inclusion(position, checkpoint.size, kept[0].path if kept else b"")
            body = next(iter(log.read(position, position + 1))).body
    if not verify_inclusion(leaf_hash(body), position, checkpoint.size, path, checkpoint.root):
        raise LogDamaged(f"the event at position {position} is not the one vouched for", "run `pai verify`")
    return write(Proof(position, path, note), body if with_event else b"")
