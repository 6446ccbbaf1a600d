"""What a judge and a plan remember of the commit before never changes what they say, only how long they take."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from reconciler.core.events import Event
from reconciler.core.objects import Desired
from reconciler.core.plan import plan
from reconciler.core.state import State
from reconciler.source.bare import init_bare
from reconciler.source.git import Author, Repository
from reconciler.verdict import Judge
from tests.support import BAD, agent, binding

pytestmark = pytest.mark.usefixtures("quickly")

NAMES = ["a", "b", "c", "d"]
COMMITS = 80


def _content(dice: random.Random) -> bytes | None:
    """Give what a file may say: mostly good objects, some warned of, some broken, some that refer to nothing."""
    name, budget = dice.choice(NAMES), dice.randint(1, 3)
    bindings = [*(binding(name, budget) for _ in range(6)), binding(name, budget, model="of-tomorrow"), BAD]
    others = [agent(name, dice.choice(NAMES)), f"# {budget}\n" + binding(name, budget), "", None]
    two = binding(name, budget) + "---\n" + agent(name, dice.choice(NAMES))
    text = dice.choice([*bindings, *others, two])
    return None if text is None else text.encode()


def _edited(dice: random.Random, old: dict[str, bytes]) -> dict[str, bytes | None]:
    """Give the files of a commit: one that keeps its objects' names but not what they say, or anything."""
    if old and dice.random() < 0.7:
        path = dice.choice(sorted(old))
        pattern, new = dice.choice(
            [
                (rb"PerDay: \d+", b"PerDay: %d" % dice.randint(4, 99)),
                (rb"model: .*", b"model: " + dice.choice([b"of-tomorrow", b"gemini-2.0-flash"])),
                (rb"  - .*", b"  - " + dice.choice([b"a", b"new", b"nobody"])),
            ]
        )
        return {path: re.sub(pattern, new, old[path])}
    files = {f"f{dice.randint(0, 5)}.yaml": _content(dice) for _ in range(dice.randint(1, 2))}
    return {path: content for path, content in files.items() if content is not None or path in old}


def _restored(good: dict[str, bytes], now: dict[str, bytes]) -> dict[str, bytes | None]:
    """Give what makes the files good again, and one of them another than it was."""
    return {
        **dict.fromkeys(now, None),
        **good,
        "new.yaml": f"{binding('new', len(now) + 1)}---\n{agent('new', 'new')}".encode(),
    }


@pytest.mark.parametrize("seed", range(4))
def test_remembered_verdict_and_plan_equal_those_from_nothing(tmp_path: Path, seed: int) -> None:
    """Over any history, a judge and a plan that remember say what a judge and a plan without memory say."""
    dice = random.Random(seed)  # noqa: S311
    init_bare(tmp_path / "config.git", "main")
    repository = Repository.open(tmp_path / "config.git")
    judge, state, known, same = Judge(repository), State(), None, 0
    files: dict[str, bytes] = {}
    good: dict[str, bytes] = {}
    tip: str | None = None
    for number in range(COMMITS):
        change = _edited(dice, files) if dice.random() < 0.8 else _restored(good, files)
        tip = repository.write("main", tip, change, f"change {number}", Author("A", "a@example.com"))
        files = {path: content for path, content in (files | change).items() if content is not None}
        verdict, alone = judge.commit(tip), Judge(repository).commit(tip)
        assert (list(verdict.objects.items()), verdict.diagnostics) == (list(alone.objects.items()), alone.diagnostics)
        if verdict.accepted:
            same += _put_in_force(state, verdict.objects, known, tip)
            known, good = verdict.objects, files
    assert same > COMMITS / 10, "hardly anything was ever remembered"


def _put_in_force(state: State, wanted: Desired, known: Desired | None, tip: str) -> int:
    """Plan in both ways, compare, fold; give 1 if the memory spared a comparison."""
    drafts, moved, counts = plan(state, wanted, tip, "a@example.com", known)
    assert (drafts, moved, counts) == plan(state, wanted, tip, "a@example.com")
    for draft in drafts:
        state.apply(Event(draft.actor, draft.payload, "", draft.subject, ""))
    state._move(moved)
    assert (counts.bindings, counts.agents) == (len(state.models), len(state.agents))
    return int(known is not None and any(known.get(key) is placed for key, placed in wanted.items()))
