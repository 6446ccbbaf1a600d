"""`git push http://HOST:8001/git/config.git`: git's own smart HTTP backend behind an admin token.

Only the workspace's own config repository is there, and only the two services of smart HTTP; every path is compared
whole, none is made from the request. A push is judged by the repository's pre-receive hook as any other, with the same
words on the pusher's terminal. The hook is given a number that stands for who pushes, which nobody else knows; with it
the daemon records the push before git moves the branch, so a push that cannot be recorded is refused.

What a client sends is bounded by what it becomes, and so is what git takes for it. More clients than may use git at a
time wait for their turn. No client waits for git's packing, which the daemon has done afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from reconciler.admin.git import cgi
from reconciler.admin.git.cgi import GitRefusal
from reconciler.admin.git.report import PushReport
from reconciler.admin.turns import Busy, Left, OwnerTurns, Waiting
from reconciler.core.errors import LogNotWritable
from reconciler.operations.first_token import identify
from reconciler.operations.operation import Caller
from reconciler.operations.push_events import settle
from reconciler.operations.pushers import Pushes
from reconciler.recorder import Recorder
from reconciler.source.bare import put_right
from reconciler.source.gitrun import FRUGAL
from reconciler.source.hook import is_installed
from reconciler.source.incoming import remove_leftovers
from reconciler.source.packing import Packer
from reconciler.workspace import Workspace

BODY_BYTES_MAX: Final = 256 * 1024 * 1024
ASKED_BYTES_MAX: Final = 10 * 1024 * 1024
"""What a client may ask of upload-pack: git's own default of http.maxRequestBuffer."""
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
"""What is kept of git's report for a pusher who reads it slowly: others wait for git, and not for its client."""
DEADLINE_S: Final = 600.0
CPU_S: Final = 120
"""What a git process may work: a pack may become a thousand times its size on the way."""
RUNNING_MAX: Final = 4
"""git processes at a time, two of one token."""
WAITING_MAX: Final = 64
"""Clients that wait for their turn, half of them with one token; more are told to come again."""
WAIT_S: Final = 60.0
RETRY_S: Final = 5

PREFIX: Final = "/git/config.git"
SERVICES: Final = ("git-upload-pack", "git-receive-pack")
VARIABLE: Final = "PAI_PUSH"
_NO_STORE: Final = {"cache-control": "no-store"}
_CHALLENGE: Final = {"www-authenticate": 'Basic realm="Pai", charset="UTF-8"'}


class SmartHttp:
    """The application below /git/. `believed` gives the digest of a token that is believed without the log now.

    `wake` is told after a push.
    """

    def __init__(
        self,
        workspace: Workspace,
        recorder: Recorder,
        believed: Callable[[], str],
        pushes: Pushes,
        wake: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        self._workspace = workspace
        self._recorder = recorder
        self._believed = believed
        self._pushes = pushes
        self._wake = wake
        self._stopping = stopping
        self._turns = OwnerTurns(RUNNING_MAX, WAITING_MAX)
        self._repository = workspace.root / "config.git"
        self._packer = Packer(self._repository)
        if is_installed(self._repository):
            put_right(self._repository)
        remove_leftovers(self._repository, DEADLINE_S)

    def routes(self) -> list[BaseRoute]:
        """Give the one route."""
        return [Route("/git/{rest:path}", self)]

    async def ended(self) -> None:
        """Wait until no git runs here any more, and let none begin: what is cancelled ends its git first."""
        await self._turns.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            caller = await self._identified(scope)
            scope["state"]["owner"] = caller.owner
            await self._answer(scope, receive, send, caller)
        except LogNotWritable as error:
            await self._refuse(GitRefusal(503, error.message, error.hint), send)
        except GitRefusal as refusal:
            await self._refuse(refusal, send)

    async def _refuse(self, refusal: GitRefusal, send: Send) -> None:
        refusal.text = self._workspace.without_places(refusal.text)
        await refusal.say(send, _NO_STORE)

    async def _identified(self, scope: Scope) -> Caller:
        """Tell whose token the request holds. Raises GitRefusal if none is in force, LogNotWritable."""
        header = Headers(scope=scope).get("authorization", "")
        address = scope["client"][0] if scope.get("client") else ""
        caller = await asyncio.to_thread(
            self._recorder.read, lambda state: identify(state, self._believed(), header, address, basic=True)
        )
        if caller is None:
            hint = "give it as the password; it is in data/admin.token, and pai add key --admin NAME makes more"
            raise GitRefusal(401, "this needs a token that is in force", hint, _CHALLENGE)
        return caller

    async def _answer(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        headers = Headers(scope=scope)
        service = self._asked(scope)
        if service == "git-receive-pack":
            await asyncio.to_thread(self._require_open)
        if _length(headers) > BODY_BYTES_MAX:
            raise GitRefusal(413, f"the push is larger than {BODY_BYTES_MAX:,} bytes", "push in parts")
        packing = headers.get("content-encoding", "identity").lower()
        if packing not in ("identity", "gzip", "x-gzip"):
            raise GitRefusal(415, "the request is packed in a way that is not read here", "git uses gzip")
        waiting = Waiting(receive)
        try:
            async with self._turn(caller, waiting):
                caller = await self._identified(scope)  # a token may be revoked while its client waits
                await self._run(scope, waiting.receive, send, caller, service, packed=packing != "identity")
        except Busy:
            retry = {"retry-after": str(RETRY_S)}
            raise GitRefusal(503, "too many clients use git here now", "try again in a moment", retry) from None
        except Left:
            pass

    @contextlib.asynccontextmanager
    async def _turn(self, caller: Caller, waiting: Waiting) -> AsyncIterator[None]:
        """Wait until git may run for the caller, and let it run inside. Raises Busy, also if the daemon stops; Left."""
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_S):
                    await waiting.until(held.enter_async_context(self._turns.turn(caller.key)))
            except TimeoutError:
                raise Busy from None
            if self._stopping.is_set():
                raise Busy
            yield

    async def _run(
        self, scope: Scope, receive: Receive, send: Send, caller: Caller, service: str, *, packed: bool
    ) -> None:
        most = BODY_BYTES_MAX if service == "git-receive-pack" else ASKED_BYTES_MAX
        pushed = service == "git-receive-pack"
        memory = self._workspace.settings.source_max_memory_bytes
        kept = KEPT_BYTES_MAX if pushed else cgi.CHUNK_BYTES
        bounds = cgi.Bounds(most, DEADLINE_S, CPU_S, memory, kept_bytes=kept)
        number = self._pushes.begin(caller)
        report = PushReport(f"refs/heads/{self._workspace.settings.source_branch}")

        async def ended() -> None:
            await asyncio.to_thread(settle, self._workspace, self._recorder, self._pushes, number, report.moved)

        environment = self._environment(scope, caller, service)
        if pushed:
            environment[VARIABLE] = number
        try:
            await cgi.answer(
                ["git", "http-backend"],
                environment,
                receive,
                send,
                bounds,
                packed=packed,
                stopping=self._stopping,
                ended=ended,
                heard=report.hear,
            )
        finally:
            await ended()
        if pushed and scope["method"] == "POST":
            self._wake()
            await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        """Do what git would do at the end of a push, or was kept from doing."""
        remove_leftovers(self._repository, DEADLINE_S)
        self._packer.tidy()

    def _asked(self, scope: Scope) -> str:
        """Give the service that is asked for. Raises GitRefusal."""
        own = self._workspace.root / "config.git"
        if self._workspace.repository != own or not own.is_dir():
            reason = "there is nothing at this path: source.repo is not the workspace's own config.git"
            raise GitRefusal(404, reason, "push to the repository that source.repo names")
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        for service in SERVICES:
            if (path, query) == (f"{PREFIX}/info/refs", f"service={service}"):
                wanted = "GET"
            elif (path, query) == (f"{PREFIX}/{service}", ""):
                wanted = "POST"
            else:
                continue
            if method == wanted:
                return service
            raise GitRefusal(405, f"{method} is not answered here", f"git uses {wanted}")
        raise GitRefusal(404, "there is nothing at this path", f"the one repository here is {PREFIX}, by smart HTTP")

    def _require_open(self) -> None:
        """See that a push can be taken now. Raises GitRefusal."""
        status = self._recorder.status()
        if not status.writable:
            raise GitRefusal(503, f"pushes cannot be recorded now: {status.reason}", "pai status says more")
        if not is_installed(self._workspace.root / "config.git"):
            raise GitRefusal(503, "the repository has no hook of Pai, so pushes would not be judged", "run pai init")

    def _environment(self, scope: Scope, caller: Caller, service: str) -> dict[str, str]:
        headers = Headers(scope=scope)
        repository = str(self._repository)
        settings = {
            "http.receivepack": "true",
            "http.uploadpack": "true",
            "safe.directory": repository,
            "receive.autogc": "false",
            "receive.maxInputSize": str(BODY_BYTES_MAX),
            **FRUGAL,
        }
        if service == "git-receive-pack":  # what does not fit into git's memory is refused, and not passed on in pieces
            settings["core.bigFileThreshold"] = "2g"
            # Nobody was offered to sign a push; who does all the same has no program started for it.
            settings |= {"gpg.program": "false", "gpg.ssh.program": "false", "gpg.x509.program": "false"}
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "HOME": str(self._workspace.data),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
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


# Not the packing, which is undone here, nor the length: without it git reads to the end itself, and tidies up if that
# comes too early.
_PASSED: Final = {
    "content-type": "CONTENT_TYPE",
    "accept-encoding": "HTTP_ACCEPT_ENCODING",
    "git-protocol": "GIT_PROTOCOL",
}


def _length(headers: Headers) -> int:
    """Give the length that the request claims, 0 if it claims none."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0
