"""What both sides of the control socket share: its address, who is on the other side, limits, and the JSON.

Errors of core/errors.py travel in it and are raised again as the same class. A path of the hook may be no UTF-8, which
`json` keeps: it escapes lone surrogates and reads them back.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core import errors
from reconciler.core.errors import CouldNotRun, PaiError, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.diagnostics import Diagnostic

Object = dict[str, object]

PREFIX = "/api/v1/operations/"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Of the JSON of a request, and of an answer."""
HEAD_BYTES_MAX = 64 * 1024
"""Of the lines before it."""
PATH_BYTES_MAX = 100
"""Unix socket addresses end at 107 bytes (103 on some systems); longer paths take a detour."""


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give an address for `path` that fits into a socket address however long the path is."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptors = f"/proc/self/fd/{folder}"
        if os.path.isdir(descriptors):
            yield f"{descriptors}/{path.name}"
            return
        import tempfile

        with tempfile.TemporaryDirectory(prefix="pai-") as short:
            link = Path(short, "d")
            link.symlink_to(path.parent)
            yield str(link / path.name)
    finally:
        os.close(folder)


def peer(connection: socket.socket) -> int | None:
    """Tell as which user the other side runs; None where the system does not say.

    There the socket's mode and its folder's keep others out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def pieces(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Give what the other side sends until it ends, also if it does without having read. Raises TimeoutError."""
    with contextlib.suppress(ConnectionResetError):
        while True:
            connection.settimeout(left(deadline))
            piece = connection.recv(262_144)
            if not piece:
                return
            yield piece


def left(deadline: float) -> float:
    """Give the seconds until `deadline`. Raises TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


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
    cls = getattr(errors, str(body.get("class")), CouldNotRun)
    message, hint = str(body.get("error", "")), str(body.get("hint", ""))
    if not (isinstance(cls, type) and issubclass(cls, PaiError)):
        return CouldNotRun(message, hint)
    return cls(message, hint, _diagnostics(body.get("diagnostics"))) if issubclass(cls, Refused) else cls(message, hint)


def _diagnostics(items: object) -> Sequence[Diagnostic]:
    if not items:
        return ()
    import msgspec  # only when there is something to read

    from reconciler.core.diagnostics import Diagnostic

    try:
        return msgspec.convert(items, tuple[Diagnostic, ...])
    except msgspec.ValidationError:
        return ()
