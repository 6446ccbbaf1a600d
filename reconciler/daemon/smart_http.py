"""`git push http://HOST:8001/git/config.git`: git's own smart HTTP backend behind an admin token.

Only the workspace's own config repository is there, and only the two services of smart HTTP; every path is compared
whole, none is made from the request. A push is judged by the repository's pre-receive hook as any other, with the same
words on the pusher's terminal. The hook is given a number that stands for who pushes, which nobody else knows; with it
the daemon records the push before git moves the branch, so a push that cannot be recorded is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from reconciler.core.errors import LogNotWritable
from reconciler.daemon import cgi
from reconciler.daemon.pushers import Pushes
from reconciler.daemon.tokens import Caller, identify
from reconciler.recorder import Recorder
from reconciler.source.hook import is_installed
from reconciler.workspace import Workspace

BODY_BYTES_MAX: Final = 256 * 1024 * 1024
DEADLINE_S: Final = 600.0
RUNNING_MAX: Final = 8
"""git processes at a time; more are told to come again."""

PREFIX: Final = "/git/config.git"
SERVICES: Final = ("git-upload-pack", "git-receive-pack")
VARIABLE: Final = "PAI_PUSH"
_CHALLENGE: Final = {"www-authenticate": 'Basic realm="Pai", charset="UTF-8"'}


class SmartHttp:
    """The application below /git/. `token` is the digest of the first token; `wake` is told after a push."""

    def __init__(
        self, workspace: Workspace, recorder: Recorder, token: str, pushes: Pushes, wake: Callable[[], None]
    ) -> None:
        self._workspace = workspace
        self._recorder = recorder
        self._token = token
        self._pushes = pushes
        self._wake = wake
        self._slots = asyncio.Semaphore(RUNNING_MAX)

    def routes(self) -> list[BaseRoute]:
        """Give the one route."""
        return [Route("/git/{rest:path}", self)]

    async def ended(self) -> None:
        """Wait until no git runs here any more, and let none begin: what is cancelled ends its git first."""
        for _ in range(RUNNING_MAX):
            await self._slots.acquire()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else ""
        try:
            caller = await asyncio.to_thread(
                self._recorder.read,
                lambda state: identify(state, self._token, headers.get("authorization", ""), address, basic=True),
            )
        except LogNotWritable as error:
            return await _say(send, 503, error.message, error.hint)
        if caller is None:
            hint = "give it as the password; it is in data/admin.token, and pai add key --admin NAME makes more"
            return await _say(send, 401, "this needs a token that is in force", hint, _CHALLENGE)
        service, status, reason, hint = self._asked(scope)
        if not reason and service == "git-receive-pack":
            status, reason, hint = await asyncio.to_thread(self._closed)
        if not reason and _length(headers) > BODY_BYTES_MAX:
            status, reason, hint = 413, f"the push is larger than {BODY_BYTES_MAX:,} bytes", "push in parts"
        if not reason and self._slots.locked():
            status, reason, hint = 503, "too many clients use git here now", "try again in a moment"
        if reason:
            return await _say(send, status, reason, hint)
        async with self._slots:
            await self._run(scope, receive, send, caller, service)
        return None

    async def _run(self, scope: Scope, receive: Receive, send: Send, caller: Caller, service: str) -> None:
        with self._pushes.under_way(caller) as number:
            environment = self._environment(scope, caller)
            if service == "git-receive-pack":
                environment[VARIABLE] = number
            done = await cgi.answer(
                ["git", "http-backend"],
                environment,
                receive,
                send,
                body_bytes_max=BODY_BYTES_MAX,
                deadline_s=DEADLINE_S,
            )
        if done and service == "git-receive-pack" and scope["method"] == "POST":
            self._wake()

    def _asked(self, scope: Scope) -> tuple[str, int, str, str]:
        """Give the service that is asked for, or the status, reason and hint of why there is none."""
        own = self._workspace.root / "config.git"
        if self._workspace.repository != own or not own.is_dir():
            reason = "there is nothing at this path: source.repo is not the workspace's own config.git"
            return "", 404, reason, "push to the repository that source.repo names"
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        for service in SERVICES:
            if (path, query) == (f"{PREFIX}/info/refs", f"service={service}"):
                wanted = "GET"
            elif (path, query) == (f"{PREFIX}/{service}", ""):
                wanted = "POST"
            else:
                continue
            if method == wanted:
                return service, 200, "", ""
            return "", 405, f"{method} is not answered here", f"git uses {wanted}"
        return "", 404, "there is nothing at this path", f"the one repository here is {PREFIX}, by smart HTTP"

    def _closed(self) -> tuple[int, str, str]:
        """Say why no push can be taken now; an empty reason if it can."""
        status = self._recorder.status()
        if not status.writable:
            return 503, f"pushes cannot be recorded now: {status.reason}", "pai status says more"
        if not is_installed(self._workspace.root / "config.git"):
            return 503, "the repository has no hook of Pai, so pushes would not be judged", "run pai init"
        return 200, "", ""

    def _environment(self, scope: Scope, caller: Caller) -> dict[str, str]:
        headers = Headers(scope=scope)
        repository = str(self._workspace.root / "config.git")
        settings = {
            "http.receivepack": "true",
            "http.uploadpack": "true",
            "safe.directory": repository,
            "receive.maxInputSize": str(BODY_BYTES_MAX),
        }
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "HOME": str(self._workspace.data),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_PROJECT_ROOT": str(self._workspace.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": scope["path"].removeprefix("/git"),
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "REQUEST_METHOD": scope["method"],
            "REMOTE_USER": caller.name,
            "REMOTE_ADDR": scope["client"][0] if scope.get("client") else "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "GATEWAY_INTERFACE": "CGI/1.1",
        }
        for number, (key, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        for name, variable in _PASSED.items():
            if value := headers.get(name, ""):
                environment[variable] = value
        return environment


# Not the length: without it git reads to the end itself, and tidies up if that comes too early.
_PASSED: Final = {
    "content-type": "CONTENT_TYPE",
    "content-encoding": "HTTP_CONTENT_ENCODING",
    "accept-encoding": "HTTP_ACCEPT_ENCODING",
    "git-protocol": "GIT_PROTOCOL",
}


def _length(headers: Headers) -> int:
    """Give the length that the request claims, 0 if it claims none."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


async def _say(send: Send, status: int, reason: str, hint: str, headers: dict[str, str] | None = None) -> None:
    await cgi.text(send, status, f"error: {reason}\nhint: {hint}\n", {"cache-control": "no-store", **(headers or {})})
