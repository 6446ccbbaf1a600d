"""Finding and masking API keys that someone wrote into text.

The patterns are the published shapes of providers' and code hosts' keys, each with enough length that ordinary names
(`sk-learn-model`, `gemini-key`) do not match. Invariant: what `redact` gives never holds a key that `find` would find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_KEY = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?P<sk>c?sk-[A-Za-z0-9_-]{12,})
      | AIza[A-Za-z0-9_-]{16,}
      | AQ\.[A-Za-z0-9_-]{16,}
      | pak_[A-Za-z0-9_-]{16,}
      | (?:gsk|hf|r8)_[A-Za-z0-9]{30,}
      | (?:xai|pplx)-[A-Za-z0-9]{30,}
      | nvapi-[A-Za-z0-9_-]{60,}
      | glpat-(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{20,}
      | gh[pousr]_[A-Za-z0-9]{16,}
      | github_pat_[A-Za-z0-9_]{20,}
      | xox[a-z]-[A-Za-z0-9-]{10,}
      | (?:AKIA|ASIA)[A-Z0-9]{12,}
      )
      | -----BEGIN[ ](?:[A-Z0-9]{1,20}[ ]){0,4}PRIVATE[ ]KEY-----
      (?:(?:[ \t\r\n\\]|\\n)*[A-Za-z0-9+/=]{16,})*""",
    re.VERBOSE,
)
_SK_KEY = re.compile(
    r"""sk-(?:ant-(?:api|admin|oat|sid)\d\d-|or-v\d+-|proj-|svcacct-|admin-)[A-Za-z_-]*(?:\d|[A-Za-z]{24})
      | (?=[A-Za-z]{0,15}\d)(?=\d{0,15}[A-Za-z])[A-Za-z0-9]{16}
      | [A-Za-z0-9]{24}""",
    re.VERBOSE,
)
"""Tells a key that begins with `sk-` from a name that does: a known prefix, or a long run that no word has."""
_FIELD_NAMES = (
    "(?:api[_-]?key|secret[_-]?key|access[_-]?key|private[_-]?key|password|passwd"
    "|auth[_-]?token|access[_-]?token|bearer[_-]?token|client[_-]?secret)(?:[_-]?(?:value|id))?"
)
_FIELD = re.compile(rf"(?:^|[_.-]|(?<=[a-z0-9])){_FIELD_NAMES}$", re.IGNORECASE)
_FIELD_ASSIGNED = re.compile(
    rf"""({_FIELD_NAMES}["']?[ \t]{{0,8}}[:=][ \t]{{0,8}}["']?)([^\s"'#,{{}}\[\]:=]{{16,}})""", re.IGNORECASE
)
_ASSIGNED = re.compile(r"""[:=][ \t]{0,8}["']?([^\s"'#,{}\[\]:=]{16,})""")
_LAST_WORD = re.compile(r"""[ \t]{0,8}["']?([\w.-]{1,60})""")
"""Matches at the beginning of a reversed text. To search it forwards would try the word at each character."""
_BEFORE_MAX = 200
_SK_LOOKED_AT_MAX = 300
_CUT_OFF = 1000
"""Characters dropped before the cut of a long text, as a key may be cut there. Each pattern knows a key by fewer."""


def _may_hold_key(text: str) -> bool:
    """Look for the beginnings of `_KEY` in the way that is fastest for a text that has none of them."""
    if "_" in text and ("gh" in text or "pak_" in text or "gsk_" in text or "hf_" in text or "r8_" in text):
        return True
    if "-" in text and (
        "sk-" in text
        or "xai-" in text
        or "pplx-" in text
        or "nvapi-" in text
        or "glpat-" in text
        or "xox" in text
        or "PRIVATE KEY" in text
    ):
        return True
    return "AIza" in text or "AQ." in text or "IA" in text


def find(text: str) -> Iterator[tuple[int, str]]:
    """Yield the index and the text of every key in `text`."""
    if _may_hold_key(text):
        for found in _KEY.finditer(text):
            if _is_key(found):
                yield found.start(), found.group()


def _is_key(found: re.Match[str]) -> bool:
    return found["sk"] is None or _SK_KEY.search(found["sk"], 0, _SK_LOOKED_AT_MAX) is not None


def find_in_comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield literal values that comments give to a field such as `apiKey`; keys that `find` finds are left out."""
    at = text.find("#")
    while at >= 0:
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        yield from _find_in_line(text, start, len(text) if end < 0 else end)
        at = text.find("#", end) if end >= 0 else -1


def _find_in_line(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    for found in _ASSIGNED.finditer(text, start, end):
        before = text[max(start, found.start() - _BEFORE_MAX) : found.start()]
        field = _LAST_WORD.match(before[::-1]) if "#" in before else None
        if field and is_secret_field(field[1][::-1]) and is_literal_secret(found[1]) and not holds_key(found[1]):
            yield found.start(1), found[1]


def holds_key(text: str) -> bool:
    """Tell whether `text` has a key in it."""
    return _may_hold_key(text) and next(find(text), None) is not None


@lru_cache(maxsize=4096)
def is_secret_field(name: str) -> bool:
    """Tell whether a field's name (`apiKey`, `OPENAI_API_KEY`, `password`) says that its value is secret."""
    return _FIELD.search(name) is not None


def is_literal_secret(value: str) -> bool:
    """Tell whether a value looks written out: 16 characters or more that mix letters and digits, and no reference."""
    value = value.strip()
    if len(value) < 16 or value.startswith(("$", "{{", "<")) or "://" in value or any(map(str.isspace, value)):
        return False
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def mask(text: str) -> str:
    """Keep the first characters of a key, so that its owner knows which one it is."""
    return text[: 4 if len(text) >= 12 else 1] + "…"


def redact(text: str) -> str:
    """Mask every key in `text`, and every literal value that is given to a field such as `apiKey`."""
    if _may_hold_key(text):
        text = _KEY.sub(lambda found: mask(found.group()) if _is_key(found) else found.group(), text)
    return _FIELD_ASSIGNED.sub(_masked_value, text) if ":" in text or "=" in text else text


def redact_beginning(text: str, most: int) -> str:
    """Give what `redact` gives, cut behind `most` characters with `…`. No more of a long text is read than that takes.

    A key that is cut off where the reading ends may be too short to be known, so that end is left out.
    """
    shown = redact(text[: most + _CUT_OFF])
    if len(text) > most + _CUT_OFF:
        return shown[:-_CUT_OFF] + "…"
    return shown if len(shown) <= most else shown[:most] + "…"


def _masked_value(found: re.Match[str]) -> str:
    return found[1] + mask(found[2]) if is_literal_secret(found[2]) else found.group()
