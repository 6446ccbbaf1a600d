"""`.paiignore` means what git means by the same lines, and no pattern costs more than another."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from reconciler.manifests.ignore import BYTES_MAX, PATTERNS_MAX, IgnoreRefused, IgnoreRules

PIECES = [
    *(
        "a",
        "b",
        "ab",
        ".",
        "a.b",
        "é",
        "#",
        "!",
        " ",
        "\\ ",
        "\t",
        "*",
        "**",
        "***",
        "?",
        "/",
        "/",
        "**/",
        "/**",
        "/**/",
    ),
    *("[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[a-]", "[--0]", "[\\]]", "[a-\\c]", "[[:alpha:]]", "[[:foo:]]", "[[:"),
    *("[", "\\a", "\\*", "\\/", "\\"),
]
NAMES = ["a", "b", "ab", "a.b", "aa", "ba", "é", "a b", " ", "c", "-", "]", "*", "#a", "!a", "[", "abab", "\\"]


def tree(folder: Path, draw: random.Random) -> list[str]:
    """Make files of odd names below `folder` and give their paths."""
    files = []
    for path in sorted(
        {"/".join(draw.choices(NAMES, k=draw.randint(1, 4))) for _ in range(200)}, key=len, reverse=True
    ):
        place = folder / path
        if not place.exists() and not any(above.is_file() for above in place.parents):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            files.append(path)
    return files


def ignored_by_git(folder: Path, data: bytes, files: list[str]) -> set[str]:
    """Ask git which of `files` the lines exclude."""
    (folder / ".git" / "info" / "exclude").write_bytes(data)
    command = ["git", "check-ignore", "--no-index", "--stdin", "-z", "--verbose", "--non-matching"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    given = "\0".join(files).encode() + b"\0"
    done = subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, check=False)
    fields = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    assert len(fields) == 4 * len(files), done.stderr
    return {path for pattern, path in zip(fields[2::4], fields[3::4], strict=True) if pattern and pattern[0] != "!"}


def test_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    """Any lines exclude exactly the files that `git check-ignore` says, negation, classes and broken ones included."""
    draw = random.Random(1)  # noqa: S311
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    files = tree(tmp_path, draw)
    hits = 0
    for _ in range(150):
        lines = ["".join(draw.choices(PIECES, k=draw.randint(1, 6))) for _ in range(draw.choice([1, 1, 2, 3]))]
        lines += ["!" + "".join(draw.choices(PIECES, k=2))] if draw.random() < 0.3 else []
        data = "\n".join(lines).encode() + draw.choice([b"", b"\n", b"\r\n"])
        expected = ignored_by_git(tmp_path, data, files)
        rules = IgnoreRules.parse(data)
        assert {path for path in files if rules.skips(path)} == expected, data
        hits += bool(expected)
    assert hits > 30


@pytest.mark.parametrize(
    "pattern", ["a*" * 10 + "b", "*a*a*a*b", "**/a*/" * 8 + "b", "*" * 1000 + "b", "[a-z]*" * 50 + "[0-9]"]
)
def test_no_pattern_is_tried_twice(pattern: str) -> None:
    """Names made to keep a backtracking matcher busy for ages are answered, many times over, within the time limit."""
    rules = IgnoreRules.parse(pattern.encode() + b"\n")
    for path in ("a" * 4000, "a/" * 1000 + "a", "a" * 120):
        assert not rules.skips(path + "_")


@pytest.mark.parametrize("data", [b"a" * (BYTES_MAX + 1), b"a\n" * (PATTERNS_MAX + 1)])
def test_file_that_is_too_large_is_refused(data: bytes) -> None:
    """More than 64 KiB or 1,000 patterns are not used at all."""
    with pytest.raises(IgnoreRefused, match="more than"):
        IgnoreRules.parse(data)


def test_folders_may_come_in_any_order() -> None:
    """What is remembered of the last folder never changes an answer."""
    rules = IgnoreRules.parse(b"/a/b/\nc/x\n!c/x/y\n")
    expected = {"a/b/c/d": True, "a/c/x": False, "c/x": True, "c/x/y": True, "a/b": False, "c/y/x": False, "x": False}
    for first in expected.items():
        for second in expected.items():
            assert [(path, rules.skips(path)) for path, _ in (first, second)] == [first, second]
