"""The agents' port and the one for people behind the same listener: names, proxies, offers, and a proxy in front."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from tests.support import DEADLINE_S, Site, until
from tests.support_gateway import OUTSIDER, ROBOT, Bench, asked, headers_of, opened, refused
from tests.support_listening import Answer, Wire, wired

Port = Literal["agents", "people"]
PORTS: tuple[Port, ...] = ("agents", "people")


def port_of(bench: Bench, port: Port) -> int:
    """Give the number of a port."""
    return bench.port if port == "agents" else bench.daemon.port


def token_of(bench: Bench) -> str:
    """Give the token of people."""
    return (bench.site.root / "data" / "admin.token").read_text().strip()


def request(method: str, path: str, host: str = "localhost", *fields: str, body: bytes = b"") -> bytes:
    """Write a request; with a body it has a length."""
    length = [f"content-length: {len(body)}"] if body else []
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"host: {host}", *fields, *length, "", "")).encode() + body


def answered(port: int, data: bytes) -> Answer:
    """Send bytes on a connection of its own and read the first answer."""
    with wired(port) as wire:
        wire.send(data)
        answer = wire.answer()
    assert answer is not None
    return answer


PATHS = {
    "agents": ("/", "/healthz", "/readyz", "/v1/models", "/v1/chat/completions", "/metrics", "/nothing"),
    "people": (
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/state",
        "/api/v1/openapi.json",
        "/webhooks/github",
        "/git/config.git/info/refs?service=git-upload-pack",
        "/nothing",
    ),
}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("host", ["evil.example", "[::1].evil.example", "127.0.0.1.evil.example:80", "2130706433", ""])
def test_foreign_host_is_a_421_on_every_path(bench: Bench, port: Port, host: str) -> None:
    """Whatever is asked for, with a key or a token or without, and whatever the method is."""
    keys = (f"authorization: Bearer {token_of(bench) if port == 'people' else ROBOT}",)
    for path in PATHS[port]:
        for method, fields in (("GET", keys), ("POST", keys), ("GET", ()), ("OPTIONS", ())):
            answer = answered(port_of(bench, port), request(method, path, host, *fields))
            assert answer.status == 421, (method, path)
            assert "error" in answer.json
            assert "pai_" not in answer.body.decode()


@pytest.mark.parametrize("port", PORTS)
def test_url_as_target_cannot_hide_a_foreign_host(bench: Bench, port: Port) -> None:
    """The authority of the target and the Host both have to be known."""
    number = port_of(bench, port)
    assert answered(number, request("GET", "http://localhost/healthz")).status == 200
    assert answered(number, request("GET", f"http://127.0.0.1:{number}/healthz", "localhost")).status == 200
    assert answered(number, request("GET", "http://evil.example/healthz")).status == 421
    assert answered(number, request("GET", "http://localhost/healthz", "evil.example")).status == 421
    assert answered(number, request("GET", "http://localhost@evil.example/healthz")).status == 421


@pytest.mark.parametrize("port", PORTS)
def test_one_host_is_needed(bench: Bench, port: Port) -> None:
    """None, or two, also alike, is a 400, and in a trailer it is nothing."""
    number = port_of(bench, port)
    assert answered(number, b"GET /healthz HTTP/1.1\r\n\r\n").status == 400
    assert answered(number, b"GET /healthz HTTP/1.0\r\n\r\n").status == 400
    assert answered(number, request("GET", "/healthz", "localhost", "host: localhost")).status == 400
    trailed = b"POST /healthz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nhost: localhost\r\n\r\n"
    assert answered(number, trailed).status == 400


@pytest.fixture
def named(gateway_template: Site, tmp_path: Path) -> Iterator[Bench]:
    """Give a daemon whose ports have names, and proxies: this machine for people, another one for agents."""
    with opened(
        gateway_template,
        tmp_path,
        PAI_GATEWAY_HOSTS="agents.example",
        PAI_ADMIN_HOSTS="people.example, forge.example",
        PAI_ADMIN_TRUSTED_PROXIES="127.0.0.1, ::1",
        PAI_GATEWAY_TRUSTED_PROXIES="127.0.0.0/8",
        FORWARDED_ALLOW_IPS="*",
        WEB_CONCURRENCY="auto",
        UVICORN_WORKERS="4",
    ) as running:
        yield running


def test_names_and_proxies_are_settings_of_each_port(named: Bench) -> None:
    """A port answers under its own names; of a trusted proxy the client counts that it names, and nothing else."""
    for port, host, other in (
        (named.port, "agents.example", "people.example"),
        (named.daemon.port, "forge.example:443", "agents.example"),
    ):
        assert answered(port, request("GET", "/healthz", host)).status == 200
        assert answered(port, request("GET", "/healthz", other)).status == 421

    token = named.site.pai("add", "key", "--admin", "ann", "--cidr", "10.0.0.0/8").out.strip()
    key = named.site.pai("add", "key", "robot", "--cidr", "10.0.0.0/8").out.strip()
    for port, path, secret in ((named.daemon.port, "/api/v1/state", token), (named.port, "/v1/models", key)):
        for fields, status in (
            ((), 401),
            (("x-forwarded-for: 10.1.2.3",), 200),
            (("x-forwarded-for: 10.1.2.3, 192.0.2.1",), 401),
            (("x-forwarded-for: 192.0.2.1, 10.1.2.3, 127.0.0.1",), 200),
            (("x-forwarded-for: 10.1.2.3", "x-forwarded-for: 192.0.2.1"), 401),
            (("x-forwarded-for: 10.1.2.3, garbage",), 401),
            (("forwarded: for=10.1.2.3",), 401),
            (("x-real-ip: 10.1.2.3",), 401),
        ):
            asked_with = request("GET", path, "localhost", f"authorization: Bearer {secret}", *fields)
            assert answered(port, asked_with).status == status, (path, fields)
        trailed = request("GET", path, "localhost", f"authorization: Bearer {secret}", "transfer-encoding: chunked")
        assert answered(port, trailed + b"0\r\nx-forwarded-for: 10.1.2.3\r\n\r\n").status == 401


def test_nobody_is_a_trusted_proxy_by_default(bench: Bench) -> None:
    """Neither this machine nor what the environment names: a key or token of a network holds for the peer alone."""
    token = bench.site.pai("add", "key", "--admin", "eve", "--cidr", "10.0.0.0/8").out.strip()
    key = bench.site.pai("add", "key", "robot", "--cidr", "10.0.0.0/8").out.strip()
    for port, path, secret in ((bench.daemon.port, "/api/v1/state", token), (bench.port, "/v1/models", key)):
        for field in (
            "x-forwarded-for: 10.1.2.3",
            "forwarded: for=10.1.2.3",
            "x-real-ip: 10.1.2.3",
            "x-client-ip: 10.1",
        ):
            data = request("GET", path, "localhost", f"authorization: Bearer {secret}", field)
            assert answered(port, data).status == 401, (path, field)
    near = bench.site.pai("add", "key", "--admin", "amy", "--cidr", "127.0.0.0/8").out.strip()
    data = request("GET", "/api/v1/state", "localhost", f"authorization: Bearer {near}", "x-forwarded-for: 10.1.2.3")
    assert answered(bench.daemon.port, data).status == 200


@pytest.mark.parametrize("port", PORTS)
def test_key_in_a_trailer_is_nothing(bench: Bench, port: Port) -> None:
    """Who has no key in the head has none."""
    secret = token_of(bench) if port == "people" else ROBOT
    path = "/api/v1/state" if port == "people" else "/v1/chat/completions"
    body = json.dumps(asked("chat", "openai")[1]).encode()
    head = request("POST", path, "localhost", "transfer-encoding: chunked")
    chunks = b"%x\r\n%b\r\n0\r\nauthorization: Bearer %b\r\nx-api-key: %b\r\n\r\n"
    data = head + chunks % (len(body), body, secret.encode(), secret.encode())
    assert answered(port_of(bench, port), data).status == 401


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.0", "anything"])
def test_body_behind_an_offer_is_no_request(bench: Bench, port: Port, offer: str) -> None:
    """An offered upgrade is ignored on every path, and the request hidden in the body is not answered."""
    hidden = request("GET", "/readyz", "localhost")
    fields = (f"upgrade: {offer}", "connection: Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")
    for path in PATHS[port]:
        with wired(port_of(bench, port)) as wire:
            wire.send(request("POST", path, "localhost", *fields, body=hidden))
            wire.send(request("GET", "/healthz", "localhost", "connection: close"))
            answers = wire.answers()
        assert [answer.body == b"ok\n" for answer in answers[-2:]] == [False, True] or path == "/healthz", (
            path,
            answers,
        )
        assert len(answers) == 2


def test_websocket_on_responses_is_a_426(bench: Bench) -> None:
    """Said in the words of OpenAI's SDK, with what would be answered instead; without an offer GET is a 405."""
    fields = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-key": "a", "sec-websocket-version": "13"}
    answer = bench.client.get("/v1/responses", headers={**headers_of("responses"), **fields})
    assert refused("responses", answer).status == 426
    assert (answer.headers["upgrade"], answer.headers["connection"]) == ("HTTP/1.1", "upgrade")
    assert bench.client.get("/v1/responses", headers=headers_of("responses")).status_code == 405


def test_curl_that_offers_http2_is_served(bench: Bench) -> None:
    """`curl --http2` sends its body along with the offer."""
    curl = shutil.which("curl")
    assert curl, "CI installs curl"
    path, body = asked("chat", "openai")
    fields = [word for name, value in headers_of("chat").items() for word in ("-H", f"{name}: {value}")]
    for data in (json.dumps(body), json.dumps(body | {"user": "u" * 2_000_000})):
        done = subprocess.run(
            [curl, "-sS", "--http2", "-d", "@-", "-H", "content-type: application/json", *fields, bench.origin + path],
            input=data.encode(),
            capture_output=True,
            check=True,
            timeout=DEADLINE_S,
        )
        assert json.loads(done.stdout)["usage"]


class Proxy:
    """A reverse proxy with one connection to the gateway that it keeps: requests go out as they came, one by one."""

    def __init__(self, upstream: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._upstream = upstream
        self._kept: Wire | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Take no more, and let go of the gateway."""
        self._server.close()
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept.socket.close()
        self._kept = None

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            head, length = b"", 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                head += line
            answer = self._pass(head + b"\r\n" + stream.read(length))
            client.sendall(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (answer.status, len(answer.body)))
            client.sendall(answer.body)

    def _pass(self, data: bytes) -> Answer:
        with self._lock:
            for _ in range(2):
                wire = self._kept = self._kept or Wire(self._upstream)
                wire.send(data)
                if answer := wire.answer():
                    return answer
                self._let_go()
        raise AssertionError("no answer from the gateway")


def test_agents_behind_a_proxy_never_get_each_others_answers(bench: Bench) -> None:
    """One hides requests in bodies behind offers and odd framings; what another asks is answered to that one."""
    proxy = Proxy(bench.port)
    hidden = request("GET", "/v1/models/hidden", "localhost", f"x-api-key: {ROBOT}")
    fields = ("upgrade: h2c", "connection: upgrade", f"x-api-key: {ROBOT}")
    attack = request("POST", "/v1/chat/completions", "localhost", *fields, body=hidden)
    victim = request("GET", "/v1/models", "localhost", f"x-api-key: {OUTSIDER}")
    with contextlib.closing(proxy), ThreadPoolExecutor(4) as pool:
        attacks = [pool.submit(answered, proxy.port, attack) for _ in range(20)]
        victims = [pool.submit(answered, proxy.port, victim) for _ in range(20)]
        assert {job.result().status for job in attacks} == {400}
        for job in victims:
            assert [model["id"] for model in job.result().json["data"]] == ["hidden"]


@pytest.mark.parametrize("port", PORTS)
def test_stopping_does_not_wait_for_who_was_told_the_last_word(own: Bench, port: Port) -> None:
    """Half a head, an unread refusal, or a body that nobody reads: the daemon ends at once."""
    with contextlib.ExitStack() as stack:
        for data in (b"", b"GET / HT", b"\x00", request("POST", "/v1/x", "localhost", "content-length: 1000")):
            stack.enter_context(wired(port_of(own, port))).send(data)
        until("an answer", lambda: own.daemon.get("/healthz")[0] == 200)
        assert own.daemon.stop() == 0
