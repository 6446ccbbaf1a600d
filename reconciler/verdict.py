"""The one verdict: what a commit's tree means and whether it may come into force.

The hook, `pai validate --rev`, `pai apply` and the daemon all come through `Judge.commit`; a folder or a list of files
goes through `manifests.judge` directly, which is the same rules on other bytes. A verdict depends on the tree, and for
the deletion guard on what was in force before, and on nothing else: no clock, no network, no log.

Invariant: judging from what is kept (an index of blobs already read, the verdict on the commit before) and judging from
nothing give the same verdict. So do reading a large tree with the help of other processes and reading it alone: what a
helper does not say is read here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from itertools import chain, compress, islice
from operator import attrgetter, is_not
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconciler import quick
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import CouldNotRun, SourceUnavailable
from reconciler.core.events import Signature
from reconciler.core.objects import KINDS, Kind, Placed
from reconciler.helped_reading import Helped, dear_blobs, helpers, is_read
from reconciler.manifests import ignore
from reconciler.manifests.facts import VERSION, Entry, Facts
from reconciler.manifests.ignore import IGNORE_FILE, IgnoreRefused, IgnoreRules
from reconciler.manifests.judging import (
    FILES_MAX,
    RECORDED_MAX,
    SIZE_MAX,
    Verdict,
    deletion_problem,
    judge,
    recorded_by,
    too_large,
    too_many_files,
    unreadable,
)
from reconciler.manifests.reading import SUFFIXES, facts_of
from reconciler.manifests.rules import SIGNATURE
from reconciler.source.git import Repository, TreeEntry
from reconciler.source.history import CommitUnreadable
from reconciler.source.trailer_search import LOOKED_MAX, TrailerSearch
from reconciler.source.tree_walk import LINKS, TreeBudget, TreeRefused

if TYPE_CHECKING:  # the hook is in a hurry
    from reconciler.core.state import State
    from reconciler.source.signatures import Signatures

TRAILER = ("Pai-Allow-Deletions", "yes")
_LOOKED = f"of the tip or the branch's own line: more than {LOOKED_MAX:,} commits would have to be looked through"
SIGNATURES_MAX = 1000
"""Commits of one revision whose signatures are checked; 15 ms each."""
SIGNATURE_HINT = "sign it with a key that the operator has listed; source.require_signatures asks for that"
PROBLEM_SIZE, ENTRY_SIZE = 2048, 64
"""What finding a problem, and an entry of a tree, counts for among the bytes that were read."""
BROKEN_TIMES = 16
"""What each byte of a file without an object counts for there."""
CHANGED_MAX = 50_000
"""Paths that differ beyond which all of the tree is read."""


class TreeIndex(msgspec.Struct, frozen=True, array_like=True):
    """What was read of one commit's tree: facts by path relative to the repository, and the ignore file's blob id."""

    version: str
    commit: str
    path: str
    ignore: str
    files: dict[str, Facts]


_index_decoder = msgspec.msgpack.Decoder(TreeIndex)
_index_encoder = msgspec.msgpack.Encoder()


class Most(NamedTuple):
    """What a judge that must not hold others up may read: entries, paths that differ, bytes of either, and commits."""

    entries: int
    paths: int
    tree_bytes: int
    characters: int
    file_bytes: int
    commits: int


class TooLarge(CouldNotRun):
    """There is more to read than this judge may; another one gives the verdict."""


class Judge:
    """Judges commits of one repository, reading a blob once.

    `path` is the source path inside the repository. Not for several threads at a time.
    """

    def __init__(
        self,
        repository: Repository,
        path: str = ".",
        index: TreeIndex | None = None,
        signatures: Signatures | None = None,
        most: Most | None = None,
        *,
        serves: bool = False,
    ) -> None:
        """`signatures` is whose signature a revision needs, None for nobody's.

        With `most`, what would take more than that raises TooLarge. A process that `serves` others meanwhile leaves
        files that are dear to another one.
        """
        self._serves = serves
        self.repository = repository
        self._most = most
        if most is not None:
            repository.tree_bytes_max = most.tree_bytes
        self._signatures = signatures
        self._path = str(PurePosixPath(path))
        self.index = index if index is not None and (index.version, index.path) == (VERSION, self._path) else None
        self.files_read = self.size_read = 0
        self._judged: tuple[TreeIndex, Verdict] | None = None
        self._shared: TrailerSearch | None = None

    def commit(self, sha: str) -> Verdict:
        """Give the verdict on the commit's tree, without the deletion guard. Raises SourceUnavailable.

        Objects of files that did not change since the last verdict may be the very same values as there.
        """
        try:
            self.repository.require_folder(sha, self._path)
            index = self.index = self.read(sha)
        except (TreeRefused, IgnoreRefused) as error:
            if self._most is not None:
                raise TooLarge(error.message) from error
            path = self.full(IGNORE_FILE) if isinstance(error, IgnoreRefused) else self._path
            return Verdict({}, (unreadable(path, error),))
        verdict = (None if quick.PLAIN else self._of_edit(index)) or judge(index.files)
        self._judged = (index, verdict)
        return verdict

    def _of_edit(self, index: TreeIndex) -> Verdict | None:
        """Continue the last verdict if some files only say something new about the objects they had; else None.

        No rule looks at more than an object's name and references outside its own file, so no other file is concerned.
        """
        if self._judged is None:
            return None
        (before, old), files = self._judged, index.files
        if not old.accepted or before.files.keys() != files.keys():
            return None
        if sum(map(_size, files.values())) > SIZE_MAX or recorded_by(files) > RECORDED_MAX:
            return None
        objects = dict(old.objects)
        for path in compress(files, map(is_not, files.values(), map(before.files.get, files))):
            facts = files[path]
            if not _plain(facts) or not _plain(before.files[path]) or _names(facts) != _names(before.files[path]):
                return None
            for manifest in facts.manifests:
                if any(("model", reference.name) not in objects for reference in manifest.references):
                    return None
                objects[manifest.kind, manifest.name] = Placed(path, manifest)
        return Verdict(objects, old.diagnostics)

    def revision(
        self, sha: str, present: Set[tuple[Kind, str]], since: str, *, tip: bool = True, vouched: bool = False
    ) -> Verdict:
        """Give the verdict on the commit as the successor of what is in force.

        `present` are the objects in force, `since` the commit that put them in force ("" for none). `tip` is False for
        a commit that came with others on top of it; `vouched` is what `vouches` says of their tip.
        """
        verdict = self.guarded(self.commit(sha), sha, present, since, tip=tip)
        if tip:
            self._shared = None  # it is the last one of a pass
        problems = [] if vouched else self._unsigned(sha, since)
        return Verdict(verdict.objects, tuple(sorted((*verdict.diagnostics, *problems)))) if problems else verdict

    def vouches(self, tip: str, present: Set[tuple[Kind, str]], since: str) -> bool:
        """Tell whether the commits below the tip need no proof of their own: only an accepted tip stands in for them.

        Below one that is refused, the last of them that is accepted stays in force. What was read stays as it was.
        """
        if self._signatures is None or self._signatures.mode != "head":
            return False
        index = self.index
        accepted = self.revision(tip, present, since).accepted
        self.index = index
        return accepted

    def signature(self, sha: str, claimed: Signature | None, *, vouched: bool = False) -> Signature | None:
        """Give what is known of the commit's signature, with proof where one is asked for; see `revision`."""
        if self._signatures is None or vouched:
            return claimed
        repository = self.repository
        return self._signatures.proof(repository.git_dir, repository.quarantine, sha, claimed).signature

    def _unsigned(self, sha: str, since: str) -> list[Diagnostic]:
        """List the commits that lack a signature they need.

        The first revision of all is vouched for by its tip: who signs a commit signs all that it descends from.
        """
        signatures, repository = self._signatures, self.repository
        if signatures is None:
            return []
        commits: Iterable[str] = [sha]  # also where the branch was set back, and nothing came since
        if signatures.mode == "all" and since:
            commits = chain(commits, (each for each in repository.reachable(sha, hide=since) if each != sha))
        found = []
        for number, commit in enumerate(commits):
            if number == SIGNATURES_MAX:
                found.append(f"more than {SIGNATURES_MAX:,} commits would have to be checked")
                break
            try:
                claimed = repository.commit(commit).signature
            except CommitUnreadable as error:
                found.append(f"commit {commit[:12]} cannot be read: {error.message}")
                continue
            if problem := signatures.proof(repository.git_dir, repository.quarantine, commit, claimed).problem:
                found.append(f"commit {commit[:12]} {problem}")
        return [Diagnostic(".", 1, 1, "error", SIGNATURE, message, SIGNATURE_HINT, sha[:12]) for message in found]

    def guarded(
        self, verdict: Verdict, sha: str, present: Set[tuple[Kind, str]], since: str, *, tip: bool = True
    ) -> Verdict:
        """Add the deletion guard to a verdict on `sha`, or on what is to follow it; see `revision`."""
        if not verdict.accepted or present <= verdict.objects.keys():
            return verdict
        problem = deletion_problem(present, verdict.objects.keys(), allowed=False)
        if problem is None:
            return verdict
        allowed = self._search(since, tip).found(sha)
        if allowed:
            return verdict
        if allowed is None and self._most is not None:
            raise TooLarge("many commits would have to be looked through")
        if allowed is None:
            problem = msgspec.structs.replace(problem, hint=f"{problem.hint}; {_LOOKED}")
        return Verdict(verdict.objects, tuple(sorted((*verdict.diagnostics, problem))))

    def _search(self, since: str, tip: bool) -> TrailerSearch:
        """Give the search for the trailer on all that came since: the tip's own, or the one that all others share."""
        if tip:
            most = LOOKED_MAX if self._most is None else self._most.commits
            return TrailerSearch(self.repository, *TRAILER, since, most)
        if self._shared is None or self._shared.since != since:
            self._shared = TrailerSearch(self.repository, *TRAILER, since)
        return self._shared

    def read(self, sha: str) -> TreeIndex:
        """Give the facts of the commit's tree, reading only what is not known yet."""
        old = self.index
        if old is not None and old.commit == sha:
            return old
        if old is not None:
            changes = self._changes(old.commit, sha)
            if changes is not None and not any(path == IGNORE_FILE for path, _ in changes):
                return self._read_changes(sha, old, changes)
        if self._most is not None:
            raise TooLarge("the whole tree would have to be read")
        return self._read_all(sha)

    def _changes(self, old: str, sha: str) -> list[tuple[str, TreeEntry | None]] | None:
        """Compare two commits; None if only reading the whole of the newer one tells what it means."""
        most = self._most
        budget = TreeBudget(paths=CHANGED_MAX) if most is None else TreeBudget(most.entries, most.characters)
        try:
            changes = self.repository.changes(old, sha, self._path, budget, may_matter)
        except (SourceUnavailable, TreeRefused):  # the old commit is gone (a force-push and a garbage collection),
            return None  # or more differs than may be compared: what is wrong is said of the whole tree
        if most is not None:
            size = sum(self.repository.size(e.oid) for _, e in changes[: most.paths] if e is not None and is_read(e))
            if len(changes) > most.paths or size > most.file_bytes:
                raise TooLarge(f"{len(changes):,} files differ")
        return changes

    def _read_all(self, sha: str) -> TreeIndex:
        ignored = self.repository.leaf(sha, self._path, IGNORE_FILE)
        ignore = ignored.oid if ignored is not None and ignored.kind == "file" else ""
        rules = self.rules(ignore)
        budget = TreeBudget()
        try:
            entries = list(islice(self._not_skipped(sha, rules, budget), FILES_MAX + 1))
        finally:
            self.size_read += rules.work + ENTRY_SIZE * budget.spent
        if len(entries) > FILES_MAX:
            raise TreeRefused(*_too_many)
        files = dict(self._read_entries(entries, entries, rules))
        return TreeIndex(VERSION, sha, self._path, ignore, files)

    def _not_skipped(self, sha: str, rules: IgnoreRules, budget: TreeBudget) -> Iterator[TreeEntry]:
        for entry in self.repository.entries(sha, self._path, _may_be_read, budget):
            skipped = rules.skips(entry.path)
            if rules.work > ignore.WORK_MAX:
                raise TreeRefused(f"{IGNORE_FILE} has too many patterns for so many paths", "name folders in it")
            if not skipped:
                yield entry

    def _read_changes(self, sha: str, old: TreeIndex, changes: list[tuple[str, TreeEntry | None]]) -> TreeIndex:
        rules = self.rules(old.ignore)
        files = dict(old.files)
        entries = [entry for _, entry in changes if entry is not None]
        read = (entry for entry in entries if not rules.skips(entry.path))
        said = dict(self._read_entries(entries, read, rules))
        for path in {self.full(path) for path, _ in changes} - said.keys():
            files.pop(path, None)
        files |= said
        self.size_read += rules.work
        if len(files) > FILES_MAX:
            raise TreeRefused(*_too_many)
        return TreeIndex(VERSION, sha, self._path, old.ignore, files)

    def _read_entries(
        self, entries: list[TreeEntry], read: Iterable[TreeEntry], rules: IgnoreRules
    ) -> Iterator[tuple[str, Facts]]:
        """Give the facts of the manifests among `entries` by their paths in the repository. Raises TreeRefused.

        What is dear of those that are `read` is left to others.
        """
        known: dict[str, Facts] = {}
        size = 0
        dear = dear_blobs(self.repository, read) if self._serves else []
        with helpers(self.repository, entries, dear) as helped:
            for entry in entries:
                self._ask(helped, entry, known)
                facts = self.facts(entry, rules, known)
                if facts is not None:
                    size += facts.size
                    if size > SIZE_MAX:
                        raise TreeRefused(*_too_large)
                    yield self.full(entry.path), facts

    def _ask(self, helped: Helped, entry: TreeEntry, known: dict[str, Facts]) -> None:
        """Put what the helper of an entry's blob says, if it has one, to what is known."""
        if entry.oid in helped and is_read(entry):
            said = helped.facts(entry.oid)
            known |= said
            for oid, facts in said.items():
                self._count(self.repository.size(oid), facts)

    def _count(self, size: int, facts: Facts) -> None:
        self.size_read += (facts.size or BROKEN_TIMES * size) + PROBLEM_SIZE * (len(facts.problems) + facts.omitted)

    def rules(self, oid: str) -> IgnoreRules:
        """Give the rules of the ignore file with that blob id, "" for none. Raises IgnoreRefused."""
        if oid and self.repository.size(oid) > ignore.BYTES_MAX:
            raise ignore.too_long()
        return IgnoreRules.parse(self.repository.blob(oid) if oid else None)

    def facts(self, entry: TreeEntry, rules: IgnoreRules, known: dict[str, Facts]) -> Facts | None:
        """Read what lies at one place; None if it is no manifest."""
        if rules.skips(entry.path):
            return None
        oid, repository = entry.oid, self.repository
        size = repository.size(oid) if is_read(entry) and oid not in known else -1
        self.files_read += 1
        facts = facts_of(Entry(entry.path, entry.kind, oid, size, lambda: repository.blob(oid)), known)
        if facts is not None and size >= 0:
            self._count(size, facts)
        return facts

    def full(self, path: str) -> str:
        """Give a path in the repository for one below the source path."""
        return path if self._path == "." else f"{self._path}/{path}"


def in_force(state: State) -> Set[tuple[Kind, str]]:
    """Name the objects that a state has in force."""
    return {(kind, name) for kind in KINDS for name in state.resources(kind)}


def _may_be_read(mode: bytes, name: bytes) -> bool:
    """Tell whether the verdict has something to say about what is no folder: manifests, links and submodules."""
    return name.endswith(_SUFFIXES) or mode in LINKS


def may_matter(mode: bytes, name: bytes) -> bool:
    """Tell it of what differs, where the patterns of what is skipped may as well."""
    return name == IGNORE_FILE.encode() or _may_be_read(mode, name)


_size = attrgetter("size")


_SUFFIXES = tuple(suffix.encode() for suffix in SUFFIXES)
_too_many, _too_large = ((problem.message, problem.hint) for problem in (too_many_files("."), too_large(".")))


def _plain(facts: Facts) -> bool:
    return not (facts.named or facts.problems or facts.omitted)


def _names(facts: Facts) -> list[tuple[Kind, str]]:
    return [(manifest.kind, manifest.name) for manifest in facts.manifests]


def load_index(path: Path) -> TreeIndex | None:
    """Read a kept index; None if there is none, or it is not whole, or another version wrote it."""
    if quick.PLAIN:
        return None
    try:
        index = _index_decoder.decode(path.read_bytes())
    except (OSError, ValueError):
        return None
    return index if index.version == VERSION else None


def save_index(path: Path, index: TreeIndex) -> None:
    """Keep an index for the next process. It is derived: failing to write it costs time, nothing else."""
    if quick.PLAIN:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_index_encoder.encode(index))
        temporary.replace(path)
    except (OSError, ValueError):  # ValueError: a path that is not UTF-8; the tree is refused for it anyway
        temporary.unlink(missing_ok=True)
