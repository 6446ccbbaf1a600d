"""Trees as git stores them: listing one, and telling two apart.

Works on raw tree objects through a function that reads them, so that no work tree and no index is ever looked at.
Equal ids are equal content: a folder whose id did not change is not read. Names are git's bytes as surrogateescape
text, so every name that git can hold comes through and goes back unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Literal, NamedTuple, TypeVar

from reconciler.core.errors import Refused

EntryKind = Literal["file", "symlink", "submodule"]
ReadTree = Callable[[str], bytes]
"""Gives the raw bytes of the tree with that id; raises SourceUnavailable."""
Wanted = Callable[[bytes, bytes], bool]
"""Tells by mode and name whether what is no folder is to be listed."""
ReadEntries = Callable[[str], frozenset[bytes]]
"""Gives the entries of the tree with that id, each as its raw bytes; raises SourceUnavailable."""

ENTRIES_MAX = 1_000_000
"""The most entries of a tree, with folders. A few kilobytes of nested equal folders can stand for billions of files."""

TREE_BYTES_MAX = 64 * 1024 * 1024
"""The most bytes of unpacked tree objects that one look at a tree reads: more than a million usual names."""

FOLDER_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes of one unpacked tree object: 100,000 usual names, or 14,000 of the longest.

It is compared in one piece, which takes four times its size in memory and holds other threads up; and a name of
gigabytes can be packed to a thousandth.
"""

REMEMBERED_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes of tree objects kept for the next comparison; reading one of 10,000 files takes 10 ms."""
REMEMBERED_OVERHEAD = 512
"""The bytes that keeping the smallest of them takes."""

PATH_MAX = 4096
"""The most characters of a path (PATH_MAX of Linux): deeper folders cannot be checked out, and take memory squared."""

PATHS_CHARACTERS_MAX = 32 * 1024 * 1024
"""The most characters of all paths that one look gives, with those of folders on the way."""

CHUNK_BYTES = 128 * 1024
"""A larger tree is taken apart entry by entry, so that no other thread waits long."""

_WHOLE = re.compile(rb"[0-7]{5,6} [^\0]+\0.{20}", re.DOTALL)
_PARTS = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)
RawEntry = tuple[bytes, bytes, bytes]
"""Mode in octal digits, name, and binary object id, as they stand in a tree object."""
TREES = (b"40000", b"040000")
"""The modes of a folder; old tools wrote the zero."""
LINKS = (b"120000", b"160000")
"""The modes of a symbolic link and of a submodule."""
_KINDS: Mapping[bytes, EntryKind] = {
    **dict.fromkeys((b"100644", b"100755", b"100664"), "file"),  # the last is of git's first months
    **dict(zip(LINKS, ("symlink", "submodule"), strict=True)),
}
"""All modes that git has ever written for what is no folder: git.git, fsck.c, `verify_tree`.

Another mode means to git whatever its type bits say, and what git takes for a submodule may be missing.
"""

_Entries = TypeVar("_Entries", bound=Sized)


class TreeRefused(Refused):
    """A commit's tree cannot be judged, because of what it holds: it is refused, as waiting would not help."""


class TreeEntry(NamedTuple):
    """Something in a tree that is not a folder; `path` is relative to the folder that was asked for."""

    path: str
    kind: EntryKind
    oid: str


def subtree(read: ReadTree, root: str, path: str) -> str | None:
    """Find the id of the folder `path` below the tree `root`; None if there is no such folder."""
    found = _at(read, root, path)
    return found[1] if found and found[0] in TREES else None


def leaf(read: ReadTree, root: str, path: str) -> TreeEntry | None:
    """Find what is no folder at `path`, or keeps `path` from being there: the first such entry on the way."""
    found = _at(read, root, path)
    return _leaf(found[2], found[0], found[1]) if found and found[0] not in TREES else None


def _at(read: ReadTree, root: str, path: str) -> tuple[bytes, str, str] | None:
    """Give mode, id and path of what is at `path`, or of the first entry on the way that is no folder."""
    mode, oid, way = TREES[0], root, ""
    for part in path.split("/"):
        if part in ("", "."):
            continue
        wanted = part.encode("utf-8", "surrogateescape")
        found = next((entry for entry in parse(read(oid), oid) if entry[1] == wanted), None)
        if found is None:
            return None
        mode, oid, way = found[0], found[2].hex(), f"{way}/{part}".removeprefix("/")
        if mode not in TREES:
            break
    return mode, oid, way


def entries(
    read: ReadTree, tree: str, wanted: Wanted | None = None, budget: TreeBudget | None = None
) -> Iterator[TreeEntry]:
    """List everything below the tree that is not a folder, or what of it is `wanted`, in git's order."""
    budget = budget or TreeBudget()
    stack = [("", _parsed(read(tree), tree, budget))]
    while stack:
        prefix, rest = stack[-1]
        for mode, raw_name, raw_oid in rest:
            if mode in TREES:
                oid, folder = raw_oid.hex(), _folder(prefix, raw_name)
                budget.spend_path(folder)
                stack.append((folder, _parsed(read(oid), oid, budget)))
                break
            if mode not in _KINDS or wanted is None or wanted(mode, raw_name):
                found = _leaf(prefix + _text(raw_name), mode, raw_oid.hex())
                budget.spend_path(found.path)
                yield found
            elif len(prefix) + len(raw_name) > PATH_MAX:  # perhaps: it has more bytes than characters
                _leaf(prefix + _text(raw_name), mode, "")
        else:
            stack.pop()


def _parsed(raw: bytes, oid: str, budget: TreeBudget) -> Iterator[RawEntry]:
    """Give the entries of a tree object, counted; one that is malformed says so where it is."""
    budget.spend_bytes(len(raw))
    if len(raw) <= CHUNK_BYTES:
        yield from budget.spend(parse(raw, oid))
        return
    end = 0
    for found in _PARTS.finditer(raw):
        if found.start() != end:
            break
        end = found.end()
        budget.spend_entries(1)
        yield found[1], found[2], found[3]
    if end != len(raw):
        raise _malformed(oid)


def changes(
    read: ReadEntries, old: str | None, new: str | None, budget: TreeBudget | None = None, wanted: Wanted | None = None
) -> list[tuple[str, TreeEntry | None]]:
    """Compare two trees (None is an empty one): the new entry of each path that differs, or None if it is gone.

    `read` gives `entry_set` of a tree's id, and may remember it: today's new tree is tomorrow's old one. A path
    whose kind or content changed counts; a change of the executable bit alone does not. Sorted by path. Only the new
    tree's entries are counted: the old one was read before. With `wanted`, what else differs is no change. Raises
    TreeRefused, also if more differs than `budget` has.
    """
    budget = budget or TreeBudget()
    gone: set[str] = set()
    found: dict[str, TreeEntry] = {}
    stack = [("", old, new)]
    while stack:
        prefix, before, after = stack.pop()
        if before == after:
            continue
        old_entries = read(before) if before else frozenset()
        new_entries = budget.spend(read(after)) if after else frozenset()
        removed = list(_concerning(old_entries - new_entries, prefix, wanted))
        added = list(_concerning(new_entries - old_entries, prefix, wanted))
        old_trees = {name: oid.hex() for mode, name, oid in removed if mode in TREES}
        new_trees = {name: oid.hex() for mode, name, oid in added if mode in TREES}
        for name in old_trees.keys() | new_trees.keys():
            folder = _folder(prefix, name)
            budget.spend_path(folder)
            stack.append((folder, old_trees.get(name), new_trees.get(name)))
        for mode, name, _ in removed:
            if mode not in TREES:
                path = prefix + _text(name)
                budget.spend_path(path)
                gone.add(path)
        old_leaves = {(name, _KINDS.get(mode), oid) for mode, name, oid in removed if mode not in TREES}
        for mode, name, oid in added:
            if mode in TREES:
                continue
            if mode in _KINDS and (name, _KINDS[mode], oid) in old_leaves:
                gone.discard(prefix + _text(name))
            else:
                path = prefix + _text(name)
                budget.spend_path(path)
                found[path] = _leaf(path, mode, oid.hex())
    return [(path, found.get(path)) for path in sorted(gone | found.keys())]


def _concerning(entries: frozenset[bytes], prefix: str, wanted: Wanted | None) -> Iterator[RawEntry]:
    """Take entries apart: folders, what is wanted, and what is refused whatever is wanted."""
    for entry in entries:
        mode, name, oid = _take_apart(entry)
        if mode in TREES or mode not in _KINDS or wanted is None or wanted(mode, name):
            yield mode, name, oid
        elif len(prefix) + len(name) > PATH_MAX:
            _leaf(prefix + _text(name), mode, "")


def require_small(oid: str, size: int, most: int) -> None:
    """See that a tree object of `size` bytes can be read at all. Raises TreeRefused."""
    if size > most:
        raise TreeRefused(f"a folder has more than {most:,} bytes of names (tree {oid})", f"split it, or {_ELSEWHERE}")


def parse(raw: bytes, oid: str) -> list[RawEntry]:
    """Read a tree object; `oid` names it if it is malformed (TreeRefused)."""
    found: list[RawEntry] = _PARTS.findall(raw)
    if sum(len(mode) + len(name) for mode, name, _ in found) + 22 * len(found) != len(raw):
        raise _malformed(oid)
    return found


def entry_set(raw: bytes, oid: str) -> frozenset[bytes]:
    """Read a tree object as its whole entries, not taken apart: in a folder of 10,000 that halves the time.

    A large one is read in parts, as other threads wait for each.
    """
    found: set[bytes] = set()
    at = 0
    while at < len(raw):
        part = _WHOLE.findall(raw, at, at + CHUNK_BYTES)
        if not part or not raw.startswith(b"".join(part), at):
            raise _malformed(oid)
        found.update(part)
        at += sum(map(len, part))
    return frozenset(found)


class Remembered:
    """Gives the entries of a tree by its id, and remembers those of the trees that were asked for last."""

    def __init__(self, read: ReadTree) -> None:
        self._read = read
        self._bytes = 0
        self._kept: dict[str, tuple[frozenset[bytes], int]] = {}

    def __call__(self, oid: str) -> frozenset[bytes]:
        """Give what `entry_set` makes of the tree. Raises what reading it raises, TreeRefused."""
        found = self._kept.pop(oid, None)
        if found is None:
            raw = self._read(oid)
            found = entry_set(raw, oid), len(raw) + REMEMBERED_OVERHEAD
            self._bytes += found[1]
        self._kept[oid] = found
        while self._bytes > REMEMBERED_BYTES_MAX:
            self._bytes -= self._kept.pop(next(iter(self._kept)))[1]
        return found[0]


def _malformed(oid: str) -> TreeRefused:
    return TreeRefused(f"tree {oid} is malformed", "git fsck says more")


def _take_apart(entry: bytes) -> RawEntry:
    mode, _, rest = entry.partition(b" ")
    return mode, rest[:-21], rest[-20:]


def serialise(tree: Iterable[RawEntry]) -> bytes:
    """Write a tree object: sorted by name as git sorts, a folder as if its name ended in a slash."""
    ordered = sorted(tree, key=lambda entry: entry[1] + b"/" if entry[0] in TREES else entry[1])
    return b"".join(b"%s %s\0%s" % entry for entry in ordered)


class TreeBudget:
    """Counts what one look at a tree takes, so that nested folders made to explode end in a message."""

    def __init__(self, entries: int | None = None, characters: int | None = None, paths: int | None = None) -> None:
        """`entries` are those that may be read, `paths` those that may come of it, `characters` those of all paths."""
        self._paths = PATHS_CHARACTERS_MAX if paths is None else paths
        self._entries = self._most = ENTRIES_MAX if entries is None else entries
        self._characters = PATHS_CHARACTERS_MAX if characters is None else characters
        self._bytes = TREE_BYTES_MAX

    @property
    def spent(self) -> int:
        """How many entries were counted."""
        return self._most - self._entries

    def spend(self, read: _Entries) -> _Entries:
        """Count the entries of a folder, and give them back."""
        self.spend_entries(len(read))
        return read

    def spend_entries(self, count: int) -> None:
        """Count entries. Raises TreeRefused, as all of these do."""
        self._entries -= count
        if self._entries < 0:
            raise TreeRefused(f"the tree holds more than {self._most:,} files", _ELSEWHERE)

    def spend_path(self, path: str) -> None:
        """Count a path and its characters."""
        self._characters -= len(path)
        self._paths -= 1
        if self._paths < 0:
            raise TreeRefused("too many paths differ", _ELSEWHERE)
        if self._characters < 0:
            message = f"the paths of the tree have more than {PATHS_CHARACTERS_MAX:,} characters together"
            raise TreeRefused(message, f"shorten its names, or {_ELSEWHERE}")

    def spend_bytes(self, size: int) -> None:
        """Count the bytes of a tree object."""
        self._bytes -= size
        if self._bytes < 0:
            raise TreeRefused(f"the folders of the tree have more than {TREE_BYTES_MAX:,} bytes together", _ELSEWHERE)


_ELSEWHERE = "point source.path at the folder of the manifests"


def _folder(prefix: str, name: bytes) -> str:
    if len(prefix) + len(name) > PATH_MAX:
        raise _too_long("folder", prefix + _text(name[:PATH_MAX]))
    return f"{prefix}{_text(name)}/"


def _leaf(path: str, mode: bytes, oid: str) -> TreeEntry:
    if len(path) > PATH_MAX:
        raise _too_long(_KINDS.get(mode, "file"), path)
    if mode not in _KINDS:
        raise TreeRefused(f"{_shown(path)} has mode {mode.decode()}, which git does not write", "git fsck says more")
    return TreeEntry(path, _KINDS[mode], oid)


def _too_long(what: str, path: str) -> TreeRefused:
    return TreeRefused(f"a {what}'s path is longer than {PATH_MAX:,} characters: {_shown(path[:60])}...", "rename it")


def _shown(path: str) -> str:
    # A name may be no text at all, and what is said about it has to be: it goes to the log.
    return "".join(c if c.isprintable() else "\ufffd" for c in path)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
