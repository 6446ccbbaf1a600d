"""What a machine needs before the checks can run, and how it gets there: nothing here needs more than Python itself.

System packages that are missing are named and installed (by apt, as root or by sudo), or the line to type is. Python
packages go into an environment of the checkout, which is made anew when requirements.lock or the interpreter changes.
The checks then run there, after what a newcomer does: `pip install .` and `pai demo` in an environment of its own.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
PYTHONS = ("python3.11", "python3", "python3.12", "python3.13", "python3.14")
ENVIRONMENT = ROOT / ".venv-tests"
STAMP = ENVIRONMENT / "made-of"
COMMANDS = {
    "git": "git",
    "strace": "strace",
    "curl": "curl",
    "openssl": "openssl",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "gpg": "gpg",
    "gpg-agent": "gpg-agent",
    "npm": "npm",
}
"""The commands that tests drive, and Debian's package of each."""
FILES = {"/usr/lib/*/faketime/libfaketimeMT.so.1": "libfaketime", "/usr/lib/postgresql/*/bin/initdb": "postgresql"}
"""What tests use that is on nobody's PATH, and Debian's package of each."""
_OURS = re.compile(r"PAI_(?!TEST_|SEED$|EDITS$|IMAGES$|CHAOS_S$|GATEWAY_KILLS$|EXAMPLES$)")


def is_prepared() -> bool:
    """Tell whether this interpreter's environment has what the checks need."""
    wanted = ("pytest", "xdist", "mypy", "ruff", "msgspec", "pygit2", "reconciler")
    return all(importlib.util.find_spec(name) is not None for name in wanted)


def run(arguments: list[str]) -> int:
    """Prepare the machine, take the newcomer's way if all checks are asked for, and run the checks there."""
    python = _interpreter()
    if python is None:
        return _say(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; PYTHON=... names one")
    if not _install(missing(python)):
        return 3
    clean = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        clean.pop(name, None)
    clean.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_ROOT_USER_ACTION="ignore")
    if not arguments or arguments[0] == "all":
        code = _newcomer(python, clean)
        if code:
            return code
    code = _prepare(python, clean)
    return code or _call([ENVIRONMENT / "bin" / "python", "-m", "tests", *arguments], clean)


def missing(python: str) -> list[str]:
    """Name the system packages that are not there."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = [package for command, package in COMMANDS.items() if shutil.which(command, path=path) is None]
    found += [package for files, package in FILES.items() if not glob.glob(files)]
    if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
        found.append("python3-venv")
    return found


def _interpreter() -> str | None:
    check = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    for name in (os.environ.get("PYTHON", ""), sys.executable, *PYTHONS):
        found = shutil.which(name) if name else None
        if found and subprocess.run([found, "-c", check], capture_output=True, check=False).returncode == 0:
            return found
    return None


def _install(packages: list[str]) -> bool:
    """Install system packages; tell the line to type if that cannot be done."""
    if not packages:
        return True
    if shutil.which("apt-get") is None:
        _say(f"missing on this machine, by their names on Debian: {' '.join(packages)}")
        return False
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    environment = dict(os.environ)
    for command in (["apt-get", "update", "-qq"], [*install, *packages]):
        with contextlib.suppress(FileNotFoundError):  # there is no sudo
            if _call([*as_root, *command], environment) == 0:
                continue
        _say(f"missing on this machine; type: sudo apt-get install {' '.join(packages)}")
        return False
    return True


def _newcomer(python: str, environment: dict[str, str]) -> int:
    """Do what README.md begins with, elsewhere: the package alone, and the tour."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "newcomer")
        return (
            _call([python, "-m", "venv", place], environment)
            or _call([place / "bin" / "pip", "install", "--quiet", "."], environment)
            or _call([place / "bin" / "pai", "demo"], environment, Path(folder))
        )


def _prepare(python: str, environment: dict[str, str]) -> int:
    version = subprocess.run([python, "-VV"], capture_output=True, check=False).stdout
    wanted = hashlib.sha256(
        version + b"".join((ROOT / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
    )
    with contextlib.suppress(OSError):
        if STAMP.read_text() == wanted.hexdigest():
            return 0
    pip = ENVIRONMENT / "bin" / "pip"
    code = (
        _call([python, "-m", "venv", "--clear", ENVIRONMENT], environment)
        or _call([pip, "install", "--quiet", "-r", "requirements.lock"], environment)
        or _call([pip, "install", "--quiet", "--no-deps", "-e", "."], environment)
    )
    if not code:
        STAMP.write_text(wanted.hexdigest())
    return code


def _call(command: list[str | Path], environment: dict[str, str], folder: Path = ROOT) -> int:
    words = [str(word) for word in command]
    shown = [word.replace(str(ROOT) + os.sep, "") for word in words]
    os.write(sys.stdout.fileno(), f"\n== {shlex.join(shown)}\n".encode())
    return subprocess.run(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def _say(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 3
