"""Terminals that lack characters; arguments, files and refs that are no text: never a crash, and JSON stays JSON."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from reconciler.secrets.store import SecretStore
from tests.support import PAI, Done, Site, agent, binding, copied

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS = {
    "ascii": ASCII,
    "posix": {"LC_ALL": "POSIX", "PYTHONIOENCODING": "", "PYTHONUTF8": "0"},
    "strict": {"PYTHONIOENCODING": "ascii:strict"},
}
NO_TEXT = b"\xff\xc3\xa9"


@pytest.fixture(scope="module")
def worded(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A workspace whose log, manifests and files hold more than ASCII; only to be read."""
    site = copied(team_template, tmp_path_factory.mktemp("worded"))
    clone = site.clone()
    clone.environment["GIT_AUTHOR_EMAIL"] = "zoë@example.com"
    labelled = binding("größe").replace("größe", "grosse")
    annotated = labelled.replace("metadata:\n", "metadata:\n  annotations: {note: 'für 😀 — später'}\n")
    clone.pushed({"models/größe.yaml": annotated}, "Größe 😀 …")
    site.pai("reconcile")
    return site


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "my-agent"],
        ["log"],
        ["describe", "model", "grosse"],
        ["get", "models", "-o", "wide"],
        ["verify"],
        ["add", "--help"],
    ],
    ids=" ".join,
)
def test_terminal_without_the_characters_gets_escapes(worded: Site, environment: str, words: list[str]) -> None:
    r"""What the encoding lacks is written as `\u2014`, and the command ends as it does elsewhere."""
    done = worded.pai(*words, env=ENVIRONMENTS[environment])
    assert done.out.isascii()
    wanted = worded.pai(*words).out
    assert done.out == wanted.encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    "words", [["log"], ["describe", "model", "grosse"], ["get", "models"], ["status"]], ids=lambda words: words[0]
)
def test_data_says_the_same_in_every_encoding(worded: Site, environment: str, words: list[str]) -> None:
    """JSON, YAML and the JSON in CSV stay what they are, and read back as the same values."""
    env = ENVIRONMENTS[environment]
    assert worded.pai(*words, "-o", "json", env=env).json == worded.pai(*words, "-o", "json").json
    if words == ["log"]:
        one, other = (csv.DictReader(worded.pai("log", "-o", "csv", env=each).out.splitlines()) for each in (env, {}))
        assert [json.loads(row["data"]) for row in one] == [json.loads(row["data"]) for row in other]
    else:
        first, second = (worded.pai(*words, "-o", "yaml", env=each).out for each in (env, {}))
        assert yaml.safe_load(first) == yaml.safe_load(second)


def test_file_names_are_utf8_in_every_locale(tmp_path: Path) -> None:
    """A name that git takes is taken by `pai validate` where the locale does not know its letters."""
    (tmp_path / "größe.yaml").write_text(binding("a"))
    (tmp_path / "tëam").mkdir()
    (tmp_path / "tëam" / "ä.yaml").write_text(agent("x", "a"))
    site = Site(tmp_path)
    for words in ([], ["größe.yaml", "tëam"]):
        assert site.pai("validate", *words, cwd=tmp_path, env=ASCII).err == "ok: 2 objects\n"
    (tmp_path / "tëam" / "ä.yaml").write_text(agent("x", "b"))
    assert site.pai("validate", cwd=tmp_path, code=1, env=ASCII).out.startswith("t\\xebam/\\xe4.yaml:7:5: error PAI302")


COMMANDS = [
    (b"%s",),
    (b"--%s",),
    (b"-w", b"%s", b"status"),
    (b"validate", b"%s"),
    (b"validate", b"--rev", b"%s"),
    (b"log", b"%s"),
    (b"log", b"model:%s"),
    (b"log", b"-type:%s", b"since:%s"),
    (b"get", b"models", b"%s"),
    (b"describe", b"model", b"%s"),
    (b"status", b"%s"),
    (b"delete", b"secret", b"%s"),
    (b"delete", b"model", b"%s"),
    (b"add", b"model", b"%s", b"--provider", b"gemini", b"--api-key", b"s"),
    (b"add", b"model", b"x", b"--provider", b"gemini", b"--model", b"%s", b"--api-key", b"%s"),
    (b"add", b"agent", b"x", b"--model", b"%s"),
    (b"add", b"secret", b"%s", b"--from-literal", b"k=v"),
    (b"add", b"secret", b"x", b"--from-literal", b"%s=v"),
    (b"add", b"secret", b"x", b"--from-file", b"k=%s"),
    (b"add", b"secret", b"x", b"--from-env", b"k=%s"),
    (b"apply", b"-f", b"%s"),
]


def run_bytes(site: Site, *words: bytes, env: dict[str, str] | None = None) -> Done:
    """Run pai with arguments that need not be text."""
    done = subprocess.run(
        [PAI.encode(), *words],
        env={**site.environment, **(env or {})},
        cwd=site.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("locale", ["utf8", "ascii"])
def test_arguments_that_are_no_text_are_refused_or_find_nothing(team: Site, locale: str) -> None:
    """Bytes that no encoding knows are an argument like any other: no crash, and nothing is made."""
    before = team.state().position
    for command in COMMANDS:
        words = [word.replace(b"%s", NO_TEXT) for word in command]
        done = run_bytes(team, *words, env=ASCII if locale == "ascii" else None)
        assert "Traceback" not in done.err, (words, done)
        assert done.code in (0, 1, 2, 3), (words, done)
        assert (done.code == 0) == (command[:2] == (b"log", b"model:%s")), (words, done)
    assert team.state().position == before


def test_value_of_a_secret_is_the_bytes_that_were_given(team: Site) -> None:
    """A literal value is stored as the shell gave it, in whatever locale: a password of git's may be any bytes."""
    for name, env in (("one", {}), ("two", ASCII)):
        literal = b"password=" + NO_TEXT
        assert run_bytes(team, b"add", b"secret", name.encode(), b"--from-literal", literal, env=env).code == 0
    state = team.state()
    store = SecretStore(team.root / "data" / "secrets", team.root / "data" / "master.key")
    for name in ("one", "two"):
        value = store.get(name, "password", state.secrets[name]["password"])
        assert value is not None
        assert value.reveal() == NO_TEXT


def test_other_branch_may_have_a_name_that_is_no_text(team: Site) -> None:
    """The hook lets it pass unjudged, as any other branch."""
    clone = team.clone()
    ref = os.fsdecode(b"HEAD:refs/heads/caf\xe9")
    done = clone.push(ref)
    assert done.code == 0, done
