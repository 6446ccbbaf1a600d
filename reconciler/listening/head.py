"""The head of one request: from its bytes to what it says, or why it is none.

llhttp reads the header fields, strictly, with a parser for each head that never sees a byte of a body or of another
request. So its own states (an accepted upgrade, a body, a closed connection) decide nothing here: an offer to upgrade
is a header field like any other (RFC 9110 7.8), and where the body ends is decided by `framing`.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from reconciler.listening.framing import BadRequest, Body, NoRequest, body_of

Headers = list[tuple[bytes, bytes]]

HEAD_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 200
"""Apache takes 100 (LimitRequestFields); clients send about 20."""
TARGET_BYTES_MAX: Final = 8 * 1024
"""Apache and nginx take as much (LimitRequestLine, large_client_header_buffers); RFC 9112 3 asks for 8,000."""
FEW_BYTES_MAX: Final = 1024
"""Of a field that decides something here, or of all of one name together."""
END: Final = b"\r\n\r\n"

_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21-\x7e]+) HTTP/(1\.[01])\r\n")
_LINE_BYTES_MAX: Final = 32 + len(b" ") + TARGET_BYTES_MAX + len(b" HTTP/1.1\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_FEW: Final = frozenset(
    (
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
)
"""Fields that decide something here; the others are only passed on."""

_TOO_LARGE: Final = (
    f"the head of a request may have {HEAD_BYTES_MAX:,} bytes and {FIELDS_MAX} fields, "
    f"and one that says where it goes or how it is read {FEW_BYTES_MAX:,} bytes",
    "431 Request Header Fields Too Large",
)
_TOO_LONG: Final = (f"the target of a request may have {TARGET_BYTES_MAX:,} bytes", "414 URI Too Long")


class RequestHead:
    """What the head of a request says. `hosts` are the authorities that it names: its Host, and its target's if any."""

    __slots__ = (
        "_complete",
        "body",
        "expects",
        "few",
        "headers",
        "hosts",
        "keeps",
        "method",
        "path",
        "query",
        "version",
    )

    def __init__(self, data: bytes) -> None:
        """Read a head that ends with an empty line. Raises Bad if it is no request that is served here."""
        line = _LINE.match(data)
        if line is None:
            raise NoRequest
        method, target, version = line.groups()
        if len(target) > TARGET_BYTES_MAX:
            raise BadRequest(*_TOO_LONG)
        self.method: str = method.decode("ascii")
        self.version: str = version.decode("ascii")
        self.headers: Headers = []
        self.few: dict[bytes, list[bytes]] = {}
        self._complete = False
        self._read_fields(data)
        if len(data) > FEW_BYTES_MAX and any(sum(map(len, values)) > FEW_BYTES_MAX for values in self.few.values()):
            raise BadRequest(*_TOO_LARGE)
        self.hosts = self.few.get(b"host", [])
        if len(self.hosts) != 1:
            raise BadRequest("a request has one Host")
        self.path, self.query = self._target(target)
        self.body: Body | None = body_of(
            self.version, self.few.get(b"content-length", []), self.few.get(b"transfer-encoding", [])
        )
        current = version == b"1.1"
        self.keeps = current and not (b"connection" in self.few and self._says(b"connection", b"close"))
        self.expects = (
            self.body is not None and current and b"expect" in self.few and self._says(b"expect", b"100-continue")
        )

    def _read_fields(self, data: bytes) -> None:
        try:
            httptools.HttpRequestParser(self).feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, BadRequest):
                raise error.__context__ from None
            raise NoRequest from None
        if not self._complete:  # the parser looks for another end than we do
            raise NoRequest

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field from the parser."""
        name = name.lower()
        headers = self.headers
        headers.append((name, value))
        if name in _FEW:
            self.few.setdefault(name, []).append(value.strip(b" \t"))
        if len(headers) > FIELDS_MAX:
            raise BadRequest(*_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Take the parser's word that the head is whole."""
        self._complete = True

    def _target(self, target: bytes) -> tuple[bytes, bytes]:
        """Give path and query. Raises Bad unless it is a path, a URL, or the `*` of OPTIONS (RFC 9112 3.2)."""
        if target[:1] != b"/":
            if found := _ABSOLUTE.fullmatch(target):
                self.hosts = [*self.hosts, found[1]]
                rest = found[2]
                target = rest if rest[:1] == b"/" else b"/" + rest
            elif target != b"*" or self.method != "OPTIONS":
                raise BadRequest("the target of a request is a path or a URL")
        if target.find(b"#") >= 0 or self.method == "CONNECT":
            raise BadRequest("the target of a request has no fragment, and nothing is tunneled here")
        path, _, query = target.partition(b"?")
        return path, query

    def _says(self, name: bytes, word: bytes) -> bool:
        return any(token.strip(b" \t").lower() == word for value in self.few[name] for token in value.split(b","))


class Beginning:
    """How far a head was looked at that is not whole: nothing of it is looked at twice, however it comes."""

    __slots__ = ("_line_ended", "_searched")

    def __init__(self) -> None:
        self.anew()

    def anew(self) -> None:
        """Forget a head, for the next one."""
        self._searched = 0
        self._line_ended = False

    def end(self, data: bytes, begin: int) -> int:
        """Say where the head ends that begins there, 0 if it is not whole. Raises Bad if it cannot become one.

        Of what is not whole its first line is judged, how lines end, and its size; the rest when it is.
        """
        end = data.find(END, max(begin, self._searched)) + len(END)
        whole = end >= len(END)
        if not whole:
            self._look(data, begin)
        if (end if whole else len(data)) - begin > HEAD_BYTES_MAX:
            raise BadRequest(*_TOO_LARGE)
        return end if whole else 0

    def _look(self, data: bytes, begin: int) -> None:
        if not self._line_ended:
            self._look_at_line(data, begin, data.find(b"\n", max(begin, self._searched)))
        if self._line_ended:
            new = data[max(begin, self._searched - 1) :].removeprefix(b"\n")
            if new.count(b"\n") != new.count(b"\r\n"):
                raise NoRequest
        self._searched = max(0, len(data) - len(END) + 1)

    def _look_at_line(self, data: bytes, begin: int, end: int) -> None:
        if end < 0 and not data[begin : begin + 1].isupper() and data[begin:] not in (b"", b"\r"):
            raise NoRequest
        if (end if end >= 0 else len(data)) - begin > _LINE_BYTES_MAX:
            raise BadRequest(*_TOO_LONG)
        if end >= 0:
            if _LINE.match(data, begin) is None:
                raise NoRequest
            self._line_ended = True
