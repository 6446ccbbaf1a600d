"""From one file's bytes to its Facts: size, encoding, every document, inline keys.

Never raises for what the bytes say, whatever they are. Knows nothing of other files.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from reconciler.core.objects import KIND_OF_MANIFEST, Manifest, Reference
from reconciler.manifests import rules
from reconciler.manifests.facts import PROBLEMS_MAX, Entry, Facts, Named, Problem, Problems, most_severe
from reconciler.manifests.inline_keys import find, find_in_comments, holds_key, redact, redact_beginning
from reconciler.manifests.lines import Lines

if TYPE_CHECKING:
    from reconciler.manifests.tree import Document

    Objects = Callable[[Iterator[Document]], Iterator[Document]]

SIZE_MAX = 1024 * 1024
GIVEN_BYTES_MAX = 32 * 1024 * 1024
"""The most bytes of a file given to be applied. It becomes many files, each with the bound of a revision's files."""
QUOTED_MAX = 60
"""The most characters of a line that a problem quotes."""
_MASK = "…"
_LOOKED_AT = 200
"""Characters of a line, and lines, in which something to quote is looked for."""
_LINES_BEFORE = 3
_OF_NAMES = (
    rules.API_VERSION,
    rules.KIND,
    rules.UNKNOWN_FIELD,
    rules.BAD_NAME,
    rules.WRONG_VALUE,
    rules.BUDGET,
    rules.LABELS,
)
"""Rules about words that are always ASCII."""
_OF_FILE = (rules.TOO_LARGE, rules.PATH_NAME)
"""Rules about a file as a whole."""
TAG_HANDLES_MAX = 100
"""libyaml compares every `%TAG` with all before it."""
SUFFIXES = (".yaml", ".yml")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_TAG_HANDLE = re.compile(r"(?:\A|[\r\n])%TAG")
_USUAL_BYTES = bytes([9, 10, 13, *range(32, 127)])
_GUESS_KIND = re.compile(r"^kind:[ \t]*[\"']?(\w+)", re.MULTILINE)
_GUESS_METADATA = re.compile(r"^metadata:", re.MULTILINE)
_GUESS_NAME = re.compile(r"\bname:[ \t]*[\"']?([a-z0-9-]{1,63})")
_GUESS_WITHIN = 2000
_BETWEEN = (b"\n", b",", b"- ")
"""Each stands between two fields or items at least."""
PART_SIZE = 128
"""What a field or item takes beside its text where it is kept, in bytes."""
KEY_SIZE = 24
"""What `metadata.annotations.` takes where an event names a key that has changed, in bytes."""
LINE_SIZE = 12
"""What an event has of a field's line, beside the field's name, in bytes."""


def read_manifests(data: bytes, objects: Objects | None = None, most: int = SIZE_MAX) -> Facts:
    """Read every document of one file of at most so many bytes. Never raises.

    `objects` turns the documents of the file into those that are judged.
    """
    if len(data) > most:
        return _oversize(len(data), most)
    text, problem = _decode(data)
    if text.startswith("\ufeff"):
        text = text[1:]
    manifests, named, problems, secrets, repeated = _documents(text, problem, objects)
    problems += _inline_keys(text, secrets)
    if any(p.rule == rules.INLINE_KEY for p in problems):
        named += [Named(m.kind, redact(m.name), m.name_line, m.name_column, _clean(m.references)) for m in manifests]
        manifests = []
    size = size_of(data) + repeated if manifests else 0
    recorded = sum(map(_recorded, manifests))
    if not problems:
        return Facts(tuple(manifests), tuple(named), size=size, recorded=recorded)
    keys = [problem for problem in problems if problem.rule == rules.INLINE_KEY]
    quoted = _quoted(text, most_severe(problems, PROBLEMS_MAX), keys, masked=bool(secrets))
    listed = [problem.short() for problem in quoted]
    omitted = problems.omitted + len(problems) - len(listed)
    return Facts(tuple(manifests), tuple(named), tuple(listed), omitted, size, recorded)


def _quoted(text: str, problems: list[Problem], keys: list[Problem], *, masked: bool) -> list[Problem]:
    """Give problems with what stands at their place, where they do not quote it: of what has lines the first.

    An empty value is quoted by its line, the end of a file by its last one. Nothing is quoted of the `keys`, and of a
    file nothing that holds what looks like a Secret.
    """
    foreign = not text.isascii()
    if all(problem.text for problem in problems) and not foreign:
        return problems
    from reconciler.manifests.tree import LOOKS_SECRET

    masked = masked or LOOKS_SECRET.search(text) is not None
    lines = text.split("\n")
    readable = _without_keys(text, lines, keys) if keys else lines
    found: list[Problem] = []
    for problem in problems:
        if foreign and problem.severity == "error" and (cause := _cause(lines, problem)):
            problem = msgspec.structs.replace(problem, message=f"{problem.message}; {cause}")
        if not problem.text and problem.rule not in _OF_FILE:
            here = "" if masked else _words_at(readable, problem.line - 1, problem.column - 1)
            problem = msgspec.structs.replace(problem, text=redact_beginning(here, QUOTED_MAX) or _MASK)
        found.append(problem)
    return found


def _without_keys(text: str, lines: list[str], keys: list[Problem]) -> list[str]:
    """Give the lines, each up to its first key; of a key that has several lines only what stands before it is left."""
    left = list(lines)
    for key in keys:
        if len(line := left[key.line - 1]) >= key.column:
            left[key.line - 1] = line[: key.column - 1] + _MASK
    places = Lines(text)
    for index, key_text in find(text):
        first, _ = places.place(index)
        rest = key_text.count("\n")
        left[first : first + rest] = [_MASK] * rest
    return left


def _cause(lines: list[str], problem: Problem) -> str:
    """Name a character that nobody sees where a problem is, and before it where the parser stumbled."""
    from reconciler.manifests.lookalikes import called, foreign, invisible, stumbled_over

    last = min(problem.line, len(lines))
    if problem.rule == rules.SYNTAX:
        for line in range(last, max(0, last - _LINES_BEFORE), -1):
            if character := stumbled_over(lines[line - 1][:_LOOKED_AT]):
                return f"line {line} holds {called(character)}"
        return ""
    if problem.rule in _OF_NAMES and (character := foreign(problem.text)):
        return f"it holds {called(character)}"
    character = invisible(lines[last - 1][problem.column - 1 : problem.column + _LOOKED_AT])
    return f"line {last} holds {called(character)}" if character else ""


def _words_at(lines: list[str], line: int, column: int) -> str:
    """Give what stands at a place, or on its line, or on the last line before it that says something."""
    last = min(line, len(lines) - 1)
    here = lines[last][column : column + _LOOKED_AT].strip()
    for each in range(last, max(-1, last - _LOOKED_AT), -1):
        here = here or lines[each][:_LOOKED_AT].strip()
    return here


def size_of(data: bytes) -> int:
    """Tell about what the objects of a file without aliases take where they are kept, in bytes."""
    return len(data) + PART_SIZE * sum(map(data.count, _BETWEEN))


def _recorded(manifest: Manifest) -> int:
    """Tell what an event has of an object, in bytes: what it says, and the names of all that may have changed."""
    keys = len(manifest.labels) + len(manifest.annotations)
    said = (manifest.spec, manifest.labels, manifest.annotations)
    lines = sum(LINE_SIZE + len(field) for field in manifest.lines)
    return len(msgspec.json.encode(said)) + KEY_SIZE * keys + lines + _names(manifest.spec)


def _names(fields: Mapping[str, object]) -> int:
    """Tell what the names of all fields take, in bytes: one below others has the names of these before its own."""
    size = 0
    waiting: list[tuple[Mapping[str, object], int]] = [(fields, 1)]
    while waiting:
        fields, before = waiting.pop()
        for key, value in fields.items():
            name = before + len(msgspec.json.encode(key))
            size += name
            if isinstance(value, dict):
                waiting.append((value, name))
    return size


def _clean(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """Leave out references that are keys: they have a problem of their own, and are kept nowhere."""
    return tuple(reference for reference in references if not holds_key(reference.name))


def _oversize(size: int, most: int) -> Facts:
    return _only(rules.TOO_LARGE, f"the file has {size:,} bytes, more than {most:,}", "split it into several files")


def _only(rule: str, message: str, hint: str) -> Facts:
    """Give the facts of what is not read: an error."""
    return Facts(problems=(Problem(1, 1, "error", rule, message, hint),))


def _decode(data: bytes) -> tuple[str, Problem | None]:
    """Give the readable text, up to the first byte or character that cannot be in it, and the problem with that one."""
    problem: Problem | None = None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        quoted = f"0x{data[error.start]:02x}"
        said = f"byte {quoted} is no UTF-8", "save the file as UTF-8", quoted
        text, problem = _ended(data[: error.start].decode(), rules.NOT_UTF8, *said)
    if data.translate(None, _USUAL_BYTES) and (found := _CONTROL.search(text)):
        code = f"U+{ord(found.group()):04X}"
        hint = "the file may be UTF-16: save it as UTF-8" if code == "U+0000" else "remove it"
        said = f"the control character {code} is not allowed", hint, code
        text, problem = _ended(text[: found.start()], rules.CONTROL_CHARACTER, *said)
    if "%TAG" in text and (found := next(islice(_TAG_HANDLE.finditer(text), TAG_HANDLES_MAX, None), None)):
        said = f"the file has more than {TAG_HANDLES_MAX} tag handles", "remove them", "%TAG"
        text, problem = _ended(text[: found.end() - len("%TAG")], rules.TAG, *said)
    return text, problem


def _ended(text: str, rule: str, message: str, hint: str, quoted: str) -> tuple[str, Problem]:
    """Give the text, and the problem that stands at its end."""
    return text, Problem(*Lines(text).place(len(text)), "error", rule, message, hint, quoted)


_Spans = list[tuple[int, int]]


def _documents(
    text: str, problem: Problem | None, objects: Objects | None
) -> tuple[list[Manifest], list[Named], Problems, _Spans, int]:
    """Read each document; with `problem` the text was cut, so its last document is not whole.

    The spans are those of Secrets, whose text is looked at no further; the number is what aliases repeat, in bytes.
    """
    from reconciler.manifests.documents import read_document
    from reconciler.manifests.tree import documents

    manifests: list[Manifest] = []
    named: list[Named] = []
    problems = Problems([] if problem is None else [problem])
    secrets: _Spans = []
    repeated = errors = 0
    whole_until = len(text.rstrip()) if problem is not None else 0
    found = documents(text) if objects is None else objects(documents(text))
    for document in found:
        end = len(text) if document.end < 0 else document.end
        repeated += document.repeated
        if document.root is None or (problem is not None and end >= whole_until):
            if problem is None:
                problems += document.problems
                problems.omitted += document.problems.omitted
            named += _guess(text[document.start : end])
            continue
        if document.empty:
            problems += document.problems
            continue
        reading = read_document(document, brief=errors >= PROBLEMS_MAX)  # more than these are counted, not listed
        if reading.problems:
            problems += reading.problems
            problems.omitted += reading.problems.omitted
            errors += reading.problems.omitted + sum(problem.severity == "error" for problem in reading.problems)
        if reading.manifest is not None:
            manifests.append(reading.manifest)
        if reading.named is not None:
            named.append(reading.named)
        if reading.secret:
            secrets.append((document.start, end))
    return manifests, named, problems, secrets, repeated


def _guess(text: str) -> Iterator[Named]:
    """Find the names in text that is no YAML, so that references to them are no problems of their own."""
    for part in re.split(r"^---", text, flags=re.MULTILINE):
        kind, metadata = _GUESS_KIND.search(part), _GUESS_METADATA.search(part)
        if kind is None or metadata is None or kind[1] not in KIND_OF_MANIFEST:
            continue
        if name := _GUESS_NAME.search(part, metadata.end(), metadata.end() + _GUESS_WITHIN):
            yield Named(KIND_OF_MANIFEST[kind[1]], name[1])


def _inline_keys(text: str, secrets: _Spans) -> Iterator[Problem]:
    """Find keys by their look in the raw text: in values, field names, comments and what is no YAML alike."""
    found = [*find(text), *find_in_comments(text)]
    if not found:
        return
    from reconciler.manifests.documents import inline_key

    lines = Lines(text)
    starts = [start for start, _ in secrets]
    for index, key in found:
        before = bisect_right(starts, index)  # Secrets stand one after the other
        if not (before and index < secrets[before - 1][1]):
            yield inline_key(*lines.place(index), key)


def facts_of(
    entry: Entry,
    cache: MutableMapping[str, Facts],
    read: Callable[[bytes], Facts] = read_manifests,
    most: int = SIZE_MAX,
) -> Facts | None:
    """Give the Facts of what lies at one path; None if it is no manifest by its name.

    A file of more than so many bytes is not read. Uses and fills `cache` by blob id. Whatever `entry.read` raises
    passes through.
    """
    if entry.kind != "file":
        return _LINK if entry.kind == "symlink" else _SUBMODULE
    if not entry.path.endswith(SUFFIXES):
        return None
    if entry.size > most:
        facts = _oversize(entry.size, most)
    else:
        known = cache.get(entry.oid) if entry.oid else None
        facts = read(entry.read()) if known is None else known
        if entry.oid and known is None:
            cache[entry.oid] = facts
    if wrong := wrong_path(entry.path):
        hint = "rename the file"
        problem = Problem(1, 1, "error", rules.PATH_NAME, f"the path has {wrong}", hint)
        facts = msgspec.structs.replace(facts, problems=(problem, *facts.problems))
    return facts


_LINK = _only(rules.SYMLINK, "symbolic links are not followed", "commit a copy, or list it in .paiignore")
_SUBMODULE = _only(rules.SUBMODULE, "submodules are not read", "list it in .paiignore")


def wrong_path(path: str) -> str:
    """Say what a manifest's path must not have; "" if it has nothing of the kind."""
    if path.isprintable() and "\\" not in path and ".." not in path:
        return ""
    if any("\udc80" <= c <= "\udcff" for c in path):
        return "bytes that are no UTF-8"
    if "\\" in path:
        return "a backslash"
    if any(part in ("..", ".") for part in path.split("/")):
        return "a '..' segment"
    return "" if path.isprintable() else "a control character"
