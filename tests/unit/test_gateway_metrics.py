"""What a provider says makes no labels without end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from reconciler.gateway.metrics import GatewayMetrics


def test_statuses_that_nobody_knows_share_a_label() -> None:
    """A provider that answers with one after the other makes the metrics no longer; usual ones are told apart."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    held: Any = SimpleNamespace(
        call=SimpleNamespace(operation="chat"), provider=SimpleNamespace(name="openai"), binding="fast"
    )
    for status in range(1000):
        metrics.observe(held, status, None, None, 0.1)
    text = generate_latest(registry).decode()
    assert len(text) < 500_000
    for shown, count in (("0", 1.0), ("200", 1.0), ("529", 1.0), ("7xx", 100.0)):
        label = f'http_response_status_code="{shown}"'
        assert any(line.endswith(f" {count}") for line in text.splitlines() if "_count{" in line and label in line)
