"""The attacks' own parts: what they count as got through, and that a push written by hand is one that git can read."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from pathlib import Path

from benchmarks.attacks import ATTACKS
from benchmarks.attacks_bombs import deflated, gzipped
from benchmarks.attacks_git import _BLOB, _entry, _pack
from benchmarks.attacks_told import WRONG, Seen, told


def test_what_got_through_is_counted_and_the_rest_is_told() -> None:
    """Only what begins so is wrong; the words stay on one line."""
    found = told(Seen({f"{WRONG}answered\ntwice": 2, "401": 7}))
    assert found.wrong == 2
    assert found.text == f"7 401, 2 {WRONG}answered twice"


def test_every_role_attacks() -> None:
    """The list has both ports, bodies, webhooks, providers, pushers and a remote."""
    assert {name.partition(":")[0] for name in ATTACKS} >= {
        "gateway",
        "admin",
        "body",
        "webhooks",
        "provider",
        "git",
        "remote",
    }


def test_pack_written_by_hand_is_read_by_git(tmp_path: Path) -> None:
    """An attack that git cannot read would show nothing."""
    subprocess.run(("git", "init", "--quiet", "--bare", tmp_path), check=True)
    data = b"\0" * 100_000
    done = subprocess.run(
        ("git", "index-pack", "--stdin"),
        cwd=tmp_path,
        input=_pack(_entry(_BLOB, len(data), zlib.compress(data))),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_bombs_unpack_to_what_they_stand_for() -> None:
    """A repeated piece is packed once, and its checksums are right."""
    pieces = [(b"begin", 1), (b"ab" * 1000, 3), (b"end", 1)]
    plain = b"begin" + b"ab" * 3000 + b"end"
    assert gzip.decompress(gzipped(pieces)) == plain
    assert zlib.decompress(deflated(pieces)) == plain
