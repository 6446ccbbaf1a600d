"""A place apart for the objects that a fetch brings, as git itself has one for what is pushed.

They become the repository's own only when the fetch has ended well and they can be read quickly; otherwise they are
deleted. The place has a name that git's own tidying knows, should the program be killed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler import durable
from reconciler.core.errors import SourceUnavailable
from reconciler.source import chains


class Incoming:
    """Objects apart from those of the repository, which git sees too while it runs in this `environment`."""

    def __init__(self, objects: Path) -> None:
        self._objects = objects
        self._folder = objects / "tmp_objdir-incoming-pai"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables by which git writes its objects here."""
        return {"GIT_OBJECT_DIRECTORY": str(self._folder)}

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of objects that are not the repository's yet, for `Repository.open`."""
        return (str(self._folder),)

    def begin(self) -> None:
        """Make the place, empty."""
        self.end()
        for name in ("info", "pack"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "info" / "alternates").write_text("..\n")

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

    def end(self) -> None:
        """Remove the place, with all that was not kept."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def incoming(repository: Path) -> Iterator[Incoming]:
    """Have a place for the objects of one fetch. Raises SourceUnavailable if there can be none."""
    place = Incoming(repository.absolute() / "objects")
    try:
        place.begin()
        yield place
    except OSError as error:
        raise SourceUnavailable(
            f"the mirror {repository} cannot be written: {error.strerror}", "check the disk"
        ) from error
    finally:
        place.end()
