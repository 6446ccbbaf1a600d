"""What one document says: a manifest, or what is wrong with it.

Takes a parsed document and gives Problems and at most one Manifest; knows the rules that a schema cannot say (budgets
as the author typed them, known models, secrets) and the order in which rules apply: one mistake gives one problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.objects import API_VERSION, KIND_OF_MANIFEST, Kind, Manifest, Reference
from reconciler.manifests import rules
from reconciler.manifests.facts import PROBLEMS_MAX, SAID_MAX, Named, Problem, Problems
from reconciler.manifests.inline_keys import (
    find,
    holds_key,
    is_literal_secret,
    is_secret_field,
    mask,
    redact,
    redact_beginning,
)
from reconciler.manifests.lookalikes import called, foreign
from reconciler.manifests.nodes import Mapping, Node, Scalar, Sequence
from reconciler.manifests.schema import BUDGET_HINT, BUDGETS, closest, explain, first_words, screen, shown_text
from reconciler.manifests.tree import Document
from reconciler.providers import PROVIDERS

ANNOTATIONS_MAX = 256 * 1024
"""Bytes of all keys and values together, as in Kubernetes (apimachinery, `TotalAnnotationSizeLimitB`)."""
REFERENCES_MAX = 1000
"""The most references of a broken document that are checked; a file lists no more problems than that."""
_BUDGET = re.compile(r"[1-9][0-9]{0,15}")
_IGNORE_HINT = "list the file in .paiignore if it is no manifest of Pai"
_NUMBER_HINT = "quote it"


class JudgedDocument:
    """The outcome of one document."""

    __slots__ = ("manifest", "named", "problems", "secret")

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.manifest: Manifest | None = None
        self.named: Named | None = None
        self.secret = False

    def add(self, rule: str, node: Node, message: str, hint: str = "", text: str | None = None) -> None:
        """List one problem at the place of `node`."""
        shown = shown_text(node) if text is None else text
        severity = rules.RULES[rule].severity
        place = node.line, node.column
        self.problems.append(Problem(*place, severity, rule, redact_beginning(message, SAID_MAX), hint, redact(shown)))

    def errors(self) -> bool:
        """Tell whether the document is refused."""
        return any(problem.severity == "error" for problem in self.problems)


_LFS_POINTER = "version https://git-lfs.github.com/spec/"
"""How every pointer file of Git LFS begins (git-lfs, docs/spec.md)."""


def read_document(document: Document, *, brief: bool = False) -> JudgedDocument:
    """Judge one document by itself. `brief`: none of its problems will be listed, so one says all schema errors."""
    reading = JudgedDocument(document.problems)
    root = document.root
    assert root is not None
    if not isinstance(root, Mapping):
        message, hint = "the document is no mapping of fields", "write apiVersion, kind, metadata and spec"
        if isinstance(root, Scalar) and root.text.startswith(_LFS_POINTER):
            message = "this is a pointer of Git LFS and not the manifest"
            hint = "keep manifests out of LFS: take their pattern out of .gitattributes, and add the file anew"
        reading.add(rules.NOT_A_MAPPING, root, message, f"{hint}; {_IGNORE_HINT}")
        return reading
    values = root.value
    if values.get("kind") == "Secret":
        reading.problems.clear()
        reading.secret = True
        message = "a Secret does not belong into git"
        reading.add(rules.SECRET, root, message, "remove it and use `pai add secret`", "kind: Secret …")
        return reading
    kind = _kind(root, reading)
    if kind is not None:
        _fields(document, root, kind, reading, brief=brief)
    if may_have_literal_keys(document):
        reading.problems += [
            inline_key(node.line, node.column, node.text.strip(), f"the value of {name}")
            for node, name in literal_keys(root)
        ]
    reading.problems += [inline_key(node.line, node.column, next(find(node.text))[1]) for node in document.hidden]
    return reading


def _kind(root: Mapping, reading: JudgedDocument) -> Kind | None:
    """Find out what the document is; None, with a problem listed, if its fields cannot be judged."""
    version, kind = root.value.get("apiVersion"), root.value.get("kind")
    if version == API_VERSION and isinstance(kind, str) and kind in KIND_OF_MANIFEST:
        return KIND_OF_MANIFEST[kind]
    missing = [name for name in ("apiVersion", "kind") if name not in root.items]
    if missing:
        first = next(iter(root.keys.values()), None)
        words = first_words(root, ("kind",))
        close = [word for name in missing if (word := closest(name, words))]
        hint = f"did you mean {' and '.join(missing)} by {' and '.join(close)}? " if close else ""
        message = f"the document has no {' and no '.join(missing)}"
        hint += f"add {' and '.join(_EXAMPLES[name] for name in missing)}; {_IGNORE_HINT}"
        reading.add(rules.NO_KIND, first or root, message, hint)
        return KIND_OF_MANIFEST.get(kind) if isinstance(kind, str) and missing == ["apiVersion"] else None
    return _unknown_kind(root, reading)


_EXAMPLES = {"apiVersion": f"apiVersion: {API_VERSION}", "kind": "kind: ModelBinding or AgentWorkload"}


def _unknown_kind(root: Mapping, reading: JudgedDocument) -> Kind | None:
    version, kind = root.items["apiVersion"], root.items["kind"]
    if kind.value == "List":
        reading.add(rules.LIST, kind, "lists of objects are not read", "write each item as a document, split by ---")
        return None
    if not isinstance(version.value, str):
        reading.add(rules.WRONG_TYPE, version, "apiVersion must be text", f"write {API_VERSION}")
    elif version.value != API_VERSION:
        hint = f"write {API_VERSION}; {_IGNORE_HINT}"
        reading.add(rules.API_VERSION, version, f"unknown apiVersion {shown_text(version)}", hint)
    if not isinstance(kind.value, str):
        reading.add(rules.WRONG_TYPE, kind, "kind must be text", "write ModelBinding or AgentWorkload")
        return None
    if kind.value in KIND_OF_MANIFEST:
        return KIND_OF_MANIFEST[kind.value]
    close = closest(kind.value, list(KIND_OF_MANIFEST))
    ours = not isinstance(version.value, str) or version.value.partition("/")[0] == "pai.io"
    if ours or close:  # of a kind of somebody else's its apiVersion says enough
        hint = f"did you mean {close}?" if close else f"ModelBinding or AgentWorkload; {_IGNORE_HINT}"
        reading.add(rules.KIND, kind, f"unknown kind {shown_text(kind)}", hint)
    return None


def _fields(document: Document, root: Mapping, kind: Kind, reading: JudgedDocument, *, brief: bool) -> None:
    items = root.items
    spec, metadata = items.get("spec"), items.get("metadata")
    if document.numbers and kind == "agent" and isinstance(spec, Mapping):
        open_nodes = {id(node) for node in _walk(spec)}
        taken_before = {(p.line, p.column) for p in reading.problems}
        wrong = [n for n in document.numbers if id(n) in open_nodes and (n.line, n.column) not in taken_before]
        for number in wrong[:PROBLEMS_MAX]:
            reading.add(rules.NUMBER, number, "JSON cannot keep this number exactly", _NUMBER_HINT)
        reading.problems.omitted += len(wrong[PROBLEMS_MAX:])
    if isinstance(spec, Mapping) and kind == "model":
        _budgets(spec, reading)
    right = screen(kind)(root.value)
    if brief and not right:  # explaining takes most of the time that a broken document takes
        reading.add(
            rules.WRONG_TYPE, root, "the document is not what its schema describes", "see the problems before it"
        )
    elif document.numbers or document.problems or not right:
        taken = {(p.line, p.column) for p in reading.problems if p.rule not in (rules.NO_KIND, rules.SYNTAX)}
        taken |= {(n.line, n.column) for name in ("apiVersion", "kind") if (n := root.items.get(name))}
        if "apiVersion" not in root.items:
            taken.add((0, 0))
        found = explain(kind, root, taken)
        reading.problems += [p for p in found if not (p.rule == rules.MISSING_FIELD and p.message in _SAID)]
    if isinstance(spec, Mapping):
        _model(spec, reading) if kind == "model" else _elsewhere(spec, reading)
    if isinstance(metadata, Mapping):
        _annotations(metadata, reading)
    _remember(root, kind, reading)


_SAID = ("the document lacks apiVersion", "the document lacks kind")
"""Problems that `_kind` has already listed."""


def problem_at(problem: Problem, node: Node) -> bool:
    """Tell whether `problem` is at the place of `node`."""
    return (problem.line, problem.column) == (node.line, node.column)


def _walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything in it, each once however often aliases repeat it."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Scalar) or id(node.value) in seen:
            continue
        seen.add(id(node.value))
        waiting += node.items if isinstance(node, Sequence) else node.nodes()


def _budgets(spec: Mapping, reading: JudgedDocument) -> None:
    items = spec.items
    for name in BUDGETS:
        node = items.get(name)
        if node is None or _is_budget(node) or any(problem_at(p, node) for p in reading.problems):
            continue
        message = f"spec.{name} must be a whole number from 1 to {MAX_SAFE_INTEGER}"
        reading.add(rules.BUDGET, node, message, _budget_hint(node))


def _is_budget(node: Node) -> bool:
    if not isinstance(node, Scalar) or not node.plain:
        return False
    return _BUDGET.fullmatch(node.text) is not None and int(node.text) <= MAX_SAFE_INTEGER


def _budget_hint(node: Node) -> str:
    if not isinstance(node, Scalar):
        return BUDGET_HINT
    text = node.text.strip()
    if node.plain and (node.value is None or text == "0"):
        return "remove the field for no limit, or write plain digits, such as 1000000"
    value: float = 0
    digits = re.sub(r"[_, ]", "", text).removeprefix("+")
    if re.fullmatch(r"[0-9]{1,16}", digits):
        value = int(digits)
    elif isinstance(node.value, int | float) and not isinstance(node.value, bool):
        value = node.value
    return f"write {int(value)}" if 1 <= value <= MAX_SAFE_INTEGER and value == int(value) else BUDGET_HINT


def _model(spec: Mapping, reading: JudgedDocument) -> None:
    items = spec.items
    provider, model = items.get("provider"), items.get("model")
    if (
        isinstance(provider, Scalar)
        and isinstance(model, Scalar)
        and isinstance(model.value, str)
        and not any(problem_at(p, model) for p in reading.problems)
    ):
        _known_model(provider, model, reading)
    day, request = (items.get(name) for name in BUDGETS)
    if day is None or request is None or any(problem_at(p, n) for p in reading.problems for n in (day, request)):
        return
    if isinstance(day.value, int) and isinstance(request.value, int) and request.value > day.value:
        message = f"maxTokensPerRequest {request.value} is above maxTokensPerDay {day.value}"
        reading.add(rules.REQUEST_ABOVE_DAY, request, message, "lower it, or raise maxTokensPerDay")


def _known_model(provider: Scalar, model: Scalar, reading: JudgedDocument) -> None:
    name, of = model.text, PROVIDERS.get(provider.text)
    known = () if of is None else of.models
    if character := foreign(name):
        close = closest(name, known)
        hint = f"did you mean {close}?" if close else "type it again"
        reading.add(rules.LOOKALIKE, model, f"spec.model {shown_text(model)} holds {called(character)}", hint)
    if of is not None and of.named_by_vendor:
        if not has_vendor(name):
            said = f"the {provider.text} model {shown_text(model)} has no vendor"
            reading.add(
                rules.OPENROUTER_MODEL, model, said, "write vendor/model, such as meta-llama/llama-3.3-70b-instruct"
            )
        return
    if of is None or name in known or character:
        return
    other = next((each.name for each in PROVIDERS.values() if name in each.models), None)
    close = closest(name, known)
    hint = f"it is a model of {other}" if other else f"did you mean {close}?" if close else f"known: {', '.join(known)}"
    reading.add(
        rules.UNKNOWN_MODEL, model, f"{shown_text(model)} is no {provider.text} model that this version knows", hint
    )


def _elsewhere(spec: Mapping, reading: JudgedDocument) -> None:
    """Warn of the limits and the secret of a binding if they are written on an agent, where they do nothing."""
    for name in _OF_MODELS:
        if (key := spec.keys.get(name)) is not None:
            hint = f"write {name} on the ModelBinding, or remove it"
            reading.add(rules.ELSEWHERE, key, f"spec.{name} does nothing on an AgentWorkload", hint)


_OF_MODELS = (*BUDGETS, "apiKeySecretRef")


def has_vendor(model: str) -> bool:
    """Tell whether a model of many vendors is written as it has to be: vendor/model."""
    vendor, slash, slug = model.partition("/")
    return bool(vendor and slash and slug)


def _annotations(metadata: Mapping, reading: JudgedDocument) -> None:
    annotations = metadata.items.get("annotations")
    if not isinstance(annotations, Mapping):
        return
    size = sum(len(k.encode()) + len(v.text.encode()) for k, v in annotations.items.items() if isinstance(v, Scalar))
    if size > ANNOTATIONS_MAX:
        message = f"metadata.annotations hold {size:,} bytes, more than {ANNOTATIONS_MAX:,}"
        reading.add(rules.LABELS, annotations, message, "shorten them")


def _remember(root: Mapping, kind: Kind, reading: JudgedDocument) -> None:
    items = root.items
    metadata, spec = items.get("metadata"), items.get("spec")
    name = metadata.items.get("name") if isinstance(metadata, Mapping) else None
    broken = reading.errors()
    most = REFERENCES_MAX if broken else None
    references = _references(spec, reading, most) if kind == "agent" and isinstance(spec, Mapping) else ()
    if broken:
        if isinstance(name, Scalar) and isinstance(name.value, str):
            reading.named = Named(kind, redact_beginning(name.value, SAID_MAX), name.line, name.column, references)
        elif references:
            reading.named = Named(kind, "", references=references)
        return
    assert isinstance(metadata, Mapping)
    assert isinstance(name, Scalar)
    assert isinstance(spec, Mapping)
    labels, annotations = metadata.value.get("labels", {}), metadata.value.get("annotations", {})
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    lines = dict(zip(spec.value, [key.line for key in (spec.fields or ())[::2]]))  # noqa: B905 (in a hurry)
    reading.manifest = Manifest(
        kind, name.text, spec.value, labels, annotations, root.line, name.line, name.column, references, lines
    )


def _references(spec: Mapping, reading: JudgedDocument, most: int | None) -> tuple[Reference, ...]:
    """Give the first `most` bindings that an agent lists, without items that have a problem of their own."""
    bindings = spec.items.get("modelBindings")
    if not isinstance(bindings, Sequence):
        return ()
    wrong = {(p.line, p.column) for p in reading.problems}
    found = (
        Reference(item.value, item.line, item.column)
        for item in bindings.items
        if isinstance(item.value, str) and (item.line, item.column) not in wrong and not holds_key(item.value)
    )
    return tuple(islice(found, most))


def may_have_literal_keys(document: Document) -> bool:
    """Tell whether any mapping, used or dropped, has a field that `literal_keys` would look at: few documents do."""
    for mapping in document.mappings:
        if any(map(is_secret_field, mapping.value)):
            return True
        name = mapping.items.get("name") if "value" in mapping.value and "name" in mapping.value else None
        if isinstance(name, Scalar) and is_secret_field(name.text):
            return True
    return False


def literal_keys(root: Node) -> Iterator[tuple[Scalar, str]]:
    """Yield values written out where a secret belongs, with the field's name.

    That is `apiKey: ...` and the like, and `{name: X_API_KEY, value: ...}` of an environment.
    """
    for node in _walk(root):
        if not isinstance(node, Mapping):
            continue
        items = node.items
        for name, value in items.items():
            if is_secret_field(name) and _is_literal(value):
                yield value, name  # type: ignore[misc]
        name_node, value_node = items.get("name"), items.get("value")
        if isinstance(name_node, Scalar) and is_secret_field(name_node.text) and value_node and _is_literal(value_node):
            yield value_node, name_node.text  # type: ignore[misc]


def _is_literal(node: Node) -> bool:
    return isinstance(node, Scalar) and is_literal_secret(node.text) and not holds_key(node.text)


def inline_key(line: int, column: int, found: str, what: str = "") -> Problem:
    """Give the problem of a key at a place, the key masked."""
    message = f"{what} looks like an inline key" if what else "this looks like an API key"
    hint = "revoke it, store the new one with `pai add secret`, and refer to it by apiKeySecretRef"
    return Problem(line, column, "error", rules.INLINE_KEY, redact(message), hint, mask(found))
