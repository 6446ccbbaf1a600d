"""`pai usage`: tokens spent by day, model and agent. The same with and without a running daemon."""

from __future__ import annotations

import csv
import io

import pytest

from tests.support import Site, maybe_daemon
from tests.support_tokens import day, forfeited, record, refused, reserved, settled, voided

DAEMON = pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
FIGURES = ["requests", "input", "cached", "output", "reasoning", "charged"]


@pytest.fixture
def spent(team: Site) -> Site:
    """Give a workspace with two days of two agents on two models; what is not spent is there too."""
    record(
        team,
        *(reserved("a", on=day(1)), settled("a", on=day(1), input=1_000, cached=400, output=500, reasoning=100)),
        *(reserved("b"), settled("b", input=2_000, output=8_000, charged=12_000)),
        *(reserved("c"), forfeited("c", tokens=1_300)),
        *(reserved("d", agent="other"), settled("d", agent="other", input=10, output=20)),
        *(reserved("e", "sonnet"), settled("e", "sonnet", input=40, output=60)),
        *(reserved("f"), voided("f"), refused("g"), reserved("h")),
    )
    return team


@DAEMON
def test_usage_by_day_and_model_newest_day_first(spent: Site, daemon: bool) -> None:
    """Settled and forfeited tokens count to the day of the reservation; voided, refused and open ones do not."""
    with maybe_daemon(spent, daemon):
        usage = spent.pai("usage", "until:9999-01-01", "model:flash", "-o", "json").json["usage"]

    today, yesterday = usage
    if not daemon:  # a start may forfeit what was open
        assert today == {
            "day": day(),
            "model": "flash",
            "requests": 3,
            "input": 2_010,
            "cached": 0,
            "output": 8_020,
            "reasoning": 0,
            "charged": 13_330,
        }
    assert list(yesterday) == ["day", "model", *FIGURES]
    assert list(yesterday.values()) == [day(1), "flash", 1, 1_000, 400, 500, 100, 1_500]


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ([], [[day(), "flash", 13_330], [day(), "sonnet", 100], [day(1), "flash", 1_500]]),
        (["--by", "model"], [["flash", 14_830], ["sonnet", 100]]),
        (["--by", "agent,day"], [["my-agent", day(), 13_400], ["my-agent", day(1), 1_500], ["other", day(), 30]]),
        (["agent:other"], [[day(), "flash", 30]]),
        (["-model:flash", "--by", "agent"], [["my-agent", 100]]),
        (["request:c", "--by", "day"], [[day(), 1_300]]),
        (["since:1h", "--by", "day"], [[day(), 13_430], [day(1), 1_500]]),
        (["until:2020-01-01"], []),
        (["model:nobody"], []),
    ],
    ids=lambda value: " ".join(map(str, value)) if value and isinstance(value[0], str) else "",
)
def test_terms_choose_and_keys_group(spent: Site, words: list[str], groups: list[list[object]]) -> None:
    """The terms are those of pai log, times are the events'; names go from a to z, days from new to old."""
    usage = spent.pai("usage", *words, "-o", "json").json["usage"]

    keys = [name for name in ("day", "model", "agent") if usage and name in usage[0]]
    if words[:2] == ["--by", "agent,day"]:
        keys = ["agent", "day"]
    assert [[*(group[key] for key in keys), group["charged"]] for group in usage] == groups


def test_table_has_separators_and_bars(spent: Site) -> None:
    """Numbers end flush; the longest bar is the most charged group's, and whatever is not 0 can be seen."""
    lines = spent.pai("usage").out.splitlines()

    assert lines[0].split() == ["DAY", "MODEL", *(name.upper() for name in FIGURES)]
    assert lines[1].split() == [day(), "flash", "3", "2,010", "0", "8,020", "0", "13,330", "█" * 20]
    bars = [line.split()[-1] for line in lines[1:]]
    assert bars[1:] == ["▏", "██▎"]
    charged = zip(lines[1:], ("13,330", "100", "1,500"), strict=True)
    assert len({line.index(number) + len(number) for line, number in charged}) == 1


def test_bars_are_ascii_where_nothing_else_can_be_printed(spent: Site) -> None:
    """A terminal or file that takes no Unicode gets number signs."""
    out = spent.pai("usage", env={"PYTHONIOENCODING": "ascii"}).out

    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["#" * 20, "#", "##"]


def test_csv_has_the_figures_of_json(spent: Site) -> None:
    """A header and a row a group, plain numbers, no bars."""
    rows = list(csv.DictReader(io.StringIO(spent.pai("usage", "-o", "csv").out)))
    usage = spent.pai("usage", "-o", "json").json["usage"]

    assert rows == [{key: str(value) for key, value in group.items()} for group in usage]
    assert list(rows[0]) == ["day", "model", *FIGURES]


def test_nothing_spent_is_no_error(team: Site) -> None:
    """An empty list, a header alone, one line on stderr."""
    assert team.pai("usage", "-o", "json").json == {"usage": []}
    assert team.pai("usage", "-o", "yaml").out == "usage: []\n"
    assert team.pai("usage", "-o", "wide").err == "no tokens were spent\n"
    assert team.pai("usage", "-o", "csv").out == ",".join(["day", "model", *FIGURES]) + "\n"
    done = team.pai("usage")
    assert (done.out, done.err) == ("", "no tokens were spent\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "week"], "day, model, agent"),
        (["--by", ""], "day, model, agent"),
        (["modle:x"], "did you mean model:?"),
        (["-o", "xml"], "xml"),
    ],
    ids=" ".join,
)
def test_wrong_usage_says_what_is_meant(team: Site, words: list[str], said: str) -> None:
    """Exit 2, nothing on stdout."""
    done = team.pai("usage", *words, code=2)

    assert done.out == ""
    assert said in done.err
