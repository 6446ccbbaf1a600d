"""The pre-receive hook: the script that git runs, and what git tells it.

The script fails closed: if the Python that installed it is gone, the push is refused with the way out. It names its
workspace relative to the repository, so that both may move together, and trusts nothing in PATH or PYTHON* variables.
The verdict itself is not here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from reconciler import durable
from reconciler.core.errors import CouldNotRun, Refused

MARK = "# pai: pre-receive hook"
MODULE = "reconciler.cli.hook"

HOOK_TEXT = f"""#!/bin/sh
{MARK}; `pai init` writes it anew, do not edit
python={{python}}
if [ ! -x "$python" ]; then
    echo "error: the push cannot be checked: $python is gone" >&2
    echo "hint: run pai init again in the workspace of this repository" >&2
    exit 1
fi
exec "$python" -E -P -c '
import importlib.util, runpy, sys
if importlib.util.find_spec("reconciler") is None:
    print("error: the push cannot be checked: Pai is no longer installed in", sys.prefix, file=sys.stderr)
    print("hint: install it there, or run pai init again in the workspace of this repository", file=sys.stderr)
    sys.exit(1)
runpy.run_module("{MODULE}", run_name="__main__", alter_sys=True)
' --workspace {{workspace}}
"""

REFS_MAX = 1_000
"""The most refs of one push: git writes a line for each, which the daemon keeps for a client that reads slowly."""
BESIDE_MAX = 10
"""The most other refs of a push that moves the source branch."""
_SYMBOLIC_MAX = 5
"""How many symbolic refs in a row are followed: SYMREF_MAXDEPTH of git.git, refs/refs-internal.h."""
_SYMBOLIC_BYTES = 4096
_ZEROS = frozenset("0")


class RefUpdate(NamedTuple):
    """One line that git gives a pre-receive hook; an id of zeros stands for no commit."""

    old: str
    new: str
    ref: str

    @property
    def deleted(self) -> bool:
        """Whether the push removes the ref."""
        return set(self.new) == _ZEROS


def resolved(updates: Sequence[RefUpdate], repository: Path, branch: str) -> list[RefUpdate]:
    """Name the refs that git will move. A symbolic ref, also the source branch, stands for the ref that it leads to.

    Another spelling of the branch's name stands for the branch where the file system takes both for one. Raises Refused
    for a ref that is named twice: git's report would say both that it was moved and that it was not.
    """
    source = f"refs/heads/{branch}"
    theirs = _resolved(repository, source)
    found: dict[str, RefUpdate] = {}
    for update in updates:
        ref = _resolved(repository, update.ref)
        ref = source if ref == theirs or _same_file(repository / ref, repository / theirs) else ref
        if ref in found:
            raise Refused(f"{ref} is named twice", "push it once")
        found[ref] = update._replace(ref=ref)
    return list(found.values())


def _resolved(repository: Path, ref: str) -> str:
    for _ in range(_SYMBOLIC_MAX):
        place = repository / ref
        try:
            if ".." in ref or not place.is_file():
                break
            if place.is_symlink() and (text := os.readlink(place)).startswith("refs/"):
                ref = text
                continue
            with place.open("rb") as file:
                said = file.read(_SYMBOLIC_BYTES)
        except (OSError, ValueError):
            break
        if not said.startswith(b"ref:"):
            break
        ref = os.fsdecode(said[4:].strip())
    return ref


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def is_judged(ref: str, deleted: bool, branch: str) -> bool:
    """Tell whether a pushed ref is the source branch, whose tip has to be judged; other branches pass.

    Raises Refused for the source branch's deletion, for Pai's own refs, for replacements of objects, and for refs that
    git cannot have beside the source branch or would take its name for; those that are there may be deleted. A name is
    taken for another one if some file systems do: there git would move that one.
    """
    source = f"refs/heads/{branch}"
    name, enforced = _folded(ref), _folded(source)
    if _is_at_or_below(name, "refs/pai"):
        raise Refused(f"{ref} belongs to Pai and cannot be pushed", "push branches only")
    if not deleted and _is_at_or_below(name, "refs/replace"):
        raise Refused(f"{ref} would show others other objects than there are", "push branches only")
    if not deleted and ref != source and (_is_at_or_below(name, enforced) or _is_at_or_below(enforced, name)):
        raise Refused(f"{ref} would bar branch {branch}, which Pai enforces", "push it under another name")
    if ref != source:
        if not deleted and ref in _namesakes(branch):
            raise Refused(f"{ref} would make the name {branch} ambiguous for everybody", "push it under another name")
        return False
    if deleted:
        raise Refused(
            f"branch {branch} is what Pai enforces and cannot be deleted",
            "push a commit that removes the manifests, or change source.branch first",
        )
    return True


def _folded(ref: str) -> str:
    """Give one form for all spellings that a file system may take for one, by case or by composed accents."""
    if ref.isascii():
        return ref.lower()
    import unicodedata  # the hook is in a hurry

    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", ref).casefold())


def _namesakes(branch: str) -> set[str]:
    """List what git would take the source branch's name for, however much of it is given (gitrevisions(7))."""
    names = (branch, f"heads/{branch}", f"refs/heads/{branch}")
    places = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
    return {place.format(name) for place in places for name in names}


def require_few_beside(updates: Sequence[RefUpdate], branch: str) -> None:
    """See that the source branch is moved with few refs beside it: git moves one after the other. Raises Refused.

    Until it comes to the branch, another may have moved it to the same commit.
    """
    others = [update for update in updates if update.ref != f"refs/heads/{branch}"]
    if len(others) != len(updates) and len(others) > BESIDE_MAX:
        raise Refused(
            f"a push of branch {branch} may change {BESIDE_MAX} other refs at most", "push them by themselves"
        )


def _is_at_or_below(ref: str, folder: str) -> bool:
    return ref == folder or ref.startswith(f"{folder}/")


def is_installed(repo: Path) -> bool:
    """Tell whether the bare repository `repo` has Pai's hook, so that pushes to it are judged."""
    place = repo / "hooks" / "pre-receive"
    try:
        return MARK.encode() in place.read_bytes() and os.access(place, os.X_OK)
    except OSError:
        return False


def install(repo: Path, python: Path, workspace: Path | None = None) -> bool:
    """Write the hook into the bare repository `repo`; False if it stands there already, word for word.

    `python` runs it (an absolute path); `workspace` is the folder above the repository unless given. Raises Refused
    rather than replace somebody else's hook, CouldNotRun if the folder cannot be written.
    """
    place = repo / "hooks" / "pre-receive"
    # Both resolved: a hook runs in the real folder, where `..` is not the folder of a symbolic link to it.
    relative = os.path.relpath((workspace or repo.parent).resolve(), repo.resolve())
    text = HOOK_TEXT.format(python=shlex.quote(str(python)), workspace=shlex.quote(relative))
    try:
        if os.path.lexists(place):
            now = place.read_bytes() if place.is_file() else b""
            if MARK.encode() not in now:
                raise Refused(
                    f"{place} is not Pai's hook, so it stays",
                    "move it away, run pai init again, and call it from elsewhere",
                )
            if now == text.encode() and place.stat().st_mode & 0o777 == 0o755:
                return False
        place.parent.mkdir(exist_ok=True)
        durable.replace(place, text.encode(), 0o755)
        place.chmod(0o755)  # git runs it as whoever pushes, whatever the umask
    except OSError as error:
        raise CouldNotRun(f"cannot write {place}: {error.strerror}", "check the folder's owner and mode") from error
    return True


def parse_updates(stdin: TextIO) -> list[RefUpdate]:
    """Read what git tells a pre-receive hook, one ref a line.

    Raises CouldNotRun on anything else, Refused for more than REFS_MAX of them.
    """
    updates = []
    for line in stdin:
        fields = line.rstrip("\n").split(" ", 2)
        if len(fields) != 3 or len(fields[0]) != len(fields[1]) or not fields[2].startswith("refs/"):
            raise CouldNotRun(f"git told the hook something it does not know: {line!r}", "report this line")
        updates.append(RefUpdate(*fields))
        if len(updates) > REFS_MAX:
            raise Refused(f"a push may change {REFS_MAX:,} refs at most", "push fewer at a time")
    return updates
