"""Running the git program as a child that can neither hang nor overrun its caller.

Every run has a deadline and a session of its own, and is ended with all its helpers (ssh, index-pack) when the time is
over or somebody else says `cancel`. No configuration of the machine or the user reaches it, nothing asks on a terminal,
and what it says is bounded, as is its memory, whatever it is sent. What it is given on the command line and in the
environment is no secret.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from reconciler.core.errors import CouldNotRun

SAID_BYTES_MAX = 65_536
ERR_BYTES_MAX = 4 * 1024 * 1024
OUT_BYTES_MAX = 8 * 1024 * 1024
"""The most bytes of an answer: a remote may have very many refs whose names end like the one that is looked for."""
TERM_S = 2.0
"""How long an ended git may take to remove its temporary files."""
_KEPT = ("PATH", "TMPDIR", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY")
HARMLESS = (
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
)
"""What git fsck finds in histories that old tools wrote (git-fsck(1)); nobody can correct it without a new history.

All of it is about how a person, a time or a mode is spelled, which nothing here trusts. What harms whoever checks the
tree out, or shows two trees in one, is not among it.
"""
_OPTIONS = {
    "core.hooksPath": os.devnull,
    "core.askPass": "",
    "core.fsync": "committed,loose-object,reference",
    "credential.helper": "",
    "fetch.unpackLimit": "1",  # what is fetched is one file, which the limits of a file hold for
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "protocol.allow": "never",
    "transfer.fsckObjects": "true",
    "advice.pushUpdateRejected": "false",
    **{f"fetch.fsck.{finding}": "ignore" for finding in HARMLESS},
}

UNCONFIGURED = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
"""Variables for a git that no configuration of the machine or the user reaches."""
NO_PROGRAMS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""Words for a git in somebody's work tree, whose configuration and hooks may name programs."""
NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1"}
"""Variables for it: a repository that is said to be a partial clone names how its missing objects are fetched.

The second is of git 2.44; the first ends every way to a remote in older ones too (git(1)).
"""
FRUGAL = {
    "core.bigFileThreshold": "8m",
    "core.deltaBaseCacheLimit": "8m",
    "core.packedGitLimit": "64m",
    "core.packedGitWindowSize": "8m",
    "pack.deltaCacheSize": "8m",
    "pack.threads": "1",
    "pack.windowMemory": "16m",
}
"""Settings by which git uses more time and less memory: larger files go through in pieces."""
MEMORY_BYTES_MAX = 64 * 1024 * 1024
"""The most memory of one git process, without files that it maps; 100,000 objects at a time take half of it."""
NICENESS = 10


_NO_COMMAND = 127
"""The exit code of a shell for a command that does not exist: POSIX, XCU 2.8.2."""


def git(
    words: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    folder: Path | None = None,
    given: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run `git WORDS`, which reads what is `given`, to its end. Raises CouldNotRun without git, or if it takes long."""
    try:
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            env={**environment, "LC_ALL": "C"},
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = "it is not installed" if shutil.which("git") is None else str(error)
        raise CouldNotRun(f"git cannot be run: {why}", "install git 2.34 or newer") from error


def in_work_tree(
    folder: Path, words: Sequence[str], environment: Mapping[str, str], timeout_s: float, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `git WORDS` in somebody's work tree, with no hook and no way to a remote; as `git`."""
    return git([*NO_PROGRAMS, *words], {**environment, **NO_TRANSPORT}, timeout_s, folder, given)


def without_repository() -> dict[str, str]:
    """Give this process's environment without variables of git, which may name another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


class Ran(NamedTuple):
    """A git that has ended: its exit code (negative for a signal), and what it said, replaced where it is no UTF-8."""

    code: int
    out: str
    err: str
    late: bool = False
    cancelled: bool = False


class GitRunner:
    """Runs git in one repository, one at a time; `cancel` may come from any thread, and is for good."""

    def __init__(
        self, repository: Path, timeout_s: float, file_bytes_max: int, memory_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        """`file_bytes_max` is the size beyond which no file may grow, in bytes; `memory_bytes_max` is for each git."""
        self._memory_bytes_max = memory_bytes_max
        self._repository = repository
        self._timeout_s = timeout_s
        self._file_bytes_max = file_bytes_max
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End what runs, and let nothing run any more."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                _signal(self._process, signal.SIGTERM)

    def run(
        self,
        *words: str,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        timeout_s: float | None = None,
    ) -> Ran:
        """Run `git WORDS` with further settings `options`. Raises CouldNotRun if git cannot be started."""
        pairs = {**_OPTIONS, **FRUGAL, **(options or {})}.items()
        settings = [word for key, value in pairs for word in ("-c", f"{key}={value}")]
        command = limited(["git", f"--git-dir={self._repository}", *settings, *words], self._memory_bytes_max)
        with TemporaryFile() as out, _pipe() as (err, writing):
            with self._lock:
                if self._cancelled:
                    return Ran(-signal.SIGTERM, "", "", cancelled=True)
                process = self._process = _start(command, git_environment(environment), out, writing, pass_fds)
            try:
                lower(process.pid)
                _limit(process, self._file_bytes_max)
                late = not _ended(process, self._timeout_s if timeout_s is None else timeout_s, err)
            finally:
                with self._lock:  # from here on `cancel` has nothing to end
                    self._process = None
                _end(process)
            if process.returncode == _NO_COMMAND:
                raise CouldNotRun("git is not installed", "install git 2.34 or newer")
            return Ran(process.returncode, _said(out, OUT_BYTES_MAX), err.text(), late, self._cancelled)


def git_environment(further: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of a git that knows no user, no configuration, no terminal and no replaced objects."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        "PATH": os.defpath,
        **kept,
        "HOME": os.devnull,
        "LC_ALL": "C",
        **UNCONFIGURED,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **(further or {}),
    }


def _start(
    command: list[str], environment: dict[str, str], out: IO[bytes], err: int, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            restore_signals=False,  # SIGXFSZ stays ignored: a file too large is an error with words, no silent end
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise CouldNotRun("there is no shell", "/bin/sh is needed") from error
    except OSError as error:
        raise CouldNotRun(
            f"git cannot be started: {error.strerror}", "check the limits of processes and memory"
        ) from error


def limited(command: Sequence[str], memory_bytes_max: int, cpu_s: int | None = None) -> list[str]:
    """Give the command that runs another one with limits on the memory and the work of each process that it starts.

    The limits are soft ones: a hook that git starts sets limits of its own.
    """
    limits = f"ulimit -S -d {memory_bytes_max // 1024}" + (f"; ulimit -S -t {cpu_s}" if cpu_s else "")
    return ["/bin/sh", "-c", f'{{ {limits}; }} 2>/dev/null; exec "$@"', "sh", *command]


def lower(pid: int) -> None:
    """Lower the priority of a process, and of all that it starts from now on, below those that answer requests."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)


def _limit(process: subprocess.Popen[bytes], file_bytes_max: int) -> None:
    if hasattr(resource, "prlimit"):  # Linux; elsewhere the deadline is the only limit
        with contextlib.suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))


class _Errors:
    """The error output of git, of which the end is kept. Beyond ERR_BYTES_MAX nothing is read, and a writer waits.

    A remote decides what git says here; in a file it could be as large as a pack may be.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.taken = 0
        self.open = True
        self._tail = b""

    def take(self) -> None:
        """Take what is there, without waiting."""
        with contextlib.suppress(BlockingIOError):
            while self.open and (data := os.read(self.descriptor, SAID_BYTES_MAX)):
                self.taken += len(data)
                self._tail = (self._tail + data)[-SAID_BYTES_MAX:]
                self.open = self.taken < ERR_BYTES_MAX
            self.open = False  # it was closed, or is too much

    def text(self) -> str:
        """Give its end, now that nobody says anything more: that is where the reason stands."""
        self.take()
        return self._tail.decode("utf-8", "replace")


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[_Errors, int]]:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        yield _Errors(reading), writing
    finally:
        os.close(reading)
        os.close(writing)


def _ended(process: subprocess.Popen[bytes], timeout_s: float, err: _Errors | None = None) -> bool:
    """Wait for the end without taking note of it, which keeps the session's number taken; False if it is late.

    What is said meanwhile on `err` is taken.
    """
    deadline = time.monotonic() + timeout_s
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            return _wait(descriptor, deadline, err)
        finally:
            os.close(descriptor)
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return False
        if err is not None:
            err.take()
        time.sleep(0.005)
    return True


def _wait(descriptor: int, deadline: float, err: _Errors | None) -> bool:
    """Wait for the process of a descriptor; by `poll`, as `select` knows no descriptor above 1,023."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if err is not None and err.open:
        waiting.register(err.descriptor, select.POLLIN)
    while True:
        left_ms = max(0.0, deadline - time.monotonic()) * 1000
        found = [ready for ready, _ in waiting.poll(left_ms)]
        if descriptor in found or err is None or not found:
            return descriptor in found
        err.take()
        if not err.open:
            waiting.unregister(err.descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole session, whatever is left of it: helpers may outlive git itself."""
    if not _ended(process, 0):
        _signal(process, signal.SIGTERM)
        _ended(process, TERM_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _said(file: IO[bytes], most: int) -> str:
    """Read the end of what was said."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    return file.read(most).decode("utf-8", "replace")
