"""Changes to manifests as commits: what `pai add`, `pai apply` and `pai delete` do to the config repository.

Every change is judged in memory before it is committed, by the same rules as the hook (the hook does not run for
commits made here). The branch moves by compare-and-swap; a lost race starts over on the new tip. Only the document that
changes is edited. Nothing here touches the log: the commit comes into force by a reconciling pass like any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from reconciler.core.canonical import same_value
from reconciler.core.errors import NotFound, Refused, SourceUnavailable
from reconciler.core.objects import API_VERSION, MANIFEST_OF_KIND, Kind, Manifest
from reconciler.core.state import State
from reconciler.manifests.edit import append_document, delete_document, load_documents, replace_document
from reconciler.manifests.emit import render
from reconciler.manifests.facts import Facts
from reconciler.manifests.ignore import IgnoreRules
from reconciler.manifests.judging import Verdict, judge
from reconciler.manifests.reading import read_manifests
from reconciler.source.git import Author, RaceLost, Repository
from reconciler.verdict import TRAILER, Judge, in_force

T = TypeVar("T")

TRIES = 8

Key = tuple[Kind, str]
Action = Literal["created", "configured", "unchanged", "deleted"]
Document = dict[str, object]
Actions = list[tuple[Key, Action]]
Send = Callable[[str, str | None], bool]
"""Moves a branch that is somewhere else from a commit to a new one; False if it is no longer there."""


class Committed(NamedTuple):
    """What was committed: one action an object, in the order asked for. `commit` is "" if nothing changed."""

    commit: str
    actions: Actions


class Branch(NamedTuple):
    """The branch that is to move. With `send` it is somewhere else, and `repository` is its mirror."""

    repository: Repository
    name: str
    source_path: str
    send: Send | None

    def moved(self, attempt: Callable[[str | None], T]) -> T:
        """Give what an attempt on the tip gives; if another was faster, it is made on the new one. Raises Refused."""
        for _ in range(TRIES):
            with contextlib.suppress(RaceLost):
                return attempt(self.repository.tip(self.name))
        raise Refused("the branch moved at every try", "others push at this moment; run the command again")

    def sent(self, commit: str, tip: str | None) -> None:
        """Have the branch moved where it is. Raises RaceLost."""
        assert self.send is not None
        if not self.send(commit, tip):
            raise RaceLost(f"branch {self.name} moved meanwhile", "run the command again")


class Proposal:
    """The manifests of the branch's tip, as they are and as they are to become.

    Making one raises Refused, with diagnostics, if the tip's tree cannot be read.
    """

    def __init__(self, repository: Repository, tip: str | None, source_path: str) -> None:
        self._repository = repository
        self._tip = tip
        self._folder = "" if source_path == "." else f"{source_path.rstrip('/')}/"
        self._judge = Judge(repository, source_path)
        self._facts: dict[str, Facts] = {}
        self._rules = IgnoreRules.parse(None)
        self.before = Verdict({}, ()) if tip is None else self._judge.commit(tip)
        if tip is not None:
            index = self._judge.index
            if index is None:  # the tree could not even be read, and the verdict says why
                _require(self.before)
            assert index is not None
            self._facts = index.files
            self._rules = IgnoreRules.parse(repository.blob(index.ignore) if index.ignore else None)
        self._edits: dict[str, list[tuple[int, Document | None]]] = {}
        self._added: dict[str, list[str]] = {}

    def manifest(self, key: Key) -> Manifest | None:
        """Give the object as the tip has it, whether or not the tip as a whole is accepted."""
        placed = self.before.objects.get(key)
        return placed.manifest if placed else None

    def put(self, key: Key, document: Document, text: str = "") -> Action:
        """Make the object what `document` says, where it is defined; a new one gets a file of its own.

        `text` is what a new one is written as, if `document` was read from it.
        """
        placed = self.before.objects.get(key)
        if placed is None:
            kind, name = key
            path = f"{self._folder}{kind}s/{name}.yaml"
            if self._rules.skips(f"{kind}s/{name}.yaml"):
                raise Refused(
                    f"{path} is excluded by .paiignore", "take it out of .paiignore, or commit the file by hand"
                )
            self._added.setdefault(path, []).append(text or render(document))
            return "created"
        if same_value(document_of(placed.manifest), _without_defaults(document)):
            return "unchanged"
        self._edits.setdefault(placed.path, []).append((placed.manifest.line, document))
        return "configured"

    def remove(self, key: Key) -> Action:
        """Take the object's document out; a file left without documents goes too. Raises NotFound."""
        kind, name = key
        placed = self.before.objects.get(key)
        if placed is None:
            raise NotFound(f"there is no {kind} {name} in the config repository", f"pai get {kind}s lists them")
        self._edits.setdefault(placed.path, []).append((placed.manifest.line, None))
        return "deleted"

    def files(self) -> dict[str, bytes | None]:
        """Give the new bytes of every file that changes, None for one that goes."""
        changed: dict[str, bytes | None] = {}
        for path, edits in self._edits.items():
            text: str | None = self._text(path)
            # From the bottom up, so that an edit does not move the lines of those still to come.
            for line, document in sorted(edits, key=lambda edit: edit[0], reverse=True):
                assert text is not None
                text = delete_document(text, line) if document is None else _replaced(text, line, document)
            changed[path] = None if text is None else text.encode()
        for path, documents in self._added.items():
            current = changed[path] if path in changed else self._bytes(path)
            text = _decoded(path, current) if current else ""
            for added in documents:
                text = append_document(text, added) if text else added
            changed[path] = text.encode()
        return changed

    def after(
        self, changed: Mapping[str, bytes | None], state: State, given: Mapping[str, Facts] | None = None
    ) -> Verdict:
        """Give the verdict on the tree as it is to become, as the successor of `state`.

        What is wrong with an object of the files `given` is told by its place there.
        """
        facts = dict(self._facts)
        for path, data in changed.items():
            if data is None:
                facts.pop(path, None)
            else:
                facts[path] = read_manifests(data)
        verdict = judge(facts)
        if not verdict.accepted and given:
            verdict = self._told_of(given, facts) or verdict
        if self._tip is None:
            return verdict
        return self._judge.guarded(verdict, self._tip, in_force(state), state.revision)

    def _told_of(self, given: Mapping[str, Facts], facts: Mapping[str, Facts]) -> Verdict | None:
        """Judge the files that are given in place of what was made of them; None if that finds nothing wrong."""
        keys = {(manifest.kind, manifest.name) for each in given.values() for manifest in each.manifests}
        rest = {
            path: msgspec.structs.replace(
                each, manifests=tuple(one for one in each.manifests if (one.kind, one.name) not in keys)
            )
            for path, each in facts.items()
        }
        verdict = judge(rest | {path if path not in rest else f"./{path}": each for path, each in given.items()})
        return None if verdict.accepted else verdict

    def _bytes(self, path: str) -> bytes | None:
        return None if self._tip is None else self._repository.blob_at(self._tip, path)

    def _text(self, path: str) -> str:
        data = self._bytes(path)
        assert data is not None, "a path with a manifest has a blob"
        return _decoded(path, data)


def change(
    branch: Branch,
    state: State,
    edit: Callable[[Proposal], Actions],
    describe: Callable[[Actions], str],
    *,
    dry_run: bool = False,
    given: Mapping[str, Facts] | None = None,
) -> Committed:
    """Edit the tip's manifests and commit the result as the user. `state` is what is in force.

    `given` are the files that the change is made from. Raises Refused with diagnostics if the tip is refused and stays
    so, or if the change itself is not acceptable; and whatever `edit` and sending raise.
    """

    def attempt(tip: str | None) -> Committed:
        proposal = Proposal(branch.repository, tip, branch.source_path)
        actions = edit(proposal)
        files = proposal.files()
        _require(proposal.after(files, state, given))
        if dry_run or not files:
            return Committed("", actions)
        return Committed(_commit(branch, tip, files, describe(actions)), actions)

    return branch.moved(attempt)


def roll_back(
    branch: Branch, state: State, accepted: Mapping[str, Any], reason: str, allow_deletions: bool = False
) -> str:
    """Commit the manifests of an earlier revision on top of the branch as the user, and give the commit's id.

    `accepted` is what the event says that accepted the revision, `state` what is in force. Gives "" if the branch's tip
    has these manifests already. Raises Refused with diagnostics if the commit would be refused, SourceUnavailable if it
    cannot be made.
    """
    commit, path = str(accepted["commit"]), str(accepted.get("path", "."))
    if PurePosixPath(path) != PurePosixPath(branch.source_path):
        raise Refused(
            f"revision {commit[:7]} was read from the folder {path}, source.path is {branch.source_path} now",
            f"pin it instead: pai pin {commit[:12]}",
        )
    repository = branch.repository
    identity = repository.identity()

    def attempt(tip: str | None) -> str:
        if tip is None:
            raise SourceUnavailable(f"branch {branch.name} does not exist", "push it again")
        judge = Judge(repository, branch.source_path)
        verdict = judge.commit(commit)
        if not allow_deletions:
            verdict = judge.guarded(verdict, tip, in_force(state), state.revision)
        _require(verdict, "or give --allow-deletions, if so many objects shall go")
        message = _rollback_message(accepted, tip, reason, identity.author, allow_deletions)
        made = repository.restore(tip, commit, branch.source_path, message, identity)
        if made == tip:
            return ""
        if branch.send is None:
            repository.land(branch.name, tip, made, branch.source_path, identity)
        else:
            branch.sent(made, tip)
        return made

    return branch.moved(attempt)


def _rollback_message(accepted: Mapping[str, Any], tip: str, reason: str, author: Author, allow_deletions: bool) -> str:
    commit, person = str(accepted["commit"]), accepted["author"]
    subject = str(accepted["message"]).strip().partition("\n")[0][:60]
    lines = [
        f"Roll back to {commit[:7]}: {subject}",
        "",
        f"{author.name} <{author.email}> puts back the manifests of revision",
        f"{commit} by {person['name']} <{person['email']}>",
        f"in place of those of {tip}.",
    ]
    lines += ["", *reason.strip().splitlines()] if reason.strip() else []
    lines += ["", f"{TRAILER[0]}: {TRAILER[1]}"] if allow_deletions else []
    return "\n".join(lines)


def _commit(branch: Branch, tip: str | None, files: Mapping[str, bytes | None], message: str) -> str:
    """Commit, and move the branch wherever it is. Raises RaceLost."""
    repository = branch.repository
    if branch.send is None:
        return repository.write(branch.name, tip, files, message, repository.identity())
    commit = repository.prepare(tip, files, message, repository.identity())
    if commit != tip:
        branch.sent(commit, tip)
    return commit


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused(f"{path} is no UTF-8, so nothing can be written into it", "correct the file by hand") from None


def document_of(manifest: Manifest) -> Document:
    """Give a manifest as the mapping that its YAML document is."""
    metadata: Document = {"name": manifest.name}
    if manifest.labels:
        metadata["labels"] = manifest.labels
    if manifest.annotations:
        metadata["annotations"] = manifest.annotations
    return {
        "apiVersion": API_VERSION,
        "kind": MANIFEST_OF_KIND[manifest.kind],
        "metadata": metadata,
        "spec": manifest.spec,
    }


def _without_defaults(document: Document) -> Document:
    """Give a document as `document_of` would, which leaves out what says nothing."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return document
    said = {name: value for name, value in metadata.items() if name not in _SILENT or value}
    return document | {"metadata": said}


def _replaced(text: str, line: int, document: Document) -> str:
    """Write a document in place of another, in which what says nothing stays."""
    before = next(each.value.get("metadata") for each in load_documents(text.encode()) if each.line == line)
    metadata = document.get("metadata")
    if isinstance(before, dict) and isinstance(metadata, dict):
        silent = {name: before[name] for name in _SILENT if name in before and not before[name]}
        document = document | {"metadata": silent | metadata}
    return replace_document(text, line, document)


_SILENT = ("labels", "annotations")
"""Fields of `metadata` that say nothing when they are empty."""


def _require(verdict: Verdict, hint: str = "correct this first") -> None:
    if not verdict.accepted:
        errors = tuple(d for d in verdict.diagnostics if d.severity == "error")
        raise Refused("the config repository would be refused, so nothing was committed", hint, errors)
