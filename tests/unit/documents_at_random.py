"""Documents in all the forms that people write, made at random, and edits of them with the place that each may touch.

The writer knows nothing of the package: what it wrote is found again with PyYAML's own marks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

WORDS = (
    "gemini-flash",
    "a",
    "x y",
    "sk",
    "claude",
    "no",
    "1",
    "0777",
    "1.5",
    "two words",
    "it's",
    'say "x"',
    "",
    "ü→",
    "#no",
    "a: b",
    "- a",
)
KEYS = ("name", "value", "model", "env", "image", "labels", "replicas", "a-b", "x.y/z", "on", "1", "long key")


class Written(NamedTuple):
    """A text, and where its document of interest begins (the line of its first token)."""

    text: str
    line: int


class Edit(NamedTuple):
    """What is wanted, and the part of the old text that may change: before `start` and from `end` on it stays.

    An edit that is not `strict` may have aliases written out elsewhere.
    """

    what: str
    wanted: dict[str, Any]
    start: int
    end: int
    strict: bool


class Writer:
    """Writes one document at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.comments = 0
        self.anchors: list[str] = []
        self.named = 0
        self.step = chance.choice((2, 2, 2, 4, 1, 3))

    def comment(self, likely: float = 0.25) -> str:
        """Give a comment to stand at the end of a line, or nothing."""
        if self.chance.random() > likely:
            return ""
        self.comments += 1
        return f"{' ' * self.chance.choice((1, 1, 2, 4))}# note {self.comments}"

    def between(self, indent: int) -> list[str]:
        """Give lines that mean nothing."""
        lines = []
        while self.chance.random() < 0.2:
            self.comments += 1
            lines.append(self.chance.choice(("", " " * indent + f"# note {self.comments}", f"# note {self.comments}")))
        return lines

    def key(self, used: set[str]) -> str:
        """Give a key that the mapping does not have."""
        name = self.chance.choice([key for key in KEYS if key not in used])
        used.add(name)
        return name

    def key_text(self, name: str) -> str:
        """Write a key."""
        if name in ("on", "1") or self.chance.random() < 0.1:
            return json.dumps(name)
        return name

    def plain(self) -> str:
        """Write a value on one line, in some style."""
        word = self.chance.choice(WORDS)
        style = self.chance.randrange(6)
        if style == 0:
            return json.dumps(word, ensure_ascii=False)
        if style == 1:
            return "'" + word.replace("'", "''") + "'"
        if style == 2:
            return self.chance.choice(("1", "1000000", "-5", "true", "false", "null", "~", "0.5"))
        if style == 3:
            return "!!str " + self.chance.choice(("5", "x", "'y'"))
        return self.chance.choice(("gemini-flash", "claude-sonnet", "a b c", "v1.2/x", "http://x/y"))

    def flow(self, depth: int) -> str:
        """Write a value in brackets, on one line."""
        kind = self.chance.randrange(4) if depth < 3 else 0
        if kind < 2:
            return self.plain()
        if kind == 2:
            return "[" + ", ".join(self.flow(depth + 1) for _ in range(self.chance.randrange(4))) + "]"
        used: set[str] = set()
        fields = [f"{self.key_text(self.key(used))}: {self.flow(depth + 1)}" for _ in range(self.chance.randrange(4))]
        return self.chance.choice(("{%s}", "{ %s }")) % ", ".join(fields)

    def wide(self, indent: int) -> list[str]:
        """Write a value in brackets over several lines."""
        pad = " " * indent
        if self.chance.random() < 0.5:
            items = [self.flow(2) for _ in range(self.chance.randrange(1, 4))]
            opening, closing = "[", "]"
        else:
            used: set[str] = set()
            items = [f"{self.key_text(self.key(used))}: {self.flow(2)}" for _ in range(self.chance.randrange(1, 4))]
            opening, closing = "{", "}"
        last = self.chance.random() < 0.3
        lines = [opening + self.comment()]
        for number, item in enumerate(items):
            lines += self.between(indent)
            comma = "," if last or number + 1 < len(items) else ""
            lines.append(f"{pad}  {item}{comma}{self.comment()}")
        return [*lines, f"{pad}{closing}{self.comment()}"]

    def block_text(self, indent: int) -> list[str]:
        """Write a text below its mark."""
        mark = self.chance.choice("||>") + self.chance.choice(("", "-", "+"))
        lines = [
            self.chance.choice(("line", "some words", "#no comment", "a: b"))
            for _ in range(self.chance.randrange(1, 4))
        ]
        lines += [""] * self.chance.randrange(3)
        return [mark + self.comment(0.1), *(" " * indent + line if line else "" for line in lines)]

    def value(self, indent: int, depth: int, *, item: bool = False) -> tuple[str, list[str]]:
        """Write a value: what stands beside its key or dash, and the lines below."""
        anchor = ""
        if self.chance.random() < 0.12:
            self.named += 1
            anchor = f"&n{self.named} "
        kind = self.chance.randrange(12) if depth < 4 else self.chance.randrange(4)
        if self.anchors and self.chance.random() < 0.15:
            return f"*{self.chance.choice(self.anchors)}" + self.comment(), []
        if kind < 4:
            first, below = self.plain() + self.comment(), list[str]()
        elif kind == 4:
            first, below = self.flow(0) + self.comment(), []
        elif kind == 5:
            first, *below = self.wide(indent)
        elif kind == 6:
            first, *below = self.block_text(indent + self.step)
        elif kind == 7:
            return anchor.rstrip() + self.comment(), []
        elif kind < 10:
            if item and not anchor and self.chance.random() < 0.8:
                lines = self.mapping(indent + 2, depth + 1)
                while lines and not lines[0].strip().partition("#")[0]:
                    lines.pop(0)
                first, below = lines[0].lstrip(), lines[1:]
                return first, below
            first, below = self.comment(), self.mapping(indent + self.step, depth + 1)
            anchor = anchor.rstrip()
        else:
            inset = 0 if self.chance.random() < 0.4 and not item else self.step
            first, below = self.comment(), self.sequence(indent + inset, depth + 1)
            anchor = anchor.rstrip()
        if anchor:
            self.anchors.append(anchor.strip()[1:])
        return anchor + first, below

    def mapping(self, indent: int, depth: int) -> list[str]:
        """Write a mapping in lines."""
        lines: list[str] = []
        used: set[str] = set()
        for _ in range(self.chance.randrange(1, 5)):
            lines += self.between(indent)
            key = self.key_text(self.key(used))
            first, below = self.value(indent, depth)
            lines.append(f"{' ' * indent}{key}:{' ' * bool(first and not first.startswith(' '))}{first}")
            lines += below
        return lines

    def sequence(self, indent: int, depth: int) -> list[str]:
        """Write a list in lines."""
        lines: list[str] = []
        for _ in range(self.chance.randrange(1, 5)):
            lines += self.between(indent)
            first, below = self.value(indent, depth, item=True)
            lines.append(f"{' ' * indent}-{' ' * bool(first and not first.startswith(' '))}{first}")
            lines += below
        return lines

    def pretty(self) -> list[str]:
        """Write a document as JSON."""

        def some(depth: int) -> Any:
            kind = self.chance.randrange(5) if depth < 3 else 0
            if kind < 2:
                return self.chance.choice((1, True, None, "x", "a b", "ü"))
            if kind == 2:
                return [some(depth + 1) for _ in range(self.chance.randrange(4))]
            used: set[str] = set()
            return {self.key(used): some(depth + 1) for _ in range(self.chance.randrange(4))}

        used: set[str] = set()
        value = {self.key(used): some(0) for _ in range(self.chance.randrange(1, 5))}
        return json.dumps(value, indent=self.chance.choice((None, 2, 4)), ensure_ascii=False).split("\n")


def written(chance: random.Random) -> Written:
    """Write a file with a document of interest, others around it."""
    writer = Writer(chance)
    before, after = "", ""
    if chance.random() < 0.5:
        before = "# head\nfirst: 1 # note\n---" + chance.choice(("\n", " # note\n", "\n# over\n"))
    if chance.random() < 0.5:
        after = chance.choice(("---\nlast: [1, 2] # note\n", "...\n---\nlast: 1\n", "# end\n---\n# over\nlast: 1\n"))
    body = "\n".join(writer.pretty() if chance.random() < 0.15 else writer.between(0) + writer.mapping(0, 0))
    if after or chance.random() < 0.8 or "|" in body or ">" in body:  # such a text would get a line break
        body += "\n"
    text = before + body + after
    if chance.random() < 0.15:
        text = text.replace("\n", "\r\n")
    documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    root = documents[1 if before else 0]
    return Written(text, root.start_mark.line + 1)


def an_edit(chance: random.Random, text: str, line: int, value: dict[str, Any]) -> Edit:
    """Choose an edit of the document that begins at `line` and means `value`."""
    (root,) = [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node.start_mark.line + 1 == line]
    wanted = json.loads(json.dumps(value))
    node, place = root, wanted
    while True:
        inner = [
            pair
            for n, pair in enumerate(_children(node, place))
            if isinstance(pair[2], dict | list) and pair[2] and _is_here(text, node, n)
        ]
        if not inner or chance.random() < 0.3:
            break
        _, node, place = chance.choice(inner)
    pairs = _children(node, place)
    flow = text[_content(text, node)] in "[{"
    number = chance.randrange(len(pairs))
    name, child, _ = pairs[number]
    new = chance.choice(
        ("new", 7, True, None, "x: y", "two\nlines\n", "one\n\ntwo", {"k": [1, {"z": "w"}]}, ["a", "b"], {}, [])
    )
    what = chance.choice(("set", "set", "remove", "add"))
    start, end = _extent(text, node, number)
    if what == "set":
        place[name] = new
        if not flow and isinstance(child.value, list):
            end = max(end, _line_end(text, end) - 1)  # a comment beside the last line of what goes
    elif what == "remove":
        if len(place) == 1 or (isinstance(place, list) and place.count(place[number]) > 1):
            place[name] = new
            what = "set"
        else:
            del place[name]
            start, end = _lines(text, node, number, flow=flow)
    elif isinstance(place, dict):
        place["added"] = new
        start, end = _extent(text, node, len(pairs) - 1)
        start, end = end, _line_end(text, end)
    else:
        place.insert(number, "added")
        if number:
            start = _extent(text, node, number - 1)[1]
            end = max(_line_end(text, start), start)
        else:
            end = start
    return Edit(what, wanted, start, end, strict="*n" not in text)


def _children(node: Any, value: Any) -> list[tuple[Any, Any, Any]]:
    if isinstance(value, dict):
        return [(key.value, item, value[key.value]) for key, item in node.value]
    return [(number, item, value[number]) for number, item in enumerate(node.value)]


def _is_here(text: str, node: Any, number: int) -> bool:
    """Tell whether a child is written where it stands; an alias has the node of its anchor, and so its place."""
    key, child = node.value[number] if isinstance(node.value[number], tuple) else (None, node.value[number])
    least = _content(text, node) if number == 0 else _extent(text, node, number - 1)[1]
    if key is not None:
        least = key.end_mark.index
    return bool(least <= child.start_mark.index < node.end_mark.index + 1)


def _content(text: str, node: Any) -> int:
    index: int = node.start_mark.index
    while text[index : index + 1] in ("&", "!"):
        while index < len(text) and not text[index].isspace():
            index += 1
        while index < len(text) and (text[index].isspace() or text[index] == "#"):
            index = text.index("\n", index) if text[index] == "#" else index + 1
    return index


def _extent(text: str, node: Any, number: int) -> tuple[int, int]:
    """Find a field or item: from the end of what is before it (its key, if it has one) to the end of its value."""
    if isinstance(node.value[number], tuple):
        key, child = node.value[number]
        start = key.start_mark.index
    else:
        child = node.value[number]
        start = child.start_mark.index
        if text[_content(text, node)] == "-" and _is_here(text, node, number):
            least = _content(text, node) if number == 0 else _extent(text, node, number - 1)[1]
            start = next(n for n in _outside_comments(text, least, start) if text[n] == "-")
    if not _is_here(text, node, number):  # an alias, whose own place PyYAML does not keep
        first = key.end_mark.index if isinstance(node.value[number], tuple) else None
        if first is None:
            previous = node.start_mark.index if number == 0 else _extent(text, node, number - 1)[1]
            first = previous
        star = text.index("*", first)
        end = star + 1
        while end < len(text) and text[end].isalnum():
            end += 1
        return (start if isinstance(node.value[number], tuple) else star), end
    return start, _end(text, child, start)


def _outside_comments(text: str, start: int, end: int) -> Iterator[int]:
    while start < end:
        if text[start] == "#":
            start = text.index("\n", start)
        yield start
        start += 1


def _end(text: str, node: Any, least: int) -> int:
    end: int = node.end_mark.index
    if isinstance(node.value, list) and text[_content(text, node)] not in "[{":
        return _extent(text, node, len(node.value) - 1)[1]
    if end <= node.start_mark.index and isinstance(node.value, str):
        return max(end, least)
    start = _content(text, node)
    if text[start : start + 1] in ("|", ">") and "+" in text[start : start + 3]:
        return end
    return max(least, len(text[:end].rstrip()))


def _lines(text: str, node: Any, number: int, *, flow: bool) -> tuple[int, int]:
    """Find what may go with a field or item: its line, up to the next one where they share a line."""
    start, end = _extent(text, node, number)
    first = text.rfind("\n", 0, start) + 1
    last = _line_end(text, end)
    while last < len(text) and text[last] in "\r\n":  # blank lines may belong to a text before it
        last += 1
    if flow:
        previous = _extent(text, node, number - 1)[1] if number else start
        return min(previous, first) if number == 0 else previous, last
    if number + 1 < len(node.value):
        last = max(last, _extent(text, node, number + 1)[0]) if text[first:start].strip(" ?") else last
    return first, last


def _line_end(text: str, index: int) -> int:
    if index and text[index - 1] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1
