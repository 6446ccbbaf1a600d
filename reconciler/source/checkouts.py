"""Work trees that have a branch checked out: whether it may move there, and what follows when it does.

Nothing uncommitted is ever overwritten. Callers map libgit2's exceptions.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import pygit2

from reconciler.core.errors import CouldNotRun, Refused
from reconciler.source.gitrun import in_work_tree, without_repository
from reconciler.source.storing import common_dir

TIMEOUT_S = 30.0
_REBASES = ("rebase-merge", "rebase-apply")
"""The folders of a rebase under way, by its two backends."""


def checkout(repo: pygit2.Repository, branch: str, files: Mapping[str, bytes | None]) -> Path | None:
    """Find the work tree that has to follow the branch (None: there is none); refuse what would lose work there."""
    reference = repo.references.get("HEAD")
    at_head = not repo.is_bare and reference is not None and reference.target == f"refs/heads/{branch}"
    _require_unused(Path(repo.path), branch, but_its_own=at_head)
    if not at_head:
        return None
    root = Path(repo.workdir)
    if Path(repo.path, "index.lock").exists():
        raise Refused(f"another git process works in {root}", "wait for it, or remove a stale .git/index.lock")
    for path in files:
        parts_of(path)
        for folder in Path(path).parents:
            place = root / folder
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise Refused(f"{place} is not a folder", "move it away")
    hidden, uncommitted = _hidden(root, files), _uncommitted(root, files)
    for path, content in files.items():
        letters = uncommitted.get(path, "  ")
        if path in hidden and os.path.lexists(root / path):
            if not _same(root / path, content, letters) and not _as_committed(repo, root, path):
                shown = f"git -C {shlex.quote(str(root))} update-index --no-{hidden[path]} {shlex.quote(path)}"
                hint = f"{shown} lets git show them; commit them first"
                raise Refused(f"{path} has uncommitted changes, which git hides ({hidden[path]})", hint)
        elif (path in uncommitted or (root / path).is_dir()) and not _same(root / path, content, letters):
            raise Refused(f"{path} has uncommitted changes", f"commit or stash them first: git -C {root} status")
    return root


def parts_of(path: str) -> tuple[str, ...]:
    """Give the names that a path is made of. Raises Refused for what git checks out nowhere: its own files are there.

    A commit may have such a path: git checks them when they are pushed and fetched, if it was told to.
    """
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part or _is_gits(part) for part in parts):
        raise Refused(f"{path!r} is not a path inside a repository", "git fsck says more of a commit that has it")
    return parts


def _is_gits(name: str) -> bool:
    """Tell whether some file system takes a name for `.git` (git.git, `is_hfs_dotgit` and `is_ntfs_dotgit`)."""
    plain = _UNSEEN.sub("", name).lower().partition(":")[0].rstrip(" .")
    return plain in (".git", "git~1") or "\\.git" in plain


_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"""Characters that HFS+ leaves out of names (git.git, utf8.c, `next_hfs_char`)."""


def _require_unused(git_dir: Path, branch: str, *, but_its_own: bool) -> None:
    """See that a branch is not checked out, rebased or bisected, as git means it, in any work tree of the repository.

    `but_its_own`: the work tree of `git_dir` follows the branch, so that it may be checked out there. Raises Refused.
    """
    common = common_dir(git_dir)
    ref = f"refs/heads/{branch}"
    own = git_dir.resolve()
    for place in (common, *sorted(common.glob("worktrees/*"))):
        bare = place == common and _is_bare(common)
        tree = _tree_of(place)
        rebased = [_read(place / kind / "head-name") for kind in _REBASES]
        for kind in _REBASES:
            rebased += _read(place / kind / "update-refs").split("\n")[::3]
        if _read(place / "HEAD") == f"ref: {ref}" and not bare and not (but_its_own and place.resolve() == own):
            what, hint = "checked out in", "set source.repo to the folder of that work tree"
        elif ref in rebased:
            what, hint = "being rebased in", f"end it first: git -C {tree} rebase --continue or --abort"
        elif (place / "BISECT_LOG").exists() and _read(place / "BISECT_START") == branch:
            what, hint = "being bisected in", f"end it first: git -C {tree} bisect reset"
        else:
            continue
        raise Refused(f"branch {branch} is {what} {tree}", hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def _is_bare(common: Path) -> bool:
    try:
        return pygit2.Config(str(common / "config")).get_bool("core.bare")
    except (KeyError, ValueError, OSError, pygit2.GitError):
        return common.name != ".git"


def _tree_of(git_dir: Path) -> str:
    """Name the work tree of a git directory for people."""
    named = _read(git_dir / "gitdir")
    return str(Path(named).parent if named else git_dir.parent)


def _hidden(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Find those of the files that git does not look at, each with the bit of the index by which it does not.

    libgit2 does not tell: `git ls-files -v` does.
    """
    found: dict[str, str] = {}
    for entry in _git(root, "ls-files", "-v", "-z", "--", *map(_literal, files)).split("\0"):
        tag, _, path = entry.partition(" ")
        if tag.islower() or tag == "S":
            found[path] = "skip-worktree" if tag in ("S", "s") else "assume-unchanged"
    return found


def _git(root: Path, *words: str, given: Iterable[str] = ()) -> str:
    """Run git in the work tree; `given` are paths or lines for it, and end at a NUL as what it says."""
    environment = without_repository() | {"GIT_OPTIONAL_LOCKS": "0"}
    done = in_work_tree(root, words, environment, TIMEOUT_S, b"".join(os.fsencode(f"{each}\0") for each in given))
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
        raise CouldNotRun(f"git {words[0]} failed in {root}: {said}", f"git -C {root} status says more")
    return os.fsdecode(done.stdout)


def _uncommitted(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Find those of the files that are not as they were committed, each with its two letters of git-status(1)."""
    words = ("--porcelain", "-z", "--no-renames", "--ignored", "--untracked-files=all", "--")
    said = _git(root, "status", *words, *map(_literal, files)).split("\0")
    return {entry[3:]: entry[:2] for entry in said if entry}


def _literal(path: str) -> str:
    return f":(literal){path}"


def _as_committed(repo: pygit2.Repository, root: Path, path: str) -> bool:
    """Tell whether a file that git does not look at is what the index has."""
    try:
        words = _git(root, "hash-object", f"--path={path}", "--", path).strip()
        return not (root / path).is_symlink() and words == str(repo.index[path].id)
    except (KeyError, CouldNotRun):
        return False


def _same(place: Path, content: bytes | None, letters: str) -> bool:
    """Tell whether an uncommitted file is just what is to be committed, and nothing else is staged: nothing is lost."""
    try:
        several = letters[0] not in " ?!" and letters[1] != " "
        return not place.is_symlink() and place.read_bytes() == content and not several
    except OSError:
        return False


def follow_branch(repo: pygit2.Repository, root: Path, commit: str, files: Mapping[str, bytes | None]) -> None:
    """Bring index and files of the work tree up to a commit in which `files` differ. Raises CouldNotRun.

    Git writes the files, as it converts them (gitattributes(5)). A file that a sparse checkout leaves out stays out,
    and what git was told not to look at stays hidden from it.
    """
    try:
        hidden = _hidden(root, files)
        tree = repo[commit].peel(pygit2.Tree)
        lines = []
        for path, content in files.items():
            if content is None:
                (root / path).unlink(missing_ok=True)
                _remove_empty(root, (root / path).parent)
                lines.append(f"0 {'0' * 40}\t{path}")
            else:
                lines.append(f"{tree[path].filemode:o} {tree[path].id}\t{path}")
        there = [path for path in files if path not in hidden or os.path.lexists(root / path)]
        _git(root, "update-index", "-z", "--index-info", given=lines)
        _git(root, "checkout-index", "-f", "-u", "-z", "--stdin", given=[p for p in there if files[p] is not None])
        for path, bit in hidden.items():
            if files[path] is not None:
                _git(root, "update-index", f"--{bit}", "--", path)
    except (pygit2.GitError, OSError, CouldNotRun) as error:
        raise CouldNotRun(
            f"commit {commit[:12]} is made, but the work tree {root} could not follow: {error}",
            f"git -C {root} status shows the files; git -C {root} diff HEAD what differs",
        ) from error


def _remove_empty(root: Path, folder: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
