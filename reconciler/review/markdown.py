"""A review as markdown, for a comment on a pull request.

What came from git is shown as code that nothing in it can leave: no markup, no link, no mention and no HTML of a
manifest is ever live, and nothing in it can look like the hidden marker by which the comment is found again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from reconciler.core.diagnostics import Diagnostic, printable
from reconciler.core.text import counted, cut
from reconciler.review.findings import Field, ObjectChange, Review, is_read
from reconciler.review.text import AGENTS_MAX, VALUE_MAX, budget_rows, note, rehearsed, summary, values

CHANGES_MAX = 200
FIELDS_MAX = 50
PROBLEMS_MAX = 50
NOTICE_MAX = 1000
_TICKS = re.compile("`+")


def code(text: str, most: int = VALUE_MAX) -> str:
    """Show text as code, whatever is in it, on one line; not for the cell of a table, where a pipe would end it."""
    text = cut(printable(text), most).replace("<!--", "<\\u0021--")
    fence = "`" * (max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
    pad = " " if not text.strip() or "`" in (text[0], text[-1]) else ""
    return f"{fence}{pad}{text or ' '}{pad}{fence}"


def markdown(review: Review) -> Iterator[str]:
    """Give the lines of a review."""
    yield f"### Pai: {'would be refused; ' if review.refused else ''}{summary(review)}"
    yield ""
    yield f"{code(review.base[:7])} to {code(review.head[:7])}"
    for notice in review.notices:
        yield ""
        yield f"> **Careful.** {code(notice, NOTICE_MAX)}"
    if review.refused:
        yield from _problems(review.problems)
    yield from _changes(review)
    yield from _agents(review)
    if review.changes and review.budgets:
        yield ""
        yield "| budgets in tokens | a day | a year |"
        yield "| --- | --- | --- |"
        for row in budget_rows(review.budgets):
            yield f"| {' | '.join(row)} |"
    for rehearsal in review.rehearsals:  # names of bindings, times and numbers: nothing that could be markup
        yield ""
        first, *days = rehearsed(rehearsal)
        yield first
        yield from (f"- {day.strip()}" for day in days)


def _problems(problems: tuple[Diagnostic, ...]) -> Iterator[str]:
    errors = [problem for problem in problems if problem.severity == "error"]
    yield ""
    yield f"**Would be refused**: {counted(len(errors), 'problem')}"
    yield ""
    for d in errors[:PROBLEMS_MAX]:
        hint = f" ({d.hint})" if d.hint else ""
        yield f"- {code(f'{d.path}:{d.line}:{d.column}')} {d.rule} {code(d.message + hint)}"
    if len(errors) > PROBLEMS_MAX:
        yield f"- ... and {len(errors) - PROBLEMS_MAX:,} more"


def _changes(review: Review) -> Iterator[str]:
    if review.changes:
        yield ""
    for change in review.changes[:CHANGES_MAX]:
        yield f"- **{change.change}** {change.kind} {code(change.name)}, {_place(change)}{note(change)}"
        for field in _first(change):
            yield f"  - {code(field.field)}: {code(values(field, change))} (line {field.line})"
        if len(change.fields) > FIELDS_MAX:
            yield f"  - ... and {len(change.fields) - FIELDS_MAX:,} more fields"
    if len(review.changes) > CHANGES_MAX:
        yield f"- ... and {len(review.changes) - CHANGES_MAX:,} more objects: `pai diff` lists them all"


def _first(change: ObjectChange) -> Sequence[Field]:
    """Give the fields that are listed: of very many those first that Pai itself goes by, lest others hide them."""
    if len(change.fields) <= FIELDS_MAX:
        return change.fields
    return sorted(sorted(change.fields, key=lambda field: not is_read(field, change.kind))[:FIELDS_MAX])


def _place(change: ObjectChange) -> str:
    place = code(f"{change.path}:{change.line}")
    return f"{code(change.was)} to {place}" if change.was else place


def _agents(review: Review) -> Iterator[str]:
    if not review.agents:
        return
    shown = ", ".join(code(agent.agent) for agent in review.agents[:AGENTS_MAX])
    more = f" and {len(review.agents) - AGENTS_MAX:,} more" if len(review.agents) > AGENTS_MAX else ""
    yield ""
    yield f"Agents affected ({len(review.agents):,}): {shown}{more}"
