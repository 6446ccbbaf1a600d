"""A simulated provider on loopback that speaks as the four real ones do: for the tour, for tests and for benchmarks.

It knows nothing of Pai, and nothing of Pai but the tour imports it.

    with Simulator(keys={"openai": {"sk-real"}}) as simulator:
        simulator.origin("openai")               # "http://127.0.0.1:PORT"
        simulator.fault(Fault(status=429, retry_after=1), Fault(cut_after=3, path="/v1/messages"))
        simulator.charged                        # {Account(provider, model, credential): Charged(requests, ...)}

By hand: `python -m reconciler.simulator`. Over HTTP, on any provider's port: `GET /_simulator/charged`, `GET
/_simulator/requests`, and `GET`, `POST`, `DELETE /_simulator/faults`, whose body is a fault or a list of them, as JSON.

Input counts one token for four bytes of text and three for a message, and never more than the body has bytes; a reply
has 30 tokens unless the prompt says `... N tokens ...` or the request's limit is lower. A prompt that says `call the
tool` gets a call of the first tool, `call the tool NAME {...}` one of that tool with these arguments.
"""

from __future__ import annotations

from reconciler.simulator.books import Charged, SeenRequest, SimulatedAccount
from reconciler.simulator.faults import Fault
from reconciler.simulator.serving import Simulator
from reconciler.simulator.shapes import PROVIDERS, Provider

__all__ = [
    "PROVIDERS",
    "Charged",
    "Fault",
    "Provider",
    "SeenRequest",
    "SimulatedAccount",
    "Simulator",
]
