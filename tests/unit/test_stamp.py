"""Times never go back, ids always grow, and both read back."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.log.stamp import Stamper, format_time, format_ulid, parse_time, parse_ulid, wall_clock

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


def test_time_and_ulid_are_written_as_the_contract_says() -> None:
    """The first and the last, and one between: dates, microseconds, letters."""
    assert format_time(0) == "1970-01-01T00:00:00.000000Z"
    assert format_time(1_795_428_251_000_456) == "2026-11-23T10:04:11.000456Z"
    assert parse_time("2026-11-23T11:04:11.000456+01:00") == 1_795_428_251_000_456
    assert format_ulid(0) == "0" * 26
    assert format_ulid(2**128 - 1) == "7" + "Z" * 25
    assert parse_ulid("01ARZ3NDEKTSV4RRFFQ69G5FAV") == 0x01563E3AB5D3D6764C61EFB99302BD5B  # the specification's own


@pytest.mark.parametrize("text", ["0" * 27, "0" * 25 + "ü", "0" * 25 + "u", "8" + "0" * 25])
def test_ulid_refusal_quotes_the_text(text: str) -> None:
    """Length, letters and the highest first letter."""
    with pytest.raises(ValueError, match=f"^'{text}' is no ULID$"):
        parse_ulid(text)


def test_time_without_a_zone_is_quoted() -> None:
    """A time of nowhere is none."""
    with pytest.raises(ValueError, match=r"^'2026-11-23T10:04:11' has no time zone$"):
        parse_time("2026-11-23T10:04:11")


def test_wall_clock_is_that_of_the_machine_in_microseconds() -> None:
    """Between two readings of the machine's own."""
    before = time.time_ns() // 1000
    assert before <= wall_clock() <= time.time_ns() // 1000


def test_id_is_its_millisecond_and_random_bits_then_counts_up() -> None:
    """Random bytes are asked for many at once; within a millisecond each id is the one before plus one."""
    clock = iter([1_000, 1_999, 2_000, 2_500, 1_000_000, 999_000_000_000])
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return bytes(range(1, 11)) * (count // 10)

    stamper, bits = Stamper(lambda: next(clock), random), int.from_bytes(range(1, 11), "big")
    assert [(stamper.now(), parse_ulid(stamper.next_id())) for _ in range(6)] == [
        ("1970-01-01T00:00:00.001000Z", (1 << 80) + bits),
        ("1970-01-01T00:00:00.001999Z", (1 << 80) + bits + 1),
        ("1970-01-01T00:00:00.002000Z", (2 << 80) + bits),
        ("1970-01-01T00:00:00.002500Z", (2 << 80) + bits + 1),
        ("1970-01-01T00:00:01.000000Z", (1000 << 80) + bits),
        ("1970-01-12T13:30:00.000000Z", (999_000_000 << 80) + bits),
    ]
    assert asked == [2560]


def test_random_bytes_are_used_once() -> None:
    """Each new millisecond takes ten of them; when they are used up, as many are asked for again."""
    clock = iter(range(1_000, 1_000_000, 1_000))
    given = [os.urandom(2560), os.urandom(2560)]
    left = iter(given)
    stamper = Stamper(lambda: next(clock), lambda _: next(left))
    for n in range(300):
        stamper.now()
        random = b"".join(given)[10 * n : 10 * n + 10]
        assert parse_ulid(stamper.next_id()) & (1 << 80) - 1 == int.from_bytes(random, "big")


def test_what_was_seen_is_never_given_again() -> None:
    """An earlier time or a lower id that is seen later changes nothing."""
    stamper = Stamper(lambda: 0, os.urandom)
    for seen_time, seen_id in (("1970-01-01T00:00:09Z", 7), ("1970-01-01T00:00:05Z", 5)):
        stamper.see(seen_time, format_ulid(seen_id << 100))
    assert stamper.now() == "1970-01-01T00:00:09.000000Z"
    assert parse_ulid(stamper.next_id()) == (7 << 100) + 1
    with pytest.raises(ValueError, match="no ULID"):
        stamper.see("1970-01-01T00:00:09Z", "none")


def test_first_moment_of_all_has_a_time() -> None:
    """A clock that stands at nothing, as in tests, is a clock."""
    assert Stamper(lambda: 0, os.urandom).now() == "1970-01-01T00:00:00.000000Z"


def test_id_counts_over_the_end_of_its_last_letters() -> None:
    """What the ids of a batch have in common is not carried on where it changes."""
    stamper, last = Stamper(lambda: 0, os.urandom), (7 << 100) + (1 << 20) - 3
    stamper.see("1970-01-01T00:00:00Z", format_ulid(last))
    assert [parse_ulid(stamper.next_id()) - last for _ in range(5)] == [1, 2, 3, 4, 5]
