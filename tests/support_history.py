"""A history for a log: requests that are reserved, resolved or refused, revisions, pushes, pins and secrets, mixed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic
from reconciler.log.store import Log
from reconciler.recorder import Recorder
from tests.support_log import binding, secret

BEGIN_US = 1_795_000_000_000_000
PERSON = ev.Person("A", "a@example.com", "2026-11-23T10:00:00Z")


def requests(chance: random.Random, number: int) -> Iterator[list[ev.Draft]]:
    """Make the life of some requests, mixed: reserved, resolved or not, refused."""
    held: list[tuple[str, str, str, str]] = []
    for n in range(number):
        model, agent = f"m{chance.randrange(3)}", f"agent-{chance.randrange(4)}"
        request = f"req_{n:03}"
        drafts: list[ev.Draft] = []
        if n % 7 == 0:
            refused = ev.RequestRefused(
                request=request, agent=agent, surface="openai", reason="day-budget", needed=9, remaining=1,
                count=2, others=[f"req_other_{n}"],
            )  # fmt: skip
            drafts.append(ev.Draft(agent, f"model/{model}", refused))
        else:
            day = f"2026-11-{18 + n // 40}"
            reserved = ev.TokensReserved(
                request=request, agent=agent, key="key-x", surface="openai", day=day, tokens=100 + n, input=100,
                output=n, binding=1,
            )  # fmt: skip
            drafts.append(ev.Draft(agent, f"model/{model}", reserved))
            held.append((request, model, agent, day))
        if held and chance.random() < 0.8:
            drafts.append(outcome(chance, *held.pop(chance.randrange(len(held)))))
        yield drafts


def outcome(chance: random.Random, request: str, model: str, agent: str, day: str) -> ev.Draft:
    """Resolve a reservation."""
    common = {
        "request": request,
        "agent": agent,
        "day": day,
        "status": 200,
        "durations": ev.Durations(1, 2),
        "reason": "",
    }
    kind = chance.random()
    if kind < 0.8:
        used = {"input": chance.randrange(90), "cached": 0, "cache_write": 0, "output": 7, "reasoning": 1}
        settled = ev.TokensSettled(**common, **used, charged=used["input"] + 7)  # type: ignore[arg-type]
        return ev.Draft(agent, f"model/{model}", settled)
    other = ev.TokensVoided if kind < 0.9 else ev.TokensForfeited
    return ev.Draft("pai", f"model/{model}", other(**common, tokens=100))  # type: ignore[arg-type]


def revisions(number: int) -> list[ev.Draft]:
    """Make a revision: refused, or one that changes a binding and was pushed, or one that is pinned and unpinned."""
    commit = f"{number * 7919:040x}"[::-1]
    common = {"commit": commit, "parents": [], "author": PERSON, "committer": PERSON, "message": "m", "signature": None}
    if number % 4 == 3:
        problem = Diagnostic(f"models/{number % 3}.yaml", 1, 1, "error", "PAI209", "unknown")
        rejected = ev.RevisionRejected(**common, diagnostics=[problem])  # type: ignore[arg-type]
        return [ev.Draft("a@example.com", f"revision/{commit}", rejected)]
    if number % 4 == 2:
        back = {"commit": commit, "position": number, "reason": "", "counts": ev.Counts(3, 0, 0, 1, 0, 0)}
        moved = [ev.Moved("model", "m1", f"moved/{number}.yaml", 1)]
        pinned = ev.RevisionPinned(**back, moved=moved)  # type: ignore[arg-type]
        unpinned = ev.RevisionUnpinned(**back, revision=commit[::-1])  # type: ignore[arg-type]
        return [ev.Draft("o@example.com", f"revision/{commit}", payload) for payload in (pinned, unpinned)]
    changed = binding(f"m{number % 3}", 1000 + number)
    accepted = ev.RevisionAccepted(**common, counts=ev.Counts(3, 0, 0, 1, 0, 0))  # type: ignore[arg-type]
    pushed = ev.PushAdmitted(from_=commit[::-1], to=commit, key="key-aaaaaaaaaaaa")
    push = ev.Draft("dora@example.com", "branch/main", pushed)
    return [push, changed, ev.Draft("a@example.com", f"revision/{commit}", accepted)]


def fill(log: Log, block_events: int, seed: int = 1) -> None:
    """Write a few hundred mixed events over some hours, by two recorders; the same seed gives the same bytes."""
    chance, ids = random.Random(seed), random.Random(seed)  # noqa: S311
    clock = itertools.count(BEGIN_US, 181_000_000).__next__
    life = requests(chance, 240)
    for part in range(2):
        with Recorder(
            log.writer(), clock=clock, random=ids.randbytes, block_events=block_events, snapshot_every=50
        ) as recorder:
            for number, drafts in enumerate(itertools.islice(life, 120)):
                recorder.record(lambda _, drafts=drafts: drafts)  # type: ignore[misc]
                if number % 10 == 0:
                    more = revisions(number // 10 + 12 * part)
                    recorder.record(lambda _, more=more: more)  # type: ignore[misc]
                if number % 25 == 0:
                    recorder.record(lambda _, number=number: [secret(f"s{number}")])  # type: ignore[misc]
