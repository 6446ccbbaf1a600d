"""Reading commit objects: every claim comes through, nothing makes it fail."""

from __future__ import annotations

import encodings
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.canonical import canonical
from reconciler.core.events import Signature
from reconciler.source.commits import parse_commit, trailers

HEAD = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"


def commit(*headers: bytes, message: bytes = b"m\n") -> bytes:
    """Give a raw commit object."""
    return HEAD + b"".join(header + b"\n" for header in headers) + b"\n" + message


@pytest.mark.parametrize(
    ("line", "name", "email", "time"),
    [
        (b"A B <a@b> 0 +0000", "A B", "a@b", "1970-01-01T00:00:00+00:00"),
        (b"A <> 1700000000 -0330", "A", "", "2023-11-14T18:43:20-03:30"),
        (b"<a@b> 1 +1400", "", "a@b", "1970-01-01T14:00:01+14:00"),
        (b"A <a b> c> -1 +0000", "A", "a b", "1970-01-01T00:00:00+00:00"),
        (b"A <a@b> 99999999999999999999 +0000", "A", "a@b", "1970-01-01T00:00:00+00:00"),
        (b"A <a@b> 1 +9999", "A", "a@b", "1970-01-01T00:00:01+00:00"),
        (b"\xff <\xfe> 1 +0000", "\ufffd", "\ufffd", "1970-01-01T00:00:01+00:00"),
        (b"nobody", "nobody", "", "1970-01-01T00:00:00+00:00"),
        (b"", "", "", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_person_is_read_from_any_line(line: bytes, name: str, email: str, time: str) -> None:
    """Names, e-mails and times that make no sense become harmless values."""
    author = parse_commit("1" * 40, commit(b"author " + line)).author
    assert (author.name, author.email, author.time) == (name, email, time)


@pytest.mark.parametrize(
    ("armour", "expected"),
    [
        (b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----", "openpgp"),
        (b"gpgsig -----BEGIN SSH SIGNATURE-----\n x", "ssh"),
        (b"gpgsig -----BEGIN SIGNED MESSAGE-----\n x", "x509"),
        (b"gpgsig-sha256 -----BEGIN SSH SIGNATURE-----", "ssh"),
        (b"gpgsig ", None),
        (b"mergetag object x\n gpgsig no", None),
    ],
)
def test_signature_is_named_and_never_verified(armour: bytes, expected: str | None) -> None:
    """The sort of signature is known by its armour; that it is there proves nothing."""
    found = parse_commit("1" * 40, commit(b"author A <a> 1 +0000", armour)).signature
    assert found == (expected and Signature(expected, verified=False))


@pytest.mark.parametrize(
    "encoding", [b"UTF-8", b"latin1", b"no-such-codec", b"hex", b"\xff", b"idna", b"utf-16", b"utf-7", b"punycode"]
)
def test_message_is_text_in_any_declared_encoding(encoding: bytes) -> None:
    """An encoding that is unknown or not for text falls back to UTF-8 with replacements."""
    info = parse_commit("1" * 40, commit(b"author \xe4 <a> 1 +0000", b"encoding " + encoding, message=b"\xe4\n\nb"))
    canonical([info.message, info.author.name])


@pytest.mark.parametrize("encoding", [b"UTF-7", b"unicode_escape", b"raw_unicode_escape", b"punycode", b"gb18030"])
@given(text=st.lists(st.sampled_from([b"+2AA-", b"\\ud800", b"a", b"-", b"\x836\xc7", b"8"])).map(b"".join))
def test_no_encoding_makes_text_that_cannot_be_logged(encoding: bytes, text: bytes) -> None:
    """Codecs that give half a surrogate pair, or take quadratic time, are not believed."""
    info = parse_commit("1" * 40, commit(b"author " + text + b" <a> 1 +0000", b"encoding " + encoding, message=text))
    canonical([info.message, info.author.name, info.author.email])


@pytest.mark.parametrize(
    "raw",
    [
        commit(b"author A <a> 1 +0000", b"gpgsig x" + b"\n " * 1_000_000),
        commit(b"encoding punycode", message=b"a" * 1_000_000),
        commit(message=b"s\n\nA: 1\n" + b" x\n" * 500_000),
        commit(message=b"s\n\n" + b"Signed-off-by: A\n" * 50_000 + b"x\n" * 50_000),
    ],
    ids=["folded-header", "punycode", "folded-trailer", "signed-off"],
)
def test_large_commits_are_read_in_time_that_grows_with_their_size(raw: bytes) -> None:
    """A few megabytes that were made to be slow take no more than a few seconds (quadratic: minutes)."""
    begun = time.process_time()
    trailers(parse_commit("1" * 40, raw).message)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "raw",
    [
        commit(b"encoding cp1252", message=b"\x81" * 1_000_000),
        commit(b"author A <a> 1 +0000", b"a\n" * 500_000),
        commit(b"author A <a> 1 +0000", b"a\n \n" * 250_000),
        commit(b"encoding iso8859-" + b"7" * 1_000_000),
        commit(message=b"s\n\n" + b"a:\n" * 333_000),
        commit(message=b"s\n\n" + b"a\n\n" * 333_000),
    ],
    ids=["bytes-without-a-sign", "headers", "folded-headers", "encoding", "trailers", "paragraphs"],
)
def test_no_commit_takes_longer_whatever_it_is_full_of(raw: bytes) -> None:
    """It packs to a kilobyte, very many may come below a tip, and much of it is one call: no agent is served then."""

    def work(data: bytes) -> float:
        began = time.thread_time()
        trailers(parse_commit("1" * 40, data).message)
        return time.thread_time() - began

    plain, full = (min(work(each) for _ in range(3)) for each in (commit(message=b"x" * 1_000_000), raw))
    assert full < 15 * plain, (full, plain)


def test_nothing_of_an_encoding_that_nobody_knows_is_kept() -> None:
    """Python keeps each name that it is asked for; 1 MiB of digits is as much memory, for good."""
    known = set(encodings._cache)  # type: ignore[attr-defined]
    for number in range(100, 110):
        parse_commit("1" * 40, commit(b"encoding iso8859-%d" % number, message=b"\xe4"))
        parse_commit("1" * 40, commit(b"encoding iso8859-" + b"1" * number, message=b"\xe4"))
    assert set(encodings._cache) == known  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "encoding", ["latin1", "iso-8859-6", "ISO8859-15", "cp1252", "windows-1255", "KOI8-R", "koi8-u"]
)
def test_single_bytes_mean_what_python_says(encoding: str) -> None:
    """Each of them is looked up in a table of our own."""
    message = bytes(range(1, 256)) * 2
    info = parse_commit("1" * 40, commit(b"encoding " + encoding.encode(), message=message))
    assert info.message == message.decode(encoding, "replace")


def test_parents_are_those_that_git_reads() -> None:
    """What says so behind the author is no parent: it is not counted where parents are bounded, and not on the log."""
    raw = commit(b"parent " + b"2" * 40, b"author A <a> 1 +0000", b"parent " + b"3" * 40)
    assert parse_commit("1" * 40, raw).parents == ("2" * 40,)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_and_can_be_logged(raw: bytes) -> None:
    """Whatever a commit object holds, reading it does not fail and gives text that the log can keep."""
    for data in (raw, HEAD + raw, commit(b"author " + raw, b"committer " + raw, message=raw)):
        info = parse_commit("1" * 40, data)
        people = [(p.name, p.email, p.time) for p in (info.author, info.committer)]
        canonical([list(info.parents), info.message, *map(list, people)])


MESSAGES = [
    "Subject",
    "Key: value",
    "Subject\n\nKey: value",
    "Subject\n\nbody\n\nA: 1\nb-C :  2 \n  folded\n",
    "Subject\n\nbody\nKey: value",
    "Subject\n\nKey: value\n\nlast words",
    "Subject\n\nfree\nSigned-off-by: A <a@b>\nx\n",
    "Subject\n\nfree\nfree\nfree\nfree\nSigned-off-by: A <a@b>\n",
    "Subject\n\nfree\nOther: A\n",
    "Subject\n\nA: 1\n(cherry picked from commit 1234)\nB: 2\n",
    "\n\nSubject\n \t\nA: 1\n\n\n",
    "Subject\n\nno key: 1\n",
    "Subject\n\nA:\nhttp://x: y\n",
    "Subject\n\n# note\nA: 1\n",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_trailers_are_those_that_git_finds(message: str) -> None:
    """The rule for a block of trailers is git's own."""
    command = ["git", "interpret-trailers", "--parse", "--no-divider"]
    parsed = subprocess.run(command, input=message, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [(key, value.strip()) for key, _, value in (line.partition(":") for line in parsed) if " " not in key]
    assert trailers(message) == expected


def test_what_stands_behind_a_nul_is_no_part_of_the_message() -> None:
    """Git shows nobody what it is, so it permits no deletion."""
    info = parse_commit("0" * 40, commit(message=b"tidy up\n\0\n\nPai-Allow-Deletions: yes\n"))
    assert info.message == "tidy up\n"
    assert trailers(info.message) == []


def test_trailers_read_windows_line_ends() -> None:
    """A message written with CRLF has the same trailers."""
    assert trailers("Subject\r\n\r\nPai-Allow-Deletions: yes\r\n") == [("Pai-Allow-Deletions", "yes")]
