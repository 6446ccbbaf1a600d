"""Which objects a command is about, in kubectl's grammar: TYPE, TYPE NAME ..., TYPE/NAME ..., TYPE,TYPE and all.

What `-o name` prints is taken by every verb, and a kind by its short and its full name.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, NamedTuple

from reconciler.core.errors import UsageError
from reconciler.core.objects import MANIFEST_OF_KIND, Kind
from reconciler.core.text import nearest

MODEL, AGENT, SECRET, KEY = KINDS = ("model", "agent", "secret", "key")
OBJECTS: Final = (MODEL, AGENT)
"""The kinds that manifests define."""
_NAMES: Final = {
    MODEL: ("model", "models", "modelbinding", "modelbindings", "mb"),
    AGENT: ("agent", "agents", "agentworkload", "agentworkloads", "aw"),
    SECRET: ("secret", "secrets"),
    KEY: ("key", "keys"),
}
KIND_OF: Final = {word: kind for kind, words in _NAMES.items() for word in words} | {
    f"{word}.pai.io": kind for kind in OBJECTS for word in _NAMES[kind] if len(word) > len("models") + 1
}
"""The kind that each word of a command line means."""
ALL: Final = "all"


class Target(NamedTuple):
    """An object, or with the name "" every object of a kind."""

    kind: str
    name: str


def targets_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the words that `targets_of`, `objects_of` and `object_of` read."""
    parser.add_argument("words", nargs="*", metavar="TYPE[/NAME] [NAME ...]", help=what)


def targets_of(words: Sequence[str], verb: str, kinds: Sequence[str] = KINDS) -> list[Target]:
    """Read what a command is about, each object once, in order. Raises UsageError for what is no TYPE or NAME."""
    if not words:
        raise UsageError(f"pai {verb} needs a TYPE: {_listed(kinds)}", f"pai {verb} --help says more")
    if any(not word.strip() for word in words):
        raise UsageError("a name is empty", "is a variable of the shell empty?")
    if any("/" in word for word in words):
        return list(dict.fromkeys(_named(word, verb, kinds) for word in words))
    first, *names = words
    found = [_kind(word, verb, kinds) for word in first.split(",")] if first != ALL else list(kinds)
    if not names:
        return [Target(kind, "") for kind in dict.fromkeys(found)]
    if len(found) > 1:
        raise UsageError(f"names of several kinds at once: {first}", "write TYPE/NAME for each")
    return list(dict.fromkeys(Target(found[0], name) for name in names))


def objects_of(words: Sequence[str], verb: str, kinds: Sequence[str] = KINDS) -> list[Target]:
    """Read the objects that a command is about, each by its name. Raises UsageError."""
    found = targets_of(words, verb, kinds)
    for target in found:
        if not target.name:
            example = f"pai {verb} {target.kind} NAME"
            raise UsageError(f"pai {verb} {words[0]} needs a NAME", f"{example}; pai get {target.kind}s lists them")
    return found


def object_of(words: Sequence[str], verb: str) -> tuple[Kind, str]:
    """Read the one model or agent that a command is about. Raises UsageError."""
    found = objects_of(words, verb, OBJECTS)
    if len(found) > 1:
        raise UsageError(f"pai {verb} is about one object, and {len(found)} are named", "name them one after the other")
    return manifest_kind(found[0].kind), found[0].name


def manifest_kind(kind: str) -> Kind:
    """Give a kind that manifests define, as the rest of the program names it."""
    assert kind in OBJECTS
    return "model" if kind == MODEL else "agent"


def resource_name(kind: str, name: str) -> str:
    """Give an object's name as kubectl writes it: what `-o name` prints."""
    return f"{MANIFEST_OF_KIND[manifest_kind(kind)].lower()}.pai.io/{name}" if kind in OBJECTS else f"{kind}/{name}"


def name_of(word: str, kind: str) -> str:
    """Give the name of an object of a kind that a command expects: NAME or TYPE/NAME. Raises UsageError."""
    before, slash, name = word.rpartition("/")
    if not name.strip():
        raise UsageError(f"the name of the {kind} is empty", "is a variable of the shell empty?")
    if slash and KIND_OF.get(before.lower()) != kind:
        raise UsageError(f"{word} names no {kind}", f"write {name} or {kind}/{name}")
    return name


def _named(word: str, verb: str, kinds: Sequence[str]) -> Target:
    before, slash, name = word.partition("/")
    if not slash:
        raise UsageError(f"{word!r} stands beside names of the form TYPE/NAME", "write TYPE/NAME for each, or for none")
    if not name or "/" in name:
        raise UsageError(f"{word!r} is not TYPE/NAME", f"such as {kinds[0]}/NAME")
    return Target(_kind(before, verb, kinds), name)


def _kind(word: str, verb: str, kinds: Sequence[str]) -> str:
    kind = KIND_OF.get(word.lower())
    if kind is None:
        near = nearest(word.lower(), [each for kind in kinds for each in _NAMES[kind]])
        known = f"TYPE is one of {_listed(kinds)}: pai {verb} TYPE NAME"
        raise UsageError(f"there is no TYPE {word!r}", f"did you mean {near}?" if near else known)
    if kind not in kinds:
        raise UsageError(f"pai {verb} knows no {kind}s", f"TYPE is one of {_listed(kinds)}")
    return kind


def _listed(kinds: Sequence[str]) -> str:
    words = [f"{kind}s" for kind in kinds]
    return f"{', '.join(words[:-1])} or {words[-1]}"
