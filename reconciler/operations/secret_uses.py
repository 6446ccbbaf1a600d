"""What a secret's value may hold, by who reads it: a value that could serve nobody is refused before it is stored.

A binding's key goes out in a header, so it is one line of visible ASCII. Git's credentials and the secrets that forges
sign with may hold anything. A secret that no binding names yet may become a binding's, unless it is several words and
does not begin as providers' keys do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.core.errors import UsageError
from reconciler.core.objects import SecretReference
from reconciler.core.state import State
from reconciler.secrets.secret_value import unfit
from reconciler.workspace.other_secrets import KNOWN_HOSTS, PASSWORD, SSH_KEY, USERNAME, of_forges
from reconciler.workspace.settings import Settings

_GIT_KEYS: Final = frozenset((USERNAME, PASSWORD, SSH_KEY, KNOWN_HOSTS))
"""Keys of a secret for git, which is mostly stored before the settings name it."""
_WORDS: Final = re.compile(rb"[ -~]+")
"""A passphrase for a forge, whose setting may come later."""
_KEY: Final = re.compile(rb" *(sk-|AIza|AQ\.|gsk_|hf_)")
"""How keys of providers begin."""
_HINT: Final = "a provider's key is one line of ASCII without blanks; for another use name the secret in pai.toml first"


def check_fit(settings: Settings, state: State, name: str, values: Mapping[str, bytes]) -> None:
    """Raise UsageError for a value that no reader of the secret could use; it is not shown."""
    bound = {resource.binding.api_key_secret_ref for resource in state.models.values()}
    for key, value in values.items():
        why = unfit(value)
        free = SecretReference(name, key) not in bound and (
            key in _GIT_KEYS or _named(settings, name, key) or (_WORDS.fullmatch(value) and not _KEY.match(value))
        )
        if why and not free:
            raise UsageError(f"the value of {name} key {key} {why}, so that no request could carry it", _HINT)


def _named(settings: Settings, name: str, key: str) -> bool:
    """Tell whether the settings name the secret, or this key of it, for something else than a binding."""
    forges = of_forges(settings).values()
    return settings.source_secret == name or f"{name}:{key}" in forges or name in forges
