"""Whose connection is closed where all are taken."""

from __future__ import annotations

from reconciler.listening.connection_places import LOOKED_MAX, STRANGER, Places


class Guest:
    """A connection that is idle or busy."""

    def __init__(self, name: str, *, busy: bool = False) -> None:
        self.name = name
        self.busy = busy

    def gives_way(self) -> bool:
        """Tell whether it is idle."""
        return not self.busy

    def abort(self) -> None:
        """Do nothing."""


def entered(places: Places, owner: str, number: int, *, busy: bool = False) -> list[Guest]:
    """Let so many connections of an owner in."""
    guests = [Guest(f"{owner}{count}", busy=busy) for count in range(number)]
    for guest in guests:
        places.enter(guest, owner)
    return guests


def test_stranger_who_came_first_gives_way() -> None:
    """Who is new has had no time yet to show a key."""
    places = Places()
    entered(places, "robot", 10)
    strangers = entered(places, STRANGER, 10)
    assert places.giving_way(20) is strangers[0]
    places.leave(strangers[0], STRANGER)
    places.leave(strangers[0], STRANGER)
    assert places.giving_way(20) is strangers[1]


def test_newcomers_have_an_eighth() -> None:
    """One agent that holds all connections, idle, keeps nobody out: it has most, and gives them up one by one."""
    places = Places()
    mine = entered(places, "greedy", 70)
    entered(places, "robot", 10)
    entered(places, STRANGER, 10)
    assert places.giving_way(80) is mine[0]
    entered(places, STRANGER, 1)
    assert places.giving_way(80) not in mine


def test_who_is_busy_is_passed_over() -> None:
    """It is looked at again last."""
    places = Places()
    (one,) = entered(places, "robot", 1)
    busy = entered(places, STRANGER, 3, busy=True)
    assert places.giving_way(4) is one
    places.leave(one, "robot")
    assert places.giving_way(4) is None
    busy[1].busy = False
    assert places.giving_way(4) is busy[1]


def test_look_has_an_end_and_goes_on_the_next_time() -> None:
    """Thousands of busy ones are not looked at for each newcomer."""
    places = Places()
    entered(places, STRANGER, LOOKED_MAX, busy=True)
    (idle,) = entered(places, STRANGER, 1)
    assert places.giving_way(1) is None
    assert places.giving_way(1) is idle
