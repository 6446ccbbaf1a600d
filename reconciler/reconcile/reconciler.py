"""Git becomes state: one level-based pass from the branch's tip to events on the log.

A pass looks at the tip, whatever happened in between, judges every first-parent commit that has no outcome yet and
hands the recorder all their events as one command, so that a push comes into force as a whole. Only if very many
commits are passed over, which changes nothing that is in force, is that recorded before and in parts; a program that is
killed then leaves some that are recorded again. A tip that is refused is judged once more by every program that starts,
which may know more than the one that refused it; that is recorded only if something else comes of it. What cannot be
read raises SourceUnavailable and changes nothing: the last accepted state stays. While an operator has a revision
pinned or the reconciling suspended, a pass looks and records nothing; the commits get their outcomes afterwards.

One reconciler works on a log at a time (the recorder's lock file sees to that); its passes are one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import CouldNotRun, SourceUnavailable
from reconciler.core.pass_result import Result, RewriteAccepted
from reconciler.core.plan import plan
from reconciler.core.state import Head, Order, State
from reconciler.core.steering import standing_orders
from reconciler.reconcile.commit_fields import actor
from reconciler.reconcile.one_pass import Known, Pass, StateMoved, fold
from reconciler.recorder import Prepared, Recorder
from reconciler.source.git import Repository
from reconciler.source.signatures import Signatures
from reconciler.verdict import Judge, TreeIndex, load_index, save_index

PASS_WAIT_S = 60.0
"""How long a pass waits for the one before it."""


class Reconciler:
    """Brings the log up to the tip of one branch of one repository."""

    def __init__(
        self,
        recorder: Recorder,
        read_event: Callable[[int], ev.Event],
        repository: Path,
        branch: str,
        path: str,
        index_file: Path,
        signatures: Signatures | None,
        rewritten: Callable[[str], str] | None = None,
    ) -> None:
        """`read_event` gives a stored event by position; `path` is the source path, `index_file` a kept index.

        With `rewritten` a force-push is held: it gives the tip that was held last in place of a commit, "" if none was.
        """
        self._recorder = recorder
        self._read_event = read_event
        self._path = repository
        self._branch = branch
        self._source_path = path
        self._index_file = index_file
        self._judge: Judge | None = None
        self._saved: TreeIndex | None = None
        self._known: Known | None = None
        self._passing = threading.Lock()
        self._signatures = signatures
        self._rewritten = rewritten
        self._held = ("", "")  # the commit whose place was taken, and the tip that was recorded as held
        self._seen = ("", "")  # the tip that this program has judged itself, and whose signatures it took

    def run(
        self,
        accept_rewrite: RewriteAccepted | None = None,
        first: Callable[[State], Sequence[ev.Draft]] | None = None,
    ) -> Result:
        """Do one pass and return when its events are durable. Raises SourceUnavailable or LogNotWritable.

        `accept_rewrite` is the order of an operator who lets a held tip come into force: the one that was looked at,
        and no other that took its place meanwhile. What `first` decides comes before the pass in the same transaction,
        and is recorded also if the source cannot be read.
        """
        if not self._passing.acquire(timeout=PASS_WAIT_S):
            raise CouldNotRun("another reconciling pass is still running", "see pai status")
        try:
            while True:
                try:
                    return self._pass(accept_rewrite, first)
                except StateMoved:
                    pass
        except SourceUnavailable:
            self._judge = None  # open the repository anew next time
            if first is not None:
                self._recorder.record(first)
            raise
        finally:
            self._passing.release()

    def warm(self) -> None:
        """Read the tree that is in force, so that the next push costs only its own files."""
        with self._passing:
            judge = self._opened()
            state = self._recorder.read(State.freeze)
            if state.head is not None and self._known is None:
                objects = judge.commit(state.head.commit).objects
                if state.revision == state.head.commit and not any(plan(state, objects, "", "")[:2]):
                    self._known = Known(state.revision, objects)
            self.save()

    @property
    def index(self) -> TreeIndex | None:
        """What was read of the tree last; a value that does not change, for others to judge by."""
        judge = self._judge
        return judge.index if judge else None

    def save(self) -> None:
        """Keep what was read for the hook and for the next start."""
        index = self._judge.index if self._judge else None
        if index is not None and index is not self._saved:
            save_index(self._index_file, index)
            self._saved = index

    def _opened(self) -> Judge:
        if self._judge is not None and self._judge.repository.replaced:
            self._judge = None
        if self._judge is None:
            index = load_index(self._index_file)
            self._judge = Judge(Repository.open(self._path), self._source_path, index, self._signatures, serves=True)
            self._saved = self._judge.index
        return self._judge

    def _pass(
        self, accept_rewrite: RewriteAccepted | None, first: Callable[[State], Sequence[ev.Draft]] | None
    ) -> Result:
        judge = self._opened()
        repository = judge.repository
        tip = repository.tip(self._branch)
        state = self._recorder.read(State.freeze)
        before = _decided_on(state)
        if tip is None:
            return self._without_tip(repository, state)
        lead = [] if first is None else list(first(state))
        for draft in lead:
            fold(state, draft)
        if orders := standing_orders(state):
            self._record(lead, before)
            judged = state.head.outcome if state.head is not None and state.head.commit == tip else None
            return Result(tip, judged, state.revision, waits="; ".join(orders))
        recorded: Result | None = None
        if state.head is not None and (state.head.commit, state.head.path) == (tip, self._source_path):
            recorded = Result(tip, state.head.outcome, state.revision, self._recorded(state.head))
            if state.head.outcome == "accepted" or self._seen == self._judging(tip):
                self._record(lead, before)
                return recorded
        walk = repository.walk(tip, state.head.commit if state.head else None)
        if walk.relation == "rewritten" and self._rewritten is not None:
            assert state.head is not None
            meant = accept_rewrite.commit if accept_rewrite else ""
            if meant != tip:
                self._record(lead, before)
                self._hold(repository, state.head.commit, tip)
                return Result(tip, None, state.revision, held=state.head.commit, meant=meant)
        accepted_by = accept_rewrite.by if accept_rewrite else ""
        this = Pass(judge, walk, state, tip, self._branch, self._source_path, self._known, accepted_by)
        drafts, result = this.events()
        for part in this.passed_over():
            self._record(part, before)
        if recorded is not None and _says_the_same(drafts, recorded):
            self._seen = self._judging(tip)
            self._record(lead, before)
            return recorded
        self._record([*lead, *drafts], before)
        self._known, self._seen = this.known, self._judging(tip)
        return result

    def _record(self, drafts: Sequence[ev.Draft], before: _DecidedOn) -> None:
        prepared = Prepared(drafts)

        def decide(live: State) -> Prepared:
            if _decided_on(live) != before:  # an operator pinned or suspended meanwhile
                raise StateMoved
            return prepared

        if drafts:
            self._recorder.record(decide)

    def _judging(self, tip: str) -> tuple[str, str]:
        return tip, self._signatures.version() if self._signatures else ""

    def _hold(self, repository: Repository, commit: str, tip: str) -> None:
        """Record that a rewritten branch is held, once however it goes on from there; everything else stays."""
        assert self._rewritten is not None
        if self._held[0] != commit:
            self._held = (commit, self._rewritten(commit))
        known = self._held[1]
        if not known or repository.walk(tip, known).relation not in ("same", "forward", "merged"):
            payload = ev.HistoryRewritten(from_=commit, to=tip, hold="held")
            draft = ev.Draft(actor(repository.commit(tip)), f"branch/{self._branch}", payload)
            self._recorder.record(lambda _: [draft])
            self._held = (commit, tip)

    def _recorded(self, head: Head) -> tuple[Diagnostic, ...]:
        """Read back why the head was refused (or what it was warned of) from the event that says so."""
        payload = self._read_event(head.position).payload
        if isinstance(payload, ev.RevisionRejected):
            return tuple(payload.diagnostics)
        return tuple(payload.warnings) if isinstance(payload, ev.RevisionAccepted) else ()

    def _without_tip(self, repository: Repository, state: State) -> Result:
        missing = repository.missing(self._branch)
        if missing is None and state.head is None:
            return Result("", None, "")
        raise missing or SourceUnavailable(
            f"branch {self._branch} does not exist in {self._path}",
            f"it has no commit any more; push {self._branch} again, or set source.repo",
        )


_DecidedOn = tuple[Head | None, Order | None, Order | None]


def _decided_on(state: State) -> _DecidedOn:
    return state.head, state.pin, state.suspension


def _says_the_same(drafts: Sequence[ev.Draft], recorded: Result) -> bool:
    """Tell whether the events of a pass that judged a refused tip once more only refuse it for the same reasons."""
    payloads = [draft.payload for draft in drafts]
    return [tuple(p.diagnostics) for p in payloads if isinstance(p, ev.RevisionRejected)] == [recorded.diagnostics]
