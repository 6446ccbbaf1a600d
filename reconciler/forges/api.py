"""HTTP with a forge's API: patient where waiting helps, and at an end after a bounded time.

Tried again: what certainly was not done (no connection, 429, a rate limit) and, for requests that may be repeated, what
nobody knows of (a lost connection, 5xx). A wait that the forge asks for is kept, unless it is longer than the patience
left. Redirects are not followed and no URL of an answer is ever requested, so the token goes to one host only. No token
and no answer's body beyond its message is in an error.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from reconciler.core.errors import CouldNotRun, UsageError
from reconciler.core.text import cut

TIMEOUT_S = 15.0
"""The longest silence."""
DEADLINE_S = 45.0
"""How long an answer may take as a whole, however little of it comes at a time."""
ANSWER_BYTES_MAX = 32 * 1024 * 1024
PATIENCE_S = 60.0
"""How long all attempts of one request may take together."""
PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 15.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ForgeUnavailable(CouldNotRun):
    """The forge's API did not do what was asked. `uncertain`: it may have, and nobody knows."""

    def __init__(
        self, message: str, hint: str = "", *, uncertain: bool = False, status: int = 0, wait_s: float = 0.0
    ) -> None:
        super().__init__(message, hint)
        self.uncertain = uncertain
        self.status = status
        self.wait_s = wait_s


def check_url(url: str) -> str:
    """Give an API's address without a final slash. Raises UsageError unless a token may be sent there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    hint = "write https://HOST/PATH (http for this machine only)"
    if not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("the address of the forge's API is no plain URL", hint)
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise UsageError("a token is sent over https only", hint)
    return url.rstrip("/")


class ForgeApi:
    """One API, with one token. To be closed."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        patience_s: float = PATIENCE_S,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`headers` carry the token. `sleep` waits between attempts, and may raise to give up."""
        self.url = check_url(url)
        self.host = urlsplit(self.url).netloc
        self._patience_s = patience_s
        self._deadline_s = deadline_s
        self.sleep = sleep
        self._client = httpx.Client(
            headers={"User-Agent": "pai", "Accept": "application/json", "Accept-Encoding": "identity", **headers},
            timeout=timeout_s,
            follow_redirects=False,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, str | int] | None = None,
        repeatable: bool = True,
    ) -> tuple[Any, httpx.Headers]:
        """Do one request and give the JSON of its answer and its headers. Raises ForgeUnavailable.

        `repeatable`: doing it twice is the same as doing it once.
        """
        until = time.monotonic() + self._patience_s
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                answer = self._answer(method, path, body, params)
            except httpx.RequestError as error:
                failure, again = _lost(self.host, error), repeatable or isinstance(error, _NOT_SENT)
            else:
                if 200 <= answer.status_code < 300:
                    return _content(self.host, answer), answer.headers
                failure = _refused(self.host, answer)
                again = _limited(answer) or (repeatable and answer.status_code in _PASSING)
            wait_s = max(failure.wait_s, pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            if not again or time.monotonic() + wait_s > until:
                raise failure
            self.sleep(wait_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)

    def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None, params: Mapping[str, str | int] | None
    ) -> httpx.Response:
        """Do one request. Raises httpx.RequestError, also for an answer that takes too long or is too long."""
        until = time.monotonic() + self._deadline_s
        with self._client.stream(method, self.url + path, json=body, params=params) as answer:
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise httpx.ReadError("the answer is packed, which was not asked for")  # into who knows how much
            content = bytearray()
            for part in answer.iter_raw():
                content += part
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("the answer takes too long")
                if len(content) > ANSWER_BYTES_MAX:
                    raise httpx.ReadError("the answer is too long")
            return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(content))


_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING = frozenset((408, 425, 500, 502, 503, 504))
_HINT_URL = "check the address of the API"
_HINTS = {
    401: "the token is not valid, or has expired",
    403: "the token may not do this: it needs to write comments and commit statuses",
    404: "check the repository and the number, and that the token may see them",
}


def _content(host: str, answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else None
    except (ValueError, RecursionError) as error:
        raise ForgeUnavailable(f"{host} answered with what is no JSON", _HINT_URL) from error


def _lost(host: str, error: httpx.RequestError) -> ForgeUnavailable:
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    uncertain = not isinstance(error, _NOT_SENT)
    return ForgeUnavailable(f"{host} {what} ({type(error).__name__})", "try again later", uncertain=uncertain)


def _refused(host: str, answer: httpx.Response) -> ForgeUnavailable:
    status = answer.status_code
    if 300 <= status < 400:
        return ForgeUnavailable(f"{host} sends elsewhere ({status})", "use the repository's present name and address")
    said = ""
    try:
        message = answer.json()
        said = str(message.get("message") or message.get("error") or "") if isinstance(message, dict) else ""
    except (ValueError, RecursionError):
        pass
    what = "is over its rate limit" if _limited(answer) else "refused the request" if status < 500 else "failed"
    hint = "try again later" if _limited(answer) or status >= 500 else _HINTS.get(status, _HINT_URL)
    text = f"{host} {what} ({status}{': ' + cut(said) if said else ''})"
    return ForgeUnavailable(text, hint, uncertain=status >= 500, status=status, wait_s=_wait_s(answer))


def _limited(answer: httpx.Response) -> bool:
    """Tell whether it was refused for the number of requests alone: GitHub says that with 403, too."""
    if answer.status_code == 429:
        return True
    return answer.status_code == 403 and (
        "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    )


def _wait_s(answer: httpx.Response) -> float:
    """Read how long the forge asks to wait, 0 if it does not."""
    headers = answer.headers
    asked = headers.get("retry-after", "")
    try:
        if asked:
            return max(0.0, float(asked) if asked.isdigit() else parsedate_to_datetime(asked).timestamp() - time.time())
        reset = headers.get("x-ratelimit-reset", "") or headers.get("ratelimit-reset", "")
        if reset and _limited(answer):
            return max(0.0, float(reset) - time.time())
    except (ValueError, OverflowError):
        pass
    return 0.0
