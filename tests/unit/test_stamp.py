"""Times never go back, ids always grow, and both read back."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.log.stamp import Stamper, format_time, format_ulid, parse_time, parse_ulid

DAY_US = 86_400_000_000


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))
def test_time_text_reads_back(moment: datetime) -> None:
    """Times are written with microseconds in UTC and read back exactly."""
    text = moment.replace(tzinfo=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert format_time(parse_time(text)) == text


@given(st.integers(0, 2**128 - 1))
def test_ulid_reads_back_and_sorts_like_its_number(value: int) -> None:
    """A ULID's text has 26 letters, reads back, and its order is that of the number."""
    text = format_ulid(value)
    assert len(text) == 26
    assert parse_ulid(text) == value
    assert (text < format_ulid(2**127)) == (value < 2**127)


@given(st.lists(st.integers(-DAY_US, 3 * DAY_US), min_size=1, max_size=50))
def test_stamps_grow_whatever_the_clock_does(readings: list[int]) -> None:
    """With a clock that jumps both ways, times never go back and ids strictly grow, as numbers and as text."""
    clock = iter(readings)
    stamper = Stamper(lambda: 1_800_000_000_000_000 + next(clock), os.urandom)
    stamps = [(stamper.now(), stamper.next_id()) for _ in readings]
    times, ids = [time for time, _ in stamps], [ulid for _, ulid in stamps]
    assert times == sorted(times)
    assert ids == sorted(set(ids))
    assert all(format_time(parse_time(time)) == time for time in times)


def test_stamper_continues_what_it_has_seen() -> None:
    """After a restart with a clock in the past, times and ids go on from the last event."""
    stamper = Stamper(lambda: 0, os.urandom)
    stamper.see("2030-01-01T00:00:00.000001Z", "7ZZZZZZZZZZZZZZZZZZZZZZZZY")
    assert stamper.now() == "2030-01-01T00:00:00.000001Z"
    assert stamper.next_id() == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


@pytest.mark.parametrize("text", ["", "8" + "Z" * 25, "I" * 26, "0" * 25, "o" * 26])
def test_ulid_refuses_other_text(text: str) -> None:
    """What no ULID looks like is refused."""
    with pytest.raises(ValueError, match="no ULID"):
        parse_ulid(text)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-23T10:04:11"])
def test_time_refuses_other_text(text: str) -> None:
    """A time without a zone, or no time at all, is refused."""
    with pytest.raises(ValueError, match=r"zone|Invalid"):
        parse_time(text)
