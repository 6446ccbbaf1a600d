"""What forges say in a webhook, and how they prove that they said it: pure functions of headers, body and secret.

Each forge is a value: how a delivery is signed, what kind of event it is, and which refs it is about. A proof is
compared in constant time. Of a payload only names of refs are read; nothing in it is ever fetched or kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

T = TypeVar("T")

SKEW_S: Final = 300.0
"""How far a delivery's own time may be from ours, where it has one."""

Headers = Mapping[str, str]
"""By lower-case name."""
Proof = Literal["", "unsigned", "timestamp", "signature"]
"""What is wrong with a delivery's proof, "" for nothing."""
Event = Literal["push", "ping", "other"]


class Malformed(ValueError):
    """A payload that its forge would not send."""


class Sender(NamedTuple):
    """One kind of sender.

    `prove` gets headers, body, secret and the time now. `event` reads the kind of event off the headers. `refs` names
    the refs that a push is about, all of them full; None if it does not say. `delivery` is the header with its id.
    """

    prove: Callable[[Headers, bytes, bytes, float], Proof]
    event: Callable[[Headers], Event]
    refs: Callable[[bytes], list[str] | None]
    delivery: str


def _hexed(*names: str, prefix: str = "", stamp: str = "") -> Callable[[Headers, bytes, bytes, float], Proof]:
    """Take the HMAC-SHA256 of the body in hex, in the first of the headers that is there.

    With `stamp`, a header that holds the delivery's time, it is that of the time, a dot and the body.
    """

    def prove(headers: Headers, body: bytes, secret: bytes, now: float) -> Proof:
        given = next((headers[name] for name in names if name in headers), None)
        if given is None or (stamp and stamp not in headers):
            return "unsigned"
        if stamp:
            if not _fresh(headers[stamp], now):
                return "timestamp"
            body = headers[stamp].encode() + b"." + body
        wanted = prefix + hmac.new(secret, body, hashlib.sha256).hexdigest()
        return _same(given.encode("utf-8", "replace"), wanted.encode())

    return prove


def _same(given: bytes, wanted: bytes) -> Proof:
    """Compare in constant time, whatever the lengths."""
    digests = (hashlib.sha256(value).digest() for value in (given, wanted))
    return "" if hmac.compare_digest(*digests) else "signature"


def _fresh(text: str, now: float) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12 and abs(int(text) - now) <= SKEW_S


def _prove_gitlab(headers: Headers, body: bytes, secret: bytes, now: float) -> Proof:
    """Take the signature of newer versions (that of Standard Webhooks), or the secret token itself."""
    if "webhook-signature" in headers:
        proof = _prove_standard(headers, body, secret, now)
        if not proof or "x-gitlab-token" not in headers:
            return proof
    if "x-gitlab-token" not in headers:
        return "unsigned"
    return _same(headers["x-gitlab-token"].encode("utf-8", "replace"), secret)


def _prove_standard(headers: Headers, body: bytes, secret: bytes, now: float) -> Proof:
    stamp = headers.get("webhook-timestamp", "")
    if not _fresh(stamp, now):
        return "timestamp"
    key = secret
    if secret.startswith(b"whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
        except binascii.Error:
            return "signature"
    signed = b"%b.%b.%b" % (headers.get("webhook-id", "").encode("utf-8", "replace"), stamp.encode(), body)
    wanted = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    proofs = [_same(each.encode("utf-8", "replace"), wanted) for each in headers["webhook-signature"].split(" ")[:8]]
    return "" if "" in proofs else "signature"


def _named(header: str, push: tuple[str, ...], ping: tuple[str, ...] = ()) -> Callable[[Headers], Event]:
    def event(headers: Headers) -> Event:
        name = headers.get(header, "")
        return "push" if name in push else "ping" if name in ping else "other"

    return event


def _gitea_event(headers: Headers) -> Event:
    name = headers.get("x-forgejo-event") or headers.get("x-gitea-event")
    return "push" if name == "push" else "other"


OBJECTS_MAX = 20_000
"""In a payload: a push of 2,048 commits, which is the most that GitHub lists, has less than half as many."""


UNQUOTED_BYTES: Final = 16 * 1024
"""Of a form at once, about a millisecond if all of it is escaped."""
_FIELD: Final = b"payload="


class _Push(msgspec.Struct):
    """GitHub's, GitLab's and Gitea's push, and a system hook of GitLab, whose `event_name` says what it is."""

    ref: str = ""
    event_name: str = "push"


class _Named(msgspec.Struct):
    type: str = ""
    name: str = ""
    id: str = ""


class _Change(msgspec.Struct):
    """A change of Bitbucket Cloud (`new`, `old`) or Data Center (`ref`)."""

    new: _Named | None = None
    old: _Named | None = None
    ref: _Named | None = None


class _Changes(msgspec.Struct):
    changes: list[_Change] = []


class _Bitbucket(msgspec.Struct):
    push: _Changes | None = None
    changes: list[_Change] = []


_push_decoder = msgspec.json.Decoder(_Push)
_bitbucket_decoder = msgspec.json.Decoder(_Bitbucket)


def _refs(body: bytes) -> list[str] | None:
    """Read the one ref of a push, whose payload is JSON, or JSON in the field `payload` of a form."""
    if body.startswith(_FIELD):
        body = b"".join(_unquoted(body.removeprefix(_FIELD).partition(b"&")[0].replace(b"+", b" ")))
    push = _decoded(_push_decoder, body)
    return [push.ref] if push.event_name == "push" else []


def _unquoted(value: bytes) -> Iterator[bytes]:
    """Take the escapes out of a value in pieces: each is one call, during which no other thread runs."""
    at = 0
    while at < len(value):
        end = at + UNQUOTED_BYTES
        end = cut if len(value) > end > (cut := value.rfind(b"%", end - 2, end)) >= 0 else end
        yield unquote_to_bytes(value[at:end])
        at = end


def _bitbucket_refs(body: bytes) -> list[str] | None:
    payload = _decoded(_bitbucket_decoder, body)
    found = []
    for change in (*payload.changes, *(payload.push.changes if payload.push else ())):
        found += [change.ref.id] if change.ref else []
        found += [f"refs/heads/{side.name}" for side in (change.new, change.old) if side and side.type == "branch"]
    return found


def _generic_refs(body: bytes) -> list[str] | None:
    if not body.strip():
        return None
    ref = _decoded(_push_decoder, body).ref
    return [ref] if ref else None


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    if body.count(b"{") > OBJECTS_MAX:  # they would be made in one go, which keeps everybody waiting
        raise Malformed("the payload holds too many objects")
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("the payload cannot be read") from error


FORGES: Final[Mapping[str, Sender]] = {
    "github": Sender(
        _hexed("x-hub-signature-256", prefix="sha256="),
        _named("x-github-event", ("push",), ("ping",)),
        _refs,
        "x-github-delivery",
    ),
    "gitlab": Sender(
        _prove_gitlab,
        _named("x-gitlab-event", ("Push Hook", "System Hook")),
        _refs,
        "x-gitlab-event-uuid",
    ),
    "gitea": Sender(
        _hexed("x-forgejo-signature", "x-gitea-signature"),
        _gitea_event,
        _refs,
        "x-gitea-delivery",
    ),
    "bitbucket": Sender(
        _hexed("x-hub-signature", prefix="sha256="),
        _named("x-event-key", ("repo:push", "repo:refs_changed"), ("diagnostics:ping",)),
        _bitbucket_refs,
        "x-request-uuid",
    ),
    "generic": Sender(
        _hexed("x-pai-signature", prefix="sha256=", stamp="x-pai-timestamp"),
        lambda _: "push",
        _generic_refs,
        "x-pai-delivery",
    ),
}
