"""What the events of a commit say of it: what git claims, masked and cut, and who is named as their actor."""

from __future__ import annotations

from typing import TypedDict

from reconciler.core import events as ev
from reconciler.core.text import cut
from reconciler.manifests.inline_keys import redact_beginning
from reconciler.source.commits import CommitInfo

MESSAGE_CHARACTERS_MAX = 16_384
PERSON_CHARACTERS_MAX = 254
"""Of a name or an address: what a commit claims may be as long as the commit, and stands in each of its events.

As long as an address may be (RFC 5321, 4.5.3.1.3).
"""


def actor(info: CommitInfo) -> str:
    """Name who a commit's changes are laid to: the author's e-mail, else the name, as git claims them."""
    return _claimed(info.author.email or info.author.name or "unknown")


class CommitFields(TypedDict):
    """What the events of a commit have in common."""

    commit: str
    parents: list[str]
    author: ev.Person
    committer: ev.Person
    message: str
    signature: ev.Signature | None
    pusher: str


def commit_fields(info: CommitInfo, pusher: str, most: int = MESSAGE_CHARACTERS_MAX) -> CommitFields:
    """Give what an event says of a commit: what git claims, masked and cut, and whose push brought it."""
    return {
        "commit": info.commit,
        "parents": list(info.parents),
        "author": _person(info.author),
        "committer": _person(info.committer),
        "message": redact_beginning(info.message, most),
        "signature": info.signature,
        "pusher": pusher,
    }


def _person(person: ev.Person) -> ev.Person:
    return ev.Person(_claimed(person.name), _claimed(person.email), person.time)


def _claimed(text: str) -> str:
    return cut(redact_beginning(text, PERSON_CHARACTERS_MAX), PERSON_CHARACTERS_MAX)  # before half a key is cut off
