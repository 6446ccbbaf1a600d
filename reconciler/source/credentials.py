"""The credentials for a remote, and how git gets them: never by argument, environment or a file on a disk.

A token or password reaches git through a credential helper that reads a pipe, for this origin alone. A private key and
the known hosts lie in memory files that only this user can open while git runs. What was handed over is taken out of
everything that git or the remote says.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from reconciler.core.errors import SourceUnavailable

TOKEN_USER = "x-access-token"  # noqa: S105 (the name that forges take with any token)
SCRUBBED_FROM = 4
"""Secrets shorter than this are not looked for in messages: every word would hold them."""


class RemoteCredentials(NamedTuple):
    """The keys of the secret for git, b"" for one that it lacks. `password` is a token or a password."""

    username: str = ""
    password: bytes = b""
    ssh_key: bytes = b""
    known_hosts: bytes = b""

    def scrub(self, text: str) -> str:
        """Take the password out of a text, as it may come back there: as it is, in a URL, in a header."""
        if len(self.password) < SCRUBBED_FROM:
            return text
        plain = self.password.decode("utf-8", "replace")
        basic = (self.username or TOKEN_USER).encode() + b":" + self.password
        ways = {plain, quote(plain, safe=""), *(base64.b64encode(each).decode() for each in (basic, self.password))}
        for way in sorted(ways, key=len, reverse=True):
            text = text.replace(way, "***")
        return text


class RemoteAddress(NamedTuple):
    """A remote's address: `url` is without a password, `scheme` is https, http or ssh."""

    url: str
    scheme: str
    origin: str
    username: str
    password: bytes

    @classmethod
    def parse(cls, repo: str) -> RemoteAddress:
        """Read `source.repo`, checked before: a URL, or git's `user@host:path`."""
        if "://" not in repo:
            return cls(repo, "ssh", "", "", b"")
        parts = urlsplit(repo)
        host = parts.netloc.rpartition("@")[2]
        username, password = unquote(parts.username or ""), unquote(parts.password or "").encode()
        if parts.scheme == "ssh":
            user = f"{quote(username)}@" if username else ""
            return cls(f"ssh://{user}{host}{parts.path}", "ssh", "", username, password)
        origin = f"{parts.scheme}://{host}"
        return cls(f"{origin}{parts.path}", parts.scheme, origin, username, password)


class Access(NamedTuple):
    """How git is told: settings, variables of its environment, and open files that it inherits."""

    options: Mapping[str, str]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()


@contextlib.contextmanager
def opened(address: RemoteAddress, held: RemoteCredentials, ca_file: Path | None, timeout_s: float) -> Iterator[Access]:
    """Have what git needs at hand while it runs. Raises SourceUnavailable if something is missing that it must have.

    Git also ends by itself after a silence of `timeout_s`, in case the process that started it is killed.
    """
    silence = str(round(timeout_s) + 2)  # later than the deadline, which has the better words
    protocol = {f"protocol.{address.scheme}.allow": "always"}
    if address.scheme == "ssh":
        with _ssh_command(held, silence) as command:
            yield Access(protocol, {"GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "ssh"})
        return
    slow = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": silence}
    options = {**protocol, **slow, **({"http.sslCAInfo": str(ca_file)} if ca_file else {})}
    if not held.password:
        yield Access(options, {})
        return
    with _helper(held.username or TOKEN_USER, held.password) as (helper, descriptor):
        yield Access({**options, f"credential.{address.origin}.helper": helper}, {}, (descriptor,))


@contextlib.contextmanager
def _helper(username: str, password: bytes) -> Iterator[tuple[str, int]]:
    """Give a credential helper that answers once, from a pipe."""
    if any(c in "\0\r\n" for c in username) or any(c in password for c in b"\0\r\n"):
        raise SourceUnavailable("the secret of source.secret holds a line break", "store it again, as one line")
    reading, writing = os.pipe()
    try:
        os.write(writing, b"username=" + username.encode() + b"\npassword=" + password + b"\n")
        os.close(writing)
        writing = -1
        yield f'!f() {{ test "$1" = get && cat </dev/fd/{reading}; }}; f', reading
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


@contextlib.contextmanager
def _ssh_command(held: RemoteCredentials, silence: str) -> Iterator[str]:
    if not held.known_hosts.strip():
        raise SourceUnavailable(
            "no known hosts for the ssh remote, so nobody can tell whether it is the right one",
            "ssh-keyscan HOST > known_hosts, compare its fingerprints (ssh-keygen -lf known_hosts) with those that the "
            "host's owner publishes, then: pai add secret NAME --from-file known-hosts=known_hosts",
        )
    if not held.ssh_key.strip():
        raise SourceUnavailable(
            "no private key for the ssh remote",
            "set source.secret to a secret with the key ssh-key: pai add secret NAME --from-file ssh-key=PATH",
        )
    with _file(held.known_hosts.rstrip(b"\n") + b"\n") as hosts, _file(held.ssh_key.rstrip(b"\n") + b"\n") as key:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": hosts,
            "GlobalKnownHostsFile": os.devnull,
            "UpdateHostKeys": "no",
            "VerifyHostKeyDNS": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": key,
            "PreferredAuthentications": "publickey",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "PermitLocalCommand": "no",
            "ConnectTimeout": silence,
            "ServerAliveInterval": silence,
            "ServerAliveCountMax": "1",
            "LogLevel": "ERROR",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        yield shlex.join(["ssh", "-F", os.devnull, *words])


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    """Give the path of a file that only this user can read and that ends with this process."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pai", os.MFD_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        unlink = False
    else:  # no memory files: a private file, for as long as git runs
        descriptor, path = tempfile.mkstemp(prefix="pai-")
        unlink = True
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield path
    finally:
        os.close(descriptor)
        if unlink:
            os.unlink(path)
