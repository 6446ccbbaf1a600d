"""Any sequence of pushes, rewrites, secrets and restarts: replay gives the live state, and the state is the revision.

The machine drives the real reconciler on a real repository and a real log, and keeps its own account of what should
have become of every commit, worked out with the git program.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.audit.query import search
from reconciler.audit.terms import Query
from reconciler.core.errors import NotFound, SourceUnavailable
from reconciler.core.state import State
from reconciler.log.check.whole import check
from reconciler.log.replay import projected
from reconciler.log.sqlite.store import open_reader
from reconciler.operations.handlers import Operations
from reconciler.operations.health import standalone_health
from reconciler.operations.install import install
from reconciler.operations.operation import Caller
from reconciler.operations.orders import DeleteSecret, Reconcile, StoreSecret
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import BAD, Git, agent, assert_whole, binding, replayed

EXAMPLES = int(os.environ.get("PAI_EXAMPLES", "20"))
NAMES = tuple(f"m{n}" for n in range(6))
ANN = Caller("ann", "operator", "")
TRAILER = "Pai-Allow-Deletions: yes"


class Tree(NamedTuple):
    """A commit's content: name -> (file, budget) of its models, the models its one agent names, and a broken file."""

    models: tuple[tuple[str, str, int], ...] = ()
    agent: tuple[str, ...] = ()
    broken: bool = False

    @property
    def good(self) -> bool:
        """Whether a revision of this content is accepted but for the deletion guard."""
        return not self.broken and set(self.agent) <= {name for name, _, _ in self.models}

    @property
    def objects(self) -> set[tuple[str, str]]:
        """The objects by kind and name."""
        return {("model", name) for name, _, _ in self.models} | ({("agent", "a")} if self.agent else set())

    def files(self) -> dict[str, str]:
        """Give the files; several models may share one."""
        texts: dict[str, list[str]] = {}
        for name, file, budget in self.models:
            texts.setdefault(file, []).append(binding(name, budget))
        files = {file: "---\n".join(parts) for file, parts in texts.items()}
        if self.agent:
            files["agents/a.yaml"] = agent("a", *self.agent)
        if self.broken:
            files["models/broken.yaml"] = BAD
        return files


class Edit(NamedTuple):
    """One commit's change; `remove` drops models, `trailer` allows mass deletions."""

    put: tuple[tuple[str, str, int], ...] = ()
    remove: frozenset[str] = frozenset()
    agent: tuple[str, ...] | None = None
    broken: bool = False
    trailer: bool = False

    def on(self, tree: Tree) -> Tree:
        """Give the content after this change."""
        models = {name: (name, file, budget) for name, file, budget in tree.models if name not in self.remove}
        models |= {each[0]: each for each in self.put}
        return Tree(
            tuple(sorted(models.values())), tree.agent if self.agent is None else self.agent, broken=self.broken
        )


put = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(("models/x.yaml", "models/y.yaml", "z.yml")), st.integers(1, 3)),
    max_size=6,
    unique_by=lambda each: each[0],
).map(tuple)
edits = st.builds(
    Edit,
    put=put,
    remove=st.one_of(st.just(frozenset[str]()), st.frozensets(st.sampled_from(NAMES))),
    agent=st.one_of(st.none(), st.just(()), st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)),
    broken=st.sampled_from((False, False, False, True)),
    trailer=st.sampled_from((False, False, True)),
)
pushes = st.lists(edits, min_size=1, max_size=4)


class Spine(RuleBasedStateMachine):
    """The whole way from git to state, with a model of it beside."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pai-property-"))
        install(self.folder)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
        }
        self.git = Git(self.folder / "config.git", environment)
        self.trees: dict[str, Tree] = {}
        self.tip = ""
        self.head = ""
        self.outcomes: list[tuple[str, str]] = []
        self.rewritten = 0
        self.accepted = Tree()
        self.revision = ""
        self.secrets: dict[str, set[str]] = {}
        self.count = 0
        self.open()

    def open(self) -> None:
        """Open the workspace as a starting daemon does."""
        self.parts = Parts(Workspace.open(self.folder, {}))
        parts = self.parts
        self.operations = Operations(
            parts,
            parts.reconciler.run,
            lambda: standalone_health(parts.workspace, parts.recorder.read(State.freeze)),
            addresses={},
        )

    def teardown(self) -> None:
        """Check the whole log from its bytes, and remove everything."""
        self.parts.close()
        with contextlib.closing(open_reader(self.folder / "data" / "log.db")) as log:
            assert check(log) == []
        shutil.rmtree(self.folder)

    # What people do.

    def commits(self, parent: str, changes: list[Edit], side: str = "") -> str:
        """Write a chain of commits on `parent` ("" for a root), the first merging `side`, and give the last."""
        script, made = [], []
        tree = self.trees.get(parent, Tree())
        for number, edit in enumerate(changes, 1):
            tree = edit.on(tree)
            made.append(tree)
            self.count += 1
            message = f"change {self.count}" + (f"\n\n{TRAILER}\n" if edit.trailer else "\n")
            script.append(f"commit refs/tmp/new\nmark :{number}\n")
            script.append(f"author Ann <ann{self.count % 3}@example.com> {1_700_000_000 + self.count} +0000\n")
            script.append(f"committer Bob <bob@example.com> {1_700_000_000 + self.count} +0000\n")
            script.append(f"data {len(message)}\n{message}\n")
            origin = f":{number - 1}" if number > 1 else parent
            script += [f"from {origin}\n"] if origin else []
            script += [f"merge {side}\n"] if side and number == 1 else []
            script.append("deleteall\n")
            script += [f"M 100644 inline {n}\ndata {len(t)}\n{t}\n" for n, t in tree.files().items()]
        marks = self.folder / "marks"
        script.insert(0, "reset refs/tmp/new\n\n")
        self.git("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin="".join(script))
        shas = dict(line.split() for line in marks.read_text().splitlines())
        for number, each in enumerate(made, 1):
            self.trees[shas[f":{number}"]] = each
        return shas[f":{len(made)}"]

    def move(self, sha: str, look: bool = False) -> None:
        """Point the branch somewhere, as a push that has passed (or bypassed) the hook does; perhaps look at once."""
        self.git("update-ref", "refs/heads/main", sha)
        self.tip = sha
        if look:
            self.look()

    @initialize(first=pushes)
    def begin(self, first: list[Edit]) -> None:
        """Begin with some commits."""
        self.move(self.commits("", first))

    @rule(changes=pushes, look=st.booleans())
    def push(self, changes: list[Edit], look: bool) -> None:
        """Push some commits."""
        self.move(self.commits(self.tip, changes), look)

    @precondition(lambda self: self.tip)
    @rule(side=pushes, merge=edits, swapped=st.booleans())
    def push_merge(self, side: list[Edit], merge: Edit, swapped: bool) -> None:
        """Push a merge, whose first parent is the old tip or the other line."""
        other = self.commits(self.tip, side)
        own = self.commits(self.tip, [merge])
        first, second = (other, own) if swapped else (own, other)
        self.move(self.commits(first, [merge], side=second))

    @precondition(lambda self: self.tip)
    @rule(back=st.integers(0, 4), changes=pushes, look=st.booleans())
    def force_push(self, back: int, changes: list[Edit], look: bool) -> None:
        """Rewrite the last commits."""
        chain = self.git("rev-list", "--first-parent", self.tip).split()
        self.move(self.commits(chain[back] if back < len(chain) else "", changes), look)

    @precondition(lambda self: self.tip)
    @rule(back=st.integers(1, 4))
    def set_back(self, back: int) -> None:
        """Set the branch to an older commit."""
        chain = self.git("rev-list", "--first-parent", self.tip).split()
        self.move(chain[min(back, len(chain) - 1)])

    @precondition(lambda self: self.tip)
    @rule()
    def delete_branch(self) -> None:
        """Delete the branch: nothing changes, and nothing is let go of."""
        self.git("update-ref", "-d", "refs/heads/main")
        self.tip = ""
        if self.head:
            with pytest.raises(SourceUnavailable):
                self.operations.call(Reconcile(), ANN)

    @rule()
    def pack_refs(self) -> None:
        """Pack the refs."""
        self.git("pack-refs", "--all", "--prune")

    @rule(name=st.sampled_from(("s", "t")), key=st.sampled_from(("username", "password")), value=st.binary(min_size=1))
    def store_secret(self, name: str, key: str, value: bytes) -> None:
        """Store a secret's key; the others stay."""
        self.operations.call(StoreSecret(name, {key: value}), ANN)
        self.secrets.setdefault(name, set()).add(key)

    @rule(name=st.sampled_from(("s", "t")))
    def delete_secret(self, name: str) -> None:
        """Delete a secret, or be told that there is none."""
        if self.secrets.pop(name, None) is None:
            with pytest.raises(NotFound):
                self.operations.call(DeleteSecret(name), ANN)
        else:
            self.operations.call(DeleteSecret(name), ANN)

    @rule(lose_index=st.booleans())
    def restart(self, lose_index: bool) -> None:
        """Restart, perhaps without what was only kept to be quick."""
        self.parts.close()
        if lose_index:
            self.parts.workspace.index_file.unlink(missing_ok=True)
        self.open()

    @precondition(lambda self: self.tip)
    @rule()
    def reconcile(self) -> None:
        """Do a pass."""
        self.look()

    def look(self) -> None:
        """Do a pass, and work out on paper what should come of it."""
        self.expect()
        answer = self.operations.call(Reconcile(), ANN)
        assert (answer.head, answer.revision) == (self.tip, self.revision)
        assert answer.outcome == [outcome for sha, outcome in self.outcomes if sha == self.tip][-1]

    # What should come of it.

    def expect(self) -> None:
        """Add the outcomes of a pass to the account."""
        if self.tip == self.head:
            return
        chain = self.git("rev-list", "--first-parent", "--reverse", self.tip).split()
        if not self.head:
            judged, passed_over = chain, list[str]()
        elif self.head in chain:
            judged, passed_over = chain[chain.index(self.head) + 1 :], []
        else:
            known = set(self.git("rev-list", self.head).split())
            judged, passed_over = [self.tip], [sha for sha in chain if sha not in known and sha != self.tip]
            self.rewritten += self.git.run("merge-base", "--is-ancestor", self.head, self.tip).code != 0
        self.outcomes += [(sha, "superseded") for sha in passed_over]
        present, since = self.accepted.objects, self.revision
        for sha in judged:
            good = self.trees[sha].good and not self.guarded(sha, present, since)
            self.outcomes.append((sha, "accepted" if good else "rejected"))
            if good:
                self.accepted, self.revision = self.trees[sha], sha
        self.head = self.tip

    def guarded(self, sha: str, present: set[tuple[str, str]], since: str) -> bool:
        """Tell whether the commit deletes too much without the permission of any commit since."""
        lost = len(present - self.trees[sha].objects)
        messages = self.git("log", "--format=%B", sha, *([f"^{since}"] if since else []))
        return len(present) >= 4 and lost * 2 > len(present) and TRAILER not in messages

    # What must always hold.

    @invariant()
    def replay_gives_the_live_state(self) -> None:
        """The state folded from position 0, the recorder's own and the projection are one."""
        live = self.parts.recorder.read(State.digest)
        with contextlib.closing(open_reader(self.folder / "data" / "log.db")) as log:
            assert projected(log).digest() == live
            assert replayed(log).digest() == live

    @invariant()
    def state_is_the_last_accepted_revision(self) -> None:
        """Models, their places and budgets, the agent and the secrets are what the account says."""
        state = self.parts.recorder.read(State.freeze)
        assert state.revision == self.revision
        found = sorted((name, r.file, r.spec["maxTokensPerDay"]) for name, r in state.models.items())
        assert found == list(self.accepted.models)
        agents = {name: tuple(r.spec["modelBindings"]) for name, r in state.agents.items()}  # type: ignore[arg-type]
        assert agents == ({"a": self.accepted.agent} if self.accepted.agent else {})
        assert {name: set(keys) for name, keys in state.secrets.items()} == self.secrets

    @invariant()
    def every_commit_has_its_outcome(self) -> None:
        """The log tells the outcomes of the account, in its order, and the object events add up to the counts."""
        with contextlib.closing(open_reader(self.folder / "data" / "log.db")) as log:
            rows = list(search(log, Query(), oldest_first=True))
        outcomes = [(row.data["commit"], row.type.split(".")[1]) for row in rows if row.type.startswith("revision.")]
        assert outcomes == self.outcomes
        assert sum(row.type == "history.rewritten.v1" for row in rows) == self.rewritten
        assert_whole(rows)


TestSpine = Spine.TestCase
# Shrinking takes minutes; the printed blob repeats a failure, PAI_SHRINK=1 makes it small.
TestSpine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=15,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.shrink or "PAI_SHRINK" in os.environ],
)
