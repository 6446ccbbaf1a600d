"""Commands that change something: add, apply, delete. The same with and without a running daemon."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support import BAD, PAI, Done, Site, agent, binding

CANARY = "canary-9f3kq7-value"


def show(site: Site, path: str) -> str:
    """Give a file of the branch's tip."""
    return site.bare("show", f"main:{path}") + "\n"


def assert_in_force(site: Site) -> None:
    """Check that the branch's tip is what is in force now, without anybody having to wait."""
    assert site.state().revision == site.bare("rev-parse", "main")


@pytest.mark.parametrize(
    ("provider", "options", "model"),
    [
        ("anthropic", [], "claude-sonnet-4-6"),
        ("gemini", [], "gemini-2.0-flash"),
        ("openai", [], "gpt-4o"),
        ("openrouter", ["--model", "meta-llama/llama-3.3-70b-instruct"], "meta-llama/llama-3.3-70b-instruct"),
    ],
)
def test_add_model_has_the_defaults_of_its_provider(team: Site, provider: str, options: list[str], model: str) -> None:
    """Without --model each provider has one but openrouter; the key is api-key; it is in force on return."""
    done = team.pai("add", "model", "fresh", "--provider", provider, *options, "--api-key", "some-key")
    assert done.out == "modelbinding.pai.io/fresh created\n"
    assert_in_force(team)
    item = team.pai("get", "models", "fresh", "-o", "json").json
    assert item["spec"] == {
        "provider": provider,
        "model": model,
        "apiKeySecretRef": {"name": "some-key", "key": "api-key"},
    }
    assert item["status"]["source"] == {"path": "models/fresh.yaml", "line": 1}


def test_add_model_and_agent_are_commits_by_the_user(either: Site) -> None:
    """Budgets and SECRET:KEY are written, the author is the user, and both are in force on return."""
    words = [
        "--provider",
        "gemini",
        "--api-key",
        "vault:main",
        "--max-tokens-day",
        "5000",
        "--max-tokens-request",
        "70",
    ]
    either.pai("add", "model", "fresh", *words)
    assert either.pai("add", "agent", "helper", "--model", "fresh", "--model", "flash").out == (
        "agentworkload.pai.io/helper created\n"
    )
    assert_in_force(either)
    spec = either.state().models["fresh"].spec
    assert (spec["maxTokensPerDay"], spec["maxTokensPerRequest"]) == (5000, 70)
    assert spec["apiKeySecretRef"] == {"name": "vault", "key": "main"}
    assert either.state().agents["helper"].spec == {"modelBindings": ["fresh", "flash"]}
    assert either.bare("log", "-2", "--format=%an <%ae>", "main") == "Alice <alice@example.com>\n" + (
        "Alice <alice@example.com>"
    )
    assert either.rows("model:fresh")[0]["actor"] == "alice@example.com"


@pytest.mark.parametrize("budget", ["1_000", "0x10", "1e3", "1.0", "1 000", "٣", "+5", ""])
def test_add_model_takes_budgets_in_plain_digits_only(team: Site, budget: str) -> None:
    """What a manifest may not say, the option may not either: wrong usage, and nothing is committed."""
    before = team.bare("rev-parse", "main")
    words = ["add", "model", "fresh", "--provider", "gemini", "--api-key", "k"]
    assert "plain digits" in team.pai(*words, "--max-tokens-day", budget, code=2).err
    assert "plain digits" in team.pai(*words, "--max-tokens-request", budget, code=2).err
    assert team.bare("rev-parse", "main") == before


@pytest.mark.parametrize("budget", ["0", "-1", "9007199254740992"])
def test_add_model_with_a_budget_out_of_range_is_refused(team: Site, budget: str) -> None:
    """The verdict says so with its rule, and nothing is committed."""
    before = team.bare("rev-parse", "main")
    words = ["add", "model", "fresh", "--provider", "gemini", "--api-key", "k", "--max-tokens-day", budget]
    assert "PAI214" in team.pai(*words, code=1).err
    assert team.bare("rev-parse", "main") == before


def test_add_of_what_exists_is_refused_with_the_way_out(either: Site) -> None:
    """Exit 1 and a hint at pai apply; nothing is committed."""
    before = either.bare("rev-parse", "main")
    done = either.pai("add", "model", "flash", "--provider", "gemini", "--api-key", "k", code=1)
    assert "exists already" in done.err
    assert "pai apply" in done.err
    assert "pai apply" in either.pai("add", "agent", "my-agent", "--model", "flash", code=1).err
    assert either.bare("rev-parse", "main") == before


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("model", "Bad_Name", "--provider", "openai", "--api-key", "k"), "PAI212"),
        (("model", "x", "--provider", "openai", "--api-key", "k", "--max-tokens-day", "0"), "PAI214"),
        (("model", "x", "--provider", "openrouter", "--model", "plain", "--api-key", "k"), "PAI215"),
        (("agent", "x", "--model", "nobody"), "PAI302"),
        (("agent", "x", "--model", "flash", "--model", "flash"), "PAI216"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else value,
)
def test_add_of_what_the_rules_refuse_commits_nothing(team: Site, words: tuple[str, ...], rule: str) -> None:
    """The same rules as for a push, with the rule's id, and exit 1."""
    before = team.bare("rev-parse", "main")
    assert rule in team.pai("add", *words, code=1).err
    assert team.bare("rev-parse", "main") == before


def test_secret_values_are_never_shown_again(either: Site) -> None:
    """From a literal, stdin, a file and the environment: in force at once, and the value stands nowhere in clear."""
    given = either.folder / "given"
    given.mkdir()
    (given / "value").write_text(f"{CANARY}-file\n")
    words = ["--from-file", f"b={given / 'value'}", "--from-env", "c=MY_KEY"]
    done = either.pai("add", "secret", "vault", *words, env={"MY_KEY": f"{CANARY}-env"})
    assert done.out == "secret/vault created\n"
    done = either.pai("add", "secret", "vault", "--from-literal", "d=-", stdin=f"{CANARY}-stdin\n")
    assert done.out == "secret/vault configured\n"
    either.pai("add", "secret", "vault", "--from-literal", f"a={CANARY}-literal")
    assert sorted(either.state().secrets["vault"]) == ["a", "b", "c", "d"]
    either.pai("add", "model", "fresh", "--provider", "openai", "--api-key", "vault:a")
    for words in (
        ["get", "secrets", "-o", "json"],
        ["get", "secrets", "vault", "-o", "yaml"],
        ["get", "secrets", "-o", "wide"],
        ["get", "models", "-o", "json"],
        ["describe", "model", "fresh"],
        ["status"],
        ["log", "-o", "json"],
        ["log"],
        ["verify"],
    ):
        either.pai(*words)
    for output in either.outputs:
        assert CANARY not in output
    for place in either.root.rglob("*"):
        assert not place.is_file() or CANARY.encode() not in place.read_bytes(), place
    for log in either.folder.glob("serve-*.log"):
        assert CANARY not in log.read_text()


def test_secrets_need_no_repository(either: Site) -> None:
    """While the config repository is away, a key can be replaced and removed all the same, by the same person."""
    (either.root / "config.git").rename(either.root / "away.git")
    assert either.pai("add", "secret", "vault", "--from-literal", "a=b").out == "secret/vault created\n"
    assert either.pai("delete", "secret", "vault").out == "secret/vault deleted\n"
    assert {row["actor"] for row in either.rows("type:secret", "-actor:pai")} == {"alice@example.com"}
    either.pai("add", "model", "fresh", "--provider", "openai", "--api-key", "vault", code=3)
    (either.root / "away.git").rename(either.root / "config.git")


def test_secret_makes_its_model_ready_and_unready(either: Site) -> None:
    """Storing the key that a binding names makes it Ready; deleting the secret takes that back."""

    def ready(name: str) -> dict[str, str]:
        (condition,) = either.pai("get", "models", name, "-o", "json").json["status"]["conditions"]
        assert condition["type"] == "Ready"
        return dict(condition)

    assert ready("flash")["status"] == "True"
    assert either.pai("delete", "secret", "gemini-key").out == "secret/gemini-key deleted\n"
    assert ready("flash")["status"] == "False"
    assert "gemini-key" in ready("flash")["message"]
    assert "gemini-key" in either.pai("delete", "secret", "gemini-key", code=1).err
    either.pai("add", "secret", "gemini-key", "--from-literal", "other=x")
    assert ready("flash")["message"] == "secret gemini-key has no key api-key"


def test_delete_of_a_used_binding_is_refused_at_the_agents_line(either: Site) -> None:
    """Exit 1 with the place in the agent's list; once no agent names it, the binding can go."""
    before = either.bare("rev-parse", "main")
    done = either.pai("delete", "model", "flash", code=1)
    assert "agents/my-agent.yaml:7:5: error PAI302" in done.err
    assert either.bare("rev-parse", "main") == before
    assert either.pai("delete", "agent", "my-agent").out == "agentworkload.pai.io/my-agent deleted\n"
    assert either.pai("delete", "model", "flash").out == "modelbinding.pai.io/flash deleted\n"
    assert_in_force(either)
    assert either.bare("ls-tree", "-r", "--name-only", "main") == "models/sonnet.yaml"
    assert list(either.state().models) == ["sonnet"]


def test_delete_of_nothing_is_not_found(team: Site) -> None:
    """Exit 1 and the name."""
    for kind in ("model", "agent", "secret"):
        assert "nobody" in team.pai("delete", kind, "nobody", code=1).err


def apply(site: Site, text: str, *words: str, code: int = 0) -> Done:
    """Apply manifests from stdin."""
    return site.pai("apply", "-f", "-", *words, stdin=text, code=code)


def test_apply_says_created_configured_unchanged(either: Site) -> None:
    """One line an object in the order given; the state is in force on return; nothing to change is no commit."""
    text = "---\n".join([binding("flash", 5), binding("fresh"), agent("my-agent", "flash", "sonnet")])
    done = apply(either, text, "-m", "Tune the team")
    assert done.out == (
        "modelbinding.pai.io/flash configured\nmodelbinding.pai.io/fresh created\n"
        "agentworkload.pai.io/my-agent unchanged\n"
    )
    assert_in_force(either)
    assert either.state().models["flash"].spec["maxTokensPerDay"] == 5
    assert either.bare("log", "-1", "--format=%s|%ae", "main") == "Tune the team|alice@example.com"
    head = either.bare("rev-parse", "main")
    done = apply(either, text)
    assert [line.split()[1] for line in done.out.splitlines()] == ["unchanged"] * 3
    assert either.bare("rev-parse", "main") == head


def test_apply_dry_run_changes_nothing(either: Site) -> None:
    """The same lines and the same verdict, without a commit."""
    head, events = either.bare("rev-parse", "main"), either.state().position
    done = apply(either, binding("flash", 5), "--dry-run")
    assert done.out.startswith("modelbinding.pai.io/flash configured")
    assert "PAI302" in apply(either, agent("x", "nobody"), "--dry-run", code=1).err
    assert (either.bare("rev-parse", "main"), either.state().position) == (head, events)


def test_apply_edits_the_one_document_and_keeps_the_rest(site: Site) -> None:
    """In a file of several documents only the changed value's line differs: comments, order and spacing stay."""
    text = (
        "# the file's head\n"
        + binding("one", 1).replace("  maxTokensPerDay: 1\n", "  maxTokensPerDay: 1   # a comment beside it\n")
        + "---\n# before two\n"
        + binding("two", 2).replace("spec:\n", "spec:   # what it is\n")
        + "  # the end of two\n---\n"
        + binding("three", 3)
    )
    site.clone().pushed({"all.yaml": text})
    site.pai("reconcile")
    apply(site, binding("two", 22))
    assert show(site, "all.yaml") == text.replace("maxTokensPerDay: 2\n", "maxTokensPerDay: 22\n")
    assert site.state().models["two"].spec["maxTokensPerDay"] == 22
    apply(site, binding("one", 11))
    assert "  maxTokensPerDay: 11   # a comment beside it\n" in show(site, "all.yaml")
    site.pai("delete", "model", "two")
    left = show(site, "all.yaml")
    assert "name: two" not in left
    assert left.startswith("# the file's head\n")
    assert sorted(site.state().models) == ["one", "three"]


COMMENTED = """\
# the cheap one, agreed in June
apiVersion: pai.io/v1
kind: ModelBinding
metadata: {name: fresh, labels: {}}   # used by everyone
spec:
    provider: "gemini"
    model: &m 'gemini-2.0-flash'
    apiKeySecretRef: {name: gemini-key, key: token}   # rotated monthly
# and that is it
"""


def test_apply_of_a_new_object_keeps_the_text_that_was_given(either: Site) -> None:
    """Comments, quotes, anchors, indentation and what equals a default are in the repository as they were typed."""
    apply(either, COMMENTED + "---\n# about another\n" + binding("another", 5))
    assert show(either, "models/fresh.yaml") == COMMENTED
    assert show(either, "models/another.yaml") == "# about another\n" + binding("another", 5)
    apply(either, COMMENTED.replace("metadata: {name: fresh, labels: {}}", "metadata: {name: fresh}"))
    assert show(either, "models/fresh.yaml") == COMMENTED
    longer = COMMENTED.replace(", labels: {}", "") + "    maxTokensPerDay: 7\n"
    apply(either, longer)
    assert show(either, "models/fresh.yaml") == COMMENTED.replace("monthly\n", "monthly\n    maxTokensPerDay: 7\n")


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_what_get_prints_is_applied_as_unchanged(either: Site, output: str) -> None:
    """One object or a List of them, with its status, as kubectl's users do it; a changed field is all that changes."""
    head = either.bare("rev-parse", "main")
    for words in (["model", "flash"], ["models"], ["agents"]):
        printed = either.pai("get", *words, "-o", output).out
        done = apply(either, printed)
        assert {line.split()[1] for line in done.out.splitlines()} == {"unchanged"}
    assert either.bare("rev-parse", "main") == head
    printed = either.pai("get", "model", "flash", "-o", output).out
    assert apply(either, printed.replace("1000000", "5")).out == "modelbinding.pai.io/flash configured\n"
    assert len(either.bare("show", "--format=", "--numstat", "main").splitlines()) == 1
    assert either.bare("show", "--format=", "--numstat", "main").startswith("1\t1\t")


def _actions(done: Done) -> set[str]:
    return {line.split()[1] for line in done.out.splitlines()}


@pytest.mark.parametrize("form", [json.dumps, lambda value: json.dumps(value, indent=1)], ids=["one line", "lines"])
def test_list_in_json_is_applied_object_by_object(team: Site, form: Callable[[object], str]) -> None:
    """Each object gets what is said of it, also where all of them stand on one line, as `jq -c` writes them."""
    listing = team.pai("get", "models,agents", "-o", "json").json
    for item, budget in zip(listing["items"], (11, 22), strict=False):
        item["spec"]["maxTokensPerDay"] = budget
    done = team.pai("apply", "-f", "-", stdin=form(listing))
    assert [line.split()[1] for line in done.out.splitlines()] == ["configured", "configured", "unchanged"]
    after = team.pai("get", "models", "-o", "json").json["items"]
    assert [item["spec"] for item in after] == [item["spec"] for item in listing["items"][:2]]


def test_list_may_be_larger_than_a_file_of_the_repository(team: Site) -> None:
    """What becomes of it is a file an object, and the bound of a file holds for each of those alone."""
    document = yaml.safe_load(binding("big", 5))
    items = []
    for number in range(6):
        metadata = {"name": f"big-{number}", "annotations": {"example.com/notes": "x" * 200_000}}
        items.append({**document, "metadata": metadata})
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert len(listing) > 1024 * 1024
    assert team.pai("apply", "-f", "-", stdin=listing).out.count(" created\n") == len(items)
    printed = team.pai("get", "models", "-o", "yaml").out
    assert _actions(team.pai("apply", "-f", "-", stdin=printed)) == {"unchanged"}
    team.pai("validate", "-", code=1, stdin=printed)
    too_large = team.pai("apply", "-f", "-", code=1, stdin="#" * (32 * 1024 * 1024 + 1)).err
    assert "stdin:1:1: error PAI104 the file has 33,554,433 bytes, more than 33,554,432" in too_large


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_secrets_and_keys_of_a_list_are_left_out(team: Site, output: str) -> None:
    """`get all` prints their names only. A Secret with values is refused, wherever it stands."""
    team.pai("add", "secret", "s", "--from-literal", "k=v")
    team.pai("add", "key", "my-agent")
    team.pai("add", "key", "--admin", "somebody")
    printed = team.pai("get", "all", "-o", output).out
    assert {line.split()[1] for line in apply(team, printed).out.splitlines()} == {"unchanged"}
    value = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: b}}\n"
    assert "PAI206" in apply(team, value, code=1).err


def test_what_is_wrong_is_told_by_its_place_in_the_file_that_was_given(team: Site, tmp_path: Path) -> None:
    """No path is named that does not exist."""
    file = tmp_path / "team.yaml"
    file.write_text("# head\n" + agent("x", "nobody"))
    done = team.pai("apply", "-f", file, code=1)
    assert f"{file}:8:5: error PAI302" in done.err, done.err
    assert "agents/x.yaml" not in done.err
    done = apply(team, agent("my-agent", "nobody"), code=1)
    assert "stdin:7:5: error PAI302" in done.err, done.err


def test_apply_and_validate_read_pipes(team: Site) -> None:
    """`-`, /dev/stdin and what a shell puts in place of `<(...)` are all read to their end."""
    team.pai("apply", "-f", "/dev/stdin", stdin=binding("piped"))
    assert show(team, "models/piped.yaml") == binding("piped")
    reading, writing = os.pipe()
    os.write(writing, binding("substituted").encode())
    os.close(writing)
    command = [PAI, "-w", str(team.root), "apply", "-f", f"/dev/fd/{reading}"]
    subprocess.run(command, pass_fds=[reading], check=True, env=team.environment)
    os.close(reading)
    assert show(team, "models/substituted.yaml") == binding("substituted")
    for path in ("-", "/dev/stdin"):
        shown = "stdin" if path == "-" else path
        assert f"{shown}:8:3: error PAI209" in team.pai("validate", path, stdin=BAD, code=1).out


def test_apply_takes_files_and_folders(team: Site, tmp_path: Path) -> None:
    """-f may be repeated; a folder is read as the source path is, .paiignore included."""
    folder = tmp_path / "manifests"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.yml").write_text(binding("a"))
    (folder / "skipped.yaml").write_text(BAD)
    (folder / ".paiignore").write_text("skipped.yaml\n")
    (tmp_path / "single.yaml").write_text(agent("x", "a"))
    done = team.pai("apply", "-f", folder, "-f", tmp_path / "single.yaml")
    assert sorted(done.out.splitlines()) == ["agentworkload.pai.io/x created", "modelbinding.pai.io/a created"]
    assert show(team, "models/a.yaml").startswith("apiVersion: pai.io/v1\n")
    assert "no-such" in team.pai("apply", "-f", tmp_path / "no-such.yaml", code=3).err


def test_apply_takes_every_file_of_several_folders(team: Site, tmp_path: Path) -> None:
    """Files of the same name in two folders are two files; one that is named twice is one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.yaml").write_text(binding(name))
    words = [word for name in ("one", "two", "two/model.yaml") for word in ("-f", tmp_path / name)]
    done = team.pai("apply", *words)
    assert sorted(done.out.splitlines()) == ["modelbinding.pai.io/one created", "modelbinding.pai.io/two created"]


def test_apply_of_bad_manifests_exits_1_with_their_places(either: Site) -> None:
    """What is wrong in the given text is told by its own line; nothing is committed."""
    head = either.bare("rev-parse", "main")
    done = apply(either, binding("ok") + "---\n" + BAD, code=1)
    assert "stdin:20:3: error PAI209" in done.err, done.err
    assert either.bare("rev-parse", "main") == head


def test_apply_on_a_refused_head_exits_1_with_its_diagnostics(either: Site) -> None:
    """While the tip is refused, a change that does not mend it is refused with the tip's own problems."""
    (either.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone = either.clone()
    clone.pushed({"models/bad.yaml": BAD})
    either.pai("reconcile", code=1)
    head = either.bare("rev-parse", "main")
    for words in (["apply", "-f", "-"], ["delete", "agent", "my-agent"], ["add", "agent", "x", "--model", "flash"]):
        done = either.pai(*words, stdin=binding("flash", 7), code=1)
        assert "models/bad.yaml:8:3: error PAI209" in done.err
    assert either.bare("rev-parse", "main") == head
    assert either.state().models["flash"].spec["maxTokensPerDay"] == 1_000_000
