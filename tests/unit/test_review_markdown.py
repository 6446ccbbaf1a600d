"""Text of manifests in a comment: always one code span on one line, whatever it is made of."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.objects import Kind
from reconciler.forges.publishing import fitted, marker
from reconciler.review.findings import Field, ObjectChange, Review
from reconciler.review.markdown import FIELDS_MAX, code, markdown

PIECES = st.lists(
    st.sampled_from(
        ["`", "``", "```", "<!-- ", "-->", "\n", "\r", " ", "|", "\\", "@team", "</code>", "\u202e", "\x1b["]
    )
    | st.characters(),
    max_size=12,
).map("".join)


@given(PIECES)
@example("")
@example("`")
@example(" ` ")
@example("``` `` `")
def test_code_is_one_span_whatever_is_in_it(text: str) -> None:
    """As CommonMark reads it: the first run of backticks ends at the next run of the same length, which is the end."""
    shown = code(text)
    fence = re.match("`+", shown)
    assert fence is not None
    runs = [run for run in re.finditer("`+", shown) if len(run[0]) == len(fence[0])]
    assert [runs[0].start(), runs[1].end(), len(runs)] == [0, len(shown), 2]
    assert shown.isprintable()
    assert "<!--" not in shown


@given(st.text(alphabet="ab \n", max_size=400), st.integers(150, 300))
def test_fitted_comment_is_never_too_long(body: str, most: int) -> None:
    """What fits is left alone; what is cut says so."""
    kept = fitted(body, most)
    assert len(kept) <= max(most, 0)
    assert kept == body if len(body) <= most else "The rest is left out" in kept


def test_marker_is_a_comment_that_says_whose_it_is() -> None:
    """It names its context, and what is hidden on a page."""
    assert marker("pai/review") == "<!-- pai/review: kept up to date by pai review -->"


@pytest.mark.parametrize(
    ("kind", "names", "noise"),
    [
        (
            "model",
            ("metadata.annotations.pai.io/unbounded-input", "maxTokensPerDay", "model"),
            "metadata.annotations.a",
        ),
        ("agent", ("modelBindings",), "a"),
    ],
)
def test_fields_that_pai_goes_by_are_listed_among_very_many(kind: Kind, names: tuple[str, ...], noise: str) -> None:
    """Who adds fifty annotations does not hide another model, or leave to pass a budget, behind them."""
    many = [*names, *(f"{noise}{number:03d}" for number in range(2 * FIELDS_MAX))]
    fields = tuple(Field(name, None, "x", 1) for name in sorted(many))
    change = ObjectChange(kind, "m", "changed", "a.yaml", 1, fields)
    lines = list(markdown(Review("1" * 40, "2" * 40, (change,), (), (), (), ())))
    listed = [line.split("`")[1] for line in lines if line.startswith("  - `")]
    assert len(listed) == FIELDS_MAX
    assert listed == sorted(listed)
    assert set(names) <= set(listed)
    assert f"  - ... and {len(fields) - FIELDS_MAX} more fields" in lines
