"""What teams put into their CI: the GitHub action, the GitLab template, the pre-commit hook, each run for real."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from junitparser import JUnitXml

from tests.support import BAD, PAI, Done, Git, Site, binding
from tests.support_ci import ACTION, TEMPLATE, run_action, run_template
from tests.support_docs import ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
HOOKS = ROOT / ".pre-commit-hooks.yaml"
REVIEW = '#!/bin/sh\nif [ "$1" = review ]; then echo "reviewed with $PAI_FORGE_TOKEN"; exit 0; fi\nexec {pai} "$@"\n'
"""Stands for a Pai whose `pai review` says that it was called: what it does on a forge is tested elsewhere."""


@pytest.fixture
def clone(tmp_path: Path) -> Git:
    """Give a clone whose manifests lie in its folder `team`, one of them wrong in the index and on disk only."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git = Git(folder, Site(tmp_path).environment)
    git("init", "--quiet", "--initial-branch=main")
    git.commit({"team/a.yaml": binding("a"), "docker-compose.yaml": "services: {}\n"})
    git.write({"team/a.yaml": BAD})
    return git


def schema_problems(schema: str, *files: Path) -> str:
    """Check files against a schema that check-jsonschema carries; "" if they are valid."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_action_and_template_are_what_their_forges_take(tmp_path: Path) -> None:
    """Both are valid by the published schemas; the parts of the template one by one."""
    parts = list(yaml.safe_load_all(TEMPLATE.read_text()))
    assert len(parts) == 2
    for number, part in enumerate(parts):
        (tmp_path / f"{number}.yml").write_text(yaml.safe_dump(part))
    assert schema_problems("vendor.github-actions", ACTION) == ""
    assert schema_problems("vendor.gitlab-ci", tmp_path / "0.yml", tmp_path / "1.yml") == ""


def test_action_accepts_what_is_committed(tmp_path: Path, clone: Git) -> None:
    """It installs its own checkout, judges HEAD in the folder given, and neither comments nor writes anything."""
    done = run_action(tmp_path, clone.folder, clone.environment, path="team")
    assert (done.code, done.out) == (0, "ok: 1 object\n")
    assert done.installed == [f"install --quiet --disable-pip-version-check {ROOT}"]
    assert clone("status", "--short") == "M team/a.yaml"


@pytest.mark.parametrize("forge", ["action", "template"])
def test_nothing_of_the_change_is_run(tmp_path: Path, clone: Git, forge: str) -> None:
    """The job's folder is that of the change: a module there that is called as one of Python's is not imported."""
    ran = tmp_path / "ran"
    for name in ("venv", "ensurepip", "pip", "sitecustomize", "usercustomize", "reconciler", "yaml", "msgspec"):
        clone.write({f"{name}.py": f"open({str(ran)!r}, 'a').write({name!r})\n"})
    clone("add", "*.py")
    clone("commit", "--quiet", "--message", "change")
    if forge == "action":
        done = run_action(tmp_path, clone.folder, clone.environment, path="team")
    else:
        done = run_template(tmp_path, clone.folder, clone.environment, package="pai", path="team")
    assert (done.code, done.out) == (0, "ok: 1 object\n" * (1 + (forge == "template"))), done
    assert not ran.exists(), ran.read_text()


def test_action_marks_what_is_wrong(tmp_path: Path, clone: Git) -> None:
    """The job fails, with workflow commands for the lines, the sum last; SARIF is written all the same if asked for."""
    clone.commit()
    sarif = tmp_path / "pai.sarif"
    done = run_action(tmp_path, clone.folder, clone.environment, path="team", sarif=str(sarif))
    assert done.code == 1
    assert done.out.startswith("::error file=team/a.yaml,line=8,col=3,title=PAI209 Unknown field::")
    assert done.out.splitlines()[1:] == ["1 error in 1 file"] * 2
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "PAI209"


def test_action_judges_the_commit_that_is_named(tmp_path: Path, clone: Git) -> None:
    """Any revision can be judged, and a name that begins with a dash is no option."""
    clone.commit()
    done = run_action(tmp_path, clone.folder, clone.environment, path="team", rev="HEAD~1")
    assert (done.code, done.out) == (0, "ok: 1 object\n")
    shutil.rmtree(tmp_path / "temp")
    done = run_action(tmp_path, clone.folder, clone.environment, rev="--help", path="--help")
    assert done.code != 0
    assert "usage:" not in done.out


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_action_comments_only_if_asked(tmp_path: Path, clone: Git, bad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `comment: true` the review is made with the job's token, also of a revision that is refused."""
    if bad:
        clone.commit()
    pai = tmp_path / "pai"
    pai.write_text(REVIEW.format(pai=PAI))
    pai.chmod(0o755)
    monkeypatch.setattr("tests.support_ci.PAI", str(pai))
    silent, told = (
        run_action(place, clone.folder, clone.environment, path="team", comment=comment)
        for place, comment in ((tmp_path / "one", "false"), (tmp_path / "two", "true"))
        if place.mkdir() is None
    )
    assert "reviewed" not in silent.out
    assert told.out.endswith("reviewed with token-of-the-job\n")
    assert (silent.code, told.code) == (int(bad), int(bad))


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_template_writes_a_report_and_decides(tmp_path: Path, clone: Git, bad: bool) -> None:
    """The job's artifact is a JUnit report; the findings are in its log too, and the exit code is the verdict."""
    if bad:
        clone.commit()
    done = run_template(
        tmp_path, clone.folder, clone.environment, path="team", package="git+https://example.com/pai@v1"
    )
    assert done.code == int(bad)
    assert done.installed == ["install --quiet git+https://example.com/pai@v1"]
    assert ("team/a.yaml:8:3: error PAI209" in done.out) == bad
    report = JUnitXml.fromfile(str(clone.folder / "pai-junit.xml"))
    assert (report.tests, report.failures) == (1, int(bad))
    artifacts = list(yaml.safe_load_all(TEMPLATE.read_text()))[1]["pai-validate"]["artifacts"]
    assert (artifacts["reports"]["junit"], artifacts["when"]) == ("pai-junit.xml", "always")


def test_template_comments_only_if_asked(tmp_path: Path, clone: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `comment: "true"` the review of a merge request is made before the job fails; a branch has none."""
    clone.commit()
    pai = tmp_path / "pai"
    pai.write_text(REVIEW.format(pai=PAI))
    pai.chmod(0o755)
    monkeypatch.setattr("tests.support_ci.PAI", str(pai))
    environment = {**clone.environment, "PAI_FORGE_TOKEN": "t"}
    silent, elsewhere, told = (
        run_template(
            place,
            clone.folder,
            {**environment, "CI_PIPELINE_SOURCE": source},
            path="team",
            package="pai",
            comment=comment,
        )
        for place, comment, source in (
            (tmp_path / "one", "false", "merge_request_event"),
            (tmp_path / "two", "true", "push"),
            (tmp_path / "three", "true", "merge_request_event"),
        )
        if place.mkdir() is None
    )
    assert "reviewed" not in silent.out + elsewhere.out
    assert "reviewed with t\n" in told.out
    assert (silent.code, elsewhere.code, told.code) == (1, 1, 1)


class PreCommit:
    """The real pre-commit in a clone, with Pai's hook taken from a repository that holds its declaration."""

    def __init__(self, clone: Git, folder: Path, **hook: object) -> None:
        source = Git(folder / "hooks", clone.environment)
        source.folder.mkdir()
        source("init", "--quiet")
        rev = source.commit({".pre-commit-hooks.yaml": HOOKS.read_text()})
        # `language: system` takes the Pai that is installed here instead of building an environment from the network.
        hooks = [{"id": "pai-validate", "language": "system", **hook}]
        config = {"repos": [{"repo": str(source.folder), "rev": rev, "hooks": hooks}]}
        clone.write({".pre-commit-config.yaml": yaml.safe_dump(config)})
        clone("add", ".pre-commit-config.yaml")
        path = f"{SCRIPTS}:{clone.environment['PATH']}"
        self.git = Git(clone.folder, {**clone.environment, "PATH": path, "PRE_COMMIT_HOME": str(folder / "cache")})
        assert self.run("install").code == 0

    def run(self, *words: str) -> Done:
        """Run pre-commit itself."""
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", *words],
            cwd=self.git.folder,
            env=self.git.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def commit(self, *words: str) -> str:
        """Commit, and give what was said if it was refused, else ""."""
        done = self.git.run("commit", "--quiet", "--message", "change", *words)
        return done.out + done.err if done.code else ""


def test_hook_declaration_is_valid() -> None:
    """pre-commit itself reads it."""
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-manifest", str(HOOKS)], check=False)
    assert done.returncode == 0


def test_pre_commit_judges_what_is_staged(tmp_path: Path, clone: Git) -> None:
    """What is only on disk passes; what is staged is judged, with the place in pre-commit's output."""
    hook = PreCommit(clone, tmp_path, args=["team"])
    assert hook.commit() == ""
    said = hook.commit("--all")
    assert "pai validate" in said
    assert "team/a.yaml:8:3: error PAI209" in said


def test_pre_commit_judges_a_commit_that_only_deletes(tmp_path: Path, clone: Git) -> None:
    """No file is left to be named to the hook, and the whole is judged all the same."""
    agent = "apiVersion: pai.io/v1\nkind: AgentWorkload\nmetadata: {name: b}\nspec: {modelBindings: [a]}\n"
    clone.commit({"team/a.yaml": binding("a"), "team/b.yaml": agent})
    hook = PreCommit(clone, tmp_path, args=["team"])
    assert hook.commit() == ""
    clone("rm", "--quiet", "team/a.yaml")
    assert "team/b.yaml:4:24: error PAI302" in hook.commit()


def test_pre_commit_judges_everything_in_ci(tmp_path: Path, clone: Git) -> None:
    """`pre-commit run --all-files` is what CI runs; without args the whole repository is meant."""
    hook = PreCommit(clone, tmp_path)
    clone.write({"team/a.yaml": binding("a")})
    done = hook.run("run", "--all-files")
    assert done.code == 1
    assert "docker-compose.yaml:1:1: error PAI202" in done.out
    clone.write({".paiignore": "docker-compose.yaml\n.pre-commit-config.yaml\n"})
    clone("add", ".paiignore")
    assert hook.run("run", "--all-files").code == 0
