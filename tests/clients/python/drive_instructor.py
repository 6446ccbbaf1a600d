"""instructor: answers as objects, by calls of a tool that it makes of their class."""

from typing import Any

import instructor
from driving import KIND, drive, look
from pydantic import BaseModel, field_validator

HELLO = [{"role": "user", "content": "hello"}]


class Place(BaseModel):
    """A place."""

    at: str


def client(binding: str) -> Any:
    """Give the client of a provider."""
    return instructor.from_provider(f"{KIND}/{binding}")


def plain(binding: str) -> str:
    """Ask for an object."""
    return client(binding).create(response_model=Place, messages=HELLO).at


def tools(binding: str) -> str:
    """Ask for an object and have the first one refused: the model is told why, as by a tool."""
    refused: list[str] = []

    class Calm(Place):
        @field_validator("at")
        @classmethod
        def check(cls, at: str) -> str:
            if not refused:
                refused.append(at)
                raise ValueError(look(at))
            return at

    return client(binding).create(response_model=Calm, messages=HELLO, max_retries=2).at


def stream(binding: str) -> str:
    """Ask for an object piece by piece."""
    *_, last = client(binding).create_partial(response_model=Place, messages=HELLO)
    return last.at


drive(plain, tools, stream)
