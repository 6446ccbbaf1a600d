"""What commands may ask of an open workspace, with or without a daemon: the verbs of the control socket.

The same code answers in the daemon (through the socket) and in a command that opened the workspace itself, so the user
sees no difference. Arguments and answers are JSON values; secrets' values travel as base64 and only in one direction,
keys do not travel at all: whoever made one sends its digest.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec

from reconciler import __version__
from reconciler.audit import accepted_state
from reconciler.audit.views import not_found
from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic, shown
from reconciler.core.errors import NotFound, PaiError, Refused, SourceUnavailable, UsageError
from reconciler.core.health import Health
from reconciler.core.pass_result import Result
from reconciler.core.state import State, row_keys
from reconciler.log.replay import projected
from reconciler.log.stamp import parse_time
from reconciler.operations.first_token import forget_first
from reconciler.operations.judging import Names, PushedCommit, judge_small, names
from reconciler.operations.parts import Parts
from reconciler.operations.push_events import admit
from reconciler.operations.pushers import Pushes
from reconciler.operations.secret_uses import check_fit
from reconciler.operations.steering import Steering
from reconciler.source import RaceLost, is_judged
from reconciler.workspace import Address

Arguments = Mapping[str, object]
Answer = dict[str, object]


class KeyOrder(msgspec.Struct, frozen=True):
    """A key that was made elsewhere: `expires` is an RFC 3339 time or "", `networks` are in their shortest form.

    With `admin` it is for the admin listener, and `agent` names a person.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    agent: Annotated[str, msgspec.Meta(min_length=1)]
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    expires: str
    networks: list[str]
    actor: str
    admin: bool = False

    def check(self) -> None:
        """Raise ValueError for a time or a network that nobody could read later."""
        if self.expires:
            parse_time(self.expires)
        for network in self.networks:
            if str(ipaddress.ip_network(network)) != network:
                raise ValueError(f"{network} is not in its shortest form")


class Operations:
    """Answers verbs. `reconcile` does a pass that begins after the call; `health` says how things stand, `day` which
    day budgets are on.

    `reconcile` is given who accepts a rewritten branch that is held, "" for nobody.

    `addresses` are those that listeners are bound to, by the setting's name.
    """

    def __init__(
        self,
        parts: Parts,
        reconcile: Callable[[str], Result],
        health: Callable[[], Health],
        addresses: Mapping[str, Address],
        pushes: Pushes | None = None,
        day: Callable[[], str] = str,
    ) -> None:
        self._parts = parts
        self._reconcile = reconcile
        self._health = health
        self._pushes = pushes or Pushes()
        self._verbs: dict[str, Callable[[Arguments], Answer]] = {
            "ping": lambda _: {},
            "version": lambda _: {"version": __version__},
            "day": lambda _: {"day": day()},
            "addresses": lambda _: {name: str(address) for name, address in addresses.items()},
            "reconcile": self._do_reconcile,
            "health": self._do_health,
            "judge": self._do_judge,
            "push.admit": self._do_push_admit,
            "secret.store": self._do_secret_store,
            "secret.delete": self._do_secret_delete,
            "key.issue": self._do_key_issue,
            "key.revoke": self._do_key_revoke,
            "checkpoint": self._do_checkpoint,
            "log.accept": self._do_log_accept,
            "source.push": self._do_source_push,
            **Steering(parts, reconcile).verbs(),
        }

    def call(self, verb: str, arguments: Arguments) -> Answer:
        """Carry out a verb. Raises a PaiError of any kind; UsageError for an unknown verb."""
        handler = self._verbs.get(verb)
        if handler is None:
            raise UsageError(f"this daemon does not know {verb!r}", "is it older than this command? restart it")
        return handler(arguments)

    def _do_reconcile(self, arguments: Arguments) -> Answer:
        accept = _text(arguments, "actor") if arguments.get("accept_rewrite") is True else ""
        answer: Answer = msgspec.to_builtins(self._reconcile(accept))
        return answer

    def _do_health(self, _: Arguments) -> Answer:
        health: Answer = msgspec.to_builtins(self._health())
        return health

    def _do_judge(self, arguments: Arguments) -> Answer:
        """Judge a push that is under way; the commit and the folders of its objects come from the hook.

        Raises TooLarge for what the hook judges better itself.
        """
        parts = self._parts
        branch = parts.workspace.settings.source_branch
        if not is_judged(_text(arguments, "ref"), arguments.get("deleted") is True, branch):
            return _shown(())
        try:
            push = msgspec.convert({name: arguments.get(name) for name in PushedCommit.__struct_fields__}, PushedCommit)
        except msgspec.ValidationError as error:
            raise UsageError(f"judge: {error}") from error
        present, revision = self._accepted_names()
        verdict = judge_small(parts.workspace, push, present, revision, parts.reconciler.index)
        return _shown(verdict.diagnostics)

    def _do_push_admit(self, arguments: Arguments) -> Answer:
        """Record a push that comes through this daemon's HTTP: its hook names it by the number that it was given."""
        try:
            updates = msgspec.convert(arguments.get("updates"), list[tuple[str, str, str]])
        except msgspec.ValidationError as error:
            raise UsageError(f"push.admit: {error}") from error
        number = _text(arguments, "push")
        admit(self._parts.workspace, self._parts.recorder, self._pushes, number, updates)
        return {}

    def _accepted_names(self) -> tuple[Names, str]:
        """Name the objects of the last accepted revision, also while another one is pinned, and that revision."""
        found: tuple[Names, str] | None = self._parts.recorder.read(
            lambda state: None if state.pin else (names(row_keys(state)), state.revision)
        )
        if found is None:
            with contextlib.closing(self._parts.workspace.log().reader()) as log:
                state = accepted_state(log, projected(log))
            found = names(row_keys(state)), state.revision
        return found

    def _do_secret_store(self, arguments: Arguments) -> Answer:
        name = _text(arguments, "name")
        values = arguments.get("values")
        if not isinstance(values, dict):
            raise UsageError("secret.store needs values")
        try:
            decoded = {str(key): base64.b64decode(str(value), validate=True) for key, value in values.items()}
        except binascii.Error as error:
            raise UsageError("secret.store takes values in base64") from error
        # The store's prune must not take away the version that another call is about to put in force.
        with self._parts.secrets.exclusive():
            return {"action": self._store_secret(name, _text(arguments, "actor"), decoded)}

    def _store_secret(self, name: str, actor: str, values: Mapping[str, bytes]) -> str:
        store, recorder = self._parts.secrets, self._parts.recorder
        settings = self._parts.workspace.settings
        recorder.read(lambda state: check_fit(settings, state, name, values))
        known = recorder.read(lambda state: name in state.secrets)
        digests = store.put(name, values)
        draft = ev.Draft(actor, f"secret/{name}", ev.SecretStored(keys=digests))
        recorder.record(lambda _: [draft])
        store.prune(name, recorder.read(lambda state: dict(state.secrets.get(name, {}))))
        return "configured" if known else "created"

    def _do_secret_delete(self, arguments: Arguments) -> Answer:
        name, actor = _text(arguments, "name"), _text(arguments, "actor")
        store, recorder = self._parts.secrets, self._parts.recorder

        def decide(state: State) -> list[ev.Draft]:
            keys = state.secrets.get(name)
            if keys is None:
                raise NotFound(f"there is no secret {name}", "pai get secrets lists them")
            return [ev.Draft(actor, f"secret/{name}", ev.SecretDeleted(keys=sorted(keys)))]

        with store.exclusive():
            recorder.record(decide)
            store.remove(name)
        return {}

    def _do_key_issue(self, arguments: Arguments) -> Answer:
        try:
            order = msgspec.convert(arguments, KeyOrder)
            order.check()
        except ValueError as error:  # msgspec.ValidationError is one
            raise UsageError(f"key.issue: {error}") from error
        payload = ev.KeyIssued(
            agent=order.agent,
            digest=order.digest,
            expires=order.expires,
            networks=order.networks,
            admin=order.admin,
        )

        def decide(state: State) -> list[ev.Draft]:
            if not order.admin and order.agent not in state.agents:
                raise not_found("agent", order.agent, state.agents)
            if any(key.digest == order.digest or key.name == order.id for key in state.issued()):
                raise Refused(f"there is a key {order.id} already", "make another one")
            return [ev.Draft(order.actor, f"key/{order.id}", payload)]

        self._parts.recorder.record(decide)
        return {}

    def _do_key_revoke(self, arguments: Arguments) -> Answer:
        name, actor = _text(arguments, "name"), _text(arguments, "actor")

        def decide(state: State) -> list[ev.Draft]:
            key = next((key for key in state.issued() if key.name == name), None)
            if key is None:
                raise not_found("key", name, [key.name for key in state.issued()])
            return [ev.Draft(actor, f"key/{name}", ev.KeyRevoked(agent=key.agent, digest=key.digest))]

        (event,) = self._parts.recorder.record(decide).events
        if isinstance(event.payload, ev.KeyRevoked):
            forget_first(self._parts.workspace.admin_token, event.payload.digest)
        return {}

    def _do_checkpoint(self, _: Arguments) -> Answer:
        """Sign a checkpoint of the whole log; that it could not be published too is told, and no failure."""
        try:
            self._parts.attest()
        except (SourceUnavailable, RaceLost) as error:
            return {"problem": error.message}
        return {"problem": ""}

    def _do_log_accept(self, arguments: Arguments) -> Answer:
        reason = self._parts.accept(_text(arguments, "actor"))
        with contextlib.suppress(PaiError):  # readiness tells
            self._parts.attest()
            self._reconcile("")
        return {"reason": reason}

    def _do_source_push(self, arguments: Arguments) -> Answer:
        """Move a remote's branch to a commit that was made in its mirror."""
        mirror = self._parts.mirror
        if mirror is None:
            raise UsageError("source.repo is not a remote", "restart the daemon after a change of pai.toml")
        expected = arguments.get("expected")
        pushed = mirror.push(_text(arguments, "commit"), str(expected) if expected else None)
        return {"pushed": pushed}


def _shown(diagnostics: Sequence[Diagnostic]) -> Answer:
    answer: Answer = msgspec.to_builtins(shown(diagnostics))
    return answer


def _text(arguments: Arguments, field: str) -> str:
    value = arguments.get(field)
    if not isinstance(value, str) or not value:
        raise UsageError(f"the verb needs {field}")
    return value
