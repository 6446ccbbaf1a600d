"""Histograms for Prometheus that one event loop counts in: a few of them are told of every request.

prometheus_client's own are safe for many threads, which costs each observation three locks and as many calls. What a
scrape shows is the same. Counting is for one thread; a scrape may read meanwhile, and then a sum may be one observation
ahead of the counts.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Histogram:
    """What was observed under one set of labels."""

    __slots__ = ("_bounds", "counts", "created", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin empty; `bounds` rise."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many were not above each bound but above the one before, and how many were above all."""
        self.sum = 0.0
        self.created = time.time()

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histograms(Collector):
    """All histograms of one name, by their labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """Have them shown by `registry`; `bounds` rise, and the last of them need not be infinite."""
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = bounds
        self._shown = [str(floatToGoString(bound)) for bound in (*bounds, inf)]  # type: ignore[no-untyped-call]
        self._found: dict[tuple[str, ...], Histogram] = {}
        registry.register(self)

    def labels(self, *values: str) -> Histogram:
        """Give the histogram of these labels."""
        found = self._found.get(values)
        if found is None:
            found = self._found[values] = Histogram(self._bounds)
        return found

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Name the family; called by the registry."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Give all samples; called by the registry at every scrape."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, histogram in list(self._found.items()):
            buckets = list(zip(self._shown, accumulate(histogram.counts), strict=True))
            family.add_metric(values, buckets, histogram.sum)
            family.add_sample(f"{self._name}_created", dict(zip(self._labels, values, strict=True)), histogram.created)
        yield family
