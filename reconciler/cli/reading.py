"""What reading verbs share: the state from the log, without its lock and without git."""

from __future__ import annotations

import contextlib
import functools
import os
from datetime import UTC, datetime

from reconciler.core.state import State
from reconciler.log.replay import projected
from reconciler.log.sqlite import open_reader
from reconciler.secrets.backends import Backends
from reconciler.secrets.store import SecretStore
from reconciler.views import View
from reconciler.workspace import Workspace


def read_state(workspace: Workspace) -> State:
    """Read the state that is in force. Raises LogDamaged and what else opening the log raises."""
    with contextlib.closing(open_reader(workspace.database)) as log:
        return projected(log)


def read_view(workspace: Workspace) -> View:
    """Read the state as people see it."""
    state = read_state(workspace)
    store = SecretStore(workspace.secrets, workspace.master_key)
    backends = Backends(store, state.secrets.get, workspace.secrets_directory, os.environ)
    return View(state, functools.cache(backends.problem), datetime.now(UTC))
