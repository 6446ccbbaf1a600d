"""No agent has all of the connections that there are."""

from __future__ import annotations

import pytest

from reconciler.gateway.open_requests import OpenRequests
from reconciler.gateway.refusal import Refusal


def test_agent_with_too_many_open_requests_waits_for_itself_alone() -> None:
    """What one agent has open keeps no other out, and one that ended makes room for the next."""
    requests = OpenRequests(2)
    requests.enter("one")
    requests.enter("one")
    with pytest.raises(Refusal, match="one has 2 requests open") as refused:
        requests.enter("one")
    assert refused.value.status == 503
    requests.enter("other")
    requests.leave("one")
    requests.enter("one")
