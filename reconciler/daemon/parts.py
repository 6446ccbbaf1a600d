"""The parts of an open workspace: recorder, reconciler and secrets, made from its settings.

Opening takes the log's lock, so there is one `Parts` per workspace at a time. Reading commands do not need it.
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Self

from reconciler.core.events import Event
from reconciler.log.replay import event_at
from reconciler.log.sqlite import SqliteBackend, open_reader
from reconciler.reconcile import Reconciler
from reconciler.recorder import Recorder
from reconciler.secrets import Backends, SecretStore
from reconciler.workspace import Workspace


class Parts:
    """An open workspace. Use it as a context manager, or close it."""

    def __init__(self, workspace: Workspace, wait_s: float = 0.0) -> None:
        """Take the log's lock, waiting up to `wait_s` seconds. Raises LogBusy, LogDamaged, LogNotWritable."""
        self.workspace = workspace
        settings = workspace.settings
        self.secrets = SecretStore(workspace.secrets, workspace.master_key)
        self.recorder = Recorder(SqliteBackend(workspace.database, wait_s))
        self.backends = Backends(
            self.secrets,
            lambda name: self.recorder.read(lambda state: state.secrets.get(name)),
            workspace.secrets_directory,
            os.environ,
        )
        self.reconciler = Reconciler(
            self.recorder,
            self._read_event,
            workspace.local_repository(),
            settings.source_branch,
            settings.source_path,
            workspace.index_file,
        )

    def close(self) -> None:
        """Make what is pending durable, keep a snapshot and let go of the lock."""
        self.reconciler.save()
        self.recorder.close()

    def _read_event(self, position: int) -> Event:
        with contextlib.closing(open_reader(self.workspace.database)) as log:
            return event_at(log, position)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
