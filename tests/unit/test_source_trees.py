"""Trees as raw objects: comparing two is the difference of their listings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.source import tree_walk
from reconciler.source.tree_walk import RawEntry


class Store:
    """An object database of trees, keyed by their real ids."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads = 0

    def add(self, files: Mapping[str, tuple[bytes, bytes]]) -> str:
        """Store the tree of `files` (path -> mode and content id) and give its id."""
        entries: list[RawEntry] = []
        folders: dict[str, dict[str, tuple[bytes, bytes]]] = {}
        for path, value in files.items():
            first, _, rest = path.partition("/")
            if rest:
                folders.setdefault(first, {})[rest] = value
            else:
                entries.append((value[0], first.encode("utf-8", "surrogateescape"), value[1]))
        for name, below in folders.items():
            oid = bytes.fromhex(self.add(below))
            entries.append((b"40000", name.encode("utf-8", "surrogateescape"), oid))
        raw = tree_walk.serialise(entries)
        oid_hex = hashlib.sha1(b"tree %d\0%s" % (len(raw), raw), usedforsecurity=False).hexdigest()
        self.objects[oid_hex] = raw
        return oid_hex

    def read(self, oid: str) -> bytes:
        """Give the raw tree."""
        self.reads += 1
        return self.objects[oid]

    def entries(self, oid: str) -> frozenset[bytes]:
        """Give the tree's entries."""
        return tree_walk.entry_set(self.read(oid), oid)


FILE = (b"100644", b"x" * 20)
NAMES = st.sampled_from(["a", "a.b", "a0", "b", "é", "\udcff", "x y", "0 1"])
MODES = st.sampled_from([b"100644", b"100755", b"120000", b"160000"])
CONTENT = st.sampled_from([b"\0" * 20, b"100644 a\0" + b"x" * 11, b"\n" * 20])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def listings(draw: st.DrawFn) -> dict[str, tuple[bytes, bytes]]:
    """Draw files of a tree in which no file is also a folder."""
    files = draw(st.dictionaries(PATHS, st.tuples(MODES, CONTENT), max_size=8))
    return {path: value for path, value in files.items() if not any(other.startswith(path + "/") for other in files)}


@given(listings(), listings())
def test_changes_are_the_difference_of_the_listings(
    old: dict[str, tuple[bytes, bytes]], new: dict[str, tuple[bytes, bytes]]
) -> None:
    """Walking only what differs finds exactly what comparing everything finds."""
    store = Store()
    before, after = store.add(old), store.add(new)
    left = {entry.path: entry for entry in tree_walk.entries(store.read, before)}
    right = {entry.path: entry for entry in tree_walk.entries(store.read, after)}
    assert left.keys() == old.keys()
    expected = {path: right.get(path) for path in left.keys() | right.keys() if left.get(path) != right.get(path)}
    assert tree_walk.changes(store.entries, before, after) == sorted(expected.items())
    assert tree_walk.changes(store.entries, None, after) == sorted(right.items())
    assert [path for path, entry in tree_walk.changes(store.entries, before, None) if entry is None] == sorted(left)


def test_changes_do_not_read_folders_that_are_equal() -> None:
    """One file in a hundred folders costs the folders on its way."""
    files = {f"d{i}/f": (b"100644", b"x" * 20) for i in range(100)}
    store = Store()
    old, new = store.add(files), store.add({**files, "d7/f": (b"100644", b"y" * 20)})
    assert [path for path, _ in tree_walk.changes(store.entries, old, new)] == ["d7/f"]
    assert store.reads == 4


def nested(store: Store, depth: int, name: bytes = b"d") -> str:
    """Store a file below `depth` folders and give the tree's id."""
    tree = store.add({"f": (b"100644", b"x" * 20)})
    for _ in range(depth):
        raw = tree_walk.serialise([(b"40000", name, bytes.fromhex(tree))])
        tree = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
        store.objects[tree] = raw
    return tree


def test_deep_trees_are_walked_without_recursion() -> None:
    """A path of more folders than Python may call functions is no danger."""
    store = Store()
    tree = nested(store, 1500)
    assert len(list(tree_walk.entries(store.read, tree))) == 1
    assert len(tree_walk.changes(store.entries, None, tree)) == 1


def test_paths_beyond_any_file_system_are_refused() -> None:
    """Folders nested without end would cost memory by the square of their depth."""
    store = Store()
    tree = nested(store, 2500)
    with pytest.raises(tree_walk.TreeRefused, match="longer than"):
        list(tree_walk.entries(store.read, tree))
    with pytest.raises(tree_walk.TreeRefused, match="longer than"):
        tree_walk.changes(store.entries, None, tree)


@pytest.mark.parametrize(
    "mode", [b"160644", b"140000", b"160755", b"177777", b"160001", b"40755", b"040755", b"100600", b"120777", b"00000"]
)
def test_modes_that_git_does_not_write_are_refused(mode: bytes) -> None:
    """What git makes of such an entry is its affair; a listing, a comparison and a look at the entry all refuse it."""
    store = Store()
    tree = store.add({"d/a": FILE, "d/\x1bz": (mode, b"x" * 20)})
    below = tree_walk.subtree(store.read, tree, "d")
    assert below is not None
    for look in (
        lambda: list(tree_walk.entries(store.read, tree, lambda _mode, _name: False)),
        lambda: tree_walk.changes(store.entries, store.add({"d/a": FILE}), tree),
        lambda: tree_walk.leaf(store.read, below, "\x1bz"),
        lambda: tree_walk.leaf(store.read, tree, "d/\x1bz"),
    ):
        with pytest.raises(tree_walk.TreeRefused, match=f"\ufffdz has mode {mode.decode()}"):
            look()
    assert [path for path, _ in tree_walk.changes(store.entries, tree, store.add({"d/a": FILE}))] == ["d/\x1bz"]


def test_mode_of_gits_first_months_is_a_file() -> None:
    """Git reads 100664 as 100644, and repositories of that time still have it."""
    store = Store()
    old, new = store.add({"a": (b"100664", b"x" * 20)}), store.add({"a": FILE})
    assert [entry.kind for entry in tree_walk.entries(store.read, old)] == ["file"]
    assert tree_walk.changes(store.entries, old, new) == tree_walk.changes(store.entries, new, old) == []


@pytest.mark.parametrize("raw", [b"100644 a\0short", b"junk", b"100644 \0" + b"x" * 20, b"9 a\0" + b"x" * 20])
def test_malformed_trees_are_refused(raw: bytes) -> None:
    """Bytes that are no tree are an error, in a listing and in a comparison."""
    with pytest.raises(tree_walk.TreeRefused, match="malformed"):
        list(tree_walk.entries(lambda _: raw, "1" * 40))
    with pytest.raises(tree_walk.TreeRefused, match="malformed"):
        tree_walk.changes(lambda oid: tree_walk.entry_set(raw, oid), None, "1" * 40)


def test_long_names_are_refused_in_words_that_the_log_can_hold() -> None:
    """A name that is no text is shown by replacements; a file's own name counts too."""
    store = Store()
    tree = nested(store, 2100, b"\xff")
    for listing in (tree_walk.entries(store.read, tree), tree_walk.entries(store.read, store.add({"a" * 5000: FILE}))):
        with pytest.raises(tree_walk.TreeRefused, match="longer than") as caught:
            list(listing)
        caught.value.message.encode()
    with pytest.raises(tree_walk.TreeRefused, match="file's path"):
        tree_walk.changes(store.entries, None, store.add({"a" * 5000: FILE}))


def test_paths_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few objects may stand for many long paths: their characters end a listing and a comparison."""
    store = Store()
    tree = nested(store, 9, b"d" * 200)
    monkeypatch.setattr(tree_walk, "PATHS_CHARACTERS_MAX", 5_000)
    looks = (lambda: list(tree_walk.entries(store.read, tree)), lambda: tree_walk.changes(store.entries, None, tree))
    for look in looks:
        with pytest.raises(tree_walk.TreeRefused, match="more than 5,000 characters together"):
            look()
    assert tree_walk.changes(store.entries, tree, tree) == []


def test_large_folders_are_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder beyond a chunk gives the same entries, is counted, and is no less refused where it is malformed."""
    store = Store()
    files = {f"{number:03}.{'yaml' if number % 2 else 'txt'}": FILE for number in range(100)}
    tree = store.add(files)
    whole = list(tree_walk.entries(store.read, tree))
    monkeypatch.setattr(tree_walk, "CHUNK_BYTES", 64)
    assert list(tree_walk.entries(store.read, tree)) == whole
    wanted = list(tree_walk.entries(store.read, tree, lambda _, name: name.endswith(b".yaml")))
    assert [entry.path for entry in wanted] == [entry.path for entry in whole if entry.path.endswith(".yaml")]
    raw = store.read(tree)
    for broken in (raw[:-1], b"x" + raw, raw + b"100644 "):
        with pytest.raises(tree_walk.TreeRefused, match="malformed"):
            list(tree_walk.entries(lambda _, data=broken: data, tree))
    monkeypatch.setattr(tree_walk, "TREE_BYTES_MAX", len(raw) - 1)
    with pytest.raises(tree_walk.TreeRefused, match="bytes together"):
        list(tree_walk.entries(store.read, tree))
    monkeypatch.setattr(tree_walk, "ENTRIES_MAX", 99)
    monkeypatch.setattr(tree_walk, "TREE_BYTES_MAX", len(raw))
    with pytest.raises(tree_walk.TreeRefused, match="more than 99 files"):
        list(tree_walk.entries(store.read, tree))


def test_a_comparison_counts_the_new_tree_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trees that may be listed may be compared, however many entries they have together."""
    store = Store()
    old, new = (store.add({f"{name}{i}": FILE for i in range(8)}) for name in "ab")
    monkeypatch.setattr(tree_walk, "ENTRIES_MAX", 10)
    assert len(tree_walk.changes(store.entries, old, new)) == 16


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/b", None),
        ("a/none/c", None),
        ("a/b/link", ("a/b/link", "symlink")),
        ("a/b/link/c/d", ("a/b/link", "symlink")),
        ("sub/c", ("sub", "submodule")),
        ("./file", ("file", "file")),
        (".", None),
    ],
)
def test_what_keeps_a_path_from_being_a_folder_is_found(path: str, found: tuple[str, str] | None) -> None:
    """The first link, submodule or file on the way counts; what is not there is no obstacle."""
    store = Store()
    content = b"x" * 20
    files = {"a/b/f": FILE, "a/b/link": (b"120000", content), "sub": (b"160000", content), "file": FILE}
    obstacle = tree_walk.leaf(store.read, store.add(files), path)
    assert (obstacle and obstacle[:2]) == found


def test_trees_are_remembered_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small trees or few large ones: those asked for last, and a tree that is larger than all of it is not."""
    store = Store()
    small = [store.add({f"{number}": FILE}) for number in range(100)]
    large = store.add({f"{number:04}": FILE for number in range(1000)})
    size = len(store.objects[large])
    monkeypatch.setattr(tree_walk, "REMEMBERED_BYTES_MAX", size + 10 * tree_walk.REMEMBERED_OVERHEAD)
    remembered = tree_walk.Remembered(store.read)

    def reads(oids: list[str]) -> int:
        before = store.reads
        for oid in oids:
            assert remembered(oid) == tree_walk.entry_set(store.objects[oid], oid)
        return store.reads - before

    assert reads([large, *small[:8], large, *small[:8]]) == 9
    assert reads(small) == 92
    assert reads([large]) == 1
    monkeypatch.setattr(tree_walk, "REMEMBERED_BYTES_MAX", size)
    assert reads([large, large]) == 1
    assert reads([large]) == 1


def test_only_what_is_wanted_is_a_change() -> None:
    """What becomes something else than it was wanted as is gone."""

    def wanted(mode: bytes, name: bytes) -> bool:
        return name.endswith(b".y") or mode == b"120000"

    old, link, other = Store(), (b"120000", b"x" * 20), (b"100644", b"y" * 20)
    before = old.add({"a.y": FILE, "b": FILE, "c": link, "d/e": FILE, "d/f.y": FILE})
    after = old.add({"a.y": other, "b": other, "c": FILE, "d/e": link, "d/f.y": FILE, "g": FILE})
    found = tree_walk.changes(old.entries, before, after, wanted=wanted)
    assert [(path, entry and entry.kind) for path, entry in found] == [("a.y", "file"), ("c", None), ("d/e", "symlink")]
    with pytest.raises(tree_walk.TreeRefused, match="longer than"):
        tree_walk.changes(old.entries, before, old.add({"a" * 5000: FILE}), wanted=wanted)


def test_large_tree_is_read_in_parts_as_it_is_in_one() -> None:
    """Whatever is no entry is malformed wherever it stands."""
    raw = b"".join(b"100644 %06d\0" % number + bytes([number % 256]) * 20 for number in range(20_000))
    assert len(tree_walk.entry_set(raw, "1" * 40)) == 20_000
    for at in (0, 34, tree_walk.CHUNK_BYTES - 10, len(raw) - 34, len(raw)):
        with pytest.raises(tree_walk.TreeRefused, match="malformed"):
            tree_walk.entry_set(raw[:at] + b"\0" + raw[at:], "1" * 40)
