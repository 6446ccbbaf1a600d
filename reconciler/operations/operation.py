"""What an operation is: a struct that says what is asked for, answered by another; and who asks, which neither says.

The hook imports this, so it is small.
"""

from __future__ import annotations

from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args

import msgspec

Role = Literal["reader", "auditor", "operator"]
"""What somebody may do: look, look at evidence too, or everything. So far everybody who is let in is an operator."""
A = TypeVar("A", bound=msgspec.Struct)


class Caller(NamedTuple):
    """Who asks, as the transport knows it: by the token that came with a request, or as the user at the keyboard.

    `key` is the token's name as `pai get keys` lists it, "" for none or if the log was not asked for it.
    """

    name: str
    role: Role
    key: str

    @property
    def owner(self) -> str:
        """Name the token, by which connections, turns and questions are shared out."""
        return self.key or self.name


class Operation(msgspec.Struct, Generic[A], frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """What is asked for, its tag the verb's word; it is answered by a struct of the type A."""

    reads: ClassVar[bool] = False
    """Whether it changes nothing, so that nothing is left to look for if its answer is lost."""

    @classmethod
    def word(cls) -> str:
        """Give the word that a request names the verb by."""
        return str(cls.__struct_config__.tag)

    @classmethod
    def answer(cls) -> type[A]:
        """Give the struct that answers."""
        answer: type[A] = get_args(cls.__orig_bases__[0])[0]  # type: ignore[attr-defined]
        return answer


class Done(msgspec.Struct, frozen=True):
    """Says nothing but that it was done."""
