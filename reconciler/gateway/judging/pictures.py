"""How large an inline image is, as the head of its file says, and what Google's models may charge for it.

Google cuts an image into squares whose side is two thirds of its shorter one, and charges each of them and the whole:
a narrow one costs more than any other, however few bytes it has. It also says that squares have at most 768 pixels on
a side: the dearer reading counts. Other providers scale images into bounds first.
Pure. What an image takes to be looked at is bounded; of one that is not understood the size does not show.

https://ai.google.dev/gemini-api/docs/image-understanding; recorded: 540 by 360 pixels are 1,806 tokens.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from struct import unpack_from
from typing import Final

TILE_TOKENS: Final = 258
SMALL: Final = 384
"""Pixels: an image that has no more on either side is one tile."""
TILE_MAX: Final = 768
TOKENS_MAX: Final = 10**9
HEAD_CHARS: Final = 64
"""Of base64, in which most formats say their size."""
JPEG_CHARS: Final = (4 * 1024, 256 * 1024, 8 * 1024 * 1024)
"""In which a JPEG, or a HEIF, says it, and at most: behind what cameras and programs note."""
SEGMENTS_MAX: Final = 128

PLACES_MAX: Final = 1_000
"""Sizes in the box with the properties of an image; what telephones make has some tens."""
_ISPE = re.compile(rb"ispe")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"


def tokens(data: str) -> int | None:
    """Give what an image in base64, or in a data: URL, may cost at Google's models; None if that does not show."""
    start = 0
    if data[:5].lower() == "data:":
        start = data.find(",") + 1  # and no copy of what may be long
        if data[max(start - 8, 0) : start].lower() != ";base64,":
            return None
    sizes = _sizes(data, start)
    return max(map(_price, sizes)) if sizes and all(map(all, sizes)) else None


def _price(size: tuple[int, int]) -> int:
    if max(size) <= SMALL:
        return TILE_TOKENS
    side = max(1, min(size) * 2 // 3)
    width, height = (-(-pixels // min(side, TILE_MAX)) for pixels in size)
    return min(TOKENS_MAX, (width * height + 1) * TILE_TOKENS)


def _sizes(data: str, start: int) -> list[tuple[int, int]]:
    """Read the width and the height of an image from `start` on, in any order; several if it may be of any of them."""
    head = _unpacked(data[start : start + HEAD_CHARS])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return [unpack_from(">II", head, 16)]
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return [unpack_from("<HH", head, 6)]
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    read = _heif if head[4:8] == b"ftyp" else _jpeg if head.startswith(b"\xff\xd8") else None
    return (
        next(filter(None, (read(_unpacked(data[start : start + chars])) for chars in JPEG_CHARS)), []) if read else []
    )


def _unpacked(text: str) -> bytes:
    """Unpack the beginning of a text in base64; nothing if it is none."""
    letters = text.encode("ascii", "replace").translate(_URL_SAFE, _BLANKS).rstrip(b"=")
    try:
        return a2b_base64(letters[: len(letters) // 4 * 4], strict_mode=True)
    except ValueError:
        return b""


def _webp(head: bytes) -> list[tuple[int, int]]:
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", head, 26)
        return [(width & 0x3FFF, height & 0x3FFF)]
    if kind == b"VP8L" and head[20] == 0x2F:
        (bits,) = unpack_from("<I", head, 21)
        return [((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)]
    if kind == b"VP8X":
        return [(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)]
    return []


def _jpeg(head: bytes) -> list[tuple[int, int]]:
    """Go from one segment to the next until one says the size: an SOF (ITU T.81, table B.1)."""
    at = 2
    for _ in range(SEGMENTS_MAX):
        if len(head) < at + 9 or head[at] != 0xFF:
            return []
        marker = head[at + 1]
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA:
            return []
        if marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return [unpack_from(">HH", head, at + 5)]
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return []


def _heif(head: bytes) -> list[tuple[int, int]]:
    """Go from one box to the next until one has the properties of images, and read all sizes in it (ISO 23008-12)."""
    at = 0
    for _ in range(SEGMENTS_MAX):
        if len(head) < at + 8:
            return []
        size, kind = int.from_bytes(head[at : at + 4]), head[at + 4 : at + 8]
        box = head[at : at + size]
        if size < 8 or len(box) < size or kind == b"moov":  # which is a film
            return []
        if kind == b"meta":
            if box.count(b"ispe") > PLACES_MAX:
                return []
            found = [place.start() for place in _ISPE.finditer(box) if len(box) >= place.start() + 16]
            return [] if b"clap" in box else [unpack_from(">II", box, place + 8) for place in found]  # it cuts off
        at += size
    return []
