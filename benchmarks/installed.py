"""Programs of others that a benchmark measures beside Pai, installed where the next run finds them.

That is `$XDG_CACHE_HOME/pai-benchmarks` (`~/.cache` if the variable is not set), each in a folder of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.site import environment

INSTALL_S = 1200.0


def folder(name: str) -> Path:
    """Give the folder of one program, which may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pai-benchmarks" / name


def install(*command: str | Path) -> None:
    """Run a command that installs something. Raises OSError, with its last words, if it fails."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if done.returncode:
        raise OSError(f"it cannot be installed: {done.stderr.strip()[-500:]}")


def from_pypi(name: str, package: str) -> Path:
    """Give the command `name` of a package, in an environment of its own. Raises OSError if it cannot be had."""
    place = folder(name)
    command = place / "bin" / name
    if not command.exists():
        print(f"installing {package} from PyPI ...", file=sys.stderr, flush=True)
        install(sys.executable, "-m", "venv", place)
        install(place / "bin" / "pip", "install", "--quiet", package)
    return command
