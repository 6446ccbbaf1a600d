"""Real pushes through the hook: what gets in, what does not, and what the pusher reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from reconciler.log.sqlite.store import SqliteBackend
from reconciler.source.history import COMMIT_BYTES_MAX
from tests.support import BAD, Git, Site, agent, binding, copied, maybe_daemon, until


def four() -> dict[str, str | bytes | None]:
    """Give four models in four files."""
    return {f"models/m{n}.yaml": binding(f"m{n}") for n in range(4)}


def test_good_push_is_accepted_and_in_force_at_the_next_pass(site: Site) -> None:
    """A push of good manifests gets in, and one pass brings it into force under the author's name."""
    sha = site.clone().pushed({"models/a.yaml": binding("a"), "agents/b.yaml": agent("b", "a")})
    assert site.pai("reconcile").out.startswith(f"revision {sha[:7]} accepted: 2 created")
    assert site.types() == ["binding.created", "agent.created", "revision.accepted"]
    assert {row["actor"] for row in site.rows("type:binding")} == {"alice@example.com"}
    assert site.state().revision == sha


def test_good_push_is_in_force_soon_when_a_daemon_runs(site: Site) -> None:
    """With a daemon nobody has to do anything: the push itself sets it off."""
    with site.daemon() as daemon:
        sha = site.clone().pushed({"models/a.yaml": binding("a")})
        until("the push to be in force", lambda: site.state().revision == sha)
        assert daemon.readiness() == (200, {"ready": True, "reasons": []})


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
def test_bad_push_is_refused_with_place_rule_and_hint(site: Site, daemon: bool) -> None:
    """The pusher reads path:line:col, the rule and the way out; the branch stays where it was; nothing is recorded."""
    clone = site.clone()
    good = clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    clone.commit({"models/bad.yaml": BAD, "agents/c.yaml": agent("c", "nobody")})
    with maybe_daemon(site, daemon):
        done = clone.push()
    assert done.code != 0
    lines = [line.removeprefix("remote: ").rstrip() for line in done.err.splitlines()]
    assert any(line.startswith("agents/c.yaml:7:5: error PAI302 ") for line in lines), done.err
    assert any(line.startswith("models/bad.yaml:8:3: error PAI209 ") for line in lines), done.err
    assert "did you mean maxTokensPerDay" in done.err
    assert "2 problems" in done.err
    assert "Traceback" not in done.err
    assert site.bare("rev-parse", "main") == good
    assert "revision.rejected" not in site.types()


def test_corrected_push_is_accepted_after_a_refused_one(site: Site) -> None:
    """What was refused leaves no trace; a further commit that mends it takes both in, each with its own outcome."""
    clone = site.clone()
    bad = clone.commit({"models/bad.yaml": BAD})
    assert clone.push().code != 0
    good = clone.pushed({"models/bad.yaml": binding("bad")})
    site.pai("reconcile")
    assert site.outcomes() == [(bad, "rejected"), (good, "accepted")]
    assert list(site.state().models) == ["bad"]


def test_warnings_are_shown_and_do_not_refuse(site: Site) -> None:
    """A model id that Pai does not know is a warning on the pusher's terminal, and the push gets in."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a", model="gemini-99-ultra")})
    done = clone.push()
    assert done.code == 0, done
    assert "models/a.yaml:7:10: warning PAI251" in done.err


def test_deleting_the_branch_is_refused(site: Site) -> None:
    """The branch that Pai enforces cannot be deleted by a push."""
    clone = site.clone()
    sha = clone.pushed({"models/a.yaml": binding("a")})
    done = clone.push("--delete", "main")
    assert done.code != 0
    assert "main" in done.err
    assert "deleted" in done.err or "deletion" in done.err
    assert site.bare("rev-parse", "main") == sha


def test_deleting_the_branch_is_refused_by_the_hook_itself(site: Site) -> None:
    """Where git itself would allow it (HEAD points elsewhere), the hook still refuses."""
    clone = site.clone()
    sha = clone.pushed({"models/a.yaml": binding("a")})
    site.bare("symbolic-ref", "HEAD", "refs/heads/other")
    site.bare("config", "receive.denyDeletes", "false")
    done = clone.push("--delete", "main")
    assert done.code != 0
    assert "cannot be deleted" in done.err
    assert site.bare("rev-parse", "main") == sha


@pytest.mark.parametrize("ref", ["refs/pai/checkpoints", "refs/pai/anything"])
def test_refs_of_pai_cannot_be_pushed(site: Site, ref: str) -> None:
    """Nobody but Pai writes below refs/pai/, and a push that tries takes nothing else in either."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    done = clone.push("HEAD:main", f"HEAD:{ref}")
    assert done.code != 0
    assert ref in done.err
    assert site.bare("for-each-ref") == ""


def test_other_branches_pass_unjudged(site: Site) -> None:
    """What is wrong on another branch or a tag is nobody's business, and changes nothing."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    clone.commit({"models/bad.yaml": BAD})
    clone("tag", "v1")
    assert clone.push("HEAD:feature/x", "v1").code == 0
    assert clone.push("--delete", "feature/x").code == 0
    assert "nothing to do" in site.pai("reconcile").out


def test_push_of_several_refs_is_refused_as_a_whole(site: Site) -> None:
    """A bad main takes a good feature branch down with it: pre-receive is all or nothing."""
    clone = site.clone()
    clone.commit({"models/bad.yaml": BAD})
    assert clone.push("HEAD:main", "HEAD:feature").code != 0
    assert site.bare("for-each-ref") == ""


def test_every_commit_of_one_push_gets_its_outcome(site: Site) -> None:
    """Only the tip is judged by the hook; the commits before it are accepted or rejected each on its own."""
    clone = site.clone()
    first = clone.commit({"models/a.yaml": binding("a", 1)})
    broken = clone.commit({"models/a.yaml": BAD}, "broken in between")
    last = clone.commit({"models/a.yaml": binding("a", 3)})
    assert clone.push().code == 0
    site.pai("reconcile")
    assert site.outcomes() == [(first, "accepted"), (broken, "rejected"), (last, "accepted")]
    changes = [(row["type"], row["data"]["revision"], row["data"]["changed"]) for row in site.rows("type:binding")]
    assert changes == [("binding.created.v1", first, []), ("binding.changed.v1", last, ["maxTokensPerDay"])]


def test_force_push_is_an_event_and_the_new_tip_is_in_force(site: Site) -> None:
    """A rewritten history is told as such; only the new tip is judged, and the state is its tree."""
    clone = site.clone()
    base = clone.pushed({"models/a.yaml": binding("a")})
    old = clone.pushed({"models/b.yaml": binding("b")})
    site.pai("reconcile")
    clone("reset", "--quiet", "--hard", base)
    middle = clone.commit({"models/c.yaml": binding("c")})
    new = clone.commit({"models/d.yaml": binding("d")})
    assert clone.push("--force", "HEAD:main").code == 0
    site.pai("reconcile")
    assert sorted(site.state().models) == ["a", "c", "d"]
    rewritten = site.rows("type:history.rewritten")
    assert [(row["subject"], row["data"]) for row in rewritten] == [("branch/main", {"from": old, "to": new})]
    assert site.outcomes()[2:] == [(middle, "superseded"), (new, "accepted")]


@pytest.mark.parametrize("trailer", ["none", "tip", "earlier", "side"])
def test_mass_deletion_needs_the_trailer(site: Site, trailer: str) -> None:
    """Deleting most objects is refused unless some commit since the last accepted state says that it is meant."""
    allow = "\n\nPai-Allow-Deletions: yes"
    clone = site.clone()
    clone.pushed(four())
    site.pai("reconcile")
    gone: dict[str, str | bytes | None] = {f"models/m{n}.yaml": None for n in range(3)}
    if trailer == "earlier":
        clone.commit({"README": "x"}, "Announce it" + allow)
    if trailer == "side":
        clone("checkout", "--quiet", "-b", "side")
        clone.commit(gone, "Clean up" + allow)
        clone("checkout", "--quiet", "main")
        clone.commit({"README": "y"})
        clone("merge", "--quiet", "--no-ff", "--message", "Merge side", "side")
    else:
        clone.commit(gone, "Clean up" + (allow if trailer == "tip" else ""))
    done = clone.push()
    if trailer == "none":
        assert done.code != 0
        assert "PAI303" in done.err
        assert "Pai-Allow-Deletions: yes" in done.err
        assert sorted(site.state().models) == ["m0", "m1", "m2", "m3"]
        return
    assert done.code == 0, done
    site.pai("reconcile")
    assert sorted(site.state().models) == ["m3"]
    assert site.outcomes()[-1] == (clone.head, "accepted")


def test_trailer_before_the_last_accepted_state_does_not_count(site: Site) -> None:
    """A permission is used up once the commit that carries it is in force."""
    clone = site.clone()
    clone.pushed(four(), "Begin\n\nPai-Allow-Deletions: yes")
    site.pai("reconcile")
    clone.commit({f"models/m{n}.yaml": None for n in range(3)})
    assert "PAI303" in clone.push().err


def test_mass_deletion_that_bypassed_the_hook_is_refused_by_the_daemon(site: Site) -> None:
    """The guard holds at the log too, not only at the door."""
    clone = site.clone()
    kept = clone.pushed(four())
    site.pai("reconcile")
    (site.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone.pushed({f"models/m{n}.yaml": None for n in range(3)})
    done = site.pai("reconcile", code=1)
    assert "PAI303" in done.err
    assert site.state().revision == kept


@pytest.mark.parametrize(
    "environment",
    [
        {"PATH": "/usr/bin:/bin"},
        {"GIT_INDEX_FILE": "/nowhere/index", "GIT_WORK_TREE": "/nowhere", "GIT_LITERAL_PATHSPECS": "1"},
        {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONSAFEPATH": "1", "LC_ALL": "C", "LANG": "C"},
        {"PAI_WORKSPACE": "/nowhere"},
    ],
    ids=["path", "git", "python", "pai"],
)
def test_hook_judges_whatever_the_pushers_environment(site: Site, environment: dict[str, str]) -> None:
    """The hook needs neither pai on PATH nor a sane environment, for a good push and for a bad one."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    options = [] if "GIT_INDEX_FILE" not in environment else [f"--work-tree={clone.folder}"]
    good = clone.run(*options, "push", "--quiet", "origin", "HEAD:main", env=environment)
    assert good.code == 0, good
    clone.commit({"models/bad.yaml": BAD})
    bad = clone.run(*options, "push", "--quiet", "origin", "HEAD:main", env=environment)
    assert bad.code != 0
    assert "models/bad.yaml:8:3: error PAI209" in bad.err


def test_hook_works_after_the_workspace_has_moved(site: Site, tmp_path: Path) -> None:
    """A workspace that is moved to another folder keeps its hook, its log and its state."""
    clone = site.clone()
    clone.pushed({"models/a.yaml": binding("a")})
    site.pai("reconcile")
    place = tmp_path / "elsewhere, with space's"
    moved = copied(site, place)
    shutil.rmtree(site.root)
    clone("remote", "set-url", "origin", str(moved.root / "config.git"))
    clone.commit({"models/bad.yaml": BAD})
    assert "models/bad.yaml:8:3" in clone.push().err
    clone.pushed({"models/bad.yaml": binding("b")})
    moved.pai("reconcile")
    assert sorted(moved.state().models) == ["a", "b"]


def test_hook_refuses_when_the_workspace_is_gone(site: Site) -> None:
    """What cannot be judged does not get in."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    (site.root / "pai.toml").unlink()
    done = clone.push()
    assert done.code != 0
    assert "error:" in done.err
    assert "Traceback" not in done.err


def test_hook_refuses_when_the_log_is_damaged(site: Site) -> None:
    """A log that cannot be read refuses the push with the reason, without a stack trace."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    site.database.write_bytes(b"this is no database at all" * 1000)
    done = clone.push()
    assert done.code != 0
    assert "error:" in done.err
    assert "Traceback" not in done.err


def test_hook_works_while_somebody_holds_the_log(site: Site) -> None:
    """Reading for the verdict needs no lock, so a busy writer never holds a push up."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    backend = SqliteBackend(site.database)
    with_store = backend.open()
    try:
        assert clone.push().code == 0
    finally:
        with_store.close()
        backend.release()


def test_hook_judges_the_source_path_only(site: Site) -> None:
    """With source.path set, what lies beside it is nobody's business; paths are told from the repository's root."""
    config = site.root / "pai.toml"
    config.write_text(config.read_text().replace('path = "."', 'path = "deploy/pai"'))
    clone = site.clone()
    clone.pushed({"notes/bad.yaml": BAD, "deploy/pai/models/a.yaml": binding("a")})
    site.pai("reconcile")
    assert site.state().models["a"].file == "deploy/pai/models/a.yaml"
    clone.commit({"deploy/pai/bad.yaml": BAD})
    assert "deploy/pai/bad.yaml:8:3: error" in clone.push().err


def fast_import(site: Site, count: int, bad: int | None) -> Git:
    """Give a work repository whose main has `count` models, `bad` of them broken."""
    source = Git(site.folder, site.environment)
    source("init", "--quiet", "--bare", "--initial-branch=main", "big.git")
    big = Git(site.folder / "big.git", site.environment)
    lines = ["commit refs/heads/main\ncommitter Bob <bob@example.com> 1700000000 +0000\ndata 3\nbig\n"]
    for n in range(count):
        text = binding(f"m{n}", n + 1) if n != bad else BAD
        lines.append(f"M 100644 inline models/{n % 100}/m{n}.yaml\ndata {len(text)}\n{text}\n")
    big("fast-import", "--quiet", stdin="".join(lines))
    big("remote", "add", "origin", str(site.root / "config.git"))
    return big


@pytest.mark.parametrize("unpack_limit", ["1", "1000000"], ids=["kept-pack", "loose"])
def test_ten_thousand_files_are_judged_in_one_push(site: Site, unpack_limit: str) -> None:
    """A big push is judged in quarantine, whether git keeps its pack whole or unpacks it."""
    site.bare("config", "receive.unpackLimit", unpack_limit)
    big = fast_import(site, 10_000, bad=7_777)
    refused = big.push("main:main")
    assert refused.code != 0
    assert "models/77/m7777.yaml:8:3: error PAI209" in refused.err
    assert site.bare("for-each-ref") == ""


def test_ten_thousand_files_come_into_force_at_once(site: Site) -> None:
    """A big push is accepted as one revision."""
    assert fast_import(site, 10_000, bad=None).push("main:main").code == 0
    done = site.pai("reconcile")
    assert "10000 created" in done.out
    assert site.types("type:revision") == ["revision.accepted"]
    assert len(site.state().models) == 10_000


@pytest.mark.parametrize(
    ("name", "mode", "content", "place", "rule"),
    [
        ("models/link.yaml", "120000", "/etc/passwd", "models/link.yaml", "PAI105"),
        ("models/dir", "120000", "../..", "models/dir", "PAI105"),
        ("models/sub", "160000", "", "models/sub", "PAI106"),
        ("models/a\\b.yaml", "100644", binding("x"), "models/a\\", "PAI107"),
        ("models/a\nb.yaml", "100644", binding("x"), "models/a", "PAI107"),
    ],
    ids=["symlink", "folder-symlink", "submodule", "backslash", "newline"],
)
def test_tricks_of_a_tree_are_refused(site: Site, name: str, mode: str, content: str, place: str, rule: str) -> None:
    """Links, other repositories and odd paths are named and refused; nothing outside the repository is read."""
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a")})
    oid = clone.head if mode == "160000" else clone("hash-object", "-w", "--stdin", stdin=content)
    clone("-c", "core.protectNTFS=false", "update-index", "--add", "--cacheinfo", f"{mode},{oid},{name}")
    clone("commit", "--quiet", "--message", "trick")
    done = clone.push()
    assert done.code != 0, done
    line = next(line for line in done.err.splitlines() if rule in line)
    assert place in line
    assert "root:" not in done.err
    assert "Traceback" not in done.err


def raw_tree(clone: Git, entries: list[tuple[bytes, bytes, str]]) -> str:
    """Write a tree object byte by byte, past every check of git's own."""
    body = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    return clone("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=body)


@pytest.mark.parametrize("name", [b"..", b"\xff\xfe.yaml", b"a\x1b[2Jb.yaml"], ids=["dotdot", "not-utf8", "escape"])
def test_hand_made_trees_are_refused_without_a_stack_trace(site: Site, name: bytes) -> None:
    """A tree that no git program would write is refused, and its names cannot steer the pusher's terminal."""
    clone = site.clone()
    blob = clone("hash-object", "-w", "--stdin", stdin=binding("x"))
    if name == b"..":
        inner = raw_tree(clone, [(b"100644", b"x.yaml", blob)])
        tree = raw_tree(clone, [(b"40000", name, inner)])
    else:
        tree = raw_tree(clone, [(b"100644", name, blob)])
    commit = clone("commit-tree", tree, "-m", "trick")
    done = clone.push(f"{commit}:main")
    assert done.code != 0
    assert "Traceback" not in done.err
    assert "\x1b[2J" not in done.err
    assert site.bare("for-each-ref") == ""


def test_paiignore_in_the_push_is_honoured(site: Site) -> None:
    """Files listed in the pushed .paiignore are skipped, by the hook and by the pass alike."""
    clone = site.clone()
    clone.pushed({".paiignore": "charts/\n", "charts/bad.yaml": BAD, "models/a.yaml": binding("a")})
    site.pai("reconcile")
    assert list(site.state().models) == ["a"]
    clone.commit({".paiignore": None})
    assert "charts/bad.yaml:8:3" in clone.push().err


def test_deleting_a_used_binding_points_at_the_agents_line(team: Site) -> None:
    """Removing a binding that an agent names is refused at the agent's list item."""
    clone = team.clone()
    clone.commit({"models/flash.yaml": None})
    assert "agents/my-agent.yaml:7:5: error PAI302" in clone.push().err


def test_inline_keys_are_refused_and_masked(site: Site) -> None:
    """A pushed API key is refused, and not repeated on the terminal nor anywhere in the workspace."""
    key = "sk-ant-api03-" + "Zq8" * 30
    clone = site.clone()
    clone.commit({"models/a.yaml": binding("a") + f"  apiKey: {key}\n"})
    done = clone.push()
    assert done.code != 0
    assert "PAI114" in done.err
    assert key not in done.err + done.out
    for place in (site.root / "data").rglob("*"):
        assert not place.is_file() or key.encode() not in place.read_bytes()
    assert os.listdir(site.root / "config.git" / "objects" / "pack") == []


@pytest.mark.parametrize("served", [True, False])
def test_commit_that_would_fill_the_memory_is_refused(team: Site, served: bool) -> None:
    """A few kilobytes that unpack to a huge message are not let in, with a daemon and without."""
    clone = team.clone()
    clone.commit({"models/a.yaml": binding("a")})
    raw = clone("cat-file", "commit", "HEAD") + "\n" + "x y\n" * 5_000_000
    sha = clone("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw)
    with maybe_daemon(team, served):
        done = clone.run("push", "origin", f"{sha}:refs/heads/main")
    assert done.code != 0
    assert f"has more than {COMMIT_BYTES_MAX:,} bytes" in done.err
    team.bare("fetch", "--quiet", str(clone.folder), f"{sha}")
    team.bare("update-ref", "refs/heads/main", sha)
    assert "has more than" in team.pai("reconcile", code=3).err


@pytest.mark.parametrize("served", [True, False])
def test_tree_that_would_fill_the_memory_is_refused(team: Site, served: bool) -> None:
    """A name of gigabytes packs to kilobytes: the commit is refused like any that cannot be judged."""
    clone = team.clone()
    clone.commit({"models/a.yaml": binding("a")})
    raw = clone.folder / "raw"
    raw.write_bytes(b"100644 " + b"a" * (100 * 1024 * 1024) + b"\0" + b"x" * 20)
    tree = clone("hash-object", "-t", "tree", "--literally", "-w", str(raw))
    raw.unlink()
    sha = clone("commit-tree", tree, "-p", "HEAD", "-m", "huge")
    team.bare("fetch", "--quiet", str(clone.folder), "main")
    pack = clone.folder / "huge"
    names = clone("pack-objects", str(pack), stdin=f"{tree}\n{sha}\n")
    for end in ("pack", "idx"):
        shutil.copy(f"{pack}-{names}.{end}", team.bare.folder / "objects" / "pack")
    with maybe_daemon(team, served):
        team.bare("update-ref", "refs/heads/main", sha)
        if served:
            until("the refusal", lambda: team.rows(f"revision:{sha}"))
        else:
            assert "a folder has more than 4,194,304 bytes of names" in team.pai("reconcile", code=1).err
    row = team.rows(f"revision:{sha}")[0]
    assert row["type"] == "revision.rejected.v1"
    assert row["data"]["diagnostics"][0]["rule"] == "PAI115"


NEWER = """
[audit]
sink = "syslog:"

[gateway]
listen = "unix:/run/pai.sock"
lanes = 4
"""


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
def test_settings_that_the_hook_does_not_need_refuse_no_push(site: Site, daemon: bool) -> None:
    """A section, a key and a value that a newer program wrote are warnings on the pusher's terminal; it is judged."""
    clone = site.clone()
    with maybe_daemon(site, daemon):
        (site.root / "pai.toml").write_text(NEWER)
        clone.commit({"models/a.yaml": binding("a")})
        good = clone.push()
        clone.commit({"models/bad.yaml": BAD})
        bad = clone.push()
    assert good.code == 0, good
    for words in ("there is no section audit", "there is no setting gateway.lanes", "gateway.listen must be host:port"):
        assert words in good.err, good.err
    assert good.err.count("warning: ") == 3
    assert bad.code != 0
    assert "remote: models/bad.yaml:8:3: error PAI209" in bad.err


def test_setting_that_the_hook_needs_refuses_the_push_if_it_is_wrong(site: Site) -> None:
    """What the verdict depends on is never guessed."""
    clone = site.clone()
    (site.root / "pai.toml").write_text('[source]\nrequire_signatures = "quantum"\n')
    clone.commit({"models/a.yaml": binding("a")})
    done = clone.push()
    assert done.code != 0
    assert "source.require_signatures must be" in done.err


def test_unknown_settings_warn_readers_and_stop_the_daemon(team: Site) -> None:
    """Reading goes on with a warning that names the line; `pai serve` does not start without what it may promise."""
    (team.root / "pai.toml").write_text('[source]\nrequire_signature = "all"\n')
    done = team.pai("get", "models", "-o", "name")
    assert (
        "pai.toml:2: there is no setting source.require_signature (did you mean source.require_signatures?)" in done.err
    )
    assert done.err.startswith("warning: ")
    assert done.out.splitlines() == ["modelbinding.pai.io/flash", "modelbinding.pai.io/sonnet"]
    stopped = team.pai("serve", code=3)
    assert stopped.err.startswith("error: ")
    assert "there is no setting source.require_signature\nhint: did you mean" in stopped.err
