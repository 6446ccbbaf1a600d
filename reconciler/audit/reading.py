"""What may be asked of a log: the one place behind the verbs that read and the HTTP API.

The log is read as it is on the disk, without its lock and without git. What a question needs is imported when it is
asked: `pai get` is to be quick.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.audit.in_force import InForce, LogStart, Object, Wanted
from reconciler.audit.query import search, unknown
from reconciler.audit.terms import EventRow, Query
from reconciler.audit.views import SecretProblem, View, not_found
from reconciler.core.errors import NotFound
from reconciler.core.objects import Kind
from reconciler.core.state import State
from reconciler.log import pruned
from reconciler.log.replay import event_at, projected
from reconciler.log.store import Reader
from reconciler.secrets.backends import Backends, OfBindings
from reconciler.secrets.store import SecretStore
from reconciler.workspace import Workspace
from reconciler.workspace.other_secrets import others

if TYPE_CHECKING:
    from reconciler.audit.spending import Key, Spending
    from reconciler.audit.story import Story
    from reconciler.audit.tail import Tail
    from reconciler.audit.versions import History, Origins
    from reconciler.core.rehearsal import Rehearsal


class Reading:
    """Answers questions to the open log of a workspace. Everything raises LogDamaged, and what else keeps from reading.

    `close` lets go of the log, and is safe to call twice.
    """

    def __init__(self, workspace: Workspace, log: Reader, today: Callable[[], str]) -> None:
        """`today` gives the trusted day, if it is asked for."""
        self._workspace = workspace
        self._log = log
        self._today = today
        self.close = log.close

    def objects(self, wanted: Sequence[Wanted], at: str | None = None) -> InForce:
        """Give objects as they are, or were at the moment WHEN that `at` names.

        Raises NotFound for a name that is not there, Missing if it never was, and what finding the moment raises.
        """
        state, day = (projected(self._log), self._today()) if at is None else _state_then(self._log, at)
        view = View(state, self._secret_problem(state, past=at is not None), day)
        found = InForce(state.position, state.time, state.revision, state.head, state.pin, state.suspension)
        for each in wanted:
            found.of(each.kind).extend(self._found(view, each))
        return found

    def _found(self, view: View, wanted: Wanted) -> list[Object]:
        kind, name, agent = wanted
        if not name:
            return view.models_of(agent) if agent else view.objects(kind)
        try:
            return [view.object(kind, name)]
        except KeyError:
            raise self._missing(view, kind, name) from None

    def _missing(self, view: View, kind: str, name: str) -> NotFound:
        from reconciler.audit.versions import was_there

        match kind:
            case "model" | "agent" if was_there(self._log, kind, name):
                return NotFound(f"{kind} {name} is not in force", f"pai history {kind} {name} shows what it was")
            case _:
                return not_found(kind, name, view.names(kind))

    def _secret_problem(self, state: State, *, past: bool) -> SecretProblem:
        """Give what says whether a secret is there; in the past one that was stored then counts, also if it is gone."""
        workspace = self._workspace
        store = SecretStore(workspace.secrets, workspace.master_key)
        ours = Backends(store, state.secrets.get, workspace.secrets_directory, os.environ)
        backends = OfBindings(ours, others(workspace.settings))

        @functools.cache
        def problem(name: str, key: str) -> str:
            return "" if past and key in state.secrets.get(name, {}) else backends.problem(name, key)

        return problem

    def search(
        self, query: Query, limit: int | None = None, *, oldest_first: bool = False, before: int | None = None
    ) -> Iterator[EventRow]:
        """Give the events that match, below position `before` if it is given; `limit` counts matches."""
        return search(self._log, query, limit, oldest_first, before)

    def unknown(self, query: Query, *, found: int) -> list[str]:
        """Say which names of a query, that found so many, the log does not know."""
        return unknown(self._log, query, found=found)

    def versions(self, kind: Kind, name: str, bytes_max: int = 0) -> History:
        """Tell an object's versions. Raises NotFound, UsageError if they take more than `bytes_max`."""
        from reconciler.audit.versions import History, history

        found = history(self._log, kind, name, bytes_max)
        if not found:
            raise not_found(kind, name, projected(self._log).resources(kind))
        return History(kind, name, found)

    def origins(self, kind: Kind, name: str) -> Origins:
        """Tell where the fields of an object in force come from. Raises NotFound, Missing if it never was in force."""
        from reconciler.audit.versions import Origins, blame, was_there

        found = blame(self._log, kind, name)
        if found:
            return Origins(kind, name, found)
        if was_there(self._log, kind, name):
            raise NotFound(f"{kind} {name} is not in force any more", f"pai history {kind} {name} shows what it was")
        raise not_found(kind, name, projected(self._log).resources(kind))

    def story(self, request: str) -> Story:
        """Tell what was decided on a request. Raises NotFound, UsageError for ""."""
        from reconciler.audit.story import Story, story

        found = story(self._log, request)
        if not found:
            hint = "the id is in the answer's x-pai-request-id; refusals that repeat are on the log within a minute"
            raise NotFound(f"there is no request {request} on the log", hint)
        return Story(request, found)

    def spending(self, query: Query, by: Sequence[Key], groups_max: int | None = None) -> list[Spending]:
        """Add up the tokens spent in what the query finds, in groups. Raises UsageError for more than `groups_max`."""
        from reconciler.audit.spending import spending

        return spending(self._log, query, by, groups_max)

    def rehearse(self, model: str, limit: int, now: datetime) -> Rehearsal | None:
        """Replay the last days of a binding against a daily limit in tokens; None if it had no request."""
        from reconciler.audit.rehearsing import rehearsal

        return rehearsal(self._log, model, limit, now)

    def follow(self, query: Query) -> Tail:
        """Give what looks for the matching events that come, from the end as it is now; it outlives the reading."""
        from reconciler.audit.tail import Tail

        return Tail(self._workspace.log(), query, self._log.size())

    def beginning(self, query: Query | None = None) -> LogStart | None:
        """Say where the log begins if an answer may lack what was pruned. Raises NotFound if it would lack all."""
        first = self._log.first()
        if not first:
            return None
        begins = event_at(self._log, first).time
        if query is not None and query.until and query.until <= begins:
            raise pruned.dropped(self._log, first - 1, f"what was before {query.until}")
        if query is not None and query.since >= begins:
            return None
        cut = next(pruned.prunings(self._log))
        return LogStart(first, begins, cut.event.time, cut.payload.export)


def _state_then(log: Reader, when: str) -> tuple[State, str]:
    """Give the state at a moment, and the moment's day."""
    from reconciler.audit.moments import find_moment
    from reconciler.log.past import state_then

    with log.moment():
        moment = find_moment(log, when, datetime.now(UTC))
        return state_then(log, moment.position), datetime.fromisoformat(moment.time).astimezone(UTC).date().isoformat()
