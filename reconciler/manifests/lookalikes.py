"""Characters that nobody sees, or takes for others: what they are called, so that a message can name them.

Identifiers (names, models, slugs) are ASCII; a character beyond it in one of them is invisible or stands for another.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_BLANKS: Final = "\u115f\u1160\u2800\u3164\uffa0\u034f"
"""Characters that show nothing, though Unicode does not list them as separators."""
_SIGNS: Final = "：，＃｛｝［］＂＇“”„‘’‚«»–—−‐‑‒＊＆！｜＞％＠｀、。؛،"
"""Characters that look like YAML's punctuation."""
_IGNORED: Final = "…"
"""What Pai writes itself where it shortens a text."""
_BEYOND: Final = re.compile(r"[^\x00-\x7f]")


def visible(text: str) -> str:
    """Give a text without the characters that show nothing or only a blank."""
    return _BEYOND.sub(lambda found: "" if is_invisible(found[0]) else found[0], text)


def stumbled_over(text: str) -> str:
    """Find the first character that people, but no parser, take for a blank or for punctuation; "" if there is none."""
    return invisible(text) or next((c for c in text if c in _SIGNS), "")


def invisible(text: str) -> str:
    """Find the first character that shows nothing or only a blank, "" if there is none."""
    return next(filter(is_invisible, _BEYOND.findall(text)), "")


def is_invisible(character: str) -> bool:
    """Tell whether a character beyond ASCII shows nothing or only a blank."""
    category = unicodedata.category(character)
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return category in ("Cf", "Zs", "Zl", "Zp", "Cc") or selector or character in _BLANKS


def foreign(text: str) -> str:
    """Find the first character of an identifier that does not belong there, an invisible one before others."""
    found = [c for c in _BEYOND.findall(text) if c not in _IGNORED]
    return next(filter(is_invisible, found), found[0] if found else "")


def called(character: str) -> str:
    """Name a character: `NO-BREAK SPACE (U+00A0)`, with the character itself if it can be seen."""
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    shown = "" if is_invisible(character) else f"{character} "
    return f"{shown}{name} ({code})" if name else f"{shown}{code}"
