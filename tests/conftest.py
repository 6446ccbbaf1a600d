"""Fixtures of the tests of the whole: workspaces, each test with its own copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from reconciler import quick
from tests.support import Site, agent, binding, copied, make, maybe_daemon
from tests.support_gateway import Bench, opened, prepare

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn on, for a test of it, what `python -m tests plain` turns off: here and in processes that are started."""
    monkeypatch.setattr(quick, "PLAIN", False)
    monkeypatch.setenv(quick.VARIABLE, "")


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace fresh from `pai init`, only to be copied."""
    return make(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def team_template(empty_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace with two models, an agent and a secret in force, only to be copied."""
    site = copied(empty_template, tmp_path_factory.mktemp("team"))
    site.clone().pushed(
        {
            "models/flash.yaml": binding("flash", 1_000_000),
            "models/sonnet.yaml": binding("sonnet", None, provider="anthropic", model="claude-sonnet-4-6"),
            "agents/my-agent.yaml": agent("my-agent", "flash", "sonnet"),
        },
        "The team's bindings",
    )
    site.pai("add", "secret", "gemini-key", "--from-literal", "api-key=-", stdin="canary-of-the-template\n")
    site.pai("reconcile")
    return site


@pytest.fixture
def site(empty_template: Site, tmp_path: Path) -> Site:
    """Give a workspace of its own, with nothing in it."""
    return copied(empty_template, tmp_path)


@pytest.fixture
def team(team_template: Site, tmp_path: Path) -> Site:
    """Give a workspace of its own, with two models, an agent and a secret in force; no daemon runs."""
    return copied(team_template, tmp_path)


@pytest.fixture(params=["alone", "daemon"])
def either(request: pytest.FixtureRequest, team_template: Site, tmp_path: Path) -> Iterator[Site]:
    """Give the same workspace twice: once without a daemon, once with one running."""
    site = copied(team_template, tmp_path)
    with maybe_daemon(site, request.param == "daemon"):
        yield site


@pytest.fixture(scope="session")
def gateway_template(empty_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace with bindings of all providers, agents, keys and a secret in force, only to be copied."""
    site = copied(empty_template, tmp_path_factory.mktemp("gateway"))
    prepare(site)
    return site


@pytest.fixture(scope="module")
def bench(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a running gateway that the tests of one module share."""
    with opened(gateway_template, tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.fixture
def own(gateway_template: Site, tmp_path: Path) -> Iterator[Bench]:
    """Give a running gateway of the test's own, to be changed or broken."""
    with opened(gateway_template, tmp_path) as running:
        yield running
