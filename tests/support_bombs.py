"""Small pushes that stand for large trees: git keeps equal files and folders once, however many paths lead there."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable

from reconciler.source.tree_walk import serialise
from tests.support import Git, binding

FILE, LINK, TREE = b"100644", b"120000", b"40000"
Entry = tuple[bytes, bytes, str]
"""Mode, name and object id."""


class Objects:
    """Writes objects of any content into a clone, as no git command would."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._folder = git.folder / ".git" / "objects"

    def add(self, kind: str, data: bytes) -> str:
        """Write an object and give its id."""
        raw = b"%s %d\0%s" % (kind.encode(), len(data), data)
        oid = hashlib.sha1(raw).hexdigest()  # noqa: S324 - that is what git names it by
        place = self._folder / oid[:2] / oid[2:]
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(zlib.compress(raw, 1))
        return oid

    def tree(self, entries: Iterable[Entry]) -> str:
        """Write a folder."""
        return self.add("tree", serialise((mode, name, bytes.fromhex(oid)) for mode, name, oid in entries))

    def commit(self, folder: str, parent: str, beside: str = "") -> str:
        """Write a commit on top of another: the folder alone, or added to what the tree `beside` holds."""
        listed = [line.split(None, 3) for line in self._git("ls-tree", beside).splitlines()] if beside else []
        kept = [(mode.lstrip("0").encode(), name.encode(), oid) for mode, _, oid, name in listed]
        root = self.tree([*kept, (TREE, b"x", folder)])
        who = "A <a@example.com> 1700000000 +0000"
        return self.add("commit", f"tree {root}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nbomb\n".encode())


def grid(objects: Objects, content: bytes, suffix: bytes = b".yaml", mode: bytes = FILE, side: int = 110) -> str:
    """Give a folder with one file at `side` times `side` paths."""
    blob = objects.add("blob", content)
    leaves = objects.tree((mode, b"%04d%s" % (number, suffix), blob) for number in range(side))
    return objects.tree((TREE, b"%04d" % number, leaves) for number in range(side))


def deep(objects: Objects, tree: str, name: bytes = b"d" * 255, depth: int = 15) -> str:
    """Put a folder below others with long names, so that every path in it has some 3,900 characters."""
    for _ in range(depth):
        tree = objects.tree([(TREE, name, tree)])
    return tree


_BAD_AGENT = b"apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata:\n  name: a\nspec:\n  modelBindings:\n" + b"".join(
    b"  - nobody%d\n" % number for number in range(9)
)
_GOOD = binding("same").encode()
BOMBS: dict[str, Callable[[Objects], str]] = {
    "long-paths": lambda o: deep(o, grid(o, _GOOD)),
    "long-paths-that-are-no-text": lambda o: deep(o, grid(o, b"x: 1\n", side=110), b"\xff" * 255, 14),
    "one-name-at-many-paths": lambda o: grid(o, _GOOD),
    "one-name-at-few-long-paths": lambda o: deep(o, grid(o, _GOOD, side=70)),
    "references-to-nothing": lambda o: grid(o, _BAD_AGENT),
    "links": lambda o: grid(o, b"x", b"", LINK),
    "many-problems-at-many-paths": lambda o: grid(o, b"--- a\n" * 900, side=30),
    "long-texts-at-many-paths": lambda o: grid(o, _BAD_AGENT.replace(b"nobody1\n", b"n" * 500_000 + b"\n"), side=60),
    "one-huge-folder": lambda o: o.tree(
        (FILE, b"%06d%s.yaml" % (number, b"x" * 240), o.add("blob", _GOOD)) for number in range(140_000)
    ),
    "one-wide-folder-of-no-manifests": lambda o: o.tree(
        (FILE, b"%06d%s" % (number, b"a" * 14), o.add("blob", b"x")) for number in range(110_000)
    ),
}
