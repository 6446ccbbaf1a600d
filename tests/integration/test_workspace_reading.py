"""What a reading answers can be sent: it reads back from its JSON as the same values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from reconciler.audit.in_force import KINDS, Wanted
from reconciler.audit.reading import Reading
from reconciler.audit.terms import Query, Term
from reconciler.core.errors import NotFound
from reconciler.workspace import Workspace
from tests.support import Site, binding, copied
from tests.support_tokens import day, record, reserved, settled


@pytest.fixture(scope="module")
def reading(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    """Give the reading of a workspace with objects, a secret, a request that was served and one that is open."""
    site = copied(team_template, tmp_path_factory.mktemp("reading"))
    site.pai("apply", "-f", "-", stdin=binding("alone", 5))
    record(site, reserved("req_1"), settled("req_1"), reserved("req_2"))
    workspace = Workspace.find(site.root)
    with contextlib.closing(Reading(workspace, workspace.log().reader(), day)) as opened:
        yield opened


def test_answers_read_back_from_their_json(reading: Reading) -> None:
    """Whoever gets them over a network has what the workspace has."""
    terms = Query((Term("type", "tokens."),))
    answers: list[object] = [
        reading.objects([Wanted(kind) for kind in KINDS]),
        reading.objects([Wanted("model", "flash")], "#3"),
        reading.versions("model", "flash"),
        reading.origins("agent", "my-agent"),
        reading.story("req_1"),
        reading.story("req_2"),
        *reading.search(terms),
        *reading.spending(terms, ["model", "day"]),
    ]
    assert len(answers) == 10
    for answer in answers:
        assert msgspec.json.decode(msgspec.json.encode(answer), type=type(answer)) == answer


def test_only_what_is_wanted_is_given_in_the_order_asked_for(reading: Reading) -> None:
    """Of an agent's models those that it names, in its order; what is missing is refused by name."""
    found = reading.objects([Wanted("model", "sonnet"), Wanted("model", "flash"), Wanted("agent", "my-agent")])
    names = [each["metadata"] for each in (*found.models, *found.agents)]
    assert names == [{"name": "sonnet"}, {"name": "flash"}, {"name": "my-agent"}]
    assert found.secrets == found.keys == []
    used = reading.objects([Wanted("model", agent="my-agent")]).models
    assert [each["metadata"] for each in used] == [{"name": "flash"}, {"name": "sonnet"}]
    with pytest.raises(NotFound, match="there is no model flsh") as refused:
        reading.objects([Wanted("model", "flash"), Wanted("model", "flsh")])
    assert refused.value.hint == "did you mean flash?"


def test_days_are_those_of_who_serves(reading: Reading) -> None:
    """What is used today is that of the trusted day, not of the machine's clock."""
    (flash,) = reading.objects([Wanted("model", "flash")]).models
    assert flash["status"]["usedTokensToday"] == 220  # type: ignore[index]
    assert flash["status"]["reservedTokens"] == 1300  # type: ignore[index]
