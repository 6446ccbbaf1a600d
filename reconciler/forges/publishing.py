"""One comment on a pull request, kept up to date.

It is known by a hidden marker at its very beginning and by its author, who is the token's own user: a comment of
somebody else is never touched, whatever is in it. Where a forge lost the answer to a new comment, it is looked for
before another one is written.
"""

from __future__ import annotations

from reconciler.forges.api import PAUSE_FIRST_S, ForgeUnavailable
from reconciler.forges.hosts import Forge

CONTEXT = "pai/review"
"""The name of the review's status, and of its comment's marker, unless another is wanted."""
ATTEMPTS = 3
_CUT = "\n\n*The rest is left out: this forge takes no longer comment. `pai diff` says all of it.*\n"


def marker(context: str) -> str:
    """Give the hidden line that a comment of this context begins with."""
    return f"<!-- {context}: kept up to date by pai review -->"


def publish_comment(forge: Forge, number: int, context: str, text: str, login: str = "") -> bool:
    """Write the one comment of `context`, or replace its text; tells whether it is a new one. Raises ForgeUnavailable.

    `login` is the token's user, where the forge cannot tell.
    """
    mark = marker(context)
    body = fitted(f"{mark}\n{text}", forge.comment_max)
    author = login or forge.login()
    if not author:
        raise ForgeUnavailable(
            f"{forge.api.host} does not tell who the token is", "say it with --user, or use another token"
        )
    for attempt in range(ATTEMPTS):
        comments = forge.comments(number)
        ours = next((c for c in comments if c.author == author and c.body.startswith(mark)), None)
        if ours is not None:
            if ours.body != body:
                forge.edit(number, ours.id, body)
            return False
        try:
            forge.create(number, body)
        except ForgeUnavailable as error:
            if not error.uncertain or attempt == ATTEMPTS - 1:
                raise
            forge.api.sleep(PAUSE_FIRST_S * 2**attempt)
        else:
            return True
    raise AssertionError("the last attempt returns or raises")


def fitted(body: str, most: int) -> str:
    """Cut a comment to what a forge takes, after a whole line, and say so."""
    if len(body) <= most:
        return body
    kept = body[: most - len(_CUT)]
    return kept[: kept.rfind("\n") + 1] + _CUT.lstrip("\n") if "\n" in kept else kept + _CUT
