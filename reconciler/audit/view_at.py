"""The state as people see it, now or as it was: read from the log, without its lock and without git.

What reading commands and the HTTP API share.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import UTC, datetime

from reconciler.audit.moments import find_moment
from reconciler.audit.views import View
from reconciler.core.state import State
from reconciler.log.past import state_then
from reconciler.log.replay import projected
from reconciler.log.store import Reader
from reconciler.secrets.backends import Backends, OfBindings
from reconciler.secrets.store import SecretStore
from reconciler.workspace import Workspace
from reconciler.workspace.other_secrets import others


def view_of(workspace: Workspace, log: Reader, today: Callable[[], str], at: str | None = None) -> View:
    """Read the state of a log as a view, of the trusted day `today`, or at the moment WHEN that `at` names.

    Raises LogDamaged, and what finding the moment raises.
    """
    state, day = (projected(log), today()) if at is None else _state_then(log, at)
    store = SecretStore(workspace.secrets, workspace.master_key)
    backends = OfBindings(
        Backends(store, state.secrets.get, workspace.secrets_directory, os.environ), others(workspace.settings)
    )

    def problem(name: str, key: str) -> str:
        """Say of the past only what the log knows: a value that was stored then counts, also if it is gone now."""
        return "" if at is not None and key in state.secrets.get(name, {}) else backends.problem(name, key)

    return View(state, functools.cache(problem), day)


def _state_then(log: Reader, when: str) -> tuple[State, str]:
    with log.moment():
        moment = find_moment(log, when, datetime.now(UTC))
        return state_then(log, moment.position), datetime.fromisoformat(moment.time).astimezone(UTC).date().isoformat()
