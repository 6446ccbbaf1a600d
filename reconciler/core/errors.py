"""What can go wrong, as a person or a caller meets it.

    PaiError                 exit code and HTTP status, hint, whether a retry may help
    ├── UsageError       2   400  the command line is wrong
    │   └── QueryError   2   400  a query is wrong; points into it
    ├── Refused          1   409  a rule says no; may carry the diagnostics that say why
    │   └── NotFound     1   404  the thing named does not exist
    └── CouldNotRun      3   503  the surroundings do not allow it
        ├── WorkspaceError      no workspace, or its settings are wrong
        ├── LogDamaged          log.db is foreign, damaged or contradicts itself
        ├── LogBusy             another process holds the log for writing
        ├── TooLong             reading the log has passed its deadline
        ├── LogNotWritable      a commit failed; retry after the cause is gone
        │   └── OutcomeUnknown  nobody can tell now whether it was done; look before a retry
        ├── SourceUnavailable   the repository cannot be read now
        └── SecretsUnavailable  the secret store or its master key cannot be used

A refusal of a manifest is a Diagnostic (a value), a bug is an assertion; neither is an error of this tree. A third
party's exception is mapped to one of these in the module that talks to that party, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.diagnostics import Diagnostic


class PaiError(Exception):
    """An operating error with a message for people, a way out, an exit code and the status of an HTTP answer.

    `wait_s` is how long whoever refused asks to be left alone, 0 if they do not.
    """

    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 503
    retry: ClassVar[bool] = False
    wait_s = 0.0

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PaiError):
    """The command line is wrong."""

    exit_code = 2
    http_status = 400


class QueryError(UsageError):
    """A query cannot be read: the part of `query` that is wrong begins at `start` and has `length` characters."""

    def __init__(self, message: str, hint: str = "", query: str = "", start: int = 0, length: int = 0) -> None:
        super().__init__(message, hint)
        self.query = query
        self.start = start
        self.length = length


class Refused(PaiError):
    """A rule says no; `diagnostics` says where and why when manifests are at fault."""

    exit_code = 1
    http_status = 409

    def __init__(self, message: str, hint: str = "", diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message, hint)
        self.diagnostics = tuple(diagnostics)


class NotFound(Refused):
    """The thing named does not exist."""

    http_status = 404


class CouldNotRun(PaiError):
    """The surroundings do not allow the work."""


class WorkspaceError(CouldNotRun):
    """There is no workspace, or its settings are wrong."""


class LogDamaged(CouldNotRun):
    """The log is foreign, damaged or contradicts itself; it is never recreated silently."""


class LogBusy(CouldNotRun):
    """Another process holds the log for writing."""

    retry = True


class TooLong(CouldNotRun):
    """What is read from the log has passed its deadline: see `Reader.be_gentle`."""

    def __init__(
        self,
        message: str = "the query took too long",
        hint: str = "narrow it: since:, model:, agent:, or a smaller limit",
    ) -> None:
        super().__init__(message, hint)


class LogNotWritable(CouldNotRun):
    """A commit failed; what it held was not acknowledged. `internal`: a bug, not the disk, is the cause."""

    retry = True
    internal = False


class OutcomeUnknown(LogNotWritable):
    """Whether what was asked for was done is not known: its answer was lost, or the log cannot be read after it."""

    retry = False

    @classmethod
    def because(cls, why: str, hint: str) -> OutcomeUnknown:
        """Say so, and how to look; `hint` is what to do about the cause."""
        return cls(f"it is not known whether this was done: {why}", f"{hint}; `pai log` shows it if it was recorded")


class SourceUnavailable(CouldNotRun):
    """The config repository cannot be read now; the last accepted state stays in force."""

    retry = True


class SecretsUnavailable(CouldNotRun):
    """The secret store or its master key cannot be used."""


class SecretMissing(SecretsUnavailable):
    """There is no such secret, it lacks the key, or no request can carry it; agents may read the message."""
