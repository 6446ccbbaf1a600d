"""The mutants of the modules that `[tool.mutmut]` of pyproject.toml names, as mutmut thinks of them."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mutmut.configuration import config
from mutmut.mutation.file_mutation import mutate_file_contents


def modules() -> list[Path]:
    """Give the modules that `[tool.mutmut]` names."""
    return sorted(path for path in Path("reconciler").rglob("*.py") if config().should_mutate(path))


class Mutant(NamedTuple):
    """One change: `code` and `defaults` replace those of `function`; `line` is where, `diff` shows it."""

    name: str
    path: str
    function: Any
    code: types.CodeType
    defaults: tuple[Any, Any]
    line: int
    diff: str


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Give the mutants of a module. Default values that changed are taken along if they are constants."""
    text = mutate_file_contents(str(path), path.read_text(encoding="utf-8")).code
    module = import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    codes = {code.co_name: code for code in _codes(compile(text, str(path), "exec", dont_inherit=True))}
    for name, node in mutated(path, text):
        owner, _, attribute = name.split(":")[1].rpartition(".")
        found = inspect.getattr_static(getattr(module, owner) if owner else module, attribute)
        function = inspect.unwrap(getattr(found, "__func__", found))
        source, start = inspect.getsourcelines(function)
        before = textwrap.dedent("".join(source)).splitlines()
        lines = text.splitlines()[node.lineno - 1 - len(node.decorator_list) : node.end_lineno]
        after = textwrap.dedent("\n".join(lines)).replace(node.name, attribute).splitlines()
        diff = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        line = start - 1 + int(diff[0].split()[1].split(",")[0].lstrip("-")) if diff else start
        shown = "\n".join(line for line in diff if not line.startswith("@@"))
        yield Mutant(name, str(path), function, codes[node.name], _defaults(node, function), line, shown)


def mutated(path: Path, text: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Give the functions that mutmut wrote, each with its name here: `reconciler/a.py:Class.method:number`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name and not node.name.endswith("_orig"):
            mangled, _, number = node.name.rpartition("__mutmut_")
            label = mangled.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in mangled else mangled.removeprefix("x_")
            yield f"{path}:{label}:{number}", node


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _defaults(node: ast.FunctionDef, function: Any) -> tuple[Any, Any]:
    """Give the default values of a mutated function, by place and by name, as far as they are constants."""
    by_place, by_name = function.__defaults__, function.__kwdefaults__
    if by_place:
        pairs = zip(node.args.defaults, by_place, strict=True)
        by_place = tuple(new.value if isinstance(new, ast.Constant) else old for new, old in pairs)
    if by_name:
        given = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        by_name = by_name | {argument.arg: new.value for argument, new in given if isinstance(new, ast.Constant)}
    return by_place, by_name
