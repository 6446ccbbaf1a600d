"""What a commit object says, read from its raw bytes.

Pure: bytes in, values out. It never fails on what people or old tools put into a commit (odd encodings, empty e-mails,
impossible times); what cannot be read becomes the nearest harmless value. The log records these claims as claims.

A commit may have 1 MiB and pack to a thousandth. No call here takes long on one, as no other thread runs meanwhile; and
of its header only what git itself reads is looked at.
"""

from __future__ import annotations

import codecs
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

from reconciler.core.events import Person, Signature

_PERSON = re.compile(r"\A(?P<name>[^<]*?) ?<(?P<email>[^>]*)>(?: (?P<seconds>-?\d+) (?P<zone>[+-]\d{4}))?")
_TRAILER = re.compile(r"\A(?P<key>[A-Za-z0-9-]+)[ \t]*:(?P<value>.*)\Z", re.DOTALL)
TRAILERS_CHARACTERS_MAX = 16_384
"""The characters at the end of a message in which trailers are looked for: 200 of the longest lines."""
_PARENTS = re.compile(rb"\Atree [0-9a-f]{40}\n((?:parent [0-9a-f]{40}\n)*+)")
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


def parents_in(raw: bytes) -> list[str] | None:
    """Give the parents that a commit object names where git reads them; None if it is not sound."""
    found = _PARENTS.match(raw)
    return None if found is None else found[1].decode("ascii").split()[1::2]


def parse_commit(sha: str, raw: bytes) -> CommitInfo:
    """Read a commit object; text is decoded by the commit's own encoding, undecodable bytes are replaced.

    As for git the message ends at a NUL: what git shows nobody, such as a trailer there, permits nothing.
    """
    head, _, rest = raw.partition(b"\n\n")
    message = rest.partition(b"\0")[0]
    encoding = (_header(head, b"encoding") or b"utf-8")[:_ENCODING_BYTES_MAX].decode("ascii", "replace")
    return CommitInfo(
        commit=sha,
        parents=tuple(parents_in(raw) or ()),
        author=_person(_decode(_header(head, b"author"), encoding)),
        committer=_person(_decode(_header(head, b"committer"), encoding)),
        message=_decode(message, encoding),
        signature=_signature(_armour(head, b"gpgsig") or _armour(head, b"gpgsig-sha256")),
    )


def trailers(message: str) -> list[tuple[str, str]]:
    """Give the git trailers of a message in order, by git's rule for what a block of trailers is.

    The block is the last paragraph and never the first. Either every line is a trailer, or one line is git's own
    (`Signed-off-by`) and at least a quarter are trailers. Continuation lines are joined by one space. A block that is
    longer than TRAILERS_CHARACTERS_MAX is none.
    """
    paragraphs = re.split(r"\n[ \t]*\n", message.replace("\r\n", "\n").strip()[-TRAILERS_CHARACTERS_MAX:])
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


def _header(head: bytes, name: bytes) -> bytes:
    """Give the value of the first header of that name, without lines that continue it; b"" if there is none."""
    at = _value_at(head, name)
    return head[at : end if (end := head.find(b"\n", at)) >= 0 else len(head)] if at else b""


def _armour(head: bytes, name: bytes) -> bytes:
    """Give the beginning of a signature, which may begin on a line that continues its header."""
    at = _value_at(head, name)
    return b"".join(head[at : at + _ARMOUR_BYTES].split(b"\n ")).partition(b"\n")[0] if at else b""


def _value_at(head: bytes, name: bytes) -> int:
    """Find where the value of the first header of that name begins, 0 if there is none."""
    if head.startswith(name + b" "):
        return len(name) + 1
    at = head.find(b"\n%b " % name)
    return at + len(name) + 2 if at >= 0 else 0


_ARMOUR_BYTES = 200
_ENCODING_BYTES_MAX = 32
_SINGLE_BYTES = re.compile(r"iso-?8859-?\d{1,2}|(cp|windows-?)125\d|koi8-?[ru]", re.IGNORECASE)
_CHARACTER_SET = re.compile(r"(us-)?ascii|latin-?1|euc-?(jp|kr)|shift[_-]?jis|gb(2312|k|18030)|big5", re.IGNORECASE)
"""The only names that Python is asked for: it keeps every name that it does not know for ever."""


def _decode(data: bytes, encoding: str) -> str:
    """Read claimed text in a claimed encoding; always gives text that UTF-8 can hold.

    Only plain character sets are believed: others take quadratic time (punycode) or make lone surrogates (UTF-7).
    """
    try:
        if _SINGLE_BYTES.fullmatch(encoding):
            return codecs.charmap_decode(data, "strict", _table(encoding.lower()))[0]
        text = data.decode(encoding if _CHARACTER_SET.fullmatch(encoding) else "utf-8", "replace")
    except (LookupError, ValueError):
        text = data.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=128)
def _table(encoding: str) -> str:
    """Give the character of each byte. Python takes fifty times as long to replace a byte that has none.

    Raises LookupError for a character set that Python does not know.
    """
    return bytes(range(256)).decode(encoding, "replace")


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
