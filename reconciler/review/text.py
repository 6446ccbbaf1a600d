"""A review for a terminal: one line an object, one a field, then agents and budgets.

Whatever came from git is escaped, so that it can neither move the cursor nor reorder text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.diagnostics import printable
from reconciler.core.rehearsal import Rehearsal
from reconciler.core.text import cut, value_text
from reconciler.review.findings import DAYS_A_YEAR, Field, ObjectChange, ProviderBudget, Review, Sum

VALUE_MAX = 200
AGENTS_MAX = 20
_SIGNS = {"created": "+", "changed": "~", "deleted": "-", "moved": ">"}


def text(review: Review) -> Iterator[str]:
    """Give the lines of a review."""
    for notice in review.notices:
        yield f"! {printable(notice)}"
    for change in review.changes:
        yield from map(printable, _change(change))
    yield from map(printable, _agents(review))
    if review.changes:
        yield from _budgets(review.budgets)
    for rehearsal in review.rehearsals:
        yield from rehearsed(rehearsal)
    if review.rehearsals:
        yield ""
    yield summary(review)


def rehearsed(rehearsal: Rehearsal) -> Iterator[str]:
    """Say how a proposed limit would have fared: a sentence, then a line for each day that it was spent on."""
    name, limit, spent = rehearsal.model, rehearsal.limit, rehearsal.exhausted
    of_limit = f"{name} with {limit:,} tokens a day"
    if not spent:
        busiest = max(rehearsal.days, key=lambda day: day.used)
        yield (
            f"{of_limit} would not have been exhausted in the last {len(rehearsal.days)} days: "
            f"at most {busiest.used:,} were used, on {busiest.day}"
        )
        return
    first = spent[0].first
    yield (
        f"{of_limit} would have been exhausted on {len(spent)} of the last {len(rehearsal.days)} days, "
        f"first at {first[11:16]} UTC on {first[:10]}"
    )
    for day in spent:
        yield f"    {day.day} at {day.first[11:16]} UTC: {day.refused:,} of {day.requests:,} requests do not fit"


def summary(review: Review) -> str:
    """Count the changes in a few words."""
    counts = [
        f"{count:,} {word}" for word in _SIGNS if (count := sum(change.change == word for change in review.changes))
    ]
    return ", ".join(counts) if counts else "no object changes"


def _change(change: ObjectChange) -> Iterator[str]:
    place = f"{change.path}:{change.line}"
    if change.change == "moved":
        place = f"{change.was} -> {place}"
    elif change.was:
        place = f"{place} (was {change.was})"
    yield f"{_SIGNS[change.change]} {change.kind} {change.name} {change.change}   {place}{note(change)}"
    width = max((len(field.field) for field in change.fields), default=0)
    for field in change.fields:
        yield f"    {field.field.ljust(width)}   {values(field, change)}   {change.path}:{field.line}"


def note(change: ObjectChange) -> str:
    """Say what else there is to know about a change."""
    if change.like:
        return f"   (the content of {change.like}, which is deleted: what {change.like} used today does not count here)"
    return "   (its file is there, but is no longer judged)" if change.unjudged else ""


def values(field: Field, change: ObjectChange) -> str:
    """Write a field's values: what there is, or from what to what."""
    old, new = (cut(value_text(value), VALUE_MAX) for value in (field.old, field.new))
    return {"created": new, "deleted": old}.get(change.change, f"{old} -> {new}")


def _agents(review: Review) -> Iterator[str]:
    if not review.agents:
        return
    yield ""
    yield f"agents affected: {len(review.agents):,}"
    for agent in review.agents[:AGENTS_MAX]:
        yield f"    {agent.agent}   {cut(', '.join(agent.bindings), VALUE_MAX)}"
    if len(review.agents) > AGENTS_MAX:
        yield f"    ... and {len(review.agents) - AGENTS_MAX:,} more"


def _budgets(budgets: Sequence[ProviderBudget]) -> Iterator[str]:
    if not budgets:
        return
    rows = [("budgets in tokens", "a day", "a year"), *budget_rows(budgets)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    yield ""
    for row in rows:
        yield "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""


def budget_rows(budgets: Sequence[ProviderBudget]) -> Iterator[tuple[str, str, str]]:
    """Give the cells of each provider, and of all of them if there are several: name, a day, a year."""
    total = ProviderBudget("all", _total([b.before for b in budgets]), _total([b.after for b in budgets]))
    for budget in (*budgets, total) if len(budgets) > 1 else budgets:
        yield budget.provider, _pair(budget, 1), _pair(budget, DAYS_A_YEAR)


def _total(sums: Sequence[Sum]) -> Sum:
    return Sum(sum(s.tokens for s in sums), sum(s.unlimited for s in sums))


def _pair(budget: ProviderBudget, days: int) -> str:
    before, after = _sum(budget.before, days), _sum(budget.after, days)
    if before == after:
        return before
    difference = (budget.after.tokens - budget.before.tokens) * days
    return f"{before} -> {after}" + (f" ({difference:+,})" if difference else "")


def _sum(sums: Sum, days: int) -> str:
    limited = f"{sums.tokens * days:,}" if sums.tokens or not sums.unlimited else ""
    return " and ".join(filter(None, (limited, f"{sums.unlimited:,} unlimited" if sums.unlimited else "")))
