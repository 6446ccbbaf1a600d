"""Whether a call may go to one binding, and with which output limit: everything that is decided before a byte leaves.

Order: the binding exists, the agent may use it, its provider speaks the call's operation, its key is there, its input
is bounded; then its tokens are reserved. When the bound by bytes does not fit, the provider is asked to count the
input, where it does that for free; then the output limit is lowered to what is left; then the call is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from reconciler.core.budget import Ask, Limits
from reconciler.core.errors import SecretMissing, SecretsUnavailable
from reconciler.core.objects import NO_REFERENCE
from reconciler.core.reservations import Denied
from reconciler.core.standing import standing
from reconciler.core.state import Resource, State
from reconciler.gateway.auth import AgentCaller, bindings_of, find_binding
from reconciler.gateway.body import INTEGER_MAX, decode
from reconciler.gateway.books import NOT_SENT, BindingReplaced, Books
from reconciler.gateway.calls import FREE, Call, Credentials, Needs
from reconciler.gateway.connection import Lost
from reconciler.gateway.offloading import needs as needs_of
from reconciler.gateway.offloading import write, write_count
from reconciler.gateway.query import unframed
from reconciler.gateway.refusal import NAMES_SHOWN_MAX, Refusal, listed
from reconciler.gateway.refusal_lines import WINDOW_S
from reconciler.gateway.spool import Spool
from reconciler.gateway.surfaces.surface import Surface
from reconciler.gateway.upstream import Unsent, Upstream
from reconciler.providers.models import output_cap
from reconciler.providers.provider import Provider
from reconciler.secrets.reader import SecretReader
from reconciler.secrets.secret_value import header_text

log = logging.getLogger("pai.gateway")

ALLOW_UNBOUNDED = "pai.io/unbounded-input"
COUNT_MARGIN = 128
"""Tokens added to a provider's count of the input, beside a twentieth: providers call their own figure an estimate."""
ESTIMATE_BYTES = 3
"""Bytes a token, where the limit of one request is judged and nobody counts."""
COUNT_ANSWER_BYTES_MAX = 65536
PASSING = frozenset((408, 425, 429))
"""Errors below 500 that say nothing about the request."""
CHANGES_MAX = 100
READY_S = 1.0
"""How long a refusal waits to know which other bindings could serve."""
NOTHING = Ask(0, 0, 0, 0, 0)
"""What a request asks for that costs nothing."""


class Held(NamedTuple):
    """A call that may go: to where, with which body, and what is reserved for it.

    `tokens` are reserved, `output` of them for what comes back. `input_given`: the provider reads nothing but what is
    sent. `choices`: how many answers were asked for.
    """

    call: Call
    request: str
    agent: str
    binding: str
    provider: Provider
    url: str
    credentials: Credentials
    body: bytes | Spool
    tokens: int
    output: int
    input_given: bool
    choices: int = 1


class _Target(NamedTuple):
    """A call, and a binding as it is now, found fit for it."""

    call: Call
    caller: AgentCaller
    request: str
    name: str
    resource: Resource
    provider: Provider
    model: str
    limits: Limits

    @property
    def lenient(self) -> bool:
        """Whether input may pass that nothing bounds: there is no budget, or its owner says so."""
        return self.limits == Limits() or self.resource.annotations.get(ALLOW_UNBOUNDED) == "allow"


class Admission:
    """Decides about calls."""

    def __init__(
        self,
        books: Books,
        upstream: Upstream,
        secrets: SecretReader,
        providers: Mapping[str, Provider],
        surfaces: Mapping[str, Surface],
        default_output: int,
    ) -> None:
        self._books = books
        self._upstream = upstream
        self._secrets = secrets
        self._providers = providers
        self._surfaces = surfaces
        self._default_output = default_output
        self._told: dict[str, float] = {}  # lines for the operator, and when

    async def admit(self, call: Call, caller: AgentCaller, name: str, request: str) -> Held:
        """Reserve what a call needs on binding `name`, durably. Raises Refusal."""
        for _ in range(CHANGES_MAX):
            try:
                return await self._admit(call, caller, name, request)
            except BindingReplaced:
                continue
        raise Refusal("not-ready", f"binding {name} is being changed all the time")

    async def _admit(self, call: Call, caller: AgentCaller, name: str, request: str) -> Held:
        target = self._books.read(lambda state: self._target(state, call, caller, name, request))
        credentials = await self._credentials(target)
        needs = await needs_of(call, target.provider, target.model)
        self._check_bounded(target, needs)
        output, tokens = await self._reserve(target, needs, credentials)
        try:
            return await _held(target, needs, credentials, output, tokens)
        except BaseException:  # nothing of it has left
            self._books.void_now(request, target.name, 0, NOT_SENT)
            raise

    def _target(self, state: State, call: Call, caller: AgentCaller, name: str, request: str) -> _Target:
        """Find a binding and see that the agent may use it for this call. Raises Refusal."""
        resource = find_binding(state, caller.agent, name)
        spec = resource.binding
        provider = self._providers[spec.provider]
        if call.operation not in provider.paths:
            ways = (way for surface in self._surfaces.values() for way in surface.ways.items())
            use = ", ".join(way for operation, way in ways if operation in provider.paths)
            what = f"binding {name} is served by {provider.title}, which has no {call.operation}; use {use}"
            raise Refusal("unsupported", what)
        return _Target(call, caller, request, name, resource, provider, spec.model, spec.limits)

    async def _credentials(self, target: _Target) -> Credentials:
        try:
            return Credentials(target.provider.credentials(await self._key(target.resource), target.call.operation))
        except SecretMissing as error:  # somebody has to do something: asking again in a minute changes nothing
            message = f"binding {target.name} is not ready: {error.message}"
            raise Refusal("not-ready", message, headers=(("x-should-retry", "false"),)) from None
        except SecretsUnavailable as error:  # its message is for the operator: it names files
            self._tell(f"binding {target.name} is not ready: {error.message}")
            raise Refusal("not-ready", f"binding {target.name} is not ready: its secret cannot be read now") from None

    def _tell(self, line: str) -> None:
        """Write a line for the operator, the same one once a minute."""
        now = time.monotonic()
        if now - self._told.get(line, -WINDOW_S) >= WINDOW_S:
            self._told[line] = now
            log.warning("%s", line)

    async def _key(self, resource: Resource) -> str:
        """Give the provider's key. Raises SecretsUnavailable."""
        reference = resource.binding.api_key_secret_ref
        if reference is None:
            raise SecretMissing(NO_REFERENCE)
        name, key = reference.name, reference.key
        return header_text(name, key, (await self._secrets.read(name, key)).reveal())

    async def _ready(self, resources: list[Resource]) -> str:
        """List a few of those whose keys can be had, without waiting long: no more are looked at than are named."""
        named: list[str] = []
        at = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while at < len(resources) and len(named) < NAMES_SHOWN_MAX:
                    some = resources[at : at + NAMES_SHOWN_MAX - len(named)]
                    found = await asyncio.gather(*map(self._key, some), return_exceptions=True)
                    at += len(some)
                    named += [each.name for each, key in zip(some, found, strict=True) if isinstance(key, str)]
        return listed(named, len(named) + len(resources) - at) if named else ""

    def _check_bounded(self, target: _Target, needs: Needs) -> None:
        if not needs.unbounded or target.lenient:
            return
        raise Refusal(
            "unbounded",
            f"binding {target.name} has a budget, and the request holds {needs.unbounded}: no bound of its tokens"
            f" can be given. Leave that out, use a binding without a budget, or set the annotation"
            f" {ALLOW_UNBOUNDED}: allow on {target.name}",
        )

    async def _reserve(self, target: _Target, needs: Needs, credentials: Credentials) -> tuple[int, int]:
        """Give the output limit of each choice and the tokens that are reserved. Raises Refusal, BindingReplaced."""
        if target.call.operation in FREE:
            return await self._book(target, NOTHING, lower=False)
        bound = max(0, target.call.body.size + needs.extra)
        cap = output_cap(target.model) or INTEGER_MAX
        asked = max(min(self._default_output, cap), needs.least) if needs.output is None else needs.output
        ask = Ask(bound, bound, asked, needs.choices, needs.least)
        must_count = bool(needs.uncertain) and not target.lenient
        if not must_count:
            with contextlib.suppress(Denied):
                return await self._book(target, ask, lower=False)
        counted = None
        if self._may_fit(target, ask):
            status, counted = await self._count(target, credentials)
            if counted is None and must_count:
                raise _uncounted(target, needs, status)
        if counted is None:  # with media nobody was asked, since nothing fits
            ask = ask._replace(input=bound + must_count * COUNT_MARGIN, counted=min(bound, bound // ESTIMATE_BYTES + 1))
        else:
            above = must_count or counted > bound  # a count beyond the bound shows that it is none
            found = counted * needs.times + needs.beside
            most = found + found // 20 + COUNT_MARGIN
            ask = ask._replace(input=most if above else min(most, bound), counted=found)
        ask = ask._replace(output=min(asked, max(cap, needs.least)))  # what is lowered is something the model takes
        try:
            if must_count and counted is None:  # and never will bytes do: if there is room by now, it is counted first
                self._books.weigh(target.name, target.resource.position, ask)
                raise BindingReplaced
            return await self._book(target, ask, lower=True)
        except Denied as denied:
            raise await self._refused(target, denied) from None

    def _may_fit(self, target: _Target, ask: Ask) -> bool:
        """Tell whether there is room for any input at all: else nobody is asked to count, however often this comes."""
        least = min(ask.output, ask.least) * ask.choices
        if target.limits.per_request is not None and target.limits.per_request <= least:
            return False
        left = self._books.standing(target.name).left
        return left is None or left > COUNT_MARGIN + least

    async def _book(self, target: _Target, ask: Ask, *, lower: bool) -> tuple[int, int]:
        of = target.caller, target.call.surface.name, target.request, target.name, target.resource.position
        grant = await self._books.grant(*of, ask, lower=lower)
        return grant.output, grant.tokens

    async def _count(self, target: _Target, credentials: Credentials) -> tuple[int | None, int | None]:
        """Ask the provider how many tokens the input has: the status of its answer, and the count, None if it has none.

        The status is None if the provider counts no such thing, 0 if it did not answer.
        """
        call = target.call
        counting = target.provider.counts.get(call.operation)
        if counting is None:
            return None, None
        url = _url(target, counting, unframed(call.query))
        # What the client says of betas decides how the input is read.
        headers = {**target.provider.count_headers, **call.headers, **credentials}
        # It is a request of its own, and no request reaches a provider unless it is on the log.
        name = self._books.beside(target.request)
        await self._book(target._replace(request=name), NOTHING, lower=False)
        status, found, uncounted = 0, None, 0
        try:
            body, uncounted = await write_count(call, target.model)
            answer = await self._upstream.post(url, headers, body, agent=target.caller.agent)
            try:
                status = answer.status
                text = await answer.whole(COUNT_ANSWER_BYTES_MAX)
            finally:
                answer.close()
            if status == 200:
                found = call.surface.read_count(decode(text))
        except (Unsent, Lost, ValueError, RecursionError):
            pass
        finally:
            self._books.void_now(name, target.name, status, "counting is free")
        if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= INTEGER_MAX:  # no input has none
            return status, None
        return status, found + uncounted

    async def _refused(self, target: _Target, denied: Denied) -> Refusal:
        denial = denied.denial
        if denial.reason == "day":
            others = self._books.read(lambda state: _with_room(state, denied, target.caller.agent))
            return _spent(denied, await self._ready(others))
        return Refusal(
            "request-budget",
            f"binding {target.name} allows {denial.remaining:,} tokens a request (maxTokensPerRequest), and this one"
            f" needs at least {denial.needed:,}",
            needed=denial.needed,
            left=denial.remaining,
        )


async def _held(target: _Target, needs: Needs, credentials: Credentials, output: int, tokens: int) -> Held:
    """Write what goes upstream, now that `tokens` are reserved and `output` is the limit of each choice."""
    call, provider, answers = target.call, target.provider, needs.choices
    limit = output if target.limits != Limits() and call.operation not in FREE and answers > 0 else None
    body = await write(call, target.model, limit, provider, last=target.name == call.names[-1])
    of = (call, target.request, target.caller.agent, target.name, provider)
    url = _url(target, call.operation, call.query)
    return Held(*of, url, credentials, body, tokens, output * answers, not needs.unbounded, answers)


def _uncounted(target: _Target, needs: Needs, status: int | None) -> Refusal:
    """Word the refusal of input that has to be counted, and was not: by whom it should be tried again, or changed."""
    if status is None:
        what = f"nobody counts the tokens of {needs.uncertain} for binding {target.name}, which has a budget"
        return Refusal("unbounded", what)
    said = f"{target.provider.title} did not count the tokens of {needs.uncertain}"
    if 400 <= status < 500 and status not in PASSING:
        return Refusal("unbounded", f"{said}: it answered {status}; binding {target.name} has a budget")
    return Refusal("upstream", f"{said}, which binding {target.name} needs for its budget; try again")


def _with_room(state: State, denied: Denied, agent: str) -> list[Resource]:
    """List the other bindings of an agent whose day is not spent."""
    day = denied.standing.account.day
    others = (each for each in bindings_of(state, agent) if each.name != denied.model)
    return [each for each in others if standing(state, each.name, day).left != 0]


def _spent(denied: Denied, open_ones: str) -> Refusal:
    """Word the refusal of a request that does not fit into the day, with what the agent could use instead."""
    denial, stands = denied.denial, denied.standing
    account = stands.account
    held = f" (+{account.reserved:,} reserved)" if account.reserved else ""
    room = f"bindings with room: {open_ones}" if open_ones else "no other binding of this agent has room"
    return Refusal(
        "day-budget",
        f"binding {denied.model} has used {account.used:,}{held} of {stands.limit:,} tokens today, and this"
        f" request needs at least {denial.needed:,}; the budget resets at {stands.resets}; {room}",
        headers=(("x-should-retry", "false"), ("x-pai-reset", stands.resets)),
        needed=denial.needed,
        left=denial.remaining,
    )


def _url(target: _Target, operation: str, query: str) -> str:
    call, provider = target.call, target.provider
    path = provider.paths[operation]
    if "{" in path:
        version = call.version or provider.version
        path = path.format(version=version, model=quote(target.model, safe=""), method=call.method)
    return f"{provider.origin}{path}{'?' + query if query else ''}"
