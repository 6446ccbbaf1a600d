"""Values and free text on one line."""

from __future__ import annotations

import pytest

from reconciler.core.text import (
    COMPARED_CHARACTERS_MAX,
    COMPARED_MAX,
    TEXT_MAX,
    alike,
    counted,
    cut,
    nearest,
    value_text,
)


def test_text_is_cut_where_there_is_no_more_room() -> None:
    """The mark counts: a line is never longer than it may be."""
    assert cut("x" * TEXT_MAX) == "x" * TEXT_MAX
    assert cut("x" * (TEXT_MAX + 1)) == "x" * (TEXT_MAX - 1) + "…"
    assert cut("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens"), (1234567, "1,234,567 tokens")]
)
def test_number_says_of_what(number: int, said: str) -> None:
    """One is the only one without an s."""
    assert counted(number, "token") == said


def test_few_words_are_all_compared_and_of_many_those_alike() -> None:
    """Up to the most they are taken as they are; beyond, by their first or last two letters. None that is too long."""
    long = "m" * COMPARED_CHARACTERS_MAX
    few = [f"x{n}" for n in range(COMPARED_MAX - 2)] + [long, long + "m"]
    assert alike("model", few) == few[:-1]
    many = [f"x{n:03}" for n in range(COMPARED_MAX)] + [
        "mother",
        "yokel",
        "mel",
        "el",
        long,
        "mo" + long[2:],
        "mo" + long,
    ]
    assert alike("model", many) == ["mother", "yokel", "mel", "el", "mo" + long[2:]]
    assert alike("x", [f"x{n}" for n in range(9 * COMPARED_MAX)]) == [f"x{n}" for n in range(COMPARED_MAX)]


@pytest.mark.parametrize(
    ("word", "near"),
    [("modle", "model"), ("model", "model"), ("delm", "model"), ("mxxxl", ""), ("x", ""), ("agnt", "agent")],
)
def test_misspelled_word_is_taken_for_the_one_most_like_it(word: str, near: str) -> None:
    """By default three letters in five must agree; whoever asks may want more, and none is better than any."""
    assert nearest(word, iter(["models", "model", "agent"])) == near


@pytest.mark.parametrize(("likeness", "near"), [((), "abcxy"), ((0.6,), "abcxy"), ((0.61,), ""), ((0.2,), "abcxy")])
def test_likeness_that_is_asked_for_is_enough(likeness: tuple[float, ...], near: str) -> None:
    """A word that is exactly so much like another is taken."""
    assert nearest("abcde", ["abcxy"], *likeness) == near
    assert nearest("abxyz", ["abcde"]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (False, "false"),
        (1000000, "1,000,000"),
        (1.5, "1.5"),
        ("Text", "Text"),
        ([], "[]"),
        ([1, None, [True]], "[1, none, [true]]"),
        ({}, "{}"),
        ({"a": 1, "b": {"c": [1000]}}, "{a: 1, b: {c: [1,000]}}"),
    ],
)
def test_value_is_written_for_people(value: object, text: str) -> None:
    """JSON's own words, thousands with commas, collections in one line."""
    assert value_text(value) == text
