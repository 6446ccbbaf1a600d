"""What happened, as frozen values, and the exact bytes each is stored as (SPEC section 6.1).

An event is an envelope (actor, subject, time, id, type) around a payload. Types are explicit strings with a version; an
unknown type or field fails loudly, so that an old program never half-understands a new log. Positions are given by the
recorder and are no part of the bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple, cast

import msgspec

from reconciler.core.canonical import canonical, is_plain
from reconciler.core.payloads import *  # noqa: F403 - whoever deals with events finds their payloads here
from reconciler.core.payloads import PAYLOADS, AnyPayload, Payload


class Draft(NamedTuple):
    """An event before the recorder gave it a time, an id and a position."""

    actor: str
    subject: str
    payload: AnyPayload


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False, eq=False):
    """One fact. Fields stand in the order of their stored bytes; `time` is UTC with microseconds.

    `decode` gives instances of a subclass for each type of payload; they equal any event with the same fields.
    """

    actor: str
    payload: AnyPayload = msgspec.field(name="data")
    id: str
    subject: str
    time: str

    @property
    def type(self) -> str:
        """The payload's type tag, such as `binding.changed.v1`."""
        return self.payload.type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # msgspec has one of its own

    def __hash__(self) -> int:
        return hash(self.id)


def _stored(payload: type[Payload]) -> type[Event]:
    """Make the class of events whose bytes have this payload, and its type as their last field."""
    fields = [("payload", payload, msgspec.field(name="data"))]
    made = msgspec.defstruct(f"{payload.__name__}Event", fields, bases=(Event,), tag=payload.type)  # all else as Event
    return cast("type[Event]", made)


_EVENTS = {payload: _stored(payload) for payload in PAYLOADS.values()}


class _Tagged(msgspec.Struct):
    type: str


_sorted_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(reduce(or_, _EVENTS.values()))
_tag_decoder = msgspec.json.Decoder(_Tagged)


def encode(event: Event) -> bytes:
    """Give the canonical JSON bytes (RFC 8785) that the log stores and hashes.

    Raises ValueError if the payload has no canonical form (see `canonical`).
    """
    payload = event.payload
    stored = _EVENTS[type(payload)]
    if type(event) is not stored:
        event = stored(event.actor, payload, event.id, event.subject, event.time)
    for field in payload.free:
        if not is_plain(getattr(payload, field)):
            return canonical(msgspec.to_builtins(event))
    return _sorted_encoder.encode(event)


def are_canonical(bodies: Sequence[bytes], events: Sequence[Event]) -> bool:
    """Tell whether bodies are the bytes that `encode` gives for the events read from them, quickly.

    It also gives False if a payload has a mapping that msgspec alone does not write as RFC 8785 wants it.
    """
    if len(bodies) != len(events) or _sorted_encoder.encode_lines(events) != b"\n".join([*bodies, b""]):
        return False
    payloads = [event.payload for event in events]
    return all(is_plain(getattr(payload, field)) for payload in payloads for field in payload.free)


def decode(body: bytes) -> Event:
    """Read stored bytes back. Raises ValueError for unknown types, unknown or missing fields and broken JSON."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        if (tag := _tag_decoder.decode(body).type) not in PAYLOADS:
            raise ValueError(f"event type {tag} is unknown to this version of Pai") from None
        raise


def decode_all(bodies: Sequence[bytes]) -> list[Event]:
    """Read many events back, a third of the work of reading each by itself. Raises ValueError as `decode`."""
    lines = b"\n".join(bodies)
    if lines.count(b"\n") == len(bodies) - 1:  # else a body has line breaks of its own
        with contextlib.suppress(ValueError):
            events = _decoder.decode_lines(lines)
            if len(events) == len(bodies):
                return events
    return [decode(body) for body in bodies]
