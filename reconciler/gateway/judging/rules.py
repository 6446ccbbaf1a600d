"""What can be said of one name or kind in a request's body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum


class Treatment(Enum):
    """How a field, a block, an item or a tool is judged."""

    TEXT = "its bytes are all there is, whatever stands below: text to the provider, or nothing that a model reads"
    HOLDS = "its own bytes are all there is, and what stands below is judged in the same place"
    COUNTED = "the provider has to count it: it may be more than its bytes, and does not change"
    REFUSED = "nothing bounds it: the provider fetches, remembers, runs or repeats something"

    # what stands below is judged in another place
    PROMPT = "what the model reads"
    SETTINGS = "how the model is to answer"
    TOOLS = "definitions of tools"
    FUNCTIONS = "definitions of functions, which need no type"

    # judged by its value
    ADDRESS = "media in a data: URL, or an address that the provider fetches"
    FILM = "the same of films and sound, whatever type it says it is of"
    INLINE = "media in base64, or text, by the type beside it"
    FRAMES = "how many pictures of a film are looked at, and from when to when"
    RESOLUTION = "how closely media are looked at"
    FILE = "a file in base64"
    SOUND = "sound, or an earlier answer's by its id"
    CITATIONS = "whether a document is to be cited"
    ANNOTATIONS = "what was cited, or a file that the provider has read before"
    MODALITIES = "what the answer shall be made of"
    EDITS = "how the provider is to shorten the input"
    MODE = "whether the model thinks several times at once"
    ENVIRONMENT = "where the commands of a tool run"
    COMPACTS = "a request to make the input shorter: what comes of it, no field limits"
    COMPACTED = "an earlier conversation, with its content or by its id"
    REASONING = "what a model thought, with its content or by its id"
    SHELL = "a tool that runs commands, at the client or in a container"
    SEARCH = "a tool that finds other tools, at the client or at the provider"
    CLIENTS = "a tool of the provider's that the client runs: it brings a prompt of its own"


def named(*groups: tuple[Treatment, str]) -> dict[str, Treatment]:
    """Make a table of names, each group's in one text; every name is known in camel case as well."""
    return {spelled: rule for rule, names in groups for name in names.split() for spelled in _spellings(name)}


def spelled(names: str) -> frozenset[str]:
    """Give the names in a text as clients may spell them."""
    return frozenset(named((Treatment.TEXT, names)))


def _spellings(name: str) -> Iterable[str]:
    yield name
    first, *more = name.split("_")
    if first and all(more) and more:  # Gemini reads both spellings; nobody means anything else by the other one
        yield first + "".join(word[:1].upper() + word[1:] for word in more)


Table = Mapping[str, Treatment]
