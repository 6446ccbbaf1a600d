"""What all connections of a port share: whom it leads to, whom it lets in, and how much they may take together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from reconciler.listening.connection_places import Places
from reconciler.listening.framing import BadRequest
from reconciler.listening.head import Headers, RequestHead
from reconciler.listening.hosts import Hosts
from reconciler.listening.proxies import Proxies
from reconciler.listening.turns import STRANGERS, THROWN, Pace, Turns

UNREAD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of all connections of a port together: heads that are not whole, and what was sent before its turn."""
CONNECTIONS_MAX: Final = 8192
READ_BYTES_MAX: Final = 16 * 1024
"""Read from a socket at once."""

Application = Callable[[Any, Any, Any], Any]


class DoorLimits(NamedTuple):
    """How long a client may take, and how long open requests to end when the daemon stops.

    `head_s` is for a request's head, and for the rest of a body that was answered already, which is thrown away.
    """

    head_s: float
    drain_s: float


class Door:
    """A port.

    `foreign` answers requests under a name that is not ours, `named` gives headers for answers that are not `app`'s,
    `pace` is that of strangers.
    A request's `state` is for both: `app` sets `owner` when it has shown a key, to whose that is, so that the next one
    on that connection takes no turn, and may set `on_left`, which is called if the client leaves before it has its
    answer; `left` is set then.
    """

    def __init__(
        self,
        app: Application,
        foreign: Application,
        hosts: Hosts,
        proxies: Proxies,
        limits: DoorLimits,
        named: Callable[[], Headers] = list,
        pace: Pace = STRANGERS,
    ) -> None:
        self.app = app
        self.foreign = foreign
        self.hosts = hosts
        self.proxies = proxies
        self.limits = limits
        self.named = named
        self.connections_max = CONNECTIONS_MAX
        self.unread_bytes_max = UNREAD_BYTES_MAX
        self.unread_bytes = 0
        self.places = Places()
        self.turns = Turns(pace)
        self.thrown = Turns(THROWN)
        self.buffer = memoryview(bytearray(READ_BYTES_MAX))

    def scope(
        self, head: RequestHead, client: tuple[str, int] | None, state: dict[str, Any], *, trusted: bool
    ) -> dict[str, Any]:
        """Say a request as ASGI does; of who comes through a `trusted` proxy, what that says of it."""
        scheme = "http"
        if trusted and client is not None:
            client = (self.proxies.client(client[0], head.few), 0)
            scheme = self.proxies.scheme(head.few)
        path = head.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "client": client,
            "scheme": scheme,
            "root_path": "",
            "headers": head.headers,
            "state": state,
            "method": head.method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": head.path,
            "query_string": head.query,
        }

    def refusal(self, bad: BadRequest) -> bytes:
        """Write an answer to what no application saw; it carries what every answer does."""
        body = f"{bad.message}\n".encode()
        headers = [
            *self.named(),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"connection", b"close"),
            (b"content-length", b"%d" % len(body)),
        ]
        lines = [b"HTTP/1.1 " + bad.status.encode(), *(name + b": " + value for name, value in headers)]
        return b"\r\n".join((*lines, b"", body))
