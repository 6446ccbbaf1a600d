"""What people ask of a workspace: each verb as one struct, and the struct that answers it."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec

from reconciler.core.health import Health
from reconciler.core.pass_result import Result
from reconciler.log.stamp import parse_time
from reconciler.operations.operation import Done, Operation

Name = Annotated[str, msgspec.Meta(min_length=1)]


class Running(msgspec.Struct, frozen=True):
    """Who answers: its version, the day that budgets are on, and what listeners are bound to, by the setting's name."""

    version: str
    day: str
    addresses: dict[str, str]


class Ping(Operation[Running], frozen=True, tag="ping"):
    """Say who is there."""

    reads = True


class AskHealth(Operation[Health], frozen=True, tag="health"):
    """Say how things stand."""

    reads = True


class Reconcile(Operation[Result], frozen=True, tag="reconcile"):
    """Look at the source now; with `accept_rewrite` that commit of a rewritten branch that is held comes into force.

    With "" nothing does: the answer names the commit that an order would have to name.
    """

    accept_rewrite: str | None = None


class SecretKept(msgspec.Struct, frozen=True):
    """What became of a secret: `created` or `configured`."""

    action: str


class StoreSecret(Operation[SecretKept], frozen=True, tag="secret.store"):
    """Store a secret's values by key; they travel as base64, and in this direction only."""

    name: Name
    values: dict[str, bytes]


class DeleteSecret(Operation[Done], frozen=True, tag="secret.delete"):
    """Delete a secret."""

    name: Name


class IssueKey(Operation[Done], frozen=True, tag="key.issue"):
    """Take a key that was made elsewhere, whose digest comes here and nothing else of it.

    `expires` is an RFC 3339 time or "", `networks` are in their shortest form. With `admin` it is for the admin
    listener, and `agent` names a person.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\Z")]
    agent: Name
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}\\Z")]
    expires: str
    networks: list[str]
    admin: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a time or a network that nobody could read later."""
        if self.expires:
            parse_time(self.expires)
        for network in self.networks:
            if str(ipaddress.ip_network(network)) != network:
                raise ValueError(f"{network} is not in its shortest form")


class RevokeKey(Operation[Done], frozen=True, tag="key.revoke"):
    """Take a key out of force."""

    name: Name


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint was signed; `problem` says why it could not be published, "" if it was."""

    problem: str


class SignCheckpoint(Operation[Signed], frozen=True, tag="checkpoint"):
    """Sign a checkpoint of the whole log."""


class Accepted(msgspec.Struct, frozen=True):
    """Why the log was not the one that was vouched for, "" if it was."""

    reason: str


class AcceptLog(Operation[Accepted], frozen=True, tag="log.accept"):
    """Take the log as it is, although it was rolled back."""


class Sent(msgspec.Struct, frozen=True):
    """Whether the branch was moved; not if another one was faster."""

    pushed: bool


class SendCommit(Operation[Sent], frozen=True, tag="source.push"):
    """Move a remote's branch from `expected` ("" for no branch) to a commit that was made in its mirror."""

    commit: Name
    expected: str


class Steered(msgspec.Struct, frozen=True):
    """Whether an order changed anything."""

    changed: bool


class Pinned(Steered, frozen=True):
    """The commit that is pinned now, and whether it was not before."""

    commit: str


class Pin(Operation[Pinned], frozen=True, tag="pin"):
    """Put a revision in force and keep it there; `revision` is a commit that was accepted, or its beginning."""

    revision: str
    reason: str = ""


class Passed(msgspec.Struct, frozen=True):
    """What the pass found that followed an order, or the problem that kept it from reading the source."""

    result: Result | None
    problem: str


class Unpinned(Passed, frozen=True):
    """The same, and the commit that was pinned."""

    commit: str


class Unpin(Operation[Unpinned], frozen=True, tag="unpin"):
    """Bring back what was accepted last and follow the branch again, in one step."""

    reason: str = ""


class Suspend(Operation[Steered], frozen=True, tag="suspend"):
    """Stop the reconciling."""

    reason: str = ""


class Resume(Operation[Passed], frozen=True, tag="resume"):
    """Let the reconciling go on."""

    reason: str = ""
