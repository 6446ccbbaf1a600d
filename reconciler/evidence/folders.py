"""A folder that is filled whole or not at all.

What is written goes into a draft: beside the target if that is new, inside it if it is an empty folder (which may be a
file system of its own). When all of it is durable the draft takes the target's place, or its files do, the one that
makes the whole believable last. A failure removes the draft; a crash leaves it under a name that nobody takes for an
export.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from reconciler.core.errors import CouldNotRun, Refused
from reconciler.durable import sync

PARTIAL = ".pai-partial-"


@contextlib.contextmanager
def filled(target: Path, last: str) -> Iterator[Path]:
    """Give a draft folder to write into; when the `with` ends well, all of it is in `target`, the file `last` last.

    Raises Refused if the target is no new or empty folder, CouldNotRun if it cannot be written.
    """
    target = Path(os.path.abspath(target))
    try:
        inside = _is_there(target)
        draft = target / f"{PARTIAL}{os.urandom(6).hex()}" if inside else _beside(target)
        draft.mkdir()
    except OSError as error:
        raise _unwritable(target, error) from error
    made = [draft]
    try:
        yield draft
        _sync_all(draft)
        if inside:
            entries = sorted(draft.iterdir(), key=lambda path: path.name == last)
            made.extend(entry.rename(target / entry.name) for entry in entries)
            draft.rmdir()
            sync(target)
        else:
            draft.rename(target)
            sync(target.parent)
    except OSError as error:
        _remove(made)
        raise _unwritable(target, error) from error
    except BaseException:
        _remove(made)
        raise


def require_new(target: Path) -> None:
    """Raise Refused unless the target is a new or an empty folder."""
    _is_there(target)


def _is_there(target: Path) -> bool:
    """Tell whether the target exists. Raises Refused if it holds anything."""
    if not os.path.lexists(target):
        return False
    if not target.is_dir():
        raise Refused(f"{target} is no folder", "name a new or an empty one")
    for name in os.listdir(target):
        hint = "an export was cut off there: name a new folder" if name.startswith(PARTIAL) else "name a new folder"
        raise Refused(f"{target} is not empty: it has {name}", hint)
    return True


def _beside(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f"{PARTIAL}{os.urandom(6).hex()}")


def _sync_all(folder: Path) -> None:
    """Make a whole tree durable: all at once first, then each file, which tells if that failed."""
    os.sync()
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def _remove(made: list[Path]) -> None:
    for path in reversed(made):  # the file that makes the whole believable first
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.unlink()


def _unwritable(target: Path, error: OSError) -> CouldNotRun:
    return CouldNotRun(
        f"{target} cannot be written: {error.strerror}", "nothing was exported; free space, or name another place"
    )
