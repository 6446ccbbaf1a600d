"""The control socket: answers and errors come through whole, other users stay out, no daemon is told as such."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.control import server, wire
from reconciler.control.client import NoDaemon, call
from reconciler.control.server import Asked, Server
from reconciler.core import errors
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import CouldNotRun, NotFound, PaiError, Refused, SecretsUnavailable, UsageError

DIAGNOSTIC = Diagnostic("a.yaml", 3, 5, "error", "PAI101", "unknown field", "did you mean x?", "y: ☃")


def echo(asked: Asked) -> dict[str, object]:
    return {"verb": asked.verb, "arguments": asked.arguments}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pai.sock"


def raw(path: Path, data: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes as they are and read the status and the JSON of the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        with contextlib.suppress(ConnectionError):  # the server may answer and close before it has read everything
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        head, _, body = b"".join(wire.pieces(client, time.monotonic() + 5)).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def post(body: bytes, target: str = "/api/v1/operations/x", method: str = "POST") -> bytes:
    """Write a request."""
    return f"{method} {target} HTTP/1.1\r\nHost: pai\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_answer_comes_back_whole(path: Path) -> None:
    """Verb and arguments reach the handler and its result comes back, also when it is large or not ASCII."""
    with Server(path, echo):
        arguments: dict[str, object] = {"text": "☃ \n \ud800", "large": "x" * 3_000_000, "list": [1, None, True]}
        assert call(path, "reconcile", arguments) == {"verb": "reconcile", "arguments": arguments}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, PaiError)]


@pytest.mark.parametrize("cls", ERRORS)
def test_error_is_raised_again_as_the_same_class(path: Path, cls: type[PaiError]) -> None:
    """Every class of the error tree crosses the socket with message and hint."""

    def fail(_: Asked) -> dict[str, object]:
        raise cls("what", "way out")

    with Server(path, fail), pytest.raises(PaiError) as caught:
        call(path, "x", {})
    assert type(caught.value) is cls
    assert (caught.value.message, caught.value.hint) == ("what", "way out")


def test_diagnostics_cross_with_a_refusal(path: Path) -> None:
    """A refusal keeps the diagnostics that say why."""

    def fail(_: Asked) -> dict[str, object]:
        raise Refused("no", "", [DIAGNOSTIC, DIAGNOSTIC])

    with Server(path, fail), pytest.raises(Refused) as caught:
        call(path, "x", {})
    assert caught.value.diagnostics == (DIAGNOSTIC, DIAGNOSTIC)


def test_error_of_another_module_arrives_as_its_nearest_known_class(path: Path) -> None:
    """A subclass that the caller may not know is told as the class it stands on; NoDaemon never comes from a daemon."""

    class Special(NotFound):
        pass

    for error, expected in ((Special("x"), NotFound), (NoDaemon("y"), CouldNotRun)):

        def fail(_: Asked, error: PaiError = error) -> dict[str, object]:
            raise error

        with Server(path, fail), pytest.raises(expected) as caught:
            call(path, "x", {})
        assert type(caught.value) is expected


def test_bug_in_the_handler_is_logged_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bug answers CouldNotRun without details; the traceback goes to the daemon's log; the server lives on."""

    def fail(asked: Asked) -> dict[str, object]:
        return {"x": object()} if asked.verb == "unserialisable" else {"x": 1 // 0}

    with caplog.at_level(logging.ERROR), Server(path, fail):
        for verb in ("unserialisable", "x"):
            with pytest.raises(CouldNotRun, match="internal error"):
                call(path, verb, {})
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        post(b"[]"),
        post(b"{"),
        post(b"\xff"),
        post(b""),
        post(b"[" * 100_000),
        post(b"{}", "/api/v1/models"),
        post(b"{}", method="PUT"),
        post(b"{}")[:-1],
        post(b"{}") + post(b"{}"),
        post(b"", method="GET") + post(b"{}", "/y"),
        b"GET / HTTP/1.1\r\nHost: pai\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b'{"verb":"x","arguments":{}}\n',
        b"",
    ],
)
def test_broken_request_is_answered_with_an_error(path: Path, data: bytes) -> None:
    """Whatever bytes arrive, the answer is an error and the handler is not called."""
    with Server(path, echo):
        status, answer = raw(path, data)
        assert (status, set(answer), answer["class"]) == (400, {"error", "hint", "class"}, "UsageError")
        assert call(path, "x", {})["verb"] == "x"


def test_any_client_of_http_is_answered(path: Path) -> None:
    """The socket speaks HTTP: a body in chunks, a status for each error, names with percent signs for who asks."""
    with (
        Server(path, lambda asked: {"who": [asked.actor, asked.uid], **asked.arguments}),
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://pai/api/v1/operations/") as client,
    ):
        answer = client.post("pin", content=iter([b'{"a"', b":1}"]), headers={"Pai-Actor": "%C3%A9@x"})
        assert (answer.status_code, answer.json()) == (200, {"who": ["é@x", os.geteuid()], "a": 1})
        assert client.post("pin", content=b"{}", headers={"Pai-Actor": "%ff"}).json()["who"][0] == "\udcff"
        refused = client.get("pin")
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")
        assert call(path, "pin", {}, actor="é\udcff %\r\n") == {"who": ["é\udcff %\r\n", os.geteuid()]}


def test_answer_of_another_kind_is_told(path: Path) -> None:
    """What is no HTTP, as a daemon of before answers, or has no JSON object, cannot be read; half an answer is none."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for sent, said in (
            (b'{"error":{"class":"CouldNotRun","message":"m","hint":"h"}}\n', "cannot be read"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "cannot be read"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "went away"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n{}" % (b"9" * 5000), "went away"),
        ):

            def serve(sent: bytes = sent) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(sent)

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(CouldNotRun, match=said):
                call(path, "x", {})
            thread.join()


def test_answer_to_a_request_that_was_not_read_is_heard(path: Path) -> None:
    """A server that refuses before it has read everything resets the connection; what it said before counts."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        assert call(path, "x", {}) == {}
        thread.join()


def test_oversize_messages_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and answers end at the limit; both sides say so."""
    with Server(path, lambda asked: {"x": "y" * int(str(asked.arguments["size"]))}):
        monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 400_000)
        with pytest.raises(CouldNotRun, match="too large"):
            call(path, "x", {"size": 10, "filler": "f" * 400_000})
        with pytest.raises(CouldNotRun, match="too large"):
            call(path, "x", {"size": 400_000})
        for data in (post(b"x" * 1_000_000), post(b"")[:-2] + b"x: y\r\n" * 100_000):
            status, answer = raw(path, data)
            assert status == 503
            assert "too large" in str(answer["error"])


@pytest.mark.parametrize("lines", [b"x: y\r\n" * 20_000, b"x: " + b"y" * 70_000 + b"\r\n", b""])
@pytest.mark.parametrize("end", [b"\r\n{}", b""])
def test_head_is_bounded_by_itself(path: Path, lines: bytes, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, however it is cut and whether it ends; and in time, however long the whole request may take."""
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.5)
    with Server(path, echo, request_timeout_s=3600), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        with contextlib.suppress(ConnectionError):
            client.sendall(post(b"{}")[:-4] + lines + end)
        answer = b"".join(wire.pieces(client, time.monotonic() + 20))
    assert (b"head is too large" if lines else b'"arguments":{}' if end else b"in time") in answer


def test_request_of_very_many_values_is_refused(path: Path) -> None:
    """Small values take a hundred times their bytes, so they are not even read."""
    with Server(path, echo):
        status, answer = raw(path, post(b'{"a":[' + b"[]," * server.VALUES_MAX + b"[]]}"))
        assert (status, answer["error"]) == (503, "the message is too large")


def test_nothing_listening_is_no_daemon(path: Path) -> None:
    """No file, a dead socket, a missing folder and a plain file are all NoDaemon."""
    for place in (path, path / "x" / "pai.sock"):
        with pytest.raises(NoDaemon, match="no daemon"):
            call(place, "x", {})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoDaemon):
        call(path, "x", {})
    path.unlink()
    path.write_text("")
    with pytest.raises(NoDaemon):
        call(path, "x", {})


def test_stale_socket_is_replaced_but_a_file_is_not(path: Path) -> None:
    """The socket of a killed daemon makes room for the next; anything else in the way is left alone."""
    program = (
        "import os, pathlib, signal, sys; from reconciler.control.server import Server; "
        "Server(pathlib.Path(sys.argv[1]), lambda _: {}).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    assert path.is_socket()
    with Server(path, echo):
        assert call(path, "x", {})
    path.write_text("mine")
    with pytest.raises(CouldNotRun, match="in the way"):
        Server(path, echo)
    assert path.read_text() == "mine"


def test_unusable_folder_is_an_error(path: Path) -> None:
    """A socket that cannot be made is CouldNotRun with the reason."""
    with pytest.raises(CouldNotRun, match="No such file"):
        Server(path / "x", echo)


def test_close_leaves_a_successors_socket_alone(path: Path) -> None:
    """An old server that closes late does not remove the socket of the one that took its place."""
    old = Server(path, echo).start()
    with Server(path, echo):
        old.close()
        old.close()
        assert call(path, "x", {})


def test_long_workspace_path_works(tmp_path: Path) -> None:
    """A path longer than a socket address can be is reached all the same."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    path = folder / "pai.sock"
    assert len(os.fsencode(path)) > 200
    with pytest.raises(NoDaemon):
        call(path, "x", {})
    with Server(path, echo):
        assert path.is_socket()
        assert call(path, "x", {})["verb"] == "x"
    assert not path.exists()


def test_other_users_are_refused(path: Path) -> None:
    """Whoever gets past the file's mode is still asked who he is."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    path.parent.chmod(0o755)
    program = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.chdir(os.path.dirname(sys.argv[1])); "
        "os.setuid(65534); s.connect('pai.sock'); sys.stdout.write(s.makefile().read())"
    )
    with Server(path, echo):
        path.chmod(0o666)
        done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)
    assert "belongs to another user" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_nothing_is_sent_to_a_server_of_another_user(path: Path) -> None:
    """It hears nothing, unless it is the one who keeps the workspace; who it is the system says, not its file."""
    path.parent.chmod(0o777)
    program = (
        "import os, socket, sys; os.chdir(os.path.dirname(sys.argv[1])); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind('pai.sock'); s.listen(); s.settimeout(20)\n"
        "print('ready', flush=True)\n"
        "for _ in range(2):\n"
        " c, _ = s.accept(); got = c.recv(1000); print(got, flush=True)\n"
        " if got: c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\n"
        " c.close()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        os.chown(path, 0, 0)
        with pytest.raises(CouldNotRun, match="belongs to another user"):
            call(path, "secret.store", {"name": "openai"})
        assert other.stdout.readline() == "b''\n"
        assert call(path, "secret.store", {"name": "openai"}, keeper=65534) == {}
        assert "openai" in other.stdout.readline()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def held(gate: threading.Event, entered: threading.Semaphore) -> Callable[[Asked], dict[str, object]]:
    def handler(asked: Asked) -> dict[str, object]:
        entered.release()
        gate.wait(10)
        return echo(asked)

    return handler


def test_slow_answer_is_given_up_after_the_timeout(path: Path, gate: threading.Event) -> None:
    """A caller does not wait for ever."""
    with Server(path, held(gate, threading.Semaphore(0))):
        started = time.monotonic()
        with pytest.raises(CouldNotRun, match=r"no answer within 0\.1 s"):
            call(path, "x", {}, timeout_s=0.1)
        assert time.monotonic() - started < 2
        gate.set()


def test_client_that_says_nothing_holds_nobody_up(path: Path) -> None:
    """A silent client is dropped after the request timeout, and others are served meanwhile."""
    with Server(path, echo, request_timeout_s=0.2), socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(5)
        silent.connect(str(path))
        assert call(path, "x", {})
        assert b"in time" in silent.makefile("rb").read()


def test_many_callers_at_once_are_all_answered(path: Path) -> None:
    """More callers than are served at a time wait for their turn."""
    answers: list[object] = []

    def ask(n: int) -> None:
        answers.append(call(path, "x", {"n": n})["arguments"])

    with Server(path, echo):
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(3 * server.CONNECTIONS_MAX)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(str(a) for a in answers) == sorted(str({"n": n}) for n in range(3 * server.CONNECTIONS_MAX))


def test_close_finishes_what_was_begun(path: Path, gate: threading.Event) -> None:
    """A request that is being answered gets its answer; later callers find no daemon."""
    entered = threading.Semaphore(0)
    server = Server(path, held(gate, entered)).start()
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(call(path, "x", {})["verb"]))
    caller.start()
    assert entered.acquire(timeout=5)
    closer = threading.Thread(target=server.close)
    closer.start()
    deadline = time.monotonic() + 5
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(NoDaemon):
        call(path, "x", {})
    closer.join(0.1)
    assert closer.is_alive()
    gate.set()
    closer.join(5)
    caller.join(5)
    assert answers == ["x"]


def test_daemon_that_takes_no_more_connections_is_told(path: Path) -> None:
    """A full backlog is waited for and then told as busy, not as a missing daemon."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(CouldNotRun, match="too busy"):
            call(path, "x", {}, timeout_s=0.1)


def test_daemon_that_dies_while_answering_is_told(path: Path) -> None:
    """A connection that ends without an answer is CouldNotRun: nobody knows whether it was done."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def drop() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.close()

    thread = threading.Thread(target=drop)
    thread.start()
    with pytest.raises(CouldNotRun, match="went away") as caught:
        call(path, "x", {})
    assert not isinstance(caught.value, NoDaemon)
    thread.join()
    listener.close()


def test_control_imports_no_third_party() -> None:
    """A command that only asks the daemon stays cheap to start."""
    program = (
        "import sys, reconciler.control.client\n"
        "print([m for m in ('msgspec', 'cryptography', 'pygit2', 'httptools', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_errors_of_the_tree_are_covered() -> None:
    """The parametrised test above sees the whole tree."""
    assert {UsageError, NotFound, SecretsUnavailable, CouldNotRun} <= set(ERRORS)
