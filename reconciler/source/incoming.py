"""A place apart for the objects that a fetch brings, as git itself has one for what is pushed.

They become the repository's own only when the fetch has ended well and they can be read quickly; otherwise they are
deleted. The place has a name that git's own tidying knows, should the program be killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from reconciler import durable
from reconciler.core.errors import SourceUnavailable
from reconciler.source import chains

_PREFIX: Final = "tmp_objdir-incoming-"


class Incoming:
    """Objects apart from those of the repository, which git sees too while it runs in this `environment`."""

    def __init__(self, objects: Path, folder: Path) -> None:
        self._objects = objects
        self._folder = folder

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables by which git writes its objects here."""
        return {"GIT_OBJECT_DIRECTORY": str(self._folder)}

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of objects that are not the repository's yet, for `Repository.open`."""
        return (str(self._folder),)

    def excess(self) -> chains.Excess | None:
        """Say what is too much about a chain of deltas that came: `chains`."""
        return chains.excess(self._folder / "pack")

    def keep(self) -> None:
        """Give the repository what came; the index of a pack last, as that is what makes it one."""
        last = {".pack": 0, ".rev": 1, ".idx": 2}
        packs = [path for path in (self._folder / "pack").iterdir() if path.suffix in last]
        for path in sorted(packs, key=lambda path: last[path.suffix]):
            path.rename(self._objects / "pack" / path.name)
        durable.sync(self._objects / "pack")


@contextlib.contextmanager
def incoming(repository: Path) -> Iterator[Incoming]:
    """Have a place for the objects of one fetch. Raises SourceUnavailable if there can be none."""
    objects = repository.absolute() / "objects"
    folder = objects / f"{_PREFIX}pai"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name in ("info", "pack"):
            (folder / name).mkdir(parents=True)
        (folder / "info" / "alternates").write_text("..\n")
        yield Incoming(objects, folder)
    except OSError as error:
        raise SourceUnavailable(
            f"the mirror {repository} cannot be written: {error.strerror}", "check the disk"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # with all that was not kept


def remove_leftovers(repository: Path, age_s: float) -> None:
    """Remove what a git that was killed leaves of a push, if it wrote nothing for `age_s` seconds. Never fails.

    A git that ends by itself removes it. What may still be worked in stays: a push by file may come from where its
    process cannot be seen from here.
    """
    with contextlib.suppress(OSError):
        for folder in list(repository.glob(f"objects/{_PREFIX}*")):
            with contextlib.suppress(OSError):
                if _written(folder) < time.time() - age_s:
                    shutil.rmtree(folder, ignore_errors=True)


def _written(folder: Path) -> float:
    """Tell when something was last written in a folder, in seconds of Unix time. Raises OSError."""
    places = [folder, *(Path(above, name) for above, below, files in os.walk(folder) for name in (*below, *files))]
    return max(place.lstat().st_mtime for place in places)
