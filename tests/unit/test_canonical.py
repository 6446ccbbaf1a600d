"""Canonical JSON against an independent implementation of RFC 8785."""

import json
import math
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.canonical import MAX_SAFE_INTEGER, as_json_reads, canonical, ecmascript_number

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
