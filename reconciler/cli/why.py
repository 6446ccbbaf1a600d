"""One request's story: what was decided, on which budget, on which version of the binding, and whose commit that is.

REQUEST is what the answer's header x-pai-request-id says. With fallback there is one decision for each binding tried.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from reconciler.audit.lines import outcome_text, usage_text
from reconciler.audit.story import Binding, Decision, Outcome
from reconciler.cli.output import print_data
from reconciler.cli.place import find_workspace
from reconciler.cli.reading import open_reading, tell_pruned
from reconciler.core.diagnostics import printable
from reconciler.core.errors import NotFound
from reconciler.core.objects import BindingSpec

Line = tuple[str, str]
_NEAR = 4096
"""Events after a log's beginning in which a request may stand whose first tries were pruned."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai why`."""
    parser.add_argument("request", metavar="REQUEST")
    parser.add_argument("-o", "--output", choices=("text", "table", "wide", "json", "yaml"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the story, decision by decision."""
    with open_reading(find_workspace(args.workspace)) as reading:
        try:
            found = reading.story(args.request)
        except NotFound:
            tell_pruned(reading)  # it may be in what was pruned
            raise
        begin = reading.beginning()
        if begin is not None and found.decisions[0].position < begin.position + _NEAR:
            tell_pruned(reading)  # so may its first tries
    if args.output in ("json", "yaml"):
        print_data(found, args.output)
        return 0
    print(printable(f"request {args.request}"))
    for decision in found.decisions:
        print()
        print(printable(f"{decision.model}: {_headline(decision)}"))
        for label, text in _lines(decision):
            print(printable(f"  {label:<10}{text}"))
    return 0


def _headline(decision: Decision) -> str:
    outcome = decision.outcome
    if outcome is None:
        return f"refused ({decision.data['reason']})"
    if outcome.state == "open":
        return "in flight"
    return f"{outcome.state}, {outcome.charged:,} tokens charged"


def _lines(decision: Decision) -> Iterator[Line]:
    data, where = decision.data, _event(decision.position, decision.time)
    if decision.decision == "refused":
        yield "decision", f"refused for agent {data['agent']} ({data['surface']})  {where}"
        if data["count"] > 1:
            yield "", f"one of {data['count']:,} alike within a minute; the figures are those of the last"
        if data["needed"]:
            yield "budget", f"{data['needed']:,} needed, {data['remaining']:,} remaining{_of_limit(decision)}"
    else:
        yield "decision", f"reserved for agent {data['agent']} with key {data['key']} ({data['surface']})  {where}"
        bounds = f"input bound {data['input']:,} + output limit {data['output']:,}"
        yield "", f"{bounds} = {data['tokens']:,} tokens of {data['day']}"
        yield "budget", _budget(decision)
        assert decision.outcome is not None
        yield "outcome", _outcome(decision.outcome)
    yield from _binding(decision.binding)


def _event(position: int, time: str) -> str:
    return f"#{position} {time[:19].replace('T', ' ')}"


def _of_limit(decision: Decision) -> str:
    limit = decision.binding.limit if decision.binding is not None else None
    return "" if limit is None else f" of {limit.value:,} ({limit.field})"


def _budget(decision: Decision) -> str:
    budget, tokens = decision.budget, decision.data["tokens"]
    if budget is None:
        return f"{tokens:,} tokens reserved; the events that tell the rest of that day were pruned"
    before = f"{budget.used:,} used + {budget.reserved:,} reserved by others"
    if budget.limit is None:
        return f"{before}; no limit a day"
    return f"{before} + {tokens:,} = {budget.used + budget.reserved + tokens:,} of {budget.limit:,}"


def _outcome(outcome: Outcome) -> str:
    data = outcome.data
    if outcome.state == "open":
        return "none yet: the request is in flight, or its daemon was killed (the next start forfeits it)"
    took = f"after {data['durations']['totalMs']:,} ms  {_event(outcome.position or 0, outcome.time)}"
    if outcome.state == "settled":
        why = f" ({data['reason']})" if data["reason"] else ""
        return f"settled, {outcome.charged:,} charged{why}: {usage_text(data)}; status {data['status']} {took}"
    charged = "nothing" if outcome.state == "voided" else f"all {outcome.charged:,}"
    return f"{outcome.state}, {charged} charged: {outcome_text(data)} {took}"


def _binding(binding: Binding | None) -> Iterator[Line]:
    if binding is None:
        yield "binding", "none of this name was in force"
        return
    spec, origin, limit = BindingSpec.of(binding.spec), binding.origin, binding.limit
    per_day = "" if spec.max_tokens_per_day is None else f", {spec.max_tokens_per_day:,} tokens a day"
    per_request = "" if spec.max_tokens_per_request is None else f", {spec.max_tokens_per_request:,} a request"
    yield "binding", f"{spec.provider} / {spec.model}{per_day}{per_request}  #{origin.position}"
    if limit is not None:
        if limit.origin.commit != origin.commit:
            yield "", f"in the version of {origin.commit[:7]} by {origin.author}"
        before = "" if limit.previous is None else f"{limit.previous:,} -> "
        yield "limit", f"{limit.field} {before}{limit.value:,}"
        origin = limit.origin
    yield "commit", f"{origin.commit[:7]} {origin.message}".rstrip()
    yield "author", origin.author
    yield "place", f"{origin.file}:{origin.line}"
