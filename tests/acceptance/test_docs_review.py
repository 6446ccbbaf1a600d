"""docs/review.md is what happens: its commands are run, and the `pai` steps of its CI jobs, on stand-ins of forges."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.workspace.settings import SETTINGS
from tests.acceptance.test_cli_review import Job
from tests.support import BAD, PAI, Git, Site, binding, run
from tests.support_ci import run_action, run_template
from tests.support_docs import DOCS, ROOT, assert_shown, blocks, run_steps, steps
from tests.support_forges import TOKEN, StandIn

PAGE = DOCS / "review.md"
PREPARE = """
mkdir config && cp -R manifests/. config && cd config && git init -q -b main
git add . && git commit -qm "Bindings for the team"
"""
VOLATILE = ((re.compile(r"\b[0-9a-f]{7}\b(?= would be refused)"), "COMMIT"),)
JOBS = {"github": 0, "gitlab": 1, "gitea": 2}


def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    """Every console command of docs/review.md prints the lines below it."""
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    wanted = steps(PAGE)

    outputs = run_steps(wanted, tmp_path, Site(tmp_path).environment, prepare=PREPARE)

    for step, output in zip(wanted, outputs, strict=True):
        assert_shown(step, output, str(tmp_path), VOLATILE)


@pytest.mark.parametrize("kind", JOBS)
def test_jobs_of_the_page_review_a_pull_request(kind: str, tmp_path: Path) -> None:
    """The `pai` steps of each forge's job, with the token where the page puts it, write the comment and the status."""
    job = next(iter(_jobs(kind).values()))
    if kind == "gitlab":
        assert job["variables"] == {"GIT_DEPTH": "0"}
        shell, token = job["script"], "PAI_FORGE_TOKEN"
    else:
        assert job["steps"][0]["with"]["fetch-depth"] == 0
        shell = [step["run"] for step in job["steps"] if "run" in step]
        ((token, _),) = job["steps"][-1]["env"].items()
    commands = [line for line in shell if not line.startswith("pip install ")]
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = Git(folder, Site(tmp_path).environment)
    clone("init", "--quiet", "--initial-branch=main")
    lines, name = blocks(PAGE, "yaml")[JOBS[kind]], blocks(PAGE, "yaml")[JOBS[kind]][0].removeprefix("# ")
    clone.commit({"models/flash.yaml": binding("flash", 1000), name: "\n".join(lines), ".paiignore": "/.*\n"})
    with StandIn(kind).running() as host:
        review = Job(host, clone, tmp_path / "event.json")
        head = clone.commit({"models/flash.yaml": binding("flash", 2000)})
        environment = {**clone.environment, **review.environment(), "PAI_FORGE_TOKEN": "", "GITHUB_TOKEN": ""}
        for command in commands:
            done = run(["bash", "-c", f"PATH={Path(PAI).parent}:$PATH {command}"], environment | {token: TOKEN}, folder)
            assert done.code == 0, done
        assert "1,000 -> 2,000" in host.bodies[0]
        assert [(sha, said["state"]) for sha, said in host.statuses] == [(head, "success")]


@pytest.mark.parametrize("kind", ["github", "gitea", "gitlab"])
def test_action_and_template_review_the_folder_that_they_are_given(kind: str, tmp_path: Path) -> None:
    """Files outside of it are no manifests; a refused change is commented, and fails the job."""
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = Git(folder, Site(tmp_path).environment)
    clone("init", "--quiet", "--initial-branch=main")
    clone.commit({"team/a.yaml": binding("a", 1000), "other.yaml": "x: y\n"})
    with StandIn(kind).running() as host:
        review = Job(host, clone, tmp_path / "event.json")
        for number, (text, state) in enumerate(((binding("a", 2000), "success"), (BAD, "fail"))):
            clone.commit({"team/a.yaml": text})
            environment = {**clone.environment, **review.environment(), "CI_PIPELINE_SOURCE": "merge_request_event"}
            place = tmp_path / str(number)
            place.mkdir()
            if kind == "gitlab":
                done = run_template(place, folder, environment, path="team", package="pai", comment="true")
            else:
                done = run_action(place, folder, environment, path="team", comment="true", token=TOKEN)
            assert done.code == number, done
            assert host.statuses[-1][1]["state"].startswith(state)
        assert len(host.bodies) == 1
        assert "**Would be refused**" in host.bodies[0]


def _jobs(kind: str) -> dict[str, Any]:
    page = yaml.safe_load("\n".join(blocks(PAGE, "yaml")[JOBS[kind]]))
    found: dict[str, Any] = page if kind == "gitlab" else page["jobs"]
    return found


def test_settings_of_the_page_are_those_of_the_forge() -> None:
    """The example names each of them, and no other."""
    (example,) = blocks(PAGE, "toml")
    assert list(tomllib.loads("\n".join(example))["forge"]) == [
        s.name.rpartition(".")[2] for s in SETTINGS if s.section == "forge"
    ]
