"""What an inline image costs at Google's models, by its width and height alone."""

from __future__ import annotations

import json
from base64 import b64encode
from struct import pack
from typing import Any

import pytest

from reconciler.gateway.body import Body
from reconciler.gateway.calls import Needs
from reconciler.gateway.judging.pictures import HEAD_CHARS, SEGMENTS_MAX, TILE_TOKENS, TOKENS_MAX, tokens
from reconciler.providers import PROVIDERS
from tests.support_judging import NEEDS

NOTE = b"\xff\xe1" + pack(">H", 30_002) + bytes(30_000)
"""What a camera notes in front of a JPEG's size."""


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + pack(">II", width, height) + bytes(40)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + pack("<HH", width, height) + bytes(40)


def jpeg(width: int, height: int, notes: int = 2) -> bytes:
    return b"\xff\xd8" + NOTE * notes + b"\xff\xc2\0\x11\x08" + pack(">HH", height, width) + bytes(40)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + bytes(4) + rest + bytes(40)


def webp_lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + pack("<HH", width | 0x4000, height))


def webp_lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + pack("<I", width - 1 | height - 1 << 14))


def webp_extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def box(kind: bytes, *rest: bytes) -> bytes:
    inner = b"".join(rest)
    return pack(">I", 8 + len(inner)) + kind + inner


def heif(width: int, height: int, *more: bytes) -> bytes:
    """Give one of tiles, as telephones make them, behind what has no meaning."""
    sizes = [
        box(b"ispe", bytes(4), pack(">II", *size)) for size in ((min(width, 64), min(height, 64)), (width, height))
    ]
    properties = box(b"iprp", box(b"ipco", box(b"hvcC", bytes(40)), *sizes, *more))
    return box(b"ftyp", b"heic", bytes(4)) + box(b"free", bytes(9000)) + box(b"meta", bytes(4), properties) + bytes(40)


FORMATS = (png, gif, jpeg, webp_lossy, webp_lossless, webp_extended, heif)


def said(image: bytes) -> str:
    return b64encode(image).decode()


def asked(provider: str, model: str, *images: bytes) -> tuple[int, Needs]:
    """Give a body's size, and what it needs."""
    urls = [f"data:image/png;base64,{said(image)}" for image in images]
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    return len(body), NEEDS["chat"](Body(body), PROVIDERS[provider], model)


@pytest.mark.parametrize("image", FORMATS)
@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [
        (540, 360, 7),
        (960, 540, 7),
        (8000, 8000, 122),
        (4032, 3024, 25),
        (384, 384, 1),
        (385, 384, 5),
        (3000, 30, 301),
        (30, 3000, 301),
        (9000, 1, 9001),
    ],
)
def test_image_costs_the_tiles_that_its_sides_make(image: Any, width: int, height: int, tiles: int) -> None:
    """As recorded (540 by 360 pixels: 1,806 tokens) and as documented, in each format, whatever it says it is."""
    text = said(image(width, height))
    broken = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for written in (text, text.rstrip("="), broken, f"data:image/heic;base64,{text}", f"DATA:;x=y;BASE64,{text}"):
        assert tokens(written) == tiles * TILE_TOKENS


def test_size_shows_behind_whatever_programs_note() -> None:
    """An image whose size does not show is refused: some programs note a megabyte."""
    assert tokens(said(jpeg(540, 360, notes=60))) == 7 * TILE_TOKENS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "????",
        "data:image/png,%89PNG",
        said(png(0, 5)),
        said(png(5, 5)[:18]),
        said(b"\0" + png(5, 5)),
        said(b"\xff\xd8" + b"\xff" * 99),
        said(b"\xff\xd8\xff\xda\0\x02" + jpeg(5, 5)[2:]),
        said(jpeg(5, 5, notes=SEGMENTS_MAX)),
        said(jpeg(5, 0)),
        said(webp(b"ALPH", bytes(9))),
        said(heif(0, 5)),
        said(heif(5, 5, box(b"clap", bytes(32)))),
        said(heif(5, 5)[:9100]),
        said(heif(5, 5, box(b"free", b"ispe" * 1000))),
        said(box(b"ftyp", b"heic", bytes(4)) + box(b"moov", box(b"meta", heif(5, 5)))),
        said(box(b"ftyp", b"avif", bytes(4)) + box(b"meta", b"isp")),
        said(box(b"ftyp", b"avif", bytes(4)) + box(b"free") * SEGMENTS_MAX + heif(5, 5)),
    ],
)
def test_size_that_does_not_show_is_none(text: str) -> None:
    """Nothing is guessed, and nobody looks for long."""
    assert tokens(text) is None


def test_no_size_is_beyond_what_can_be_reserved() -> None:
    """A PNG may say that it has four thousand million pixels on a side."""
    assert tokens(said(png(2**32 - 1, 1))) == TOKENS_MAX
    assert len(said(png(1, 1))) > HEAD_CHARS


@pytest.mark.parametrize(
    ("provider", "model"), [("gemini", "gemini-2.0-flash"), ("openrouter", "google/gemini-2.0-flash-001")]
)
def test_narrow_image_is_reserved_as_what_it_costs_at_googles_models(provider: str, model: str) -> None:
    """Its 90 bytes would pass a day many times over."""
    size, found = asked(provider, model, png(3000, 30), png(100, 100))
    assert size + found.extra > 301 * TILE_TOKENS + PROVIDERS[provider].image(model)
    assert not found.uncertain


def test_image_whose_size_does_not_show_is_refused_at_googles_models() -> None:
    """Their count takes any image for one tile."""
    assert asked("gemini", "gemini-2.0-flash", png(9, 9), b"ftypheic")[1].unbounded
    for provider, model in (("openai", "gpt-4o"), ("anthropic", "claude-opus-4-6"), ("openrouter", "openai/gpt-4o")):
        size, found = asked(provider, model, png(3000, 30), b"ftypheic")
        assert not found.unbounded
        assert size + found.extra < 3 * PROVIDERS[provider].image(model) + 2048
