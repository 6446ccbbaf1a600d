"""How each operation's body is bounded, whatever dialect it is of."""

from __future__ import annotations

from reconciler.gateway.surfaces import SURFACES

NEEDS = {operation: judge for surface in SURFACES.values() for operation, judge in surface.judges.items()}
