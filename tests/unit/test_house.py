"""How the house is kept: one name for one thing, and everything where a newcomer would look for it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "reconciler").rglob("*.py") if path.name != "__init__.py")
QUESTIONS: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests" / "where_things_live.yaml").read_text())
VERBS = frozenset(path.stem for path in FILES if path.parent.name == "cli")
"""A command's file is called as the command is, whatever else is called so."""


def classes() -> Iterator[tuple[str, Path]]:
    """Give every public class and where it is."""
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path


def test_class_names_are_unique() -> None:
    """A name that is said in an error, a type or a talk means one thing in the whole program."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in classes():
        places[name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_file_is_called_as_the_plural_of_another() -> None:
    """`refusal` and `refusals` are told apart by nobody."""
    names = {path.stem for path in FILES} - VERBS
    assert sorted(name for name in names if {f"{name}s", f"{name}es", f"{name.removesuffix('y')}ies"} & names) == []


PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "reconciler").rglob("__init__.py")
    if "__all__" in path.read_text()
)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_has_what_it_gives(package: str) -> None:
    """Also what is imported only when it is asked for."""
    room = import_module(package)
    assert [name for name in room.__all__ if not hasattr(room, name)] == []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question["where"]))
def test_things_are_where_they_are_said_to_be(question: dict[str, Any]) -> None:
    """Each behaviour is in the file that is named for it."""
    text = (ROOT / question["file"]).read_text()
    assert f"def {question['name']}" in text or f"class {question['name']}" in text
