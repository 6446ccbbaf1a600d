"""The parts of an open workspace: recorder, notary, reconciler and secrets, made from its settings.

Opening takes the log's lock, so there is one `Parts` per workspace at a time. Reading commands do not need it. A log
that is not the one that was vouched for is held: it can be read, and records nothing until an operator accepts it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from types import TracebackType
from typing import Final, Self

from reconciler.core.errors import LogNotWritable, PaiError, SourceUnavailable
from reconciler.core.events import Draft, Event, HistoryRewritten, decode
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.core.reservations import forfeit_open
from reconciler.evidence.checkpoints import Notary
from reconciler.evidence.guard import acceptance
from reconciler.log.replay import event_at
from reconciler.operations.first_token import issue_first
from reconciler.operations.judging import signatures_of
from reconciler.operations.remote_settings import mirror_of
from reconciler.reconcile.reconciler import Reconciler
from reconciler.recorder import Recorder
from reconciler.secrets.backends import Backends
from reconciler.secrets.store import SecretStore
from reconciler.source.git import RaceLost
from reconciler.workspace import Workspace, hide_from_git, require_owner

log = logging.getLogger("pai.daemon")

SCATTERED: Final = (
    "{0} alone does not hold the newest events, since a program still reads an older moment of it: end that "
    "program and run pai reconcile, or copy {0}-wal together with it"
)


class Parts:
    """An open workspace. Use it as a context manager, or close it."""

    def __init__(self, workspace: Workspace, wait_s: float = 0.0) -> None:
        """Take the log's lock, waiting up to `wait_s` seconds.

        Raises LogBusy, LogDamaged, LogNotWritable, Refused if the workspace is another user's.
        """
        require_owner(workspace.root)
        with contextlib.suppress(OSError):  # a full disk, which the log tells of
            hide_from_git(workspace.data)
        self.workspace = workspace
        self.first_token = ""  # its digest, if a daemon found the log held: then the file is believed
        settings = workspace.settings
        self._reached = False  # whether this program itself has just spoken to the remote
        self.secrets = SecretStore(workspace.secrets, workspace.master_key)
        backend = workspace.log().writer(wait_s)
        self.recorder = Recorder(backend)
        if backend.mended:
            log.warning("%s was put right: %s", workspace.log(), "; ".join(backend.mended))
        self.backends = Backends(
            self.secrets,
            lambda name: self.recorder.read(lambda state: state.secrets.get(name)),
            workspace.secrets_directory,
            os.environ,
        )
        try:
            origin, vkey = self.recorder.read(lambda state: (state.origin, state.vkey))
            self.mirror = mirror_of(workspace, self.backends, origin, self._compare)
            self.notary = Notary(workspace, vkey, self.mirror.is_lost if self.mirror else None)
            self._compare()
        except BaseException:
            self.recorder.close()
            raise
        self.reconciler = Reconciler(
            self.recorder,
            self._read_event,
            workspace.local_repository(),
            settings.source_branch,
            settings.source_path,
            workspace.index_file,
            signatures_of(workspace),
            self._held if settings.source_rewrite == "hold" else None,
        )

    @property
    def believed(self) -> str:
        """The digest of the first token while it is believed without the log, "" for none: as long as that is held.

        Under the recorder's lock: what ends the hold issues the token, and nothing takes it back before.
        """
        return self.first_token if self.recorder.status().held else ""

    @property
    def warning(self) -> str:
        """Say what of the published checkpoints is not this log's, or is not known, "" if all is well."""
        barred = self.mirror.problem if self.mirror is not None else ""
        return "; ".join(filter(None, [self.notary.warning, barred]))

    def look(self, accept_rewrite: RewriteAccepted | None = None) -> Result:
        """Fetch a remote source, and do one pass; see `Reconciler.run`."""
        if self.mirror is not None:
            self.mirror.fetch()
            self._reached = True
        return self.reconciler.run(accept_rewrite)

    def send_checkpoints(self) -> None:
        """Bring what was published in the mirror to a remote that Pai may push to. Raises SourceUnavailable."""
        if self.mirror is not None and self.mirror.remote.push:
            self.mirror.push_checkpoints()

    def _compare(self) -> None:
        """Compare the log with what was vouched for, and hold it if that is contradicted."""
        if reason := self.notary.begin().rollback:
            self.recorder.hold(reason)

    def attest(self) -> None:
        """Sign a checkpoint of the whole log and publish it. Raises LogNotWritable for a held log, and as `Notary`."""
        status = self.recorder.status()
        if not status.writable:
            raise LogNotWritable(status.reason, "pai status says more")
        if reason := self.notary.attest():
            self.recorder.hold(reason)
            raise LogNotWritable(reason, "an operator decides: pai verify, then pai verify --accept")

    def vouch(self) -> str:
        """Sign as `attest` does; give why the checkpoint could not be published, "" if it was."""
        try:
            self.attest()
        except (SourceUnavailable, RaceLost) as error:
            return error.message
        return ""

    def accept(self, actor: str) -> str:
        """Accept the log as it is although it is not what was vouched for; give what was found, "" if nothing was.

        What was reserved on it is forfeited: nobody knows what became of those requests. The first token that was
        believed without the log is issued on it, and goes by it from then on.
        """
        finding = self.notary.begin()
        if finding.rollback or self.recorder.status().held:  # an acceptance whose answer was lost is on the log
            payloads = acceptance(self.workspace, finding) if finding.rollback else []
            self.recorder.resume(
                lambda state: [
                    *(Draft(actor, f"log/{state.origin}", payload) for payload in payloads),
                    *forfeit_open(state, "the log was accepted"),
                    *(issue_first(state, self.first_token) if self.first_token else ()),
                ]
            )
            self.first_token = ""
            self.notary.begin()
            self.notary.sign()
        return finding.rollback

    def close(self) -> None:
        """Make what is pending durable, vouch for it, keep a snapshot and let go of the lock."""
        self.reconciler.save()
        with contextlib.suppress(PaiError):  # told by readiness while a daemon runs; the next one tries again
            self.attest()
            if self._reached:
                self.send_checkpoints()
        self.recorder.close()
        if self.recorder.gathered is False:
            log.warning("%s", SCATTERED.format(self.workspace.log()))

    def _held(self, commit: str) -> str:
        """Give the tip that was held last in place of `commit`, "" if none was."""
        with contextlib.closing(self.workspace.log().reader()) as log:
            for stored in log.read_back(contains=[b'"type":"history.rewritten.v1"', commit.encode()]):
                payload = decode(stored.body).payload
                if isinstance(payload, HistoryRewritten) and payload.from_ == commit and payload.hold == "held":
                    return payload.to
        return ""

    def _read_event(self, position: int) -> Event:
        with contextlib.closing(self.workspace.log().reader()) as log:
            return event_at(log, position)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
