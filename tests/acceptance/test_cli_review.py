"""`pai review` in the CI of each forge: one comment, the status, and an exit code that is the verdict's alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import BAD, PAI, Done, Git, Site, agent, binding, run
from tests.support_forges import KINDS, REPOSITORY, TOKEN, Fault, StandIn
from tests.support_tokens import day, record, reserved, settled


class Job:
    """A CI job of a pull request: a clone that is at its commit, and the forge's environment."""

    def __init__(self, host: StandIn, clone: Git, events: Path) -> None:
        self.host = host
        self.clone = clone
        self._events = events
        self.base = clone.head

    def environment(self, head: str = "") -> dict[str, str]:
        """Give what the forge's runner sets."""
        head = head or self.clone.head
        if self.host.kind == "gitlab":
            return {
                "GITLAB_CI": "true",
                "CI_API_V4_URL": self.host.url,
                "CI_PROJECT_ID": "42",
                "CI_MERGE_REQUEST_IID": "7",
                "CI_MERGE_REQUEST_DIFF_BASE_SHA": self.base,
                "CI_COMMIT_SHA": head,
                "PAI_FORGE_TOKEN": TOKEN,
            }
        event = {"pull_request": {"number": 7, "head": {"sha": head}, "base": {"sha": self.base}}}
        self._events.write_text(json.dumps(event))
        return {
            "GITHUB_ACTIONS": "true",
            "GITEA_ACTIONS": "true" if self.host.kind == "gitea" else "",
            "GITHUB_API_URL": self.host.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_EVENT_PATH": str(self._events),
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_TOKEN": TOKEN,
        }

    def review(self, *words: str, head: str = "", **more: str) -> Done:
        """Run `pai review` as the job would; the token is in nothing that it prints."""
        environment = {**self.clone.environment, **self.environment(head), **more}
        done = run([PAI, "review", *words], environment, self.clone.folder)
        assert TOKEN not in done.out + done.err
        return done


@pytest.fixture(params=KINDS)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Job]:
    """Give a pull request on each kind of forge; the target has a binding and an agent."""
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = Git(folder, Site(tmp_path).environment)
    clone("init", "--quiet", "--initial-branch=main")
    clone.commit({"models/flash.yaml": binding("flash", 1_000_000), "agents/a.yaml": agent("coder", "flash")})
    with StandIn(request.param).running() as host:
        job = Job(host, clone, tmp_path / "event.json")
        clone("checkout", "--quiet", "-b", "feature")
        yield job


def test_review_of_a_pull_request_is_one_comment_and_a_status(job: Job) -> None:
    """Written at the first push, edited at the second; the status is that of each commit."""
    first = job.clone.commit({"models/flash.yaml": binding("flash", 2_000_000)})
    done = job.review()
    assert (done.code, done.err) == (0, "the comment on 7 is written\n")
    assert "maxTokensPerDay   1,000,000 -> 2,000,000" in done.out
    second = job.clone.commit({"models/flash.yaml": binding("flash", 3_000_000)})
    assert job.review().err == "the comment on 7 is up to date\n"
    (body,) = job.host.bodies
    assert body.startswith("<!-- pai/review: kept up to date by pai review -->\n### Pai: 1 changed\n")
    assert "- `maxTokensPerDay`: `1,000,000 -> 3,000,000` (line 8)" in body
    assert "Agents affected (1): `coder`" in body
    assert [(sha, said["state"], said["context"], said["description"]) for sha, said in job.host.statuses] == [
        (sha, "success", "pai/review", "1 changed") for sha in (first, second)
    ]


def test_refused_change_is_a_failure_whatever_the_forge_does(job: Job) -> None:
    """The verdict decides the exit code: posted, not posted, with and without a token."""
    head = job.clone.commit({"models/bad.yaml": BAD})
    done = job.review()
    assert done.code == 1
    assert "models/bad.yaml:8:3: error PAI209" in done.err
    assert "**Would be refused**: 1 problem" in job.host.bodies[0]
    ((sha, said),) = job.host.statuses
    assert (sha, said["state"]) == (head, "failed" if job.host.kind == "gitlab" else "failure")
    assert said["description"].startswith("would be refused: models/bad.yaml:8:3 unknown field")
    job.host.faults += [Fault(401)] * 10
    assert job.review().code == 1
    assert job.review(PAI_FORGE_TOKEN="", GITHUB_TOKEN="").code == 1


def test_forge_in_trouble_does_not_make_a_good_change_look_bad(job: Job) -> None:
    """A warning and exit 0; whoever wants to know uses --require-post."""
    job.clone.commit({"models/flash.yaml": binding("flash", 2_000_000)})
    for words, code in (((), 0), (("--require-post",), 3)):
        job.host.faults[:] = [Fault(403), Fault(403), Fault(403)]
        done = job.review(*words)
        assert done.code == code
        assert "warning: the comment is not posted: 127.0.0.1:" in done.err
        assert "hint: the token may not do this: it needs to write comments and commit statuses" in done.err
        assert "maxTokensPerDay" in done.out
    job.host.faults.clear()
    done = job.review("--require-post", PAI_FORGE_TOKEN="", GITHUB_TOKEN="")
    assert (done.code, done.err.splitlines()[-1]) == (
        3,
        "warning: there is no token in PAI_FORGE_TOKEN, so the review is not posted",
    )


def test_merge_that_the_forge_made_is_compared_with_its_target(job: Job) -> None:
    """What is checked out is a merge with a target that moved on; only the pull request's own change is told."""
    head = job.clone.commit({"models/flash.yaml": binding("flash", 2_000_000)})
    job.clone("checkout", "--quiet", "main")
    job.clone.commit({"models/other.yaml": binding("other", 5)})
    job.clone("merge", "--quiet", "--no-ff", "--message", "merge", "feature")
    done = job.review(head=head)
    assert done.code == 0
    assert "other" not in job.host.bodies[0]
    assert job.host.statuses[0][0] == head


def test_branch_without_a_pull_request_gets_a_status_alone(job: Job) -> None:
    """Flags say what no CI does."""
    head = job.clone.commit({"models/flash.yaml": binding("flash", 2_000_000)})
    words = ["review", "main", "--forge", job.host.kind, "--api-url", job.host.url, "--repo", REPOSITORY]
    environment = {**job.clone.environment, "PAI_FORGE_TOKEN": TOKEN}
    done = run([PAI, *words, "--context", "pai/eu"], environment, job.clone.folder)
    assert (done.code, done.err) == (0, "")
    assert job.host.comments == []
    assert [(sha, said["context"]) for sha, said in job.host.statuses] == [(head, "pai/eu")]


def test_last_weeks_use_is_in_the_comment_where_there_is_a_workspace(team: Site, tmp_path: Path) -> None:
    """A runner beside the daemon says what the log knows."""
    record(team, reserved("a", on=day(2), input=300, output=700), settled("a", on=day(2), input=300, output=600))
    with StandIn("github").running() as host:
        job = Job(host, team.clone(), tmp_path / "event.json")
        job.clone.commit({"models/flash.yaml": binding("flash", 999)})
        assert job.review(PAI_WORKSPACE=str(team.root)).code == 0
        assert "flash with 999 tokens a day would have been exhausted on 1 of the last 7 days" in host.bodies[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: nothing says what --forge, --api-url, --repo, BASE should be\n"),
        (["HEAD", "--forge", "github", "--repo", "a/b", "--api-url", "http://example.com"], "over https only\n"),
        (["HEAD", "--forge", "svn"], "there is no 'svn'"),
    ],
)
def test_wrong_usage_is_told(team: Site, words: list[str], message: str) -> None:
    """Exit 2, before anything is compared or sent."""
    done = team.pai("review", *words, code=2)
    assert message in done.err
