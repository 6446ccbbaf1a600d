"""What a provider is to Pai: a value, with all that is peculiar to it. Pure.

Whoever has to know what a provider does reads it here, and asks nobody for its name. How operations are called,
`gateway/calls.py` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Provider(NamedTuple):
    """An upstream: where its operations are, how it is authenticated, and what it adds to a prompt.

    `paths`: operation to path, with `{model}`, `{method}` and `{version}`; `version` stands where a client names none.
    `credentials`: headers for a key and an operation. `hidden`: tokens that any prompt may grow by beyond its bytes,
    `hidden_tools` with tools. `image`: the most that one inline image of a model costs. `output_field`: how chat's
    output limit is called. `unlimited`: those of whom it asks that do not keep an answer's limit.
    `counts`: operations whose input it counts for free, by which operation.
    """

    name: str
    title: str
    paths: Mapping[str, str]
    credentials: Callable[[str, str], dict[str, str]]
    hidden: int
    hidden_tools: int
    image: Callable[[str], int]
    output_field: str
    counts: Mapping[str, str]
    version: str = "v1"
    unlimited: tuple[str, ...] = ()
