"""The bridge from tickets to futures: every outcome arrives once, in the loop, whoever has given up waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from reconciler.core.errors import LogNotWritable
from reconciler.gateway.bridge import Bridge
from reconciler.recorder import Receipt, Ticket


def decided(number: int) -> Ticket[None]:
    """Give a ticket of a decision that was made, and is not durable yet."""
    ticket = Ticket[None]()
    ticket.decided(Receipt(number, (), None))
    return ticket


def test_outcomes_arrive_in_the_loop_with_one_wake_up() -> None:
    """Receipts and failures of another thread reach their own futures, and a batch of them wakes the loop once."""

    async def work() -> None:
        loop, bridge = asyncio.get_running_loop(), Bridge()
        tickets = [decided(number) for number in range(100)]
        futures = [bridge.outcome(ticket) for ticket in tickets]
        wakes = 0
        wake = loop.call_soon_threadsafe

        def count(*args: object, **kwargs: object) -> object:
            nonlocal wakes
            wakes += 1
            return wake(*args, **kwargs)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = count  # type: ignore[method-assign,assignment]
        problem = LogNotWritable("disk full", "free space")

        def answer() -> None:
            for number, ticket in enumerate(tickets):
                ticket.resolve(problem if number % 10 == 3 else None)

        thread = threading.Thread(target=answer)
        thread.start()
        thread.join()  # the loop stands still meanwhile
        outcomes = await asyncio.gather(*futures, return_exceptions=True)

        assert wakes == 1
        for number, outcome in enumerate(outcomes):
            if number % 10 == 3:
                assert isinstance(outcome, LogNotWritable)
                assert outcome.hint == "free space"
            else:
                assert outcome == Receipt(number, (), None)

    asyncio.run(work())


def test_ticket_that_is_done_already_is_answered_too() -> None:
    """A future made after the outcome ends like any other."""

    async def work() -> None:
        ticket = decided(7)
        ticket.resolve(None)
        assert await asyncio.wait_for(Bridge().outcome(ticket), 10) == Receipt(7, (), None)

    asyncio.run(work())


def test_cancelled_future_keeps_nobody_else_waiting() -> None:
    """An outcome whose waiter was cancelled is dropped; those behind it arrive."""

    async def work() -> None:
        bridge = Bridge()
        tickets = [decided(number) for number in range(3)]
        futures = [bridge.outcome(ticket) for ticket in tickets]
        futures[0].cancel()
        for ticket in tickets:
            ticket.resolve(None)
        futures[1].cancel()  # between the outcome and the loop's look at it
        assert await asyncio.wait_for(futures[2], 10) == Receipt(2, (), None)
        with pytest.raises(asyncio.CancelledError):
            await futures[0]

    asyncio.run(work())


def test_closed_loop_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """An outcome that comes after the loop has ended harms nobody, and is no error of a callback."""
    ticket = decided(0)

    async def leave() -> None:
        Bridge().outcome(ticket)

    asyncio.run(leave())
    ticket.resolve(None)
    assert ticket.wait(0) == Receipt(0, (), None)
    assert caplog.text == ""


def test_outcomes_that_race_with_the_loop_all_arrive() -> None:
    """Tickets resolved by several threads while the loop is busy draining lose no wake-up."""

    async def work() -> None:
        bridge = Bridge()
        for _ in range(20):
            tickets = [decided(number) for number in range(200)]
            futures = [bridge.outcome(ticket) for ticket in tickets]

            def answer(part: int, tickets: list[Ticket[None]] = tickets) -> None:
                for ticket in tickets[part::4]:
                    ticket.resolve(None)

            threads = [threading.Thread(target=answer, args=(part,)) for part in range(4)]
            for thread in threads:
                thread.start()
            assert len(await asyncio.wait_for(asyncio.gather(*futures), 10)) == 200
            for thread in threads:
                thread.join()

    asyncio.run(work())
