"""A pull request's whole life, with real git over http and ssh: pushed, judged, reviewed, merged, told of, in force."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.test_cli_review import Job
from tests.support import BAD, DEADLINE_S, Git, Site, agent, binding, run, until
from tests.support import PAI as COMMAND
from tests.support_forges import REPOSITORY, TOKEN, StandIn
from tests.support_remotes import HttpRemote, SshRemote, bare_remote
from tests.support_webhooks import SECRET, delivery

PASSWORD = "a-token-of-the-team"
FLASH, BROKEN = "models/flash.yaml", "models/bad.yaml"


class Host(NamedTuple):
    """Where the team's repository is: its address, what git is told of it, and what the secret store is."""

    url: str
    git: dict[str, str]
    secret: tuple[str, ...]


@contextlib.contextmanager
def over_http(site: Site, repository: Path) -> Iterator[Host]:
    """Serve the repository over http to who has the password."""
    with HttpRemote(repository.parent, site.environment) as server:
        server.login = ("x-access-token", PASSWORD)
        helper = f"!f() {{ echo username={server.login[0]}; echo password={PASSWORD}; }}; f"
        git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": helper}
        yield Host(f"{server.url}/{repository.name}", git, ("--from-literal", f"token={PASSWORD}"))


@contextlib.contextmanager
def over_ssh(site: Site, repository: Path) -> Iterator[Host]:
    """Serve the repository by a real sshd to who has the key."""
    with SshRemote(site.folder) as server:
        known = site.folder / "known_hosts"
        known.write_text(server.known_hosts)
        key = server.folder / "user_key"
        git = {"GIT_SSH_COMMAND": f"ssh -F /dev/null -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known}"}
        files = ("--from-file", f"ssh-key={key}", "--from-file", f"known-hosts={known}")
        yield Host(server.url(repository), git, files)


WAYS = {"http": over_http, "ssh": over_ssh}


def deliver(port: int, kind: str) -> None:
    """Tell the daemon of a push to main as the forge does."""
    body = b'{"ref": "refs/heads/main"}'
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("POST", f"/webhooks/{kind}", body, delivery(kind, body, SECRET, int(time.time())))
        with connection.getresponse() as answer:
            assert answer.status == 200, answer.read()


@pytest.mark.parametrize(("way", "kind"), [("http", "github"), ("ssh", "gitlab"), ("http", "gitea")])
def test_pull_request_lives_from_its_branch_to_the_log(site: Site, tmp_path: Path, way: str, kind: str) -> None:
    """Refused on its branch, mended, reviewed in one comment, merged, told by a webhook, in force, told to all."""
    repository = bare_remote(tmp_path / "srv", site.environment).folder
    with WAYS[way](site, repository) as host, StandIn(kind).running() as forge:
        developer = cloned(site, host, "developer")
        developer("checkout", "--quiet", "-B", "main")
        first = developer.pushed({FLASH: binding("flash", 1_000_000), "agents/a.yaml": agent("coder", "flash")})
        site.pai("add", "secret", "team", *host.secret)
        site.pai("add", "secret", "forge", "--from-literal", "api=-", stdin=TOKEN)
        site.pai("add", "secret", "hooks", "--from-literal", "token=-", stdin=SECRET)
        with site.daemon(env=settings(host, forge)) as daemon:
            until("the team's bindings", lambda: site.state().revision == first)
            until("the first status", lambda: forge.statuses)

            # A branch that is wrong: nothing comes into force, CI and the reviewers are told.
            developer("checkout", "--quiet", "-b", "feature")
            developer.commit({FLASH: binding("flash", 2_000_000), BROKEN: BAD}, "Double the budget")
            assert developer.push("feature").code == 0
            ci = cloned(site, host, "ci-1")
            done = job(ci, forge, tmp_path)
            assert done.validate() == 1
            assert done.review("--path", ".").code == 1
            assert "**Would be refused**: 1 problem" in forge.bodies[0]

            # Mended: the same comment says what the change does.
            developer.commit({BROKEN: None}, "Take the wrong file out")
            assert developer.push("feature").code == 0
            done = job(cloned(site, host, "ci-2"), forge, tmp_path)
            assert done.validate() == 0
            assert done.review("--path", ".").code == 0
            (body,) = forge.bodies
            assert "1,000,000 -> 2,000,000" in body
            assert site.state().revision == first

            # Merged: the forge says so, and Pai looks.
            developer("checkout", "--quiet", "main")
            developer("merge", "--quiet", "--no-ff", "--message", "Merge the feature", "feature")
            assert developer.push().code == 0
            merged = developer.head
            deliver(daemon.port, kind)
            until("the merge to be in force", lambda: site.state().revision == merged)
            until("its status", lambda: told(forge, merged))
            assert told(forge, merged) == ("success", "in force: 1 changed")
            assert site.state().models["flash"].spec["maxTokensPerDay"] == 2_000_000

            # What nobody reviewed does not come into force, and the commit says why.
            wrong = developer.commit({BROKEN: BAD}, "Past the review")
            assert developer.push().code == 0
            deliver(daemon.port, kind)
            until("the refusal", lambda: told(forge, wrong))
            state, words = told(forge, wrong) or ("", "")
            assert state in ("failure", "failed")
            assert words.startswith("refused: models/bad.yaml:8:3 PAI209")
            assert site.state().revision == merged
        (change,) = site.rows("model:flash", "type:binding.changed")
        assert (change["data"]["changed"], change["data"]["revision"]) == (["maxTokensPerDay"], merged)
        assert site.pai("blame", "model", "flash").out.count(merged[:7]) == 1
        everything = "".join(site.outputs) + str(site.rows()) + daemon.log
        assert not [secret for secret in (PASSWORD, TOKEN, SECRET.decode()) if secret in everything]


def settings(host: Host, forge: StandIn) -> dict[str, str]:
    """Give what the operator sets; the remote is asked once an hour, so that only the webhook brings anything in."""
    return {
        "PAI_SOURCE_REPO": host.url,
        "PAI_SOURCE_SECRET": "team",
        "PAI_SOURCE_INTERVAL": "1h",
        "PAI_FORGE_KIND": forge.kind,
        "PAI_FORGE_API_URL": forge.url,
        "PAI_FORGE_REPO": REPOSITORY,
        "PAI_FORGE_SECRET": "forge:api",
        f"PAI_WEBHOOKS_{forge.kind.upper()}": "hooks:token",
    }


def cloned(site: Site, host: Host, name: str) -> Git:
    """Clone the team's repository over its own transport."""
    environment = {**site.environment, **host.git}
    Git(site.folder, environment)("clone", "--quiet", host.url, name)
    return Git(site.folder / name, environment)


class Checks(Job):
    """The job of a pull request that also validates."""

    def validate(self) -> int:
        """Judge what is checked out, as the first step does; give the exit code."""
        return run([COMMAND, "validate"], self.clone.environment, self.clone.folder).code


def job(clone: Git, forge: StandIn, folder: Path) -> Checks:
    """Give the CI job of the feature's pull request, with its commit checked out."""
    made = Checks(forge, clone, folder / "event.json")
    made.base = clone("rev-parse", "origin/main")
    clone("checkout", "--quiet", "--detach", "origin/feature")
    return made


def told(forge: StandIn, commit: str) -> tuple[str, str] | None:
    """Give state and words of the daemon's last status of a commit, None if it has none yet."""
    found = [said for sha, said in forge.statuses if sha == commit and said["context"] == "pai"]
    return (found[-1]["state"], found[-1]["description"]) if found else None
