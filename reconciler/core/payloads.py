"""What events say, as frozen values: one class for each type of event (SPEC section 6.1).

Types are explicit strings with a version. A field that was added later has a default, which is not written, so that
stored bytes are read as they were.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from reconciler.core.diagnostics import Diagnostic
from reconciler.core.objects import Kind, Spec


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The `data` of an event. `free` names the fields that hold mappings with whatever keys and values a user wrote."""

    type: ClassVar[str] = ""
    free: ClassVar[tuple[str, ...]] = ()


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What kind of signature a commit carries. `verified` is what Pai itself proved, never what git claims.

    If it is true, `signer` is the person whose key it is by the operator's list, and `key` the key's fingerprint.
    """

    format: str
    verified: bool
    signer: str = ""
    key: str = ""


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An author or committer as git claims it; `time` is RFC 3339 with the offset the person had."""

    name: str
    email: str
    time: str


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a revision holds (bindings, agents) and what it changed."""

    bindings: int
    agents: int
    created: int
    changed: int
    deleted: int
    moved: int


class Moved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object whose content stayed while its place in the repository changed."""

    kind: Kind
    name: str
    file: str
    line: int


class Commit(Payload, frozen=True, kw_only=True):
    """What git says about the commit that a revision event is about.

    `pusher` is no claim of git: it is the owner of the token that the push came with, "" where that is not known.
    """

    commit: str
    parents: list[str]
    author: Person
    committer: Person
    message: str
    signature: Signature | None
    pusher: str = ""


class RevisionAccepted(Commit, frozen=True, kw_only=True):
    """The commit is in force; its object events stand before it in the same transaction.

    `path` is the folder of the repository that was judged.
    """

    type: ClassVar[str] = "revision.accepted.v1"
    counts: Counts
    path: str = "."
    moved: list[Moved] = msgspec.field(default_factory=list)
    warnings: list[Diagnostic] = msgspec.field(default_factory=list)


class RevisionRejected(Commit, frozen=True, kw_only=True):
    """The commit is refused whole; `omitted` diagnostics beyond those listed were found."""

    type: ClassVar[str] = "revision.rejected.v1"
    diagnostics: list[Diagnostic]
    path: str = "."
    omitted: int = 0


class RevisionSuperseded(Commit, frozen=True, kw_only=True):
    """The commit was never judged: `by` came with it and was."""

    type: ClassVar[str] = "revision.superseded.v1"
    by: str


class HistoryRewritten(Payload, frozen=True, kw_only=True):
    """The branch was moved to a commit that does not descend from the last one looked at.

    `hold` is "held" if the last state stays in force until an operator lets the new tip in, "accepted" if that is what
    happened (then the actor is the operator), and "" where force-pushes are accepted anyway.
    """

    type: ClassVar[str] = "history.rewritten.v1"
    from_: str = msgspec.field(name="from")
    to: str
    hold: str = ""


class Returned(Payload, frozen=True, kw_only=True):
    """A state of before is in force again; the object events that bring it back stand before it in one transaction.

    `position` is the event that accepted the revision now in force, `reason` what the operator gave, "" for nothing.
    """

    commit: str
    position: int
    reason: str
    counts: Counts
    moved: list[Moved] = msgspec.field(default_factory=list)


class Pushed(Payload, frozen=True, kw_only=True):
    """What the events about a push say. The actor is the owner of its token, `key` the token's name ("": the first)."""

    from_: str = msgspec.field(name="from")
    to: str
    key: str


class PushAdmitted(Pushed, frozen=True, kw_only=True):
    """The push passed the verdict, and git moves the branch next."""

    type: ClassVar[str] = "push.admitted.v1"


class PushWithdrawn(Pushed, frozen=True, kw_only=True):
    """The push was admitted, and git has ended without moving the branch."""

    type: ClassVar[str] = "push.withdrawn.v1"


class RevisionPinned(Returned, frozen=True, kw_only=True):
    """An operator put `commit`, accepted before, in force; what the branch gets waits until it is unpinned."""

    type: ClassVar[str] = "revision.pinned.v1"


class RevisionUnpinned(Returned, frozen=True, kw_only=True):
    """`commit` is no longer pinned: `revision`, the last accepted one, is in force again."""

    type: ClassVar[str] = "revision.unpinned.v1"
    revision: str


class ReconcilingSuspended(Payload, frozen=True, kw_only=True):
    """An operator stopped the reconciling; what is in force stays."""

    type: ClassVar[str] = "reconciling.suspended.v1"
    reason: str


class ReconcilingResumed(Payload, frozen=True, kw_only=True):
    """The reconciling goes on."""

    type: ClassVar[str] = "reconciling.resumed.v1"
    reason: str


class ObjectWritten(Payload, frozen=True, kw_only=True):
    """The object as it is from now on; `changed` are dotted fields, `previous` the spec before.

    `line` is where its document begins, `lines` where the fields of `spec` stand that were written or changed.
    """

    free: ClassVar[tuple[str, ...]] = ("spec", "previous", "labels", "annotations", "lines")
    spec: Spec
    file: str
    line: int
    revision: str
    previous: Spec | None
    changed: list[str]
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    lines: dict[str, int] = msgspec.field(default_factory=dict)


class ObjectDeleted(Payload, frozen=True, kw_only=True):
    """The object is gone; `previous` is its last spec, `file` and `line` its last place.

    `spec` is null and `changed` empty: whoever reads object events finds the same fields in all three of them.
    """

    free: ClassVar[tuple[str, ...]] = ("previous",)
    spec: None
    previous: Spec
    changed: list[str]
    file: str
    line: int
    revision: str


class BindingCreated(ObjectWritten, frozen=True, kw_only=True):
    """A ModelBinding came into force."""

    type: ClassVar[str] = "binding.created.v1"


class BindingChanged(ObjectWritten, frozen=True, kw_only=True):
    """A ModelBinding's spec, labels or annotations changed."""

    type: ClassVar[str] = "binding.changed.v1"


class BindingDeleted(ObjectDeleted, frozen=True, kw_only=True):
    """A ModelBinding is no longer in force."""

    type: ClassVar[str] = "binding.deleted.v1"


class AgentCreated(ObjectWritten, frozen=True, kw_only=True):
    """An AgentWorkload came into force."""

    type: ClassVar[str] = "agent.created.v1"


class AgentChanged(ObjectWritten, frozen=True, kw_only=True):
    """An AgentWorkload's spec, labels or annotations changed."""

    type: ClassVar[str] = "agent.changed.v1"


class AgentDeleted(ObjectDeleted, frozen=True, kw_only=True):
    """An AgentWorkload is no longer in force."""

    type: ClassVar[str] = "agent.deleted.v1"


class SecretStored(Payload, frozen=True, kw_only=True):
    """The given keys of a secret have new values; `keys` maps each to the digest of its value."""

    type: ClassVar[str] = "secret.stored.v1"
    keys: dict[str, str]


class SecretDeleted(Payload, frozen=True, kw_only=True):
    """The secret is gone."""

    type: ClassVar[str] = "secret.deleted.v1"
    keys: list[str]


class KeyIssued(Payload, frozen=True, kw_only=True):
    """A key was made for `agent`; only its SHA-256 is kept, in hex.

    `expires` is an RFC 3339 time or "", `networks` the only ones it may come from, if any. With `admin` it is for the
    admin listener alone, and `agent` names a person.
    """

    type: ClassVar[str] = "key.issued.v1"
    agent: str
    digest: str
    expires: str
    networks: list[str]
    admin: bool = False


class KeyRevoked(Payload, frozen=True, kw_only=True):
    """The key is no longer taken."""

    type: ClassVar[str] = "key.revoked.v1"
    agent: str
    digest: str


class Durations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False):
    """Milliseconds from the request's arrival: to the answer's first byte (0 if there was none), to its end."""

    first_byte_ms: int
    total_ms: int


class TokensReserved(Payload, frozen=True, kw_only=True):
    """`tokens` are held for a request, durably before any of it left.

    `input` is the upper bound of its input, `output` its output limit, all choices together. `binding` is the position
    of the event that gave the binding the spec that this was decided on, `day` the UTC day that it counts to. `node`
    serves the request; it is left out where the log has one node alone.
    """

    type: ClassVar[str] = "tokens.reserved.v1"
    request: str
    agent: str
    key: str
    surface: str
    day: str
    tokens: int
    input: int
    output: int
    binding: int
    node: str = ""


class Resolved(Payload, frozen=True, kw_only=True, rename="camel"):
    """What became of a reservation: `status` is the provider's HTTP status, 0 if none came."""

    request: str
    agent: str
    day: str
    status: int
    durations: Durations
    reason: str


class TokensSettled(Resolved, frozen=True, kw_only=True, rename="camel"):
    """The provider said what it used; `charged` is what the budget counts.

    `input` includes `cached` and `cache_write`, `output` includes `reasoning`. `reason` is "" where the provider's
    usage was whole, else why more is charged than it says, or than was reserved.
    """

    type: ClassVar[str] = "tokens.settled.v1"
    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    charged: int


class TokensVoided(Resolved, frozen=True, kw_only=True, rename="camel"):
    """The provider certainly charged nothing: `tokens` are free again."""

    type: ClassVar[str] = "tokens.voided.v1"
    tokens: int


class TokensForfeited(Resolved, frozen=True, kw_only=True, rename="camel"):
    """Nobody knows what the provider charged: all `tokens` of the reservation count as used."""

    type: ClassVar[str] = "tokens.forfeited.v1"
    tokens: int


class RequestRefused(Payload, frozen=True, kw_only=True):
    """Requests that were not forwarded: `count` of the same agent, binding and reason within a minute.

    `request` is the first of them, `others` up to 100 further ones. `needed` and `remaining` are tokens, of the last.
    """

    type: ClassVar[str] = "request.refused.v1"
    request: str
    agent: str
    surface: str
    reason: str
    needed: int
    remaining: int
    count: int
    others: list[str] = msgspec.field(default_factory=list)


class LogCreated(Payload, frozen=True, kw_only=True):
    """Position 0 of every log: its origin and the key its checkpoints are signed with (C2SP note notation)."""

    type: ClassVar[str] = "log.created.v1"
    origin: str
    vkey: str


class LogAccepted(Payload, frozen=True, kw_only=True):
    """An operator took the log as it is, of `size` events, although published checkpoints contradict it.

    `root` is the log's root at that moment (base64), `reason` the contradiction. Two things are not compared
    with the log any more: the checkpoints in git up to `commit`, and the workspace's checkpoint file whose SHA-256 is
    `copy`. Each is "" if there was none.
    """

    type: ClassVar[str] = "log.accepted.v1"
    size: int
    root: str
    reason: str
    commit: str
    copy: str


class LogPruned(Payload, frozen=True, kw_only=True):
    """The events `begin` to `first` - 1 were exported and dropped; the log begins at `first`, a multiple of 256.

    `root` is the root of the first `first` events (base64), `checkpoint` the signed note that vouches for it, and
    `export` the folder that has them. `state` is the SHA-256 of the state there. `kept` events from before are
    still on the log, and `digest` is their digest. `previous` is the position of the event about the last cut, if any.
    """

    type: ClassVar[str] = "log.pruned.v1"
    first: int
    begin: int
    root: str
    checkpoint: str
    export: str
    state: str
    kept: int
    digest: str
    previous: int | None


class DaemonStarted(Payload, frozen=True, kw_only=True):
    """A daemon took the log; `settings` are those in force, without secrets."""

    type: ClassVar[str] = "daemon.started.v1"
    version: str
    settings: dict[str, str]


class DaemonStopped(Payload, frozen=True, kw_only=True):
    """A daemon let go of the log in order."""

    type: ClassVar[str] = "daemon.stopped.v1"
    reason: str


AnyPayload = (
    RevisionAccepted
    | RevisionRejected
    | RevisionSuperseded
    | HistoryRewritten
    | PushAdmitted
    | PushWithdrawn
    | RevisionPinned
    | RevisionUnpinned
    | ReconcilingSuspended
    | ReconcilingResumed
    | BindingCreated
    | BindingChanged
    | BindingDeleted
    | AgentCreated
    | AgentChanged
    | AgentDeleted
    | SecretStored
    | SecretDeleted
    | KeyIssued
    | KeyRevoked
    | TokensReserved
    | TokensSettled
    | TokensVoided
    | TokensForfeited
    | RequestRefused
    | LogCreated
    | LogAccepted
    | LogPruned
    | DaemonStarted
    | DaemonStopped
)

PAYLOADS: dict[str, type[Payload]] = {cls.type: cls for cls in AnyPayload.__args__}
