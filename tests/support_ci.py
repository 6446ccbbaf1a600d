"""The shell steps of CI files, run as a runner runs them: GitHub's composite action, GitLab's template.

Only what the files use is understood; anything else fails. What a runner fetches from elsewhere (the Python to install
into, the packages of Pai) is put in place by a stand-in for `python -m venv` and `pip install` that installs nothing
and notes what it was asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support import PAI
from tests.support_docs import ROOT

ACTION = ROOT / "action.yml"
TEMPLATE = ROOT / "templates" / "pai-validate.yml"
PYTHON = """#!/bin/sh
set -e
options=""
while [ "$1" != "-m" ]; do options="$options $1"; shift; done
[ "$2" = venv ]
{real} $options -m venv --help >/dev/null
mkdir -p "$3/bin"
ln -s {pai} "$3/bin/pai"
printf '#!/bin/sh\\necho "$@" >>{log}\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""


class Outcome(NamedTuple):
    """How a job ended: exit code, what it printed, and what it had pip install."""

    code: int
    out: str
    installed: list[str]


def python(folder: Path) -> Path:
    """Write the stand-in for Python, which leaves its notes in `folder`."""
    place = folder / "bin" / "python3"
    place.parent.mkdir(exist_ok=True)
    place.write_text(PYTHON.format(real=sys.executable, pai=PAI, log=folder / "installed"))
    place.chmod(0o755)
    return place


def run_action(folder: Path, clone: Path, environment: Mapping[str, str], **inputs: str) -> Outcome:
    """Run the action's steps in a clone, with the inputs given and the defaults of the others."""
    action = yaml.safe_load(ACTION.read_text())
    values = {f"inputs.{name}": str(given.get("default", "")) for name, given in action["inputs"].items()}
    values |= {f"inputs.{name}": value for name, value in inputs.items()}
    values |= {"github.token": "token-of-the-job", "github.action_path": str(ROOT)}
    values["steps.python.outputs.python-path"] = str(python(folder))
    values = {name: _filled(value, values) for name, value in values.items()}
    (folder / "temp").mkdir()
    code, out = 0, ""
    for step in action["runs"]["steps"]:
        if "uses" in step:
            assert step["uses"].startswith("actions/setup-python@")
            continue
        if not _wanted(step.get("if", "success()"), values, failed=code != 0):
            continue
        assert step["shell"] == "bash"
        env = {name: _filled(value, values) for name, value in step.get("env", {}).items()}
        done = _bash(step["run"], clone, {**environment, **env, "RUNNER_TEMP": str(folder / "temp")})
        code, out = code or done.returncode, out + done.stdout
    return _outcome(code, out, folder)


def run_template(folder: Path, clone: Path, environment: Mapping[str, str], **inputs: str) -> Outcome:
    """Run the script of GitLab's job in a clone, with the inputs given and the defaults of the others."""
    head, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    declared = head["spec"]["inputs"]
    assert {name for name, given in declared.items() if "default" not in given} <= inputs.keys() <= declared.keys()
    values = {name: str(given.get("default", "")) for name, given in declared.items()} | inputs
    job = jobs["pai-validate"]
    env = {
        name: re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda m: values[m[1]], v) for name, v in job["variables"].items()
    }
    path = f"{python(folder).parent}:{environment['PATH']}"
    done = _bash("\n".join(job["script"]), clone, {**environment, **env, "PATH": path})
    return _outcome(done.returncode, done.stdout, folder)


def _bash(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step as both runners do: it ends at the first command that fails."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


def _outcome(code: int, out: str, folder: Path) -> Outcome:
    log = folder / "installed"
    return Outcome(code, out, log.read_text().splitlines() if log.exists() else [])


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values[found[1]], str(text))


def _wanted(condition: str, values: Mapping[str, str], *, failed: bool) -> bool:
    """Decide an `if:`; a step that does not say otherwise runs only while nothing failed."""
    if condition == "success()":
        return not failed
    found = re.fullmatch(r"\$\{\{ !cancelled\(\) && ([\w.-]+) (==|!=) '(\w*)' \}\}", condition)
    assert found is not None, condition
    return (values[found[1]] == found[3]) == (found[2] == "==")
