"""What a provider is to Pai: a value, with all that is peculiar to it. Pure.

Whoever has to know what a provider does reads it here, and asks nobody for its name. How operations are called,
`gateway/calls.py` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

_OPENAIS = ("chat", "embeddings")
"""Operations of OpenAI's API that others offer as well."""
_BY_ITSELF = re.compile(r"(?:^|[^a-z])search|deep-?research|image|banana", re.IGNORECASE)
_GOOGLES = re.compile(r"google/|gemini|^openrouter/", re.IGNORECASE)


def acts(model: str) -> bool:
    """Tell whether a model searches or draws by itself, whoever serves it.

    gpt-4o-search-preview, o3-deep-research, gemini-2.5-flash-image, gemini-nano-banana-2.1.
    """
    return _BY_ITSELF.search(model) is not None


def is_googles(model: str) -> bool:
    """Tell whether a model is from Google, or may be: a router of OpenRouter's own takes any."""
    return _GOOGLES.search(model) is not None


Places = frozenset[tuple[str, ...]]


def places(*texts: str) -> Places:
    """Make places of texts, as `Provider.images` says."""
    return frozenset(tuple(text.split()) for text in texts)


CHAT_IMAGES = places("messages[] <user>.content[] image_url.image_url .url")
MESSAGES_IMAGES = places("messages[] <user>.content[] image.source base64.data")
RESPONSES_IMAGES = places("input[] <user>.content[] input_image.image_url")
"""Where everybody reads an image who has this operation; what the words mean, `Provider.images` says."""


class Provider(NamedTuple):
    """An upstream: where its operations are, which models it has, and what it does with a body.

    `name` is for manifests, settings and the log, `title` for messages; `origin` is the base URL unless settings say
    another. `paths`: operation to path, with `{model}`, `{method}` and `{version}`; `version` stands where a client
    names none. `key_header`: what holds the key, but where it speaks OpenAI's API, "" if it speaks no other.

    `hidden`: tokens that any prompt may grow by beyond its bytes, `hidden_tools` with tools. `image`: the most that one
    inline image of a model costs, `images`: for each operation, where in a body it reads one as that. A place is the
    names from the top of the body down, `[]` behind one that holds a list, and before each name what the object is that
    has it: its type, or a message's `<role>`, nothing if it says neither. Elsewhere an image may be read as the letters
    that it is written with. `output_field`: how chat's output limit is called.

    `models`: what a manifest names without a warning; of those that are `named_by_vendor` (vendor/model) any may be
    there. `default_model`: what `pai add model` takes, "" if one has to be named. `caps`: tokens that one answer of a
    model has at most (the models table of litellm 1.110, November 2026; older ones by the provider's own pages).

    `counts`: operations whose input it counts for free, by which operation; `count_headers`: what it wants with that,
    unless the client says it. `rules`: operations whose usage is told in a way of its own, and which rule of
    `gateway/metering.py` reads it.

    `acts`: whether a model searches, draws or asks others by itself. `thinking`: objects of a body, and their fields,
    that say how many tokens a model may think, `thinking_least`: to which a lower one is raised, `efforts`: whether for
    a model an effort becomes such a number. `unlimited`: those of whom it asks that do not keep an answer's limit,
    `wishes`: what a body may wish of whom it asks. `warms`: with an output limit of 0 it reads the input alone.
    `rerouting`: fields by which it would go to other models than the binding's. `reads_numbers`: it reads of an array
    of tokens as many as there are numbers; others may read the text of them anew. `remembers`: it keeps what a model
    thought, to be named by its id.

    `elements`: templates of its models write calls as elements; `rewrites`: some write definitions so, or whatever is
    JSON in signs of ASCII that are safe in HTML. `unrolls`: it has models of Google's, which write the references of
    schemas out and cut images into tiles; `has_googles`: whether a model is one.
    """

    name: str
    title: str
    origin: str
    paths: Mapping[str, str]
    hidden: int
    hidden_tools: int
    image: Callable[[str], int]
    images: Mapping[str, Places]
    key_header: str = ""
    output_field: str = "max_tokens"
    version: str = "v1"
    models: tuple[str, ...] = ()
    default_model: str = ""
    caps: Mapping[str, int] = {}
    named_by_vendor: bool = False
    counts: Mapping[str, str] = {}
    count_headers: Mapping[str, str] = {}
    rules: Mapping[str, str] = {}
    acts: Callable[[str], bool] = acts
    thinking: tuple[tuple[str, str], ...] = ()
    thinking_least: int = 0
    efforts: Callable[[str], bool] = lambda _: False
    unlimited: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    warms: bool = False
    rerouting: tuple[str, ...] = ()
    reads_numbers: bool = False
    remembers: bool = True
    elements: bool = False
    rewrites: bool = False
    unrolls: bool = False
    has_googles: Callable[[str], bool] = is_googles

    def credentials(self, key: str, operation: str) -> dict[str, str]:
        """Give the header that holds a key."""
        bearer = not self.key_header or operation in _OPENAIS
        return {"authorization": f"Bearer {key}"} if bearer else {self.key_header: key}
