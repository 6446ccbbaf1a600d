"""Canonical JSON against an independent implementation of RFC 8785."""

import json
import math
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.canonical import (
    MAX_SAFE_INTEGER,
    as_json_reads,
    canonical,
    ecmascript_number,
    is_plain,
    same_value,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(JSON)
def test_canonical_agrees_with_an_independent_implementation(value: object) -> None:
    """Any JSON value gets the bytes that the rfc8785 package gives it."""
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(JSON)
def test_canonical_reads_back_as_the_same_value(value: object) -> None:
    """Nothing is lost on the way through canonical bytes."""
    assert json.loads(canonical(value), parse_int=float) == json.loads(json.dumps(value), parse_int=float)


def test_canonical_sorts_keys_by_utf16_code_units() -> None:
    """An astral key stands before a BMP key above the surrogates, as UTF-16 orders them."""
    assert canonical({"\ue000": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ue000":1}'.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (1e21, "1e+21"),
        (1.5e22, "1.5e+22"),
        (1e20, "100000000000000000000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.1, "0.1"),
    ],
)
def test_number_is_written_as_ecmascript_does(value: float, text: str) -> None:
    """Floats follow ECMAScript's Number::toString at its turning points."""
    assert ecmascript_number(value) == text


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1, "\ud800"]
)
def test_value_without_canonical_form_is_refused(value: object) -> None:
    """What JSON readers would not all keep exactly raises ValueError, wherever it stands."""
    with pytest.raises(ValueError, match=r"."):
        canonical({"deep": [value]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "nan has no JSON form"),
        (MAX_SAFE_INTEGER + 1, f"{MAX_SAFE_INTEGER + 1} is beyond what JSON keeps exactly"),
        ("\ud800", "text that is not Unicode: "),
    ],
)
def test_refusal_says_what_is_wrong_with_the_value(value: object, message: str) -> None:
    """People find the value by it."""
    with pytest.raises(ValueError, match=f"^{message}"):
        canonical(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, True),
        ("ü", True),
        (MAX_SAFE_INTEGER, True),
        (-MAX_SAFE_INTEGER, True),
        (MAX_SAFE_INTEGER + 1, False),
        (-MAX_SAFE_INTEGER - 1, False),
        (1.0, False),
        ((), False),
        ([], True),
        ({}, True),
        ({"a": [True, 1, {"b": None}], "c": {"d": ["x"]}}, True),
        ({"ü": 1}, False),
        ({"a": {"ü": 1}}, False),
        (["x", 1.5], False),
        ([1, 1.5], False),
        ([{}, 1.5], False),
        ({"a": {"b": 2.0}}, False),
        ({"a": [MAX_SAFE_INTEGER + 1]}, False),
    ],
)
def test_plain_is_what_msgspec_writes_canonically_itself(value: object, plain: bool) -> None:
    """Every kind of value, and every place that it may stand in; the quick way is taken where it may be."""
    assert is_plain(value) is plain


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (0, False, False),
        (1, 1.0, False),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, True),
        ({"a": {"b": 1}}, {"a": {"b": True}}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, [("a", 1)], False),
        ([1], {"a": 1}, False),
        ([1], "1", False),
        ([1, 2], [1], False),
        ([1], [1, 2], False),
        ([1, [0]], [1, [False]], False),
    ],
)
def test_values_are_compared_as_json_does(one: object, other: object, same: bool) -> None:
    """A truth value is no number, and a list that goes on is another list."""
    assert same_value(one, other) is same


def test_whole_numbers_are_read_as_integers_as_far_as_json_keeps_them() -> None:
    """The last integer that is kept is one, the next stays what it was."""
    found = [as_json_reads(value) for value in (2.0, float(MAX_SAFE_INTEGER), float(MAX_SAFE_INTEGER + 1), 0.5)]
    assert [(number, type(number)) for number in found] == [
        (2, int),
        (MAX_SAFE_INTEGER, int),
        (float(MAX_SAFE_INTEGER + 1), float),
        (0.5, float),
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_that_json_gives_back_is_stable(value: float) -> None:
    """What `as_json_reads` gives is what a reader gets, so a state folded live equals one replayed."""
    settled = as_json_reads(value)
    if not (isinstance(settled, float) and settled.is_integer() and abs(settled) < 1e21):
        read = json.loads(canonical(settled))
        assert read == settled
        assert type(read) is type(settled)


def test_no_module_of_the_core_does_input_or_output() -> None:
    """The core stays pure: it imports nothing that reads clocks, files, sockets or randomness."""
    impure = {"os", "time", "socket", "random", "secrets", "pathlib", "subprocess", "datetime", "threading", "asyncio"}
    core = Path(__file__).parents[2] / "reconciler" / "core"
    for module in core.glob("*.py"):
        lines = module.read_text().splitlines()
        imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert not imported & impure, module.name
