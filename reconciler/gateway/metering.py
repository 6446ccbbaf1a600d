"""The one table of accounting rules: what an answer says was used, and what of it a budget counts.

Each operation has a meter, which is fed an answer's JSON texts and says the usage at the end. Pure. It must not keep
or log what it reads, nor know budgets: its caller settles the usage, or what `forfeit` says when there is none.

Invariants:
- A charge is never lower than the total an answer names, nor than the parts it names.
- No usage is made up, not one of zero either: without the numbers that a charge needs there is none.
- A member that an answer names twice, at any depth, counts as the dearer of its values (`members.py`).
- Nothing that an upstream sends raises. A number of a wrong type, below zero or above TOKENS_MAX counts as absent; a
  text that speaks of usage and cannot be read takes away the trust in what was not yet the last word.

A text is searched for a few names before it is decoded, which keeps streams cheap. In JSON such a name between bare
quotes is a name or a whole string: quotes within an answer's words are escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from reconciler.core.reservations import Usage
from reconciler.gateway.members import ABSENT, TOKENS_MAX, Fields, Text, there
from reconciler.providers.provider import Provider

CANDIDATES_MAX = 64
"""Of Gemini's answer; of more, which no model gives, none is taken for the last one."""
_DIGITS_MAX = len(str(TOKENS_MAX))
_TOKENS = b'_tokens"'
_ERROR = b'"error"'
_BOM = b"\xef\xbb\xbf"  # which clients read over in front of JSON
_WORD_BYTES_MAX = 32  # of the word that ends a stream, and blanks around it


# msgspec refuses half of a pair, which a text cut between two tokens has, also in what it skips. Whole pairs are
# replaced with it: the text is not read.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Meter:
    """What all operations have in common: the usage so far, and whether the answer has said its last.

    `known_input` is the input of an answer that was cut, if it named it and reads no more on its own account.
    `seen` is the highest charge that numbers so far have added up to; no charge is made below it when one is guessed.
    `unread`: a text that speaks of usage could not be read. `said_all`: a stream has said its last word.
    """

    __slots__ = ("_broken", "_final", "_text", "_usage", "choices", "known_input", "said_all", "seen", "unread")

    MARKS: ClassVar[tuple[bytes, ...]]  # a text with none of them says nothing of interest

    def __init__(self) -> None:
        self.choices = 1
        self._text = Text()  # the one that is read
        self._usage: Usage | None = None
        self._final = False
        self._broken = False  # an error, or something unreadable, came in the middle of the answer
        self.unread = False
        self.said_all = False
        self.known_input: int | None = None
        self.seen = 0

    def feed(self, item: bytes) -> None:
        """Read one JSON text: a whole body, the data of one event, or one item of an array."""
        for mark in self.MARKS:
            if item.find(mark) >= 0:
                if not self._text.fresh:
                    self._text = Text()
                text = self._text
                said = text.object(item)
                if said is None:
                    said = text.object(_SURROGATE.sub(rb"\\ufffd", item.removeprefix(_BOM)))
                if said is None:
                    self._broken = True
                    self.unread |= any(mark != _ERROR and mark in item for mark in self.MARKS)
                else:
                    self._read(said)
                    if text.failed:
                        self.lose()
                return

    def lose(self) -> None:
        """Take note that a part of the answer was too large or too odd to be read: what it says is not known."""
        self._broken, self.unread, self._final = True, True, False

    def usage(self, complete: bool) -> Usage | None:
        """Say what was used, or None if the answer does not tell.

        `complete`: the HTTP body came to its end. Of one that was cut, only a usage that is surely the last counts.
        """
        return self._usage if self._final or (complete and not self._broken) else None

    def forfeit(self, input_tokens: int, output_tokens: int, *, input_given: bool = False) -> int:
        """Say what an answer without usage is charged, of a reservation of so much input and so much output.

        `input_given`: nothing in the request makes the provider read more than its body (a server's tool, a file, an
        address, a fallback, a compaction), so the input that an answer names at its start is all. Else all is charged.
        """
        known = self.known_input if input_given else None
        return max((input_tokens if known is None else known) + output_tokens, self.seen)

    def _read(self, said: Fields) -> None:
        raise NotImplementedError

    def _keep_highest(self, usage: Usage) -> None:
        """Take a usage that counts the answer so far; said again and lower, it does not count."""
        self.seen = max(self.seen, usage.charged)
        if self._usage is None or usage.charged >= self._usage.charged:
            self._usage = usage


class Chat(Meter):
    """Chat completions: `usage` in the body, or in a chunk near the stream's end.

    OpenAI says it in a chunk without choices, OpenRouter in one with a choice, or with an error. Gemini's thoughts are
    in the total alone. A provider may repeat it: the highest counts, and which one is the last shows at the end.
    """

    __slots__ = ()

    MARKS = (_TOKENS, _ERROR)
    SAID_ONCE: ClassVar[bool] = False

    def feed(self, item: bytes) -> None:
        """Read one JSON text, or the word that ends a stream."""
        if len(item) < _WORD_BYTES_MAX and item.strip() == b"[DONE]":
            self.said_all = True
            self._final |= not self._broken
        elif item.find(_TOKENS) >= 0 or item.find(_ERROR) >= 0:  # `in` takes much longer: it tries a number first
            super().feed(item)

    def _read(self, said: Fields) -> None:
        usage = _openai(self._text, said.get("usage", ABSENT), "prompt_tokens", "completion_tokens")
        failed = there(said.get("error", ABSENT))
        if usage is None:
            self._broken |= failed
            return
        self._keep_highest(usage)
        self._final |= self.SAID_ONCE or failed or bytes(said.get("choices", ABSENT)) in (b"", b"[]")


class ChatSaidOnce(Chat):
    """Chat at a provider that says the usage once, when all choices are finished, as recordings show."""

    __slots__ = ()

    SAID_ONCE = True


class Responses(Meter):
    """Responses: `usage` in the body, or in the event that ends the response; before that it is null."""

    __slots__ = ()

    ENDS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
    MARKS = (_TOKENS, *ENDS, _ERROR)
    UNFINISHED = (b'"queued"', b'"in_progress"')

    def _read(self, said: Fields) -> None:
        kind = bytes(said.get("type", ABSENT))
        ends = kind in self.ENDS
        self.said_all |= ends
        if there(said.get("response", ABSENT)):
            said = self._text.fields(said.get("response", ABSENT)) if ends else {}
        elif kind and not ends and kind != b'"error"':  # an event in the middle, whatever usage it names
            said = {"error": said.get("error", ABSENT)}
        usage = _openai(self._text, said.get("usage", ABSENT), "input_tokens", "output_tokens")
        if usage is not None and bytes(said.get("status", ABSENT)) not in self.UNFINISHED:
            self._keep_highest(usage)
            self._final = True
        elif bytes(said.get("type", ABSENT)) == b'"error"' or there(said.get("error", ABSENT)):
            self._broken = True


class Embeddings(Meter):
    """OpenAI's embeddings: input only, in `usage` of the body."""

    __slots__ = ()

    MARKS = (_TOKENS,)

    def _read(self, said: Fields) -> None:
        usage = _openai(self._text, said.get("usage", ABSENT), "prompt_tokens", None)
        if usage is not None:
            self._keep_highest(usage)
            self._final = True


class Messages(Meter):
    """Anthropic's messages: `usage` in the body, or in `message_start` and then, cumulative, in `message_delta`.

    A later number replaces an earlier one, of input as of output; null replaces nothing. What was read from a cache or
    written to it is not in `input_tokens`. Iterations beside the message, a compaction or an advisor, are in none of
    the numbers above them; those of the message itself, and of a fallback, are.

    A stream carries one message, so a second `message_start` begins anew, but never lowers the charge; one that names
    its stop reason is whole. The input is known from the start on, until a block begins by which the provider reads, or
    writes, on its own account.
    """

    __slots__ = ("_beside", "_counts", "_least", "_reads_more")

    SAID_FIRST: ClassVar[bool] = True
    """Whether what a stream names as its input at its start is all of it."""
    MARKS = (_TOKENS, b'"content_block_start"', b'"message_stop"', _ERROR)
    BESIDE = (b'"compaction"', b'"advisor_message"')
    PLAIN_BLOCKS = (b'"text"', b'"thinking"', b'"redacted_thinking"', b'"tool_use"')

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self._counts: dict[str, int] = {}
        self._beside: dict[str, int] = {}
        self._least = self.seen  # that a message that was begun before is charged
        self._reads_more = False
        self._final = False
        self._usage = None
        self.known_input = None

    def _read(self, said: Fields) -> None:
        kind = bytes(said.get("type", ABSENT))
        if kind == b'"message_start"':
            self._begin()
            message = self._text.fields(said.get("message", ABSENT))
            whole = there(message.get("stop_reason", ABSENT))
            self._merge(message.get("usage", ABSENT), whole=whole, last=whole)
        elif kind == b'"message_delta"':
            delta = self._text.fields(said.get("delta", ABSENT))
            self._merge(said.get("usage", ABSENT), whole=True, last=there(delta.get("stop_reason", ABSENT)))
        elif kind == b'"content_block_start"':
            if bytes(self._text.fields(said.get("content_block", ABSENT)).get("type", ABSENT)) not in self.PLAIN_BLOCKS:
                self._reads_more, self.known_input = True, None
        elif kind == b'"message_stop"':
            self.said_all = True
        elif kind == b'"error"' or there(said.get("error", ABSENT)):
            self._broken = True
        elif there(said.get("usage", ABSENT)):
            self._merge(said.get("usage", ABSENT), whole=True, last=True)

    def _merge(self, raw: msgspec.Raw, *, whole: bool, last: bool) -> None:
        """Take the numbers of one `usage`. `whole`: it counts the output so far. `last`: no other one follows."""
        fields = self._text.fields(raw)
        now = _anthropic(self._text, fields)
        self._counts |= now
        if there(fields.get("iterations", ABSENT)):
            self._beside = self._ran_beside(self._text.entries(fields["iterations"]))
        if "input" not in self._counts:
            return
        usage = self._summed()
        if usage.charged < self._least:
            usage = usage._replace(charged=self._least)
        self.seen = max(self.seen, usage.charged)
        self.known_input = usage.input if self.SAID_FIRST and usage.input and not self._reads_more else None
        if whole and "output" in now:
            self._usage, self._final = usage, last and not self._broken

    def _ran_beside(self, iterations: list[msgspec.Raw]) -> dict[str, int]:
        """Add up the numbers of those that ran beside the message; no others are taken apart."""
        beside = [entry for entry in iterations if any(kind in bytes(entry) for kind in self.BESIDE)]
        found: Counter[str] = Counter()
        for entry in map(self._text.fields, beside):
            if bytes(entry.get("type", ABSENT)) in self.BESIDE:
                found.update(_anthropic(self._text, entry))
        return dict(found)

    def _summed(self) -> Usage:
        fresh, cached, write, output, reasoning = (
            self._counts.get(name, 0) + self._beside.get(name, 0)
            for name in ("input", "cached", "cache_write", "output", "reasoning")
        )
        return _charged(fresh + cached + write, cached, write, output, reasoning, None)


class MessagesElsewhere(Messages):
    """Messages that another provider translates: bridges begin a stream with an input of 0, or with a guess."""

    __slots__ = ()

    SAID_FIRST = False


class Generate(Meter):
    """Gemini's generateContent, streamed or not: `usageMetadata` in every chunk, merged by the last of each number.

    Thoughts are not in the candidates' count, nor is what tools made the model read in the prompt's. The last chunk's
    numbers may be lower than earlier ones, or lack one. Nothing ends a stream but that its candidates are finished, all
    that were asked for: one may be long finished, and its event hold no other, while another one goes on.
    """

    __slots__ = ("_counts", "_ended")

    MARKS = (b'"usageMetadata"', _ERROR)
    COUNTS = (
        "promptTokenCount",
        "candidatesTokenCount",
        "totalTokenCount",
        "cachedContentTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
    )

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}
        self._ended: set[int] = set()

    def _read(self, said: Fields) -> None:
        self._broken |= there(said.get("error", ABSENT))
        finished = self._finished(said.get("candidates", ABSENT))
        fields = self._text.fields(said.get("usageMetadata", ABSENT))
        if not fields:
            return
        for name in self.COUNTS:
            count = _tokens(fields, name)
            if count is not None:
                self._counts[name] = count
        usage = self._settled(self._counts)
        if usage is not None:
            self.seen = max(self.seen, usage.charged)
            self._usage, self._final = usage, finished

    def _finished(self, candidates: msgspec.Raw) -> bool:
        """Tell whether those in this event are finished, and with them all."""
        if b'"finishReason"' not in bytes(candidates):
            return False
        entries = [self._text.fields(candidate) for candidate in self._text.entries(candidates)]
        ended = [entry for entry in entries if there(entry.get("finishReason", ABSENT))]
        if self.choices <= CANDIDATES_MAX:
            indexes = [_tokens(entry, "index") or 0 for entry in ended]
            self._ended.update(index for index in indexes if index < self.choices)
        return len(ended) == len(entries) and len(self._ended) >= self.choices

    def _settled(self, counts: Mapping[str, int]) -> Usage | None:
        """Add the parts up. The candidates' count is left out when it is zero; then the total has to be there."""
        prompt, total = counts.get("promptTokenCount"), counts.get("totalTokenCount")
        candidates, thoughts = counts.get("candidatesTokenCount"), counts.get("thoughtsTokenCount", 0)
        if total is None and (prompt is None or candidates is None):
            return None
        read = (prompt or 0) + counts.get("toolUsePromptTokenCount", 0)
        cached = counts.get("cachedContentTokenCount", 0)
        return _charged(read, cached, 0, (candidates or 0) + thoughts, thoughts, total)


class Embed(Generate):
    """Gemini's embedContent and batchEmbedContents: older models name no usage, newer ones the prompt alone."""

    __slots__ = ()

    def _settled(self, counts: Mapping[str, int]) -> Usage | None:
        return super()._settled({"candidatesTokenCount": 0, **counts})


class Count(Meter):
    """The endpoints that count the input of a request: they are free, and the count is what they are asked for."""

    __slots__ = ()

    MARKS = (b'"input_tokens"', b'"totalTokens"')

    def _read(self, said: Fields) -> None:
        for count in (_tokens(said, "input_tokens"), _tokens(said, "totalTokens")):
            if count is not None:
                self._usage, self._final = Usage(count, 0, 0, 0, 0, 0), True


RULES: Mapping[str, type[Meter]] = {
    "chat": Chat,
    "chat.once": ChatSaidOnce,
    "responses": Responses,
    "responses.count": Count,
    "responses.compact": Responses,
    "embeddings": Embeddings,
    "messages": Messages,
    "messages.elsewhere": MessagesElsewhere,
    "messages.count": Count,
    "generate": Generate,
    "generate.count": Count,
    "embed": Embed,
}


def meter(operation: str, provider: Provider, choices: int = 1) -> Meter:
    """Give a new meter for an answer of so many choices. Raises KeyError for an operation that has no rule."""
    found = RULES[provider.rules.get(operation, operation)]()
    found.choices = choices
    return found


def _charged(read: int, cached: int, cache_write: int, written: int, reasoning: int, total: int | None) -> Usage:
    """Charge what was read and written, or the total that is named: where numbers contradict, the higher ones count."""
    charge = max(total or 0, max(read, cached, cache_write) + max(written, reasoning))
    return Usage(read, cached, cache_write, written, reasoning, charge)


def _openai(text: Text, raw: msgspec.Raw, read: str, written: str | None) -> Usage | None:
    """Read a `usage` with a total, its two parts, and details of the parts; embeddings have no second part."""
    fields = text.fields(raw)
    total, taken = _tokens(fields, "total_tokens"), _tokens(fields, read)
    given = 0 if written is None else _tokens(fields, written)
    if total is None and (taken is None or given is None):
        return None
    of_input = text.fields(fields.get(f"{read}_details", ABSENT))
    of_output = text.fields(fields.get(f"{written}_details", ABSENT))
    cached, write = _tokens(of_input, "cached_tokens") or 0, _tokens(of_input, "cache_write_tokens") or 0
    reasoning = _tokens(of_output, "reasoning_tokens") or 0
    return _charged(taken or 0, cached, write, given or 0, reasoning, total)


def _anthropic(text: Text, fields: Fields) -> dict[str, int]:
    """Read the numbers that are there. The writes to a cache may be given whole, by their lifetimes, or both."""
    split = text.fields(fields.get("cache_creation", ABSENT))
    writes = [_tokens(split, "ephemeral_5m_input_tokens"), _tokens(split, "ephemeral_1h_input_tokens")]
    by_lifetime = None if writes == [None, None] else sum(write or 0 for write in writes)
    written = [count for count in (_tokens(fields, "cache_creation_input_tokens"), by_lifetime) if count is not None]
    counts = {
        "input": _tokens(fields, "input_tokens"),
        "cached": _tokens(fields, "cache_read_input_tokens"),
        "cache_write": max(written, default=None),
        "output": _tokens(fields, "output_tokens"),
        "reasoning": _tokens(text.fields(fields.get("output_tokens_details", ABSENT)), "thinking_tokens"),
    }
    return {name: count for name, count in counts.items() if count is not None}


def _tokens(fields: Fields, name: str) -> int | None:
    """Read a count of tokens, in digits alone: no sign, fraction or exponent, no string, no boolean."""
    digits = bytes(fields.get(name, ABSENT))
    return int(digits) if digits.isdigit() and len(digits) <= _DIGITS_MAX else None
