"""A pusher at the git door, and a remote that the daemon follows: what is small on the wire and large when unpacked.

A push is written by hand: a pack of one object whose data inflate, or whose delta repeats; or made by git: trees that
name each other, so that few objects are very many long paths. All of it has to be refused.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.attacks_bombs import deflated, gzipped
from benchmarks.attacks_doors import _status
from benchmarks.attacks_site import Place, answered, connected, head
from benchmarks.attacks_told import WRONG, Seen, Told, again, told
from benchmarks.load import HOST
from benchmarks.site import environment

BOMB = 450 * 1024 * 1024
CLONES, HALF_SENT = 24, 24
WIDE = 316
"""Entries of each of two folders in a row: together 100,000 paths."""
NAME, DEPTH = 250, 15
"""Length of a folder's name, and folders in a row: paths of 3.9 kB."""
_BLOB, _OFS_DELTA = 3, 6
_ZERO = "0" * 40


def _authorized(place: Place) -> str:
    import base64

    return "authorization: Basic " + base64.b64encode(f"pusher:{place.token}".encode()).decode()


def _entry(kind: int, size: int, data: bytes, offset: bytes = b"") -> bytes:
    """Write a pack's entry: its kind and unpacked size, and the packed data (gitformat-pack)."""
    first, size = kind << 4 | size & 15, size >> 4
    sizes = []
    while size:
        sizes.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes([*sizes, first]) + offset + data


def _pack(*entries: bytes) -> bytes:
    body = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _command(pack: bytes) -> bytes:
    line = f"{_ZERO} {'1' * 40} refs/heads/attack\0 report-status".encode()
    return b"%04x" % (len(line) + 4) + line + b"0000" + pack


def _large_object() -> tuple[bytes, str]:
    """A pack of 440 kB with one object of 450 MiB."""
    return _command(_pack(_entry(_BLOB, BOMB, deflated([(b"\0" * (1 << 20), BOMB >> 20)])))), "identity"


def _large_delta() -> tuple[bytes, str]:
    """A pack of one object of 1 MiB, and a delta that is 450 copies of it."""
    base = 1 << 20
    entry = _entry(_BLOB, base, zlib.compress(b"\0" * base))

    def varint(number: int) -> bytes:
        out = b""
        while number > 0x7F:
            out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
        return out + bytes([number])

    copy = bytes([0x80 | 0x40, 1 << 4])  # 0x100000 bytes from 0: size byte 3 is 0x10
    delta = varint(base) + varint((BOMB >> 20) * base) + copy * (BOMB >> 20)
    back, offset = len(entry), b""
    offset = bytes([back & 0x7F])
    while back := back >> 7:
        back -= 1
        offset = bytes([0x80 | back & 0x7F]) + offset
    return _command(_pack(entry, _entry(_OFS_DELTA, len(delta), zlib.compress(delta), offset))), "identity"


def _packed_body() -> tuple[bytes, str]:
    """A body of gzip that becomes a pack of 450 MiB which is not packed itself."""
    stored = deflated([(b"\0" * (1 << 20), BOMB >> 20)], 0)
    body = _command(_pack(_entry(_BLOB, BOMB, stored)))
    return gzip.compress(body, 1), "gzip"


def post(body: Callable[[], tuple[bytes, str]], place: Place) -> Told:
    """Post a body to receive-pack again and again, two at a time."""
    data, coding = body()
    kind = "content-type: application/x-git-receive-pack-request"
    lines = (_authorized(place), kind, f"content-encoding: {coding}", f"content-length: {len(data)}")
    request = head("POST", "/git/config.git/git-receive-pack", *lines) + data

    def once(_: float, seen: Seen) -> None:
        with connected(place.admin, 20) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(request)
            answer = answered(connection)
            taken = re.search(rb"\bok refs/heads/attack", answer)
            seen[f"{WRONG}taken" if taken else _status(answer)] += 1

    return again(place.seconds, 2, once)


def many_paths(place: Place) -> Told:
    """Push a commit of 100,000 paths of 3.9 kB, each a wrong manifest, until the time is up."""
    folder = Path(tempfile.mkdtemp(prefix="pai-attack-"))
    try:
        url = f"http://pusher:{place.token}@{HOST}:{place.admin}/git/config.git"
        _git("clone", "--quiet", url, str(folder / "clone"))
        run = partial(_git, cwd=folder / "clone")
        blob = run("hash-object", "-w", "--stdin", data="apiVersion: nothing/v1\nkind: Nothing\n").strip()
        tree = run("mktree", data="".join(f"100644 blob {blob}\tf{number}.yaml\n" for number in range(WIDE))).strip()
        for number in range(DEPTH):
            tree = run("mktree", data=f"040000 tree {tree}\t{chr(97 + number) * NAME}\n").strip()
        tree = run("mktree", data="".join(f"040000 tree {tree}\tg{number}\n" for number in range(WIDE))).strip()
        seen: Seen = Counter()
        deadline = time.monotonic() + place.seconds
        number = 0
        while time.monotonic() < deadline:
            number += 1
            commit = run("commit-tree", tree, "-p", "HEAD", "-m", f"many paths {number}").strip()
            pushed = run("push", "origin", f"{commit}:main", check=False)
            seen["refused" if "rejected" in pushed else f"{WRONG}{pushed[-60:]}"] += 1
        return told(seen)
    finally:
        shutil.rmtree(folder)


def clones(place: Place) -> Told:
    """Clone 24 times at once: each has to be served in its turn."""
    folder = Path(tempfile.mkdtemp(prefix="pai-attack-"))
    url = f"http://pusher:{place.token}@{HOST}:{place.admin}/git/config.git"
    seen: Seen = Counter()

    def clone(number: int) -> None:
        said = _git("clone", "--quiet", url, str(folder / str(number)), check=False)
        seen["cloned" if (folder / str(number) / ".git").is_dir() else f"{WRONG}{said[-60:]}"] += 1

    threads = [threading.Thread(target=clone, args=(number,)) for number in range(CLONES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(place.seconds + 10)
    shutil.rmtree(folder, ignore_errors=True)
    return told(seen)


def half_sent(place: Place) -> Told:
    """Send half of a push on 24 connections, wait and leave: nothing of it may stay in the repository."""
    body = _command(_pack(_entry(_BLOB, 1 << 20, zlib.compress(os.urandom(1 << 20)))))
    kind = "content-type: application/x-git-receive-pack-request"
    request = head("POST", "/git/config.git/git-receive-pack", _authorized(place), kind, f"content-length: {len(body)}")
    seen: Seen = Counter()
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_SENT):
            connection = stack.enter_context(connected(place.admin, 5))
            with contextlib.suppress(OSError):
                connection.sendall(request + body[: len(body) // 2])
                seen["half sent"] += 1
        time.sleep(place.seconds / 2)
    time.sleep(place.seconds / 2)
    left = list((place.workspace / "config.git" / "objects").glob("tmp_objdir-*"))
    seen[f"{WRONG}quarantine folders left"] += len(left)
    return told(seen)


def wait_for_fetches(place: Place) -> Told:
    """Wait while the daemon fetches from the malicious remote."""
    time.sleep(place.seconds)
    return Told("the daemon asked the remote")


def _git(*words: str, cwd: Path | None = None, data: str = "", check: bool = True) -> str:
    done = subprocess.run(
        ("git", *words), cwd=cwd, env=environment(), input=data, capture_output=True, text=True, check=False, timeout=60
    )
    assert not check or not done.returncode, done.stderr
    return done.stdout + done.stderr


class _Remote(http.server.BaseHTTPRequestHandler):
    """Answers what git asks first with a bomb."""

    body = b""

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("content-type", "application/x-git-upload-pack-advertisement")
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def remote() -> Iterator[str]:
    """Serve a remote whose first answer is 1 MB of gzip that becomes 1 GiB of branches, until the block ends."""
    begin = b"001e# service=git-upload-pack\n0000"
    line = b"003d" + b"1" * 40 + b" refs/heads/bbbbb\n"
    _Remote.body = gzipped([(begin, 1), (line * ((1 << 20) // len(line)), 1024)])
    server = http.server.ThreadingHTTPServer((HOST, 0), _Remote)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/config.git"
    finally:
        server.shutdown()
        server.server_close()


ATTACKS: Mapping[str, Callable[[Place], Told]] = {
    "git: packed push of 450 MiB": partial(post, _packed_body),
    "git: object of 450 MiB": partial(post, _large_object),
    "git: delta of 450 MiB": partial(post, _large_delta),
    "git: 100,000 paths of 3.9 kB": many_paths,
    "git: 24 clones at once": clones,
    "git: 24 half-sent pushes": half_sent,
}
