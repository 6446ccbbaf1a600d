"""What the simulator's parts hand to each other: a request as read, the answer as planned, the bytes that will leave.

Values only: no provider's format is known here, nothing is counted, nothing is sent.

Invariants: an Answer never has more output than its limit allows for each choice; what an Answer says is charged, and
reported unless a fault bends the report. Equal answers give equal bytes, so replies can be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, Literal, NamedTuple

import msgspec

Json = dict[str, Any]
Scope = MutableMapping[str, Any]
Provider = Literal["openai", "anthropic", "gemini", "openrouter"]
PROVIDERS: tuple[Provider, ...] = ("openai", "anthropic", "gemini", "openrouter")

Api = Literal[
    "chat",
    "responses",
    "responses_compact",
    "embeddings",
    "input_tokens",
    "messages",
    "count_tokens",
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
]
UsageTold = Literal["once", "none", "twice"]

CREATED = 1_767_225_600
"""When every reply says it was made, in seconds since 1970: the same always, so that equal requests get equal bytes."""

TEXT = "one red sun set low and the sea was not far off but our old dog ran for the hut "
"""What the model says, again and again. A word and its space are four bytes, and so one token."""


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the simulated providers behave while no fault is queued."""

    keys: Mapping[Provider, Collection[str]] | None = None
    """Accepted credentials by provider; a provider that is not named, and None, accept any."""
    reply_tokens: int = 30
    """What a choice says if nothing limits it and the prompt asks for no other length (`... 500 tokens ...`)."""
    reasoning_tokens: int = 12
    """What a model that reasons thinks before it speaks."""
    chunks: int = 20
    """Into how many pieces the text of a stream is cut; one token is the smallest piece."""
    latency_s: float = 0.0
    """Seconds before anything of an answer is sent."""
    delay_s: float = 0.0
    """Seconds between the pieces of a stream."""
    text: str = TEXT
    """What is said, repeated and cut; ASCII only."""

    def __post_init__(self) -> None:
        """Refuse settings that no answer can be made of."""
        if not (self.text and self.text.isascii()):
            raise ValueError("the text must be ASCII, and not empty")
        if min(self.reply_tokens, self.chunks) < 1 or min(self.reasoning_tokens, self.latency_s, self.delay_s) < 0:
            raise ValueError("a reply has at least one token and one chunk; nothing may be negative")


class SimulatedRequest(NamedTuple):
    """One request, its JSON read but nothing of it judged."""

    provider: Provider
    api: Api
    model: str
    """The model that the path names; empty where the body names it."""
    body: Json
    raw: bytes
    query: dict[str, str]


class SimulatedCall(msgspec.Struct, frozen=True):
    """A tool that the model calls: arguments are JSON, and ASCII; of one that takes free text, text."""

    name: str
    arguments: str
    free: bool = False

    @property
    def tokens(self) -> int:
        """What it costs to say, in tokens."""
        return -(-(len(self.name.encode()) + len(self.arguments)) // 4)


class SimulatedAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, whatever format it came in."""

    model: str
    input: int
    prompt: str
    """The last text of the user."""
    stream: bool = False
    limit: int | None = None
    """The most output tokens of one choice, thoughts included."""
    choices: int = 1
    thinks: bool = False
    call: SimulatedCall | None = None
    cacheable: bool = False
    told: bool = True
    """A stream of this request reports usage."""
    sse: bool = True


class SimulatedAnswer(SimulatedAsk, frozen=True, kw_only=True):
    """What was asked for, and what will be answered and charged. `prompt` is kept only where the reply repeats it.

    Numbers are tokens, `visible` and `reasoning` those of one choice.
    """

    provider: Provider
    api: Api
    cached: int
    written: int
    visible: int
    reasoning: int
    short: bool
    """The limit ended it."""
    chunks: int
    text: str
    usage: UsageTold

    @property
    def output(self) -> int:
        """All output tokens, thoughts and all choices included."""
        return self.choices * (self.visible + self.reasoning)

    @property
    def said(self) -> str:
        """The whole text of one choice, or the arguments of the call."""
        if self.call:
            return self.call.arguments
        return spoken(self.text, self.visible)

    @property
    def thought(self) -> str:
        """The thoughts of one choice."""
        return spoken(self.text, self.reasoning)

    @property
    def pieces(self) -> tuple[str, ...]:
        """What is said, cut as a stream says it."""
        said = self.said
        tokens = -(-len(said) // 4)
        count = min(self.chunks, tokens)
        cuts = [4 * (i * tokens // count) for i in range(count)] if count else []
        return tuple(said[start:end] for start, end in zip(cuts, [*cuts[1:], len(said)], strict=True)) if cuts else ()

    @property
    def tellings(self) -> list[int]:
        """The visible tokens that each usage tells: the last one all of them, one before it less."""
        return {"none": [], "once": [self.visible], "twice": [self.visible // 2, self.visible]}[self.usage]

    def spoken_after(self, chunks: int) -> int:
        """Give the visible tokens of one choice after so many pieces."""
        count = len(self.pieces)
        return self.visible if chunks >= count else chunks * self.visible // count


def spoken(text: str, tokens: int) -> str:
    """Give a text of exactly so many tokens."""
    return (text * (4 * tokens // len(text) + 1))[: 4 * tokens]


class Flow(NamedTuple):
    """A stream: what comes before the text, the pieces of the text, and what comes after it."""

    head: tuple[bytes, ...]
    chunks: tuple[bytes, ...]
    tail: tuple[bytes, ...]


class Declined(Exception):
    """The provider says no; `code`, `param` and `reason` appear where its error body has a place for them."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.reason = reason
