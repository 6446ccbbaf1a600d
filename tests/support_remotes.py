"""Remotes on loopback for tests: git's own smart HTTP behind a small server, with TLS and faults, and a real sshd.

The HTTP server hands every request to `git http-backend`, as a web server would; a fault replaces or cuts the answer.
Everything started here ends with its context, also what hangs.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import getpass
import http.server
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import DEADLINE_S, Git, until

FAULTS = ("hang head", "hang pack", "garbage", "truncate", "error 500")
_Handle = Callable[["_Handler"], None]


class HttpRemote:
    """Serves the bare repositories in `folder` at `url`/NAME. Attributes may be changed while it runs.

    `login` are the user and password asked for, None for nobody. `fault` is one of FAULTS, or "redirect URL", or
    "says WORDS", which is a refusal in those words, or "files", which serves the files of the repository and no git.
    `seen` lists (method, path, Authorization header) of every request.
    """

    def __init__(self, folder: Path, environment: dict[str, str], tls: Authority | None = None) -> None:
        self.folder = folder
        self.environment = environment
        self.login: tuple[str, str] | None = None
        self.fault = ""
        self.seen: list[tuple[str, str, str]] = []
        self._release = threading.Event()
        self._backends: set[subprocess.Popen[bytes]] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.remote = self
        if tls is not None:
            self._server.tls = tls.server_context()
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        for process in list(self._backends):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)

    def backend(self, environment: dict[str, str], body: bytes) -> bytes:
        """Run git's own server side for one request; it does not outlive the server."""
        command = ["git", "http-backend"]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        with process:
            self._backends.add(process)
            try:
                return process.communicate(body)[0]
            finally:
                self._backends.discard(process)

    def hang(self) -> None:
        """Wait until the server ends or `resume` is called."""
        self._release.wait(DEADLINE_S * 2)

    def resume(self) -> None:
        """Let go of all that hangs, and have no fault any more."""
        self.fault = ""
        self._release.set()
        self._release = threading.Event()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    remote: HttpRemote
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak TLS in the request's own thread, so that a client that says nothing blocks nobody."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        try:
            wrapped = self.tls.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return
        with wrapped:
            super().finish_request(wrapped, client_address)
            with contextlib.suppress(OSError):  # the client wants to see an end, and may be gone
                wrapped.unwrap().close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of the server's business."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        remote = self.server.remote
        given = self.headers.get("Authorization", "")
        remote.seen.append((self.command, self.path, given))
        if remote.fault.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", remote.fault.partition(" ")[2] + self.path)
            self.end_headers()
            return
        if self.command == "POST" and remote.fault.startswith("says "):
            said = f"ERR {remote.fault[5:]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", f"application/x-{self.path.rpartition('/')[2]}-result")
            self.end_headers()
            self.wfile.write(b"%04x" % (len(said) + 4) + said)
            return
        if remote.fault == "hang head":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Ty")
            self.wfile.flush()
            remote.hang()
            return
        if remote.login is not None and given != "Basic " + base64.b64encode(":".join(remote.login).encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        if remote.fault == "files":
            place = remote.folder / self.path.partition("?")[0].lstrip("/")
            self.send_response(200 if place.is_file() else 404)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(place.read_bytes() if place.is_file() else b"")
            return
        self._relay(self._backend())

    def _backend(self) -> bytes:
        remote = self.server.remote
        path, _, query = self.path.partition("?")
        body = self._body()
        environment = {
            **remote.environment,
            "GIT_PROJECT_ROOT": str(remote.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": remote.login[0] if remote.login else "nobody",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
        }
        return remote.backend(environment, body)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _relay(self, answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        fault, is_pack = self.server.remote.fault, b"PACK" in body
        if fault == "error 500":
            status, body = 500, b""
        elif fault == "garbage":
            body = b"\x1b[31mnot git at all\r\n" * 50
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if is_pack and fault in ("hang pack", "truncate"):
            self.wfile.write(body[: len(body) * 2 // 3])
            self.wfile.flush()
            if fault == "hang pack":
                self.server.remote.hang()
            return
        self.wfile.write(body)


class Authority:
    """A certificate authority made for one test: `ca_file` is what a client must trust."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._name = name
        certificate = self._sign(name, self._key.public_key(), authority=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._folder = folder

    def server_context(self) -> ssl.SSLContext:
        """Make a server's certificate for 127.0.0.1 and what serves it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        certificate = self._sign(name, key.public_key(), authority=False)
        place = self._folder / "server.pem"
        place.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(place)
        return context

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class SshRemote:
    """A real sshd on loopback as an ordinary process, for one user key. `known_hosts` is what a client must know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = getpass.getuser()
        for name in ("host_key", "user_key", "other_key"):
            if not (folder / name).exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
                subprocess.run(command, check=True)
        shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def known_hosts(self) -> str:
        """The line that names this server's host key."""
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def url(self, repository: Path) -> str:
        """Give the address of a repository on this machine."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{repository}"

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd of root wants to separate its privileges
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder / 'host_key'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nLogLevel ERROR\n"
        )
        with (self.folder / "sshd.log").open("ab") as stream:
            self._process = subprocess.Popen(
                [sshd(), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        until("sshd", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(DEADLINE_S)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


def sshd() -> str:
    """Find sshd, which wants to be called by its whole path; a machine without it fails the test."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, "sshd is not installed (Debian: openssh-server)"
    return found


@contextlib.contextmanager
def silent_listener(*, accept: bool) -> Iterator[int]:
    """Give the port of a listener that never answers; without `accept`, connections do not even come about."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16 if accept else 0))
        port = listener.getsockname()[1]
        for _ in range(0 if accept else 4):  # fill the backlog: the next SYN gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
        yield port


def bare_remote(folder: Path, environment: dict[str, str], name: str = "team.git") -> Git:
    """Make a bare repository that takes pushes over HTTP."""
    folder.mkdir(exist_ok=True)
    Git(folder, environment)("init", "--quiet", "--bare", "--initial-branch=main", name)
    git = Git(folder / name, environment)
    git("config", "http.receivepack", "true")
    return git


def clone_of(remote: Git, name: str = "work") -> Git:
    """Clone a bare repository by its path, to push from."""
    place = remote.folder.parent / name
    Git(remote.folder.parent, remote.environment)("clone", "--quiet", str(remote.folder), str(place))
    clone = Git(place, remote.environment)
    clone("checkout", "--quiet", "-B", "main")
    return clone
