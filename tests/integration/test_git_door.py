"""The door for git over HTTP: bounded by what a body becomes, fair to many clients, and tidy behind whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import itertools
import os
import select
import signal
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from starlette.types import Message

from reconciler.admin.git import cgi
from reconciler.admin.git.smart_http import ASKED_BYTES_MAX, RUNNING_MAX, WAITING_MAX
from reconciler.admin.git.smart_http import DEADLINE_S as DEADLINE
from reconciler.source.chains import CHAIN_MAX
from reconciler.source.hook import MARK
from tests.acceptance.test_http_push import PATH, Served, children, members
from tests.support import DEADLINE_S, Git, Site, binding, until

LEFT = "objects/tmp_objdir-incoming-*"


@pytest.fixture
def served(team: Site) -> Iterator[Served]:
    """Give a workspace whose daemon takes pushes."""
    with team.daemon() as daemon:
        yield Served(team, daemon)


def left(site: Site) -> list[Path]:
    """List folders of pushes that are not accepted yet."""
    return list((site.root / "config.git").glob(LEFT))


@pytest.mark.parametrize(
    "body",
    [
        b"0014command=ls-refs\n0001" + b"0009peel\n" * (ASKED_BYTES_MAX // 9 + 1),
        b"0032want " + b"1" * 40 + b"\n" + (b"0032have " + b"1" * 40 + b"\n") * (ASKED_BYTES_MAX // 50 + 1),
    ],
    ids=["arguments", "haves"],
)
def test_request_is_bounded_by_what_it_becomes(served: Served, body: bytes) -> None:
    """A small packed request that becomes a large one is refused with the limit; the daemon does not grow with it."""
    packed = gzip.compress(body, 1)
    assert len(packed) < 200_000
    before = peak(served)
    headers = {
        **served.bearer(),
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
        "Git-Protocol": "version=2" if body.startswith(b"0014") else "version=0",
    }
    status, _, said = served.ask("POST", f"{PATH}/git-upload-pack", packed, headers)
    expected = f"error: the request is larger than {ASKED_BYTES_MAX:,} bytes, unpacked\n"
    assert (status, said.decode()) == (413, expected)
    assert peak(served) - before < 50_000_000
    until("git to end", lambda: not children(served.daemon))


def test_push_is_bounded_by_what_it_becomes(served: Served) -> None:
    """The same of a push, of which git reads on while it becomes more."""
    line = f"{served.site.bare('rev-parse', 'main')} {'1' * 40} refs/heads/x\n".encode()
    refs = b"%04x%b" % (len(line) + 4, line)
    piece = zlib.compressobj(1, wbits=31)
    part = piece.compress(refs * 10_000)
    before = peak(served)
    headers = {
        **served.bearer(),
        "Content-Type": "application/x-git-receive-pack-request",
        "Content-Encoding": "gzip",
    }
    packed = part + b"".join(piece.compress(refs * 10_000) for _ in range(40)) + piece.flush()
    served.ask("POST", f"{PATH}/git-receive-pack", packed, headers)
    assert served.site.bare("for-each-ref", "refs/heads/x") == ""
    assert peak(served) - before < 50_000_000
    until("git to end", lambda: not children(served.daemon))


def entry(kind: int, size: int, data: bytes, between: bytes = b"") -> bytes:
    """Write an entry of a pack: its kind and unpacked size, then what it consists of (gitformat-pack)."""
    numbers, size = [kind << 4 | size & 15], size >> 4
    while size:
        numbers[-1] |= 0x80
        numbers, size = [*numbers, size & 0x7F], size >> 7
    return bytes(numbers) + between + data


def varint(number: int) -> bytes:
    """Write a size at the head of a delta."""
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


MIB = 1024 * 1024


def large_object() -> list[bytes]:
    """Give a pack's entries: one object of 300 MiB."""
    packing = zlib.compressobj(1)
    data = b"".join(packing.compress(bytes(MIB)) for _ in range(300)) + packing.flush()
    return [entry(3, 300 * MIB, data)]


def large_delta() -> list[bytes]:
    """Give a pack's entries: an object of 1 MiB, and one that is 300 copies of it."""
    base = entry(3, MIB, zlib.compress(bytes(MIB)))
    delta = varint(MIB) + varint(300 * MIB) + bytes([0x80 | 0x40, 0x10]) * 300
    return [base, entry(6, len(delta), zlib.compress(delta), back_by(len(base)))]


def back_by(distance: int) -> bytes:
    """Write how far before a delta its base lies."""
    back, offset = distance >> 7, bytes([distance & 0x7F])
    while back:
        back -= 1
        offset, back = bytes([0x80 | back & 0x7F]) + offset, back >> 7
    return offset


def chain(deltas: int, by_id: bool) -> list[bytes]:
    """Give a pack's entries: 64 KiB, and so many deltas, each the one before with another end."""
    size, entries = 65_536, [entry(3, 65_536, zlib.compress(bytes(65_536)))]
    known = bytes(size)
    for number in range(deltas):
        data = known[:-8] + b"%08d" % number
        delta = varint(size) * 2 + bytes([0xB0, (size - 8) & 0xFF, size - 8 >> 8, 8]) + data[-8:]
        base = hashlib.sha1(b"blob %d\0%b" % (size, known), usedforsecurity=False).digest()
        packed = zlib.compress(delta)
        entries.append(entry(7 if by_id else 6, len(delta), packed, base if by_id else back_by(len(entries[-1]))))
        known = data
    return entries


@pytest.mark.parametrize("by_id", [False, True], ids=["by-offset", "by-id"])
def test_long_chain_of_deltas_is_refused_on_every_branch(served: Served, by_id: bool) -> None:
    """An object at its end is made in one call, in which the whole daemon waits; git's own chains are short."""
    clone = served.clone(served.first)
    old = clone.head
    for deltas, taken in ((CHAIN_MAX, True), (CHAIN_MAX + 1, False)):
        made = chain(deltas, by_id)
        pack = b"PACK" + struct.pack(">II", 2, len(made)) + b"".join(made)
        line = f"{'0' * 40} {old} refs/heads/x{deltas}\0 report-status side-band-64k".encode()
        body = b"%04x%b0000" % (len(line) + 4, line) + pack + hashlib.sha1(pack, usedforsecurity=False).digest()
        headers = {**served.bearer(), "Content-Type": "application/x-git-receive-pack-request"}
        _, _, said = served.ask("POST", f"{PATH}/git-receive-pack", body, headers)
        assert b"unpack ok" in said
        assert (b"ok refs/heads/x" in said) == taken, said
        assert (b"a chain of more than 250 deltas" in said) != taken


@pytest.mark.parametrize(("links", "step", "taken"), [(40, b"\x01a", False), (40, b"\x7f" + b"a" * 127, True)])
def test_small_object_for_which_much_is_made_is_refused(served: Served, links: int, step: bytes, taken: bool) -> None:
    """Some deltas of a million instructions each are packed to nothing, and take as long as thousands of usual ones."""
    served.site.bare("config", "receive.unpackLimit", "1")
    size, end = 1 << 20, b"small\n"
    entries = [entry(3, size, zlib.compress(b"a" * size))]
    width = len(step) - 1
    for number in range(links):
        delta = varint(size) * 2 + b"\x08%08d" % number + step * ((size - 8) // width)
        delta += bytes([rest]) + b"a" * rest if (rest := (size - 8) % width) else b""
        entries.append(entry(6, len(delta), zlib.compress(delta), back_by(len(entries[-1]))))
    if not taken:
        delta = varint(size) + varint(len(end)) + bytes([len(end)]) + end
        entries.append(entry(6, len(delta), zlib.compress(delta), back_by(len(entries[-1]))))
    pack = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    line = f"{'0' * 40} {served.clone(served.first).head} refs/heads/x{width}\0 report-status side-band-64k".encode()
    body = b"%04x%b0000" % (len(line) + 4, line) + pack + hashlib.sha1(pack, usedforsecurity=False).digest()
    headers = {**served.bearer(), "Content-Type": "application/x-git-receive-pack-request"}
    _, _, said = served.ask("POST", f"{PATH}/git-receive-pack", body, headers)
    assert b"unpack ok" in said
    assert (b"ok refs/heads/x" in said) == taken, said
    assert (b"makes very much for a small object" in said) != taken


@pytest.mark.parametrize("entries", [large_object, large_delta])
@pytest.mark.parametrize("kept", ["100", "1"], ids=["unpacked", "kept"])
def test_object_is_bounded_by_what_it_becomes(served: Served, entries: Callable[[], list[bytes]], kept: str) -> None:
    """A small pack whose object becomes a large one is refused, whether git unpacks it or keeps it; nothing stays."""
    served.site.bare("config", "receive.unpackLimit", kept)
    made = entries()
    pack = b"PACK" + struct.pack(">II", 2, len(made)) + b"".join(made)
    line = f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status".encode()
    body = b"%04x%b0000" % (len(line) + 4, line) + pack + hashlib.sha1(pack, usedforsecurity=False).digest()
    assert len(body) < 2 * MIB
    headers = {**served.bearer(), "Content-Type": "application/x-git-receive-pack-request"}
    before = peak(served)
    _, _, said = served.ask("POST", f"{PATH}/git-receive-pack", body, headers)
    assert b"unpack ok" not in said
    assert b"unpack" in said
    assert peak(served) - before < 50_000_000
    until("the folder to be removed", lambda: not left(served.site))


@pytest.mark.parametrize("packed", [False, True])
def test_body_is_counted_in_pieces_of_what_it_becomes(packed: bool) -> None:
    """However small the pieces that come, those that go on are bounded, and so is their sum."""
    data = b"x" * 1_000_000
    sent = gzip.compress(data) if packed else data
    whole = cgi.UnpackedBody(1_000_000, packed=packed)
    starts = range(0, len(sent), 1000)
    got = [p for at in starts for p in whole.pieces(sent[at : at + 1000], last=at == starts[-1])]
    assert b"".join(got) == data
    assert max(map(len, got)) <= cgi.CHUNK_BYTES
    with pytest.raises(cgi.GitRefusal, match="is larger than 999,999 bytes"):
        list(cgi.UnpackedBody(999_999, packed=packed).pieces(sent, last=True))


def test_packed_body_is_read_to_its_end() -> None:
    """All of its members, however they are cut; of one that is not whole never so much that it could pass for whole."""
    data = os.urandom(1000)
    sent = gzip.compress(data[:300]) + gzip.compress(b"") + gzip.compress(data[300:])
    for step in (1, 7, len(sent)):
        whole = cgi.UnpackedBody(1000, packed=True)
        starts = range(0, len(sent), step)
        got = [p for at in starts for p in whole.pieces(sent[at : at + step], last=at == starts[-1])]
        assert b"".join(got) == data
    for bad in (sent[:-1], sent[:-8], sent + b"junk", sent + gzip.compress(b"more")[:10]):
        got = []
        with pytest.raises(cgi.GitRefusal, match="is no gzip, or not whole"):
            got += [*cgi.UnpackedBody(2000, packed=True).pieces(bad, last=True)]
        assert len(b"".join(got)) < len(data)
    assert list(cgi.UnpackedBody(1000, packed=True).pieces(b"", last=True)) in ([], [b""])


def test_packed_body_has_few_members() -> None:
    """Empty ones become nothing that could be counted, and go on for ever."""
    few = gzip.compress(b"") * (cgi.MEMBERS_MAX - 1) + gzip.compress(b"data")
    assert b"".join(cgi.UnpackedBody(1000, packed=True).pieces(few, last=True)) == b"data"
    with pytest.raises(cgi.GitRefusal, match="is no gzip, or not whole"):
        list(cgi.UnpackedBody(1000, packed=True).pieces(gzip.compress(b"") + few, last=True))


@pytest.mark.parametrize("cut", [1, 8])
def test_packed_body_that_is_cut_at_its_end_is_refused(served: Served, cut: int) -> None:
    """Git is not given all of it, so that it does nothing."""
    headers = {**served.bearer(), "Content-Encoding": "gzip", "Git-Protocol": "version=2"}
    headers["Content-Type"] = "application/x-git-upload-pack-request"
    body = gzip.compress(b"0014command=ls-refs\n0000")[:-cut]
    assert served.ask("POST", f"{PATH}/git-upload-pack", body, headers)[0] == 400


def peak(served: Served) -> int:
    """Give the most memory that the daemon has held, in bytes."""
    status = Path(f"/proc/{served.daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


@pytest.mark.parametrize(("packing", "body", "status"), [("br", b"x", 415), ("gzip", b"no gzip at all", 400)])
def test_body_that_is_not_packed_as_it_says_is_refused(served: Served, packing: str, body: bytes, status: int) -> None:
    """Another packing, and a gzip that is none, are the client's mistake."""
    headers = {**served.bearer(), "Content-Encoding": packing, "Content-Type": "application/x-git-upload-pack-request"}
    assert served.ask("POST", f"{PATH}/git-upload-pack", body, headers)[0] == status


@pytest.mark.parametrize("way", ["sends", "trickles", "reads"])
def test_client_that_does_nearly_nothing_loses_its_turn(way: str) -> None:
    """Others wait for it, so it is ended long before the deadline; the program with it."""
    sent: list[Message] = []

    async def receive() -> Message:
        if way == "reads":
            return {"type": "http.request", "body": b"x" * 10_000_000, "more_body": True}
        await asyncio.sleep(0.05 if way == "trickles" else DEADLINE_S)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and way == "reads":
            await asyncio.sleep(DEADLINE_S)

    async def ended() -> None:
        pass

    async def answered() -> bool:
        bounds = cgi.Bounds(1 << 40, DEADLINE_S, 60, 1 << 30, patience_s=0.3)
        command = ["sh", "-c", "printf 'a: b\\r\\n\\r\\n'; exec cat"]
        environment = {"PATH": os.environ["PATH"]}
        return await cgi.answer(
            command, environment, receive, send, bounds,
            packed=False, stopping=asyncio.Event(), ended=ended, heard=lambda _: None,
        )  # fmt: skip

    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert not runner.run(answered())
    assert time.monotonic() - began < DEADLINE_S / 2
    assert sent[0]["type"] == "http.response.start"
    if way == "sends":
        assert sent[0]["status"] == 408


def test_git_of_a_client_is_bounded(served: Served) -> None:
    """Whatever git starts for a client has a limit of memory and of work, and takes its time rather than memory."""
    clone = served.clone(served.first)
    clone.commit({"models/a.yaml": binding("a")})
    hook = served.site.root / "config.git" / "hooks" / "pre-receive"
    hook.write_text(
        f"#!/bin/sh\n{MARK}\nulimit -S -d >&2\nulimit -S -t >&2\ngit config pack.windowMemory >&2\nexit 1\n"
    )
    said = [
        line.removeprefix("remote: ").strip() for line in clone.push().err.splitlines() if line.startswith("remote")
    ]
    assert said[:3] == [str(64 * 1024), "120", "16m"]


def test_24_clones_at_once_wait_for_their_turn(served: Served) -> None:
    """More clients than may use git at a time are all served, one after the other."""
    running = [
        subprocess.Popen(
            ["git", "clone", "--quiet", served.url(served.first), f"clone-{number}"],
            cwd=served.site.folder,
            env=served.site.environment,
            stderr=subprocess.PIPE,
        )
        for number in range(24)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 24, said


def half_a_push(served: Served, token: str = "", length: int = 100_000) -> bytes:
    """Give the beginning of a request that pushes with a token, the first one unless given."""
    return (
        f"POST {PATH}/git-receive-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token or served.first}\r\nConnection: close\r\n"
        f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def key_of(site: Site, person: str) -> str:
    """Give the name of the token that was issued last for a person."""
    issued = [row for row in site.rows("type:key.issued") if row["data"]["agent"] == person]
    return str(issued[-1]["subject"]).partition("/")[2]


def whole_push(clone: Git, old: str, *updates: tuple[str, str, str]) -> bytes:
    """Give the body of a request that pushes what is checked out, on top of `old`, to the refs of `updates`."""
    command = ["git", "pack-objects", "--revs", "--stdout", "-q"]
    asked = f"{clone.head}\n^{old}\n".encode()
    pack = subprocess.run(
        command, cwd=clone.folder, input=asked, env=clone.environment, capture_output=True, check=True
    )
    lines = [" ".join(update).encode() + b"\0 report-status" * (n == 0) for n, update in enumerate(updates)]
    return b"".join(b"%04x%b" % (len(line) + 4, line) for line in lines) + b"0000" + pack.stdout


@pytest.mark.parametrize("branch", ["main", "other"])
def test_push_whose_token_is_revoked_on_its_way_does_not_get_in(served: Served, branch: str) -> None:
    """It was identified when it began; what it brings is on the log only with a token that is in force then."""
    site = served.site
    token = served.token("mallory@example.com")
    clone = served.clone(token)
    old, new = clone.head, clone.commit({"models/a.yaml": binding("a")})
    body = whole_push(clone, old, (old if branch == "main" else "0" * 40, new, f"refs/heads/{branch}"))
    with socket.create_connection(("127.0.0.1", served.daemon.port), timeout=DEADLINE_S) as connection:
        connection.sendall(half_a_push(served, token, len(body)) + body[:40])
        until("git to run", lambda: children(served.daemon))
        site.pai("delete", "key", key_of(site, "mallory@example.com"))
        connection.sendall(body[40:])
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b"ng refs/heads/%b pre-receive hook declined" % branch.encode() in answer
    assert site.bare("for-each-ref", "--contains", old, "--format=%(objectname) %(refname)") == f"{old} refs/heads/main"
    assert site.rows("type:push") == []


def test_token_that_is_revoked_while_its_client_waits_gets_no_turn(served: Served) -> None:
    """Who waits is identified again when the turn has come."""
    token = served.token("mallory@example.com")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(RUNNING_MAX // 2 + 1):
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.daemon.port))))
            connections[-1].sendall(half_a_push(served, token))
            time.sleep(0.05)  # so that the last one is the one that waits
        until("git to run twice", lambda: len(children(served.daemon)) == RUNNING_MAX // 2)
        served.site.pai("delete", "key", key_of(served.site, "mallory@example.com"))
        connections[0].close()
        connections[-1].settimeout(DEADLINE_S)
        assert connections[-1].recv(1000).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_daemon_that_stops_under_half_a_push_says_so_in_order(team: Site, signal_number: signal.Signals) -> None:
    """It ends with 0 and without a stack trace, the client is told, and git and its quarantine are gone."""
    with team.daemon() as daemon:
        served = Served(team, daemon)
        clone = served.clone(served.first)
        old = clone.head
        clone.commit({"junk": os.urandom(50_000)})
        pack = subprocess.run(
            ["git", "pack-objects", "--revs", "--stdout", "-q"],
            cwd=clone.folder,
            input=f"{clone.head}\n^{old}\n".encode(),
            env=clone.environment,
            capture_output=True,
            check=True,
        ).stdout
        line = f"{old} {clone.head} refs/heads/main\0 report-status".encode()
        body = b"%04x%b0000" % (len(line) + 4, line) + pack[: len(pack) // 2]
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
            connection.sendall(half_a_push(served) + body)
            until("git to take it", lambda: left(team))
            sessions = children(daemon)
            daemon.process.send_signal(signal_number)
            assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")
            assert daemon.process.wait(30) == 0
        log = daemon.log
        assert not [each for each in sessions if members(each)]
    assert "Traceback" not in log
    assert "Exception" not in log
    assert left(team) == []


def age(folder: Path, seconds: float) -> None:
    """Make a folder and all in it look so old."""
    for place in (folder, *folder.rglob("*")):
        os.utime(place, (time.time() - seconds,) * 2)


def test_folder_of_a_push_that_was_killed_is_removed(served: Served) -> None:
    """Also if git itself is killed, and cannot tidy up; the next push works."""
    clone = served.clone(served.first)
    clone.commit({"models/a.yaml": binding("a")})
    hook = served.site.root / "config.git" / "hooks" / "pre-receive"
    kept = hook.read_text()
    hook.write_text(f"#!/bin/sh\n{MARK}\nkill -9 $PPID\n")
    assert clone.push().code != 0
    for folder in left(served.site):
        age(folder, DEADLINE + 1)
    hook.write_text(kept)
    assert clone.push().code == 0
    until("the folder to be removed", lambda: not left(served.site))


def test_folders_that_are_left_go_when_no_push_can_be_that_old(team: Site) -> None:
    """What a crash left is removed at the next start; one in which something was written lately stays."""
    old, young = (team.root / "config.git" / "objects" / f"tmp_objdir-incoming-{name}" for name in ("old", "young"))
    for folder in (old, young):
        (folder / "pack").mkdir(parents=True)
        (folder / "pack" / "tmp_pack_x").write_bytes(b"x")
        age(folder, DEADLINE + 1)
    os.utime(young / "pack" / "tmp_pack_x")
    with team.daemon():
        assert (old.exists(), young.exists()) == (False, True)


def blob(text: str) -> str:
    """Give the id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(text), text.encode()), usedforsecurity=False).hexdigest()


def test_push_does_not_wait_for_packing(served: Served) -> None:
    """Git's tidying goes on beside the next push, and is done all the same."""
    repository = served.site.root / "config.git"
    served.site.bare("config", "gc.auto", "1")
    began, go = served.site.folder / "began", served.site.folder / "go"
    hook = repository / "hooks" / "pre-auto-gc"
    hook.write_text(f"#!/bin/sh\ntouch {began}\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    clone = served.clone(served.first)
    texts = (f"text {number}\n" for number in itertools.count())
    sampled = itertools.islice((each for each in texts if blob(each).startswith("17")), 3)  # the folder that git counts
    clone.commit({f"notes/{number}": each for number, each in enumerate(sampled)})
    assert clone.push().code == 0
    assert not go.exists()
    until("packing to begin", began.exists)
    go.touch()


def tracked(site: Site, rest: str) -> None:
    """Have the hook say who comes, and run `rest` as the update hook, right before git moves the branch."""
    hooks = site.root / "config.git" / "hooks"
    text = (hooks / "pre-receive").read_text()
    (hooks / "pre-receive").write_text(text.replace(f"{MARK}", f'touch "{site.folder}/came-$REMOTE_USER"\n{MARK}', 1))
    (hooks / "update").write_text(f"#!/bin/sh\n{rest}\n")
    (hooks / "update").chmod(0o755)


def push(clone: Git) -> subprocess.Popen[bytes]:
    """Begin to push."""
    return subprocess.Popen(
        ["git", "push", "--quiet", "origin", "HEAD:main"],
        cwd=clone.folder,
        env=clone.environment,
        stderr=subprocess.PIPE,
    )


def test_of_two_pushers_of_one_commit_the_one_who_moved_the_branch_is_named(served: Served) -> None:
    """The other is not on the log as one who was let in, and reads that the branch moved."""
    site = served.site
    tracked(site, f'while [ ! -e "{site.folder}/go-$REMOTE_USER" ]; do sleep 0.05; done')
    ann, bea = (served.clone(served.token(f"{name}@example.com"), name) for name in ("ann", "bea"))
    sha = ann.commit({"models/a.yaml": binding("a")})
    bea("fetch", "--quiet", str(ann.folder), "HEAD")
    bea("reset", "--quiet", "--hard", sha)
    with push(ann) as first:
        until("the first to be let in", lambda: site.rows("type:push"))
        with push(bea) as second:
            until("the second to come", (site.folder / "came-bea@example.com").exists)
            (site.folder / "go-ann@example.com").touch()
            assert first.wait(60) == 0
            until("the commit to be in force", lambda: site.state().revision == sha)
            (site.folder / "go-bea@example.com").touch()
            assert second.wait(60) != 0
            assert second.stderr is not None
            assert b"moved meanwhile" in second.stderr.read()
    assert [row["actor"] for row in site.rows("type:push")] == ["ann@example.com"]
    assert [row["data"]["pusher"] for row in site.rows(f"revision:{sha}", "type:revision")] == ["ann@example.com"]


def test_push_whose_commit_another_puts_on_the_branch_by_file_is_withdrawn(served: Served) -> None:
    """Git says that it did not move the branch, though the branch is where the push was to move it."""
    site = served.site
    tracked(site, f'while [ ! -e "{site.folder}/go" ]; do sleep 0.05; done')
    site.pai("suspend", "-m", "test")
    ann = served.clone(served.token("ann@example.com"))
    sha = ann.commit({"models/a.yaml": binding("a")})
    with push(ann) as pushing:
        until("the push to be let in", lambda: site.rows("type:push"))
        until("its objects to be there", lambda: site.bare.run("cat-file", "-e", sha).code == 0)
        site.bare("update-ref", "refs/heads/main", sha)
        (site.folder / "go").touch()
        assert pushing.wait(60) != 0
    assert [row["type"] for row in site.rows("type:push")] == ["push.admitted.v1", "push.withdrawn.v1"]
    site.pai("resume")
    until("the commit to be in force", lambda: site.state().revision == sha)
    (row,) = site.rows(f"revision:{sha}", "type:revision")
    assert "pusher" not in row["data"] or not row["data"]["pusher"]


def test_push_that_died_after_it_was_let_in_keeps_nobody_out(served: Served) -> None:
    """The next pusher of the same commit moves the branch, and is the one who is named."""
    site = served.site
    tracked(site, 'test "$REMOTE_USER" != ann@example.com || kill -9 $PPID')
    ann, bea = (served.clone(served.token(f"{name}@example.com"), name) for name in ("ann", "bea"))
    sha = ann.commit({"models/a.yaml": binding("a")})
    bea("fetch", "--quiet", str(ann.folder), "HEAD")
    bea("reset", "--quiet", "--hard", sha)
    assert ann.push().code != 0
    assert bea.push().code == 0
    until("the commit to be in force", lambda: site.state().revision == sha)
    assert [row["data"]["pusher"] for row in site.rows(f"revision:{sha}", "type:revision")] == ["bea@example.com"]


def test_replaced_object_that_is_there_keeps_nobody_out(team: Site) -> None:
    """Pushes work beside a ref that replaces the tip, over HTTP and, once the repository is served, by file."""
    site = team
    tip = site.bare("rev-parse", "main")
    site.bare.run("config", "--unset", "core.useReplaceRefs")  # as in those that were made before
    site.bare("update-ref", f"refs/replace/{tip}", tip)
    with site.daemon() as daemon:
        served = Served(site, daemon)
        clone = served.clone(served.first)
        clone.commit({"models/a.yaml": binding("a")})
        done = clone.push()
        assert done.code == 0, done.err
        by_file = site.clone()
        by_file.commit({"models/b.yaml": binding("b")})
        assert by_file.push().code == 0
        assert site.bare("config", "core.useReplaceRefs") == "false"


def test_idle_connections_of_one_token_keep_no_other_out(served: Served) -> None:
    """They have half of the turns and half of the places to wait in, and more of them are told so."""
    alice = served.token("alice@example.com")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(RUNNING_MAX // 2 + WAITING_MAX // 2 + 1):
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.daemon.port))))
            connections[-1].sendall(half_a_push(served))
        refused, _, _ = select.select(connections, [], [], cgi.PATIENCE_S / 2)
        assert [each.recv(1000)[:13] for each in refused] == [b"HTTP/1.1 503 "]
        began = time.monotonic()
        assert served.clone(alice).head
        assert time.monotonic() - began < cgi.PATIENCE_S / 2


def test_program_ends_however_slowly_its_client_reads() -> None:
    """What it writes is kept, within bounds, so that others need not wait for its client."""

    async def answered() -> None:
        told, sent = asyncio.Event(), 0
        size = 5 * MIB

        async def receive() -> Message:
            await told.wait()
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))
            if message["type"] == "http.response.body":
                await asyncio.sleep(DEADLINE_S)

        async def ended() -> None:
            told.set()

        bounds = cgi.Bounds(1 << 20, DEADLINE_S, 60, 1 << 30, kept_bytes=size)
        command = ["sh", "-c", f"printf 'a: b\\r\\n\\r\\n'; head -c {size} /dev/zero"]
        environment = {"PATH": os.environ["PATH"]}
        await cgi.answer(
            command, environment, receive, send, bounds,
            packed=False, stopping=asyncio.Event(), ended=ended, heard=lambda _: None,
        )  # fmt: skip
        assert told.is_set()
        assert sent <= cgi.CHUNK_BYTES

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(answered())


def test_push_that_git_refuses_after_it_was_admitted_is_withdrawn(served: Served) -> None:
    """Whoever brings its commit in by another way is not taken for its pusher; the log alone says so."""
    site = served.site
    clone = served.clone(served.token("mallory@example.com"))
    assert clone.push("HEAD:refs/heads/other").code == 0
    sha = clone.commit({"models/a.yaml": binding("a")})
    refused = clone.push("--atomic", "HEAD:refs/heads/main", "HEAD:refs/heads/other/x")
    assert refused.code != 0
    assert [row["type"] for row in site.rows("type:push")] == ["push.admitted.v1", "push.withdrawn.v1"]
    assert {row["actor"] for row in site.rows("type:push")} == {"mallory@example.com"}
    assert site.state().pushes == ()
    assert "push.withdrawn" in site.pai("log", "type:push").out
    assert clone.run("push", "--quiet", str(site.root / "config.git"), "HEAD:main").code == 0
    until("the commit to be in force", lambda: site.state().revision == sha)
    (row,) = site.rows(f"revision:{sha}", "type:revision")
    assert "pusher" not in row["data"] or not row["data"]["pusher"]


@pytest.mark.parametrize("kind", ["PGP", "SSH"])
def test_signed_push_that_nobody_offered_starts_no_program(team: Site, kind: str) -> None:
    """Git would have the signature checked, with what lies in the home folder of the daemon's git."""
    programs = team.folder / "programs"
    programs.mkdir()
    for name in ("gpg", "ssh-keygen"):
        (programs / name).write_text(f'#!/bin/sh\ntouch "{team.folder}/ran"\n')
        (programs / name).chmod(0o755)
    with team.daemon(env={"PATH": f"{programs}:{team.environment['PATH']}"}) as daemon:
        served = Served(team, daemon)
        clone = served.clone(served.first)
        old = clone.head
        clone.commit({"models/a.yaml": binding("a")})
        update = f"{old} {clone.head} refs/heads/main\n"
        head = "certificate version 0.1\npusher A <a@example.com> 1700000000 +0000\nnonce x\n\n"
        signed = f"{head}{update}-----BEGIN {kind} SIGNATURE-----\n\niQAAAA==\n-----END {kind} SIGNATURE-----\n"
        lines = ["push-cert\0 report-status\n", *signed.splitlines(keepends=True), "push-cert-end\n"]
        pack = whole_push(clone, old).removeprefix(b"0000")
        body = b"".join(b"%04x%b" % (len(line) + 4, line.encode()) for line in lines) + b"0000" + pack
        headers = {**served.bearer(), "Content-Type": "application/x-git-receive-pack-request"}
        _, _, said = served.ask("POST", f"{PATH}/git-receive-pack", body, headers)
    assert b"unpack ok" in said, said
    assert not (team.folder / "ran").exists()
