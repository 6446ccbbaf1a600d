"""Which paths are no manifests: dot-folders, and what `.paiignore` lists in gitignore syntax.

Invariant: `.` and `..` are no dot-folders; a path with such a segment is never skipped, so that it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reconciler.core.errors import Refused

PATTERNS_MAX = 1000
PATTERN_MAX = 1000
STARS_MAX = 3
_STARS = re.compile(r"\*+")


class IgnoreRefused(Refused):
    """A `.paiignore` that would take too long to apply; a revision with it is refused."""


class IgnoreRules:
    """The rules of one source path; paths are relative to it."""

    __slots__ = ("_matches",)

    def __init__(self, matches: Callable[[str], bool] | None = None) -> None:
        self._matches = matches

    @classmethod
    def parse(cls, data: bytes | None) -> IgnoreRules:
        """Read a `.paiignore`; None means there is none. Lines that are no pattern are ignored, as git does.

        Raises IgnoreRefused for more patterns, or more stars in a pattern, than can be matched quickly: the matcher
        goes back, and its time is a power of their number.
        """
        lines = _patterns(data) if data else []
        if len(lines) > PATTERNS_MAX:
            raise IgnoreRefused(f"there are more than {PATTERNS_MAX:,} patterns", "write fewer, broader ones")
        for line in lines:
            if len(_STARS.findall(line)) > STARS_MAX or len(line) > PATTERN_MAX:
                raise IgnoreRefused(
                    f"the pattern {line[:60]!r} has more than {STARS_MAX} stars or {PATTERN_MAX} characters",
                    "split it into simpler ones",
                )
        if not lines:
            return cls()
        from pathspec import GitIgnoreSpec

        try:
            return cls(GitIgnoreSpec.from_lines(lines).match_file)
        except ValueError:
            good = [line for line in lines if _is_pattern(line)]
            return cls(GitIgnoreSpec.from_lines(good).match_file)

    def skips(self, path: str) -> bool:
        """Tell whether the file, link or submodule at `path` is none of Pai's business."""
        if "." in path and any(part[:1] == "." and part not in (".", "..") for part in path.split("/")[:-1]):
            return True
        return self._matches is not None and self._matches(path)


def _patterns(data: bytes) -> list[str]:
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
