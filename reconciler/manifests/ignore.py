"""Which paths are no manifests: dot-folders, and what `.paiignore` lists in gitignore syntax.

Invariant: `.` and `..` are no dot-folders; a path with such a segment is never skipped, so that it is refused.
"""

from __future__ import annotations

from collections.abc import Callable


class IgnoreRules:
    """The rules of one source path; paths are relative to it."""

    __slots__ = ("_matches",)

    def __init__(self, matches: Callable[[str], bool] | None = None) -> None:
        self._matches = matches

    @classmethod
    def parse(cls, data: bytes | None) -> IgnoreRules:
        """Read a `.paiignore`; None means there is none. Lines that are no pattern are ignored, as git does."""
        lines = _patterns(data) if data else []
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
