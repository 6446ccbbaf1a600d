"""The JSON of the control socket; errors of core/errors.py travel in it and are raised again as the same class.

Texts keep what is no UTF-8, such as a path of the hook, as `json` escapes lone surrogates and reads them back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.core import errors
from reconciler.core.errors import CouldNotRun, PaiError, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.diagnostics import Diagnostic

Object = dict[str, object]


def write(value: Object) -> bytes:
    """Write a JSON object."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def read(data: bytes) -> Object | None:
    """Read a JSON object, None if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def told(error: PaiError) -> Object:
    """Say an error as the HTTP API does, and its class; one defined elsewhere is its nearest of core/errors.py."""
    known = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    body: Object = {"error": error.message, "hint": error.hint, "class": known.__name__}
    if isinstance(error, Refused) and error.diagnostics:
        body["diagnostics"] = [
            {field: getattr(d, field) for field in type(d).__struct_fields__} for d in error.diagnostics
        ]
    return body


def raised(body: Object) -> PaiError:
    """Make the error that `told` said; CouldNotRun if this program does not know its class."""
    cls = getattr(errors, str(body.get("class")), None)
    message, hint = str(body.get("error", "")), str(body.get("hint", ""))
    if not (isinstance(cls, type) and issubclass(cls, PaiError)):
        return CouldNotRun(message, hint)
    if issubclass(cls, Refused):
        return cls(message, hint, _diagnostics(body.get("diagnostics")))
    return cls(message, hint)


def _diagnostics(items: object) -> Sequence[Diagnostic]:
    if not items:
        return ()
    import msgspec  # only when there is something to read

    from reconciler.core.diagnostics import Diagnostic

    try:
        return msgspec.convert(items, tuple[Diagnostic, ...])
    except msgspec.ValidationError:
        return ()
