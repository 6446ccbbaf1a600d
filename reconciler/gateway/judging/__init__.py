"""What a request's body asks of a provider: every field, item and tool by one table for all APIs."""

from reconciler.gateway.judging.found import Found
from reconciler.gateway.judging.rules import Treatment
from reconciler.gateway.judging.walk import look

__all__ = ["Found", "Treatment", "look"]
