"""Where the clients are: as npm and PyPI give them, at the versions of the lock files here, installed once.

The Python ones have environments apart from the project's own and from each other, since they want different SDKs. All
lie in PAI_TEST_CLIENTS if that is set, else in the system's temporary folder, by a name that tells the lock's content;
a folder that was not completed is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / "python"
NPM = HERE / "npm"
NPM_MISSING = "npm is not installed here, and the clients come with it: apt-get install npm, or see https://nodejs.org"
INSTALL_S = 900


@cache
def interpreter(name: str) -> Path:
    """Give the Python that has the packages of `python/NAME.lock`."""
    lock = PYTHON / f"{name}.lock"

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, "--require-hashes", "--no-deps", "-r", str(lock)])

    return _made(f"pai-clients-{name}", lock.read_bytes() + sys.version.encode(), make) / "bin" / "python"


@cache
def modules() -> Path:
    """Give the folder whose `node_modules` has the packages of `npm/package-lock.json`, Node.js among them."""
    lock = NPM / "package-lock.json"

    def make(folder: Path) -> None:
        assert shutil.which("npm"), NPM_MISSING
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NPM / name, folder)
        npm = ["npm", "--prefix", str(folder), "--no-fund", "--no-audit", "--loglevel", "error"]
        _run([*npm, "ci", "--ignore-scripts"])
        _run([*npm, "rebuild", "@anthropic-ai/claude-code"])  # its script puts its own program in place

    return _made("pai-clients-npm", lock.read_bytes(), make)


def versions() -> dict[str, str]:
    """Give the version of every package that the lock files name; of one that several name, one of theirs."""
    packages = json.loads((NPM / "package-lock.json").read_text())["packages"]
    found = {name.removeprefix("node_modules/"): package["version"] for name, package in packages.items() if name}
    for lock in PYTHON.glob("*.lock"):
        found |= dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
    return found


def path() -> str:
    """Give the PATH with the programs that npm installed before the machine's own: claude, codex, gemini, node."""
    packages = modules() / "node_modules"
    return os.pathsep.join([*map(str, packages.glob("node-*/bin")), str(packages / ".bin"), os.environ["PATH"]])


def _made(name: str, content: bytes, make: Callable[[Path], None]) -> Path:
    home = Path(os.environ.get("PAI_TEST_CLIENTS") or tempfile.gettempdir())
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "complete").touch()
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
