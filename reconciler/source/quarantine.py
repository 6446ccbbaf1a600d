"""Where git keeps the objects of a push that is not accepted yet: what it tells a pre-receive hook.

Reads the environment that it is given and nothing else, and imports little, as the hook waits for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping


def quarantine_folders(environment: Mapping[str, str]) -> list[str]:
    """List the object folders that git names in a hook's environment, absolute, the pushed objects' own first."""
    folders = [environment.get("GIT_OBJECT_DIRECTORY", "")]
    folders += _split_alternates(environment.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", ""))
    return [os.path.abspath(folder) for folder in folders if folder]


def _split_alternates(text: str) -> list[str]:
    """Split at colons; git writes a folder whose name holds a colon or a quote as a C string."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|([^:]+)', text)
    return [_unquoted(quoted) if quoted else plain for quoted, plain in parts]


def _unquoted(text: str) -> str:
    named = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}

    def plain(match: re.Match[bytes]) -> bytes:
        escape = match[1].decode("ascii")
        code = int(escape, 8) if len(escape) == 3 else named.get(escape, ord(escape[0]))
        return bytes([code])

    return os.fsdecode(re.sub(rb"\\([0-7]{3}|[\x00-\x7f])", plain, os.fsencode(text)))
