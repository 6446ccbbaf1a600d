"""Verifies an export (FOLDER VKEY) or a proof (FILE VKEY ENTRY_FILE) of Pai's log: says ok, or raises what is wrong.

Written from docs/log-format.md alone; shares no code with Pai.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256


class Bad(Exception):
    """What does not hold."""


def need(condition: bool, message: str) -> None:
    """Complain unless the condition holds."""
    if not condition:
        raise Bad(message)


def unbase64(text: str) -> bytes:
    """Read base64 in its only spelling."""
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "this is not base64")
    return data


def sha(*parts: bytes) -> bytes:
    """Hash a leaf (behind 0x00) or a node (behind 0x01)."""
    return hashlib.sha256(b"".join(parts)).digest()


def root(hashes: list[bytes]) -> bytes:
    """Give the root over hashes of one level, as RFC 6962 defines it."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return sha(b"\x01", root(hashes[:k]), root(hashes[k:]))


def checkpoint(note: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Give origin, size and root that a note says, once the key's signature holds."""
    name, key_id, key = vkey.strip().split("+", 2)
    algorithm_and_key = unbase64(key)
    digest = hashlib.sha256(name.encode() + b"\n" + algorithm_and_key).digest()[:4]
    need(algorithm_and_key[:1] == b"\x01" and digest.hex() == key_id, "the verifier key does not hold together")
    text, _, signatures = note.decode().rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        mark, signer, encoded = line.split(" ")
        data = unbase64(encoded)
        if mark == "—" and signer == name and data[:4] == digest:
            Ed25519PublicKey.from_public_bytes(algorithm_and_key[1:]).verify(data[4:], text.encode())  # or it raises
            origin, size, encoded_root = text.splitlines()
            need(origin == name and str(int(size)) == size, "the checkpoint is of another log")
            need(note == (text + "\n" + signatures).encode(), "the note is not of one piece")
            return origin, int(size), unbase64(encoded_root)
    raise Bad("no signature of this key")


def spelled(n: int) -> str:
    """Spell a tile's number."""
    digits = f"{n:0{(len(str(n)) + 2) // 3 * 3}d}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join(["x" + group for group in groups[:-1]] + groups[-1:])


def verify_export(folder: Path, vkey: str) -> int:
    """Verify a whole export; give the number of its events. Raises Bad."""
    need((folder / "vkey").read_bytes() == f"{vkey.strip()}\n".encode(), "the export's key is another one")
    origin, size, expected = checkpoint((folder / "checkpoint").read_bytes(), vkey)
    known = {"checkpoint", "vkey"}

    def file(kind: str, n: int, width: int = WIDTH) -> bytes:
        name = f"tile/{kind}/{spelled(n)}" + ("" if width == WIDTH else f".p/{width}")
        known.add(name)
        need((folder / name).is_file(), f"{name} is missing")
        return (folder / name).read_bytes()

    level: list[bytes] = []
    last = ("", "")
    for first in range(0, size, WIDTH):
        width = min(WIDTH, size - first)
        data, at = file("entries", first // WIDTH, width), 0
        for position in range(first, first + width):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length] if length else file("large", position)
            at += 2 + length
            event = json.loads(entry)
            need(last < (event["time"], event["id"]), f"position {position} is out of order")
            last = (event["time"], event["id"])
            if position == 0:
                need(event["data"] == {"origin": origin, "vkey": vkey.strip()}, "the first event names another key")
            level.append(sha(b"\x00", entry))
        need(at == len(data), f"the bundle of position {first} is not of one piece")
    need(bool(level) and root(level) == expected, "the events are not those that the checkpoint vouches for")
    number = 0
    while level:
        for n in range(0, len(level), WIDTH):
            tile = level[n : n + WIDTH]
            need(file(str(number), n // WIDTH, len(tile)) == b"".join(tile), f"tile {number}/{n // WIDTH} is wrong")
        level = [root(level[n : n + WIDTH]) for n in range(0, len(level) // WIDTH * WIDTH, WIDTH)]
        number += 1
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    need(files == known, f"files that do not belong there: {sorted(files - known)}")
    return size


def verify_proof(proof: str, vkey: str, entry: bytes) -> int:
    """Verify that an event is in the log; give its position. Raises Bad."""
    head, _, note = proof.partition("\n\n")
    first, index, *lines = head.split("\n")
    need(first == "c2sp.org/tlog-proof@v1" and index.startswith("index "), "this is no proof")
    position = int(index[6:])
    _, size, expected = checkpoint(note.encode(), vkey)
    need(position < size, "the checkpoint does not cover the position")
    i, rest, found = position, size - 1, sha(b"\x00", entry)
    for line in lines:
        step = unbase64(line)
        need(rest > 0, "the path is too long")
        if i & 1 or i == rest:
            found = sha(b"\x01", step, found)
            while i and not i & 1:
                i, rest = i >> 1, rest >> 1
        else:
            found = sha(b"\x01", found, step)
        i, rest = i >> 1, rest >> 1
    need(rest == 0 and found == expected, "the path does not lead to the root")
    return position


if __name__ == "__main__":
    path, key, *rest = sys.argv[1:]
    done = (
        verify_proof(Path(path).read_text(), key, Path(rest[0]).read_bytes())
        if rest
        else verify_export(Path(path), key)
    )
    sys.stdout.write(f"ok: {done}\n")
