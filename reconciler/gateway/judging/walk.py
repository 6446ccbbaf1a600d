"""What a body holds besides text that is all there: what bytes do not bound, images, tools.

Every field of a body is looked up in the one table of all APIs, at any depth, in the place where it stands. What a
client says of itself (types, names beside a value) makes nothing harmless that is not: where two things are said, or
something that is not known, the careful one counts.

What is not in the table is judged by where it stands, and only if it asks for anything at all: null, false, "", [] and
numbers do not, since they neither name something nor define or switch it on, unless they are called as a limit of the
answer is. An object may switch something on by being there.

    top of the body, settings     refused   a field there may make the provider run, fetch or remember something
    a tool's kind, or its field   refused   likewise
    an item, a block, its field   counted   it is read once, before the model answers, so that a count has it

Invariants: pure; the same body gives the same `Found`. What stands in a body without tools, references and media is not
taken apart any further than `plain.py` sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.growth import BLOCK_BYTES, blocks, escaped, holds, rendered
from reconciler.gateway.judging import kinds, media
from reconciler.gateway.judging.elements import called, defined, quoted, tells
from reconciler.gateway.judging.fields import (
    BODY,
    DEFINITION,
    EXCEPTIONS,
    NO_NAMES,
    OTHER_LIMITS,
    PROMPT,
    SETTINGS,
    SETTINGS_LIMITS,
    THOUGHTS,
    is_limit,
)
from reconciler.gateway.judging.found import SHOWN_MAX, Found, shown
from reconciler.gateway.judging.plain import plain
from reconciler.gateway.judging.references import unrolled
from reconciler.gateway.judging.rules import Table, Treatment
from reconciler.gateway.refusal import Refusal
from reconciler.providers.provider import Provider

DEPTH_MAX = 64
_GEMINIS = ("generate", "generate.count", "embed")
_EMBEDDED = ("embeddings", "embed")
"""What is read as it is, and written into no prompt."""

_REWRITTEN = ("generationConfig", "generation_config")
"""What is sent as it is read here: a name that stands twice in it is sent once."""

_REFERS = (b"ref", b"Ref", b"\\u")
"""What a reference has in its name, as it is or escaped."""

_KEPT = "files that the provider keeps or fetches"

_Field = tuple[str, msgspec.Raw, Treatment | None]


def look(body: Body, operation: str, provider: Provider) -> Found:
    """Look through the body of an operation, once for all bindings. Raises Refusal if it cannot be read."""
    how = operation, provider.name
    found: Found | None = body.looked.get(how)
    if found is None:
        found = body.looked[how] = _look(body, operation, provider)
    return found


def _alone(body: Body, provider: Provider, *, anew: bool) -> tuple[int, list[_Field]]:
    """Give by how much the prompts of nothing but text may grow, and the fields that have to be looked at."""
    grown, elements, quotes = 0, provider.elements, provider.rewrites
    rest: list[_Field] = []
    for name, raw in body.fields.items():
        rule = BODY.get(name)
        if rule is Treatment.PROMPT and (grows := plain(raw, elements=elements, quotes=quotes)) is not None:
            grown += grows
        elif rule is not Treatment.TEXT or (anew and memoryview(raw)[0] in b"{["):  # a schema, say
            rest.append((name, raw, rule))
    return grown, rest


def _look(body: Body, operation: str, provider: Provider) -> Found:
    anew = operation not in _EMBEDDED
    of_prompts, rest = _alone(body, provider, anew=anew)
    limits = OTHER_LIMITS.get(operation, NO_NAMES).intersection(body.fields)
    if not rest and not limits:
        return Found(rendered=of_prompts)
    walk = _Walk(operation, provider, Found(rendered=of_prompts))
    found = walk.found
    for name in limits:
        if body.get(name) is not None:
            walk.refuse_limit(name)
    for name, raw, rule in rest:
        found.rendered += rendered(memoryview(raw)) if anew else 0
        if rule is Treatment.TEXT:
            if walk.unrolls(raw):
                item, found.packed = body.judged(name)
                walk.schemas(Treatment.SETTINGS, item)
            continue
        item, found.packed = body.judged(name, rewritten=name in _REWRITTEN)
        if name == "tools" and item is not None and not isinstance(item, list):
            raise Refusal("invalid", "tools must be a list")
        if name == "input" and operation == "responses":
            walk.references(item)
        walk.top(name, rule, item)
        if anew and provider.rewrites and rule is not Treatment.PROMPT:
            text = memoryview(raw)
            found.rendered += escaped(bytes(text)) if len(text) <= BLOCK_BYTES else sum(map(escaped, blocks(text)))
        if rule is not Treatment.PROMPT and walk.unrolls(raw):
            walk.schemas(Treatment.SETTINGS if rule is Treatment.SETTINGS else Treatment.TOOLS, item)
    return found


def _asks(value: Any) -> bool:
    """Tell whether a value that nobody knows holds anything but numbers and nothings, at any depth."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, list):
            rest += item
        elif isinstance(item, dict):
            rest += item.values()
        elif item is True or (isinstance(item, str) and item):
            return True
    return False


def _is_nothing(item: Any) -> bool:
    """Tell whether a value leaves its field out; an empty object does not: it asks for what the field stands for."""
    return not item and not isinstance(item, dict)


class _Walk:
    """Walks through a body and notes what is not text."""

    def __init__(self, operation: str, provider: Provider, found: Found) -> None:
        self.found = found
        self._elements, self._rewrites, self._unrolls = provider.elements, provider.rewrites, provider.unrolls
        self._remembers = provider.remembers
        self._functions = operation == "messages"  # what has no type is one
        self._limits = operation not in _GEMINIS  # none of the answer's stands in the settings
        # Whether what is at hand stands in what was measured as a whole, with all below it: each level again would
        # make work, and tokens, that grow with the square of the depth.
        self._defined = self._told = False
        # Where what is at hand stands, in the words of `Provider.images`.
        self._trail: list[str] = []
        self._images = provider.images.get(operation, ())

    def top(self, name: str, rule: Treatment | None, item: Any) -> None:
        """Judge a field of the body itself."""
        self._trail = [name]
        self.field(BODY, name, rule, item, 0)

    def unrolls(self, raw: Any) -> bool:
        """Tell whether references may stand in a text, and are written out."""
        if not self._unrolls:
            return False
        return holds(raw, *_REFERS)

    def schemas(self, place: Treatment, item: Any) -> None:
        """Take note of what schemas become where their references are written out."""
        grown = unrolled(item)
        if grown is None or (grown and self.found.packed):  # then the size of what is written out does not show
            self.found.endless.add(place)
        else:
            self.found.unrolled += grown

    def field(self, table: Table, name: str, rule: Treatment | None, item: Any, depth: int, owner: Any = None) -> None:
        """Judge a field by its rule, and what stands below it; `owner` is the object that has it."""
        if rule is Treatment.HOLDS:
            if isinstance(item, dict | list):
                self._into(table, item, depth + 1)
        elif rule is Treatment.TEXT or _is_nothing(item):
            pass
        elif rule is None:
            self._unknown(table, name, item)
        elif rule is Treatment.COUNTED:
            self.found.count(name)
        elif rule is Treatment.REFUSED:
            self.found.refuse(name)
        elif rule is Treatment.PROMPT:
            self._into(PROMPT, item, depth + 1)
        elif rule is Treatment.SETTINGS:
            self._into(SETTINGS, item, depth + 1)
        elif rule is Treatment.TOOLS or rule is Treatment.FUNCTIONS:
            if table is PROMPT and self._unrolls:
                self.schemas(Treatment.TOOLS, item)
            if table is PROMPT and self._rewrites and not self._told:
                self.found.rendered += quoted(item, is_packed=self.found.packed)
            self._tools(item, depth + 1, bare=rule is Treatment.FUNCTIONS or self._functions)
        else:
            self._by_value(table, rule, item, depth, owner or {})

    def refuse_limit(self, name: str) -> None:
        """Take note of a limit of the answer in the words of an API that this is none of: some providers hear it."""
        self.found.refuse(f"{name[:SHOWN_MAX]}, which limits answers of another API")

    def _unknown(self, table: Table, name: str, item: Any) -> None:
        what = f"the field {name[:SHOWN_MAX]}, which is not known"
        if table is PROMPT:
            self.found.count(what if _asks(item) else "")
        elif is_limit(name):
            self.refuse_limit(name)
        elif isinstance(item, dict | list) or _asks(item):  # that it is there may be what asks for it
            self.found.refuse(what)

    def references(self, items: Any) -> None:
        """Judge items of a response's input that have no type: one without a role only names another."""
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and not item.get("type") and not item.get("role"):
                self.found.count("items that only name another")

    def _into(self, table: Table, value: Any, depth: int) -> None:
        """Look at a value of a place and all below it."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            last = self._trail[-1]
            self._trail[-1] = f"{last}[]"
            for item in value:
                if isinstance(item, dict | list):
                    self._into(table, item, depth + 1)
            self._trail[-1] = last
        elif isinstance(value, dict):
            kind = self._kind(table, value)
            said = _said(value, kind)
            if self._elements and table is PROMPT:
                self.found.rendered += called(value)
            outer, told = self._told, self._tells(table, value)
            for name, item in value.items():
                self._told = outer or name in told
                rule = table.get(name)
                if table is SETTINGS and THOUGHTS.get(name) == self._trail[-1]:
                    rule = Treatment.TEXT
                if (rule is Treatment.TEXT and table is not SETTINGS) or (name == "type" and kind is not None):
                    continue
                if table is SETTINGS and self._limits and name in SETTINGS_LIMITS and item is not None:
                    self.refuse_limit(name)
                if table is PROMPT and kind is not None and (kind, name) in EXCEPTIONS:
                    rule = EXCEPTIONS[kind, name]
                self._trail.append(f"{said}.{name}")
                self.field(table, name, rule, item, depth, value)
                self._trail.pop()
            self._told = outer

    def _tells(self, table: Table, value: dict[str, Any]) -> list[str]:
        """Add what an item's calls, and what tools said, may grow by, and name the members that hold it."""
        if table is not PROMPT or not self._elements or not self._rewrites or self._told:
            return []
        names = tells(value)
        self.found.rendered += sum(quoted(value.get(name), is_packed=self.found.packed) for name in names)
        return names

    def _kind(self, table: Table, value: dict[str, Any]) -> str | None:
        """Judge an object by its kind, and give that, None if it has none."""
        kind = value.get("type")
        if kind is None:
            return None
        if table is not PROMPT:
            if table is SETTINGS and not (isinstance(kind, str) and kind in kinds.FORMATS):
                self.found.refuse(f"settings of the kind {shown(kind)}")
            return ""
        if not isinstance(kind, str):
            self.found.count(f"{shown(kind)} items")
            return ""
        rule = kinds.kind_of(kinds.ITEMS, kind)
        if rule is Treatment.REFUSED:
            self.found.refuse(f"{kind} items")
        elif rule is Treatment.COMPACTS:
            self.found.compacts = True
        elif rule is Treatment.COMPACTED:
            kept = not (value.get("encrypted_content") or value.get("content"))
            self.found.count("compaction items without their content" if kept else "")
        elif rule is Treatment.REASONING:
            kept = self._remembers and not value.get("encrypted_content")
            self.found.count("reasoning items without their content" if kept else "")
        elif rule is not Treatment.HOLDS:  # to be counted, or not known
            self.found.count(f"{kind[:SHOWN_MAX]} items")
        return kind

    def _tools(self, value: Any, depth: int, *, bare: bool) -> None:
        """Look at definitions of tools; `bare`: one without a type is a function."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            for item in value:
                self._tools(item, depth + 1, bare=bare)
        elif isinstance(value, dict):
            self.found.tools = True
            outer, self._defined = self._defined, True
            if self._rewrites and not outer:
                self.found.rendered += defined(value, is_packed=self.found.packed)
            self._tool(value, depth, bare=bare)
            self._defined = outer
        elif value is not None:
            self.found.refuse(f"the tool {shown(value)}")

    def _tool(self, value: dict[str, Any], depth: int, *, bare: bool) -> None:
        kind = value.get("type")
        if kind is None and value.keys() <= kinds.GEMINI_TOOLS.keys():
            for name, item in value.items():
                self.field(DEFINITION, f"the tool {name}", kinds.GEMINI_TOOLS[name], item, depth)
            return
        if isinstance(kind, str):
            self._tool_kind(kind, value)
        elif kind is not None or not bare:
            self.found.refuse(f"the tool {shown(next(iter(value), '') if kind is None else kind)} without a type")
        for name, item in value.items():
            rule = DEFINITION.get(name, kinds.GEMINI_TOOLS.get(name))
            if rule is not Treatment.TEXT:
                self.field(DEFINITION, name, rule, item, depth, value)

    def _tool_kind(self, kind: str, value: dict[str, Any]) -> None:
        rule = kinds.kind_of(kinds.TOOLS, kind)
        local = rule is Treatment.SHELL and _is_local(value.get("environment"))
        if rule is Treatment.CLIENTS or local or (rule is Treatment.SEARCH and value.get("execution") == "client"):
            self.found.clients += 1
        elif rule is Treatment.COUNTED:
            self.found.count(f"the tool {kind}")
        elif rule is not Treatment.HOLDS:
            self.found.refuse(f"the tool {kind[:SHOWN_MAX]}")

    def _by_value(self, table: Table, rule: Treatment, item: Any, depth: int, owner: dict[str, Any]) -> None:
        """Judge a field of which the value says what it is."""
        if rule is Treatment.FILM:  # a moving image is priced by its frames
            self.found.count(media.MEDIA)
            rule = Treatment.ADDRESS
        if rule is Treatment.FRAMES or rule is Treatment.RESOLUTION:
            media.closely(self.found, rule, item)
        elif rule is Treatment.MODALITIES:
            if not _speaks_only(item):
                self.found.refuse("images in the answer")
        elif rule is Treatment.EDITS:
            self._edits(item)
        elif rule is Treatment.MODE:
            if item != "standard":
                self.found.refuse(f"the mode {shown(item)}")
        elif isinstance(item, str):
            media.text(self.found, rule, item, owner, tiles=self._unrolls, shown=self._shows)
        elif rule is Treatment.ADDRESS and not isinstance(item, dict):
            self.found.refuse(media.FETCHED)
        elif isinstance(item, dict):
            self._object(table, rule, item, depth)
        elif (
            isinstance(item, list) and rule is not Treatment.CITATIONS
        ):  # in a list, what was cited, which tells of a source
            files = [entry for entry in item if isinstance(entry, dict) and entry.get("type") == "file"]
            self._into(table, files if rule is Treatment.ANNOTATIONS else item, depth + 1)

    def _shows(self) -> bool:
        """Tell whether the provider reads an image where the walk is."""
        return tuple(self._trail) in self._images

    def _object(self, table: Table, rule: Treatment, item: dict[str, Any], depth: int) -> None:
        """Judge an object that may refer to something, or ask for it."""
        if rule is Treatment.SOUND and item.get("id"):
            self.found.refuse(_KEPT)
        elif rule is Treatment.CITATIONS:
            if item.get("enabled"):
                self.found.count("documents that are cut into pieces to be cited")
        elif rule is Treatment.ENVIRONMENT:
            if not _is_local(item):
                self.found.refuse("a container of the provider's")
        elif rule is not Treatment.ANNOTATIONS:
            self._into(table, item, depth + 1)

    def _edits(self, edits: Any) -> None:
        for edit in edits if isinstance(edits, list) else [edits]:
            kind = edit.get("type") if isinstance(edit, dict) else None
            if not isinstance(kind, str) or kinds.kind_of(kinds.EDITS, kind) is not Treatment.TEXT:
                self.found.refuse(f"the edit {shown(kind)}")


def _said(value: dict[str, Any], kind: str | None) -> str:
    """Name what an object of a prompt is: its kind, or its role; a part without either is a text if it has one.

    It is written before each field of the object: what the client says is cut.
    """
    if kind not in (None, "message"):
        return kind if kind in kinds.ITEMS else "?"
    role = value.get("role")
    return f"<{role[:SHOWN_MAX]}>" if isinstance(role, str) else "text" if "text" in value else ""


def _is_local(environment: Any) -> bool:
    """Tell whether commands run where the client is, not in a container of the provider's."""
    kind = environment.get("type") if isinstance(environment, dict) else None
    return isinstance(kind, str) and kinds.ENVIRONMENTS.get(kind) is Treatment.TEXT


def _speaks_only(modalities: Any) -> bool:
    """Tell whether an answer shall be text or sound, which the output limit bounds; images are charged by the piece."""
    words: Iterable[Any] = modalities if isinstance(modalities, list) else [modalities]
    return all(isinstance(word, str) and word.lower() in ("text", "audio", "modality_unspecified") for word in words)
