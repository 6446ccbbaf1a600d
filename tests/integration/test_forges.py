"""The client of the three forges against stand-ins of their APIs, over real HTTP, with every trouble they make."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.core.errors import UsageError
from reconciler.forges.api import ForgeApi, ForgeUnavailable, check_url
from reconciler.forges.environment import surroundings
from reconciler.forges.hosts import CommitStatus, Forge, forge
from reconciler.forges.publishing import CONTEXT, fitted, marker, publish_comment
from tests.support_forges import KINDS, REPOSITORY, TOKEN, Fault, StandIn

SHA = "a" * 40
MARK = marker(CONTEXT)


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """Give a running stand-in of each kind."""
    with StandIn(request.param).running() as running:
        yield running


@contextlib.contextmanager
def opened(host: StandIn, token: str = TOKEN, **options: object) -> Iterator[Forge]:
    """Open its repository with a client that does not really wait."""
    slept: list[float] = []
    client = forge(host.kind, host.url, REPOSITORY, token, sleep=slept.append, **options)  # type: ignore[arg-type]
    client.slept = slept  # type: ignore[attr-defined]
    with contextlib.closing(client.api):
        yield client


def post(host: StandIn, text: str = "hello", **options: object) -> bool:
    """Publish a text."""
    with opened(host, **options) as client:  # type: ignore[arg-type]
        return publish_comment(client, 7, CONTEXT, text)


def test_one_comment_is_written_then_edited(host: StandIn) -> None:
    """However often it is posted, there is one; the same text again changes nothing."""
    host.comment("alice", "looks good")
    assert post(host, "first")
    assert not post(host, "second")
    before = len(host.requests)
    assert not post(host, "second")
    assert host.bodies == ["looks good", f"{MARK}\nsecond"]
    assert [line.partition(" ")[0] for line in host.did()[before:]] == ["GET", "GET"]


def test_comment_of_somebody_else_is_not_touched(host: StandIn) -> None:
    """Neither one with the marker pasted, nor our own that only quotes it."""
    host.comment("mallory", f"{MARK}\nsay nothing")
    host.comment("pai-bot", f"> {MARK}\nquoted")
    host.comment("pai-bot", f"{marker('other')}\nof another workspace")
    assert post(host)
    assert not post(host, "again")
    assert host.bodies[:2] == [f"{MARK}\nsay nothing", f"> {MARK}\nquoted"]
    assert host.bodies[3:] == [f"{MARK}\nagain"]


def test_old_comment_is_found_on_a_later_page(host: StandIn) -> None:
    """All pages are looked through, by number: no address in an answer is followed."""
    host.page_max = 10
    for number in range(25):
        host.comment("alice", f"comment {number}")
    host.comment("pai-bot", f"{MARK}\nold")
    host.comment("alice", "after it")
    assert not post(host, "new")
    assert f"{MARK}\nnew" in host.bodies
    assert len(host.comments) == 27


@pytest.mark.parametrize("kind", ["github", "gitea"])
def test_token_of_a_job_is_the_job_systems_user(kind: str) -> None:
    """A workflow's token may not ask who it is."""
    login = {"github": "github-actions[bot]", "gitea": "gitea-actions"}[kind]
    with StandIn(kind, login, tells=False).running() as host:
        assert post(host, "one")
        assert not post(host, "two")
        assert host.bodies == [f"{MARK}\ntwo"]


def test_status_says_state_and_a_few_words(host: StandIn) -> None:
    """In each forge's own words; setting it once more is no error anywhere."""
    with opened(host) as client:
        for _ in range(2):
            client.set_status(SHA, CommitStatus("pai", "failure", "x" * 500))
        client.set_status(SHA, CommitStatus("pai", "success", "in force", "https://example.com"))
    sha, said = host.statuses[0]
    assert (sha, said["context"], len(said["description"])) == (SHA, "pai", 140)
    assert said["state"] == ("failed" if host.kind == "gitlab" else "failure")
    assert host.statuses[-1][1]["target_url"] == "https://example.com"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"Retry-After": "3"}),
        Fault(429),
        Fault(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 3)}),
        Fault(403, {"Retry-After": "3"}),
        Fault(500),
        Fault(502, body="<html>bad gateway</html>"),
        Fault(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault(0),
    ],
    ids=["retry-after", "429", "github-reset", "secondary", "500", "502", "date", "dropped"],
)
def test_passing_trouble_is_waited_for(host: StandIn, fault: Fault) -> None:
    """Trouble at every first request, and then it works; what the forge asks to wait is waited."""
    for trouble in (fault, fault):
        host.faults.append(trouble)
    with opened(host) as client:
        assert publish_comment(client, 7, CONTEXT, "text", "pai-bot")
        slept = client.slept  # type: ignore[attr-defined]
    assert host.bodies == [f"{MARK}\ntext"]
    assert len(slept) == 2
    if fault.headers.get("Retry-After") == "3":
        assert min(slept) >= 3


def test_comment_that_was_written_although_the_answer_was_lost_is_not_written_twice(host: StandIn) -> None:
    """Nobody knows after a lost answer, so it is looked for before it is written again."""
    for fault in (Fault(0, after=True), Fault(504, after=True)):
        host.comments.clear()
        with opened(host) as client:
            list(client.comments(7))  # the faults are for the writing alone
            original = host.answer

            def once(request, original=original, fault=fault):  # type: ignore[no-untyped-def]
                if request.method == "POST":
                    host.faults.append(fault)
                    host.answer = original  # type: ignore[method-assign]
                return original(request)

            host.answer = once  # type: ignore[method-assign]
            publish_comment(client, 7, CONTEXT, "text", "pai-bot")
        assert host.bodies == [f"{MARK}\ntext"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(401), "refused the request (401: trouble)"),
        (Fault(403), "refused the request (403: trouble)"),
        (Fault(404), "refused the request (404: trouble)"),
        (Fault(301, {"Location": "http://127.0.0.1:1/elsewhere"}), "sends elsewhere (301)"),
        (Fault(200, body="<html>"), "answered with what is no JSON"),
        (Fault(200, body="[" * 100_000), "answered with what is no JSON"),
        (Fault(200, body='{"a": 1}'), "answered with no list of comments"),
        (Fault(429, {"Retry-After": "3600"}), "is over its rate limit (429: trouble)"),
    ],
    ids=["401", "403", "404", "redirect", "html", "deep", "object", "hour"],
)
def test_lasting_trouble_is_an_error_at_once(host: StandIn, fault: Fault, message: str) -> None:
    """No second attempt, no redirect followed with the token, nobody waits an hour; the token is in no message."""
    host.faults.append(fault)
    with opened(host) as client, pytest.raises(ForgeUnavailable) as raised:
        list(client.comments(7))
    assert message in raised.value.message
    assert raised.value.hint
    assert len(host.requests) == 1
    assert TOKEN not in f"{raised.value.message}{raised.value.hint}{raised.value!r}"


def test_trouble_without_end_ends(host: StandIn) -> None:
    """After the patience, the last trouble is the error."""
    host.faults += [Fault(500)] * 1000
    with opened(host, patience_s=0.0) as client, pytest.raises(ForgeUnavailable, match="failed"):
        client.set_status(SHA, CommitStatus("pai", "success", ""))
    assert len(host.requests) == 1


def test_forge_that_is_not_there_or_hangs_is_given_up() -> None:
    """No connection, and no answer: both have a deadline."""
    with pytest.raises(ForgeUnavailable, match="cannot be reached"):
        _ask("http://127.0.0.1:1")
    with StandIn("github").running() as host:
        host.answer = lambda _: time.sleep(1.5)  # type: ignore[method-assign, assignment]
        with pytest.raises(ForgeUnavailable, match="did not answer in time"):
            _ask(host.url)


def test_answer_that_drips_is_given_up() -> None:
    """A byte now and then is no silence, but the whole has a deadline."""

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                connection.sendall(b" ")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        api = ForgeApi(f"http://127.0.0.1:{server.getsockname()[1]}", {}, patience_s=0, deadline_s=0.2)
        with contextlib.closing(api), pytest.raises(ForgeUnavailable, match="did not answer in time"):
            api.call("GET", "/")
        dripping.join()


def _ask(url: str) -> None:
    client = forge("github", url, REPOSITORY, TOKEN, patience_s=0)
    client.api._client.timeout = httpx.Timeout(0.3)
    with contextlib.closing(client.api):
        client.login()


def test_wrong_token_is_refused_by_the_stand_in(host: StandIn) -> None:
    """The stand-in checks what a forge checks; else the tests above would prove nothing."""
    with opened(host, "another") as client, pytest.raises(ForgeUnavailable, match="401"):
        client.login()
    with opened(host) as client:
        assert client.login() == "pai-bot"
        with pytest.raises(ForgeUnavailable, match="404"):
            list(client.comments(8))
        if host.kind == "github":
            with pytest.raises(ForgeUnavailable, match="422"):
                client.create(7, "x" * 65_537)


def test_long_comment_is_cut_at_a_line_with_a_note() -> None:
    """As long as the forge takes, and no longer."""
    with StandIn("github").running() as host:
        assert post(host, "".join(f"- line {number}\n" for number in range(20_000)))
        (body,) = host.bodies
    assert len(body) <= 65_536
    assert body.endswith("*The rest is left out: this forge takes no longer comment. `pai diff` says all of it.*\n")
    assert "\n\n*The rest" not in fitted("x" * 300, 200)[:100]
    assert fitted("short", 200) == "short"


@pytest.mark.parametrize(
    "url", ["http://example.com", "ftp://x", "https://user:pw@x", "https://x?y", "", "https://", "http://[", "x/y"]
)
def test_token_goes_over_https_only(url: str) -> None:
    """Plain http is for this machine."""
    with pytest.raises(UsageError):
        check_url(url)


def test_environments_of_ci_are_read(tmp_path: Path) -> None:
    """Each system's own variables; Gitea sets GitHub's, too."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": "b" * 40}, "base": {"sha": "c" * 40}}}))
    actions = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": "https://api.github.com",
        "GITHUB_REPOSITORY": "acme/llm",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_SHA": "d" * 40,
        "GITHUB_TOKEN": "t",
    }
    whole = ("github", "https://api.github.com", "acme/llm", 7, "c" * 40, "b" * 40, "t")
    assert surroundings(actions) == whole
    gitea = actions | {"GITEA_ACTIONS": "true", "GITHUB_API_URL": "https://git.example.com/api/v1"}
    assert surroundings(gitea)[:2] == ("gitea", "https://git.example.com/api/v1")
    assert surroundings(actions | {"GITHUB_API_URL": "https://git.example.com/api/v1"}).kind == "gitea"
    assert surroundings(actions | {"PAI_FORGE_TOKEN": "p"}).token == "p"
    event.write_text("[")
    assert surroundings(actions)[3:6] == (7, "", "")
    push = actions | {"GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_PATH": ""}
    assert surroundings(push)[3:6] == (0, "", "d" * 40)
    gitlab = {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": "https://gitlab.com/api/v4",
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "c" * 40,
        "CI_COMMIT_SHA": "d" * 40,
        "GITLAB_TOKEN": "t",
    }
    assert surroundings(gitlab) == ("gitlab", "https://gitlab.com/api/v4", "42", 7, "c" * 40, "d" * 40, "t")
    merged = gitlab | {"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "b" * 40}
    assert surroundings(merged).commit == "b" * 40
    assert surroundings({}) == ("", "", "", 0, "", "", "")
    assert repr(surroundings(actions | {"GITHUB_TOKEN": TOKEN})).count(TOKEN) == 0
