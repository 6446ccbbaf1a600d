"""What the scenarios of the provider SDKs know of the gateway: addresses, keys, and how to look behind it.

Nothing but the standard library is imported, so that a scenario also runs in a process whose path has another SDK and
that SDK's own dependencies. As a program it runs the scenarios of one module, whose name is its argument, for the gate
that PAI_TEST_GATE holds as JSON, and prints what went wrong with each.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
import urllib.request
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

REPLY = "one red sun set low and the sea was not far off but our old dog ran for the hut "
"""What the simulated models say."""


class Gate(NamedTuple):
    """A running gateway. `providers` are the origins of the simulated ones."""

    origin: str
    admin: str
    key: str
    outsider: str
    providers: dict[str, str]

    def refused(self, reason: str) -> int:
        """Give how many requests the gateway has refused for a reason."""
        with urllib.request.urlopen(f"{self.admin}/metrics") as answer:  # noqa: S310 (our own address)
            found = re.search(rf'pai_requests_refused_total{{reason="{reason}"}} (\S+)', answer.read().decode())
        return int(float(found[1])) if found else 0

    def fault(self, provider: str, **fault: Any) -> None:
        """Have the next request to a provider fail."""
        body = json.dumps(fault).encode()
        url = f"{self.providers[provider]}/_simulator/faults"
        order = urllib.request.Request(url, body, method="POST")  # noqa: S310
        with urllib.request.urlopen(order) as answer:  # noqa: S310
            assert answer.status == 200


Scenario = Callable[[Gate], None]


def scenarios(module: ModuleType) -> list[Scenario]:
    """Give the scenarios of a module: its functions whose names begin with `sdk_`."""
    return [found for name, found in vars(module).items() if name.startswith("sdk_")]


def raises(kind: type[BaseException], call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call what has to raise exactly this, and give the exception."""
    try:
        call(*arguments, **options)
    except kind as error:
        found = error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
    assert type(found) is kind, type(found)
    return found


def check_headers(headers: Any, binding: str, *, budget: bool = True) -> None:
    """Check what every answer of the gateway carries."""
    assert headers["x-pai-request-id"].startswith("req_"), headers
    assert headers["x-pai-binding"] == binding, headers
    assert ("x-pai-tokens-remaining" in headers) == budget, headers


def check_spent(headers: Any) -> None:
    """Check the headers of a refusal whose day is spent."""
    assert headers["x-should-retry"] == "false", headers
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", headers["x-pai-reset"]), headers
    assert "retry-after" not in headers


def main() -> None:
    """Run the scenarios of a module and print a JSON object: name to traceback, "" where all is well."""
    gate = Gate(**json.loads(os.environ["PAI_TEST_GATE"]))
    module = importlib.import_module(f"tests.acceptance.sdk.{sys.argv[1]}")
    found = {}
    for scenario in scenarios(module):
        try:
            scenario(gate)
        except Exception:
            found[scenario.__name__] = traceback.format_exc()
        else:
            found[scenario.__name__] = ""
    json.dump({"version": module.VERSION, "scenarios": found}, sys.stdout)


if __name__ == "__main__":
    main()
