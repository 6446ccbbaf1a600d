"""The grammar of commands is kubectl's: TYPE/NAME, kinds by every name, options anywhere, labels."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support import PAI, Site, agent, binding

KINDS = [
    ("model", "flash", "modelbinding.pai.io/flash"),
    ("agent", "my-agent", "agentworkload.pai.io/my-agent"),
]
WORDS = {
    "model": ["model", "models", "modelbinding", "modelbindings", "modelbinding.pai.io", "mb", "ModelBinding"],
    "agent": ["agent", "agents", "agentworkload", "agentworkloads", "agentworkload.pai.io", "aw"],
}


@pytest.mark.parametrize("verb", ["get", "describe", "history", "blame"])
@pytest.mark.parametrize(("kind", "name", "full"), KINDS)
def test_every_verb_takes_every_name_of_a_kind(team: Site, verb: str, kind: str, name: str, full: str) -> None:
    """A kind by its short, full and plural name, as TYPE NAME and as TYPE/NAME, which is what `-o name` prints."""
    assert team.pai("get", kind, name, "-o", "name").out == full + "\n"
    texts = {team.pai(verb, word, name).out for word in WORDS[kind]}
    texts |= {team.pai(verb, f"{word}/{name}").out for word in WORDS[kind]}
    assert len(texts | {team.pai(verb, full).out}) == 1


@pytest.mark.parametrize("kind", WORDS)
def test_every_name_of_a_kind_is_explained_and_added(team: Site, kind: str) -> None:
    """In front of fields, where a full name has dots itself, and whatever options stand before it."""
    options = {"model": ["--provider", "openai", "--api-key", "secret/s:k"], "agent": ["--model", "mb/flash"]}[kind]
    for number, word in enumerate(WORDS[kind]):
        assert team.pai("explain", f"{word}.spec").out == team.pai("explain", f"{kind}.spec").out
        team.pai("add", *options, word, f"new-{number}")
        assert team.pai("get", kind, f"new-{number}").out
    assert "has no field foo" in team.pai("explain", "modelbinding.pai.io.foo", code=1).err
    if kind == "model":
        assert team.pai("get", kind, "new-0", "-o", "json").json["spec"]["apiKeySecretRef"] == {"name": "s", "key": "k"}


@pytest.mark.parametrize("verb", ["history", "blame"])
def test_forms_of_data_are_those_of_every_verb(team: Site, verb: str) -> None:
    """YAML says what JSON says, a wide table is a table, and a name is what other verbs take."""
    told = team.pai(verb, "model", "flash", "-o", "json").json
    assert yaml.safe_load(team.pai(verb, "model", "flash", "-o", "yaml").out) == told
    assert team.pai(verb, "model", "flash", "-o", "wide").out == team.pai(verb, "model", "flash").out
    assert team.pai(verb, "mb", "flash", "-o", "name").out == "modelbinding.pai.io/flash\n"
    assert yaml.safe_load(team.pai("version", "-o", "yaml").out) == team.pai("version", "-o", "json").json


def test_several_names_and_kinds_at_once(team: Site) -> None:
    """Names after a kind, TYPE/NAMEs, kinds with commas, and all; each object once."""
    assert len(team.pai("get", "models", "flash", "sonnet", "flash").out.splitlines()) == 3
    done = team.pai("get", "mb/sonnet", "aw/my-agent", "-o", "json").json
    assert [item["metadata"]["name"] for item in done["items"]] == ["sonnet", "my-agent"]
    assert team.pai("get", "models,agents", "-o", "name").out == (
        "modelbinding.pai.io/flash\nmodelbinding.pai.io/sonnet\nagentworkload.pai.io/my-agent\n"
    )
    assert team.pai("get", "all", "-o", "name").out.startswith(team.pai("get", "mb,aw", "-o", "name").out)
    table = team.pai("get", "models,agents").out
    assert "modelbinding.pai.io/flash " in table
    assert "agentworkload.pai.io/my-agent " in table
    assert len(team.pai("describe", "models", "flash", "sonnet", "-o", "json").json["items"]) == 2
    assert "is about one object" in team.pai("history", "models", "flash", "sonnet", code=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "modles"], "did you mean models?"),
        (["get", "ingresses"], "TYPE is one of models, agents, secrets or keys"),
        (["get", "model/flash", "sonnet"], "write TYPE/NAME for each, or for none"),
        (["get", "models,agents", "flash"], "write TYPE/NAME for each"),
        (["get", "model/"], "is not TYPE/NAME"),
        (["add", "model", "x", "--provider", "gemni", "--api-key", "k"], "did you mean --provider gemini?"),
        (["add", "model", "x", "--provider", "Gemini", "--api-key", "k"], "did you mean --provider gemini?"),
        (["add", "model", "x", "--provider", "no", "--api-key", "k"], "one of anthropic, gemini, openai, openrouter"),
        (["add", "modle", "x"], "did you mean model?"),
        (["get", "models", "-o", "yml"], "did you mean --output yaml?"),
        (["completion", "bsh"], "did you mean bash?"),
        (["get", "models", ""], "a name is empty"),
        (["get", "models", "flash", "-l", "a=b"], "labels and names at once"),
        (["get", "models", "-l", "a in"], "cannot read the labels"),
        (["describe", "secrets", "x"], "pai describe knows no secrets"),
        (["describe", "models"], "needs a NAME"),
        (["delete", "models"], "needs a NAME"),
        (["delete", "model/flash", "--agent", "my-agent"], "pai delete key --agent A"),
        (["delete", "model/flash", "-f", "-"], "leave out the names, or -f"),
        (["status", "model/flash"], "names no agent"),
        (["env", "model/flash"], "names no agent"),
        (["get", "models", "-o", ""], "-o"),
        (["log", "--limit="], "--limit"),
        (["validate", "--rev", ""], "--rev is given an empty value"),
        (["add", "model", "x", "--provider", "openai", "--api-key", "s", "--model", ""], "--model is given an empty"),
        (["add", "model", "x", "--provider", "openai", "--api-key", "s:"], "write SECRET, or SECRET:KEY"),
        (["add", "model", "x", "--provider", "openai", "--api-key", ":k"], "write SECRET, or SECRET:KEY"),
        (["serve", "now"], "a word too many: now"),
        (["init", ""], "pai init is given an empty path"),
        (["validate", ""], "pai validate is given an empty path"),
        (["verify", " "], "pai verify is given an empty path"),
        (["export", ""], "pai export is given an empty path"),
        (["verify", "x", "--accept"], "hint: leave out the path"),
        (["add", "model", "x", "--provider", "openai", "--api-key", "model/s"], "names no secret"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_wrong_usage(team: Site, words: list[str], said: str) -> None:
    """Exit 2, nothing on stdout, nothing changed, and what would be right."""
    head = team.bare("rev-parse", "main")
    done = team.pai(*words, code=2)
    assert done.out == ""
    assert said in done.err, done.err
    assert team.bare("rev-parse", "main") == head


def test_options_stand_anywhere(team: Site) -> None:
    """Before the verb, between its words and behind them, the workspace's too."""
    wanted = team.pai("get", "models", "flash", "-o", "json").out
    for words in (
        ["-o", "json", "get", "models", "flash"],
        ["get", "-o", "json", "models", "flash"],
        ["get", "models", "-o=json", "flash"],
        ["--output=json", "get", "models", "flash"],
        ["get", "models", "flash", "-w", str(team.root), "-o", "json"],
        ["get", "models", "-ojson", "--", "flash"],
        ["get", "-o", "json", "--", "models", "flash"],
    ):
        assert team.pai(*words).out == wanted
    team.pai("add", "--provider", "gemini", "model", "--api-key", "k", "early")
    assert "early" in team.state().models
    team.pai("add", "--admin", "key", "somebody")
    assert team.pai("log", "type:binding", "--limit", "1", "model:early", "-o", "jsonl").out.count("\n") == 1


def test_workspace_is_named_in_every_place(team: Site, tmp_path: Path) -> None:
    """Before the verb, behind it, behind the kind and at the end, from any folder."""
    for number, words in enumerate(
        (
            ["-w", str(team.root), "add", "secret", "s0", "--from-literal", "k=v"],
            ["add", "-w", str(team.root), "secret", "s1", "--from-literal", "k=v"],
            ["add", "secret", "-w", str(team.root), "s2", "--from-literal", "k=v"],
            ["add", "secret", "s3", "--from-literal", "k=v", f"--workspace={team.root}"],
        )
    ):
        assert team.pai(*words, cwd=tmp_path).out == f"secret/s{number} created\n"


def test_labels_select(team: Site) -> None:
    """As in kubectl: equal, unequal, there, not there, one of several; with no headers if asked for."""
    for name, labels in (("a", "{team: x, tier: one}"), ("b", "{team: y}"), ("c", "{tier: two}")):
        text = binding(name).replace(f"  name: {name}\n", f"  name: {name}\n  labels: {labels}\n")
        team.pai("apply", "-f", "-", stdin=text)
    for selector, names in (
        ("team=x", "a"),
        ("team==y", "b"),
        ("team!=x,tier", "c"),
        ("!team,tier=two", "c"),
        ("team in (x, y)", "a b"),
        ("team notin (x),tier in (two)", "c"),
    ):
        out = team.pai("get", "models", "-l", selector, "--no-headers").out
        assert [line.split()[0] for line in out.splitlines()] == names.split(), selector
    assert team.pai("get", "models", "-l", "team=z").err == "no models are in force\n"


def test_delete_takes_several_and_files(either: Site) -> None:
    """Objects of manifests go in one commit; what a file holds goes with -f; keys go by value and by agent."""
    either.pai("apply", "-f", "-", stdin="---\n".join(binding(name) for name in "abc"))
    before = int(either.bare("rev-list", "--count", "main"))
    done = either.pai("delete", "modelbinding.pai.io/a", "mb/b")
    assert done.out == "modelbinding.pai.io/a deleted\nmodelbinding.pai.io/b deleted\n"
    assert int(either.bare("rev-list", "--count", "main")) == before + 1
    assert either.pai("delete", "-f", "-", stdin=binding("c")).out == "modelbinding.pai.io/c deleted\n"
    assert sorted(either.state().models) == ["flash", "sonnet"]
    assert either.pai("delete", "models", "flash", "nobody", code=1).out == ""
    assert "flash" in either.state().models

    key = either.pai("add", "key", "agent/my-agent").out.strip()
    done = either.pai("delete", "key", key)
    assert key not in done.out + done.err
    assert done.out.startswith("key/key-")
    assert "no such key is in force" in either.pai("delete", "key", key, code=1).err
    for _ in range(2):
        either.pai("add", "key", "my-agent")
    either.pai("add", "key", "my-agent", "--admin")
    assert len(either.pai("delete", "key", "--agent", "my-agent").out.splitlines()) == 2
    assert [key["admin"] for key in either.pai("get", "keys", "-o", "json").json["items"] if "admin" in key]
    assert "has no keys" in either.pai("delete", "keys", "--agent", "my-agent", code=1).err


def test_status_tells_by_its_exit_code_if_asked(team: Site) -> None:
    """A workspace that is ready is 0; an agent whose models cannot serve is 1, and what is printed is the same."""
    assert team.pai("status", "--exit-code").out == team.pai("status").out
    team.pai("status", "my-agent", "--exit-code")
    for secret in team.pai("get", "secrets", "-o", "name").out.split():
        team.pai("delete", secret)
    assert team.pai("status", "agent/my-agent", "--exit-code", code=1).out == team.pai("status", "my-agent").out


def test_schema_is_explained(team: Site) -> None:
    """A kind and each of its fields, by the words of the schema."""
    assert "maxTokensPerDay <integer>" in team.pai("explain", "mb.spec").out
    assert "resets at 00:00 UTC" in " ".join(team.pai("explain", "model.spec.maxTokensPerDay").out.split())
    assert "modelBindings <[]string> -required-" in team.pai("explain", "agent", "--recursive").out
    assert "did you mean maxTokensPerDay?" in team.pai("explain", "model.spec.maxTokenPerDay", code=1).err
    assert "no TYPE 'secret' with a schema" in team.pai("explain", "secret", code=2).err


def test_version_is_that_of_command_and_daemon(either: Site) -> None:
    """The daemon's is told if one runs; outside of a workspace there is none."""
    own = either.pai("--version").out
    told = either.pai("version", "-o", "json").json
    assert own == f"pai {told['command']}\n"
    assert either.pai("version").out == own + (f"daemon {told['daemon']}\n" if "daemon" in told else "")
    assert either.pai("version", "--client").out == own


def test_help_of_a_command(team: Site) -> None:
    """`pai help get` is `pai get --help`; of no command it is an error with the nearest one."""
    assert team.pai("help", "get").out == team.pai("get", "--help").out
    assert "did you mean pai get?" in team.pai("help", "gte", code=2).err


def test_shells_complete_verbs_kinds_and_names(team: Site) -> None:
    """Each shell's script is read by that shell if it is here; all ask the same command."""

    def next_words(*words: str) -> list[str]:
        return team.pai("__complete", "--", *words).out.split()

    assert "get" in next_words("")
    assert next_words("des") == ["describe"]
    assert "agents" in next_words("get", "")
    assert next_words("-w", str(team.root), "status", "m") == ["my-agent"]
    assert next_words("-w", str(team.root / "nowhere"), "status", "m") == []
    assert next_words("get", "models", "f") == ["flash"]
    assert next_words("delete", "model/s") == ["model/sonnet"]
    assert next_words("get", "models", "flash", "") == ["sonnet"]
    assert next_words("status", "") == ["my-agent"]
    assert "json" in next_words("get", "models", "-o", "")
    assert "--no-headers" in next_words("get", "--no")
    assert next_words("add", "agent", "x", "--model", "fl") == ["flash"]
    script = team.pai("completion", "bash").out
    line = f"{script}\nCOMP_WORDS=(pai get models fl); COMP_CWORD=3; _pai; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    command = ["bash", "-c", f'pai() {{ "{PAI}" "$@"; }}\n{line}']
    environment = {**team.environment, "PAI_WORKSPACE": str(team.root)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "flash\n", done
    for shell in ("zsh", "fish"):
        assert "__complete" in team.pai("completion", shell).out


def test_what_get_prints_is_sound_json_for_every_kind(team: Site) -> None:
    """One List for several kinds."""
    agents = agent("second", "flash")
    team.pai("apply", "-f", "-", stdin=agents)
    listing = json.loads(team.pai("get", "agents,models,keys", "-o", "json").out)
    assert [item["kind"] for item in listing["items"]][:3] == ["AgentWorkload", "AgentWorkload", "ModelBinding"]
