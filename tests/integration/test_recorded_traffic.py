"""Every recorded answer of the four providers is metered as its record says it should be charged.

The recordings lie beside the project and are read from there. Where a record cannot be met, it is named here with the
reason, and the test fails also when a named record is met after all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.reservations import Usage
from reconciler.gateway.metering import Meter, meter
from reconciler.gateway.outline import Outline
from reconciler.gateway.sse import Events, data_of
from reconciler.providers import PROVIDERS

TRAFFIC = Path(__file__).resolve().parents[2].parent / "shared" / "recorded-traffic"
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in TRAFFIC.glob("*/*.json"))

OPERATIONS = {
    "chat": "chat",
    "completions": "chat",  # the legacy API is not served, and says its usage alike
    "responses": "responses",
    "responses_compact": "responses",
    "input_tokens": "responses.count",
    "embeddings": "embeddings",
    "messages": "messages",
    "count_tokens": "messages.count",
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "generate.count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}

# Records that are not met: which of their numbers, and why.
NOT_MET: dict[str, tuple[set[str], str]] = {
    "anthropic/164": (
        {"usage"},
        "an error ends the stream before any message_delta: the one output token that message_start counts is not what "
        "was written until then, so there is no usage, and the input and all output of the reservation are charged",
    ),
    "gemini/097": (
        {"output"},
        "the last chunk lacks candidatesTokenCount: the charge is met, with the candidates of the chunk before it, and "
        "output names them as well, where the record's output is that of the last chunk",
    ),
    "gemini/002": ({"usage"}, "the record says that there is no usage, and the body has one: promptTokenCount 7"),
    "gemini/009": ({"usage"}, "the record says that there is no usage, and the body has one: totalTokenCount 11"),
    "anthropic/144": ({"charge"}, "several answers in one recorded body: the dearer one, which came first, is charged"),
    "anthropic/150": ({"charge"}, "several answers in one recorded body: the dearer one, which came first, is charged"),
}

# Records of which an earlier part says less than the whole, as if it had been the whole.
EARLIER_PART_SAYS_LESS = {
    "anthropic/135": "several answers in one recorded body",
    "anthropic/147": "several answers in one recorded body",
    "openai/175": "several answers in one recorded body",
}

# Records whose cut stream may be charged less than the whole, if the reservation was no larger than the whole.
START_SAYS_LESS = {
    "anthropic/134": "written by hand: the input grows from 43 to 61 with no block that would make the provider read",
}

# Blocks and fields that show that the request let the provider read on its own account.
READS_ON = (b'"server_tool_use"', b'"mcp_tool_use"', b'"fallback"')


def record(name: str) -> dict[str, Any]:
    """Read one record."""
    loaded: dict[str, Any] = json.loads((TRAFFIC / f"{name}.json").read_bytes())
    return loaded


def body_of(entry: dict[str, Any]) -> bytes:
    """Give the bytes of the answer."""
    text: str = entry["response"]["body"]
    return text.encode()


def meter_of(entry: dict[str, Any]) -> Meter:
    """Give the meter that the gateway would use."""
    return meter(OPERATIONS[entry["api"]], PROVIDERS[entry["provider"]])


def pieces(body: bytes, random_: random.Random) -> Iterator[bytes]:
    """Cut bytes at random: into many small pieces, into some large ones, or not at all."""
    longest = random_.choice([3, 40, 1500, len(body) + 1])
    at = 0
    while at < len(body):
        size = random_.randint(1, longest)
        yield body[at : at + size]
        at += size


def events_of(body: bytes, random_: random.Random) -> list[bytes]:
    """Give the events of a stream that arrives in random pieces; they are all of its bytes."""
    events = Events()
    found = [event for piece in pieces(body, random_) for event in events.feed(piece)]
    assert b"".join(found) + events.rest() == body
    return [*found, events.rest()]


def items_of(body: bytes, random_: random.Random) -> list[bytes]:
    """Give the outlines of the objects of a body that arrives in random pieces."""
    outline = Outline()
    return [item for piece in pieces(body, random_) for item in outline.feed(piece)]


def metered(entry: dict[str, Any], random_: random.Random) -> Usage | None:
    """Give the usage of a whole answer that arrives in random pieces."""
    it = meter_of(entry)
    body = body_of(entry)
    for item in map(data_of, events_of(body, random_)) if entry["streaming"] else [body]:
        it.feed(item)
    return it.usage(complete=True)


def differing(expected: dict[str, Any] | None, usage: Usage | None) -> set[str]:
    """Name the numbers in which a usage is not what the record expects. What ran beside the message is part of it."""
    if expected is None or usage is None:
        return set() if expected is usage else {"usage"}
    beside = expected.get("extra_iterations", {})
    said = {**usage._asdict(), "charge": usage.charged}
    numbers = {name: expected[name] for name in said if expected.get(name) is not None}
    wanted = {name: count + (beside.get(name, 0) if name != "charge" else 0) for name, count in numbers.items()}
    return {name for name, count in wanted.items() if said[name] != count}


def test_recordings_are_there() -> None:
    """Without the recordings nothing below is tested, so their absence is a failure."""
    assert len(NAMES) > 300, f"no recordings in {TRAFFIC}"
    assert {name.split("/")[0] for name in NAMES} == {"anthropic", "gemini", "openai", "openrouter"}
    assert set(NAMES) >= NOT_MET.keys() | EARLIER_PART_SAYS_LESS.keys() | START_SAYS_LESS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_record_is_metered_as_expected_in_any_pieces(name: str) -> None:
    """Charge and all numbers that the record names are met exactly, however the bytes arrive, but for the table."""
    entry = record(name)
    random_ = random.Random(name)  # noqa: S311 - repeatable, not secret
    usages = {metered(entry, random_) for _ in range(5)}
    assert len(usages) == 1
    not_met, reason = NOT_MET.get(name, (set(), "not in the table"))
    assert differing(entry["expected"], usages.pop()) == not_met, reason


@pytest.mark.parametrize("name", NAMES)
def test_body_split_as_an_array_is_metered_alike(name: str) -> None:
    """An object that stands alone is one item; a stream of events in the form of an array says the same."""
    entry = record(name)
    random_ = random.Random(name)  # noqa: S311 - repeatable, not secret
    body = body_of(entry)
    if entry["streaming"]:
        data = [data for event in events_of(body, random_) if (data := data_of(event)) not in (b"", b"[DONE]")]
        body = b"[" + b"\n,\r\n".join(data) + b"]"
    it = meter_of(entry)
    found = items_of(body, random_)
    for item in found:
        it.feed(item)
    assert len(found) == (len(data) if entry["streaming"] else 1)
    assert it.usage(complete=True) == metered(entry, random_)


@pytest.mark.parametrize("name", NAMES)
def test_cut_answer_is_never_charged_less_than_the_whole(name: str) -> None:
    """Wherever an answer breaks off, its usage or what it forfeits covers what the whole would have been charged."""
    entry = record(name)
    random_ = random.Random(name)  # noqa: S311 - repeatable, not secret
    whole = metered(entry, random_)
    if whole is None:
        return
    body = body_of(entry)
    it = meter_of(entry)
    cuts = events_of(body, random_) if entry["streaming"] else [body[: random_.randrange(len(body))], body]
    given = not any(kind in body for kind in READS_ON)
    says_less = forfeits_less = False
    for part in cuts:
        usage = it.usage(complete=False)
        says_less |= usage is not None and usage.charged < whole.charged
        forfeit = it.forfeit(whole.input, whole.charged - whole.input, input_given=given)
        forfeits_less |= usage is None and forfeit < whole.charged
        it.feed(data_of(part) if entry["streaming"] else part)
    assert says_less == (name in EARLIER_PART_SAYS_LESS)
    assert forfeits_less == (name in START_SAYS_LESS)
