"""docs/ci.md shows what happens: its commands are run in order, its files are checked and their steps run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from reconciler.cli.findings import OUTPUTS
from tests.support import BAD, PAI, Git, Site, binding
from tests.support_ci import ACTION, TEMPLATE
from tests.support_docs import DOCS, ROOT, assert_shown, blocks, run_steps, steps, table

PAGE = DOCS / "ci.md"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def example(name: str, language: str = "yaml") -> str:
    """Give the file of the page whose first line names it."""
    (found,) = (block for block in blocks(PAGE, language) if block[0].lstrip("#/ ") == name)
    return "\n".join([*found, ""])


def read(name: str) -> Any:
    """Read an example as YAML."""
    return yaml.safe_load(example(name))


def test_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """Every console command, run in order beside the example manifests and the schemas, prints the lines below it."""
    for folder in ("manifests", "schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    wanted = steps(PAGE)
    for step, output in zip(wanted, run_steps(wanted, tmp_path, Site(tmp_path).environment), strict=True):
        assert_shown(step, output, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (".github/workflows/pai.yml", ["check_jsonschema", "--builtin-schema", "vendor.github-workflows"]),
        (".gitlab-ci.yml", ["check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"]),
        (".pre-commit-config.yaml", ["pre_commit", "validate-config"]),
    ],
)
def test_example_is_a_valid_file(tmp_path: Path, name: str, command: list[str]) -> None:
    """Each is what its tool takes."""
    place = tmp_path / Path(name).name
    place.write_text(example(name))
    done = subprocess.run([sys.executable, "-m", *command, str(place)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_examples_name_what_there_is() -> None:
    """Inputs, hooks and components of the examples are those of the files in this repository."""
    inputs = yaml.safe_load(ACTION.read_text())["inputs"].keys()
    (own,) = (s for s in read(".github/workflows/pai.yml")["jobs"]["validate"]["steps"] if "/pai@" in s["uses"])
    assert own["with"].keys() <= inputs

    (included,) = read(".gitlab-ci.yml")["include"]
    declared = next(yaml.safe_load_all(TEMPLATE.read_text()))["spec"]["inputs"]
    assert (
        {name for name in declared if "default" not in declared[name]} <= included["inputs"].keys() <= declared.keys()
    )
    assert f"/{TEMPLATE.stem}@" in included["component"]

    (hook,) = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert hook["id"] in {one["id"] for one in yaml.safe_load(HOOKS.read_text())}


@pytest.mark.parametrize("content", [binding("a"), BAD], ids=["good", "bad"])
def test_step_of_jenkins_decides_and_leaves_a_report(tmp_path: Path, content: str) -> None:
    """The line of the Jenkinsfile fails the stage exactly if the commit is refused, and its report can be read."""
    (line,) = (line for line in example("Jenkinsfile", "groovy").splitlines() if line.strip().startswith("sh "))
    git = Git(tmp_path, Site(tmp_path).environment)
    git("init", "--quiet")
    git.commit({"a.yaml": content, ".gitignore": "home\n"})
    path = f"{Path(PAI).parent}:{git.environment['PATH']}"
    command = ["sh", "-c", line.strip().removeprefix("sh ").strip("'")]
    done = subprocess.run(command, cwd=tmp_path, env={**git.environment, "PATH": path}, check=False)
    assert done.returncode == (content == BAD)
    assert JUnitXml.fromfile(str(tmp_path / "pai-junit.xml")).failures == (content == BAD)


def test_hook_of_one_line_refuses_a_bad_commit(tmp_path: Path) -> None:
    """What the page says to put into .git/hooks/pre-commit."""
    (line,) = (block[0] for block in blocks(PAGE, "sh") if "--staged" in block[0])
    environment = Site(tmp_path).environment
    path = f"{Path(PAI).parent}:{sysconfig.get_path('scripts')}:{environment['PATH']}"
    git = Git(tmp_path / "clone", {**environment, "PATH": path})
    git.folder.mkdir()
    git("init", "--quiet")
    hook = git.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{line}\n")
    hook.chmod(0o755)
    git.commit({"a.yaml": binding("a")})
    git.write({"a.yaml": BAD})
    assert git.run("commit", "--quiet", "--all", "--message", "bad").code == 1


def test_files_for_ci_are_passed_over_as_the_page_says(tmp_path: Path) -> None:
    """The pattern of the page takes the CI files beside the manifests out, and only them."""
    assert "for instance as `/.*`" in " ".join(PAGE.read_text().split())
    (tmp_path / ".gitlab-ci.yml").write_text(example(".gitlab-ci.yml"))
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / ".paiignore").write_text("/.*\n")
    done = Site(tmp_path).pai("validate", tmp_path, code=1)
    assert [line.partition(":")[0] for line in done.out.splitlines()] == ["bad.yaml"]


def test_modeline_and_pattern_lead_to_the_schemas() -> None:
    """The editor's example names a schema that is there, for the kind below it."""
    (lines,) = (block for block in blocks(PAGE, "yaml") if block[0].startswith("# yaml-language-server: $schema="))
    name = lines[0].rpartition("/")[2]
    kind = lines[2].removeprefix("kind: ")
    assert (ROOT / "schemas" / name).is_file()
    assert name == f"{kind.lower()}_v1.json"


def test_table_of_formats_is_complete() -> None:
    """Every format that `-o` takes is explained, in the same order, with its bound."""
    from reconciler.cli import findings, github, junit, sarif

    rows = table(PAGE, "`-o`")
    assert [row[0].strip("`") for row in rows] == list(OUTPUTS)
    bounds = {"text": findings, "github": github, "sarif": sarif, "junit": junit}
    shown = {row[0].strip("`"): row[2].partition(" ")[0] for row in rows}
    assert {name: f"{module.SHOWN_MAX:,}" for name, module in bounds.items()} == {n: shown[n] for n in bounds}
