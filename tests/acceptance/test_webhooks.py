"""Webhooks over HTTP: what a forge's delivery does, what is refused and how, and that nothing else comes of either."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.admin.deliveries import FORGES
from reconciler.admin.webhooks import BODY_BYTES_MAX
from tests.support import DEADLINE_S, Daemon, Site, until
from tests.support_webhooks import SECRET, delivery

NAMES = sorted(FORGES)
MAIN = json.dumps({"ref": "refs/heads/main", "repository": {"clone_url": "http://127.0.0.1:9/"}}).encode()
BITBUCKET = json.dumps({"push": {"changes": [{"new": {"type": "branch", "name": "main"}}]}}).encode()


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Hooked:
    """A running daemon whose webhooks have secrets."""

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self.site = site
        self.daemon = daemon

    def post(self, path: str, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST") -> Answer:
        """Send a request to the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            with connection.getresponse() as answer:
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Answer(answer.status, named, answer.read())

    def deliver(self, name: str, body: bytes = b"", event: str = "", secret: bytes = SECRET) -> Answer:
        """Send a delivery as the forge does."""
        body = body or (BITBUCKET if name == "bitbucket" else MAIN)
        return self.post(f"/webhooks/{name}", body, delivery(name, body, secret, int(time.time()), event))

    def metric(self, name: str) -> float:
        """Give a metric's value, 0 if it is not there."""
        lines = self.daemon.get("/metrics")[1].splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)


def configure(site: Site, *names: str) -> dict[str, str]:
    """Store the secret, and give the variables that set it for forges."""
    site.pai("add", "secret", "hooks", "--from-literal", "token=-", stdin=SECRET + b"\n")
    return {f"PAI_WEBHOOKS_{name.upper()}": "hooks" for name in names}


@pytest.fixture
def hooked(team: Site) -> Iterator[Hooked]:
    """Give a daemon with a secret for every forge."""
    with team.daemon(env=configure(team, *NAMES)) as daemon:
        yield Hooked(team, daemon)


@pytest.mark.parametrize("name", NAMES)
def test_push_of_our_branch_makes_the_daemon_look(hooked: Hooked, name: str) -> None:
    """A proven delivery is answered 200 and counted; a forged one 401, counted by its reason, and does nothing."""
    answer = hooked.deliver(name)
    assert (answer.status, json.loads(answer.body)) == (200, {"result": "looking"})
    assert hooked.metric(f'pai_webhooks_accepted_total{{event="push",forge="{name}"}}') == 1
    forged = hooked.deliver(name, secret=b"another")
    assert forged.status == 401
    assert hooked.metric(f'pai_webhooks_refused_total{{forge="{name}",reason="signature"}}') == 1
    unsigned = hooked.post(f"/webhooks/{name}", MAIN, {"content-type": "application/json"})
    assert unsigned.status == 401
    assert hooked.metric(f'pai_webhooks_refused_total{{forge="{name}",reason="unsigned"}}') == 1


def test_delivery_brings_a_commit_into_force_that_nobody_watched(hooked: Hooked) -> None:
    """Where no file of the repository tells (its refs come packed from elsewhere), the delivery does."""
    before = hooked.metric("pai_reconcile_duration_seconds_count")
    sha = hooked.site.clone().pushed({"README": "x"})
    assert hooked.deliver("github").status == 200
    until("the commit to be in force", lambda: hooked.site.state().revision == sha)
    assert hooked.metric("pai_reconcile_duration_seconds_count") == before + 1


def test_other_events_do_nothing_and_are_answered_202(hooked: Hooked) -> None:
    """Other branches, tags, issues: 202, counted, no look. A ping is answered 200."""
    for body in (b'{"ref": "refs/heads/other"}', b'{"ref": "refs/tags/main"}'):
        assert hooked.deliver("github", body).status == 202
        assert hooked.deliver("generic", body).status == 202
    assert hooked.deliver("github", event="issues").status == 202
    assert hooked.deliver("gitlab", event="Merge Request Hook").status == 202
    ping = hooked.deliver("github", b'{"zen": "Speak like a human."}', event="ping")
    assert (ping.status, json.loads(ping.body)) == (200, {"result": "pong"})
    assert hooked.deliver("bitbucket", b'{"test": true}', event="diagnostics:ping").status == 200
    assert hooked.metric('pai_webhooks_accepted_total{event="other",forge="github"}') == 3


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff\xfe", b"[" * 200_000])
def test_payload_that_cannot_be_read_is_refused_after_its_proof(hooked: Hooked, body: bytes) -> None:
    """A forged one is refused for its proof, whatever it holds; a proven one for its form."""
    assert hooked.deliver("github", body).status == 400
    assert hooked.deliver("github", body, secret=b"x").status == 401


def test_forge_without_a_secret_is_not_there(team: Site) -> None:
    """Its path, and one whose secret is not stored, are answered as an unknown path is: same status, headers, body."""
    environment = configure(team, "github") | {"PAI_WEBHOOKS_GITEA": "lost:token"}
    with team.daemon(env=environment) as daemon:
        hooked = Hooked(team, daemon)
        unknown = hooked.post("/webhooks/unknown", MAIN)
        headers = {name: value for name, value in unknown.headers.items() if name != "date"}
        assert unknown.status == 404
        for path, method in [("gitlab", "POST"), ("gitlab", "GET"), ("generic", "PUT"), ("gitea", "POST")]:
            answer = hooked.post(f"/webhooks/{path}", MAIN, method=method)
            assert (answer.status, answer.body) == (unknown.status, unknown.body)
            assert {name: value for name, value in answer.headers.items() if name != "date"} == headers
        assert hooked.deliver("github").status == 200
        assert hooked.post("/webhooks/github", method="GET").status == 405
        assert "secret lost does not exist" in daemon.log


def test_rotated_secret_counts_at_once(hooked: Hooked) -> None:
    """After `pai add secret` the old one is no proof any more, without a restart."""
    assert hooked.deliver("github").status == 200
    hooked.site.pai("add", "secret", "hooks", "--from-literal", "token=-", stdin="a new one\n")
    assert hooked.deliver("github").status == 401
    assert hooked.deliver("github", secret=b"a new one").status == 200


def test_large_body_is_refused_by_its_length_and_while_it_is_read(hooked: Hooked) -> None:
    """One that claims too much is not read; one in chunks is read up to the limit; one at the limit is taken."""
    full = b'{"ref": "refs/heads/main", "x": "' + b"x" * (BODY_BYTES_MAX - 35) + b'"}'
    assert len(full) == BODY_BYTES_MAX
    assert hooked.deliver("github", full).status == 200
    with socket.create_connection(("127.0.0.1", hooked.daemon.port), timeout=DEADLINE_S) as connection:
        connection.sendall(
            b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: sha256=0\r\n"
            b"Content-Length: 1048577\r\n\r\n"
        )
        assert connection.recv(20).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", hooked.daemon.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(17):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 413")
    assert hooked.metric('pai_webhooks_refused_total{forge="github",reason="too_large"}') == 2


def test_slow_body_is_given_up(hooked: Hooked) -> None:
    """Who sends half a body is told that it takes too long, and nothing waits for it."""
    with socket.create_connection(("127.0.0.1", hooked.daemon.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert hooked.deliver("github").status == 200
        assert connection.recv(20).startswith(b"HTTP/1.1 408")


def test_payload_reaches_neither_log(hooked: Hooked) -> None:
    """Of a delivery the daemon's log has the forge and an id of plain characters; the event log has nothing."""
    events = hooked.site.state().position
    canary = "canary-in-the-payload"
    body = json.dumps({"ref": "refs/heads/main", "pusher": {"email": canary}, "compare": f"http://{canary}/"}).encode()
    headers = delivery("github", body)
    assert hooked.post("/webhooks/github", body, headers).status == 200
    evil = {**headers, "x-github-delivery": "a b\t\xe9" + "x" * 200, "x-github-event": canary}
    assert hooked.post("/webhooks/github", body, evil).status == 202
    assert hooked.deliver("github", body, secret=canary.encode()).status == 401
    assert "webhook of github: push, delivery 72d3162e-cc78-11e3-81ab-4c9367dc0958" in hooked.daemon.log
    assert "webhook of github: other, delivery -" in hooked.daemon.log
    assert canary not in hooked.daemon.log
    assert SECRET.decode() not in hooked.daemon.log
    assert hooked.site.state().position == events


def test_nothing_is_fetched_from_what_a_payload_names(hooked: Hooked) -> None:
    """A server that every URL of a proven payload points at is never asked."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.git"
        repository = dict.fromkeys(("clone_url", "git_url", "ssh_url", "url", "html_url", "git_http_url"), url)
        body = json.dumps({"ref": "refs/heads/main", "repository": repository, "project": repository}).encode()
        for name in ("github", "gitlab", "gitea", "generic"):
            assert hooked.deliver(name, body).status == 200
        sha = hooked.site.clone().pushed({"README": "x"})
        until("a pass after the deliveries", lambda: hooked.site.state().revision == sha)
        trap.settimeout(0)
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_flood_of_forged_deliveries_is_told_in_one_line(hooked: Hooked) -> None:
    """Many refusals of one kind are one line of the daemon's log, and all are counted."""
    for _ in range(50):
        assert hooked.deliver("github", secret=b"x").status == 401
    assert hooked.metric('pai_webhooks_refused_total{forge="github",reason="signature"}') == 50
    assert hooked.daemon.log.count("webhook of github refused") == 1


@pytest.mark.parametrize("value", ["ghs_real-secret-value!", "Hooks", ":token", "a:b:c", "hooks:"])
def test_setting_names_a_secret_and_is_none(site: Site, value: str) -> None:
    """A secret itself in the setting is refused, and not repeated."""
    done = site.pai("status", env={"PAI_WEBHOOKS_GITHUB": value}, code=3)
    assert "PAI_WEBHOOKS_GITHUB: webhooks.github must name a stored secret, never be one" in done.err
    assert value not in done.err.replace("webhooks", "")


def test_files_of_a_mounted_folder_serve_as_secrets(team: Site, tmp_path: Path) -> None:
    """The secret may come from the folder of mounted secrets, as every other."""
    place = tmp_path / "mounted" / "hooks"
    place.mkdir(parents=True)
    (place / "token").write_bytes(SECRET + b"\n")
    environment = {"PAI_SECRETS_DIRECTORY": str(place.parent), "PAI_WEBHOOKS_GITEA": "hooks:token"}
    with team.daemon(env=environment) as daemon:
        hooked = Hooked(team, daemon)
        assert hooked.deliver("gitea").status == 200
        (place / "new").write_bytes(b"rotated")
        os.replace(place / "new", place / "token")
        assert hooked.deliver("gitea").status == 401
