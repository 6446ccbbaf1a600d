"""The official SDKs, unmodified, against the gateway: the current ones and the oldest majors that are still in use.

The old ones are installed into a folder of their own, once: in PAI_TEST_SDKS if that is set, else in the system's
temporary folder. They run as a program of their own, since a process can have one version of a package.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.acceptance.sdk import anthropic_scenarios, genai_scenarios, openai_scenarios
from tests.acceptance.sdk.gate import Gate, Scenario, scenarios
from tests.support_gateway import OUTSIDER, PROVIDERS, ROBOT, Bench, assert_books_balance

OLDEST = {"openai": "1.109.1", "anthropic": "0.79.0", "google-genai": "1.59.0"}
MODULES = {"openai": openai_scenarios, "anthropic": anthropic_scenarios, "google-genai": genai_scenarios}
ROOT = Path(__file__).resolve().parent.parent.parent
CURRENT = [
    pytest.param(scenario, id=f"{name}-{scenario.__name__.removeprefix('sdk_')}")
    for name, module in MODULES.items()
    for scenario in scenarios(module)
]


@pytest.fixture(scope="module")
def gate(bench: Bench) -> Gate:
    """Give what a scenario needs to know of the gateway."""
    origins = {provider: bench.simulator.origin(provider) for provider in PROVIDERS}  # type: ignore[arg-type]
    return Gate(bench.origin, f"http://127.0.0.1:{bench.daemon.port}", ROBOT, OUTSIDER, origins)


@pytest.fixture(scope="session")
def oldest() -> Path:
    """Give the folder that has the oldest SDKs, installed now if they are not there yet."""
    wanted = [f"{name}=={version}" for name, version in OLDEST.items()]
    name = f"pai-sdks-{hashlib.sha256(' '.join([*wanted, sys.version]).encode()).hexdigest()[:12]}"
    home = Path(os.environ.get("PAI_TEST_SDKS") or tempfile.gettempdir())
    home.mkdir(parents=True, exist_ok=True)
    folder = home / name
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(folder), *wanted]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("scenario", CURRENT)
def test_current_sdk_works(bench: Bench, gate: Gate, scenario: Scenario) -> None:
    """What the scenario's own sentence says holds with the SDK as it is installed, and the books balance."""
    try:
        scenario(gate)
    finally:
        gc.collect()  # clients that nobody closed go here, where it is no error, and not in the middle of another test
    assert_books_balance(bench)


@pytest.mark.parametrize("name", OLDEST)
def test_oldest_sdk_works(bench: Bench, gate: Gate, oldest: Path, name: str) -> None:
    """All the same scenarios hold with the oldest major that is still in use."""
    module: ModuleType = MODULES[name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(oldest), str(ROOT)])}
    environment["PAI_TEST_GATE"] = json.dumps(gate._asdict())
    command = [sys.executable, "-m", "tests.acceptance.sdk.gate", module.__name__.rpartition(".")[2]]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == OLDEST[name]
    failures = {scenario: trace for scenario, trace in told["scenarios"].items() if trace}
    assert not failures, "\n".join(failures.values())
    assert len(told["scenarios"]) == len(scenarios(module)) > 10
    assert_books_balance(bench)
