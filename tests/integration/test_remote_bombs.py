"""A remote that answers little and becomes much: git's memory is bounded, and the reason is told."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.errors import SourceUnavailable
from reconciler.forges.api import ForgeApi, ForgeUnavailable
from reconciler.source.chains import CHAIN_MAX
from reconciler.source.credentials import RemoteCredentials
from reconciler.source.mirror import Mirror
from reconciler.source.remote import Remote
from reconciler.source.witness import CHECKPOINTS
from tests.integration.test_git_door import chain
from tests.support import Git, Site
from tests.support_remotes import HttpRemote, bare_remote, clone_of

BECOMES = 600 * 1024 * 1024
MEMORY_BYTES_MAX = 64 * 1024 * 1024


def packed(head: bytes, piece: bytes, size: int) -> bytes:
    """Give a gzip that becomes `head` and then `piece` over and over, up to `size` bytes."""
    packing = zlib.compressobj(1, wbits=31)
    many = piece * (1024 * 1024 // len(piece))
    made = [packing.compress(head)]
    made += [packing.compress(many) for _ in range(size // len(many))]
    return b"".join(made) + packing.flush()


def line(text: bytes) -> bytes:
    """Write one of git's lines."""
    return b"%04x%s" % (len(text) + 4, text)


@contextmanager
def answering(body: bytes, kind: str) -> Iterator[str]:
    """Answer every request with a packed body; give the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_list_of_refs_that_becomes_much_is_refused(tmp_path: Path) -> None:
    """Git ends where its memory does, which is said, with the setting; nothing is fetched and nothing is left."""
    head = line(b"# service=git-upload-pack\n") + b"0000"
    head += line(b"1" * 40 + b" HEAD\0 symref=HEAD:refs/heads/main\n")
    ref = line(b"1" * 40 + b" refs/heads/" + b"x" * 200 + b"\n")
    body = packed(head, ref, BECOMES)
    assert len(body) < 8_000_000
    with answering(body, "application/x-git-upload-pack-advertisement") as address:
        remote = Remote(f"{address}/team.git", address, "main", None, 60.0, 2**30, False)
        mirror = Mirror(tmp_path / "mirror.git", remote, RemoteCredentials, lambda: "2026-11-24T00:00:00Z")
        mirror.prepare()
        with pytest.raises(SourceUnavailable) as caught:
            mirror.fetch()
    assert f"more than {MEMORY_BYTES_MAX:,} bytes of memory" in caught.value.message
    assert "source.max_memory_bytes" in caught.value.hint
    assert not list((tmp_path / "mirror.git").rglob("tmp_*"))


def branch_with_chain(remote: Git, deltas: int) -> str:
    """Give a remote, whose packs may be of any depth, a branch with so many deltas one on another; give its commit."""
    entries = chain(deltas, by_id=False)
    pack = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    place = remote.folder / "objects" / "pack" / "pack-made.pack"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(pack)
    remote("index-pack", str(place))
    remote("config", "pack.depth", "4000")
    listed = remote("verify-pack", "-v", str(place)).splitlines()
    blobs = [words[0] for line in listed if (words := line.split())[1:2] == ["blob"]]
    assert len(blobs) == deltas + 1
    listing = "".join(f"100644 blob {oid}\t{number}.txt\n" for number, oid in enumerate(blobs))
    tree = remote("mktree", stdin=listing)
    commit = remote("commit-tree", tree, "-m", "a chain")
    remote("update-ref", "refs/heads/main", commit)
    return commit


def test_long_chain_of_deltas_is_not_kept(site: Site) -> None:
    """What a remote sends is bounded as what is pushed: an object at the end of a long chain would hold the daemon."""
    remote = bare_remote(site.folder / "srv", site.environment)
    clone_of(remote).pushed({"README": "first\n"})
    with HttpRemote(remote.folder.parent, site.environment) as server:
        followed = Remote(f"{server.url}/team.git", "it", "main", None, 60.0, 2**30, False)
        mirror = Mirror(site.folder / "mirror.git", followed, RemoteCredentials, lambda: "2026-11-24T00:00:00Z")
        mirror.prepare()
        mirror.fetch()
        here = Git(mirror.path, site.environment)
        taken = branch_with_chain(remote, CHAIN_MAX)
        mirror.fetch()
        assert here("rev-parse", "main") == taken
        branch_with_chain(remote, CHAIN_MAX + 1)
        with pytest.raises(SourceUnavailable, match="sends a chain of more than 250 deltas"):
            mirror.fetch()
    assert here("rev-parse", "main") == taken
    assert len(list(mirror.path.glob("objects/pack/*.pack"))) == 2


LOCKABLE = b"""<?xml version="1.0"?><D:multistatus xmlns:D="DAV:"><D:response><D:propstat><D:prop><D:supportedlock>
<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>
</D:supportedlock></D:prop></D:propstat></D:response></D:multistatus>"""
LOCKED = b"""<?xml version="1.0"?><D:prop xmlns:D="DAV:"><D:lockdiscovery><D:activelock><D:owner>x</D:owner>
<D:timeout>Second-600</D:timeout><D:locktoken><D:href>opaquelocktoken:1</D:href></D:locktoken>
</D:activelock></D:lockdiscovery></D:prop>"""


@contextmanager
def files_by_webdav(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve files, and take whatever is put there; give the address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes = b"") -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def do_GET(self) -> None:
            asked.append(self.path)
            place = folder / self.path.partition("?")[0].lstrip("/")
            self.answer(*((200, place.read_bytes()) if place.is_file() else (404,)))

        def __getattr__(self, name: str) -> object:
            if not name.startswith("do_"):
                raise AttributeError(name)
            known = {"do_PROPFIND": (207, LOCKABLE), "do_LOCK": (200, LOCKED)}
            return self.do_GET if name == "do_HEAD" else lambda: self.answer(*known.get(name, (201,)))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_nothing_that_a_server_of_files_sends_at_a_push_is_kept(site: Site) -> None:
    """Git fetches from such a server before it pushes, without check or limit; none of that gets into the mirror."""
    remote = bare_remote(site.folder / "srv", site.environment)
    work = clone_of(remote)
    work.pushed({"README": "first\n"})
    remote("repack", "-a", "-d", "-q")
    remote("update-server-info")
    with files_by_webdav(remote.folder.parent) as (address, asked):
        followed = Remote(f"{address}/team.git", "it", "main", None, 60.0, 2**30, push=True)
        mirror = Mirror(site.folder / "mirror.git", followed, RemoteCredentials, lambda: "2026-11-24T00:00:00Z")
        mirror.prepare()
        here = Git(mirror.path, site.environment)
        here("update-ref", CHECKPOINTS, here("commit-tree", here("mktree", stdin=""), "-m", "a checkpoint"))
        before = sorted(here.folder.glob("objects/**/*"))
        with contextlib.suppress(SourceUnavailable):
            mirror.push_checkpoints()
    assert any(path.endswith(".idx") for path in asked)
    assert sorted(here.folder.glob("objects/**/*")) == before


def test_forge_that_packs_unasked_is_refused_unread() -> None:
    """Packed answers are not asked for; one that comes all the same is not unpacked."""
    with (
        answering(packed(b"", b" ", BECOMES), "application/json") as address,
        contextlib.closing(ForgeApi(address, {}, patience_s=0.0)) as api,
        pytest.raises(ForgeUnavailable, match="ReadError"),
    ):
        api.call("GET", "/x")
