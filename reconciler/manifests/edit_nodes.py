"""Changing the value of one node in a text, and nothing else: what `edit` does with a document.

Each value that differs is written where it stands, in the form that stands there: anchors, tags, quotes, blocks,
brackets and JSON stay. Fields and items come and go with their own line. A comment beside a removed one goes with it,
every other comment stays. An alias is written out when it would come to mean something else. The caller reads the
result back: what this module does not foresee is found out there.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Final

from reconciler.core.canonical import same_value
from reconciler.manifests.aliases import Aliases
from reconciler.manifests.aligning import aligned
from reconciler.manifests.emit import block_lines, entry_lines, flow_text, item_lines, quoted, scalar_text
from reconciler.manifests.nodes import Mapping, Node, Scalar, Sequence
from reconciler.manifests.spans import SpannedEntry, Spans
from reconciler.manifests.tree import documents

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "!!str": (str,),
    "!!int": (int,),
    "!!float": (float, int),
    "!!bool": (bool,),
    "!!null": (type(None),),
}
_HEADER = re.compile(r"[|>](?:[1-9])?[+-]?(?:[1-9])?")


class CannotEdit(Exception):
    """The text has a form that is not changed in place: what is around it is written anew."""


class NodeEditor:
    """Collects the replacements that turn one document into another."""

    def __init__(self, text: str, newline: str, root: Node, *, whole_flow: bool, depth: int) -> None:
        """Edit the document of `root` in `text`.

        With `whole_flow` what is in brackets is written anew as a whole, and so are collections below `depth` others.
        """
        self._text = text
        self._newline = newline
        self._spans = Spans(text)
        self._whole_flow = whole_flow
        self._depth = depth
        self._edits: list[tuple[int, int, str]] = []
        self._aliases = Aliases(self._spans, root)
        self._json = _is_json(text[root.index : root.end])

    def run(self, root: Mapping, wanted: dict[str, object]) -> str:
        """Give the text with `root` meaning `wanted`. Raises CannotEdit."""
        if not wanted:
            raise CannotEdit
        self._node(root, wanted, flow=False)
        text = self._text
        previous = len(text) + 1
        for (start, end, _), new in sorted(((a, b, n), new) for n, (a, b, new) in enumerate(self._edits))[::-1]:
            if end > previous:
                raise CannotEdit
            text = text[:start] + new + text[end:]
            previous = start
        return text

    def _node(self, node: Node, wanted: object, *, flow: bool) -> None:
        """Change a node in place; raises CannotEdit if the field or item that holds it has to be written anew."""
        if self._aliases.has(node):
            if not same_value(self._aliases.value(node), wanted):
                if isinstance(wanted, dict | list) and wanted and not flow:
                    raise CannotEdit
                self._edits.append((node.index, node.end, self._inline(wanted, flow=flow)))
            return
        if same_value(node.value, wanted) and not self._aliases.stale(node):
            return
        if isinstance(node, Scalar):
            if isinstance(wanted, dict | list) and wanted and not flow:
                raise CannotEdit
            self._scalar(node, wanted, flow=flow)
        else:
            self._collection(node, wanted, within=flow)
        self._aliases.note(node, wanted)

    def _collection(self, node: Mapping | Sequence, wanted: object, *, within: bool) -> None:
        """Change a mapping or list; `within` tells that it stands in brackets itself."""
        flow = within or self._spans.is_flow(node)
        mark = len(self._edits)
        if wanted and node.items and self._depth and not (flow and self._whole_flow):
            self._depth -= 1
            try:
                if isinstance(node, Mapping) and isinstance(wanted, dict):
                    self._mapping(node, wanted, flow=flow)
                    return
                if isinstance(node, Sequence) and isinstance(wanted, list):
                    self._sequence(node, wanted, flow=flow)
                    return
            except CannotEdit:
                del self._edits[mark:]
            finally:
                self._depth += 1
        filled = isinstance(wanted, dict | list) and bool(wanted)
        if not flow or (filled and not (within or node.items or self._json)):
            raise CannotEdit
        kept = self._spans.content(node) if isinstance(node, Mapping) == isinstance(wanted, dict) else node.index
        self._aliases.forget(kept, node.end)
        self._edits.append((kept, node.end, self._inline(wanted, flow=within)))

    def _inline(self, value: object, *, flow: bool) -> str:
        """Write a value on the line where it stands; `flow` tells that it stands in brackets."""
        if self._json:
            return json.dumps(value, ensure_ascii=False)
        return flow_text(value) if isinstance(value, dict | list) else scalar_text(value, flow=flow)

    def _put(self, start: int, end: int, new: str) -> None:
        """Replace a value that may end with a line break of its own, as a text below `|+` does."""
        ended = start < end and self._text[end - 1] == "\n" and not new.endswith("\n")
        self._edits.append((start, end, new + self._newline if ended else new))

    def _scalar(self, node: Scalar, wanted: object, *, flow: bool) -> None:
        anchor, tag, _ = self._spans.properties(node)
        start, end = self._spans.content(node), self._spans.end(node)
        quote = self._text[start : start + 1] if start < end else ""
        new = ""
        if isinstance(wanted, str) and quote in ("|", ">") and not node.plain:
            new = self._block(start, end, wanted)
        if not new and isinstance(wanted, str) and quote in ("'", '"') and not self._json:
            new = quoted(wanted, quote)
        new = new or self._inline(wanted, flow=flow)
        if start >= end and not self._text[start - 1 : start].isspace():
            new = f" {new}"
        if tag and not isinstance(wanted, _TYPES.get(tag, ())):
            start, new = node.index, f"&{anchor} {new.lstrip()}" if anchor else new.lstrip()
        self._put(start, end, new)

    def _block(self, start: int, end: int, wanted: str) -> str:
        """Write text below a `|` or `>` as the text there is written, "" if that cannot be."""
        first_end = self._spans.line_end(start)
        header = _HEADER.match(self._text, start)
        lines = [line for line in self._text[first_end + 1 : end].splitlines() if line.strip()]
        content = wanted.rstrip("\n")
        if header is None or not lines or not content or content[0] in " \t\n":
            return ""
        if not all(line.isprintable() for line in wanted.split("\n")):
            return ""
        indent = min(len(line) - len(line.lstrip(" ")) for line in lines)
        breaks = len(wanted) - len(content)
        style = header[0][0]
        if style == ">":
            content = re.sub(r"\n+", lambda found: found[0] + "\n", content)
        digit = "".join(character for character in header[0] if character.isdigit())
        chomp = "-" if breaks == 0 else "" if breaks == 1 else "+"
        body = [" " * indent + line if line else "" for line in content.split("\n")] + [""] * max(0, breaks - 1)
        rest = self._text[header.end() : first_end].rstrip("\r")
        new = self._newline.join([f"{style}{digit}{chomp}{rest}", *body])
        last = self._newline if breaks > 1 or self._text[end - 1] == "\n" else ""
        probe = f"{' ' * (indent - int(digit)) if digit else ''}k: {new}{last or self._newline}"
        read = list(documents(probe))
        fits = len(read) == 1 and isinstance(read[0].root, Mapping) and read[0].root.value.get("k") == wanted
        return new + last if fits else ""

    def _mapping(self, node: Mapping, wanted: dict[str, object], *, flow: bool) -> None:
        if node.merged or any(self._aliases.stale(key) for key in node.keys.values()):
            raise CannotEdit
        entries = self._spans.entries(node)
        kept = [entry.name in wanted for entry in entries]
        if not any(kept):
            raise CannotEdit
        for entry in entries:
            if entry.name not in wanted:
                self._aliases.forget(entry.start, entry.end)
                continue
            mark = len(self._edits)
            try:
                assert entry.key is not None
                if not self._spans.has_colon(entry.key, entry.value) and wanted[entry.name] is not None:
                    raise CannotEdit
                self._node(entry.value, wanted[entry.name], flow=flow)
            except CannotEdit:
                del self._edits[mark:]
                self._rewrite_field(entry, wanted[entry.name], flow=flow)
        new = {name: value for name, value in wanted.items() if name not in node.items}
        if flow:
            self._keep_flow(entries, kept)
            last = max(place for place, keep in enumerate(kept) if keep)
            self._add_flow(
                entries, kept, last, [f"{self._name(name)}: {self._inline(new[name], flow=True)}" for name in new]
            )
            return
        self._keep_block(entries, kept)
        lines = [line for name, value in new.items() for line in entry_lines(scalar_text(name), value)]
        last_kept = [entry for entry, keep in zip(entries, kept, strict=True) if keep][-1]
        self._add_below(last_kept, entries[0].start - self._spans.line_start(entries[0].start), lines)

    def _name(self, name: str) -> str:
        return json.dumps(name, ensure_ascii=False) if self._json else scalar_text(name, flow=True)

    def _rewrite_field(self, entry: SpannedEntry, wanted: object, *, flow: bool) -> None:
        key, start = entry.key, entry.start
        assert key is not None
        source = self._text[key.index : key.end].rstrip()
        if flow or start != key.index or "\n" in source or self._text[start] in "&!*":
            raise CannotEdit
        self._rewrite(entry, key.end, wanted, entry_lines(source, wanted))

    def _rewrite_item(self, entry: SpannedEntry, wanted: object, *, flow: bool) -> None:
        if flow:
            self._forget([entry])
            self._edits.append((entry.start, entry.end, self._inline(wanted, flow=True)))
        else:
            self._rewrite(entry, entry.start, wanted, item_lines(wanted))

    def _rewrite(self, entry: SpannedEntry, after: int, wanted: object, lines: list[str]) -> None:
        """Write a field or item of a block anew: its `lines`, or its value alone if a comment is behind `after`."""
        self._forget([entry])
        column = entry.start - self._spans.line_start(entry.start)
        if not self._below_comment(after, entry, wanted, column):
            self._put(entry.start, entry.end, f"{self._newline}{' ' * column}".join(lines))

    def _below_comment(self, after: int, entry: SpannedEntry, wanted: object, column: int) -> bool:
        """Write a value where the old one stands, if a comment stands between it and its key or dash at `column`."""
        start = entry.value.index
        if start >= entry.end or "#" not in self._text[after:start]:
            return False
        indent = max(start - self._spans.line_start(start), column + 1)
        lead = " " * (indent - (start - self._spans.line_start(start)))
        filled = isinstance(wanted, dict | list) and wanted
        lines = block_lines(wanted) if filled else [self._inline(wanted, flow=False)]
        self._put(start, entry.end, lead + f"{self._newline}{' ' * indent}".join(lines))
        return True

    def _sequence(self, node: Sequence, wanted: list[object], *, flow: bool) -> None:
        entries = self._spans.items(node)
        kept = [False] * len(entries)
        added: dict[int, list[object]] = {}
        after = -1
        for place, value in aligned([item.value for item in node.items], wanted):
            if place is None:
                added.setdefault(after, []).append(value)
                continue
            self._forget(entries[after + 1 : place])
            kept[place], after = True, place
            mark = len(self._edits)
            try:
                self._node(entries[place].value, value, flow=flow)
            except CannotEdit:
                del self._edits[mark:]
                self._rewrite_item(entries[place], value, flow=flow)
        self._forget(entries[after + 1 :])
        if not any(kept):
            raise CannotEdit
        if flow:
            self._keep_flow(entries, kept)
            for place, values in added.items():
                self._add_flow(entries, kept, place, [self._inline(value, flow=True) for value in values])
            return
        self._keep_block(entries, kept)
        indent = entries[0].start - self._spans.line_start(entries[0].start)
        for place, values in added.items():
            lines = [line for value in values for line in item_lines(value)]
            if place >= 0:
                self._add_below(entries[place], indent, lines)
            else:
                start = next(entry.start for entry, keep in zip(entries, kept, strict=True) if keep)
                self._edits.append((start, start, "".join(f"{line}{self._newline}{' ' * indent}" for line in lines)))

    def _forget(self, entries: list[SpannedEntry]) -> None:
        for entry in entries:
            self._aliases.forget(entry.start, entry.end)

    def _keep_block(self, entries: list[SpannedEntry], kept: list[bool]) -> None:
        """Take fields or items out of a block, each with its lines."""
        spans = self._spans
        place = 0
        if not kept[0] and spans.before(entries[0].start).strip():  # beside the dash of an item around it
            place = kept.index(True)
            start, stop = entries[0].start, entries[place].start
            gaps = [(spans.line_end(one.end), next_one.start) for one, next_one in pairwise(entries[: place + 1])]
            if all(not self._text[a:b].strip() for a, b in gaps):
                self._edits.append((start, stop, ""))
            else:
                blank = len(self._text[:start]) - len(self._text[:start].rstrip(" "))
                self._edits.append((start - blank, spans.line_end(entries[0].end), ""))
                for entry in entries[1:place]:
                    self._remove_lines(entry)
        for number in range(place, len(entries)):
            if not kept[number]:
                after = entries[number - 1].end if number else 0
                self._remove_lines(entries[number], beside_open_end=self._text[after - 1 : after] == "\n")

    def _remove_lines(self, entry: SpannedEntry, *, beside_open_end: bool = False) -> None:
        """Take out whole lines, and blank ones that would become part of a text before them that ends openly (`|+`)."""
        start = self._spans.line_start(entry.start)
        ended = self._text[entry.end - 1] == "\n"
        if self._spans.before(entry.start).strip() or not (ended or self._spans.rest_is_blank(entry.end)):
            raise CannotEdit
        end = entry.end if ended else min(len(self._text), self._spans.line_end(entry.end) + 1)
        while beside_open_end and end < len(self._text) and not self._text[end : self._spans.line_end(end)].strip():
            end = min(len(self._text), self._spans.line_end(end) + 1)
        self._edits.append((start, end, ""))

    def _add_below(self, entry: SpannedEntry, indent: int, lines: list[str]) -> None:
        """Insert lines below a field or item."""
        if not lines:
            return
        after = entry.end
        text = "".join(f"{' ' * indent}{line}{self._newline}" for line in lines)
        if self._text[after - 1] != "\n":
            after = self._spans.line_end(after)
            if after == len(self._text):
                self._strip(entry.value)
                text = self._newline + text.removesuffix(self._newline)
            else:
                after += 1
        self._edits.append((after, after, text))

    def _strip(self, node: Node) -> None:
        """Keep the meaning of a text in a block whose last line has had no line break and gets one."""
        while not isinstance(node, Scalar) and node.items and not self._spans.is_flow(node):
            node = node.items[-1] if isinstance(node, Sequence) else list(node.items.values())[-1]
        if isinstance(node, Scalar) and self._spans.is_block_scalar(node) and not node.text.endswith("\n"):
            start = self._spans.content(node)
            header = _HEADER.match(self._text, start)
            assert header is not None, "a block begins with its mark"
            if "-" not in header[0]:
                plus = header[0].find("+")
                place = start + plus if plus > 0 else start + 1
                self._edits.append((place, place + (plus > 0), "-"))

    def _keep_flow(self, entries: list[SpannedEntry], kept: list[bool]) -> None:
        """Take fields or items out of brackets, each with a comma, and its line if that holds nothing else."""
        spans = self._spans
        last_kept = max(place for place, keep in enumerate(kept) if keep)
        for place, entry in enumerate(entries):
            if kept[place]:
                continue
            comma = spans.comma(entry.end)
            end = entry.end if comma < 0 else comma + 1
            alone = not spans.before(entry.start).strip() and spans.rest_is_blank(end)
            if alone:
                start = spans.line_start(entry.start)
                self._edits.append((start, min(len(self._text), spans.line_end(end) + 1), ""))
                continue
            while self._text[end : end + 1] == " ":
                end += 1
            start = entry.start
            if comma < 0:  # the last one: blanks before it are no longer between two
                start = len(self._text[:start].rstrip(" \t"))
                end = entry.end
            self._edits.append((start, end, ""))
        if last_kept + 1 < len(entries) and spans.comma(entries[-1].end) < 0:
            comma = spans.comma(entries[last_kept].end)
            self._edits.append((comma, comma + 1, ""))

    def _add_flow(self, entries: list[SpannedEntry], kept: list[bool], place: int, new: list[str]) -> None:
        """Put fields or items into brackets after number `place`, before all if that is -1."""
        if not new:
            return
        spans = self._spans
        if place < 0:
            start = entries[kept.index(True)].start
            lead = spans.before(start)
            gap = " " if lead.strip() else self._newline + lead
            self._edits.append((start, start, "".join(f"{text},{gap}" for text in new)))
            return
        entry = entries[place]
        lead = spans.before(entry.start)
        comma = spans.comma(entry.end)
        stays = comma >= 0 and (any(kept[place + 1 :]) or spans.comma(entries[-1].end) >= 0)
        after = comma + 1 if stays else entry.end
        if lead.strip():
            self._edits.append((entry.end, entry.end, "".join(f", {text}" for text in new)))
        elif not spans.rest_is_blank(after) or (comma >= 0 and not stays):
            self._edits.append((entry.end, entry.end, "".join(f",{self._newline}{lead}{text}" for text in new)))
        else:
            if not stays:
                self._edits.append((entry.end, entry.end, ","))
            end = spans.line_end(after)
            if self._text[end - 1 : end] == "\r":
                end -= 1
            text = ",".join(f"{self._newline}{lead}{text}" for text in new)
            self._edits.append((end, end, text + "," * stays))


def _is_json(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
