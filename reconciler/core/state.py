"""Everything that is in force, derived from the log alone.

`State.apply` is the fold: it never refuses a logged fact, does no I/O and asks no clock, so replaying the same events
always gives the same state (`digest` compares two). The state owns its maps and changes them in place; whoever wants to
keep a moment takes `freeze()`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from typing import Final, Literal, assert_never

import msgspec

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ledger, Reservation
from reconciler.core.objects import AgentSpec, BindingSpec, Kind, Spec

FOLD_VERSION: Final = 6
"""To be raised whenever State, its fold or its rows change: older snapshots and projections are then made anew.

A pruned log's base cannot be: `load` has to read what every version has written.
"""

Outcome = Literal["accepted", "rejected"]


class Resource(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """A binding or an agent in force.

    `file`, `line`: where it is defined now. `revision`: the commit that last changed its content. `position`: the event
    that did. `spec` is what the event says; whoever goes by it takes `binding` or `agent`, which are read from it when
    first asked for, and are no part of snapshots or rows.
    """

    name: str
    spec: Spec
    file: str
    line: int
    revision: str
    position: int
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)

    @cached_property
    def binding(self) -> BindingSpec:
        """What the spec of a binding says. Raises ValueError for that of an agent."""
        return BindingSpec.of(self.spec)

    @cached_property
    def agent(self) -> AgentSpec:
        """What the spec of an agent says. Raises ValueError for that of a binding."""
        return AgentSpec.of(self.spec)


class Key(msgspec.Struct, frozen=True):
    """A key that is in force: its id, whose it is, until when ("" for ever) and from which networks (none: any).

    With `admin` it is a person's, for the admin listener.
    """

    name: str
    agent: str
    digest: str
    expires: str
    networks: list[str]
    position: int
    admin: bool = False

    def expired(self, now: str) -> bool:
        """Tell whether it is over at `now`, a time as events have it."""
        return bool(self.expires) and self.expires <= now


class Head(msgspec.Struct, frozen=True):
    """The last commit of the branch that was judged, and how it went.

    `path` is the folder of the repository that was judged, `position` the event that says so.
    """

    commit: str
    path: str
    outcome: Outcome
    position: int
    problems: int = 0


class Order(msgspec.Struct, frozen=True):
    """What an operator ordered: who, when and why ("" if not said), and the `commit` of a pin, else ""."""

    actor: str
    time: str
    reason: str
    commit: str = ""


class Push(msgspec.Struct, frozen=True):
    """A push that was admitted: who pushed, and the commits that the branch was to move from and to."""

    pusher: str
    old: str
    new: str


PUSHES_MAX = 16
"""The most pushes that are remembered. One is forgotten with its commit's outcome, or as the oldest of the pusher with
most: git may refuse a push that was admitted, and then there is no outcome."""


class State(msgspec.Struct):
    """The state after the first `position` events. `revision` is the commit in force, "" before the first.

    `accepted` is the position of the event that accepted the last revision, -1 for none. While another revision is
    pinned, the last accepted one is not the one in force.
    """

    position: int = 0
    time: str = ""
    origin: str = ""
    vkey: str = ""
    revision: str = ""
    head: Head | None = None
    accepted: int = -1
    pin: Order | None = None
    suspension: Order | None = None
    pushes: tuple[Push, ...] = ()
    models: dict[str, Resource] = msgspec.field(default_factory=dict)
    agents: dict[str, Resource] = msgspec.field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    keys: dict[str, Key] = msgspec.field(default_factory=dict)
    """The keys of agents by digest, as a request looks them up. No key is both here and in `admins`."""
    admins: dict[str, Key] = msgspec.field(default_factory=dict)
    """The keys for the admin listener by digest."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)

    def apply(self, event: ev.Event) -> None:  # noqa: C901 (one case an event)
        """Fold the event at position `self.position` into the state."""
        name = event.subject.partition("/")[2]
        payload = event.payload
        match payload:
            case ev.TokensReserved():
                held = Reservation(name, payload.agent, payload.day, payload.tokens, self.position, payload.node)
                self.ledger.reserve(payload.request, held)
            case ev.TokensSettled():
                self.ledger.resolve(payload.request, payload.charged)
            case ev.TokensVoided():
                self.ledger.resolve(payload.request, 0)
            case ev.TokensForfeited():
                self.ledger.resolve(payload.request, payload.tokens)
            case ev.BindingCreated() | ev.BindingChanged():
                self.models[name] = self._resource(name, payload)
            case ev.BindingDeleted():
                self.models.pop(name, None)
            case ev.AgentCreated() | ev.AgentChanged():
                self.agents[name] = self._resource(name, payload)
            case ev.AgentDeleted():
                self.agents.pop(name, None)
            case ev.RevisionAccepted():
                self._move(payload.moved)
                self.revision = payload.commit
                self.head = Head(payload.commit, payload.path, "accepted", self.position)
                self.accepted = self.position
            case ev.RevisionRejected():
                problems = len(payload.diagnostics) + payload.omitted
                self.head = Head(payload.commit, payload.path, "rejected", self.position, problems)
            case ev.PushAdmitted() | ev.PushWithdrawn():
                self._push(Push(event.actor, payload.from_, payload.to), payload)
            case ev.RevisionPinned():
                self._move(payload.moved)
                self.revision = payload.commit
                self.pin = Order(event.actor, event.time, payload.reason, payload.commit)
            case ev.RevisionUnpinned():
                self._move(payload.moved)
                self.revision, self.pin = payload.revision, None
            case ev.ReconcilingSuspended():
                self.suspension = Order(event.actor, event.time, payload.reason)
            case ev.ReconcilingResumed():
                self.suspension = None
            case ev.SecretStored():
                self.secrets[name] = {**self.secrets.get(name, {}), **payload.keys}
            case ev.SecretDeleted():
                self.secrets.pop(name, None)
            case ev.KeyIssued():
                self._issue(name, payload)
            case ev.KeyRevoked():
                self.keys.pop(payload.digest, None)
                self.admins.pop(payload.digest, None)
            case ev.LogCreated():
                self.origin, self.vkey = payload.origin, payload.vkey
            case (
                ev.RevisionSuperseded()
                | ev.HistoryRewritten()
                | ev.RequestRefused()
                | ev.LogAccepted()
                | ev.LogPruned()
                | ev.DaemonStarted()
                | ev.DaemonStopped()
            ):
                pass
            case _:
                assert_never(payload)
        if isinstance(payload, ev.Commit) and self.pushes:
            self.pushes = tuple(push for push in self.pushes if push.new != payload.commit)
        self.time = event.time
        self.position += 1

    def issued(self) -> list[Key]:
        """Give the keys of agents and of people."""
        return [*self.keys.values(), *self.admins.values()]

    def resources(self, kind: Kind) -> dict[str, Resource]:
        """Give the state's own map of one kind, by name; not to be changed by the caller."""
        return self.models if kind == "model" else self.agents

    def freeze(self) -> State:
        """Give a copy that later events do not change (the resources themselves are immutable and shared)."""
        return msgspec.structs.replace(
            self,
            models=dict(self.models),
            agents=dict(self.agents),
            secrets=dict(self.secrets),
            keys=dict(self.keys),
            admins=dict(self.admins),
            ledger=self.ledger.freeze(),
        )

    def digest(self) -> str:
        """Give the SHA-256 of the state's deterministic encoding: equal for equal states, in hex."""
        return hashlib.sha256(dump(self)).hexdigest()

    def _resource(self, name: str, data: ev.ObjectWritten) -> Resource:
        return Resource(
            name, data.spec, data.file, data.line, data.revision, self.position, data.labels, data.annotations
        )

    def _push(self, push: Push, payload: ev.PushAdmitted | ev.PushWithdrawn) -> None:
        if isinstance(payload, ev.PushAdmitted):
            pushes = [*(each for each in self.pushes if each.new != push.new), push]
            if len(pushes) > PUSHES_MAX:  # of the pusher with most, so that nobody can push out another's
                shares = Counter(each.pusher for each in pushes)
                most = max(shares.values())
                pushes.remove(next(each for each in pushes if shares[each.pusher] == most))
            self.pushes = tuple(pushes)
        else:
            self.pushes = tuple(each for each in self.pushes if each != push)

    def _issue(self, name: str, p: ev.KeyIssued) -> None:
        key = Key(name, p.agent, p.digest, p.expires, p.networks, self.position, p.admin)
        (self.admins if p.admin else self.keys)[p.digest] = key

    def _move(self, moved: list[ev.Moved]) -> None:
        for place in moved:
            resources = self.resources(place.kind)
            if place.name in resources:
                resources[place.name] = msgspec.structs.replace(resources[place.name], file=place.file, line=place.line)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(State)


def dump(state: State) -> bytes:
    """Encode a state for a snapshot; the same state always gives the same bytes."""
    return _encoder.encode(state)


def load(data: bytes) -> State:
    """Read a snapshot back. Raises ValueError for other bytes."""
    return _decoder.decode(data)


class Row(msgspec.Struct, frozen=True):
    """The part of the state that belongs to no single object, as the projection keeps it."""

    time: str
    origin: str
    vkey: str
    revision: str
    head: Head | None
    accepted: int = -1
    pin: Order | None = None
    suspension: Order | None = None
    pushes: tuple[Push, ...] = ()


RowKey = tuple[str, str]
"""What a projection row is about: ("log", ""), or the name of a "model", "agent", "secret", "key" or "account".

An account bears its binding's name, and outlives the binding. Open reservations are in no row: they come and go with
every request, and only the one who writes needs them.
"""

_row_encoder = msgspec.json.Encoder(order="deterministic")
_decode_resource = msgspec.json.Decoder(Resource).decode
_decode_key = msgspec.json.Decoder(Key).decode
_decode_account = msgspec.json.Decoder(Account).decode
_TOKENS = (ev.TokensReserved, ev.TokensSettled, ev.TokensVoided, ev.TokensForfeited)


def changes_accounts(event: ev.Event) -> bool:
    """Tell whether an event may change an account."""
    return isinstance(event.payload, _TOKENS)


def rows_touched(event: ev.Event) -> list[RowKey]:
    """Name the projection rows that an event changes; ("log", "") changes with every event and is left out."""
    kind, _, name = event.subject.partition("/")
    payload = event.payload
    if isinstance(payload, _TOKENS):
        return [("account", name)]
    if isinstance(payload, ev.RequestRefused):
        return []
    if kind in ("model", "agent", "secret", "key"):
        return [(kind, name)]
    if isinstance(payload, ev.RevisionAccepted | ev.Returned):
        return [(place.kind, place.name) for place in payload.moved]
    return []


def row(state: State, key: RowKey) -> bytes | None:
    """Give a projection row as JSON, or None if the state no longer has it."""
    return encode_row(row_value(state, key))


def row_value(state: State, key: RowKey) -> object:
    """Give what a projection row is made of, or None if the state no longer has it; later events do not change it."""
    kind, name = key
    match kind:
        case "model":
            return state.models.get(name)
        case "agent":
            return state.agents.get(name)
        case "secret":
            return state.secrets.get(name)
        case "key":
            return next((key for key in state.issued() if key.name == name), None)
        case "account":
            return state.ledger.accounts.get(name)
        case _:
            return Row(*(getattr(state, field) for field in Row.__struct_fields__))


def encode_row(value: object) -> bytes | None:
    """Give the JSON of what `row_value` gave."""
    return None if value is None else _row_encoder.encode(value)


def row_keys(state: State) -> list[RowKey]:
    """Name every row that the projection of `state` holds."""
    keys: list[RowKey] = [("log", "")]
    keys += [("model", name) for name in state.models]
    keys += [("agent", name) for name in state.agents]
    keys += [("secret", name) for name in state.secrets]
    keys += [("key", key.name) for key in state.issued()]
    keys += [("account", name) for name in state.ledger.accounts]
    return keys


def from_rows(rows: dict[RowKey, bytes], position: int) -> State:
    """Build a state from its projection rows and the number of events behind it."""
    common = msgspec.json.decode(
        rows.get(("log", ""), b'{"time":"","origin":"","vkey":"","revision":"","head":null}'), type=Row
    )
    state = State(position, **{field: getattr(common, field) for field in Row.__struct_fields__})
    accounts: dict[str, Account] = {}
    for (kind, name), body in rows.items():
        match kind:
            case "model":
                state.models[name] = _decode_resource(body)
            case "agent":
                state.agents[name] = _decode_resource(body)
            case "secret":
                state.secrets[name] = msgspec.json.decode(body, type=dict[str, str])
            case "key":
                key = _decode_key(body)
                (state.admins if key.admin else state.keys)[key.digest] = key
            case "account":
                accounts[name] = _decode_account(body)
    state.ledger = Ledger(accounts=accounts)
    return state
