"""Pushes of very many commits, and of commits that claim very much: all get their outcomes, and others go on.

What cannot be given an outcome afterwards is refused before it is in, whichever commit of the push it is.
"""

from __future__ import annotations

import json
import subprocess
import time
import tracemalloc
from collections.abc import Iterable, Iterator

import msgspec
import pytest

from reconciler import verdict
from reconciler.manifests.judging import Verdict
from reconciler.manifests.reading import read_manifests
from reconciler.operations.hook_verbs import JudgePush
from reconciler.operations.judging import SMALL, judge_small
from reconciler.reconcile.commit_fields import PERSON_CHARACTERS_MAX, commit_fields
from reconciler.reconcile.one_pass import (
    DIAGNOSTICS_BYTES_MAX,
    JUDGED_MAX,
    MESSAGE_CHARACTERS_FEW,
    MESSAGES_CHARACTERS_MAX,
    READ_SIZE_MAX,
    RECORDED_BYTES_MAX,
    RECORDED_MAX,
    TOGETHER_MAX,
)
from reconciler.source.commits import parse_commit
from reconciler.source.git import Repository
from reconciler.source.history import COMMIT_BYTES_MAX, LONG_BYTES_MAX, PARENTS_MAX
from reconciler.source.trailer_search import LOOKED_MAX
from reconciler.verdict import ENTRY_SIZE, PROBLEM_SIZE, Judge, TooLarge, load_index
from reconciler.workspace import Workspace
from tests.support import Git, Site, agent, binding
from tests.support_bombs import Objects, deep, grid

WHO = "A <a@example.com> 1700000000 +0000"


@pytest.fixture
def clone(site: Site) -> Git:
    """Give a clone whose pushes are judged."""
    return site.clone()


def commit(git: Git, parents: Iterable[str], message: str = "x", author: str = WHO) -> str:
    """Write a commit with the tree of HEAD."""
    listed = "".join(f"parent {parent}\n" for parent in parents)
    tree = git("rev-parse", "HEAD^{tree}")
    return Objects(git).add("commit", f"tree {tree}\n{listed}author {author}\ncommitter {WHO}\n\n{message}\n".encode())


def long_line(git: Git, count: int) -> list[str]:
    """Put so many commits on top of HEAD, and give them, oldest first."""
    head = git.head
    stream = "".join(
        f"commit refs/heads/long\nmark :{n}\ncommitter {WHO}\ndata 1\nx\n" + (f"from {head}\n" if n == 1 else "")
        for n in range(1, count + 1)
    )
    command = ["git", "fast-import", "--quiet"]
    subprocess.run(command, cwd=git.folder, input=stream.encode(), check=True, env=git.environment)
    return git("rev-list", "--first-parent", "--reverse", f"{head}..long").split()


def test_commits_of_a_long_push_come_in_parts_and_each_once(site: Site, clone: Git) -> None:
    """Those passed over are recorded in several transactions, before what the tip brings, in order."""
    first = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    line = long_line(clone, JUDGED_MAX + 2 * TOGETHER_MAX + 50)
    assert clone.push("long:main").code == 0
    site.pai("reconcile")
    passed = len(line) - JUDGED_MAX
    outcomes = ["superseded"] * passed + ["accepted"] * JUDGED_MAX
    assert site.outcomes() == [(first, "accepted"), *zip(line, outcomes, strict=True)]
    times = [row["time"] for row in site.rows("type:revision.superseded")]
    assert len(times) == passed
    assert len(set(times)) == 3


def test_long_messages_below_the_tip_have_a_share_together(site: Site, clone: Git) -> None:
    """Thousands of them pack to nothing: those beyond the share are cut short, the tip's own is whole."""
    tip = clone.pushed({"models/a.yaml": binding("a")})
    for number in range(60):
        tip = commit(clone, [tip], f"{number} " + "m" * 16_000)
    assert clone.push(f"{tip}:main").code == 0
    site.pai("reconcile")
    sizes = [len(row["data"]["message"]) for row in site.rows("type:revision.accepted")][1:]
    assert sum(sizes) < MESSAGES_CHARACTERS_MAX + 60 * (MESSAGE_CHARACTERS_FEW + 1) + 2 * 16_384
    assert sizes[0] > 16_000 < sizes[-1]


def test_commits_that_change_everything_many_times_take_no_more_than_a_share(site: Site, clone: Git) -> None:
    """Two trees in turn are a small push, and would be very many events; the tip is in force all the same."""
    trees = []
    for tokens in (1, 2):
        clone.commit({f"models/m{n}.yaml": binding(f"m{n}", tokens) for n in range(300)})
        trees.append(clone("rev-parse", "HEAD^{tree}"))
    old = clone.head
    for n in range(60):
        old = clone("commit-tree", trees[n % 2], "-p", old, "-m", "x")
    assert clone.push(f"{old}:refs/heads/main").code == 0
    site.pai("reconcile")
    outcomes = site.outcomes()
    assert len(outcomes) == 62
    assert outcomes[-1] == (old, "accepted")
    assert {outcome for _, outcome in outcomes[40:-1]} == {"superseded"}
    assert len(site.rows("type:binding")) <= RECORDED_MAX + 300
    assert site.state().models["m7"].spec["maxTokensPerDay"] == 2


def test_events_of_commits_below_the_tip_have_a_share_of_bytes(site: Site, clone: Git) -> None:
    """A line changed in an object of 1 MiB is a push of a kilobyte, and 2 MiB of the log; so is its deletion."""
    text = agent("big", "a") + f"  text: {'x' * 1_000_000}"
    clone.pushed({"models/a.yaml": binding("a")})
    for n in range(1, 13):
        clone.commit({"big.yaml": f"{text}{n}\n" if n % 4 else None})
    assert clone.push().code == 0
    site.pai("reconcile")
    outcomes = [outcome for _, outcome in site.outcomes()]
    size = sum(len(msgspec.json.encode(row)) for row in site.rows("type:agent"))
    assert size < RECORDED_BYTES_MAX + 2 * len(text)
    assert outcomes[1:4] == ["accepted"] * 3
    assert "superseded" in outcomes
    assert outcomes[-1] == "accepted"


def test_paths_that_patterns_skip_count_as_read(site: Site, clone: Git) -> None:
    """Each commit may bring other patterns, with which all paths are compared: 0.7 ms for each that is skipped."""
    tip = clone.pushed({"models/a.yaml": binding("a")})
    blob, listed = clone("hash-object", "-w", "--stdin", stdin="a: 1\n"), clone("ls-tree", "HEAD")
    files = "".join(f"100644 blob {blob}\t{'ab' * 60}{n}.yaml\n" for n in range(50))
    folder = clone("mktree", stdin=files)
    folders = clone("mktree", stdin="".join(f"040000 tree {folder}\t{n}\n" for n in range(40)))
    for n in range(6):
        patterns = f"{n}\n" + "*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*a?b*\n" * 990 + "ab*.yaml\n"
        rules = clone("hash-object", "-w", "--stdin", stdin=patterns)
        tree = clone("mktree", stdin=f"{listed}\n100644 blob {rules}\t.paiignore\n040000 tree {folders}\tz\n")
        tip = clone("commit-tree", tree, "-p", tip, "-m", "x")
    tip = clone("commit-tree", "HEAD^{tree}", "-p", tip, "-m", "x")
    assert clone.push(f"{tip}:refs/heads/main").code == 0
    site.pai("reconcile")
    outcomes = [outcome for _, outcome in site.outcomes()]
    assert outcomes[:2] == ["accepted"] * 2
    assert outcomes[-3:] == ["superseded", "superseded", "accepted"]


def test_whatever_is_listed_counts_as_read(clone: Git) -> None:
    """Also what is no manifest by its name, and what lies in a folder that is skipped."""
    plain = clone.commit({"models/a.yaml": binding("a"), ".paiignore": "b\n"})
    more = clone.commit({f"z/{n}.txt": "" for n in range(100)} | {".paiignore": "c\n"})
    hidden = clone.commit({f".z/{n}.yaml": "" for n in range(100)})
    judge = Judge(Repository.open(clone.folder / ".git"))
    read = [judge.size_read for sha in (plain, more, hidden) if judge.commit(sha).accepted]
    assert read[1] - read[0] > 100 * ENTRY_SIZE
    assert read[2] - read[1] > 100 * ENTRY_SIZE


def test_too_many_patterns_for_so_many_paths_are_refused(clone: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tree could take minutes: the bound is that of all its paths together."""
    monkeypatch.setattr(verdict.ignore, "WORK_MAX", 100_000)
    files = {f"z/{n}.yaml": binding(f"m{n}") for n in range(100)}
    few = clone.commit({".paiignore": "a*b\n", **files})
    many = clone.commit({".paiignore": "a*b\n" * 999})
    judge = Judge(Repository.open(clone.folder / ".git"))
    assert judge.commit(few).accepted
    assert [d.message for d in judge.commit(many).diagnostics] == [".paiignore has too many patterns for so many paths"]


def test_files_below_the_tip_are_read_as_far_as_a_share(site: Site, clone: Git) -> None:
    """Of a commit that nobody judged before it was in as little is read as of many: the tip does not wait for it."""
    files = 5
    for n in range(4):
        fields = "".join(f"  f{n}{m}: 1\n" for m in range(READ_SIZE_MAX // PROBLEM_SIZE // 2 // files + 1000))
        clone.commit({f"bad{f}.yaml": binding(f"bad{f}") + fields for f in range(files)})
    tip = clone.commit({f"bad{f}.yaml": None for f in range(files)} | {"models/a.yaml": binding("a")})
    assert clone.push("HEAD:refs/heads/main").code == 0
    site.pai("reconcile")
    outcomes = site.outcomes()
    assert outcomes[-1] == (tip, "accepted")
    assert [outcome for _, outcome in outcomes[-5:-1]] == ["rejected", "rejected", "superseded", "superseded"]


def test_no_more_of_a_tree_is_read_than_may_be_in_force(clone: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a file may be as large as the file, and a tree may have very many."""
    monkeypatch.setattr(verdict, "SIZE_MAX", 20 * read_manifests(binding("m10").encode()).size)
    before = clone.commit({"a.yaml": binding("a")})
    after = clone.commit({f"models/m{n}.yaml": binding(f"m{n}") for n in range(10, 60)})
    for known in (None, before):
        judge = Judge(Repository.open(clone.folder))
        if known is not None:
            assert judge.commit(known).accepted
        found = judge.commit(after)
        assert [d.message.partition(" more")[0] for d in found.diagnostics] == ["the revision's objects take"]
        assert judge.files_read < 25


@pytest.mark.usefixtures("quickly")
def test_file_that_is_dense_is_not_judged_by_the_daemon(site: Site, clone: Git) -> None:
    """It is small, and takes as long to be read as hundreds of usual ones: the hook does that in its own process."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    usual, dense = (
        clone.commit(
            {"b.yaml": agent("b", "a") + f"  x: [{','.join(item * 2 for _ in range(100_000 // len(item)))}]\n"}
        )
        for item in ("several words " * 10, "x")
    )
    index = load_index(Workspace.open(site.root).index_file)

    def judged(commit: str) -> Verdict:
        push = JudgePush("refs/heads/main", False, commit, str(clone.folder / ".git"), [])
        return judge_small(Workspace.open(site.root), push, {("model", "a")}, old, index)

    assert judged(usual).accepted
    with pytest.raises(TooLarge):
        judged(dense)


def test_what_is_no_manifest_is_no_change(clone: Git) -> None:
    """A remote may change 100,000 files at each tip: of those that nobody judges nothing is made or kept."""
    blobs = [clone("hash-object", "-w", "--stdin", stdin=text) for text in "ab"]
    listed, commits = clone("ls-tree", clone.pushed({"models/a.yaml": binding("a")})), []
    for blob in blobs:
        folder = clone("mktree", stdin="".join(f"100644 blob {blob}\t{n}.txt\n" for n in range(20_000)))
        tree = clone("mktree", stdin=f"{listed}\n040000 tree {folder}\tz\n")
        commits.append(clone("commit-tree", tree, "-p", "HEAD", "-m", "x"))
    judge = Judge(Repository.open(clone.folder))
    assert judge.commit(commits[0]).accepted
    tracemalloc.start()
    try:
        assert judge.commit(commits[1]).accepted
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_more_changed_manifests_than_there_may_be_are_not_listed(clone: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is read anew then, as far as it may be."""
    monkeypatch.setattr(verdict, "CHANGED_MAX", 10)
    monkeypatch.setattr(verdict, "FILES_MAX", 20)
    few = clone.commit({"models/a.yaml": binding("a")})
    many = clone.commit({f"models/m{n}.yaml": binding(f"m{n}") for n in range(30)})
    judge = Judge(Repository.open(clone.folder))
    assert judge.commit(few).accepted
    assert "manifests" in judge.commit(many).diagnostics[0].message
    assert judge.files_read <= 22


@pytest.mark.parametrize("what", ["parents", "bytes", "together"])
@pytest.mark.parametrize("running", [False, True])
def test_commit_that_cannot_be_walked_over_is_refused_below_a_sound_tip(
    site: Site, clone: Git, what: str, running: bool
) -> None:
    """Else the branch would be one that nobody can follow any more."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    if what == "parents":
        bad = commit(clone, [old] * (PARENTS_MAX + 1))
    elif what == "bytes":
        bad = commit(clone, [old], "x" * COMMIT_BYTES_MAX)
    else:
        bad = commit(clone, [old], "x" * (COMMIT_BYTES_MAX - 500))
    tip = commit(clone, [bad])
    for _ in range(LONG_BYTES_MAX // COMMIT_BYTES_MAX if what == "together" else 0):
        tip = commit(clone, [tip], "x" * (COMMIT_BYTES_MAX - 500))
    if running:
        with site.daemon():
            refused = clone.push(f"{tip}:main")
    else:
        refused = clone.push(f"{tip}:main")
    assert refused.code != 0
    assert bad in refused.err
    assert site.bare("rev-parse", "main") == old


def test_refusal_is_short_on_the_log_however_long_what_is_wrong(site: Site, clone: Git) -> None:
    """Problems have their paths and what they quote: as many are listed as have room, and the others are counted."""
    objects = Objects(clone)
    clone.pushed({"models/a.yaml": binding("a")})
    wrong = agent("b", *(f"nobody{n}{'y' * 900}" for n in range(5)))
    tip = objects.commit(deep(objects, grid(objects, wrong.encode(), side=20)), clone.head)
    clone.run("push", "--receive-pack=git -c core.hooksPath=/dev/null receive-pack", "origin", f"{tip}:main")
    site.pai("reconcile", code=1)
    (refused,) = [row["data"] for row in site.rows("type:revision.rejected")]
    assert DIAGNOSTICS_BYTES_MAX // 4 < len(msgspec.json.encode(refused)) < DIAGNOSTICS_BYTES_MAX + 20_000
    said = json.loads(site.run("validate", "--rev", tip, "-o", "json", cwd=clone.folder).out)["diagnostics"]
    assert len(refused["diagnostics"]) + refused["omitted"] == len(said)
    assert refused["diagnostics"] == said[: len(refused["diagnostics"])]


def test_what_a_commit_claims_of_its_author_is_short_on_the_log(site: Site, clone: Git) -> None:
    """A name may be as long as the commit, and stands in every event of what the commit changes."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    tip = commit(clone, [old], author=f"{'n' * 200_000} <{'e' * 200_000}@example.com> 1700000000 +0000")
    assert clone.push(f"{tip}:main").code == 0
    site.pai("reconcile")
    event = site.rows("type:revision.accepted")[-1]
    claimed = event["data"]["author"]
    assert event["data"]["commit"] == tip
    assert len(claimed["name"]) == len(claimed["email"]) == len(event["actor"]) == PERSON_CHARACTERS_MAX


@pytest.mark.parametrize("far", [0, 240, 490, 740, 990, 2970])
def test_key_in_what_a_commit_claims_is_masked_wherever_it_stands(site: Site, clone: Git, far: int) -> None:
    """Also where it is cut, by what is kept or by what is looked at: no half of it is on the log."""
    old = clone.pushed({"models/a.yaml": binding("a")})
    key = "sk-ant-api03-" + "aB1" * 30
    filling = f"{'sk-ant-api03-' + 'cD2' * 30} " * 90  # which masking makes short
    name = filling[: far - far % len(key)] + key + "=" * 100_000
    tip = commit(clone, [old], author=f"{name} <a@example.com> 1700000000 +0000")
    assert clone.push(f"{tip}:main").code == 0
    site.pai("reconcile")
    assert "aB1" not in str(site.rows("type:revision.accepted")[-1])


@pytest.mark.parametrize("where", ["name", "email", "message"])
def test_what_is_not_kept_of_a_commit_is_not_masked(where: str) -> None:
    """Masking a text is one call, in which every other thread of the daemon waits."""

    def work(size: int) -> float:
        said = dict.fromkeys(("name", "email", "message"), "x") | {where: "password:'" * (size // 10)}
        person = f"{said['name']} <{said['email']}> 1 +0000"
        raw = f"tree {'0' * 40}\nauthor {person}\ncommitter {person}\n\n{said['message']}\n"
        info = parse_commit("0" * 40, raw.encode())
        began = time.thread_time()
        commit_fields(info, "")
        return time.thread_time() - began

    kept, long = (min(work(size) for _ in range(3)) for size in (32 * 1024, COMMIT_BYTES_MAX))
    assert long < 8 * kept, (long, kept)


def deleted(git: Git, kept: str) -> str:
    """Give a tree that has nothing left but one model of HEAD."""
    models = git("mktree", stdin=git("ls-tree", "HEAD:models", f"{kept}.yaml") + "\n")
    return git("mktree", stdin=f"040000 tree {models}\tmodels\n")


def test_commits_that_delete_much_share_one_search_for_permission(
    site: Site, clone: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long side line is not walked again for each commit below a sound tip, and the tip has a search of its own."""
    base = clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(4)})
    site.pai("reconcile")
    side, whole, tree = long_line(clone, LOOKED_MAX + 10)[-1], clone("rev-parse", "HEAD^{tree}"), deleted(clone, "m0")
    line = [base]
    for _ in range(20):
        line.append(clone("commit-tree", tree, "-p", line[-1], "-p", side, "-m", "x"))
    tip = clone("commit-tree", whole, "-p", line[-1], "-m", "all of it again")
    assert clone.push(f"{tip}:main").code == 0
    looked = []
    ancestors = Repository.ancestors

    def counted(self: Repository, *arguments: object) -> Iterator[str]:
        for each in ancestors(self, *arguments):  # type: ignore[arg-type]
            looked.append(each)
            yield each

    monkeypatch.setattr(Repository, "ancestors", counted)
    judge = Judge(Repository.open(site.root / "config.git"))
    present = judge.commit(base).objects.keys()
    for sha in line[1:]:
        (problem,) = judge.revision(sha, present, base, tip=False).diagnostics
        assert (problem.rule, f"more than {LOOKED_MAX:,} commits" in problem.hint) == ("PAI303", True)
    assert len(looked) <= 2 * LOOKED_MAX + len(line)
    looked.clear()
    with pytest.raises(TooLarge):  # then the hook judges in its own process
        Judge(judge.repository, most=SMALL).guarded(judge.commit(line[1]), line[1], present, base)
    assert len(looked) <= 2 * SMALL.commits
    assert judge.revision(tip, present, base).accepted
    site.pai("reconcile")
    assert site.state().revision == tip


@pytest.mark.parametrize("where", ["line", "side"])
def test_permission_to_delete_counts_on_the_own_line_however_long_the_history(
    site: Site, clone: Git, where: str
) -> None:
    """Beyond the bound what a side brings is not looked through, and the pusher reads where the trailer has to be."""
    clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(4)})
    base = long_line(clone, LOOKED_MAX + 10)[-1]
    assert clone.push(f"{base}:main").code == 0
    site.pai("reconcile")
    allow = "x\n\nPai-Allow-Deletions: yes"
    side = clone("commit-tree", deleted(clone, "m0"), "-p", base, "-m", allow)
    first = side if where == "line" else clone("commit-tree", deleted(clone, "m0"), "-p", base, "-p", side, "-m", "x")
    tip = clone("commit-tree", deleted(clone, "m0"), "-p", first, "-m", "x")
    done = clone.push(f"{tip}:main")
    assert (done.code == 0) == (where == "line")
    assert ("the branch's own line: more than 5,000 commits" in done.err) == (where == "side")
