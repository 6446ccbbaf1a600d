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

from reconciler.core.objects import AgentSpec, BindingSpec, Kind
from reconciler.gateway.surfaces import SURFACES
from reconciler.manifests.schema import schema_of
from reconciler.providers import PROVIDERS

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


NAMERS = {"core/objects.py", "manifests/documents.py", "manifests/schema.py"}
"""Who may have a field of a spec as a text: the structs that read it, and what judges a document before it is one."""
FIELDS = {name for spec in (BindingSpec, AgentSpec) for name in spec.__struct_encode_fields__}


def is_spec(node: ast.expr) -> bool:
    """Tell whether an expression is called a spec: a name, an attribute or an item."""
    match node:
        case ast.Name("spec") | ast.Attribute(attr="spec") | ast.Subscript(slice=ast.Constant("spec")):
            return True
    return False


def named_fields(node: ast.AST) -> Iterator[object]:
    """Give the text of a field where a piece of code has one: of its own, or to look it up in a spec."""
    match node:
        case ast.Constant(str(name)) if name in FIELDS and name.lower() != name:
            yield name
        case ast.Subscript(spec, ast.Constant(name)) if is_spec(spec):
            yield name
        case ast.Call(ast.Attribute(spec, "get"), [ast.Constant(name), *_]) if is_spec(spec):
            yield name
        case ast.Compare(ast.Constant(name), [ast.In() | ast.NotIn()], [spec]) if is_spec(spec):
            yield name


@pytest.mark.parametrize("code", ["'modelBindings'", "a.spec['model']", "b['spec'].get('x', 1)", "'y' in spec"])
def test_field_named_by_a_text_is_found(code: str) -> None:
    """In each way that the next test forbids."""
    assert [name for node in ast.walk(ast.parse(code)) for name in named_fields(node)]


def test_specs_are_read_by_their_structs() -> None:
    """A field that is renamed, or has another type, is then a matter of one line, and mypy names its readers."""
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"  # type: ignore[attr-defined]
        for path in FILES
        if str(path.relative_to(ROOT / "reconciler")) not in NAMERS
        for node in ast.walk(ast.parse(path.read_text()))
        for name in named_fields(node)
    }
    assert found == set()


def test_structs_have_the_fields_of_the_schema() -> None:
    """A field that people may write and nobody reads would be a setting without effect."""
    specs: dict[Kind, Any] = {"model": BindingSpec, "agent": AgentSpec}
    for kind, spec in specs.items():
        schema: Any = schema_of(kind)
        assert [*spec.__struct_encode_fields__] == [*schema["properties"]["spec"]["properties"]]


PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "reconciler").rglob("__init__.py")
    if "__all__" in path.read_text()
)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_has_what_it_gives(package: str) -> None:
    """A name that is promised and not there would fail only whoever asks for it."""
    room = import_module(package)
    assert [name for name in room.__all__ if not hasattr(room, name)] == []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question["where"]))
def test_things_are_where_they_are_said_to_be(question: dict[str, Any]) -> None:
    """Each behaviour is in the file that is named for it."""
    text = (ROOT / question["file"]).read_text()
    assert f"def {question['name']}" in text or f"class {question['name']}" in text


VENDORS = frozenset((*PROVIDERS, *SURFACES))
EXAMPLES = ("reconciler/simulator/", "reconciler/cli/demo.py")
"""What imitates them, and a tour of one."""


def named(path: Path) -> str:
    """Give a file's name as a person says it."""
    return str(path.relative_to(ROOT))


def said(path: Path) -> Iterator[tuple[str, int]]:
    """Give the texts in a file that are nothing but the name of a provider or a dialect, and their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in VENDORS:
            yield node.value, node.lineno


def test_what_is_peculiar_to_a_vendor_is_in_its_own_file() -> None:
    """Nothing else is decided by the name of a provider, or of a dialect, and none is looked up by it."""
    others = [path for path in FILES if not named(path).startswith(EXAMPLES)]
    own = {path: path.stem for path in others if path.parent.name in ("providers", "surfaces")}
    assert [(named(path), *place) for path in others for place in said(path) if place[0] != own.get(path)] == []


def test_gateway_is_handed_its_vendors() -> None:
    """Whoever puts a process together knows which there are; all others get them."""
    found = {
        path.stem
        for path in (ROOT / "reconciler" / "gateway").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.alias) and node.name in ("PROVIDERS", "SURFACES")
    }
    assert found == {"service", "body_worker"}


OF_TUPLES = frozenset(("_asdict", "_fields", "_make", "_replace"))
"""Members of every NamedTuple, which anybody may use."""
OF_OTHERS = {
    ("reconciler/daemon/log_lines.py", "_get_running_loop"),  # asyncio: None where there is none, as documented
    ("reconciler/cli/main.py", "_actions"),  # argparse has no other way to its options
    ("reconciler/cli/main.py", "_SubParsersAction"),
    ("reconciler/cli/completion.py", "_actions"),
    ("reconciler/cli/completion.py", "_SubParsersAction"),
}
"""Private members of libraries that are reached into, since there is no other way."""


def is_private(name: str) -> bool:
    """Tell whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def is_own(of: ast.expr) -> bool:
    """Tell whether an expression is the object at work, or its class."""
    return isinstance(of, ast.Name) and of.id in ("self", "cls")


def members(body: list[ast.stmt]) -> frozenset[str]:
    """Give the private names that a class defines, and those that its objects have."""
    found: set[str] = set()
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
    return frozenset(found)


def reached(node: ast.AST, own: frozenset[str], classes: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Give the private members that are used of something else than oneself, of one's class, or of a class beside."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef):
            yield from reached(inner, members(inner.body), classes)
            continue
        yield from reached(inner, own, classes)
        if not isinstance(inner, ast.Attribute) or not is_private(inner.attr):
            continue
        of = inner.value
        mine = is_own(of) or (isinstance(of, ast.Name) and of.id in classes)
        parent = isinstance(of, ast.Call) and isinstance(of.func, ast.Name) and of.func.id == "super"
        if not (mine or parent or inner.attr in own or inner.attr in OF_TUPLES):
            yield inner.attr, inner.lineno


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Give the private members of Pai's own modules that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reconciler"):
            yield from ((each.name, node.lineno) for each in node.names if is_private(each.name))


def test_nobody_reaches_into_private_members_of_another() -> None:
    """What others need is said without an underscore."""
    found = set()
    for path in FILES:
        tree = ast.parse(path.read_text())
        beside = frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))
        found |= {(named(path), *place) for place in (*reached(tree, frozenset(), beside), *imported(tree))}
    assert {place for place in found if place[:2] not in OF_OTHERS} == set()
    assert {place[:2] for place in found} >= OF_OTHERS
