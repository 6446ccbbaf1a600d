"""What is too much about the objects of a pack, told by their entries alone."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest

from reconciler.source import chains
from reconciler.source.chains import PACKED_BYTES, excess
from tests.integration.test_git_door import back_by, entry, varint

NOTHING = b"\0\0\0\xff\xff"
"""A block of deflate that gives nothing."""
SIZE = 1 << 20
TEXT = hashlib.shake_128(b"").digest(SIZE)
BASE = entry(3, SIZE, zlib.compress(TEXT))


def loosely(data: bytes, blocks: int) -> bytes:
    """Pack with so many blocks in front that give nothing."""
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packing.compress(data) + packing.flush()
    return b"\x78\x9c" + NOTHING * blocks + packed + struct.pack(">I", zlib.adler32(data))


def delta(size: int, instructions: bytes, blocks: int = 0) -> bytes:
    """Give an entry that makes so many bytes of an object of SIZE behind which it stands."""
    data = varint(SIZE) + varint(size) + instructions
    return entry(6, len(data), loosely(data, blocks), back_by(len(BASE)))


FIRST = delta(4, b"\x90\x04")
PACKS = {
    "incompressible": ([BASE], ""),
    "not compressed": ([entry(3, SIZE, zlib.compress(TEXT, 0))], ""),
    "few blocks": ([entry(3, 4, loosely(b"some", PACKED_BYTES // 10))], ""),
    "blocks": ([entry(3, 4, loosely(b"some", 8 * SIZE))], "packed data are much longer"),
    "small one of a large one": ([BASE, FIRST], ""),
    "size out of sight": ([BASE, delta(4, b"\x90\x04", 210)], "makes very much"),
}


@pytest.mark.parametrize("kind", PACKS)
def test_what_takes_long_to_be_unpacked_is_told(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed bytes that give nothing take as long as others; a delta that hides what it makes is taken for dear."""
    monkeypatch.setattr(chains, "UNPACKED_S", 0.01)
    entries, said = PACKS[kind]
    pack = b"PACK" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    (tmp_path / "pack-made.pack").write_bytes(pack + hashlib.sha1(pack, usedforsecurity=False).digest())
    subprocess.run(["git", "index-pack", tmp_path / "pack-made.pack"], check=True, capture_output=True)
    found = excess(tmp_path)
    assert said in found.said if found is not None else not said
    assert bool(said) == (found is not None)


def test_pack_of_very_many_objects_takes_little_memory_and_no_long_call(tmp_path: Path) -> None:
    """A table of 200,000 places was one call of 0.1 s, in which everyone waited; their order is asked for instead."""
    number = 20_000
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path], check=True)
    blobs = b"".join(b"blob\ndata %d\n%s\n" % (len(b"%d" % n), b"%d" % n) for n in range(number))
    importing = ["git", "-C", tmp_path, "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet"]
    subprocess.run(importing, input=blobs, check=True)
    tracemalloc.start()
    try:
        assert excess(tmp_path / "objects" / "pack") is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number * 50 < peak < number * 110, peak / number


def test_pack_without_objects_has_no_chain(tmp_path: Path) -> None:
    """Git sends one where the other side has everything."""
    pack = subprocess.run(["git", "pack-objects", "--stdout"], input=b"", capture_output=True, check=True).stdout
    (tmp_path / "p.pack").write_bytes(pack)
    subprocess.run(["git", "index-pack", str(tmp_path / "p.pack")], capture_output=True, check=True)
    assert list(tmp_path.glob("*.idx"))
    assert excess(tmp_path) is None
