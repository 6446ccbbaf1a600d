"""What one pass decides: the events of every first-parent commit that has no outcome yet, and the bounds of its work.

Only the tip is always judged and recorded in full. Of the commits before it as many are as the bounds allow; the others
are superseded. The decisions are made on a scratch copy of the state; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import msgspec

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic, foremost
from reconciler.core.errors import SourceUnavailable
from reconciler.core.objects import Desired, Kind
from reconciler.core.pass_result import Result
from reconciler.core.plan import plan
from reconciler.core.state import Push, State
from reconciler.manifests.judging import Verdict, unreadable
from reconciler.reconcile.commit_fields import MESSAGE_CHARACTERS_MAX, CommitFields, actor, commit_fields
from reconciler.source.commits import CommitInfo
from reconciler.source.git import Walk
from reconciler.verdict import Judge, in_force

DIAGNOSTICS_MAX = 1000
"""Diagnostics an event lists; the rest is counted in `omitted`."""
DIAGNOSTICS_BYTES_MAX = 1024 * 1024
"""Of those: each has a path, which may be long, and quotes what is wrong."""
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
MESSAGE_CHARACTERS_FEW = 200
MESSAGES_CHARACTERS_MAX = 524_288
"""Of the messages of all commits before the tip together; what is beyond has a few of each: one packs to nothing."""


class StateMoved(Exception):
    """What the pass decided on is no longer so: it begins again."""


def fold(state: State, draft: ev.Draft) -> None:
    """Fold what is not recorded yet into a scratch copy of the state."""
    state.apply(ev.Event(draft.actor, draft.payload, "", draft.subject, state.time))


class Known(NamedTuple):
    """What a plan found the state to hold exactly while `revision` is in force; only ever a reason to compare less."""

    revision: str
    objects: Desired


class Pass:
    """The decisions of one pass on a scratch copy of the state."""

    def __init__(
        self,
        judge: Judge,
        walk: Walk,
        state: State,
        tip: str,
        branch: str,
        path: str,
        known: Known | None,
        accepted_by: str,
    ) -> None:
        """`state` is folded on; `known` is what the pass before found; `accepted_by` is "" for nobody."""
        self._accepted_by = accepted_by
        self._judge = judge
        self._walk = walk
        self._state = state
        self._tip = tip
        self._branch = branch
        self._path = path
        self._drafts: list[ev.Draft] = []
        self._diagnostics: tuple[Diagnostic, ...] = ()
        self._counts: ev.Counts | None = None
        self._pushers = _pushers(state.pushes, walk.commits or [tip])
        self._early: list[str] = []
        self._recorded = self._bytes = 0
        self._characters = MESSAGES_CHARACTERS_MAX
        # The deletion guard compares with what was in force before the pass, as the hook did: else a commit accepted
        # on the way would use up the permission that it carries for the tip.
        self._since = state.revision
        self.known = known if known is not None and known.revision == state.revision else None
        self._present: Set[tuple[Kind, str]] = self.known.objects.keys() if self.known else in_force(state)

    def events(self) -> tuple[list[ev.Draft], Result]:
        """Give the events of all commits of the walk, oldest first, and what became of the tip. Raises StateMoved."""
        walk, before, tip = self._walk, self._state.head, self._tip
        if walk.relation == "rewritten" and before is not None:
            by = self._accepted_by
            rewritten = ev.HistoryRewritten(from_=before.commit, to=tip, hold="accepted" if by else "")
            self._add(ev.Draft(by or actor(self._info(tip)), f"branch/{self._branch}", rewritten))
        commits = [sha for sha in walk.commits if sha != tip] + [tip]  # a branch set back has nothing new but its tip
        judged = JUDGED_MAX if walk.relation in ("first", "forward") else 1
        older, newest = commits[:-judged], commits[-judged:]
        if len(older) > TOGETHER_MAX:
            self._early, older = older, []
        for sha in older:
            # Its tree never followed what was in force: another line of history did, or it is long ago.
            self._add(self._superseded(sha))
        vouched = len(newest) > 1 and self._judge.vouches(tip, self._present, self._since)
        files, size = self._judge.files_read, self._judge.size_read
        for sha in newest:
            much = self._judge.files_read - files > READ_MAX or self._judge.size_read - size > READ_SIZE_MAX
            if sha != tip and much:
                self._add(self._superseded(sha))
            else:
                self._judged(sha, tip=sha == tip, vouched=vouched and sha != tip)
        head = self._state.head
        assert head is not None
        assert head.commit == tip
        if vouched and head.outcome != "accepted":  # the operator took a key away meanwhile
            raise StateMoved
        result = Result(tip, head.outcome, self._state.revision, self._diagnostics, self._counts, len(commits))
        return self._drafts, result

    def passed_over(self) -> Iterator[list[ev.Draft]]:
        """Give in parts the outcomes that `events` left out because there are so many: they are recorded first."""
        for start in range(0, len(self._early), TOGETHER_MAX):
            yield [self._superseded(sha) for sha in self._early[start : start + TOGETHER_MAX]]

    def _judged(self, sha: str, *, tip: bool, vouched: bool) -> None:
        info = self._info(sha)
        try:
            verdict = self._judge.revision(sha, self._present, self._since, tip=tip, vouched=vouched)
            info = info._replace(signature=self._judge.signature(sha, info.signature, vouched=vouched))
        except SourceUnavailable as error:
            if tip:
                raise
            # What it lacks may never come, and nothing waits for it: if the tip can be read, the tip decides.
            verdict = Verdict({}, (unreadable(self._path, error),))
        self._diagnostics = verdict.diagnostics
        if verdict.accepted:
            self._accept(sha, info, verdict)
        else:
            shown = _listed(verdict.diagnostics)
            if self._too_much(sha, shown):
                self._add(self._superseded(sha))
                return
            omitted = len(verdict.diagnostics) - len(shown)
            rejected = ev.RevisionRejected(**self._commit(info), path=self._path, diagnostics=shown, omitted=omitted)
            self._add(ev.Draft(actor(info), f"revision/{sha}", rejected))

    def _accept(self, sha: str, info: CommitInfo, verdict: Verdict) -> None:
        known = self.known.objects if self.known else None
        drafts, moved, counts = plan(self._state, verdict.objects, sha, actor(info), known)
        warnings = _listed(verdict.diagnostics)
        if self._too_much(sha, [*(draft.payload for draft in drafts), *moved, *warnings]):
            self._add(self._superseded(sha))
            return
        self._counts = counts
        self.known = Known(sha, verdict.objects)
        accepted = ev.RevisionAccepted(
            **self._commit(info), counts=self._counts, path=self._path, moved=moved, warnings=warnings
        )
        for draft in (*drafts, ev.Draft(actor(info), f"revision/{sha}", accepted)):
            self._add(draft)

    def _too_much(self, sha: str, parts: Sequence[ev.Payload | ev.Moved | Diagnostic]) -> bool:
        """Count what a commit would put on the log; tell whether that is more than one before the tip may."""
        if sha == self._tip:
            return False
        self._recorded += len(parts)
        if self._recorded <= RECORDED_MAX and self._bytes <= RECORDED_BYTES_MAX:
            self._bytes += sum(len(msgspec.json.encode(part)) for part in parts)
        return self._recorded > RECORDED_MAX or self._bytes > RECORDED_BYTES_MAX

    def _superseded(self, sha: str) -> ev.Draft:
        info = self._info(sha)
        return ev.Draft(actor(info), f"revision/{sha}", ev.RevisionSuperseded(**self._commit(info), by=self._tip))

    def _add(self, draft: ev.Draft) -> None:
        self._drafts.append(draft)
        fold(self._state, draft)

    def _commit(self, info: CommitInfo) -> CommitFields:
        whole = info.commit == self._tip or self._characters > 0
        most = MESSAGE_CHARACTERS_MAX if whole else MESSAGE_CHARACTERS_FEW
        fields = commit_fields(info, self._pushers.get(info.commit, ""), most)
        self._characters -= 0 if info.commit == self._tip else len(fields["message"])
        return fields

    def _info(self, sha: str) -> CommitInfo:
        return self._judge.repository.commit(sha)


def _listed(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Give those that an event lists: half as many, and again, until they are within its bytes."""
    most = DIAGNOSTICS_MAX
    while len(msgspec.json.encode(shown := list(foremost(diagnostics, most)))) > DIAGNOSTICS_BYTES_MAX:
        most //= 2
    return shown


def _pushers(pushes: Sequence[Push], commits: Sequence[str]) -> Mapping[str, str]:
    """Tell who pushed which of the commits, which are first-parent and oldest first: those after `old` up to `new`."""
    found: dict[str, str] = {}
    places = {sha: place for place, sha in enumerate(commits)}
    for push in pushes:
        if push.new in places:
            first = places.get(push.old, -1) + 1
            found |= dict.fromkeys(commits[first : places[push.new] + 1], push.pusher)
    return found
