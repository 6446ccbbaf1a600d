"""The decisions of the ledger: what may be reserved, and what becomes of a reservation, as drafts of events.

To be called inside a decision of the recorder, whose state holds everything that was decided before.

Invariants
- Reserved is only for a binding in force, within its limits of that moment, for a request that holds nothing yet.
- An outcome is drafted only for a reservation that is open. A second outcome, whatever it says, is no event at all.
- An outcome counts to the binding, the agent and the day of its reservation, also when that day is over, the binding
  gone or another in its place.
- Figures that no provider can mean (negative, or beyond what JSON keeps) are never stored: nobody knows what was
  charged, so the whole reservation is forfeited.

Pure: the day, the request's id and all figures come in as arguments. See budget.py for what an account is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.core.budget import Ask, Denial, Grant, Reservation, grant
from reconciler.core.canonical import MAX_SAFE_INTEGER
from reconciler.core.errors import NotFound, Refused
from reconciler.core.events import Draft, Durations, TokensForfeited, TokensReserved, TokensSettled, TokensVoided
from reconciler.core.standing import Standing, standing
from reconciler.core.state import Resource, State

UNLIMITED_TOKENS_MAX: Final = 10**12
"""The most that is noted as reserved where no daily limit bounds it: any sum of such notes can still be stored."""

ABOVE: Final = "more than was reserved"
"""The reason noted when a provider charged more than its bound; all of it counts."""

UNUSABLE: Final = "unusable figures"
"""The reason noted when a provider's figures cannot be stored."""

NO_DURATIONS: Final = Durations(0, 0)


class Usage(NamedTuple):
    """What a provider says a request used, and `charged`, what the budget counts of it; all in tokens.

    `input` includes `cached` and `cache_write`, `output` includes `reasoning`.
    """

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    charged: int


class Reserved(NamedTuple):
    """A reservation to be recorded, and the grant that holds once it is durable."""

    draft: Draft
    grant: Grant


class Denied(Refused):
    """The request does not fit into what its binding's day, which stands so, and its limits leave."""

    def __init__(self, model: str, denial: Denial, standing: Standing) -> None:
        if denial.reason == "day":
            left = f"{denial.remaining:,} of {standing.limit:,} are left on {standing.account.day}"
        else:
            left = f"one request may use {denial.remaining:,}"
        super().__init__(f"model/{model}: the request needs {denial.needed:,} tokens, {left}")
        self.model = model
        self.denial = denial
        self.standing = standing


def reserve(
    state: State,
    model: str,
    ask: Ask,
    *,
    lower: bool,
    day: str,
    request: str,
    agent: str,
    key: str,
    surface: str,
    node: str = "",
) -> Reserved:
    """Decide to hold the tokens that a request may cost at most, for a request that `node` serves.

    `day` is the trusted day; the ledger's own counts if it is later. `lower` as in `grant`. Raises like `weigh`.
    """
    assert request not in state.ledger.open
    decided, stands, binding = weigh(state, model, ask, lower=lower, day=day)
    most = UNLIMITED_TOKENS_MAX if stands.limit is None else stands.limit
    payload = TokensReserved(
        request=request,
        agent=agent,
        key=key,
        surface=surface,
        day=stands.account.day,
        tokens=min(most, decided.tokens),
        input=min(most, ask.input),
        output=min(most, decided.output * ask.choices),
        binding=binding.position,
        node=node,
    )
    return Reserved(Draft(agent, f"model/{model}", payload), decided)


def weigh(state: State, model: str, ask: Ask, *, lower: bool, day: str) -> tuple[Grant, Standing, Resource]:
    """Say what would be granted now, how the binding stands and which it is, all as in `reserve`.

    Raises NotFound if the binding is not in force, Denied if the request does not fit.
    """
    assert min(ask.input, ask.counted, ask.output, ask.choices, ask.least) >= 0
    binding = state.models.get(model)
    if binding is None:
        raise NotFound(f"model/{model} is not in force")
    stands = standing(state, model, day)
    decided = grant(binding.binding.limits, stands.account, ask, lower=lower)
    if isinstance(decided, Denial):
        raise Denied(model, decided, stands)
    return decided, stands, binding


def settle(
    state: State, request: str, usage: Usage, *, status: int, durations: Durations, reason: str = ""
) -> list[Draft]:
    """Decide that a request used what its provider says, also if that is more than was reserved."""
    held = state.ledger.open.get(request)
    if held is None:
        return []
    if not all(type(tokens) is int and 0 <= tokens <= MAX_SAFE_INTEGER for tokens in usage):
        return forfeit(state, request, status=status, durations=durations, reason=UNUSABLE)
    payload = TokensSettled(
        request=request,
        agent=held.agent,
        day=held.day,
        status=status,
        durations=durations,
        reason=reason or (ABOVE if usage.charged > held.tokens else ""),
        **usage._asdict(),
    )
    return [Draft(held.agent, f"model/{held.model}", payload)]


def void(state: State, request: str, *, status: int, durations: Durations, reason: str) -> list[Draft]:
    """Decide that the provider certainly charged nothing for a request."""
    held = state.ledger.open.get(request)
    if held is None:
        return []
    return [_whole(TokensVoided, request, held, held.agent, status, durations, reason)]


def forfeit(state: State, request: str, *, status: int, durations: Durations, reason: str) -> list[Draft]:
    """Decide that nobody knows what a request used: all that was reserved counts."""
    held = state.ledger.open.get(request)
    if held is None:
        return []
    return [_whole(TokensForfeited, request, held, held.agent, status, durations, reason)]


def forfeit_open(state: State, reason: str, node: str | None = None) -> list[Draft]:
    """Decide that nobody knows what became of the open reservations of one node, or of all: none can be in flight."""
    return [
        _whole(TokensForfeited, request, held, "pai", 0, NO_DURATIONS, reason)
        for request, held in state.ledger.open.items()
        if node is None or held.node == node
    ]


def _whole(
    outcome: type[TokensVoided] | type[TokensForfeited],
    request: str,
    held: Reservation,
    actor: str,
    status: int,
    durations: Durations,
    reason: str,
) -> Draft:
    """Draft an outcome that frees, or counts, all that is held."""
    payload = outcome(
        request=request,
        agent=held.agent,
        day=held.day,
        status=status,
        durations=durations,
        reason=reason,
        tokens=held.tokens,
    )
    return Draft(actor, f"model/{held.model}", payload)
