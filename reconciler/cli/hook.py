"""The pre-receive hook's verdict: reads the pushed refs on stdin, prints what is wrong, exits 1 to refuse the push.

Judges the new tip of the source branch only. Other branches pass; the source branch cannot be deleted, `refs/pai/*` not
be pushed. It runs inside git's quarantine: the pushed objects are visible where git says and nowhere else yet. A
running daemon is asked, since it has read the tree already; without one the same code judges here, at the price of more
imports. It changes nothing but the kept index, which is derived; a push that comes through the daemon, which knows who
pushes, it has recorded there. A push by another user than the workspace's is refused: git would leave there what the
daemon cannot use. Whatever goes wrong here refuses the push.
"""

from __future__ import annotations

import io
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from reconciler import quick
from reconciler.cli.output import open_streams, print_diagnostics, print_error
from reconciler.cli.place import warn
from reconciler.core.diagnostics import Shown, shown
from reconciler.core.errors import OutcomeUnknown, PaiError, Refused
from reconciler.operations.asking import ask
from reconciler.operations.hook_verbs import AdmitPush, JudgePush
from reconciler.source.chains import excess
from reconciler.source.hook import RefUpdate, is_judged, parse_updates, require_few_beside, resolved
from reconciler.source.quarantine import quarantine_folders
from reconciler.workspace import OF_THE_HOOK, Workspace, require_owner

DAEMON_TIMEOUT_S = 10.0
CPU_S_MAX = 60
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
"""What any push within the bounds of a tree fits in many times."""
PUSH_VARIABLE = "PAI_PUSH"
"""Where the daemon leaves the number of a push that comes through it; see `admin.git.smart_http`."""


def main(arguments: Sequence[str]) -> int:
    """Judge the push on stdin; 0 lets it in. The arguments are `--workspace DIR`."""
    quick.short_life()
    open_streams()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # git's bytes, whatever the locale
    # A push that takes more is refused, whatever its objects become.
    _limit(resource.RLIMIT_CPU, CPU_S_MAX)
    _limit(resource.RLIMIT_DATA, MEMORY_BYTES_MAX)
    workspace = None
    try:
        # The settings are the operator's; what the pusher has in the environment must not choose the branch.
        workspace = Workspace.open(Path(arguments[arguments.index("--workspace") + 1]), {}, OF_THE_HOOK)
        warn(workspace.settings)
        require_owner(workspace.root, "push ...", "git")  # git makes objects and refs of the pusher's, on any branch
        updates = resolved(parse_updates(sys.stdin), _repository(), workspace.settings.source_branch)
        require_few_beside(updates, workspace.settings.source_branch)
        for folder in quarantine_folders(os.environ)[:1]:  # of any branch: another push may bring them to this one
            if chain := excess(Path(folder, "pack")):
                depth = chain.depth
                raise Refused(
                    f"{chain.said} is pushed",
                    f"run git repack -a -d -F --depth={depth}, and push again with git -c pack.depth={depth}",
                )
        for update in updates:
            _judge(workspace, update)
        if number := os.environ.get(PUSH_VARIABLE):
            _admit(workspace, number, updates)
    except PaiError as error:
        if workspace is not None and PUSH_VARIABLE in os.environ:  # who pushes is elsewhere
            error.message, error.hint = map(workspace.without_places, (error.message, error.hint))
        print_error(error)
        return 1
    except OSError as error:
        print_error(Refused(f"the pushed objects cannot be read: {error.strerror}", "push again"))
        return 1
    except MemoryError:
        print_error(Refused("the push takes more memory than judging may", "push less at a time"))
        return 1
    return 0


def _repository() -> Path:
    return Path(os.path.abspath(os.environ.get("GIT_DIR", ".")))


def _limit(what: int, most: int) -> None:
    """Take as much of something as there may be, whatever git was given of it, or less if the system gives less."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _judge(workspace: Workspace, update: RefUpdate) -> None:
    found = _found(workspace, update)
    errors = [d for d in found.diagnostics if d.severity == "error"]
    listed = errors or found.diagnostics
    print_diagnostics(listed, (found.errors or found.problems) - len(listed), to_stderr=True)
    if errors:
        problems = f"{found.errors} problem{'s' * (found.errors != 1)}"
        raise Refused(f"Pai refuses {update.new[:7]}: {problems}", "correct the places above and push again")


def _admit(workspace: Workspace, number: str, updates: list[RefUpdate]) -> None:
    """Have the daemon, through which the push comes, record who pushes; without that it is refused."""
    try:
        ask(workspace, AdmitPush(number, [(update.old, update.new, update.ref) for update in updates]))
    except OutcomeUnknown as error:
        raise Refused(f"the push is refused: {error.message}", error.hint) from error
    except PaiError as error:
        raise Refused(f"the push cannot be recorded: {error.message}", error.hint or "push again") from error


def _found(workspace: Workspace, update: RefUpdate) -> Shown:
    """Get the verdict from the daemon, which has read the tree; from the files if none can give it, or it is large."""
    push = JudgePush(update.ref, update.deleted, update.new, str(_repository()), quarantine_folders(os.environ))
    try:
        return ask(workspace, push, timeout_s=DAEMON_TIMEOUT_S)
    except Refused:
        raise
    except PaiError:
        pass  # whatever the daemon's trouble is, the push is judged without it; also if it is of another version
    if not is_judged(update.ref, update.deleted, workspace.settings.source_branch):
        return Shown([], 0, 0)
    from reconciler.operations.judging import judge_alone

    return shown(judge_alone(workspace, push).diagnostics)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
