"""Secrets that are for something else than a binding: what the settings name for git, a forge and its webhooks.

Whoever writes manifests may name any secret in a binding; what is the operator's own goes to no provider.
"""

from __future__ import annotations

from typing import Final

from reconciler.core.objects import DEFAULT_SECRET_KEY
from reconciler.workspace.settings import Settings

USERNAME, PASSWORD, TOKEN, SSH_KEY, KNOWN_HOSTS = "username", "password", "token", "ssh-key", "known-hosts"
OF_GIT: Final = (USERNAME, PASSWORD, TOKEN, SSH_KEY, KNOWN_HOSTS)
"""Keys of a secret that git reads."""


def others(settings: Settings) -> dict[tuple[str, str], str]:
    """Give the secrets' keys that the settings name for something else than a binding, each with that setting."""
    found = {(settings.source_secret, key): "source.secret" for key in OF_GIT if settings.source_secret}
    for setting, named in of_forges(settings).items():
        name, _, key = named.partition(":")
        if name:
            found[name, key or DEFAULT_SECRET_KEY] = setting
    return found


def of_forges(settings: Settings) -> dict[str, str]:
    """Give what each setting of a forge says: SECRET:KEY, SECRET, or "" for none."""
    webhooks = {f"webhooks.{forge}": secret for forge, secret in settings.webhooks.items()}
    return webhooks | {"forge.secret": settings.forge_secret}
