"""Pins on a pruned log: what an operator pinned before the cut stays told, and what was dropped is not brought back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.core.events import Draft
from reconciler.operations.parts import Parts
from reconciler.workspace import Workspace
from tests.support import Git, Site, binding, copied
from tests.support_log import decide
from tests.support_prune import reserved, settled

CUT = 512


class Team(NamedTuple):
    """A log whose first tiles can go: revisions `gone`, `last` before the cut, one pinned and unpinned there."""

    site: Site
    gone: str
    last: str

    @property
    def clone(self) -> Git:
        """The pusher's clone."""
        return Git(self.site.folder / "pusher", self.site.environment)

    def push(self, budget: int) -> str:
        """Have a budget of `flash` in force."""
        sha = self.clone.pushed({"models/flash.yaml": binding("flash", budget)}, f"flash {budget}")
        self.site.run("reconcile")
        return sha

    def prune(self, code: int = 0, before: int = CUT) -> str:
        """Drop what is before the cut; give what was said."""
        done = self.site.pai(
            "prune", "--before", f"#{before}", "--export", self.site.folder / f"part-{before}", code=code
        )
        return done.out + done.err

    @property
    def budget(self) -> object:
        """The daily budget of `flash` in force."""
        return self.site.state().models["flash"].spec["maxTokensPerDay"]


def requests(site: Site, count: int) -> None:
    """Record so many requests, two events each."""
    with Parts(Workspace.find(site.root)) as parts:
        position = parts.recorder.read(lambda state: state.models["flash"].position)
        start = parts.recorder.read(lambda state: state.position)
        for n in range(start, start + count):
            drafts: tuple[Draft, ...] = reserved(position, f"req_{n:026d}"), settled(f"req_{n:026d}")
            parts.recorder.record(decide(*drafts))


@pytest.fixture(scope="module")
def team_with_pins(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Make it, only to be copied."""
    site = copied(team_template, tmp_path_factory.mktemp("pinned"))
    clone = site.clone("pusher")
    gone = clone.pushed({"models/gone.yaml": binding("gone", 5)}, "A model for a day")
    site.pai("reconcile")
    last = clone.pushed({"models/gone.yaml": None, "models/flash.yaml": binding("flash", 900)}, "Less")
    site.pai("reconcile")
    site.pai("pin", gone, "-m", "a bad night")
    site.pai("unpin", "-m", "a good morning")
    requests(site, 300)
    return Team(site, gone, last)


@pytest.fixture
def team(team_with_pins: Team, tmp_path: Path) -> Team:
    """Give one of its own."""
    site = copied(team_with_pins.site, tmp_path)
    site.clone("pusher")
    return team_with_pins._replace(site=site)


def test_who_pinned_before_the_cut_is_told_after_it(team: Team) -> None:
    """Blame and history name the unpinning that wrote a field, and not who came next on what is left of the log."""
    team.push(700)
    team.push(900)
    questions = [("blame", "model", "flash", "-o", "json"), ("history", "model", "flash", "-o", "json")]
    before = [team.site.pai(*words).json for words in questions]
    team.prune()
    assert [team.site.pai(*words).json for words in questions] == before


def test_revision_that_was_dropped_cannot_be_pinned(team: Team) -> None:
    """What is left to see of it is that it was pinned once; the refusal says where the events are."""
    team.push(800)
    team.prune()
    done = team.site.pai("pin", team.gone, code=1)
    assert "is not on the log any more, which begins at #512" in done.err
    assert "part-512; pai verify reads it" in done.err
    done = team.site.pai("pin", team.last, code=0)
    assert team.budget == 900


def test_what_was_accepted_last_before_the_cut_is_pinned_and_unpinned(team: Team) -> None:
    """It is what the log begins with; unpinned, what was pushed since comes into force."""
    team.prune()
    team.site.pai("pin", team.last)
    assert team.budget == 900
    team.push(800)
    assert team.budget == 900
    team.site.pai("unpin")
    assert team.budget == 800
    team.site.pai("pin", team.last[:8])
    assert team.budget == 900
    team.site.pai("unpin")
    assert team.budget == 800
    assert team.site.pai("verify").out.startswith("ok: ")


def test_prune_under_a_pin_drops_nothing_that_unpinning_needs(team: Team) -> None:
    """What was accepted last before the cut cannot go; what was accepted after it lets the rest go, pin or no pin."""
    team.site.pai("pin", team.gone)
    assert "would be dropped" in team.prune(code=1)
    assert not (team.site.folder / "part-512").exists()
    team.site.pai("unpin")
    team.push(800)
    team.site.pai("pin", team.last)
    team.prune()
    assert team.budget == 900
    team.site.pai("unpin")
    assert team.budget == 800
    assert team.site.pai("verify", "--with", team.site.folder / "part-512").out.startswith("ok: ")
