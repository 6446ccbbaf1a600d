"""The table of every rule a manifest can break: its id, how serious it is, what it means and the usual way out.

Ids are stable: a rule keeps its id for ever, and the id of a rule that goes is not used again. `docs/rules.md` is
`rules_document()`. Nothing here looks at a manifest.
"""

from __future__ import annotations

from typing import NamedTuple

from reconciler.core.diagnostics import Severity

RULES_VERSION = "9"
"""Part of `VERSION`: to be raised whenever the same bytes may now be judged in another way."""


class Rule(NamedTuple):
    """One line of the table."""

    id: str
    severity: Severity
    title: str
    meaning: str
    fix: str


SYNTAX = "PAI101"
NOT_UTF8 = "PAI102"
CONTROL_CHARACTER = "PAI103"
TOO_LARGE = "PAI104"
SYMLINK = "PAI105"
SUBMODULE = "PAI106"
PATH_NAME = "PAI107"
TOO_DEEP = "PAI108"
ALIASES = "PAI109"
DUPLICATE_KEY = "PAI110"
TAG = "PAI111"
MERGE_KEY = "PAI112"
KEY_NOT_SCALAR = "PAI113"
INLINE_KEY = "PAI114"
TREE = "PAI115"

NOT_A_MAPPING = "PAI201"
NO_KIND = "PAI202"
API_VERSION = "PAI203"
KIND = "PAI204"
LIST = "PAI205"
SECRET = "PAI206"  # noqa: S105 (the id of a rule)
NAMESPACE = "PAI207"
STATUS = "PAI208"
UNKNOWN_FIELD = "PAI209"
MISSING_FIELD = "PAI210"
WRONG_TYPE = "PAI211"
BAD_NAME = "PAI212"
WRONG_VALUE = "PAI213"
BUDGET = "PAI214"
OPENROUTER_MODEL = "PAI215"
REPEATED_ITEM = "PAI216"
NUMBER = "PAI217"
LABELS = "PAI218"
UNKNOWN_MODEL = "PAI251"
REQUEST_ABOVE_DAY = "PAI252"
LOOKALIKE = "PAI253"
ELSEWHERE = "PAI254"

SAME_NAME = "PAI301"
NO_BINDING = "PAI302"
MASS_DELETION = "PAI303"
MORE_PROBLEMS = "PAI304"
SIGNATURE = "PAI305"
MORE_WARNINGS = "PAI351"

_TABLE: tuple[Rule, ...] = (
    Rule(
        SYNTAX,
        "error",
        "YAML syntax",
        "The file is not YAML from this place on.",
        "Look at the indentation, colons and quotes just before the place.",
    ),
    Rule(NOT_UTF8, "error", "Not UTF-8", "The file holds bytes that are no UTF-8 text.", "Save the file as UTF-8."),
    Rule(
        CONTROL_CHARACTER,
        "error",
        "Control character",
        "The file holds a character that YAML does not allow.",
        "Remove it, or write it as an escape inside double quotes.",
    ),
    Rule(TOO_LARGE, "error", "File too large", "The file has more than 1 MiB.", "Split it into several files."),
    Rule(
        SYMLINK,
        "error",
        "Symbolic link",
        "The source path holds a symbolic link; links are never followed.",
        "Commit a copy of the file, or list the link in `.paiignore`.",
    ),
    Rule(
        SUBMODULE,
        "error",
        "Submodule",
        "The source path holds a submodule; other repositories are never read.",
        "Commit the files themselves, or list the folder in `.paiignore`.",
    ),
    Rule(
        PATH_NAME,
        "error",
        "Path name",
        "The path has control characters, backslashes, bytes that are no UTF-8, or `..` segments.",
        "Rename the file.",
    ),
    Rule(
        TOO_DEEP,
        "error",
        "Nested too deep",
        "A document nests mappings and lists deeper than 64.",
        "Make the document flatter.",
    ),
    Rule(
        ALIASES,
        "error",
        "Aliases",
        "A document has more than 100 aliases, or aliases that are unknown, contain themselves "
        "or expand to more than 10,000 nodes.",
        "Write the values out.",
    ),
    Rule(DUPLICATE_KEY, "error", "Duplicate field", "A mapping has the same field twice.", "Remove one of the two."),
    Rule(
        TAG,
        "error",
        "Tag",
        "A value has a tag other than YAML's own str, int, float, bool, null, map and seq, or one that does not fit, "
        "or the file has more than 100 `%TAG` lines.",
        "Remove the tag.",
    ),
    Rule(MERGE_KEY, "error", "Merge key", "`<<` belongs to YAML 1.1 and is not merged.", "Write the fields out."),
    Rule(
        KEY_NOT_SCALAR,
        "error",
        "Key is no text",
        "A mapping or a list stands where a field name belongs.",
        'Use text as the field name; quote templates such as `"{{ name }}"`.',
    ),
    Rule(
        INLINE_KEY,
        "error",
        "Inline key",
        "The file holds what looks like an API key, a password or a private key.",
        "Revoke the key, store the new one with `pai add secret` and refer to it by `apiKeySecretRef`.",
    ),
    Rule(
        TREE,
        "error",
        "Tree cannot be judged",
        "The commit's tree is too large or too deep, the source path is no folder, or `.paiignore` is too long.",
        "Point `source.path` at the folder of the manifests, or split the repository.",
    ),
    Rule(
        NOT_A_MAPPING,
        "error",
        "Not a manifest",
        "A document is text or a list, not a mapping of fields.",
        "Write `apiVersion`, `kind`, `metadata` and `spec`, or list the file in `.paiignore`.",
    ),
    Rule(
        NO_KIND,
        "error",
        "No apiVersion or kind",
        "A document does not say what it is.",
        "Add `apiVersion: pai.io/v1` and a `kind`, or list the file in `.paiignore`.",
    ),
    Rule(
        API_VERSION,
        "error",
        "Unknown apiVersion",
        "The document's apiVersion is not `pai.io/v1`.",
        "Write `apiVersion: pai.io/v1`, or list the file in `.paiignore`.",
    ),
    Rule(
        KIND,
        "error",
        "Unknown kind",
        "The kind is neither `ModelBinding` nor `AgentWorkload`.",
        "Correct the kind, or list the file in `.paiignore`.",
    ),
    Rule(
        LIST,
        "error",
        "kind: List",
        "Lists of objects are not read.",
        "Write each item as a document of its own, separated by `---`.",
    ),
    Rule(
        SECRET,
        "error",
        "kind: Secret",
        "A Secret's values do not belong into git.",
        "Remove it, revoke what it held, and store the new values with `pai add secret`.",
    ),
    Rule(
        NAMESPACE,
        "error",
        "metadata.namespace",
        "Pai has no namespaces.",
        "Remove the field; use one workspace for each team instead.",
    ),
    Rule(STATUS, "error", "status", "Status is what Pai reports, not what a manifest says.", "Remove the field."),
    Rule(
        UNKNOWN_FIELD,
        "error",
        "Unknown field",
        "The schema has no such field at this place.",
        "Correct the spelling (the hint names a close one) or remove the field.",
    ),
    Rule(MISSING_FIELD, "error", "Missing field", "A required field is not there.", "Add it."),
    Rule(
        WRONG_TYPE,
        "error",
        "Wrong type",
        "The value has another type than the field.",
        "Write the type that the message asks for; quote text that reads as a number or a boolean.",
    ),
    Rule(
        BAD_NAME,
        "error",
        "Bad name",
        "A name is no RFC 1123 label: lower-case letters, digits and `-`, at most 63, "
        "with a letter or digit at both ends.",
        "Rename the object.",
    ),
    Rule(
        WRONG_VALUE,
        "error",
        "Wrong value",
        "The value has the right type but is not one that the field takes.",
        "Write one of the values that the message names.",
    ),
    Rule(
        BUDGET,
        "error",
        "Budget",
        "A budget is not a whole number from 1 to 9007199254740991 in plain decimal digits.",
        "Write plain digits, such as `1000000`; remove the field for no limit.",
    ),
    Rule(
        OPENROUTER_MODEL,
        "error",
        "OpenRouter model",
        "An openrouter model has no `vendor/` in front.",
        "Write the slug in full, such as `meta-llama/llama-3.3-70b-instruct`.",
    ),
    Rule(REPEATED_ITEM, "error", "Repeated item", "A list names the same item twice.", "Remove the second one."),
    Rule(
        NUMBER, "error", "Number out of range", "JSON cannot keep this number exactly.", "Quote it, so that it is text."
    ),
    Rule(
        LABELS,
        "error",
        "Label or annotation",
        "A label or annotation does not have the form that Kubernetes asks for.",
        "Correct it: `[prefix/]name`, at most 63 letters, digits, `-`, `_` and `.`.",
    ),
    Rule(
        UNKNOWN_MODEL,
        "warning",
        "Unknown model",
        "The provider's model id is not one that this version knows.",
        "Check the spelling; nothing to do if the model is new.",
    ),
    Rule(
        REQUEST_ABOVE_DAY,
        "warning",
        "Request above day",
        "`maxTokensPerRequest` is above `maxTokensPerDay`, so it limits nothing.",
        "Lower one or raise the other.",
    ),
    Rule(
        LOOKALIKE,
        "warning",
        "Invisible or confusable character",
        "An identifier holds a character that shows nothing, or that is taken for another one.",
        "Type the identifier again; the message names the character.",
    ),
    Rule(
        ELSEWHERE,
        "warning",
        "Field of another kind",
        "An AgentWorkload has a field that says something on a ModelBinding only; here it is kept and does nothing.",
        "Move it to the ModelBinding, or remove it.",
    ),
    Rule(
        SAME_NAME,
        "error",
        "Same name twice",
        "Two documents define the same kind and name.",
        "Rename or remove one of the two.",
    ),
    Rule(
        NO_BINDING,
        "error",
        "No such binding",
        "An agent names a binding that the revision does not have.",
        "Correct the name, add the binding, or take it off the agent's list before deleting it.",
    ),
    Rule(
        MASS_DELETION,
        "error",
        "Mass deletion",
        "The revision deletes more than half of at least four objects.",
        "If that is meant, put the trailer `Pai-Allow-Deletions: yes` into the commit message.",
    ),
    Rule(
        MORE_PROBLEMS,
        "error",
        "More problems",
        "The file has more than 1,000 problems, or the revision more than 50,000; the rest is counted only.",
        "Mend the ones listed first.",
    ),
    Rule(
        SIGNATURE,
        "error",
        "Signature",
        "`source.require_signatures` asks for a signature, and a commit has none that holds by a key that may sign. "
        "`pai validate` does not look at signatures.",
        "Sign the commit with a key that the operator has listed: `git commit --amend --no-edit -S`.",
    ),
    Rule(
        MORE_WARNINGS,
        "warning",
        "More warnings",
        "As PAI304, but all that is not listed are warnings.",
        "Nothing to do; see the ones listed.",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _TABLE}


def usual_fix(rule: str) -> str:
    """Give the usual way out as a hint."""
    fix = RULES[rule].fix.replace("`", "").removesuffix(".")
    return fix[:1].lower() + fix[1:]


def rules_document() -> str:
    """Write `docs/rules.md`: every rule as a line of a table."""
    lines = [
        "# Rules",
        "",
        "Every problem that `pai validate`, the hook and the daemon can report. An error refuses the revision; a",
        "warning does not. Ids are stable. This page is written from the table in `reconciler/manifests/rules.py`.",
    ]
    groups = (("1", "Files and syntax"), ("2", "One document"), ("3", "The whole revision"))
    for digit, title in groups:
        lines += [
            "",
            f"## {title}",
            "",
            "| id | severity | rule | meaning | usual fix |",
            "| --- | --- | --- | --- | --- |",
        ]
        chosen = [rule for rule in _TABLE if rule.id[3] == digit]
        lines += [f"| {r.id} | {r.severity} | {r.title} | {r.meaning} | {r.fix} |" for r in chosen]
    return "\n".join(lines) + "\n"
