"""From settings and stored secrets to the remote that they mean.

What a secret holds is read anew for every fetch, so a rotated token is in force at the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from reconciler.core.errors import SecretMissing, SecretsUnavailable, SourceUnavailable
from reconciler.secrets.backends import Backends
from reconciler.source.credentials import RemoteCredentials
from reconciler.source.mirror import Mirror
from reconciler.source.remote import Remote
from reconciler.source.witness import refs_of
from reconciler.workspace import Workspace
from reconciler.workspace.other_secrets import KNOWN_HOSTS, OF_GIT, PASSWORD, SSH_KEY, TOKEN, USERNAME


def mirror_of(
    workspace: Workspace, secrets: Backends, origin: str, on_checkpoints: Callable[[], None]
) -> Mirror | None:
    """Give the mirror of a remote source, made if it is not there; None for a local one. Raises SourceUnavailable.

    `origin` is the log's name; `on_checkpoints` is called after a fetch that brought other checkpoints.
    """
    settings = workspace.settings
    if workspace.repository is not None:
        return None
    remote = Remote(
        settings.source_repo,
        settings.shown["source.repo"],
        settings.source_branch,
        workspace.file(settings.source_ca_file),
        settings.source_timeout_s,
        settings.source_max_transfer_bytes,
        settings.source_push,
        settings.source_max_memory_bytes,
        refs_of(origin),
    )
    mirror = Mirror(
        workspace.mirror,
        remote,
        lambda: credentials(settings.source_secret, secrets),
        lambda: moment(0),
        on_checkpoints,
    )
    mirror.prepare()
    return mirror


def credentials(name: str, secrets: Backends) -> RemoteCredentials:
    """Read what the secret `name` holds; nothing for "". Raises SourceUnavailable if it does not exist."""
    if not name:
        return RemoteCredentials()
    found: dict[str, bytes] = {}
    for key in OF_GIT:
        try:
            found[key] = secrets.resolve(name, key).reveal()
        except SecretMissing:
            continue
        except SecretsUnavailable as error:
            raise SourceUnavailable(f"source.secret cannot be read: {error.message}", error.hint) from error
    if not found:
        raise SourceUnavailable(
            f"source.secret is {name}, and there is no such secret with a key token, password or ssh-key",
            f"pai add secret {name} --from-literal token=-",
        )
    username = found.get(USERNAME, b"").decode("utf-8", "replace")
    password = found.get(TOKEN) or found.get(PASSWORD) or b""
    return RemoteCredentials(username, password, found.get(SSH_KEY, b""), found.get(KNOWN_HOSTS, b""))


def moment(seconds: float) -> str:
    """Give the time so many seconds from now, in UTC to the second, as RFC 3339."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
