"""Answers the verbs of an open workspace: in the daemon, and in a command that opened the workspace itself.

The same code answers both ways, so the user sees no difference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reconciler import __version__
from reconciler.audit.views import not_found
from reconciler.core import events as ev
from reconciler.core.diagnostics import Shown, shown
from reconciler.core.errors import NotFound, PaiError, Refused, UsageError
from reconciler.core.health import Health
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.core.state import State
from reconciler.log.past import accepted_state
from reconciler.log.replay import projected
from reconciler.operations import orders as ask
from reconciler.operations.first_token import forget_first
from reconciler.operations.hook_verbs import AdmitPush, JudgePush
from reconciler.operations.judging import Names, judge_small
from reconciler.operations.operation import A, Caller, Done, Operation
from reconciler.operations.parts import Parts
from reconciler.operations.push_events import admit
from reconciler.operations.pushers import Pushes
from reconciler.operations.secret_uses import check_fit
from reconciler.operations.steering import Steering
from reconciler.source.hook import is_judged
from reconciler.verdict import in_force
from reconciler.workspace import Address

Handler = Callable[[Any, Caller], Any]


class Operations:
    """Answers verbs. `reconcile` does a pass that begins after the call; `health` says how things stand, `day` which
    day budgets are on.

    `reconcile` is given who accepts which commit of a rewritten branch that is held, None for nobody.

    `addresses` are those that listeners are bound to, by the setting's name.
    """

    def __init__(
        self,
        parts: Parts,
        reconcile: Callable[[RewriteAccepted | None], Result],
        health: Callable[[], Health],
        addresses: Mapping[str, Address],
        pushes: Pushes | None = None,
        day: Callable[[], str] = str,
    ) -> None:
        self._parts = parts
        self._reconcile = reconcile
        self._pushes = pushes or Pushes()
        bound = {name: str(address) for name, address in addresses.items()}
        self.handlers: Mapping[type[Operation[Any]], Handler] = {
            ask.Ping: lambda *_: ask.Running(__version__, day(), bound),
            ask.AskHealth: lambda *_: health(),
            ask.Reconcile: lambda order, caller: reconcile(
                None if order.accept_rewrite is None else RewriteAccepted(caller.name, order.accept_rewrite)
            ),
            JudgePush: self._judge,
            AdmitPush: self._admit,
            ask.StoreSecret: self._store_secret,
            ask.DeleteSecret: self._delete_secret,
            ask.IssueKey: self._issue_key,
            ask.RevokeKey: self._revoke_key,
            ask.SignCheckpoint: lambda *_: ask.Signed(parts.vouch()),
            ask.AcceptLog: self._accept_log,
            ask.SendCommit: self._send_commit,
            **Steering(parts, reconcile).handlers(),
        }
        self._verbs = {verb.word(): verb for verb in self.handlers}

    def call(self, verb: Operation[A], caller: Caller) -> A:
        """Carry out a verb. Raises a PaiError of any kind; UsageError for what is no text."""
        handler: Callable[[Operation[A], Caller], A] = self.handlers[type(verb)]
        try:
            return handler(verb, caller)
        except UnicodeEncodeError as error:  # a lone surrogate: bytes that were no UTF-8, or JSON that writes one
            part = error.object[max(0, error.start - 20) : error.end + 20]
            raise UsageError(f"{verb.word()}: {part!r} is no text", "write it in UTF-8") from None

    def answer(self, word: str, arguments: object, caller: Caller) -> dict[str, object]:
        """Carry out a verb that came as JSON, and answer as JSON. Raises UsageError for what cannot be read too."""
        verb = self._verbs.get(word)
        if verb is None:
            raise UsageError(f"this daemon does not know {word!r}", "is it older than this command? restart it")
        try:
            order = msgspec.convert(arguments, verb)
        except msgspec.ValidationError as error:
            raise UsageError(f"{word}: {error}", "is this command of another version? restart the daemon") from error
        answer: dict[str, object] = msgspec.to_builtins(self.call(order, caller))
        return answer

    def _judge(self, push: JudgePush, _: Caller) -> Shown:
        parts = self._parts
        if not is_judged(push.ref, push.deleted, parts.workspace.settings.source_branch):
            return shown(())
        present, revision = self._accepted_names()
        verdict = judge_small(parts.workspace, push, present, revision, parts.reconciler.index)
        return shown(verdict.diagnostics)

    def _admit(self, order: AdmitPush, _: Caller) -> Done:
        admit(self._parts.workspace, self._parts.recorder, self._pushes, order.push, order.updates)
        return Done()

    def _accepted_names(self) -> tuple[Names, str]:
        """Name the objects of the last accepted revision, also while another one is pinned, and that revision."""
        found: tuple[Names, str] | None = self._parts.recorder.read(
            lambda state: None if state.pin else (in_force(state), state.revision)
        )
        if found is None:
            with contextlib.closing(self._parts.workspace.log().reader()) as log:
                state = accepted_state(log, projected(log))
            found = in_force(state), state.revision
        return found

    def _store_secret(self, order: ask.StoreSecret, caller: Caller) -> ask.SecretKept:
        store, recorder, name = self._parts.secrets, self._parts.recorder, order.name
        settings = self._parts.workspace.settings
        # The store's prune must not take away the version that another call is about to put in force.
        with store.exclusive():
            recorder.read(lambda state: check_fit(settings, state, name, order.values))
            known = recorder.read(lambda state: name in state.secrets)
            digests = store.put(name, order.values)
            draft = ev.Draft(caller.name, f"secret/{name}", ev.SecretStored(keys=digests))
            recorder.record(lambda _: [draft])
            store.prune(name, recorder.read(lambda state: dict(state.secrets.get(name, {}))))
        return ask.SecretKept("configured" if known else "created")

    def _delete_secret(self, order: ask.DeleteSecret, caller: Caller) -> Done:
        store, name = self._parts.secrets, order.name

        def decide(state: State) -> list[ev.Draft]:
            keys = state.secrets.get(name)
            if keys is None:
                raise NotFound(f"there is no secret {name}", "pai get secrets lists them")
            return [ev.Draft(caller.name, f"secret/{name}", ev.SecretDeleted(keys=sorted(keys)))]

        with store.exclusive():
            self._parts.recorder.record(decide)
            store.remove(name)
        return Done()

    def _issue_key(self, order: ask.IssueKey, caller: Caller) -> Done:
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
            return [ev.Draft(caller.name, f"key/{order.id}", payload)]

        self._parts.recorder.record(decide)
        return Done()

    def _revoke_key(self, order: ask.RevokeKey, caller: Caller) -> Done:
        def decide(state: State) -> list[ev.Draft]:
            key = next((key for key in state.issued() if key.name == order.name), None)
            if key is None:
                raise not_found("key", order.name, [key.name for key in state.issued()])
            return [ev.Draft(caller.name, f"key/{order.name}", ev.KeyRevoked(agent=key.agent, digest=key.digest))]

        (event,) = self._parts.recorder.record(decide).events
        if isinstance(event.payload, ev.KeyRevoked):
            forget_first(self._parts.workspace.admin_token, event.payload.digest)
        return Done()

    def _accept_log(self, _: ask.AcceptLog, caller: Caller) -> ask.Accepted:
        reason = self._parts.accept(caller.name)
        with contextlib.suppress(PaiError):  # readiness tells
            self._parts.attest()
            self._reconcile(None)
        return ask.Accepted(reason)

    def _send_commit(self, order: ask.SendCommit, _: Caller) -> ask.Sent:
        mirror = self._parts.mirror
        if mirror is None:
            raise UsageError("source.repo is not a remote", "restart the daemon after a change of pai.toml")
        return ask.Sent(mirror.push(order.commit, order.expected or None))
