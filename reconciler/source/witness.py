"""Git as a witness: small files committed, one commit each time, on a ref of their own that is no branch.

`refs/pai/...` belongs to Pai: the hook lets nobody push there, and the watch does not look there. Each commit's first
parent is the one before, so that what was published once stays in the history. Objects and ref are on disk (fsync)
when `publish` returns. Nothing here knows what the files say, and nothing trusts them: other programs may write there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
from pygit2.enums import FileMode, RepositoryOpenFlag

from reconciler.core.errors import SourceUnavailable
from reconciler.source import writing
from reconciler.source.mapping import mapped
from reconciler.source.storing import store
from reconciler.source.writing import Author

CHECKPOINTS: Final = "refs/pai/checkpoints"
FILE_BYTES_MAX: Final = 65_536


class Published(NamedTuple):
    """One commit of the ref and its files; what is no file of a sane size is left out."""

    commit: str
    files: Mapping[str, bytes]


def newest(path: Path, ref: str = CHECKPOINTS) -> Published | None:
    """Give what was published last, None if nothing was. Raises SourceUnavailable."""
    return next(history(path, ref), None)


def history(path: Path, ref: str = CHECKPOINTS) -> Iterator[Published]:
    """Give everything that was published, newest first. Raises SourceUnavailable."""
    with mapped(path):
        repo = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
        at = writing.target(repo, ref)
    while at is not None:
        with mapped(path):
            try:
                commit = repo[at].peel(pygit2.Commit)
                found = Published(str(commit.id), _files(repo, commit))
            except (KeyError, ValueError) as error:
                raise SourceUnavailable(
                    f"commit {at} of {ref} in {path} is missing or no commit", "restore it: git fsck says more"
                ) from error
            at = str(commit.parent_ids[0]) if commit.parent_ids else None
        yield found


def publish(path: Path, expected: str | None, files: Mapping[str, bytes], message: str, author: Author) -> str:
    """Commit `files` on top of `expected` (None: the ref is new), and give the commit's id.

    Raises RaceLost if the ref is elsewhere, SourceUnavailable.
    """
    with mapped(path):
        repo = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
        signature = writing.signature_of(author)
        parents = [] if expected is None else [expected]

        def written(into: pygit2.Repository) -> pygit2.Oid:
            tree = into.TreeBuilder()
            for name, content in files.items():
                tree.insert(name, into.create_blob(content), FileMode.BLOB)
            return into.create_commit(None, signature, signature, message, tree.write(), parents)

        commit = store(repo, written)
        writing.move(repo, CHECKPOINTS, expected, commit, signature, message)
    return str(commit)


def _files(repo: pygit2.Repository, commit: pygit2.Commit) -> dict[str, bytes]:
    files = {}
    for entry in commit.peel(pygit2.Tree):
        if entry.name and entry.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
            _, size = repo.odb.read_header(entry.id)
            if size <= FILE_BYTES_MAX:
                files[entry.name] = repo.odb.read(entry.id)[1]
    return files
