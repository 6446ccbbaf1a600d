"""Files that are whole or not there, whenever the power goes: written beside, made durable, put in place at once.

What others put somewhere is read as a file or not at all: a pipe in its place would be waited for without end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` at `path` in place of what was there. Raises OSError; nothing is left behind then."""
    with _drafted(path, content, mode) as draft:
        draft.rename(path)


def create(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put `content` at `path`; a file that is there stays as it is, also if it appears meanwhile. Raises OSError."""
    if os.path.lexists(path):
        return
    with _drafted(path, content, mode) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            draft.rename(path)  # a file system without hard links


def read(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes. Raises OSError, and ValueError for more or for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes is opened at once
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is no file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has more than {most:,} bytes")
    return data


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _drafted(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Give a durable file beside `path`, whose folder is made durable at the end; a draft that is left is removed."""
    draft = path.with_name(f".pai-{os.urandom(6).hex()}")  # short: the name may be as long as one can be
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    sync(path.parent)
