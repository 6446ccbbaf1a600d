"""Git: reading trees and history, watching a branch, writing commits, the pre-receive hook.

Nothing here knows manifests or the log. The names below are what other packages use; they load on first use, because
libgit2 costs more to import than most commands take.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.source.bare import init_bare
    from reconciler.source.commits import CommitInfo
    from reconciler.source.credentials import RemoteCredentials
    from reconciler.source.git import Author, RaceLost, Repository, TreeEntry, Walk, user_identity
    from reconciler.source.history import CommitUnreadable
    from reconciler.source.hook import RefUpdate, install, is_judged, parse_updates
    from reconciler.source.promised import bring
    from reconciler.source.quarantine import quarantine_folders
    from reconciler.source.remote import Mirror, Remote, last_seen
    from reconciler.source.signatures import Signatures
    from reconciler.source.staging import staged
    from reconciler.source.surroundings import carries, here, work_tree
    from reconciler.source.tree_walk import TreeRefused
    from reconciler.source.watch import Watch

_HOMES = {
    "Signatures": "signatures",
    "last_seen": "remote",
    "Remote": "remote",
    "Mirror": "remote",
    "Author": "git",
    "CommitInfo": "commits",
    "CommitUnreadable": "history",
    "RaceLost": "git",
    "RefUpdate": "hook",
    "RemoteCredentials": "credentials",
    "Repository": "git",
    "TreeEntry": "git",
    "TreeRefused": "tree_walk",
    "Walk": "git",
    "Watch": "watch",
    "bring": "promised",
    "carries": "surroundings",
    "here": "surroundings",
    "init_bare": "bare",
    "install": "hook",
    "is_judged": "hook",
    "parse_updates": "hook",
    "quarantine_folders": "quarantine",
    "staged": "staging",
    "user_identity": "git",
    "work_tree": "surroundings",
}

__all__ = [
    "Author",
    "CommitInfo",
    "CommitUnreadable",
    "Mirror",
    "RaceLost",
    "RefUpdate",
    "Remote",
    "RemoteCredentials",
    "Repository",
    "Signatures",
    "TreeEntry",
    "TreeRefused",
    "Walk",
    "Watch",
    "bring",
    "carries",
    "here",
    "init_bare",
    "install",
    "is_judged",
    "last_seen",
    "parse_updates",
    "quarantine_folders",
    "staged",
    "user_identity",
    "work_tree",
]


def __getattr__(name: str) -> object:
    """Import the module that holds `name` when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
