"""`pai.toml` as a parsed file: its settings by name, the lines where they stand, and what is no setting.

Knows no setting itself; it is given their names. What is no setting is listed and passed over, whatever it holds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from reconciler.core.errors import WorkspaceError

_HEADER = re.compile(r"\s*\[\s*([^\[\]#]+?)\s*\]")
_ASSIGNMENT = re.compile(r"""\s*([A-Za-z0-9_."'\- ]+?)\s*=""")
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")


class TomlFile:
    """A parsed `pai.toml` that still knows its lines. `unknown` has an error for each thing that is no setting."""

    def __init__(self, data: bytes, path: Path, names: Collection[str]) -> None:
        """`names` are those of all settings. Raises WorkspaceError for what is no TOML."""
        self._path = path
        self._names = names
        self._sections = {name[:dot] for name in names for dot in range(len(name)) if name[dot] == "."}
        self.unknown: list[WorkspaceError] = []
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise WorkspaceError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None
        self._lines = _lines(text)
        try:
            self._tree: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax(str(error), text) from None
        except RecursionError:
            raise WorkspaceError(f"{path}: nested too deeply", "settings are `key = value` below [section]") from None

    def settings(self) -> dict[str, object]:
        """Give every setting of the file by name; `unknown` then has what is none. Raises WorkspaceError."""
        return dict(self._walk(self._tree, ""))

    def place(self, name: str) -> str:
        """Give `path:line` of a setting, else of the nearest section around it, else only `path`."""
        while name:
            if name in self._lines:
                return f"{self._path}:{self._lines[name]}"
            name = name.rpartition(".")[0]
        return str(self._path)

    def _walk(self, table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            name = prefix + key
            if name in self._names:
                yield name, value
            elif name in self._sections:
                if not isinstance(value, dict):
                    raise WorkspaceError(f"{self.place(name)}: {name} is a section", f"write [{name}]")
                yield from self._walk(value, f"{name}.")
            else:
                what = "section" if isinstance(value, dict) else "setting"
                self.unknown.append(
                    WorkspaceError(f"{self.place(name)}: there is no {what} {name}", self._meant(name, what))
                )

    def _meant(self, name: str, what: str) -> str:
        """Say which one was probably meant, else which ones there are."""
        from difflib import get_close_matches

        section, _, last = name.rpartition(".")
        if what == "section":
            known = sorted(self._sections)
            close = get_close_matches(name, known, 1)
        else:
            known = [each for each in self._names if each.rpartition(".")[0] == section] or sorted(self._names)
            keys = get_close_matches(last, [each.rpartition(".")[2] for each in known], 1)
            close = [each for each in self._names if each.rpartition(".")[2] == last] or [
                each for each in known if each.rpartition(".")[2] in keys
            ]
        return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"

    def _syntax(self, message: str, text: str) -> WorkspaceError:
        place = _TOML_PLACE.search(message)
        line, column = (place[1], place[2]) if place and place[1] else (str(text.count("\n") + 1), "1")
        reason = _TOML_PLACE.sub("", message)
        return WorkspaceError(f"{self._path}:{line}:{column}: {reason[:1].lower()}{reason[1:]}", 'write key = "value"')


def _lines(text: str) -> dict[str, int]:
    """Find the line of each section header and key; good enough for messages, tomllib alone decides what is there."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            section = _dotted(header[1])
            lines.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            name = _dotted(assignment[1])
            lines.setdefault(f"{section}.{name}" if section else name, number)
    return lines


def _dotted(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
