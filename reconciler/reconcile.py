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
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple, TypedDict

import msgspec

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic, foremost
from reconciler.core.errors import CouldNotRun, SourceUnavailable
from reconciler.core.objects import Desired, Kind
from reconciler.core.pass_result import Result
from reconciler.core.plan import plan
from reconciler.core.state import Head, Order, Push, State
from reconciler.core.steering import standing_orders
from reconciler.core.text import cut
from reconciler.manifests.inline_keys import redact_beginning
from reconciler.manifests.judging import Verdict, unreadable
from reconciler.recorder import Prepared, Recorder
from reconciler.source.commits import CommitInfo
from reconciler.source.git import Repository, Walk
from reconciler.source.signatures import Signatures
from reconciler.verdict import Judge, TreeIndex, load_index, save_index

DIAGNOSTICS_MAX = 1000
"""Diagnostics an event lists; the rest is counted in `omitted`."""
JUDGED_MAX = 500
"""Commits of one pass judged one by one, the newest; older ones are superseded."""
READ_MAX = 50_000
"""Files read for the commits before the tip, beyond which the others of them are superseded."""
READ_SIZE_MAX = 128 * 1024 * 1024
"""What those files hold, likewise, as `Judge.size_read` counts it: some seconds of work."""
RECORDED_MAX = 10_000
"""Events and diagnostics of the commits before the tip, likewise: a few kilobytes may change all objects many times."""
RECORDED_BYTES_MAX = 8 * 1024 * 1024
"""Of those events, likewise: one event has all that an object says, before and after."""
TOGETHER_MAX = 200
"""Commits passed over that are recorded together; whoever else records waits for a part only."""
MESSAGE_CHARACTERS_MAX = 16_384
MESSAGE_CHARACTERS_FEW = 200
MESSAGES_CHARACTERS_MAX = 524_288
"""Of the messages of all commits before the tip together; what is beyond has a few of each: one packs to nothing."""
PERSON_CHARACTERS_MAX = 1000
"""Of a name or an address: what a commit claims may be as long as the commit."""
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
        self._known: _Known | None = None
        self._passing = threading.Lock()
        self._signatures = signatures
        self._rewritten = rewritten
        self._held = ("", "")  # the commit whose place was taken, and the tip that was recorded as held
        self._seen = ("", "")  # the tip that this program has judged itself, and whose signatures it took

    def run(self, accept_rewrite: str = "", first: Callable[[State], Sequence[ev.Draft]] | None = None) -> Result:
        """Do one pass and return when its events are durable. Raises SourceUnavailable or LogNotWritable.

        `accept_rewrite` names the operator who lets a held tip come into force. What `first` decides comes before the
        pass in the same transaction, and is recorded also if the source cannot be read.
        """
        if not self._passing.acquire(timeout=PASS_WAIT_S):
            raise CouldNotRun("another reconciling pass is still running", "see pai status")
        try:
            while True:
                try:
                    return self._pass(accept_rewrite, first)
                except _Changed:
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
                    self._known = _Known(state.revision, objects)
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

    def _pass(self, accept_rewrite: str, first: Callable[[State], Sequence[ev.Draft]] | None) -> Result:
        judge = self._opened()
        repository = judge.repository
        tip = repository.tip(self._branch)
        state = self._recorder.read(State.freeze)
        before = _decided_on(state)
        if tip is None:
            return self._without_tip(repository, state)
        lead = [] if first is None else list(first(state))
        for draft in lead:
            _fold(state, draft)
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
        if walk.relation == "rewritten" and self._rewritten is not None and not accept_rewrite:
            assert state.head is not None
            self._record(lead, before)
            return self._hold(repository, state.head, state.revision, tip)
        this = _Pass(judge, walk, state, self._branch, self._source_path, self._known, accept_rewrite)
        drafts, result = this.events(tip)
        for part in this.passed_over(tip):
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
                raise _Changed
            return prepared

        if drafts:
            self._recorder.record(decide)

    def _judging(self, tip: str) -> tuple[str, str]:
        return tip, self._signatures.version() if self._signatures else ""

    def _hold(self, repository: Repository, head: Head, revision: str, tip: str) -> Result:
        """Leave everything as it is, and record that once for a rewritten branch, however it goes on from there."""
        assert self._rewritten is not None
        if self._held[0] != head.commit:
            self._held = (head.commit, self._rewritten(head.commit))
        known = self._held[1]
        if not known or repository.walk(tip, known).relation not in ("same", "forward", "merged"):
            payload = ev.HistoryRewritten(from_=head.commit, to=tip, hold="held")
            draft = ev.Draft(actor(repository.commit(tip)), f"branch/{self._branch}", payload)
            self._recorder.record(lambda _: [draft])
            self._held = (head.commit, tip)
        return Result(tip, None, revision, held=head.commit)

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


class _Changed(Exception):
    """What the pass decided on is no longer so."""


_DecidedOn = tuple[Head | None, Order | None, Order | None]


def _decided_on(state: State) -> _DecidedOn:
    return state.head, state.pin, state.suspension


def _fold(state: State, draft: ev.Draft) -> None:
    """Fold what is not recorded yet into a scratch copy of the state."""
    state.apply(ev.Event(draft.actor, draft.payload, "", draft.subject, state.time))


def _says_the_same(drafts: Sequence[ev.Draft], recorded: Result) -> bool:
    """Tell whether the events of a pass that judged a refused tip once more only refuse it for the same reasons."""
    payloads = [draft.payload for draft in drafts]
    return [tuple(p.diagnostics) for p in payloads if isinstance(p, ev.RevisionRejected)] == [recorded.diagnostics]


class _Known(NamedTuple):
    """What a plan found the state to hold exactly while `revision` is in force; only ever a reason to compare less."""

    revision: str
    objects: Desired


class _Pass:
    """The decisions of one pass on a scratch copy of the state."""

    def __init__(
        self,
        judge: Judge,
        walk: Walk,
        state: State,
        branch: str,
        path: str,
        known: _Known | None = None,
        accepted_by: str = "",
    ) -> None:
        self._accepted_by = accepted_by
        self._judge = judge
        self._walk = walk
        self._state = state
        self._branch = branch
        self._path = path
        self._drafts: list[ev.Draft] = []
        self._diagnostics: tuple[Diagnostic, ...] = ()
        self._counts: ev.Counts | None = None
        self._pushers: Mapping[str, str] = {}
        self._early: list[str] = []
        self._tip = ""
        self._recorded = self._bytes = 0
        self._characters = MESSAGES_CHARACTERS_MAX
        # The deletion guard compares with what was in force before the pass, as the hook did: else a commit accepted
        # on the way would use up the permission that it carries for the tip.
        self._since = state.revision
        self.known = known if known is not None and known.revision == state.revision else None
        self._present: Set[tuple[Kind, str]] = self.known.objects.keys() if self.known else frozenset(_keys(state))

    def events(self, tip: str) -> tuple[list[ev.Draft], Result]:
        """Give the events of all commits of the walk, oldest first, and what became of the tip."""
        walk, before = self._walk, self._state.head
        self._pushers, self._tip = _pushers(self._state.pushes, walk.commits or [tip]), tip
        if walk.relation == "rewritten" and before is not None:
            by = self._accepted_by
            rewritten = ev.HistoryRewritten(from_=before.commit, to=tip, hold="accepted" if by else "")
            self._add(ev.Draft(by or self._actor(tip), f"branch/{self._branch}", rewritten))
        commits = [sha for sha in walk.commits if sha != tip] + [tip]  # a branch set back has nothing new but its tip
        judged = JUDGED_MAX if walk.relation in ("first", "forward") else 1
        older, newest = commits[:-judged], commits[-judged:]
        if len(older) > TOGETHER_MAX:
            self._early, older = older, []
        for sha in older:
            # Its tree never followed what was in force: another line of history did, or it is long ago.
            self._add(self._superseded(sha, tip))
        files, size = self._judge.files_read, self._judge.size_read
        for sha in newest:
            much = self._judge.files_read - files > READ_MAX or self._judge.size_read - size > READ_SIZE_MAX
            if sha != tip and much:
                self._add(self._superseded(sha, tip))
            else:
                self._judged(sha, tip=sha == tip)
        head = self._state.head
        assert head is not None
        assert head.commit == tip
        result = Result(tip, head.outcome, self._state.revision, self._diagnostics, self._counts, len(commits))
        return self._drafts, result

    def passed_over(self, tip: str) -> Iterator[list[ev.Draft]]:
        """Give in parts the outcomes that `events` left out because there are so many: they are recorded first."""
        for start in range(0, len(self._early), TOGETHER_MAX):
            yield [self._superseded(sha, tip) for sha in self._early[start : start + TOGETHER_MAX]]

    def _judged(self, sha: str, *, tip: bool) -> None:
        info = self._info(sha)
        try:
            verdict = self._judge.revision(sha, self._present, self._since, tip=tip)
            info = info._replace(signature=self._judge.signature(sha, info.signature, tip=tip))
        except SourceUnavailable as error:
            if tip:
                raise
            # What it lacks may never come, and nothing waits for it: if the tip can be read, the tip decides.
            verdict = Verdict({}, (unreadable(self._path, error),))
        self._diagnostics = verdict.diagnostics
        if verdict.accepted:
            self._accept(sha, info, verdict)
        else:
            shown = list(foremost(verdict.diagnostics, DIAGNOSTICS_MAX))
            if self._too_much(sha, shown):
                return self._add(self._superseded(sha, self._tip))
            omitted = len(verdict.diagnostics) - len(shown)
            rejected = ev.RevisionRejected(**self._commit(info), path=self._path, diagnostics=shown, omitted=omitted)
            self._add(ev.Draft(actor(info), f"revision/{sha}", rejected))
        return None

    def _accept(self, sha: str, info: CommitInfo, verdict: Verdict) -> None:
        known = self.known.objects if self.known else None
        drafts, moved, counts = plan(self._state, verdict.objects, sha, actor(info), known)
        warnings = list(foremost(verdict.diagnostics, DIAGNOSTICS_MAX))
        if self._too_much(sha, [*(draft.payload for draft in drafts), *moved, *warnings]):
            return self._add(self._superseded(sha, self._tip))
        self._counts = counts
        self.known = _Known(sha, verdict.objects)
        accepted = ev.RevisionAccepted(
            **self._commit(info), counts=self._counts, path=self._path, moved=moved, warnings=warnings
        )
        for draft in (*drafts, ev.Draft(actor(info), f"revision/{sha}", accepted)):
            self._add(draft)
        return None

    def _too_much(self, sha: str, parts: Sequence[ev.Payload | ev.Moved | Diagnostic]) -> bool:
        """Count what a commit would put on the log; tell whether that is more than one before the tip may."""
        if sha == self._tip:
            return False
        self._recorded += len(parts)
        if self._recorded <= RECORDED_MAX and self._bytes <= RECORDED_BYTES_MAX:
            self._bytes += sum(len(msgspec.json.encode(part)) for part in parts)
        return self._recorded > RECORDED_MAX or self._bytes > RECORDED_BYTES_MAX

    def _superseded(self, sha: str, tip: str) -> ev.Draft:
        info = self._info(sha)
        return ev.Draft(actor(info), f"revision/{sha}", ev.RevisionSuperseded(**self._commit(info), by=tip))

    def _add(self, draft: ev.Draft) -> None:
        self._drafts.append(draft)
        _fold(self._state, draft)

    def _commit(self, info: CommitInfo) -> CommitFields:
        whole = info.commit == self._tip or self._characters > 0
        most = MESSAGE_CHARACTERS_MAX if whole else MESSAGE_CHARACTERS_FEW
        fields = commit_fields(info, self._pushers.get(info.commit, ""), most)
        self._characters -= 0 if info.commit == self._tip else len(fields["message"])
        return fields

    def _info(self, sha: str) -> CommitInfo:
        return self._judge.repository.commit(sha)

    def _actor(self, sha: str) -> str:
        return actor(self._info(sha))


def _pushers(pushes: Sequence[Push], commits: Sequence[str]) -> Mapping[str, str]:
    """Tell who pushed which of the commits, which are first-parent and oldest first: those after `old` up to `new`."""
    found: dict[str, str] = {}
    places = {sha: place for place, sha in enumerate(commits)}
    for push in pushes:
        if push.new in places:
            first = places.get(push.old, -1) + 1
            found |= dict.fromkeys(commits[first : places[push.new] + 1], push.pusher)
    return found


def _keys(state: State) -> Iterator[tuple[Kind, str]]:
    kinds: tuple[Kind, Kind] = ("model", "agent")
    for kind in kinds:
        for name in state.resources(kind):
            yield kind, name


def actor(info: CommitInfo) -> str:
    """Name who a commit's changes are laid to: the author's e-mail, else the name, as git claims them."""
    return _claimed(info.author.email or info.author.name or "unknown")


class CommitFields(TypedDict):
    """What the events of a commit have in common."""

    commit: str
    parents: list[str]
    author: ev.Person
    committer: ev.Person
    message: str
    signature: ev.Signature | None
    pusher: str


def commit_fields(info: CommitInfo, pusher: str, most: int = MESSAGE_CHARACTERS_MAX) -> CommitFields:
    """Give what an event says of a commit: what git claims, masked and cut, and whose push brought it."""
    return {
        "commit": info.commit,
        "parents": list(info.parents),
        "author": _person(info.author),
        "committer": _person(info.committer),
        "message": redact_beginning(info.message, most),
        "signature": info.signature,
        "pusher": pusher,
    }


def _person(person: ev.Person) -> ev.Person:
    return ev.Person(_claimed(person.name), _claimed(person.email), person.time)


def _claimed(text: str) -> str:
    return cut(redact_beginning(text, PERSON_CHARACTERS_MAX), PERSON_CHARACTERS_MAX)  # before half a key is cut off
