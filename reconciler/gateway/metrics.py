"""What the gateway counts for Prometheus: the OpenTelemetry names for generative AI, and Pai's own for budgets.

No label ever holds anything that a request said: bindings, providers, operations and reasons only.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import Counter, Gauge

from reconciler.core.reservations import Usage
from reconciler.gateway.histograms import Histogram, Histograms
from reconciler.gateway.refusal import Reason

if TYPE_CHECKING:
    from reconciler.gateway.admission import Held

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
COMMIT_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0)
_NAMES = {"messages": "chat", "responses": "chat", "generate": "generate_content"}
"""OpenTelemetry's names of operations; all others are as they are."""
_STATUSES = frozenset((0, 520, 522, 524, 529, *HTTPStatus))
"""Those that providers and networks before them are known to answer with, and 0 for no answer; of others a provider may
make hundreds, and a label of each would stay."""


class GatewayMetrics:
    """Counts what passes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        self._tokens = Histograms(
            "gen_ai_client_token_usage",
            "Tokens of a request, as the provider counts them",
            (*labels, "gen_ai_token_type"),
            TOKENS,
            registry,
        )
        self._duration = Histograms(
            "gen_ai_server_request_duration_seconds",
            "Time from a request's arrival to its end",
            (*labels, "http_response_status_code"),
            SECONDS,
            registry,
        )
        self._first = Histograms(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from a request's arrival to the beginning of its answer",
            labels,
            SECONDS,
            registry,
        )
        self._refused = Counter(
            "pai_requests_refused", "Requests that were not forwarded", ["reason"], registry=registry
        )
        commits = Histograms(
            "pai_log_commit_seconds", "Time from a decision to its being durable", (), COMMIT_S, registry
        )
        self.commits = commits.labels()
        self.lag = Gauge("pai_event_loop_lag_seconds", "How late the event loop last was", registry=registry)
        self.open = Gauge("pai_requests_open", "Requests being answered", registry=registry)
        self._labelled = cache(self._find)

    def observe(self, held: Held, status: int, usage: Usage | None, first_s: float | None, total_s: float) -> None:
        """Count a request that was forwarded; `usage` is None if it cost nothing."""
        duration, first, read, written = self._labelled(
            held.call.operation,
            held.provider.name,
            held.binding,
            str(status) if status in _STATUSES else f"{status // 100}xx",
        )
        duration.observe(total_s)
        if first_s is not None:
            first.observe(first_s)
        if usage is not None:
            read.observe(usage.input)
            written.observe(usage.output)

    def refused(self, reason: Reason) -> None:
        """Count a request that was not."""
        self._refused.labels(reason).inc()

    def _find(
        self, operation: str, provider: str, binding: str, status: str
    ) -> tuple[Histogram, Histogram, Histogram, Histogram]:
        labels = (_NAMES.get(operation, operation), provider, binding)
        return (
            self._duration.labels(*labels, status),
            self._first.labels(*labels),
            self._tokens.labels(*labels, "input"),
            self._tokens.labels(*labels, "output"),
        )
