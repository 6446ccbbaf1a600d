"""What becomes of a branch's history: an outcome for every commit, whatever shape the history has."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from reconciler.source.history import COMMIT_BYTES_MAX, PARENTS_MAX
from tests.support import BAD, Done, Git, Site, agent, binding, run, until
from tests.support_bombs import FILE, TREE, Objects

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def free(site: Site) -> Git:
    """Give a clone whose pushes no hook judges, as with a repository that has none."""
    (site.root / "config.git" / "hooks" / "pre-receive").unlink()
    return site.clone()


def test_empty_repository_is_an_empty_ready_state(site: Site) -> None:
    """Before the first commit there is nothing in force, and nothing is wrong."""
    assert site.pai("reconcile").out == "the repository has no commit yet; nothing is in force\n"
    status = site.pai("status", "-o", "json").json
    assert status == {"revision": None, "head": None, "ready": True, "reasons": [], "models": []}
    assert site.types() == []


def test_first_pass_gives_every_commit_an_outcome(site: Site, free: Git) -> None:
    """A repository that is older than the workspace is judged from its first commit on."""
    shas = [free.commit({"models/a.yaml": BAD if n == 1 else binding("a", n + 1)}) for n in range(3)]
    free.push()
    site.pai("reconcile")
    assert site.outcomes() == [(shas[0], "accepted"), (shas[1], "rejected"), (shas[2], "accepted")]
    assert "nothing to do" in site.pai("reconcile").out
    assert len(site.outcomes()) == 3


def test_refused_head_keeps_the_last_accepted_state(site: Site, free: Git) -> None:
    """A bad tip exits 1 and changes nothing; mending it takes the new state in."""
    good = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    bad = free.pushed({"models/a.yaml": BAD, "models/b.yaml": binding("b")})
    done = site.pai("reconcile", code=1)
    assert done.out == f"revision {bad[:7]} rejected; in force: {good[:7]}\n"
    assert "models/a.yaml:8:3: error PAI209" in done.err
    assert (site.state().revision, list(site.state().models)) == (good, ["a"])
    fixed = free.pushed({"models/a.yaml": binding("a", 2)})
    site.pai("reconcile")
    assert site.outcomes() == [(good, "accepted"), (bad, "rejected"), (fixed, "accepted")]
    assert sorted(site.state().models) == ["a", "b"]


def test_refused_head_is_recorded_once_and_stays_refused(site: Site, free: Git) -> None:
    """Every further pass, also after a restart, exits 1 with the recorded problems and writes nothing."""
    free.pushed({"models/a.yaml": BAD})
    first = site.pai("reconcile", code=1)
    events = site.state().position
    assert site.pai("reconcile", code=1).err == first.err
    assert site.state().position == events
    with site.daemon() as daemon:
        assert site.pai("reconcile", code=1).err == first.err
        status, answer = daemon.readiness()
        assert status == 200
        assert any("refused" in reason for reason in answer["reasons"])
        assert "pai_head_refused 1.0" in daemon.get("/metrics")[1]
    assert site.types("type:revision") == ["revision.rejected"]


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Give the program as a later version of it might be: bindings know the field `temperature`."""
    place = tmp_path / "later"
    shutil.copytree(ROOT / "reconciler", place / "reconciler", ignore=shutil.ignore_patterns("__pycache__", "_files"))
    shutil.copytree(ROOT / "schemas", place / "schemas")
    schema = place / "schemas" / "modelbinding_v1.json"
    fields = json.loads(schema.read_text())
    fields["properties"]["spec"]["properties"]["temperature"] = {"type": "number"}
    schema.write_text(json.dumps(fields))
    return place


def reconcile_with(version: Path, site: Site) -> Done:
    """Run `pai reconcile` of another version of the program."""
    command = [sys.executable, "-m", "reconciler.cli.main", "reconcile"]
    return run(command, {**site.environment, "PYTHONPATH": str(version)}, site.root)


def test_refused_tip_is_judged_again_by_a_later_version(site: Site, free: Git, later: Path) -> None:
    """What only the version of the program stood against comes into force at its first pass, without a new commit."""
    sha = free.pushed({"models/a.yaml": binding("a") + "  temperature: 0.5\n"})
    assert "PAI209" in site.pai("reconcile", code=1).err
    done = reconcile_with(later, site)
    assert (done.code, done.out.partition(":")[0]) == (0, f"revision {sha[:7]} accepted"), done
    assert site.outcomes() == [(sha, "rejected"), (sha, "accepted")]
    assert site.state().models["a"].spec["temperature"] == 0.5
    events = site.state().position
    assert site.pai("reconcile").out == f"revision {sha[:7]} is in force; nothing to do\n"
    assert site.state().position == events


def test_refusal_for_other_reasons_is_recorded_once(site: Site, free: Git, later: Path) -> None:
    """A later version that refuses the tip for other reasons records them, and nothing if they are the same."""
    sha = free.pushed({"models/a.yaml": binding("a") + "  temperature: warm\n", "models/b.yaml": BAD})
    site.pai("reconcile", code=1)
    for _ in range(2):
        assert "models/a.yaml:12:16: error PAI211" in reconcile_with(later, site).err
        assert site.outcomes() == [(sha, "rejected")] * 2
    free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile", code=1)
    outcomes = site.outcomes()
    assert "models/b.yaml:8:3" in reconcile_with(later, site).err
    assert site.outcomes() == outcomes


def test_merge_is_judged_by_its_first_parent_line(site: Site, free: Git) -> None:
    """What a merge brings in comes into force with the merge; its side commits get no outcome of their own."""
    base = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    free("checkout", "--quiet", "-b", "side")
    free.commit({"models/side.yaml": BAD})
    free.commit({"models/side.yaml": binding("side")})
    free("checkout", "--quiet", "main")
    own = free.commit({"models/b.yaml": binding("b")})
    free("merge", "--quiet", "--no-ff", "--message", "Merge side", "side")
    merge = free.head
    free.push()
    site.pai("reconcile")
    assert site.outcomes() == [(base, "accepted"), (own, "accepted"), (merge, "accepted")]
    assert sorted(site.state().models) == ["a", "b", "side"]


def test_merge_the_other_way_round_judges_the_tip_alone(site: Site, free: Git) -> None:
    """If the old head is not on the first-parent line (a pull that merged), the line's commits are superseded."""
    free.pushed({"models/a.yaml": binding("a")})
    base = free.head
    old = free.pushed({"models/b.yaml": binding("b")})
    site.pai("reconcile")
    free("checkout", "--quiet", "-b", "mine", base)
    own = free.commit({"models/c.yaml": binding("c")})
    free("merge", "--quiet", "--no-ff", "--message", "Merge main", old)
    merge = free.head
    assert free.push("HEAD:main").code == 0
    site.pai("reconcile")
    assert site.outcomes()[2:] == [(own, "superseded"), (merge, "accepted")]
    assert sorted(site.state().models) == ["a", "b", "c"]
    assert "history.rewritten" not in site.types()


def test_branch_set_back_to_an_accepted_commit_is_judged_anew(site: Site, free: Git) -> None:
    """A reset is a rewritten history, and the older commit's tree is in force again."""
    first = free.pushed({"models/a.yaml": binding("a", 1)})
    second = free.pushed({"models/a.yaml": binding("a", 2)})
    site.pai("reconcile")
    site.bare("update-ref", "refs/heads/main", first)
    site.pai("reconcile")
    assert site.state().models["a"].spec["maxTokensPerDay"] == 1
    assert site.outcomes() == [(first, "accepted"), (second, "accepted"), (first, "accepted")]
    assert [row["data"] for row in site.rows("type:history")] == [{"from": second, "to": first}]
    assert "nothing to do" in site.pai("reconcile").out


def test_unrelated_history_with_the_old_one_collected_is_followed(site: Site, free: Git) -> None:
    """After a force-push and a garbage collection the old commit's object is gone, which stops nothing."""
    free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    free("checkout", "--quiet", "--orphan", "fresh")
    new = free.commit({"models/a.yaml": None, "models/z.yaml": binding("z")})
    assert free.push("--force", "HEAD:main").code == 0
    site.bare("reflog", "expire", "--expire=now", "--all")
    site.bare("gc", "--quiet", "--prune=now")
    site.pai("reconcile")
    assert (site.state().revision, list(site.state().models)) == (new, ["z"])
    assert site.types()[-4:] == ["history.rewritten", "binding.created", "binding.deleted", "revision.accepted"]


def test_missing_branch_keeps_the_state_and_says_so(site: Site, free: Git) -> None:
    """A branch that is gone or renamed is no reason to let go of what is in force; it comes back by itself."""
    sha = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    site.bare("branch", "--move", "main", "trunk")
    done = site.pai("reconcile", code=3)
    assert "branch main does not exist" in done.err
    assert "trunk" in done.err
    assert site.state().revision == sha
    assert site.pai("reconcile", env={"PAI_SOURCE_BRANCH": "trunk"}).code == 0
    site.bare("branch", "--move", "trunk", "main")
    assert "nothing to do" in site.pai("reconcile").out


def test_branch_made_anew_with_other_content_is_rewritten_history(site: Site, free: Git) -> None:
    """Deleting and pushing the branch again is a force-push in two steps."""
    free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    site.bare("update-ref", "-d", "refs/heads/main")
    site.pai("reconcile", code=3)
    free("checkout", "--quiet", "--orphan", "fresh")
    free.commit({"models/a.yaml": None, "models/b.yaml": binding("b")})
    assert free.push("HEAD:main").code == 0
    site.pai("reconcile")
    assert list(site.state().models) == ["b"]
    assert "history.rewritten" in site.types()


def test_packed_refs_are_read(site: Site, free: Git) -> None:
    """A ref that only stands in packed-refs is a ref."""
    sha = free.pushed({"models/a.yaml": binding("a")})
    site.bare("pack-refs", "--all", "--prune")
    assert not (site.root / "config.git" / "refs" / "heads" / "main").exists()
    site.pai("reconcile")
    assert site.state().revision == sha


def test_work_tree_repository_counts_commits_only(site: Site) -> None:
    """source.repo may have a work tree: what is committed counts, uncommitted and staged files do not."""
    folder = site.folder / "team"
    folder.mkdir()
    work = Git(folder, site.environment)
    work("init", "--quiet", "--initial-branch=main")
    work.commit({"models/a.yaml": binding("a")})
    work.write({"models/a.yaml": BAD, "models/b.yaml": binding("b"), "models/c.yaml": BAD})
    work("add", "models/b.yaml")
    environment = {"PAI_SOURCE_REPO": str(folder)}
    site.pai("reconcile", env=environment)
    assert list(site.state().models) == ["a"]
    assert work("status", "--porcelain").split("\n") == ["M models/a.yaml", "A  models/b.yaml", "?? models/c.yaml"]


def test_other_source_path_judges_the_same_commit_anew(site: Site, free: Git) -> None:
    """Changing source.path is a change of what is wanted, without a commit."""
    sha = free.pushed({"one/a.yaml": binding("a"), "two/b.yaml": binding("b")})
    site.pai("reconcile", env={"PAI_SOURCE_PATH": "one"})
    assert list(site.state().models) == ["a"]
    site.pai("reconcile", env={"PAI_SOURCE_PATH": "two"})
    assert list(site.state().models) == ["b"]
    assert site.outcomes() == [(sha, "accepted"), (sha, "accepted")]


def test_renamed_file_is_moved_not_changed(site: Site, free: Git) -> None:
    """An object that only changes its place keeps its version; the state knows the new place."""
    first = free.pushed({"models/a.yaml": binding("a"), "agents/x.yaml": agent("x", "a")})
    free("mv", "models/a.yaml", "moved.yaml")
    free.pushed({})
    site.pai("reconcile")
    resource = site.state().models["a"]
    assert (resource.file, resource.revision) == ("moved.yaml", first)
    assert site.types("model:a") == ["binding.created"]
    assert site.rows("type:revision")[-1]["data"]["counts"]["moved"] == 1


def test_authors_of_a_push_are_told_apart(site: Site, free: Git) -> None:
    """Every change carries its own commit's author, also when several people's commits arrive in one push."""
    free.commit({"models/a.yaml": binding("a", 1)})
    free.environment["GIT_AUTHOR_EMAIL"] = "carol@example.com"
    free.commit({"models/a.yaml": binding("a", 2)})
    free.push()
    site.pai("reconcile")
    assert [row["actor"] for row in site.rows("model:a")] == ["alice@example.com", "carol@example.com"]


def test_broken_repository_is_told_and_changes_nothing(site: Site, free: Git) -> None:
    """An object that is missing or damaged is a reason with exit 3, never a half-read revision."""
    sha = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    free.pushed({"models/b.yaml": binding("b")})
    blob = free("rev-parse", "HEAD:models/b.yaml")
    place = site.root / "config.git" / "objects" / blob[:2] / blob[2:]
    place.chmod(0o644)
    good = place.read_bytes()
    place.write_bytes(b"garbage")
    done = site.pai("reconcile", code=3)
    assert blob in done.err or "models/b.yaml" in done.err
    assert site.state().revision == sha
    place.write_bytes(good)
    site.pai("reconcile")
    assert sorted(site.state().models) == ["a", "b"]


def test_repository_that_vanishes_while_serving_comes_back(site: Site, free: Git) -> None:
    """Meanwhile the last state stays in force, /readyz stays 200 and names the reason."""
    free.pushed({"models/a.yaml": binding("a")})
    repository, away = site.root / "config.git", site.folder / "away.git"
    with site.daemon() as daemon:
        until("the first state", lambda: site.state().models)
        repository.rename(away)

        def told() -> bool:
            status, answer = daemon.readiness()
            assert status == 200
            return any("source cannot be read" in reason for reason in answer["reasons"])

        until("readiness to name the reason", told)
        assert site.pai("get", "models", "-o", "name").out == "modelbinding.pai.io/a\n"
        away.rename(repository)
        sha = free.pushed({"models/b.yaml": binding("b")})
        until("the new push to be in force", lambda: site.state().revision == sha)
        until("readiness to have no reason", lambda: daemon.readiness() == (200, {"ready": True, "reasons": []}))


def test_start_without_a_repository_is_ready_once_there_is_one(site: Site, free: Git) -> None:
    """A daemon that has never read its source is not ready; restoring the repository makes it so."""
    sha = free.pushed({"models/a.yaml": binding("a")})
    repository, away = site.root / "config.git", site.folder / "away.git"
    repository.rename(away)
    with site.daemon(ready=False) as daemon:
        until("a reason", lambda: "source cannot be read" in str(daemon.readiness()))
        assert daemon.readiness()[0] == 503
        away.rename(repository)
        until("readiness", lambda: daemon.readiness()[0] == 200)
        until("the state", lambda: site.state().revision == sha)


def test_force_push_while_serving_is_followed(site: Site, free: Git) -> None:
    """Renaming, resetting and repacking under a running daemon ends in the tip's own state."""
    base = free.pushed({"models/a.yaml": binding("a")})
    with site.daemon():
        until("the first state", lambda: site.state().revision == base)
        old = free.pushed({"models/b.yaml": binding("b")})
        until("the second state", lambda: site.state().revision == old)
        free("reset", "--quiet", "--hard", base)
        new = free.commit({"models/c.yaml": binding("c")})
        assert free.push("--force", "HEAD:main").code == 0
        until("the rewritten state", lambda: site.state().revision == new)
        site.bare("pack-refs", "--all", "--prune")
        site.bare("gc", "--quiet", "--prune=now")
        last = free.pushed({"models/d.yaml": binding("d")})
        until("the state after packing", lambda: site.state().revision == last)
    assert sorted(site.state().models) == ["a", "c", "d"]


@pytest.mark.usefixtures("quickly")
def test_lost_index_costs_time_only(site: Site, free: Git, tmp_path: Path) -> None:
    """The kept index is derived: without it, or with a damaged one, the verdict is the same."""
    free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    kept = [place for place in (site.root / "data").iterdir() if "index" in place.name]
    assert kept
    shutil.copy(kept[0], tmp_path / "old-index")
    free.pushed({"models/b.yaml": binding("b")})
    for budget, damage in enumerate((b"", b"garbage", (tmp_path / "old-index").read_bytes()[:-7]), 1):
        free.pushed({"models/a.yaml": binding("a", budget)})
        kept[0].write_bytes(damage)
        site.pai("reconcile")
        budgets = {name: each.spec["maxTokensPerDay"] for name, each in site.state().models.items()}
        assert budgets == {"a": budget, "b": 1000}


def _on_top(
    git: Git, parents: list[str], models: list[tuple[bytes, bytes, str]] | None = None, message: str = "x"
) -> str:
    """Write a commit with these models, or the tree of HEAD, without anybody's leave."""
    objects = Objects(git)
    tree = git("rev-parse", "HEAD^{tree}")
    if models is not None:
        tree = objects.tree([(TREE, b"models", objects.tree(models))])
    who = "A <a@example.com> 1700000000 +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
    return objects.add("commit", ("\n".join(lines) + f"\n\n{message}\n").encode())


def _moved(site: Site, git: Git, commit: str) -> None:
    """Move the branch to a commit of the clone, however unsound it is."""
    shutil.copytree(git.folder / ".git" / "objects", site.root / "config.git" / "objects", dirs_exist_ok=True)
    place = site.root / "config.git" / "refs" / "heads" / "main"
    place.write_text(commit + "\n")


def test_commit_that_lacks_objects_is_told_and_does_not_outlast_a_sound_one(site: Site, free: Git) -> None:
    """While it is the tip, everybody is told why; below a tip that can be read it is refused, and that is all."""
    first = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    broken = _on_top(free, [first], [(FILE, b"z.yaml", "12" * 20)])
    with site.daemon(env={"PAI_SOURCE_INTERVAL": "100ms"}) as daemon:
        _moved(site, free, broken)
        until("the reason", lambda: "1212" in str(daemon.readiness()[1]["reasons"]))
        sound = _on_top(free, [broken])
        _moved(site, free, sound)
        until("the sound tip", lambda: site.state().revision == sound)
        until("no reason", lambda: not daemon.readiness()[1]["reasons"])
    assert site.outcomes() == [(first, "accepted"), (broken, "rejected"), (sound, "accepted")]


@pytest.mark.parametrize("mode", [b"160644", b"140000", b"40755", b"100600"])
def test_mode_that_git_does_not_write_is_refused_everywhere(site: Site, mode: bytes) -> None:
    """To git it may be a submodule, which nobody has to have; so no tree with one comes into force."""
    clone = site.clone()
    first = clone.pushed({"models/a.yaml": binding("a")})
    blob = clone("rev-parse", "HEAD:models/a.yaml")
    tree = clone("rev-parse", "HEAD:models")
    odd = _on_top(clone, [first], [(FILE, b"a.yaml", blob), (mode, b"z.yaml", tree if mode[:1] == b"4" else blob)])
    said = f"models/z.yaml has mode {mode.decode()}"
    assert said in clone.push(f"{odd}:refs/heads/main").err
    with site.daemon():
        assert said in clone.push(f"{odd}:refs/heads/main").err
    assert said in site.pai("validate", "--rev", odd, code=1, cwd=clone.folder).out
    sound = _on_top(clone, [odd])
    assert clone.push(f"{sound}:refs/heads/main").code == 0
    site.pai("reconcile")
    assert site.outcomes() == [(first, "accepted"), (odd, "rejected"), (sound, "accepted")]


@pytest.mark.parametrize("what", ["bytes", "parents"])
def test_commit_that_cannot_be_read_does_not_outlast_a_sound_one(site: Site, free: Git, what: str) -> None:
    """A remote may have one on its branch: what lies beyond it is another history, and the tip is followed."""
    first = free.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    if what == "bytes":
        broken = _on_top(free, [first], message="x" * COMMIT_BYTES_MAX)
    else:
        broken = _on_top(free, [first] * (PARENTS_MAX + 1))
    _moved(site, free, broken)
    assert "take it off the branch" in site.pai("reconcile", code=3).err
    sound = _on_top(free, [broken])
    _moved(site, free, sound)
    site.pai("reconcile")
    assert site.state().revision == sound
    assert "history.rewritten" in site.types()
    after = _on_top(free, [sound])
    _moved(site, free, after)
    site.pai("reconcile")
    assert site.outcomes()[-2:] == [(sound, "accepted"), (after, "accepted")]
    site.pai("verify")


@pytest.mark.parametrize("what", ["bytes", "parents"])
def test_side_commit_that_cannot_be_read_permits_nothing_and_stops_nothing(site: Site, what: str) -> None:
    """What it says is not read, so it allows no deletions; who takes the deletions back is followed."""
    clone = site.clone()
    first = clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(40)})
    site.pai("reconcile")
    allow = "subject\n\nPai-Allow-Deletions: yes\n"
    if what == "bytes":
        side = _on_top(clone, [first], message="x" * COMMIT_BYTES_MAX + "\n\n" + allow)
    else:
        side = _on_top(clone, [first] * (PARENTS_MAX + 1), message=allow)
    deletes = _on_top(clone, [first, side], [])
    assert "PAI" in clone.push(f"{deletes}:refs/heads/main").err
    sound = _on_top(clone, [deletes])
    assert clone.push(f"{sound}:refs/heads/main").code == 0
    site.pai("reconcile")
    assert site.outcomes() == [(first, "accepted"), (deletes, "rejected"), (sound, "accepted")]
