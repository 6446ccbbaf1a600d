"""Stand-ins for the APIs of GitHub, GitLab and Gitea: real HTTP on loopback, with what `pai` uses of each.

Paths, methods, field names, status codes, pages and the forms of authorisation are those of the three APIs' own
documents. `faults` are answers given once each, before anything is done (or, with `after`, instead of the true answer).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "acme/llm"
TOKEN = "canary-token-of-a-forge"
KINDS = ("github", "gitlab", "gitea")
PREFIX = {"github": "", "gitlab": "/api/v4", "gitea": "/api/v1"}
GITHUB_COMMENT_MAX = 65_536


class Fault(NamedTuple):
    """An answer that is not the usual one: a status with headers, or the connection dropped (status 0)."""

    status: int = 0
    headers: Mapping[str, str] = {}
    body: str = '{"message":"trouble"}'
    after: bool = False


class Request(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


Answer = tuple[int, Any, dict[str, str]]


class StandIn:
    """One forge with one repository. `login` is who the token is; GitHub does not tell for a workflow's token."""

    def __init__(self, kind: str, login: str = "pai-bot", *, page_max: int = 100, tells: bool = True) -> None:
        self.kind = kind
        self.login = login
        self.page_max = page_max
        self.tells = tells
        self.comments: list[dict[str, Any]] = []
        self.statuses: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.url = ""
        self._ids = 0
        self._lock = threading.Lock()

    def comment(self, author: str, body: str, *, system: bool = False) -> dict[str, Any]:
        """Write a comment as somebody."""
        self._ids += 1
        item: dict[str, Any] = {"id": self._ids, "body": body}
        if self.kind == "gitlab":
            item |= {"author": {"id": 1, "username": author}, "system": system}
        else:
            item |= {"user": {"login": author, "id": 1}}
        self.comments.append(item)
        return item

    @property
    def bodies(self) -> list[str]:
        """The texts of all comments."""
        return [item["body"] for item in self.comments]

    def did(self) -> list[str]:
        """Name the methods and paths of all requests."""
        return [f"{request.method} {request.path}" for request in self.requests]

    @contextmanager
    def running(self) -> Iterator[StandIn]:
        """Serve on loopback meanwhile."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}{PREFIX[self.kind]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, request: Request) -> Answer | None:
        """Answer a request; None drops the connection."""
        with self._lock:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else None
            if fault is not None and not fault.after:
                return _faulty(fault)
            done = self._answer(request)
            return _faulty(fault) if fault is not None else done

    def _answer(self, request: Request) -> Answer:
        if not self._authorised(request.headers):
            return 401, {"message": "401 Unauthorized" if self.kind == "gitlab" else "Bad credentials"}, {}
        for method, pattern, handle in self._routes():
            found = re.fullmatch(PREFIX[self.kind] + pattern, request.path)
            if found and method == request.method:
                return handle(request, *found.groups())
        return 404, {"message": "404 Not Found" if self.kind == "gitlab" else "Not Found"}, {}

    def _authorised(self, headers: Mapping[str, str]) -> bool:
        if self.kind == "gitlab":
            return headers.get("private-token") == TOKEN or headers.get("authorization") == f"Bearer {TOKEN}"
        schemes = ("Bearer", "token")  # both APIs take both
        return headers.get("authorization") in [f"{scheme} {TOKEN}" for scheme in schemes]

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        if self.kind == "gitlab":
            project = f"/projects/(?:{re.escape(REPOSITORY.replace('/', '%2F'))}|42)"
            notes = project + r"/merge_requests/(7)/notes"
            return [
                ("GET", "/user", self._user),
                ("GET", notes, self._list),
                ("POST", notes, self._create),
                ("PUT", notes + r"/(\d+)", lambda r, _n, i: self._edit(r, i)),
                ("POST", project + r"/statuses/([0-9a-f]{40})", self._status),
            ]
        repository = f"/repos/{re.escape(REPOSITORY)}"
        return [
            ("GET", "/user", self._user),
            ("GET", repository + r"/issues/(7)/comments", self._list),
            ("POST", repository + r"/issues/(7)/comments", self._create),
            ("PATCH", repository + r"/issues/comments/(\d+)", self._edit),
            ("POST", repository + r"/statuses/([0-9a-f]{40})", self._status),
        ]

    def _user(self, _: Request) -> Answer:
        if not self.tells:
            return 403, {"message": "Resource not accessible by integration"}, {}
        return 200, {"id": 1, "username" if self.kind == "gitlab" else "login": self.login}, {}

    def _list(self, request: Request, _: str) -> Answer:
        size = min(int(request.query.get("limit" if self.kind == "gitea" else "per_page", ["30"])[0]), self.page_max)
        page = int(request.query.get("page", ["1"])[0])
        found = self.comments[(page - 1) * size : page * size]
        more = page * size < len(self.comments)
        headers = {}
        if more:
            where = f"{self.url}{request.path.removeprefix(PREFIX[self.kind])}?page={page + 1}"
            headers["Link"] = f'<{where}>; rel="next", <{where}0>; rel="last"'
        if self.kind == "gitlab":
            headers["X-Next-Page"] = str(page + 1) if more else ""
        return 200, found, headers

    def _create(self, request: Request, _: str) -> Answer:
        if problem := self._too_long(request.body["body"]):
            return problem
        return 201, self.comment(self.login, request.body["body"]), {}

    def _edit(self, request: Request, number: str) -> Answer:
        if problem := self._too_long(request.body["body"]):
            return problem
        item = next((item for item in self.comments if item["id"] == int(number)), None)
        if item is None:
            return 404, {"message": "Not Found"}, {}
        item["body"] = request.body["body"]
        return 200, item, {}

    def _too_long(self, body: str) -> Answer | None:
        if self.kind == "github" and len(body) > GITHUB_COMMENT_MAX:
            why = {"message": "body is too long (maximum is 65536 characters)"}
            return 422, {"message": "Validation Failed", "errors": [why]}, {}
        return None

    def _status(self, request: Request, sha: str) -> Answer:
        body = request.body
        if self.kind == "gitlab":
            if body["state"] not in ("pending", "running", "success", "failed", "canceled", "skipped"):
                return 400, {"error": "state does not have a valid value"}, {}
            last = [said for commit, said in self.statuses if commit == sha and said["context"] == body["context"]]
            if last and last[-1]["state"] == body["state"]:
                why = f"Cannot transition status via :{body['state']} from :{body['state']}"
                return 400, {"message": why}, {}
        elif body["state"] not in ("pending", "success", "error", "failure"):
            return 422, {"message": "Validation Failed"}, {}
        if self.kind == "github" and len(body.get("description", "")) > 140:
            return 422, {"message": "Validation Failed: description is too long (maximum is 140 characters)"}, {}
        self.statuses.append((sha, body))
        return 201, {"id": len(self.statuses), **body}, {}


def _faulty(fault: Fault) -> Answer | None:
    return None if fault.status == 0 else (fault.status, fault.body, dict(fault.headers))


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            path = parts.path if stand_in.kind == "gitlab" else unquote(parts.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            answer = stand_in.answer(Request(self.command, path, parse_qs(parts.query), headers, body))
            if answer is None:
                self.close_connection = True
                return
            status, content, extra = answer
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = _do  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
