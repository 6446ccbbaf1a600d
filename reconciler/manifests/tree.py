"""YAML text as documents of nodes that know their place: the one parser of manifests.

Built on libyaml's event stream, which does not recurse; the caps on depth and aliases act on events, so that no input
can exhaust the stack or the memory. What is wrong becomes a Problem in the document's list and the rest is still
read; only syntax ends a file. Nothing here knows the fields of a manifest.

Invariants: lines and columns count from 1, columns in code points, a byte order mark none, and lines end at LF or CRLF
(libyaml also counts a lone CR; such texts have their places computed from the index).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Protocol, cast

import yaml
from yaml._yaml import CParser

from reconciler.core.canonical import as_json_reads
from reconciler.manifests.facts import Problem, Problems
from reconciler.manifests.inline_keys import holds_key, redact, redact_beginning
from reconciler.manifests.lines import Lines, has_odd_breaks
from reconciler.manifests.nodes import Mapping, Node, Scalar, Sequence, extent, moved
from reconciler.manifests.rules import ALIASES, DUPLICATE_KEY, KEY_NOT_SCALAR, MERGE_KEY, SYNTAX, TAG, TOO_DEEP
from reconciler.manifests.scalars import MAYBE_NUMBER, WORDS, Value, is_exact, plain_value, tagged_value

DEPTH_MAX = 64
ALIASES_MAX = 100
ALIAS_NODES_MAX = 10_000
_SKIPPED_EVENTS_MAX = 100_000
_SHORT = _BLANKS_MAX = 60
_SKIPPED_DEPTH_MAX = 500
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(("str", "int", "float", "bool", "null"))
_SEPARATORS = re.compile("[\x85\u2028\u2029]")
_HIDDEN = {0x85: 0x10FF85, 0x2028: 0x10FF28, 0x2029: 0x10FF29}
"""NEL, LS and PS end lines in YAML 1.1, and so in libyaml, but not in 1.2: it sees private characters instead."""
_SHOWN = {hidden: shown for shown, hidden in _HIDDEN.items()}


class YamlMark(Protocol):
    """A place as PyYAML gives it: all three count from 0."""

    index: int
    line: int
    column: int


class YamlEvent(Protocol):
    """An event as PyYAML gives it; which of these a kind of event has is YAML's affair."""

    anchor: str | None
    tag: str | None
    implicit: tuple[bool, bool]
    value: str
    start_mark: YamlMark
    end_mark: YamlMark


_DOCUMENT_START: type = yaml.DocumentStartEvent
_DOCUMENT_END: type = yaml.DocumentEndEvent
_SCALAR: type = yaml.ScalarEvent
_MAPPING_END: type = yaml.MappingEndEvent
_SKIP = Scalar("", None, 0, 0, True)
"""The pending key of a value that is read and dropped."""


class Document:
    """One document: `root` is None if it could not be built; `start`, `end` are its bounds in the text.

    `mappings` are those written out in it, the ones in dropped values included, `repeated` the bytes of aliases.
    `hidden` are scalars that hold a key which the text does not show, by escapes or where it is folded.
    """

    __slots__ = ("end", "hidden", "mappings", "numbers", "problems", "repeated", "root", "start")

    def __init__(self, start: int) -> None:
        self.root: Node | None = None
        self.problems = Problems()
        self.numbers: list[Scalar] = []
        self.mappings: list[Mapping] = []
        self.hidden: list[Scalar] = []
        self.start = self.end = start
        self.repeated = 0

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing but comments between the separators."""
        root = self.root
        return isinstance(root, Scalar) and root.plain and not root.text


class _Stop(Exception):
    """The document is given up; the problem is already listed."""


class _Builder:
    """Builds one document after the other from the events of a text."""

    def __init__(self, text: str, indexed: bool) -> None:
        self._restore = not text.isascii() and _SEPARATORS.search(text) is not None
        self._parser = CParser(text.translate(_HIDDEN) if self._restore else text)
        self._text = text
        self._lines = Lines(text) if has_odd_breaks(text) else None
        self._indexed = indexed
        self._may_hide = "\\" in text or "-----BEGIN" in text  # the one key with blanks, which may be line ends
        self._usual = not (self._restore or self._lines or indexed or self._may_hide)
        self._begin(0)

    def _begin(self, start: int) -> None:
        self.document = Document(start)
        self._stack: list[Sequence | Mapping] = []
        self._anchors: dict[str, Node] = {}
        self._open: set[int] = set()
        self._aliases = self._alias_nodes = 0

    def documents(self) -> Iterator[Document]:
        """Yield each document; the last one may be broken by syntax and then has no root."""
        get_event = cast("Callable[[], YamlEvent]", self._parser.get_event)
        try:
            while (event := get_event()) is not None:
                if type(event) is _DOCUMENT_START:
                    self._begin(event.start_mark.index)
                    self._build(get_event)
                    yield self.document
                    if self.document.end < 0:
                        return
                    self._begin(self.document.end)
        except yaml.YAMLError as error:
            self.document.root = None
            self.document.end = -1
            self.document.problems.append(self._syntax(error))
            yield self.document

    def _build(self, get_event: Callable[[], YamlEvent]) -> None:
        try:
            event = self._build_usual(get_event) if self._usual else get_event()
            while (kind := type(event)) is not _DOCUMENT_END:
                _HANDLERS[kind](self, event)
                event = get_event()
            self.document.end = event.end_mark.index
        except _Stop:
            self.document.root = None
            self.document.end = -1
            self._skip(get_event)

    def _build_usual(self, get_event: Callable[[], YamlEvent]) -> YamlEvent:
        """Do what the loop of `_build` does, the usual events of mappings without a call each; give the last event."""
        stack = self._stack
        while (kind := type(event := get_event())) is not _DOCUMENT_END:
            if kind is _MAPPING_END:
                self._open.discard(id(stack.pop()))
                continue
            parent = stack[-1] if stack else None
            if (
                type(parent) is not Mapping
                or event.anchor is not None
                or event.tag is not None
                or parent.pending is not None
                or kind is not _SCALAR
                or (name := event.value) in parent.value
                or name == "<<"
            ):
                _HANDLERS[kind](self, event)
            else:
                mark = event.start_mark
                key = Scalar(name, name, mark.line + 1, mark.column + 1, event.implicit[0])
                kind = type(event := get_event())
                if kind is not _SCALAR or event.anchor is not None or event.tag is not None:
                    parent.open(key)
                    _HANDLERS[kind](self, event)
                    continue
                text, mark, plain = event.value, event.start_mark, event.implicit[0]
                value = _number_or_word(text) if plain and (text in WORDS or text[0] in MAYBE_NUMBER) else text
                line, column = (mark.line + 1, mark.column + 1) if text else self._behind_colon(event)
                node = Scalar(text, value, line, column, plain)
                if value is not text and not is_exact(value):
                    self.document.numbers.append(node)
                parent.value[name] = value  # what `open` and `fill` do, without the calls
                if (fields := parent.fields) is None:
                    parent.fields = [key, node]
                else:
                    fields += (key, node)
        return event

    def _skip(self, get_event: Callable[[], YamlEvent]) -> None:
        """Look for the end of a document that was given up; libyaml's work grows with the square of the depth."""
        depth = 0
        for _ in range(_SKIPPED_EVENTS_MAX):
            kind = type(event := get_event())
            if kind is _DOCUMENT_END:
                self.document.end = event.end_mark.index
                return
            depth += _DEPTH_CHANGES.get(kind, 0)
            if depth > _SKIPPED_DEPTH_MAX:
                return

    def _place(self, mark: YamlMark) -> tuple[int, int]:
        if self._lines is not None:
            return self._lines.place(mark.index)
        return mark.line + 1, mark.column + 1

    def _behind_colon(self, event: YamlEvent) -> tuple[int, int]:
        """Give the place of an empty value, right behind its colon: in `{a: }` libyaml is at the bracket by then."""
        mark = event.start_mark
        line, column = self._place(mark)
        if mark.index != event.end_mark.index:  # quotes or a tag stand there
            return line, column
        blanks = self._text[max(0, mark.index - _BLANKS_MAX) : mark.index]
        field = blanks.rstrip()
        if not field.endswith(":"):
            return line, column
        blanks = blanks[len(field) :]
        if breaks := blanks.count("\n"):
            end = mark.index - len(blanks)
            return line - breaks, end - self._text.rfind("\n", 0, end)
        return line, column - len(blanks)

    def _problem(self, rule: str, place: tuple[int, int], message: str, hint: str = "", text: str = "") -> None:
        self.document.problems.add_in_order(Problem(*place, "error", rule, redact(message), hint, redact(text)))

    def _scalar(self, event: YamlEvent) -> None:
        text, mark, tag = event.value, event.start_mark, event.tag
        if self._restore:
            text = text.translate(_SHOWN)
        line, column = (mark.line + 1, mark.column + 1) if self._lines is None else self._lines.place(mark.index)
        plain = tag is None and event.implicit[0]
        parent = self._stack[-1] if self._stack else None
        mapping = parent if type(parent) is Mapping else None
        is_key = mapping is not None and mapping.pending is None
        if not text and mapping is not None and not is_key:
            line, column = self._behind_colon(event)
        value: Value = text
        if tag is not None:
            value = self._tagged(tag, text, (line, column))
        elif plain and not is_key:
            value = plain_value(text)
        if type(value) is float:
            value = as_json_reads(value)
        node = Scalar(text, value, line, column, plain)
        if self._may_hide and holds_key(text) and not holds_key(self._text[mark.index : event.end_mark.index]):
            self.document.hidden.append(node)
        if self._indexed:
            node.index, node.end = mark.index, event.end_mark.index
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if is_key:
            self._key(node)
            return
        if type(value) is not str and not is_exact(value):
            self.document.numbers.append(node)
        self._add(node)

    def _tagged(self, tag: str, text: str, place: tuple[int, int]) -> Value:
        name = tag.removeprefix(_CORE)
        if tag.startswith(_CORE) and name in _SCALAR_TAGS:
            try:
                return tagged_value(name, text)
            except ValueError:
                self._problem(TAG, place, f"the value is no {name}, as its tag !!{name} says", "remove the tag", text)
                return text
        self._problem(TAG, place, f"the tag {_short(tag)} is not allowed", "remove the tag", _short(tag))
        return text

    def _key(self, key: Scalar) -> None:
        parent = cast("Mapping", self._stack[-1])
        text = key.text
        if text not in parent.value and text != "<<":
            parent.open(key)
        elif text == "<<" and key.plain:
            self._problem(MERGE_KEY, (key.line, key.column), "merge keys are not read", "write the fields out", "<<")
            parent.merged = True
            parent.pending = _SKIP
        elif text in parent.value:
            message = f"duplicate field {_short(text)}, first at line {parent.keys[text].line}"
            self._problem(DUPLICATE_KEY, (key.line, key.column), message, "remove one of the two", _short(text))
            parent.pending = _SKIP
        else:
            parent.open(key)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.document.root = node
            return
        parent = self._stack[-1]
        if type(parent) is Sequence:
            parent.add(node)
            return
        assert type(parent) is Mapping
        key = parent.pending
        if key is None:
            self._problem(
                KEY_NOT_SCALAR,
                (node.line, node.column),
                "a field name must be text",
                'quote templates, such as "{{ name }}"',
            )
            parent.pending = _SKIP
            return
        if key is _SKIP:
            parent.pending = None
        else:
            parent.fill(node)

    def _sequence(self, event: YamlEvent) -> None:
        self._open_collection(event, Sequence(*self._place(event.start_mark)), "seq")

    def _mapping(self, event: YamlEvent) -> None:
        node = Mapping(*self._place(event.start_mark))
        self.document.mappings.append(node)
        self._open_collection(event, node, "map")

    def _open_collection(self, event: YamlEvent, node: Sequence | Mapping, kind: str) -> None:
        place = node.line, node.column
        tag: str | None = event.tag
        if tag is not None and tag != _CORE + kind:
            self._problem(TAG, place, f"the tag {_short(tag)} is not allowed here", "remove the tag", _short(tag))
        self._require_depth(1, place)
        self._add(node)
        if self._indexed:
            node.index = event.start_mark.index
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            self._open.add(id(node))
        self._stack.append(node)

    def _require_depth(self, height: int, place: tuple[int, int]) -> None:
        if len(self._stack) + height > DEPTH_MAX:
            self._problem(TOO_DEEP, place, f"the document is nested deeper than {DEPTH_MAX}", "make it flatter")
            raise _Stop

    def _close(self, event: YamlEvent) -> None:
        node = self._stack.pop()
        if self._indexed:
            node.end = event.end_mark.index
        if self._open:
            self._open.discard(id(node))

    def _alias(self, event: YamlEvent) -> None:
        name = event.anchor or ""
        place = self._place(event.start_mark)
        node = self._anchors.get(name)
        if node is None:
            self._refuse_alias(place, "an alias has no anchor before it", name)
        if id(node) in self._open:
            self._refuse_alias(place, "an alias contains itself", name)
        self._aliases += 1
        if self._aliases > ALIASES_MAX:
            self._refuse_alias(place, f"the document has more than {ALIASES_MAX} aliases", name)
        assert node is not None
        nodes, height, size = extent(node)
        self._alias_nodes += nodes
        self.document.repeated += size
        if self._alias_nodes > ALIAS_NODES_MAX:
            self._refuse_alias(place, f"the document's aliases expand to more than {ALIAS_NODES_MAX:,} nodes", name)
        self._require_depth(height, place)
        copy = moved(node, place)
        if self._indexed:
            copy.index, copy.end = event.start_mark.index, event.end_mark.index
        parent = self._stack[-1] if self._stack else None
        if isinstance(parent, Mapping) and parent.pending is None and isinstance(copy, Scalar):
            self._key(copy)
        else:
            self._add(copy)

    @cached_property
    def _secret(self) -> bool:
        return LOOKS_SECRET.search(self._text) is not None

    def _refuse_alias(self, place: tuple[int, int], message: str, name: str) -> None:
        text = "*…" if self._secret else f"*{_short(name)}"
        self._problem(ALIASES, place, message, "write the values out", text)
        raise _Stop

    def _syntax(self, error: Exception) -> Problem:
        mark: YamlMark | None = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "the text cannot be read as YAML"
        context = getattr(error, "context", None)
        index = len(self._text) if mark is None else min(mark.index, len(self._text))  # at the end, libyaml is beyond
        place = (self._lines or Lines(self._text)).place(index)
        hint = next((hint for words, hint in _SYNTAX_HINTS.items() if words in what), "")
        if self._text[index : index + 1] == "\t":
            hint = "indent with spaces, not with tabs"
        text = "…" if self._secret else ""
        return Problem(*place, "error", SYNTAX, f"{what} {context}" if context else str(what), hint, text)


_INDENTATION = "look at the indentation of this line and the ones before"
_SYNTAX_HINTS = {
    "mapping values": "quote a value that has ': ' in it, and look at the indentation",
    "cannot start any token": "quote a value that begins with @ or `",
    "expected key": _INDENTATION,
    "block end": _INDENTATION,
}
"""By words of libyaml."""
_DEPTH_CHANGES: dict[type, int] = {
    yaml.SequenceStartEvent: 1,
    yaml.MappingStartEvent: 1,
    yaml.SequenceEndEvent: -1,
    yaml.MappingEndEvent: -1,
}
_HANDLERS: dict[type, Callable[[_Builder, YamlEvent], None]] = {
    yaml.ScalarEvent: _Builder._scalar,
    yaml.AliasEvent: _Builder._alias,
    yaml.SequenceStartEvent: _Builder._sequence,
    yaml.MappingStartEvent: _Builder._mapping,
    yaml.SequenceEndEvent: _Builder._close,
    yaml.MappingEndEvent: _Builder._close,
}
LOOKS_SECRET = re.compile(
    r"""(?<![^\s,{}\[\]"'])kind["']?\s*+:\s*+(?:(?:!<[^\s<>]*+>|[!&][^\s,{}\[\]"']*+)\s++){0,2}+["']?Secret\b"""
)
"""No tag or anchor is searched beyond what may stand before a key: no character is looked at for many keys."""


def _number_or_word(text: str) -> Value:
    value = plain_value(text)
    return as_json_reads(value) if type(value) is float else value


def _short(text: str) -> str:
    return redact_beginning(text, _SHORT)


def documents(text: str, *, indexed: bool = False) -> Iterator[Document]:
    """Yield every document of `text`, a byte order mark at its start already removed.

    With `indexed` the nodes know the indexes of their first character and of the one after their last. A document
    whose `end` is -1 is the last that could be read.
    """
    return _Builder(text, indexed).documents()
