"""The table of every rule a manifest can break: its id, how serious it is, what it means and the usual way out.

Ids are stable: a rule keeps its id for ever, and the id of a rule that goes is not used again. `docs/rules.md` is
`rules_document()`. Nothing here looks at a manifest.
"""

from __future__ import annotations

from typing import NamedTuple

from reconciler.core.diagnostics import Severity

RULES_VERSION = "10"
"""Part of `VERSION`: to be raised whenever the same bytes may now be judged in another way."""


class Rule(NamedTuple):
    """What a manifest can break."""

    id: str
    severity: Severity
    title: str
    meaning: str
    fix: str


RULES: dict[str, Rule] = {}
"""Every rule by its id, in the order of `docs/rules.md`."""


def _rule(rule_id: str, title: str, meaning: str, fix: str) -> str:
    """Put a rule into the table and give its id, whose last but one digit is 5 for a warning."""
    RULES[rule_id] = Rule(rule_id, "warning" if rule_id[-2] == "5" else "error", title, meaning, fix)
    return rule_id


SYNTAX = _rule(
    "PAI101",
    "YAML syntax",
    "The file is not YAML from this place on.",
    "Look at the indentation, colons and quotes just before the place.",
)
NOT_UTF8 = _rule("PAI102", "Not UTF-8", "The file holds bytes that are no UTF-8 text.", "Save the file as UTF-8.")
CONTROL_CHARACTER = _rule(
    "PAI103",
    "Control character",
    "The file holds a character that YAML does not allow.",
    "Remove it, or write it as an escape inside double quotes.",
)
TOO_LARGE = _rule("PAI104", "File too large", "The file has more than 1 MiB.", "Split it into several files.")
SYMLINK = _rule(
    "PAI105",
    "Symbolic link",
    "The source path holds a symbolic link; links are never followed.",
    "Commit a copy of the file, or list the link in `.paiignore`.",
)
SUBMODULE = _rule(
    "PAI106",
    "Submodule",
    "The source path holds a submodule; other repositories are never read.",
    "Commit the files themselves, or list the folder in `.paiignore`.",
)
PATH_NAME = _rule(
    "PAI107",
    "Path name",
    "The path has control characters, backslashes, bytes that are no UTF-8, or `..` segments.",
    "Rename the file.",
)
TOO_DEEP = _rule(
    "PAI108", "Nested too deep", "A document nests mappings and lists deeper than 64.", "Make the document flatter."
)
ALIASES = _rule(
    "PAI109",
    "Aliases",
    "A document has more than 100 aliases, or aliases that are unknown, contain themselves "
    "or expand to more than 10,000 nodes.",
    "Write the values out.",
)
DUPLICATE_KEY = _rule("PAI110", "Duplicate field", "A mapping has the same field twice.", "Remove one of the two.")
TAG = _rule(
    "PAI111",
    "Tag",
    "A value has a tag other than YAML's own str, int, float, bool, null, map and seq, or one that does not fit, "
    "or the file has more than 100 `%TAG` lines.",
    "Remove the tag.",
)
MERGE_KEY = _rule("PAI112", "Merge key", "`<<` belongs to YAML 1.1 and is not merged.", "Write the fields out.")
KEY_NOT_SCALAR = _rule(
    "PAI113",
    "Key is no text",
    "A mapping or a list stands where a field name belongs.",
    'Use text as the field name; quote templates such as `"{{ name }}"`.',
)
INLINE_KEY = _rule(
    "PAI114",
    "Inline key",
    "The file holds what looks like an API key, a password or a private key.",
    "Revoke the key, store the new one with `pai add secret` and refer to it by `apiKeySecretRef`.",
)
TREE = _rule(
    "PAI115",
    "Tree cannot be judged",
    "The commit's tree is too large or too deep, the source path is no folder, or `.paiignore` is too long.",
    "Point `source.path` at the folder of the manifests, or split the repository.",
)

NOT_A_MAPPING = _rule(
    "PAI201",
    "Not a manifest",
    "A document is text or a list, not a mapping of fields.",
    "Write `apiVersion`, `kind`, `metadata` and `spec`, or list the file in `.paiignore`.",
)
NO_KIND = _rule(
    "PAI202",
    "No apiVersion or kind",
    "A document does not say what it is.",
    "Add `apiVersion: pai.io/v1` and a `kind`, or list the file in `.paiignore`.",
)
API_VERSION = _rule(
    "PAI203",
    "Unknown apiVersion",
    "The document's apiVersion is not `pai.io/v1`.",
    "Write `apiVersion: pai.io/v1`, or list the file in `.paiignore`.",
)
KIND = _rule(
    "PAI204",
    "Unknown kind",
    "The kind is neither `ModelBinding` nor `AgentWorkload`.",
    "Correct the kind, or list the file in `.paiignore`.",
)
LIST = _rule(
    "PAI205",
    "kind: List",
    "Lists of objects are not read.",
    "Write each item as a document of its own, separated by `---`.",
)
SECRET = _rule(
    "PAI206",
    "kind: Secret",
    "A Secret's values do not belong into git.",
    "Remove it, revoke what it held, and store the new values with `pai add secret`.",
)
NAMESPACE = _rule(
    "PAI207",
    "metadata.namespace",
    "Pai has no namespaces.",
    "Remove the field; use one workspace for each team instead.",
)
STATUS = _rule("PAI208", "status", "Status is what Pai reports, not what a manifest says.", "Remove the field.")
UNKNOWN_FIELD = _rule(
    "PAI209",
    "Unknown field",
    "The schema has no such field at this place.",
    "Correct the spelling (the hint names a close one) or remove the field.",
)
MISSING_FIELD = _rule("PAI210", "Missing field", "A required field is not there.", "Add it.")
WRONG_TYPE = _rule(
    "PAI211",
    "Wrong type",
    "The value has another type than the field.",
    "Write the type that the message asks for; quote text that reads as a number or a boolean.",
)
BAD_NAME = _rule(
    "PAI212",
    "Bad name",
    "A name is no RFC 1123 label: lower-case letters, digits and `-`, at most 63, with a letter or digit at both ends.",
    "Rename the object.",
)
WRONG_VALUE = _rule(
    "PAI213",
    "Wrong value",
    "The value has the right type but is not one that the field takes.",
    "Write one of the values that the message names.",
)
BUDGET = _rule(
    "PAI214",
    "Budget",
    "A budget is not a whole number from 1 to 9007199254740991 in plain decimal digits.",
    "Write plain digits, such as `1000000`; remove the field for no limit.",
)
OPENROUTER_MODEL = _rule(
    "PAI215",
    "OpenRouter model",
    "An openrouter model has no `vendor/` in front.",
    "Write the slug in full, such as `meta-llama/llama-3.3-70b-instruct`.",
)
REPEATED_ITEM = _rule("PAI216", "Repeated item", "A list names the same item twice.", "Remove the second one.")
NUMBER = _rule(
    "PAI217", "Number out of range", "JSON cannot keep this number exactly.", "Quote it, so that it is text."
)
LABELS = _rule(
    "PAI218",
    "Label or annotation",
    "A label or annotation does not have the form that Kubernetes asks for.",
    "Correct it: `[prefix/]name`, at most 63 letters, digits, `-`, `_` and `.`.",
)
UNKNOWN_MODEL = _rule(
    "PAI251",
    "Unknown model",
    "The provider's model id is not one that this version knows.",
    "Check the spelling; nothing to do if the model is new.",
)
REQUEST_ABOVE_DAY = _rule(
    "PAI252",
    "Request above day",
    "`maxTokensPerRequest` is above `maxTokensPerDay`, so it limits nothing.",
    "Lower one or raise the other.",
)
LOOKALIKE = _rule(
    "PAI253",
    "Invisible or confusable character",
    "An identifier holds a character that shows nothing, or that is taken for another one.",
    "Type the identifier again; the message names the character.",
)
ELSEWHERE = _rule(
    "PAI254",
    "Field of another kind",
    "An AgentWorkload has a field that says something on a ModelBinding only; here it is kept and does nothing.",
    "Move it to the ModelBinding, or remove it.",
)

SAME_NAME = _rule(
    "PAI301", "Same name twice", "Two documents define the same kind and name.", "Rename or remove one of the two."
)
NO_BINDING = _rule(
    "PAI302",
    "No such binding",
    "An agent names a binding that the revision does not have.",
    "Correct the name, add the binding, or take it off the agent's list before deleting it.",
)
MASS_DELETION = _rule(
    "PAI303",
    "Mass deletion",
    "The revision deletes more than half of at least four objects.",
    "If that is meant, put the trailer `Pai-Allow-Deletions: yes` into the commit message.",
)
MORE_PROBLEMS = _rule(
    "PAI304",
    "More problems",
    "The file has more than 1,000 problems, or the revision more than 50,000; the rest is counted only.",
    "Mend the ones listed first.",
)
SIGNATURE = _rule(
    "PAI305",
    "Signature",
    "`source.require_signatures` asks for a signature, and a commit has none that holds by a key that may sign. "
    "`pai validate` does not look at signatures.",
    "Sign the commit with a key that the operator has listed: `git commit --amend --no-edit -S`.",
)
MORE_WARNINGS = _rule(
    "PAI351",
    "More warnings",
    "As PAI304, but all that is not listed are warnings.",
    "Nothing to do; see the ones listed.",
)


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
        lines += [f"| {' | '.join(rule)} |" for rule in RULES.values() if rule.id[3] == digit]
    return "\n".join(lines) + "\n"
