"""Which workspace a command works in, named by `-w` or by PAI_WORKSPACE; and variables that are none of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import VERBS
from tests.support import Done, Git, Site, agent, binding

VERBS_ANYWHERE: dict[str, tuple[str, ...]] = {
    "get": ("get", "all"),
    "describe": ("describe", "model", "flash"),
    "log": ("log", "-o", "jsonl"),
    "status": ("status",),
    "usage": ("usage",),
    "history": ("history", "model", "flash"),
    "blame": ("blame", "model", "flash"),
    "why": ("why", "nothing"),
    "verify": ("verify",),
    "prove": ("prove", "1"),
    "export": ("export", "--format", "jsonl", "/dev/null/no"),
    "prune": ("prune", "--before", "9999d", "--export", "/dev/null/no"),
    "env": ("env", "nobody"),
    "validate": ("validate", "--rev", "main"),
    "diff": ("diff", "main"),
    "reconcile": ("reconcile",),
    "apply": ("apply", "-f", "-", "--dry-run"),
    "add": ("add", "model", "flash", "--provider", "openai", "--api-key", "k"),
    "delete": ("delete", "model", "none"),
    "pin": ("pin", "none"),
    "unpin": ("unpin",),
    "suspend": ("suspend",),
    "resume": ("resume",),
    "rollback": ("rollback", "none"),
    "database": ("database", "move", "sqlite:data/log.db"),
    "init": ("init",),
    "version": ("version",),
}
WITHOUT = {"serve", "demo", "review", "explain", "completion", "help"}
"""What runs on, or has no workspace at all."""


def test_every_verb_is_tried() -> None:
    """A new command belongs into one of the tables."""
    assert VERBS.keys() == VERBS_ANYWHERE.keys() | WITHOUT


@pytest.fixture
def elsewhere(team: Site, tmp_path: Path) -> Path:
    """Give a folder that is a git repository of something else, with no workspace around it."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    team.clone("elsewhere/clone")
    return place / "clone"


def same(done: Done) -> tuple[int, str, str]:
    """Give what a command said; that the variable named the workspace may be said too."""
    return done.code, done.out, done.err.replace(" (PAI_WORKSPACE)", "")


@pytest.mark.parametrize("verb", sorted(VERBS_ANYWHERE))
def test_variable_means_what_the_option_means(team: Site, elsewhere: Path, verb: str) -> None:
    """Each command answers the same, in a clone of something too, and nothing is made where it is called."""
    words = VERBS_ANYWHERE[verb]
    before = sorted(elsewhere.iterdir())
    team.run(*words, "-w", team.root, cwd=elsewhere, stdin=binding("a"))  # what has an effect has it now
    by_option = team.run(*words, "-w", team.root, cwd=elsewhere, stdin=binding("a"))
    by_variable = team.run(*words, cwd=elsewhere, env={"PAI_WORKSPACE": str(team.root)}, stdin=binding("a"))
    assert same(by_variable) == same(by_option)
    assert sorted(elsewhere.iterdir()) == before


@pytest.mark.parametrize("verb", sorted(VERBS_ANYWHERE.keys() - {"init", "version"}))
@pytest.mark.parametrize("place", ["missing", "file", "empty folder"])
def test_place_that_is_no_workspace_is_refused_by_all(team: Site, verb: str, place: str) -> None:
    """Named by option or variable, the words are the same: exit 3 and a way out."""
    target = team.folder / "other"
    if place == "file":
        target.write_text("")
    elif place == "empty folder":
        target.mkdir()
    words = VERBS_ANYWHERE[verb]
    by_option = team.run(*words, "-w", target, stdin=binding("a"))
    by_variable = team.run(*words, env={"PAI_WORKSPACE": str(target)}, stdin=binding("a"))
    assert same(by_variable) == same(by_option)
    assert by_option.code == 3
    said = "is a file, and a workspace is a folder" if place == "file" else "is not a workspace"
    assert f"error: {target} {said}" in by_option.err


@pytest.mark.parametrize("shape", ["{}/", "{}/.", "{}/data/..", "../workspace", "./../workspace/"])
def test_workspace_may_be_spelled_in_many_ways(team: Site, shape: str) -> None:
    """Relative to where the command is called, with a slash behind: the same answer."""
    named = shape.format(team.root)
    plain = team.pai("get", "models").out
    assert team.pai("get", "models", "-w", named).out == plain
    assert team.pai("-w", named, "get", "models").out == plain
    assert team.pai("get", "models", env={"PAI_WORKSPACE": named}).out == plain
    team.pai("add", "model", "new", "--provider", "openai", "--api-key", "k", "-w", named)


def test_option_wins_over_the_variable_and_comes_once(team: Site) -> None:
    """Before and behind the command it is one option: the same workspace twice is fine, two are wrong usage."""
    other = team.folder / "other"
    team.pai("init", other)
    nowhere = {"PAI_WORKSPACE": "/nowhere"}
    add = ("add", "agent", "x", "--model", "flash")
    assert "flash" in team.pai("get", "models", "-w", team.root, env=nowhere).out
    team.pai(*add, "-w", team.root, env=nowhere)
    team.pai("-w", team.root, "get", "models", "-w", f"{team.root}/")
    for words in (("get", "models"), add):
        said = team.pai("-w", team.root, *words, "-w", other, code=2).err
        assert said.startswith("error: two workspaces are named, ")
    for words in (("get", "models", "-w", ""), ("-w", "", "get", "models"), ("get", "models", "--workspace=")):
        team.pai(*words, code=2)


def test_init_makes_the_workspace_that_is_named(site: Site) -> None:
    """DIR, else `-w`, else PAI_WORKSPACE, else the folder where it is called."""
    for number, words in enumerate((["{}"], ["-w", "{}"], [])):
        place = site.folder / f"made{number}"
        here = site.folder / f"here{number}"
        here.mkdir()
        site.pai("init", *(word.format(place) for word in words), cwd=here, env={"PAI_WORKSPACE": str(place)})
        assert (place / "pai.toml").exists()
        assert not list(here.iterdir())


@pytest.mark.parametrize("verb", ["get", "validate", "version", "reconcile", "apply"])
def test_variable_that_is_no_setting_is_warned_of_by_every_command(team: Site, verb: str) -> None:
    """With the nearest name; what others put there is nothing."""
    others = {
        "PAI_KEY": "x",
        "PAI_CONFIG_PATH": "x",
        "PAI_SECRET_GEMINI_KEY_API_KEY": "x",
        "PAI_FORGE_TOKEN": "x",
        "PAI_ADMINISTRATOR": "x",
        "PAI_GATEWAY_PORT": "tcp://10.0.0.1:80",
        "PAI_GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "PAI_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "PAI_GATEWAY_SERVICE_PORT_HTTP": "80",
    }
    wrong = {"PAI_GATEWAY_LISTN": "x", "PAI_SOURCE_BRANHC": "x", "PAI_GATEWAY_PORT": "9000"}
    words = VERBS_ANYWHERE[verb]
    assert "warning: PAI" not in team.run(*words, env=others, stdin=binding("a")).err
    said = team.run(*words, env=others | wrong, stdin=binding("a")).err
    assert "warning: PAI_GATEWAY_LISTN is no setting and is passed over (did you mean PAI_GATEWAY_LISTEN?)" in said
    assert "warning: PAI_SOURCE_BRANHC is no setting and is passed over (did you mean PAI_SOURCE_BRANCH?)" in said
    assert "warning: PAI_GATEWAY_PORT is no setting" in said
    assert said.count("warning: PAI_") == 3


def test_daemon_warns_of_variables_too(site: Site) -> None:
    """Once, before anything else."""
    with site.daemon(env={"PAI_GATEWAY_LISTN": "127.0.0.1:9"}) as daemon:
        assert daemon.log.count("PAI_GATEWAY_LISTN is no setting") == 1


def test_revisions_are_those_of_a_clone_of_the_workspace_and_else_its_own(team: Site, tmp_path: Path) -> None:
    """Who works in a clone means the clone's commits, however the workspace is named; elsewhere there are none."""
    clone = team.clone("kin")
    clone.commit({"models/flash.yaml": binding("flash", 7)})
    stranger = Git(tmp_path, team.environment)
    stranger("init", "--quiet", "stranger")
    stranger = Git(tmp_path / "stranger", team.environment)
    stranger.commit({"README": "x"})
    for words, env in ((("-w", str(team.root)), {}), ((), {"PAI_WORKSPACE": str(team.root)})):
        done = team.run("diff", "HEAD~1", *words, env=env, cwd=clone.folder)
        assert "maxTokensPerDay   1,000,000 -> 7" in done.out, done
        assert team.run("validate", "--rev", "HEAD", *words, env=env, cwd=clone.folder).code == 0
        done = team.run("validate", "--rev", "HEAD", "-o", "json", *words, env=env, cwd=stranger.folder)
        assert (done.code, done.err) == (0, ""), done
        assert team.run("diff", "main", *words, env=env, cwd=stranger.folder).out == "no object changes\n"


def test_clone_of_a_named_workspace_is_judged_where_its_manifests_are(site: Site) -> None:
    """By the source path, as the hook judges: what lies beside that folder is no manifest, and ignores none."""
    settings = site.root / "pai.toml"
    settings.write_text(settings.read_text().replace('path = "."', 'path = "sub"'))
    clone = site.clone("kin")
    clone.pushed({"other.yaml": "x: 1\n", "sub/a.yaml": binding("a"), "b.yaml": binding("b")})
    clone.commit({"sub/c.yaml": agent("c", "b"), ".paiignore": "sub\n"})
    for words, env in ((("-w", str(site.root)), {}), ((), {"PAI_WORKSPACE": str(site.root)})):
        done = site.run("validate", "--rev", "HEAD~1", *words, env=env, cwd=clone.folder)
        assert (done.code, done.err) == (0, "ok: 1 object\n")
        assert site.run("validate", "--rev", "HEAD", *words, env=env, cwd=clone.folder).code == 1
        assert site.run("validate", "--rev", "HEAD~1", ".", *words, env=env, cwd=clone.folder).code == 1
        done = site.run("diff", "HEAD~1", *words, env=env, cwd=clone.folder)
        assert (done.code, "sub/c.yaml:7:5: error PAI302" in done.err) == (1, True), done
    assert "sub/c.yaml:7:5: error PAI302" in clone.push().err
