"""A request's query: what of it stays here, the key that may stand in it, and whether its framing can be read.

All else goes upstream as it came, byte for byte and in its order, but for what may be a path into a body, or a system
parameter of Google's that is not known: that is refused. Names are compared decoded and in small letters, and where a
semicolon might part two of them both are looked at: readers differ in what they take for a name.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_plus

from reconciler.gateway.judging.fields import BODY
from reconciler.gateway.refusal import Refusal

_STAYS = frozenset(
    (
        # credentials, and what chooses whom a credential stands for
        *("key", "api_key", "apikey", "api-key", "x-api-key", "x-goog-api-key", "access_token", "oauth_token"),
        *("bearer_token", "authorization", "userproject", "x-goog-user-project", "quotauser", "userip"),
        # what would leave the usage out of the answer, or hide it
        *("fields", "x-goog-fieldmask", "x-goog-field-mask", "callback"),
        # what would make it another request
        *("ct", "httpheaders", "httpmethod", "x-http-method-override", "uploadtype", "upload_protocol"),
    )
)
"""Names that stay, without the `$` that Google lets them have: https://cloud.google.com/apis/docs/system-parameters."""
_BODY = frozenset(name.lower() for name in (*BODY, "generateContentRequest"))
"""Fields of bodies, and what begins a path into one (`generationConfig.maxOutputTokens`): the transcoder that Google
publishes (grpc-httpjson-transcoding) takes them from the query as well, where nobody judges them."""
_SYSTEM = frozenset(("$alt", "$prettyprint", "$.xgafv", "$apiformat"))
"""What Google's system parameters may say that pass: how an answer is framed, printed, and words its errors."""
_WORD = re.compile(r"[a-z0-9_-]*")
_PATH = re.compile(r"[.\[\]%:/]")
_NOT_SHOWN = re.compile(r"[^!-~]")
_ODD = re.compile(rb'[^!"$-~]')
_PLAIN = frozenset((b"alt=sse", b"alt=json", b"beta=true"))
"""What most queries are, which needs no closer look."""
_FRAMINGS = ("", "json", "sse")
PARAMETERS_MAX = 100


def kept_query(query: bytes) -> str:
    """Give what of a query goes upstream. Raises Refusal if it has too many parts to look at each."""
    if not query or query in _PLAIN:
        return query.decode()
    if query.count(b"&") + query.count(b";") >= PARAMETERS_MAX:
        raise Refusal("invalid", f"the query has more than {PARAMETERS_MAX} parameters")
    text = query.decode() if not _ODD.search(query) else quote(query, safe="!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    pieces = text.split("&")
    kept = [_kept(piece) for piece in pieces]
    return text if kept == pieces else "&".join(piece for piece in kept if piece)


def _kept(piece: str) -> str:
    if ";" not in piece:
        return "" if _stays(piece) else piece
    return ";".join(part for part in piece.split(";") if not _stays(part))


def _stays(piece: str) -> bool:
    """Tell whether a parameter stays here. Raises Refusal for one of which nobody knows what it does."""
    name = _name(piece)
    word = name.lstrip("$")
    first = _WORD.match(word)
    if first is not None and (first[0] in _STAYS or first[0] in _BODY):
        return True
    if (name.startswith("$") and name not in _SYSTEM) or (_PATH.search(word) and name not in _SYSTEM):
        raise Refusal(
            "invalid", f"the query names {name[:40]}, which is not known: leave it out, or say it in the body"
        )
    return False


def _name(piece: str) -> str:
    """Give the name in a piece, as the most forgiving reader would take it."""
    return _NOT_SHOWN.sub("", unquote_plus(piece.partition("=")[0])).lower()


def _frames(piece: str) -> bool:
    return _name(piece).lstrip("$") == "alt"


def unframed(query: str) -> str:
    """Give a query without what frames a stream, for a request whose answer is none."""
    pieces = (";".join(part for part in piece.split(";") if not _frames(part)) for piece in query.split("&"))
    return "&".join(piece for piece, given in zip(pieces, query.split("&"), strict=True) if piece or not given)


_KEY = re.compile(rb"(?:^|&)(?:k|%6[Bb])(?:e|%65)(?:y|%79)(?:=([^&]*))?(?=&|$)")
"""The parameter `key`, written in any way that decodes to it: a stranger's query is not taken apart for it."""


def keys_in(query: bytes) -> set[str]:
    """Give the keys in a query, none if it has too many parameters."""
    if not query or (b"key" not in query and b"%" not in query) or query.count(b"&") >= PARAMETERS_MAX:
        return set()
    return {unquote_plus(value.decode("latin-1")) for value in _KEY.findall(query)}


def check_framing(query: bytes) -> None:
    """Raise Refusal if Gemini is asked to frame its answer in a way that nobody here reads, or in two."""
    if query == b"alt=sse" or (b"alt" not in query.lower() and b"%" not in query):
        return
    pieces = re.split("[&;]", query.decode("latin-1"), maxsplit=PARAMETERS_MAX)  # of more, none goes upstream
    pairs = [piece.partition("=") for piece in pieces if _frames(piece)]
    found = {unquote_plus(value).partition(";")[0] for _, _, value in pairs}
    found |= {name for name, _, _ in pairs if unquote_plus(name) not in ("alt", "$alt")}
    if len(found) > 1 or not found.issubset(_FRAMINGS):
        raise Refusal("invalid", f"alt={', '.join(sorted(found))[:100]} is not supported: use json or sse")
