"""A branch of a repository on another machine: where it is and how it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.source.gitrun import MEMORY_BYTES_MAX
from reconciler.source.witness import CHECKPOINTS


class Remote(NamedTuple):
    """Where a branch is and how it is reached. `shown` is the address without credentials, for people.

    `checkpoints` are the refs on which the log's checkpoints may be.
    """

    repo: str
    shown: str
    branch: str
    ca_file: Path | None
    timeout_s: float
    bytes_max: int
    push: bool
    memory_bytes_max: int = MEMORY_BYTES_MAX
    checkpoints: Sequence[str] = (CHECKPOINTS,)
