"""What `git commit` would commit: git's index as a tree, without a trace in the repository.

Git itself writes the tree, as it does for a commit, so whatever the index is (a split or sparse one, entries that are
only intended, the index of a commit under way that GIT_INDEX_FILE names) is git's own affair. The objects go to a
temporary folder, which the repository is opened with.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.core.errors import CouldNotRun
from reconciler.source.git import Repository
from reconciler.source.gitrun import in_work_tree
from reconciler.source.mapping import trust
from reconciler.source.quarantine import quarantine_folders

TIMEOUT_S = 60.0
_DUBIOUS = re.compile(r"detected dubious ownership in repository at '(.+)'")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[tuple[Repository, str]]:
    """Give the repository around `folder`, and the id of the tree of what is staged; both hold until the block ends.

    Raises CouldNotRun if there is no repository or nothing could be committed, with git's words.
    """
    with tempfile.TemporaryDirectory(prefix="pai-staged-") as temporary:
        git_dir, objects, index = _places(folder)
        with contextlib.suppress(FileNotFoundError):  # nothing was ever staged
            shutil.copyfile(index, f"{temporary}/index")  # git would write into it what it found out
        others = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")
        alternates = f"{_quoted(objects)}{os.pathsep}{others}" if others else _quoted(objects)
        environment = {
            "GIT_INDEX_FILE": f"{temporary}/index",
            "GIT_OBJECT_DIRECTORY": temporary,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates,
        }
        tree = _git(folder, {**os.environ, **environment}, "write-tree")
        repository = Repository.open(git_dir, [temporary, *quarantine_folders(os.environ)])
        repository.treat_as_commit(tree)
        yield repository, tree


def _places(folder: Path) -> tuple[Path, Path, Path]:
    """Ask git for its directory, the folder of objects and the index, which variables may have moved."""
    asked = ("--show-toplevel", "--absolute-git-dir", "--git-path", "objects", "--git-path", "index")
    lines = _git(folder, os.environ, "rev-parse", *asked).split("\n")
    if len(lines) != 4:
        raise CouldNotRun("the path of the repository has a line break in it", "move it")
    _, git_dir, objects, index = lines
    return Path(git_dir), (folder / objects).resolve(), folder / index


def _git(folder: Path, environment: Mapping[str, str], *words: str) -> str:
    done = in_work_tree(folder, words, environment, TIMEOUT_S)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ").removeprefix("error: ")
        hint = "git status says more; run it inside the repository's work tree"
        if owned := _DUBIOUS.match(said):
            hint = trust(owned[1])
        first = " ".join(said.removesuffix(":").split("\n", 2)[: 2 if said.partition("\n")[0].endswith(":") else 1])
        raise CouldNotRun(f"what is staged cannot be read: {first or 'git says nothing'}", hint)
    return os.fsdecode(done.stdout).removesuffix("\n")


def _quoted(path: Path) -> str:
    """Write a folder for git's list of them, as a C string: such a list is split at colons."""
    text = str(path)
    if ":" not in text and '"' not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
