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

import re
from base64 import b64decode
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from reconciler.gateway.body import Body
from reconciler.gateway.growth import escaped, normalized, rendered
from reconciler.gateway.judging import films, kinds, pictures
from reconciler.gateway.judging.elements import called, defined, quoted, told
from reconciler.gateway.judging.fields import (
    BODY,
    DEFINITION,
    EXCEPTIONS,
    NO_NAMES,
    OTHER_LIMITS,
    PROMPT,
    SETTINGS,
    SETTINGS_LIMITS,
    is_limit,
)
from reconciler.gateway.judging.plain import plain
from reconciler.gateway.judging.references import unrolled
from reconciler.gateway.judging.rules import Table, Treatment
from reconciler.gateway.refusal import Refusal
from reconciler.providers.provider import Provider

DEPTH_MAX = 64
SHOWN_MAX = 40
"""Characters of a name, a kind or a value that a refusal tells."""
_GEMINIS = ("generate", "generate.count", "embed")
_EMBEDDED = ("embeddings", "embed")
"""What is read as it is, and written into no prompt."""

_REWRITTEN = ("generationConfig", "generation_config")
"""What is sent as it is read here: a name that stands twice in it is sent once."""

_MEDIA_TYPES = ("media_type", "mimeType", "mime_type", "format")
_IMAGES = frozenset(f"image/{name}" for name in ("png", "jpeg", "jpg", "webp", "gif", "heic", "heif"))
_TEXT_DATA = {
    "text": r"text/plain",
    "redacted_thinking": r"",
    "reasoning.encrypted": r"unknown|[a-z]+(?:-[a-z]+)+-v\d+",
}
"""Parts and sources whose `data` is text, or a model's own words, encrypted: no fewer bytes than there are tokens. With
each, what it may say of its format: one that says more is sound or a film in disguise, to who reads over its type."""
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_URL_SAFE = str.maketrans("-_", "+/")
_FETCHED = "a URL that the provider fetches"
_KEPT = "files that the provider keeps or fetches"
_MEDIA = "inline documents, sound or films"


class Found(NamedTuple):
    """What a body holds besides text; `unbounded` and `uncertain` as in `Needs`.

    `clients`: tools that bring a prompt of their own and that the client runs. `compacts`: the answer is the input made
    shorter. `rendered`: bytes by which definitions, schemas and arguments may grow, `unrolled`: schemas besides where
    their references are written out. `endless`: where they stand of which that does not show, tools or settings.
    `tiled`: what each image costs at Google's models, where that shows. `finer`: by how much media may be more there
    than is usual.
    """

    images: int = 0
    image_bytes: int = 0
    tools: bool = False
    clients: int = 0
    compacts: bool = False
    unbounded: str = ""
    uncertain: str = ""
    rendered: int = 0
    unrolled: int = 0
    endless: frozenset[Treatment] = frozenset()
    tiled: tuple[int, ...] = ()
    finer: int = 1


_TEXT_ALONE = Found()
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
        return Found(rendered=of_prompts) if of_prompts else _TEXT_ALONE
    walk = _Walk(operation, provider)
    walk.rendered = of_prompts
    for name in limits:
        if body.get(name) is not None:
            walk.refuse_limit(name)
    for name, raw, rule in rest:
        walk.rendered += rendered(bytes(raw)) if anew else 0
        if rule is Treatment.TEXT:
            if walk.unrolls(raw):
                walk.schemas(Treatment.SETTINGS, body.get(name))
            continue
        item = body.items(name) if name == "tools" else body.get(name, rewritten=name in _REWRITTEN)
        if name == "input" and operation == "responses":
            walk.references(item)
        walk.field(BODY, name, rule, item, 0)
        if anew and provider.rewrites and rule is not Treatment.PROMPT:
            walk.rendered += escaped(bytes(raw))
        if rule is not Treatment.PROMPT and walk.unrolls(raw):
            walk.schemas(Treatment.SETTINGS if rule is Treatment.SETTINGS else Treatment.TOOLS, item)
    return walk.found()


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


def _shown(value: Any) -> str:
    """Give the beginning of a text, or of a value's JSON, for a refusal; of a list or an object only that it is one."""
    if isinstance(value, dict | list):
        return "{...}" if isinstance(value, dict) else "[...]"
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:SHOWN_MAX]


def _is_nothing(item: Any) -> bool:
    """Tell whether a value leaves its field out; an empty object does not: it asks for what the field stands for."""
    return not item and not isinstance(item, dict)


class _Walk:
    """Walks through a body and notes what is not text."""

    def __init__(self, operation: str, provider: Provider) -> None:
        self.images = self.image_bytes = self.clients = self.rendered = self.unrolled = 0
        self.tools = self.compacts = False
        self.unbounded = self.uncertain = ""
        self._endless: set[Treatment] = set()
        self._tiled: list[int] = []
        self._frames = self._closer = 1
        self._elements, self._rewrites, self._unrolls = provider.elements, provider.rewrites, provider.unrolls
        self._remembers = provider.remembers
        self._functions = operation == "messages"  # what has no type is one
        self._limits = operation not in _GEMINIS  # none of the answer's stands in the settings

    def found(self) -> Found:
        """Give what was noted."""
        media, words = (self.images, self.image_bytes), (self.unbounded, self.uncertain)
        endless, tiled, finer = frozenset(self._endless), tuple(self._tiled), self._frames * self._closer
        grown = (self.rendered, self.unrolled)
        return Found(*media, self.tools, self.clients, self.compacts, *words, *grown, endless, tiled, finer)

    def unrolls(self, raw: Any) -> bool:
        """Tell whether references may stand in a text, and are written out."""
        if not self._unrolls:
            return False
        text = bytes(raw)
        return b"ref" in text or b"Ref" in text or b"\\u" in text

    def schemas(self, place: Treatment, item: Any) -> None:
        """Take note of what schemas become where their references are written out."""
        grown = unrolled(item)
        if grown is None:
            self._endless.add(place)
        else:
            self.unrolled += grown

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
            self.uncertain = self.uncertain or name
        elif rule is Treatment.REFUSED:
            self._refuse(name)
        elif rule is Treatment.PROMPT:
            self._into(PROMPT, item, depth + 1)
        elif rule is Treatment.SETTINGS:
            self._into(SETTINGS, item, depth + 1)
        elif rule is Treatment.TOOLS or rule is Treatment.FUNCTIONS:
            if table is PROMPT and self._unrolls:
                self.schemas(Treatment.TOOLS, item)
            if table is PROMPT and self._rewrites:
                self.rendered += quoted(item)
            self._tools(item, depth + 1, bare=rule is Treatment.FUNCTIONS or self._functions)
        else:
            self._by_value(table, rule, item, depth, owner or {})

    def refuse_limit(self, name: str) -> None:
        """Take note of a limit of the answer in the words of an API that this is none of: some providers hear it."""
        self._refuse(f"{name}, which limits answers of another API")

    def _refuse(self, what: str) -> None:
        self.unbounded = self.unbounded or what

    def _unknown(self, table: Table, name: str, item: Any) -> None:
        what = f"the field {name[:SHOWN_MAX]}, which is not known"
        if table is PROMPT:
            self.uncertain = self.uncertain or (what if _asks(item) else "")
        elif is_limit(name):
            self.refuse_limit(name)
        elif isinstance(item, dict | list) or _asks(item):  # that it is there may be what asks for it
            self._refuse(what)

    def references(self, items: Any) -> None:
        """Judge items of a response's input that have no type: one without a role only names another."""
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and not item.get("type") and not item.get("role"):
                self.uncertain = self.uncertain or "items that only name another"

    def _into(self, table: Table, value: Any, depth: int) -> None:
        """Look at a value of a place and all below it."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            for item in value:
                if isinstance(item, dict | list):
                    self._into(table, item, depth + 1)
        elif isinstance(value, dict):
            kind = self._kind(table, value)
            if self._elements and table is PROMPT:
                self.rendered += called(value) + (told(value) if self._rewrites else 0)
            for name, item in value.items():
                rule = table.get(name)
                if (rule is Treatment.TEXT and table is not SETTINGS) or (name == "type" and kind is not None):
                    continue
                if table is SETTINGS and self._limits and name in SETTINGS_LIMITS and item is not None:
                    self.refuse_limit(name)
                if table is PROMPT and kind is not None and (kind, name) in EXCEPTIONS:
                    rule = EXCEPTIONS[kind, name]
                self.field(table, name, rule, item, depth, value)

    def _kind(self, table: Table, value: dict[str, Any]) -> str | None:
        """Judge an object by its kind, and give that, None if it has none."""
        kind = value.get("type")
        if kind is None:
            return None
        if table is not PROMPT:
            if table is SETTINGS and not (isinstance(kind, str) and kind in kinds.FORMATS):
                self._refuse(f"settings of the kind {_shown(kind)}")
            return ""
        if not isinstance(kind, str):
            self.uncertain = self.uncertain or f"{_shown(kind)} items"
            return ""
        rule = kinds.kind_of(kinds.ITEMS, kind)
        if rule is Treatment.REFUSED:
            self._refuse(f"{kind} items")
        elif rule is Treatment.COMPACTS:
            self.compacts = True
        elif rule is Treatment.COMPACTED:
            kept = not (value.get("encrypted_content") or value.get("content"))
            self.uncertain = self.uncertain or ("compaction items without their content" if kept else "")
        elif rule is Treatment.REASONING:
            kept = self._remembers and not value.get("encrypted_content")
            self.uncertain = self.uncertain or ("reasoning items without their content" if kept else "")
        elif rule is not Treatment.HOLDS:  # to be counted, or not known
            self.uncertain = self.uncertain or f"{kind[:SHOWN_MAX]} items"
        return kind

    def _tools(self, value: Any, depth: int, *, bare: bool) -> None:
        """Look at definitions of tools; `bare`: one without a type is a function."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            for item in value:
                self._tools(item, depth + 1, bare=bare)
        elif isinstance(value, dict):
            self.tools = True
            self.rendered += defined(value) if self._rewrites else 0
            self._tool(value, depth, bare=bare)
        elif value is not None:
            self._refuse(f"the tool {_shown(value)}")

    def _tool(self, value: dict[str, Any], depth: int, *, bare: bool) -> None:
        kind = value.get("type")
        if kind is None and value.keys() <= kinds.GEMINI_TOOLS.keys():
            for name, item in value.items():
                self.field(DEFINITION, f"the tool {name}", kinds.GEMINI_TOOLS[name], item, depth)
            return
        if isinstance(kind, str):
            self._tool_kind(kind, value)
        elif kind is not None or not bare:
            self._refuse(f"the tool {_shown(next(iter(value), '') if kind is None else kind)} without a type")
        for name, item in value.items():
            rule = DEFINITION.get(name, kinds.GEMINI_TOOLS.get(name))
            if rule is not Treatment.TEXT:
                self.field(DEFINITION, name, rule, item, depth, value)

    def _tool_kind(self, kind: str, value: dict[str, Any]) -> None:
        rule = kinds.kind_of(kinds.TOOLS, kind)
        local = rule is Treatment.SHELL and _is_local(value.get("environment"))
        if rule is Treatment.CLIENTS or local or (rule is Treatment.SEARCH and value.get("execution") == "client"):
            self.clients += 1
        elif rule is Treatment.COUNTED:
            self.uncertain = self.uncertain or f"the tool {kind}"
        elif rule is not Treatment.HOLDS:
            self._refuse(f"the tool {kind[:SHOWN_MAX]}")

    def _by_value(self, table: Table, rule: Treatment, item: Any, depth: int, owner: dict[str, Any]) -> None:
        """Judge a field of which the value says what it is."""
        if rule is Treatment.FILM:  # a moving image is priced by its frames
            self.uncertain = self.uncertain or _MEDIA
            rule = Treatment.ADDRESS
        if rule is Treatment.FRAMES or rule is Treatment.RESOLUTION:
            self._closely(rule, item)
        elif rule is Treatment.MODALITIES:
            if not _speaks_only(item):
                self._refuse("images in the answer")
        elif rule is Treatment.EDITS:
            self._edits(item)
        elif rule is Treatment.MODE:
            if item != "standard":
                self._refuse(f"the mode {_shown(item)}")
        elif isinstance(item, str):
            self._text(rule, item, owner)
        elif rule is Treatment.ADDRESS and not isinstance(item, dict):
            self._refuse(_FETCHED)
        elif isinstance(item, dict):
            self._object(table, rule, item, depth)
        elif (
            isinstance(item, list) and rule is not Treatment.CITATIONS
        ):  # in a list, what was cited, which tells of a source
            files = [entry for entry in item if isinstance(entry, dict) and entry.get("type") == "file"]
            self._into(table, files if rule is Treatment.ANNOTATIONS else item, depth + 1)

    def _closely(self, rule: Treatment, item: Any) -> None:
        """Take note of how closely media are looked at."""
        if rule is Treatment.FRAMES:
            self._frames = max(self._frames, films.frames(item))
        elif (closer := films.closeness(item)) is None:
            self._refuse("media that say how many tokens they are")
        else:
            self._closer = max(self._closer, closer)

    def _text(self, rule: Treatment, item: str, owner: dict[str, Any]) -> None:
        """Judge a text that may be an address or media."""
        if rule is Treatment.ADDRESS and item[:5].lower() == "data:":
            self._inline(item, {item[5:60].partition(",")[0].partition(";")[0]})
        elif rule is Treatment.ADDRESS:
            self._refuse(_FETCHED)
        elif rule is Treatment.INLINE:
            said = {owner[of] for of in _MEDIA_TYPES if isinstance(owner.get(of), str)}
            formats = _TEXT_DATA.get(owner["type"]) if isinstance(owner.get("type"), str) else None
            if formats is None or not all(re.fullmatch(formats, one) for one in said):
                self._inline(item, said if formats is None and "format" not in owner else set())  # it names sound
        elif rule in (Treatment.FILE, Treatment.SOUND):
            self.uncertain = self.uncertain or _MEDIA  # names and types beside it are what the client says

    def _object(self, table: Table, rule: Treatment, item: dict[str, Any], depth: int) -> None:
        """Judge an object that may refer to something, or ask for it."""
        if rule is Treatment.SOUND and item.get("id"):
            self._refuse(_KEPT)
        elif rule is Treatment.CITATIONS:
            if item.get("enabled"):
                self.uncertain = self.uncertain or "documents that are cut into pieces to be cited"
        elif rule is Treatment.ENVIRONMENT:
            if not _is_local(item):
                self._refuse("a container of the provider's")
        elif rule is not Treatment.ANNOTATIONS:
            self._into(table, item, depth + 1)

    def _edits(self, edits: Any) -> None:
        for edit in edits if isinstance(edits, list) else [edits]:
            kind = edit.get("type") if isinstance(edit, dict) else None
            if not isinstance(kind, str) or kinds.kind_of(kinds.EDITS, kind) is not Treatment.TEXT:
                self._refuse(f"the edit {_shown(kind)}")

    def _inline(self, data: str, media_types: set[str]) -> None:
        media_type = media_types.pop().lower() if len(media_types) == 1 else ""
        if media_type in _IMAGES:
            self._image(data, pictures.tokens(data) if self._unrolls else None)
        elif media_type.startswith("text/") and (grows := _unpacked(data, media_type)) is not None:
            self.rendered += grows
        else:
            self.uncertain = self.uncertain or _MEDIA
            tokens = pictures.tokens(data) if self._unrolls else None
            if tokens is not None or (self._unrolls and media_type.startswith("image/")):  # whatever it says it is
                self._image(data, tokens)

    def _image(self, data: str, tokens: int | None) -> None:
        """Take note of an image, and what it costs at Google's models if that shows."""
        self.images += 1
        self.image_bytes += len(data)
        if tokens is not None:
            self._tiled.append(tokens)


def _unpacked(data: str, media_type: str) -> int | None:
    """Give by how much text in base64, or in a data: URL, may grow when it is read; None if that does not show."""
    head, _, packed = data.partition(",") if data[:5].lower() == "data:" else (f"{media_type};base64", "", data)
    words = [word.strip() for word in head.lower().split(";")[1:]]
    if any(word.partition("=")[2].strip('"') not in _CHARSETS for word in words if word != "base64"):
        return None
    try:
        if "base64" in words:
            letters = packed.translate(_URL_SAFE).rstrip("=")
            text = b64decode(letters + "=" * (-len(letters) % 4), validate=True)
        else:
            text = unquote_to_bytes(packed)
        return max(0, normalized(text) - len(data))
    except ValueError:  # no base64, or no UTF-8
        return None


def _is_local(environment: Any) -> bool:
    """Tell whether commands run where the client is, not in a container of the provider's."""
    kind = environment.get("type") if isinstance(environment, dict) else None
    return isinstance(kind, str) and kinds.ENVIRONMENTS.get(kind) is Treatment.TEXT


def _speaks_only(modalities: Any) -> bool:
    """Tell whether an answer shall be text or sound, which the output limit bounds; images are charged by the piece."""
    words: Iterable[Any] = modalities if isinstance(modalities, list) else [modalities]
    return all(isinstance(word, str) and word.lower() in ("text", "audio", "modality_unspecified") for word in words)
