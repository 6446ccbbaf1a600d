"""The kinds of value a setting can have: each function checks one value and gives it in its final form.

They raise BadValue with a message that continues "section.key ..." and a way out; `settings` puts the place before it.
No message repeats a value that may hold a credential. Nothing here touches the file system, the network or a name
server.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.core.errors import WorkspaceError
from reconciler.log.url import is_address, read_address

FORGES = ("github", "gitlab", "gitea")
MAX_INTEGER = 2**53 - 1
INTERVAL_MAX_S = 86_400.0

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP = re.compile(r"[^/:]+:.")
_SECRET = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_CREDENTIALS = re.compile(r"(?:(?<=/)|\A)[^/@\s]*:[^/@\s]*@")
_MISTYPED = re.compile(r"\A(?P<scheme>(?:https?|ssh|git)(?::?/+|:))[^\s]*@", re.IGNORECASE)
"""A URL with a slash or a colon too few or too many, up to its last `@`."""
_BRANCH_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(^|/)\.|\.lock(/|$)|\.$|^/|/$|^-|^@$|^HEAD$")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadValue(ValueError):
    """A value that cannot be; the message continues the setting's name."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Address(NamedTuple):
    """Where a listener listens; port 0 is any free one. `str()` gives `host:port`, IPv6 hosts in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def overlaps(self, other: Address) -> bool:
        """Tell whether both would want the same port of the same interface."""
        if self.port != other.port or self.port == 0:
            return False
        mine, theirs = _interfaces(self.host), _interfaces(other.host)
        return bool(mine & theirs) or "*" in mine or "*" in theirs


def _interfaces(host: str) -> set[str]:
    name = host.lower().rstrip(".")
    if name == "localhost":
        return {"127.0.0.1", "::1"}
    address = _ip(name)
    if address is None:
        return {name}
    return {"*"} if address.is_unspecified else {address.compressed}


def text(value: object) -> str:
    """Check for text without control characters."""
    if not isinstance(value, str):
        raise BadValue(f"must be text, not {_shown(value)}", "put it in quotes")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise BadValue("holds a control character", "is there a line break at its end?")
    return value


def _filled(value: object) -> str:
    value = text(value)
    if not value.strip():
        raise BadValue("must not be empty", "leave it out for the default")
    return value


def integer(value: object) -> int:
    """Check for a whole number from 1 to 2^53 - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue(f"must be a whole number, not {_shown(value)}", "write it in plain digits, without quotes")
    if not 1 <= value <= MAX_INTEGER:
        raise BadValue(f"must be from 1 to {MAX_INTEGER}, not {value}", "leave it out for the default")
    return value


def secret_key(value: object) -> str:
    """Check where a secret's value is stored, `SECRET:KEY` or `SECRET` (then its key `token`); "" for nowhere."""
    name, colon, key = text(value).partition(":")
    if not name and not colon:
        return ""
    if not _SECRET.fullmatch(name) or (colon and not _SECRET_KEY.fullmatch(key)):
        raise BadValue(
            "must name a stored secret, never be one", "pai add secret NAME --from-literal token=- stores it"
        )
    return f"{name}:{key or 'token'}"


def boolean(value: object) -> bool:
    """Read true or false, in a variable as text."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise BadValue(f"must be true or false, not {_shown(value)}", "write true or false, without quotes")


def one_of(*words: str) -> Callable[[object], str]:
    """Give the check for one of a few words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            said = f"must be {', '.join(words[:-1])} or {words[-1]}, not {_shown(value)}"
            raise BadValue(said, f"write {words[0]}, which is the default, or another of these words")
        return value

    return check


def secret(value: object) -> str:
    """Check the name of a stored secret; "" for none. The secret's own module has the last word on names."""
    value = text(value)
    if value and (len(value) > 253 or not _SECRET_NAME.fullmatch(value)):
        raise BadValue("must be the name of a stored secret, never the secret itself", "pai add secret NAME stores one")
    return value


def hosts(value: object) -> tuple[str, ...]:
    """Read names of hosts with commas between them; "" for none."""
    if not isinstance(value, str):
        raise BadValue(f"must be names in quotes, not {_shown(value)}", 'write "pai.example.com, pai"')
    names = tuple(name.strip().lower() for name in value.split(",") if name.strip())
    for name in names:
        if not _HOST.fullmatch(name):
            raise BadValue(
                f"holds {_shown(name)}, which is no name of a host", "names without ports, commas between them"
            )
    return names


def networks(value: object) -> tuple[Network, ...]:
    """Read addresses and networks with commas between them; "" for none."""
    if not isinstance(value, str):
        raise BadValue(f"must be networks in quotes, not {_shown(value)}", 'write "10.0.0.0/8, 192.0.2.7"')
    found = []
    for text in filter(None, map(str.strip, value.split(","))):
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            hint = "write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32, without bits beyond the prefix"
            raise BadValue(f"holds {_shown(text)}, which is no network", hint) from None
        if not network.prefixlen:
            raise BadValue(f"holds {_shown(text)}, which is everybody", "name the addresses of the proxies alone")
        found.append(network)
    return tuple(found)


def duration_s(value: object) -> float:
    """Read `500ms`, `15s`, `1m`, `2h` as seconds, from 1 ms to a day."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValue(f"must be a duration, not {_shown(value)}", 'write "15s", "500ms" or "1m"')
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if not 0.001 <= seconds <= INTERVAL_MAX_S:
        raise BadValue(f"must be from 1ms to 24h, not {_shown(value)}", 'write "15s", "500ms" or "1m"')
    return seconds


def address(value: object) -> Address:
    """Read `127.0.0.1:8000`, `localhost:8000` or `[::1]:8000`."""
    hint = 'write "127.0.0.1:8000", or "[::1]:8000" for IPv6'
    if not isinstance(value, str):
        raise BadValue(f"must be host:port, not {_shown(value)}", hint)
    host, colon, port = value.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise BadValue(f"must be host:port, not {_shown(value)}", hint)
    if len(port) > 5 or int(port) > 65_535:
        raise BadValue(f"has the port {port[:20]}; ports end at 65535", hint)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if _ip_version(host) != 6:
            raise BadValue(f"has no IPv6 address in its brackets: {_shown(value)}", hint)
    elif not _HOST.fullmatch(host) or (re.fullmatch(r"[0-9.]+", host) and _ip_version(host) != 4):
        raise BadValue(f"has no valid host: {_shown(value)}", hint)
    return Address(host, int(port))


def branch(value: object) -> str:
    """Check a branch's name as `git check-ref-format --branch` does."""
    value = _filled(value)
    if value.startswith("refs/heads/"):
        raise BadValue(f"must be the branch's short name, not {_shown(value)}", f"write {value[11:]}")
    if _BRANCH_FORBIDDEN.search(value):
        raise BadValue(f"is no branch name git would take: {_shown(value)}", "git branch --list shows those there are")
    return value


def folder(value: object) -> str:
    """Check a folder inside the repository: relative, without `..`; gives it normalised, `.` for the whole."""
    value = _filled(value)
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value:
        raise BadValue(f"must be a folder inside the repository, not {_shown(value)}", 'write "." or "teams/blue"')
    return str(path)


def directory(value: object) -> str:
    """Check a folder of the file system; "" for none."""
    value = text(value)
    if _SCHEME.match(value):
        raise BadValue("must be a path, not a URL", "write a path on this machine, or leave it empty")
    return value


def repository(value: object) -> str:
    """Check a path, an https or ssh URL, an http URL of this machine, or git's `user@host:path`."""
    value = _filled(value)
    allowed = "write a path, or an https:// or ssh:// URL"
    if value[:5].lower() == "file:":
        raise BadValue("is a file URL, and a path is wanted", f"write {unquote(urlsplit(value).path) or 'the path'}")
    if not _SCHEME.match(value) and not value.startswith(("/", ".", "~")) and display(value) != value:
        raise BadValue(f"is no valid address and may hold credentials: {_shown(display(value))}", allowed)
    if not is_remote(value):
        return value
    if not _SCHEME.match(value):
        if value.startswith("-") or any(c.isspace() for c in value):
            raise BadValue("is no address of a repository", allowed)
        return value
    url = _split(value)
    if url.scheme not in ("https", "ssh", "http"):
        raise BadValue(f"has the scheme {url.scheme}, which is not supported", allowed)
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        raise BadValue("uses http, which shows its traffic to others", "write https:// (http only for this machine)")
    if url.query or url.fragment or any(c.isspace() for c in value):
        raise BadValue("must not have a query, a fragment or spaces", allowed)
    return value


def origin(value: object) -> str:
    """Check `https://host` or `https://host:port` (or http): no path, no credentials. A final slash goes."""
    hint = 'write "https://host" or "https://host:port"; the provider\'s own paths follow'
    value = _filled(value)
    if not _SCHEME.match(value):
        raise BadValue("must be an http or https origin", hint)
    url = _split(value)
    if url.scheme not in ("https", "http"):
        raise BadValue(f"has the scheme {url.scheme}, which is not supported", hint)
    if "@" in url.netloc:
        raise BadValue("must not hold credentials", "keys are secrets: pai add secret NAME --from-literal K=-")
    if url.path not in ("", "/") or url.query or url.fragment or "?" in value or "#" in value or "\\" in value:
        raise BadValue("must be an origin, without a path or a query", hint)
    return f"{url.scheme}://{url.netloc}"


def forge(value: object) -> str:
    """Check the kind of a forge; "" for none."""
    value = text(value)
    if value not in ("", *FORGES):
        raise BadValue(f"must be one of {', '.join(FORGES)}, not {_shown(value)}", "Forgejo is a gitea; empty for none")
    return value


def api(value: object) -> str:
    """Check the address of an API that gets a token: https, or http of this machine; "" for none."""
    value = text(value)
    hint = "write https://HOST/PATH"
    if not value:
        return value
    url = _split(value)
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname or "")):
        raise BadValue("must begin with https://, since a token is sent there (http only for this machine)", hint)
    if not url.hostname or "@" in url.netloc or url.query or url.fragment:
        raise BadValue("must be a plain URL, without credentials and query", hint)
    return value.rstrip("/")


def node(value: object) -> str:
    """Check the name of a node; "" for the host's."""
    value = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,63}", value):
        raise BadValue("must be up to 63 letters, digits, dots, - and _", "as a host is called; empty for its name")
    return value


def database(value: object) -> str:
    """Check `sqlite:PATH` or a URL of Postgres, of which no error shows anything."""
    hint = 'write "sqlite:data/log.db" or "postgresql://USER@HOST/DATABASE"'
    value = _filled(value)
    if is_address(value):
        try:
            read_address(value)
        except WorkspaceError as error:
            raise BadValue(f"cannot be used: {error.message}", error.hint) from None
        return value
    scheme, colon, path = value.partition(":")
    if not colon or scheme != "sqlite":
        raise BadValue("must be sqlite:PATH or postgresql://...", hint)
    if not path.strip() or path.startswith("//") or path.endswith("/") or path == ":memory:":
        raise BadValue(f"must name a file after sqlite:, not {_shown(path)}", hint)
    return value


def shown_database(value: str) -> str:
    """Give what everybody may see of a log's place."""
    return read_address(value).shown if is_address(value) else value


def is_remote(repo: str) -> bool:
    """Tell whether `source.repo` is a URL or git's `user@host:path`, and not a path."""
    return bool(_SCHEME.match(repo) or _SCP.match(repo))


def display(repo: str) -> str:
    """Give a repository's address without its credentials, also where a typing error makes it no URL."""
    if not _SCHEME.match(repo):
        return _CREDENTIALS.sub("***@", _MISTYPED.sub(r"\g<scheme>***@", repo))
    scheme, _, rest = repo.partition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    if not at:
        if ":" in authority and "@" in path:  # a slash in a password
            return f"{scheme}://***@{path.rpartition('@')[2]}"
        return _CREDENTIALS.sub("***@", repo)
    if scheme.lower() == "ssh" and ":" not in credentials:
        return repo  # a user name, usually `git`
    return f"{scheme}://***@{host}{slash}{path}"


def _split(value: str) -> SplitResult:
    try:
        url = urlsplit(value)
        usable = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise BadValue("is no valid URL", "special characters in credentials are written as %XX")
    host = url.hostname or ""
    if _ip_version(host) != 6 and not _HOST.fullmatch(host):
        raise BadValue("has no valid host", "special characters in credentials are written as %XX")
    return url


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _ip_version(host: str) -> int:
    address = _ip(host)
    return 0 if address is None else address.version


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value[:60]}…"' if len(value) > 60 else f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else type(value).__name__
