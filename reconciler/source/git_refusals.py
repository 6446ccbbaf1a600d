"""What git and a remote say when it does not work, as errors with a way out.

Pure: text in, errors out. Git has no codes for these, so its English words are matched (it runs with LC_ALL=C); what is
not known is passed on in git's own words. Nothing of it may steer a terminal.

A remote may say 64 KiB in one line. A pattern that goes to the line's end from each of thousands of places in it takes
seconds, in which no other thread runs: each goes on for a bounded number of characters.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.core.errors import SourceUnavailable
from reconciler.source.gitrun import MEMORY_BYTES_MAX, Ran

SAID_CHARACTERS_MAX = 300


class _Known(NamedTuple):
    words: str
    message: str
    hint: str


_SECRET = "set source.secret to a secret with the key token, or username and password: pai add secret NAME"  # noqa: S105
_KNOWN = (
    _Known(
        "(?m)^(?!remote:).*(No space left on device|Disk quota exceeded|Read-only file system)",
        "cannot be fetched: the disk here takes no more",
        "free space or repair the disk of the workspace; it is tried again",
    ),
    _Known(
        "could not read Username|terminal prompts disabled|could not read Password",
        "asks for credentials, and there are none",
        _SECRET,
    ),
    _Known(
        "Authentication failed|returned error: 401",
        "does not take the credentials",
        "check source.secret: is the token still valid, and may it read this repository?",
    ),
    _Known(
        "returned error: 403",
        "does not allow it (403)",
        "check what the credentials of source.secret may do in this repository",
    ),
    _Known(
        "returned error: 30[12378]",
        "answers with a redirect, which is not followed",
        "set source.repo to the address that it redirects to, if you trust that one with the credentials",
    ),
    _Known(
        "HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .{0,200} has changed|Offending",
        "shows another host key than the known one",
        "somebody may be listening in. Compare the fingerprint of ssh-keyscan HOST with the one that the host's owner "
        "publishes before you change known-hosts",
    ),
    _Known(
        "Host key verification failed|host key is known for",
        "shows a host key that is not known",
        "ssh-keyscan HOST > known_hosts, compare its fingerprints (ssh-keygen -lf known_hosts) with those that the "
        "host's owner publishes, then: pai add secret NAME --from-file known-hosts=known_hosts",
    ),
    _Known(
        "Permission denied \\(|[Ll]oad key .{0,200}(invalid|error|incorrect)|no mutual signature",
        "does not take the ssh key",
        "is the public key registered there, and the private one stored whole and without a passphrase?",
    ),
    _Known(
        "SSL certificate problem|certificate verif|server verification failed|gnutls_handshake|get local issuer",
        "shows a certificate that is not trusted",
        "set source.ca_file to the certificate of the authority that signed it",
    ),
    _Known(
        "signal 25|File too large|pack exceeds maximum",
        "sends more than {limit:,} bytes",
        "raise source.max_transfer_bytes, or use a smaller repository for the configuration",
    ),
    _Known(
        "Out of memory|out of memory|malloc failed|mmap failed: Cannot allocate|Cannot allocate memory|bad_alloc"
        "|signal (6|9|11)\\b",
        "sends what takes git more than {memory:,} bytes of memory",
        "is it the right repository? raise source.max_memory_bytes, or use a smaller one for the configuration",
    ),
    _Known(
        "fsck error|error in (commit|tree|blob|tag)|bad(Tree|Date|Email|Name)|invalid (author|committer)",
        "sends objects that are not sound",
        "git fsck in the remote repository says more",
    ),
    _Known(
        "Could not resolve|Name or service not known|Temporary failure in name resolution",
        "cannot be found: its name does not resolve",
        "check source.repo and the name server",
    ),
    _Known(
        "timed out|too slow|Timeout, server",
        "does not answer",
        "it is tried again; does a firewall or proxy let this machine reach it?",
    ),
    _Known(
        "Connection refused|Failed to connect|Couldn't connect|No route to host|Network is unreachable",
        "cannot be reached",
        "is it running, and does a firewall or proxy let this machine reach it?",
    ),
    _Known(
        "dumb http transport",
        "serves files and does not speak git",
        "serve it by git's smart HTTP (git http-backend), or over ssh",
    ),
    _Known(
        "not our ref|unadvertised object",
        "changed while it was fetched",
        "it is tried again",
    ),
    _Known(
        "not found|does not appear to be a git repository|does not exist|returned error: 404",
        "has no such repository, or does not show it with these credentials",
        "check source.repo and source.secret",
    ),
    _Known(
        "early EOF|unexpected disconnect|RPC failed|invalid index-pack|index-pack failed|bad pack|unpack-objects failed"
        "|hung up|protocol error|bad line length|invalid server response|not valid|bad object|inflate"
        "|expected .{0,200} got|Empty reply|transfer closed|unable to access|corrupt|pack has bad|unexpected"
        "|Could not read from remote",
        "broke off, or does not speak git",
        "it is tried again; if that does not help, try git ls-remote from this machine",
    ),
)
_REJECTED = re.compile(r"^!\t[^\t]*\t(.*)$", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def failure(
    ran: Ran, shown: str, scheme: str, timeout_s: float, bytes_max: int, memory_bytes_max: int = MEMORY_BYTES_MAX
) -> SourceUnavailable:
    """Say why `git fetch` or `git push` failed at the remote `shown`."""
    if ran.cancelled:
        return SourceUnavailable("the daemon is stopping", "try again when it has stopped")
    if ran.late:
        return SourceUnavailable(
            f"{shown} did not answer to the end within {timeout_s:g} s",
            "it is tried again; source.timeout is how long it may take",
        )
    said = reason(ran.err)
    for known in _KNOWN:
        if re.search(known.words, ran.err):
            message = known.message.format(limit=bytes_max, memory=memory_bytes_max)
            if scheme == "ssh" and known.hint is _SECRET:
                continue
            return SourceUnavailable(f"{shown} {message}" + (f" ({said})" if said else ""), known.hint)
    return SourceUnavailable(
        f"{shown} cannot be fetched: {said or f'git ended with {ran.code}'}", "try git ls-remote from this machine"
    )


def push_refused(ran: Ran) -> str:
    """Give the remote's own words for not taking a push, "" if it did not come to that."""
    rejected = _REJECTED.search(ran.out)
    if rejected is None:
        return ""
    remote = [line.removeprefix("remote:").strip() for line in ran.err.splitlines() if line.startswith("remote:")]
    return _plain("; ".join([rejected[1], *filter(None, remote)]))


def reason(err: str) -> str:
    """Pick the line that says most: git's last fatal one, else what the remote or ssh said last."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    chosen = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    remote = [line for line in lines if line.startswith(("remote:", "ERROR:"))]
    told = [*remote[:1], *chosen[:1]]
    return _plain("; ".join(line.removeprefix("fatal:").removeprefix("error:").strip() for line in told))


def _plain(text: str) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= SAID_CHARACTERS_MAX else text[:SAID_CHARACTERS_MAX] + "…"
