"""Grants at every boundary, and what is drafted for reservations and their outcomes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ask, Denial, Grant, Ledger, Limits, Reservation, grant
from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import NotFound
from reconciler.core.objects import BindingSpec
from reconciler.core.reservations import (
    ABOVE,
    NO_DURATIONS,
    UNLIMITED_TOKENS_MAX,
    UNUSABLE,
    Denied,
    Usage,
    forfeit,
    forfeit_open,
    reserve,
    settle,
    void,
    weigh,
)
from reconciler.core.standing import Standing
from reconciler.core.state import State

DAY = "2026-11-23"
TOOK = ev.Durations(412, 1630)
USED = Usage(input=41, cached=7, cache_write=3, output=187, reasoning=60, charged=228)


@pytest.mark.parametrize(
    ("limit", "used", "reserved", "given"),
    [
        (1000, 0, 0, Grant(50, 100)),
        (1000, 400, 500, Grant(50, 100)),  # exactly what is left
        (1000, 400, 501, Denial("day", 100, 99)),
        (1000, 901, 0, Denial("day", 100, 99)),
        (1000, 0, 1000, Denial("day", 100, 0)),
        (1000, 3000, 0, Denial("day", 100, 0)),  # lowered below what is used
        (100, 0, 0, Grant(50, 100)),
        (99, 0, 0, Denial("day", 100, 99)),
        (1, 0, 0, Denial("day", 100, 1)),
        (None, 3000, 3000, Grant(50, 100)),
    ],
)
def test_grant_fits_into_what_used_and_reserved_leave(
    limit: int | None, used: int, reserved: int, given: Grant | Denial
) -> None:
    """Settled, forfeited and reserved tokens count alike; the last token may be reserved, none beyond it."""
    asked = Ask(input=50, counted=50, output=50)

    assert grant(Limits(limit), Account(DAY, used, reserved), asked, lower=False) == given


@pytest.mark.parametrize(
    ("left", "choices", "given"),
    [
        (1000, 1, Grant(100, 150)),
        (149, 1, Grant(99, 149)),
        (60, 1, Grant(10, 60)),
        (59, 1, Denial("day", 60, 59)),  # the provider takes no output limit below 10
        (0, 1, Denial("day", 60, 0)),
        (149, 3, Grant(33, 149)),
        (150, 3, Grant(33, 149)),  # a token that no choice can have is not reserved
        (152, 3, Grant(34, 152)),
        (80, 3, Grant(10, 80)),
        (79, 3, Denial("day", 80, 79)),
        (50, 0, Grant(100, 50)),  # an embedding has no output
        (49, 0, Denial("day", 50, 49)),
    ],
)
def test_lowered_output_shares_what_is_left_among_the_choices(left: int, choices: int, given: Grant | Denial) -> None:
    """The output limit of each choice is the largest that fits, down to the least that the provider takes."""
    asked = Ask(input=50, counted=50, output=100, choices=choices, least=10)

    assert grant(Limits(1000), Account(DAY, 1000 - left, 0), asked, lower=True) == given


def test_output_is_lowered_only_where_it_may_be() -> None:
    """Without `lower` a request that would have to be lowered is denied, with what it needs as asked."""
    asked = Ask(input=50, counted=50, output=100)

    assert grant(Limits(150), Account(DAY), asked, lower=False) == Grant(100, 150)
    assert grant(Limits(149), Account(DAY), asked, lower=False) == Denial("day", 150, 149)
    assert grant(Limits(None, 149), Account(DAY), asked, lower=False) == Denial("request", 150, 149)


def test_output_below_the_least_is_granted_as_asked() -> None:
    """A client that asks for less than the provider's least gets what it asked for, and the provider's own answer."""
    asked = Ask(input=50, counted=50, output=2, least=16)

    assert grant(Limits(52), Account(DAY), asked, lower=True) == Grant(2, 52)
    assert grant(Limits(51), Account(DAY), asked, lower=True) == Denial("day", 52, 51)


def test_limit_of_one_request_counts_its_best_figure() -> None:
    """One request is judged by its counted input, the day by the bound; the lower of both rooms is given."""
    asked = Ask(input=500, counted=60, output=100)

    assert grant(Limits(None, 160), Account(DAY), asked, lower=False) == Grant(100, 600)
    assert grant(Limits(None, 159), Account(DAY), asked, lower=True) == Grant(99, 599)
    assert grant(Limits(None, 61), Account(DAY), asked, lower=True) == Grant(1, 501)
    assert grant(Limits(None, 60), Account(DAY), asked, lower=True) == Denial("request", 61, 60)
    assert grant(Limits(540, 159), Account(DAY), asked, lower=True) == Grant(40, 540)
    assert grant(Limits(599, 80), Account(DAY), asked, lower=True) == Grant(20, 520)
    assert grant(Limits(500, 159), Account(DAY), asked, lower=True) == Denial("day", 501, 500)


NEAR = st.integers(0, 130)
LIMIT = st.none() | st.integers(1, 130)


@given(
    limits=st.builds(Limits, LIMIT, LIMIT),
    account=st.builds(Account, st.just(DAY), NEAR, NEAR),
    asked=st.builds(Ask, NEAR, NEAR, NEAR, st.integers(0, 4), st.integers(1, 20)),
    lower=st.booleans(),
)
@example(limits=Limits(1), account=Account(DAY, 0, 2), asked=Ask(0, 0, 0, 0, 1), lower=False)
def test_grant_is_the_largest_that_fits_and_denial_is_certain(
    limits: Limits, account: Account, asked: Ask, lower: bool
) -> None:
    """A grant never passes a limit, one token more per choice would, and a denial means that the least does not fit."""

    def fits(output: int) -> bool:
        outputs = output * asked.choices
        taken = (
            account.used + account.reserved
        )  # may be above a limit that was lowered; what costs nothing fits then too
        day = limits.per_day is None or asked.input + outputs <= max(0, limits.per_day - taken)
        return day and (limits.per_request is None or asked.counted + outputs <= limits.per_request)

    least = min(asked.output, asked.least) if lower else asked.output
    decided = grant(limits, account, asked, lower=lower)

    if isinstance(decided, Denial):
        assert not fits(least)
        assert decided.needed > decided.remaining >= 0
    else:
        assert fits(decided.output)
        assert least <= decided.output <= asked.output
        assert decided.output == asked.output or not fits(decided.output + 1)
        assert decided.tokens == asked.input + decided.output * asked.choices


# The decisions.


def fold(state: State, *drafts: ev.Draft) -> None:
    """Fold drafts as the recorder does."""
    for draft in drafts:
        body = ev.encode(ev.Event(draft.actor, draft.payload, "id", draft.subject, f"{DAY}T00:00:00.000000Z"))
        state.apply(ev.decode(body))


def with_binding(limit: int | None = 1000, per_request: int | None = None) -> State:
    """Give a state with the binding `m`, written at position 3."""
    state = State(position=3)
    spec = BindingSpec("gemini", "gemini-2.0-flash", limit, per_request).written()
    payload = ev.BindingCreated(spec=spec, previous=None, changed=[], file="m.yaml", line=1, revision="a" * 40)
    fold(state, ev.Draft("ann", "model/m", payload))
    return state


def hold(state: State, request: str, tokens: int = 100, day: str = DAY) -> ev.TokensReserved:
    """Reserve tokens for a request, and give what was recorded."""
    asked = Ask(input=tokens, counted=0, output=0)
    made = reserve(state, "m", asked, lower=False, day=day, request=request, agent="a", key="key-1", surface="openai")
    fold(state, made.draft)
    assert isinstance(made.draft.payload, ev.TokensReserved)
    return made.draft.payload


def test_reservation_records_what_it_was_decided_on() -> None:
    """The draft names the agent as actor, the binding's version, the day, and all choices' output together."""
    state = with_binding(1000)

    made = reserve(
        state,
        "m",
        Ask(300, 80, 100, choices=3),
        lower=True,
        day=DAY,
        request="r",
        agent="a",
        key="key-1",
        surface="openai",
    )

    assert made.grant == Grant(100, 600)
    assert made.draft == ev.Draft(
        "a",
        "model/m",
        ev.TokensReserved(
            request="r",
            agent="a",
            key="key-1",
            surface="openai",
            day=DAY,
            tokens=600,
            input=300,
            output=300,
            binding=3,
        ),
    )


def test_reservation_without_binding_or_room_is_refused() -> None:
    """A binding that is not in force is not found; a denial says what was needed, what is left, and of which day."""
    state = with_binding(1000, 500)
    with pytest.raises(NotFound, match="model/other"):
        reserve(state, "other", Ask(1, 1, 1), lower=True, day=DAY, request="r", agent="a", key="", surface="openai")
    hold(state, "r", 1000)
    with pytest.raises(Denied, match="needs 1 tokens, 0 of 1,000 are left on 2026-11-23") as caught:
        hold(state, "s", 1)
    assert caught.value.denial == Denial("day", 1, 0)
    assert caught.value.standing == Standing(1000, Account(DAY, 0, 1000))
    assert caught.value.model == "m"
    with pytest.raises(Denied, match="needs 501 tokens, one request may use 500"):
        reserve(state, "m", Ask(0, 501, 0), lower=True, day=DAY, request="s", agent="a", key="", surface="openai")


def test_request_holds_one_reservation_at_most() -> None:
    """Reserving again under an open request's id is a bug, as is a negative figure."""
    state = with_binding()
    hold(state, "r")
    with pytest.raises(AssertionError):
        hold(state, "r")
    for field in Ask._fields:
        with pytest.raises(AssertionError):
            weigh(state, "m", Ask(1, 1, 1)._replace(**{field: -1}), lower=False, day=DAY)


def test_day_of_a_reservation_never_goes_back() -> None:
    """Once a day was counted to, an earlier one is not: its budget is not handed out a second time."""
    state = with_binding(100)
    assert hold(state, "r", 100, "2026-11-24").day == "2026-11-24"
    with pytest.raises(Denied, match="2026-11-24"):
        hold(state, "s", 1, "2026-11-23")
    assert hold(state, "t", 100, "2026-11-25").day == "2026-11-25"


def test_settled_takes_model_agent_and_day_from_the_reservation() -> None:
    """What is settled after midnight counts to the day before, and leaves the new day alone."""
    state = with_binding(1000)
    hold(state, "r", 300, DAY)
    hold(state, "s", 500, "2026-11-24")

    drafts = settle(state, "r", USED, status=200, durations=TOOK)
    fold(state, *drafts)

    assert drafts == [
        ev.Draft(
            "a",
            "model/m",
            ev.TokensSettled(
                request="r",
                agent="a",
                day=DAY,
                status=200,
                durations=TOOK,
                reason="",
                input=41,
                cached=7,
                cache_write=3,
                output=187,
                reasoning=60,
                charged=228,
            ),
        )
    ]
    assert state.ledger.account("m", "2026-11-24") == Account("2026-11-24", 0, 500)


@pytest.mark.parametrize("first", ["settle", "void", "forfeit", "forfeit_open"])
def test_second_outcome_of_any_kind_is_no_event(first: str) -> None:
    """After one outcome every further one gives nothing, and the account stays."""
    state = with_binding()
    hold(state, "r", 300)

    def outcomes() -> dict[str, list[ev.Draft]]:
        return {
            "settle": settle(state, "r", USED, status=200, durations=TOOK),
            "void": void(state, "r", status=429, durations=TOOK, reason="upstream error"),
            "forfeit": forfeit(state, "r", status=200, durations=TOOK, reason="no usage"),
            "forfeit_open": forfeit_open(state, "restart"),
        }

    drafts = outcomes()[first]
    fold(state, *drafts)

    assert len(drafts) == 1
    charged = {"settle": 228, "void": 0}.get(first, 300)
    assert state.ledger.account("m", DAY) == Account(DAY, charged, 0)
    assert outcomes() == {"settle": [], "void": [], "forfeit": [], "forfeit_open": []}


def test_charge_above_the_reservation_counts_and_is_marked() -> None:
    """What a provider charged beyond the bound is not hidden: it counts, and the reason says so."""
    state = with_binding(1000)
    hold(state, "r", 227)
    (draft,) = settle(state, "r", USED, status=200, durations=TOOK)
    fold(state, draft)
    assert isinstance(draft.payload, ev.TokensSettled)
    assert draft.payload.reason == ABOVE
    assert state.ledger.account("m", DAY) == Account(DAY, 228, 0)
    hold(state, "s", 228)
    (draft,) = settle(state, "s", USED, status=200, durations=TOOK)
    assert isinstance(draft.payload, ev.TokensSettled)
    assert draft.payload.reason == ""


@pytest.mark.parametrize("field", Usage._fields)
@pytest.mark.parametrize("figure", [-1, MAX_SAFE_INTEGER + 1, 12.5])
def test_figures_that_cannot_be_stored_forfeit_the_reservation(field: str, figure: int) -> None:
    """Negative, enormous and broken figures are not recorded; all that was reserved counts."""
    state = with_binding()
    hold(state, "r", 300)

    (draft,) = settle(state, "r", USED._replace(**{field: figure}), status=200, durations=TOOK)
    fold(state, draft)

    assert isinstance(draft.payload, ev.TokensForfeited)
    assert (draft.payload.reason, draft.payload.tokens) == (UNUSABLE, 300)
    assert state.ledger.account("m", DAY) == Account(DAY, 300, 0)


def test_largest_figure_that_can_be_stored_is_settled() -> None:
    """2^53 - 1 tokens are charged as the provider says, and a sum beyond it stays there."""
    state = with_binding(None)
    for request in ("r", "s"):
        hold(state, request)
        fold(state, *settle(state, request, USED._replace(charged=MAX_SAFE_INTEGER), status=200, durations=TOOK))
    assert state.ledger.account("m", DAY) == Account(DAY, MAX_SAFE_INTEGER, 0)


def test_restart_forfeits_every_open_reservation() -> None:
    """Reservations of all days and bindings are forfeited by Pai itself, also where the binding is gone."""
    state = with_binding()
    hold(state, "r", 300, DAY)
    hold(state, "s", 200, "2026-11-24")
    gone = ev.BindingDeleted(spec=None, previous={}, changed=[], file="m.yaml", line=1, revision="b" * 40)
    fold(state, ev.Draft("ann", "model/m", gone))

    drafts = forfeit_open(state, "restart")
    fold(state, *drafts)

    told = [(d.actor, d.subject, d.payload) for d in drafts]
    assert told == [
        (
            "pai",
            "model/m",
            ev.TokensForfeited(
                request=request,
                agent="a",
                day=day,
                status=0,
                durations=NO_DURATIONS,
                reason="restart",
                tokens=tokens,
            ),
        )
        for request, day, tokens in (("r", DAY, 300), ("s", "2026-11-24", 200))
    ]
    assert state.ledger.open == {}
    assert state.ledger.account("m", "2026-11-24") == Account("2026-11-24", 200, 0)


def test_reservation_without_a_daily_limit_can_always_be_stored() -> None:
    """An absurd output limit on an unlimited binding is noted as 10^12 tokens, and goes out as it was asked."""
    state = with_binding(None)
    for number in range(3):
        made = reserve(
            state,
            "m",
            Ask(10, 10, MAX_SAFE_INTEGER, choices=128),
            lower=True,
            day=DAY,
            request=str(number),
            agent="a",
            key="",
            surface="openai",
        )
        fold(state, made.draft)
        assert made.grant.output == MAX_SAFE_INTEGER
    assert state.ledger.account("m", DAY).reserved == 3 * UNLIMITED_TOKENS_MAX


def test_limits_are_those_of_the_spec() -> None:
    """A limit that is not set is none."""
    assert with_binding(7, 5).models["m"].binding.limits == Limits(7, 5)
    assert with_binding(None).models["m"].binding.limits == Limits(None, None)


def test_reservation_notes_no_more_than_there_can_be() -> None:
    """Without a daily limit a bound of our own is noted, with one the limit, whatever the request might cost."""
    asked = Ask(2 * UNLIMITED_TOKENS_MAX, 0, 7)
    made = reserve(with_binding(None), "m", asked, lower=False, day=DAY, request="r", agent="a", key="", surface="x")
    payload = made.draft.payload
    assert isinstance(payload, ev.TokensReserved)
    assert (payload.tokens, payload.input, payload.output) == (UNLIMITED_TOKENS_MAX, UNLIMITED_TOKENS_MAX, 7)
    assert payload.node == ""
    noted = hold(with_binding(2 * UNLIMITED_TOKENS_MAX), "r", UNLIMITED_TOKENS_MAX + 1)
    assert (noted.tokens, noted.input) == (UNLIMITED_TOKENS_MAX + 1, UNLIMITED_TOKENS_MAX + 1)


def test_frozen_ledger_keeps_its_day() -> None:
    """What was counted to a day is not handed out a second time by the copy."""
    ledger = Ledger("2026-11-24", {"m": Account("2026-11-24", 5)}, {})
    assert ledger.freeze() == ledger
    assert ledger.freeze().account("m", ledger.freeze().today(DAY)) == Account("2026-11-24", 5)


def test_outcome_of_an_older_day_leaves_later_accounts_alone() -> None:
    """The fold of outcomes is by day: only the account of the reservation's own day changes."""
    ledger = Ledger()
    ledger.reserve("r", Reservation("m", "a", DAY, 100, 0))
    ledger.reserve("s", Reservation("m", "a", "2026-11-24", 50, 1))
    ledger.resolve("r", 80)
    ledger.resolve("r", 80)
    assert ledger.account("m", "2026-11-24") == Account("2026-11-24", 0, 50)
    ledger.resolve("s", 20)
    assert ledger.account("m", "2026-11-24") == Account("2026-11-24", 20, 0)
    assert ledger.account("m", DAY) == Account(DAY)
