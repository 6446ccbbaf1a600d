"""Our histograms show what prometheus_client's own do."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import Histogram

from reconciler.gateway.histograms import Histograms

BOUNDS = (0.5, 1, 4.0, 1048576)
LABELS = ("operation", "status")


def shown(registry: CollectorRegistry) -> list[str]:
    """Give what a scrape shows, without the times when counting began."""
    lines = generate_latest(registry).decode().splitlines()
    return [line.rpartition(" ")[0] if line.startswith("a_seconds_created") else line for line in lines]


def test_same_is_shown_as_by_the_library() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = Histograms("a_seconds", "How long", LABELS, BOUNDS, ours)
    library = Histogram("a_seconds", "How long", LABELS, buckets=BOUNDS, registry=theirs)
    dice = random.Random(3)  # noqa: S311 (no secret)
    for _ in range(300):
        labels = (dice.choice(("chat", 'a "b"\n')), dice.choice(("200", "500")))
        value = dice.choice((*BOUNDS, 0, dice.random() * 5, 10.0**7))
        own.labels(*labels).observe(value)
        library.labels(*labels).observe(value)
    assert shown(ours) == shown(theirs)
    assert 'a_seconds_bucket{le="1.048576e+06",operation="chat",status="200"}' in "\n".join(shown(ours))


def test_without_labels_nothing_seen_is_shown_as_nothing() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    Histograms("a_seconds", "How long", (), BOUNDS, ours).labels()
    Histogram("a_seconds", "How long", buckets=BOUNDS, registry=theirs)
    assert shown(ours) == shown(theirs)
