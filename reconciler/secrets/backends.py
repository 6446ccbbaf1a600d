"""Where a binding's key comes from: the local store, else a mounted folder, else the environment.

The log comes first: a secret's key that it names is read from the store and nowhere else, so that a lost or damaged
value is an error and not silently another one. What was decrypted is kept by its digest, which a rotation changes.
Folder and environment are read anew each time, so a rotated file is in force at the next request.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.core.errors import SecretMissing, SecretsUnavailable, UsageError
from reconciler.secrets.secret_value import VALUE_BYTES_MAX, SecretValue, check_key, check_name, header_text
from reconciler.secrets.store import SecretStore

Stored = Callable[[str], Mapping[str, str] | None]
"""What the log says of a secret: the digest in force of each key; None if it stores no secret of that name."""

_PREFIX = "PAI_SECRET_"
DECRYPTED_MAX = 1000


class Backends:
    """Finds secrets' values.

    `stored` gives what the log says of a secret (usually `state.secrets.get`), `directory` the folder of NAME/KEY files
    or None.
    """

    def __init__(
        self, store: SecretStore, stored: Stored, directory: Path | None, environment: Mapping[str, str]
    ) -> None:
        self._store = store
        self._stored = stored
        self._directory = directory
        self._environment = environment
        self._decrypted: dict[tuple[str, str, str], SecretValue] = {}

    def resolve(self, name: str, key: str) -> SecretValue:
        """Give the value in force. Raises SecretsUnavailable, which says why there is none."""
        try:
            check_name(name)
            check_key(key)
        except UsageError as error:
            raise SecretsUnavailable(error.message, error.hint) from None
        digest = (self._stored(name) or {}).get(key)
        if digest is not None:
            value = self._decrypted.get((name, key, digest)) or self._store.get(name, key, digest)
            if value is None:
                what = f"secret {name} key {key} is on the log, but its stored value is missing"
                raise SecretMissing(what, f"store it again: pai add secret {name}")
            if len(self._decrypted) >= DECRYPTED_MAX:
                self._decrypted.clear()
            self._decrypted[name, key, digest] = value
            return value
        data = self._from_directory(name, key)
        if data is None:
            data = os.fsencode(self._environment.get(variable(name, key), ""))
        if not data:
            raise SecretMissing(self._absence(name, key), f"pai add secret {name} --from-literal {key}=-")
        return SecretValue(data)

    def at_hand(self, name: str, key: str) -> SecretValue | None:
        """Give the value in force if nothing has to be read for it, else None."""
        digest = (self._stored(name) or {}).get(key)
        return self._decrypted.get((name, key, digest)) if digest is not None else None

    def problem(self, name: str, key: str) -> str:
        """Say why no request can be sent with the value, or "" if one can: what the gateway refuses by."""
        try:
            if (self._stored(name) or {}).get(key) is not None:
                self._check_master_key()
            header_text(name, key, self.resolve(name, key).reveal())
        except SecretsUnavailable as error:
            return error.message
        return ""

    def _check_master_key(self) -> None:
        try:
            self._store.check()
        except SecretsUnavailable as error:
            raise SecretsUnavailable(f"the master key cannot be used: {error.message}", error.hint) from error

    def _absence(self, name: str, key: str) -> str:
        prefix = variable(name, "")
        known = (
            self._stored(name) is not None
            or (self._directory is not None and (self._directory / name).is_dir())
            or any(found.startswith(prefix) and value for found, value in self._environment.items())
        )
        return f"secret {name} has no key {key}" if known else f"secret {name} does not exist"

    def _from_directory(self, name: str, key: str) -> bytes | None:
        """Read NAME/KEY without one final line break; None if there is none or it is empty."""
        if self._directory is None:
            return None
        folder, path = self._directory / name, self._directory / name / key
        try:
            # Kubernetes links KEY -> ..data/KEY -> ..2026_11_23/KEY: links are fine while they stay inside NAME.
            real = path.resolve(strict=True)
            if not real.is_relative_to(folder.resolve(strict=True)):
                raise SecretsUnavailable(
                    f"secret {name} key {key}: {path} is a link out of its folder", "put the file itself there"
                )
            data = _read(real, name, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            reason = error.strerror if isinstance(error, OSError) else "a loop of links"
            what = f"secret {name} key {key} cannot be read: {path}: {reason}"
            raise SecretsUnavailable(what, "check its owner and mode, and secrets.directory") from error
        return data.removesuffix(b"\n").removesuffix(b"\r") or None


class OfBindings:
    """Finds values for bindings alone: whoever writes manifests may name any secret, also one of the operator's own.

    `others` are names and keys of secrets that are for something else, each with what it is for.
    """

    def __init__(self, backends: Backends, others: Mapping[tuple[str, str], str]) -> None:
        self._backends = backends
        self._others = others

    def resolve(self, name: str, key: str) -> SecretValue:
        """Give the value in force. Raises SecretsUnavailable, which says why there is none."""
        if (use := self._others.get((name, key))) is not None:
            raise SecretMissing(_taken(name, key, use), "store the provider's key under another name: pai add secret")
        return self._backends.resolve(name, key)

    def at_hand(self, name: str, key: str) -> SecretValue | None:
        """Give the value in force if nothing has to be read for it, else None."""
        return None if (name, key) in self._others else self._backends.at_hand(name, key)

    def problem(self, name: str, key: str) -> str:
        """Say why no request can be sent with the value, or "" if one can: what the gateway refuses by."""
        use = self._others.get((name, key))
        return self._backends.problem(name, key) if use is None else _taken(name, key, use)


def _taken(name: str, key: str, use: str) -> str:
    return f"secret {name} key {key} is for {use}, and goes to no provider"


def variable(name: str, key: str) -> str:
    """Name the environment variable of a secret's key: `PAI_SECRET_GEMINI_KEY_TOKEN` for gemini-key, token."""
    return _PREFIX + f"{name}_{key}".upper().replace("-", "_").replace(".", "_")


def _read(path: Path, name: str, key: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # never hang on a pipe
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SecretsUnavailable(f"secret {name} key {key}: {path} is not a file", "put a file there, or remove it")
        data = file.read(VALUE_BYTES_MAX + 2)
    if len(data) > VALUE_BYTES_MAX + 1:
        raise SecretsUnavailable(
            f"secret {name} key {key}: {path} is over 1 MiB", "a key is one line; check what the file is"
        )
    return data
