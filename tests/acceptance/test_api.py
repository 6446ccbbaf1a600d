"""The HTTP API on the admin listener: tokens, what it answers, what it refuses, and its own description."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from reconciler.audit.tail import Tail
from reconciler.audit.terms import Query
from reconciler.core import events as ev
from reconciler.log.open import log_at
from tests.support import DEADLINE_S, Daemon, Site, binding, copied, until
from tests.support_tokens import record, reserved, settled


class Served(NamedTuple):
    """A workspace with a running daemon, and the token that its first start made."""

    site: Site
    daemon: Daemon
    token: str

    def ask(
        self, path: str, token: str | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask the admin listener with a token (`""` for none)."""
        given = self.token if token is None else token
        sent = {**headers, **({"Authorization": f"Bearer {given}"} if given else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def get(self, path: str, status: int = 200) -> Any:
        """Ask for JSON."""
        found, headers, body = self.ask(path)
        assert found == status, body
        assert headers["content-type"] == "application/json"
        return json.loads(body)


@pytest.fixture(scope="module")
def served(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a served workspace that the tests of this module only read."""
    site = copied(team_template, tmp_path_factory.mktemp("served"))
    record(site, reserved("req_1"), settled("req_1", input=40, output=2))
    site.pai("apply", "-f", "-", stdin=binding("gone", 5))
    site.pai("delete", "model", "gone")
    with site.daemon() as daemon:
        yield Served(site, daemon, token_of(site))


def token_of(site: Site) -> str:
    """Give the token of the first start."""
    return (site.root / "data" / "admin.token").read_text().strip()


def test_first_start_makes_a_token_and_prints_the_address_with_it(team: Site) -> None:
    """The file is 0600; the address is printed with the token once; the log has nothing of it."""
    path = team.root / "data" / "admin.token"
    with team.daemon() as daemon:
        token = token_of(team)
        assert f"http://127.0.0.1:{daemon.port}/#token={token}" in daemon.log
        assert Served(team, daemon, token).get("/api/v1/state")["models"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with team.daemon() as daemon:
        assert "token" not in daemon.log
        assert Served(team, daemon, token).ask("/api/v1/state")[0] == 200
    data = b"".join(found.read_bytes() for found in (team.root / "data").glob("log.db*"))
    assert token.encode() not in data


def first_keys(site: Site) -> list[tuple[str, str, str]]:
    """Give what the log says of the first token: event, whose, actor, oldest first."""
    rows = site.rows("type:key.", "agent:admin.token")
    return [(row["type"].removesuffix(".v1"), row["data"]["digest"], row["actor"]) for row in rows]


def digest_of(token: str) -> str:
    """Give what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def test_first_token_is_issued_on_the_log_once(team: Site) -> None:
    """The first start records it as a key of an admin, further ones record nothing; `pai get keys` lists it."""
    with team.daemon():
        token = token_of(team)
        listed = team.pai("get", "keys").out
    with team.daemon():
        pass
    assert first_keys(team) == [("key.issued", digest_of(token), "pai")]
    assert "admin.token (admin)" in listed
    assert team.pai("verify").out.startswith("ok: ")


def test_token_of_an_old_workspace_is_recorded_and_goes_on(team: Site) -> None:
    """A file from before, which the log does not know, is taken as it is."""
    old = "pak_" + "A" * 43
    (team.root / "data" / "admin.token").write_text(f"{old}\n")
    with team.daemon() as daemon:
        assert Served(team, daemon, old).ask("/api/v1/state")[0] == 200
    assert first_keys(team) == [("key.issued", digest_of(old), "pai")]


def test_replaced_file_takes_the_former_token_back(team: Site) -> None:
    """Another token in the file is issued at the next start, and the one before opens nothing any more."""
    with team.daemon():
        first = token_of(team)
    (team.root / "data" / "admin.token").unlink()
    with team.daemon() as daemon:
        second = token_of(team)
        assert f"#token={second}" in daemon.log
        assert Served(team, daemon, first).ask("/api/v1/state")[0] == 401
        assert Served(team, daemon, second).ask("/api/v1/state")[0] == 200
    assert first_keys(team) == [
        ("key.issued", digest_of(first), "pai"),
        ("key.revoked", digest_of(first), "pai"),
        ("key.issued", digest_of(second), "pai"),
    ]


def test_deleted_first_token_is_never_issued_again(team: Site) -> None:
    """`pai delete key` shuts the door at once and removes the file; a copy put back is replaced by a new token."""
    path = team.root / "data" / "admin.token"
    with team.daemon() as daemon:
        first = token_of(team)
        (key,) = [
            each for each in team.pai("get", "keys", "-o", "json").json["items"] if each["agent"] == "admin.token"
        ]
        team.pai("delete", "key", key["metadata"]["name"])
        assert Served(team, daemon, first).ask("/api/v1/state")[0] == 401
        assert not path.exists()
    path.write_text(f"{first}\n")
    with team.daemon() as daemon:
        assert token_of(team) != first
        assert Served(team, daemon, first).ask("/api/v1/state")[0] == 401
        assert Served(team, daemon, token_of(team)).ask("/api/v1/state")[0] == 200
    assert [kind for kind, _, _ in first_keys(team)] == ["key.issued", "key.revoked", "key.issued"]


@pytest.mark.parametrize("known", [True, False], ids=["the log knows it", "the log does not know it"])
def test_first_token_goes_by_the_log_once_a_held_log_is_accepted(team: Site, known: bool) -> None:
    """The file is believed while the log is held and no longer: a token that is deleted then opens no door."""
    doors = ("/api/v1/state", "/git/config.git/info/refs?service=git-receive-pack")
    if known:
        with team.daemon():
            pass
    before = team.database.read_bytes()
    team.pai("add", "secret", "later", "--from-literal", "k=-", stdin="v")
    team.database.write_bytes(before)
    with team.daemon(ready=False) as daemon:
        served = Served(team, daemon, token_of(team))
        assert served.ask(doors[0])[0] == 200
        team.pai("verify", "--accept")
        assert [served.ask(door)[0] for door in doors] == [200, 200]
        (key,) = [row["subject"].removeprefix("key/") for row in team.rows("type:key.issued", "agent:admin.token")]
        team.pai("delete", "key", key)
        assert [served.ask(door)[0] for door in doors] == [401, 401]
    assert [kind for kind, _, _ in first_keys(team)] == ["key.issued", "key.revoked"]
    assert team.pai("verify").out.startswith("ok: ")


def test_first_token_that_was_deleted_opens_no_door_of_a_log_without_that(team: Site) -> None:
    """Not while the log that was rolled back is held, and not once it is accepted; the file's new one opens them."""
    doors = ("/api/v1/state", "/git/config.git/info/refs?service=git-receive-pack")
    with team.daemon():
        first = token_of(team)
    before = team.database.read_bytes()
    (key,) = [row["subject"].removeprefix("key/") for row in team.rows("type:key.issued", "agent:admin.token")]
    team.pai("delete", "key", key)
    team.database.write_bytes(before)
    with team.daemon(ready=False) as daemon:
        assert token_of(team) != first
        served = Served(team, daemon, first)
        basic = {"Authorization": "Basic " + base64.b64encode(f"pai:{first}".encode()).decode()}
        for accepted in (False, True):
            if accepted:
                team.pai("verify", "--accept")
            assert [served.ask(door)[0] for door in doors] == [401, 401]
            assert served.ask(doors[1], "", "GET", **basic)[0] == 401
            assert [served.ask(door, token_of(team))[0] for door in doors] == [200, 200 if accepted else 503]


@pytest.mark.parametrize(
    "path", ["/api/v1/events", "/api/v1/events?follow=1", "/api/v1/usage", "/api/v1/models", "/api/v1/models/flash",
             "/api/v1/models/flash/history", "/api/v1/agents/my-agent/blame", "/api/v1/requests/req_1",
             "/api/v1/agents", "/api/v1/state", "/api/v1/openapi.json", "/api/v1/nothing", "/api/x"],
)  # fmt: skip
def test_without_a_token_nothing_is_told(served: Served, path: str) -> None:
    """No token, a wrong one, one that is cut, another scheme, a token in the address: 401 and an error as JSON."""
    wrong = served.token[:-1] + ("A" if served.token[-1] != "A" else "B")
    attempts: list[dict[str, str]] = [{}, {"Authorization": f"Basic {served.token}"}, {"x-api-key": served.token}]
    attempts += [{"Authorization": f"Bearer {text}"} for text in (wrong, served.token[:-1], "pak_", "")]
    for headers in attempts:
        status, answered, body = served.ask(path, "", **headers)
        assert status == 401
        assert answered["www-authenticate"] == "Bearer"
        assert set(json.loads(body)) == {"error", "hint"}
    divider = "&" if "?" in path else "?"
    assert served.ask(f"{path}{divider}token={served.token}", "")[0] == 401


def test_health_and_metrics_need_no_token(served: Served) -> None:
    """What probes and scrapers read stays open."""
    assert [served.ask(path, "")[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]


def test_keys_of_people_and_of_agents_open_their_own_door_only(team: Site) -> None:
    """An issued admin key works here until it is deleted, never on the gateway; an agent's key never works here."""
    with team.daemon() as daemon:
        mine = team.pai("add", "key", "--admin", "alice@example.com").out.strip()
        agents = team.pai("add", "key", "my-agent").out.strip()
        served = Served(team, daemon, mine)
        assert served.get("/api/v1/models")["items"]
        assert served.ask("/api/v1/models", agents)[0] == 401
        assert gateway_status(daemon, agents) == 200
        assert gateway_status(daemon, mine) == 401
        assert gateway_status(daemon, token_of(team)) == 401
        listed = team.pai("get", "keys", "-o", "json").json["items"]
        (alice,) = [key for key in listed if key["agent"] == "alice@example.com"]
        assert alice["admin"] is True
        assert "alice@example.com (admin)" in team.pai("get", "keys").out
        team.pai("delete", "key", alice["metadata"]["name"])
        assert served.ask("/api/v1/models")[0] == 401
        expired = team.pai("add", "key", "--admin", "bob", "--cidr", "192.0.2.0/24").out.strip()
        assert served.ask("/api/v1/models", expired)[0] == 401
    assert mine not in "".join(team.outputs).replace(f"{mine}\n", "", 1)


def gateway_status(daemon: Daemon, key: str) -> int:
    """Ask the gateway for the models of a key."""
    found = until("the gateway's address", lambda: [line for line in daemon.log.splitlines() if "gateway for" in line])
    host, _, port = found[0].rpartition("//")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        with connection.getresponse() as answer:
            return answer.status


def test_events_are_those_of_the_command_page_by_page(served: Served) -> None:
    """The same rows for the same terms; `next` leads from page to page until nothing is left."""
    whole = served.site.pai("log", "-type:daemon", "-o", "json").json
    pages, before = [], ""
    while True:
        page = served.get(f"/api/v1/events?q={quote('-type:daemon')}&limit=3{before}")
        pages.append(page["events"])
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert [row for page in pages for row in page] == whole
    assert {len(page) for page in pages[:-1]} == {3}
    one = served.get(f"/api/v1/events?q={quote('model:flash type:binding')}")["events"]
    assert one == served.site.pai("log", "model:flash", "type:binding", "-o", "json").json


def test_names_that_the_log_does_not_know_are_said(served: Served) -> None:
    """Beside the answer, as the command says them on stderr: what is empty for a typing error is not taken for none."""
    asked = {
        "model:flsh": ["the log knows no model flsh"],
        "model:flash agent:nobody": ["the log knows no agent nobody"],
        "type:binding -model:flsh": ["the log knows no model flsh"],
        "model:flash until:2000-01-01": None,
        "type:binding": None,
    }
    for query, wanted in asked.items():
        answers = [served.get(f"/api/v1/{what}?q={quote(query)}") for what in ("events", "usage")]
        assert [answer.get("warnings") for answer in answers] == [wanted, wanted], query
        said = [served.site.pai(verb, *query.split()).err.splitlines() for verb in ("log", "usage")]
        assert [[line for line in lines if "the log knows" in line] for lines in said] == [wanted or []] * 2
    with following(served, "model:flsh") as messages:
        assert json.loads(next(messages)["data"]) == {"notice": "the log knows no model flsh"}


ASKED = {
    "events?limit=1000&q=-type:daemon": "log -type:daemon",
    "events?limit=2&q=model:flash": "log model:flash --limit 2",
    "usage": "usage",
    "usage?by=agent&q=model:flash": "usage model:flash --by agent",
    "usage?by=model,day&q=since:1d": "usage since:1d --by model,day",
    "models": "get models",
    "models?at=%232": "get models --at #2",
    "models/flash": "get model flash",
    "agents": "get agents",
    "agents/my-agent": "get agent my-agent",
    "models/flash/history": "history model flash",
    "models/gone/history": "history model gone",
    "agents/my-agent/history": "history agent my-agent",
    "models/flash/blame": "blame model flash",
    "agents/my-agent/blame": "blame agent my-agent",
    "requests/req_1": "why req_1",
}
"""What the API is asked, and the command that asks the same."""


@pytest.mark.parametrize(("path", "command"), ASKED.items())
def test_api_answers_what_the_command_prints(served: Served, path: str, command: str) -> None:
    """The JSON is the same, also as it was."""
    told = served.get(f"/api/v1/{path}")
    assert (told["events"] if path.startswith("events") else told) == served.site.pai(
        *command.split(), "-o", "json"
    ).json


@pytest.mark.parametrize("path", ["events", "usage", "models/flash/history", "models/flash/blame", "requests/req_1"])
def test_document_names_each_member_that_the_log_is_told_by(served: Served, path: str) -> None:
    """Nothing is answered that the schema does not name, but what an event, a spec or a value holds."""
    document = served.get("/api/v1/openapi.json")
    place = path.replace("flash", "{name}").replace("req_1", "{request}")
    answers = document["paths"][f"/api/v1/{place}"]["get"]["responses"]["200"]["content"]
    schema = answers["application/json"]["schema"]
    told = served.get(f"/api/v1/{path}")
    assert set(unnamed(told, schema, document["components"]["schemas"])) == set()


def unnamed(told: Any, schema: dict[str, Any], components: dict[str, Any]) -> Iterator[str]:
    """Give the members of an answer that its schema does not name."""
    parts = [schema, *schema.get("allOf", []), *schema.get("anyOf", [])]
    parts = [components[part["$ref"].rpartition("/")[2]] if "$ref" in part else part for part in parts]
    named = {name: of for part in parts for name, of in part.get("properties", {}).items()}
    if isinstance(told, list):
        for item in told:
            yield from unnamed(item, schema.get("items", {}), components)
    elif isinstance(told, dict):
        known = named or any("additionalProperties" in part for part in parts)  # else anything may be in it
        yield from told.keys() - named.keys() if known else ()
        for name in told.keys() & named.keys():
            yield from unnamed(told[name], named[name], components)


REFUSED = {
    "models/flsh": "get model flsh",
    "models/gone": "get model gone",
    "models/gone?at=%232": "get model gone --at #2",
    "models?at=%23100000": "get models --at #100000",
    "models/flsh/history": "history model flsh",
    "models/gone/blame": "blame model gone",
    "agents/flash/blame": "blame agent flash",
    "requests/req_2": "why req_2",
    "events?q=modle:x": "log modle:x",
}
"""What cannot be answered, in both ways."""


@pytest.mark.parametrize(("path", "command"), REFUSED.items())
def test_api_refuses_in_the_words_of_the_command(served: Served, path: str, command: str) -> None:
    """Error and hint are the same."""
    told = json.loads(served.ask(f"/api/v1/{path}")[2])
    said = served.site.run(*command.split()).err.splitlines()
    assert f"error: {told['error']}" in said
    assert f"hint: {told['hint']}" in said


def test_story_and_state_are_whole(served: Served) -> None:
    """A story has what was charged; the state has everything in force, also as it was."""
    assert served.get("/api/v1/requests/req_1")["decisions"][0]["outcome"]["charged"] == 42
    first = served.site.rows("type:revision.accepted")[0]
    then = served.get(f"/api/v1/state?at={first['data']['commit'][:8]}")
    assert (then["position"], then["revision"]) == (first["seq"] + 1, first["data"]["commit"])
    assert [model["metadata"]["name"] for model in then["models"]] == ["flash", "sonnet"]
    assert [secret["metadata"]["name"] for secret in then["secrets"]] == ["gemini-key"]
    assert served.get("/api/v1/state?at=%230")["secrets"] == []


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("events?q=modle:x", 400, "unknown field 'modle'"),
        ("events?limit=0", 400, "from 1 to 1000"),
        ("events?limit=1001", 400, "from 1 to 1000"),
        ("events?before=-1", 400, "before"),
        ("events?before=x", 400, "before"),
        ("events?quary=x", 400, "unknown parameter 'quary'"),
        ("events?q=&q=", 400, "given twice"),
        ("events?follow=2", 400, "neither 0 nor 1"),
        ("events?follow=1&limit=2", 400, "limit"),
        ("usage?by=colour", 400, "cannot group by"),
        ("usage?by=day,day", 400, "cannot group by"),
        ("models?at=2999-01-01", 400, "still to come"),
        ("models?at=%23100000", 404, "there is no #100000"),
        ("state?at=0123456789abcdef", 404, "no commit"),
        ("models/flsh", 404, "there is no model flsh"),
        ("agents/flash", 404, "there is no agent flash"),
        ("models/a/b", 404, "nothing at"),
        ("models/flsh/history", 404, "there is no model flsh"),
        ("agents/flash/blame", 404, "there is no agent flash"),
        ("requests/req_2", 404, "there is no request req_2"),
        ("requests/", 404, "nothing at"),
        ("requests/req_1?at=0s", 400, "unknown parameter 'at'"),
        ("nothing", 404, "nothing at"),
    ],
)
def test_what_cannot_be_answered_says_why(served: Served, path: str, status: int, said: str) -> None:
    """Status, and an error with a hint, as JSON."""
    error = served.get(f"/api/v1/{path}", status)
    assert error.keys() - {"start", "length"} == {"error", "hint"}
    assert said in error["error"]


def test_error_of_a_query_points_into_it(served: Served) -> None:
    """As the caret of the command line does: in characters, whatever stands before."""
    for query, start, length in (("modle:x", 0, 5), ("path:%C3%A4 modle:x", 7, 5), ("type:a since:zz", 13, 2)):
        error = served.get(f"/api/v1/events?q={query.replace(' ', '%20')}", 400)
        assert (error["start"], error["length"]) == (start, length)


def test_other_methods_are_refused(served: Served) -> None:
    """The API reads only: 405 with Allow, and a HEAD is a GET without a body."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, headers, body = served.ask("/api/v1/events", method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert set(json.loads(body)) == {"error", "hint"}
    assert served.ask("/api/v1/events", method="HEAD")[::2] == (200, b"")
    for _ in range(20):  # more than may follow: none does
        status, headers, body = served.ask("/api/v1/events?follow=1", method="HEAD")
        assert (status, headers["content-type"], body) == (200, "text/event-stream; charset=utf-8", b"")


@contextlib.contextmanager
def following(served: Served, query: str, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
    """Follow the events of a query as an EventSource does; gives the messages as they come."""
    connection = socket.create_connection(("127.0.0.1", served.daemon.port), timeout=DEADLINE_S)
    sent = {"Host": "localhost", "Authorization": f"Bearer {served.token}", "Accept": "text/event-stream", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with contextlib.closing(connection), connection.makefile("rb") as stream:
        connection.sendall(f"GET /api/v1/events?q={quote(query)} HTTP/1.1\r\n{lines}\r\n".encode())
        assert b" 200 " in stream.readline()

        def messages() -> Iterator[dict[str, str]]:
            message: dict[str, str] = {}
            for line in stream:
                text = line.decode().strip()
                if text.startswith(("id: ", "data: ", ": ")):
                    field, _, value = text.partition(": ")
                    message[field] = value
                elif not text and message:
                    yield message
                    message = {}

        found = messages()
        until("the beginning of the stream", lambda: "" in next(found))
        yield found


def test_following_sends_events_with_their_positions(team: Site) -> None:
    """Each event once, with its position as id; a client that comes back goes on behind the last it has seen."""
    with team.daemon() as daemon:
        served = Served(team, daemon, token_of(team))
        with following(served, "type:binding") as messages:
            team.pai("apply", "-f", "-", stdin=binding("flash", 5))
            first = next(message for message in messages if "id" in message)
        row = json.loads(first["data"])
        assert (row["seq"], row["data"]["spec"]["maxTokensPerDay"]) == (int(first["id"]), 5)
        team.pai("apply", "-f", "-", stdin=binding("flash", 6))
        with following(served, "type:binding", **{"Last-Event-ID": first["id"]}) as messages:
            second = next(message for message in messages if "id" in message)
            assert json.loads(second["data"])["data"]["spec"]["maxTokensPerDay"] == 6
            assert daemon.stop() == 0  # a follower does not keep the daemon


@pytest.mark.parametrize("expires", ["90d", "6s"])
def test_who_follows_is_left_when_the_token_ends(team: Site, expires: str) -> None:
    """A stream is as long as its token is in force: whoever lost it is told nothing that is recorded afterwards."""
    with team.daemon() as daemon:
        token = team.pai("add", "key", "--admin", "bob", "--expires", expires).out.strip()
        with following(Served(team, daemon, token), "type:binding") as messages:
            team.pai("apply", "-f", "-", stdin=binding("flash", 5))
            next(message for message in messages if "id" in message)
            if expires == "90d":
                listed = team.pai("get", "keys", "-o", "json").json["items"]
                team.pai("delete", "key", next(key["metadata"]["name"] for key in listed if key["agent"] == "bob"))
            else:
                time.sleep(7)  # its end is told by the second
            team.pai("apply", "-f", "-", stdin=binding("flash", 6))
            assert "no longer in force" in next(messages)["data"]


def test_too_many_followers_are_refused(team: Site) -> None:
    """With one token half of them, the others go on, and places become free again."""
    other = team.pai("add", "key", "--admin", "alice@example.com").out.strip()
    with team.daemon() as daemon:
        one = Served(team, daemon, token_of(team))
        two = one._replace(token=other)
        with contextlib.ExitStack() as stack:
            for each in (one, two):
                for _ in range(8):
                    stack.enter_context(following(each, ""))
                status, _, body = each.ask("/api/v1/events?follow=1")
                assert (status, "too many" in json.loads(body)["error"]) == (503, True)

        def answers() -> bool:
            with contextlib.suppress(AssertionError), following(one, ""):
                return True
            return False

        until("a free place", answers)


def test_followers_that_come_in_one_moment_are_counted(team: Site) -> None:
    """None is let in because the others have not begun yet."""
    with team.daemon() as daemon, contextlib.ExitStack() as stack:
        token = token_of(team)
        asked = f"GET /api/v1/events?follow=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        address = ("127.0.0.1", daemon.port)
        connections = [stack.enter_context(socket.create_connection(address, DEADLINE_S)) for _ in range(24)]
        for connection in connections:
            connection.sendall(f"{asked}Last-Event-ID: 0\r\n\r\n".encode())
        answers = [connection.recv(12) for connection in connections]
        assert answers.count(b"HTTP/1.1 200") == 8


def test_large_events_come_in_small_pages(team: Site) -> None:
    """An object of 1 MiB is 2 MiB in each event: no page, look or history of them takes the daemon's memory."""
    parts: dict[str, Any] = {"file": "big.yaml", "line": 1, "revision": "a" * 40}
    specs: list[dict[str, object]] = [{"modelBindings": ["flash"], "text": f"{'x' * 1_000_000}{n}"} for n in range(20)]
    drafts = [ev.Draft("a", "agent/big", ev.AgentCreated(spec=specs[0], previous=None, changed=[], **parts))]
    for old, new in pairwise(specs):
        changed = ev.AgentChanged(spec=new, previous=old, changed=["text"], **parts)
        drafts.append(ev.Draft("a", "agent/big", changed))
    first = record(team, *drafts)
    with team.daemon() as daemon:
        served = Served(team, daemon, token_of(team))
        found: list[int] = []
        pages, before = 0, 2**53 - 1
        while before:
            page = served.get(f"/api/v1/events?q=agent:big&limit=1000&before={before}")
            found += [row["seq"] for row in page["events"]]
            pages, before = pages + 1, page["next"]
        assert found == list(range(first + 19, first - 1, -1))
        assert pages == 3
        assert "more than" in served.get("/api/v1/agents/big/history", 400)["error"]
        with following(served, "agent:big", **{"Last-Event-ID": str(first - 1)}) as messages:
            assert [int(next(messages)["id"]) for _ in range(20)] == found[::-1]
    assert len(Tail(log_at(team.database), Query(), first).look()) == 2


def test_document_describes_what_is_answered(served: Served, tmp_path: Path) -> None:
    """Schemathesis asks what the document says may be asked, and everything answered is as it says."""
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{served.daemon.port}/api/v1/openapi.json",
        ),
        *("--header", f"Authorization: Bearer {served.token}", "--max-examples", "15", "--seed", "1"),
        # Terms and moments are languages of their own, which no schema tells apart from other text.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--phases", "examples,coverage,fuzzing", "--no-color", "--suppress-health-check", "all"),
        *("--exclude-path", "/api/v1/openapi.json", "--request-timeout", "20"),
    ]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
