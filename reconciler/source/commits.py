"""What a commit object says, read from its raw bytes.

Pure: bytes in, values out. It never fails on what people or old tools put into a commit (odd encodings, empty e-mails,
impossible times); what cannot be read becomes the nearest harmless value. The log records these claims as claims.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from reconciler.core.events import Person, Signature

_PERSON = re.compile(r"\A(?P<name>[^<]*?) ?<(?P<email>[^>]*)>(?: (?P<seconds>-?\d+) (?P<zone>[+-]\d{4}))?")
_TRAILER = re.compile(r"\A(?P<key>[A-Za-z0-9-]+)[ \t]*:(?P<value>.*)\Z", re.DOTALL)
_MADE_BY_GIT = ("Signed-off-by: ", "(cherry picked from commit ")
_SIGNATURE_FORMATS = {
    b"-----BEGIN SSH SIGNATURE": "ssh",
    b"-----BEGIN SIGNED MESSAGE": "x509",
    b"-----BEGIN CERTIFICATE": "x509",
}


class CommitInfo(NamedTuple):
    """A commit as git claims it; `parents` are those recorded, even if a shallow clone lacks them."""

    commit: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str
    signature: Signature | None


def parse_commit(sha: str, raw: bytes) -> CommitInfo:
    """Read a commit object; text is decoded by the commit's own encoding, undecodable bytes are replaced."""
    headers, message = _split(raw)
    encoding = headers.get(b"encoding", [b"utf-8"])[0].decode("ascii", "replace")
    signatures = headers.get(b"gpgsig") or headers.get(b"gpgsig-sha256") or [b""]
    return CommitInfo(
        commit=sha,
        parents=tuple(parent.decode("ascii", "replace") for parent in headers.get(b"parent", [])),
        author=_person(_decode(headers.get(b"author", [b""])[0], encoding)),
        committer=_person(_decode(headers.get(b"committer", [b""])[0], encoding)),
        message=_decode(message, encoding),
        signature=_signature(signatures[0]),
    )


def trailers(message: str) -> list[tuple[str, str]]:
    """Give the git trailers of a message in order, by git's rule for what a block of trailers is.

    The block is the last paragraph and never the first. Either every line is a trailer, or one line is git's own
    (`Signed-off-by`) and at least a quarter are trailers. Continuation lines are joined by one space.
    """
    paragraphs = re.split(r"\n[ \t]*\n", message.replace("\r\n", "\n").strip())
    if len(paragraphs) < 2:
        return []
    parts: list[list[str]] = []
    for line in paragraphs[-1].split("\n"):
        if line[:1] in (" ", "\t") and parts:
            parts[-1].append(line.strip())
        elif not line.startswith("#"):
            parts.append([line])
    lines = [" ".join(part) for part in parts]
    found = [match for line in lines if (match := _TRAILER.match(line))]
    by_git = [line for line in lines if line.startswith(_MADE_BY_GIT)]
    others = sum(1 for line in lines if not _TRAILER.match(line) and not line.startswith(_MADE_BY_GIT))
    if others and (not by_git or (len(lines) - others) * 3 < others):
        return []
    return [(match["key"], match["value"].strip()) for match in found]


def _split(raw: bytes) -> tuple[dict[bytes, list[bytes]], bytes]:
    head, _, message = raw.partition(b"\n\n")
    headers: dict[bytes, list[list[bytes]]] = {}
    last: list[bytes] = []
    for line in head.split(b"\n"):
        if line.startswith(b" ") and last:
            last.append(line[1:])
            continue
        key, _, value = line.partition(b" ")
        last = [value]
        headers.setdefault(key, []).append(last)
    return {key: [b"\n".join(lines) for lines in values] for key, values in headers.items()}, message


_CHARACTER_SET = re.compile(
    r"utf-?8|(us-)?ascii|latin-?1|iso-?8859-?\d+|(cp|windows-?)125\d|koi8-?[ru]|euc-?(jp|kr)|shift[_-]?jis|gb(2312|k|18030)|big5",
    re.IGNORECASE,
)


def _decode(data: bytes, encoding: str) -> str:
    """Read claimed text in a claimed encoding; always gives text that UTF-8 can hold.

    Only plain character sets are believed: others take quadratic time (punycode) or make lone surrogates (UTF-7).
    """
    codec = encoding if _CHARACTER_SET.fullmatch(encoding) else "utf-8"
    try:
        text = data.decode(codec, "replace")
    except (LookupError, ValueError):
        text = data.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


def _person(line: str) -> Person:
    match = _PERSON.match(line)
    if match is None:
        return Person(line.strip(), "", _time(None, None))
    return Person(match["name"].strip(), match["email"].strip(), _time(match["seconds"], match["zone"]))


def _time(seconds: str | None, zone: str | None) -> str:
    """Write git's seconds and zone as RFC 3339; what has no such form becomes the epoch, or UTC."""
    offset = UTC
    if zone is not None:
        minutes = int(zone[1:3]) * 60 + int(zone[3:5])
        if 0 < minutes < 24 * 60:
            offset = timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes))
    try:
        return datetime.fromtimestamp(int(seconds or 0), offset).isoformat()
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC).isoformat()


def _signature(armour: bytes) -> Signature | None:
    if not armour.strip():
        return None
    kinds = (kind for prefix, kind in _SIGNATURE_FORMATS.items() if armour.lstrip().startswith(prefix))
    return Signature(format=next(kinds, "openpgp"), verified=False)
