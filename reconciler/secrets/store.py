"""The encrypted local store: one file per secret under `data/secrets`, AES-256-GCM under the workspace's master key.

A file holds versions side by side, each named by key and digest. `put` only adds; the log says which digest is in
force, so a crash between `put` and the event that names the digest loses nothing and changes nothing. `prune` takes
away what the log no longer names.

Invariants: a file is replaced whole or not at all, durably before `put` returns. Name, key and digest are bound to each
ciphertext, so that files and versions cannot be swapped. A digest is an HMAC under a key derived from the master key:
it names a value, but nobody can guess a weak value from it. Plaintext is never written.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from reconciler import durable
from reconciler.core.errors import SecretsUnavailable
from reconciler.secrets.secret_value import SecretValue, check_key, check_name, check_value

MASTER_KEY_BYTES = 32
NONCE_BYTES = 12
FILE_BYTES_MAX = 64 * 1024 * 1024
CHECK_FILE = ".check"
"""Beside the secrets: names the master key that they are encrypted under, and gives nothing of it away."""


class _Version(msgspec.Struct, frozen=True):
    key: str
    digest: str
    nonce: bytes
    ciphertext: bytes


class _File(msgspec.Struct, frozen=True, tag_field="format", tag="pai-secret-v1"):
    versions: list[_Version]


_decoder = msgspec.json.Decoder(_File)
_encoder = msgspec.json.Encoder()


class SecretStore:
    """Keeps secrets' values under `folder`, encrypted under the key in `master_key`, which is read when first needed.

    Safe for several threads. Of several processes only the holder of the log's lock may change anything.
    """

    def __init__(self, folder: Path, master_key: Path) -> None:
        self._folder = folder
        self._master_key = master_key
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads' changes out, for `put`, recording the event and `prune` as one step.

        Without it a second caller's `prune` could take away a version that the first has put but not yet recorded.
        """
        with self._lock:
            yield

    def put(self, name: str, values: Mapping[str, bytes]) -> dict[str, str]:
        """Add a version of each key's value beside those there are, and give the digests by key, for the log.

        Raises UsageError for bad names or values, SecretsUnavailable if nothing can be stored. The first secret of a
        store settles its master key; under another one nothing is added.
        """
        check_name(name)
        for key, value in values.items():
            check_value(name, check_key(key), value)
        with self._lock:
            keys = self._keys()
            self._settle(keys)
            versions = {(v.key, v.digest): v for v in self._read(name)}
            digests = {key: keys.digest(name, key, value) for key, value in values.items()}
            for key, value in values.items():
                versions[key, digests[key]] = keys.encrypt(name, key, digests[key], value)
            self._write(name, list(versions.values()))
        return digests

    def get(self, name: str, key: str, digest: str) -> SecretValue | None:
        """Decrypt one version; None if it is not stored. Raises SecretsUnavailable if it cannot be decrypted."""
        found = self._read(check_name(name))
        version = next((v for v in found if (v.key, v.digest) == (key, digest)), None)
        return None if version is None else SecretValue(self._keys().decrypt(name, version))

    def prune(self, name: str, keep: Mapping[str, str]) -> None:
        """Take away every version but those that `keep` names (key -> digest)."""
        check_name(name)
        with self._lock:
            versions = self._read(name)
            kept = [v for v in versions if keep.get(v.key) == v.digest]
            if not kept:
                self.remove(name)
            elif len(kept) < len(versions):
                self._write(name, kept)

    def remove(self, name: str) -> None:
        """Take away a secret with all its versions; nothing happens if there is none."""
        path = self._folder / check_name(name)
        with self._lock:
            try:
                path.unlink()
                durable.sync(self._folder)
            except FileNotFoundError:
                return
            except OSError as error:
                raise _unavailable(path, error) from error

    def check(self) -> None:
        """Check that the master key is there, private and the one of the stored secrets. Raises SecretsUnavailable."""
        keys = self._keys()
        with self._lock:
            if self._settled_by() not in (b"", keys.check):
                raise SecretsUnavailable(
                    f"the master key {self._master_key} is not the one that the secrets are encrypted under",
                    "restore it from a backup: the values cannot be read without it",
                )

    def _settle(self, keys: _Keys) -> None:
        """Write down which master key an empty store has; with secrets in it, make sure that this is the one."""
        try:
            empty = all(name.startswith(".") for name in os.listdir(self._folder))
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        if not empty:
            self.check()
        elif self._settled_by() != keys.check:
            self._replace(self._folder / CHECK_FILE, keys.check)

    def _settled_by(self) -> bytes:
        try:
            return _read_private(self._folder / CHECK_FILE, 1024)
        except FileNotFoundError:
            return b""

    def _read(self, name: str) -> list[_Version]:
        path = self._folder / name
        try:
            data = _read_private(path, FILE_BYTES_MAX)
        except FileNotFoundError:
            return []
        try:
            return _decoder.decode(data).versions
        except (msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
            raise SecretsUnavailable(f"the stored secret {name} is damaged ({path})", _STORE_AGAIN) from None

    def _write(self, name: str, versions: list[_Version]) -> None:
        data = _encoder.encode(_File(versions))
        if len(data) > FILE_BYTES_MAX:
            raise SecretsUnavailable(f"secret {name} would be too large", "use several secrets")
        self._replace(self._folder / name, data)

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            durable.replace(path, data)
        except OSError as error:
            raise _unavailable(path, error) from error

    def _keys(self) -> _Keys:
        path = self._master_key
        hint = "restore it from a backup; pai init makes one where no secret is stored yet"
        try:
            master = _read_private(path, 4096)
        except FileNotFoundError:
            raise SecretsUnavailable(f"the master key {path} is missing", hint) from None
        if len(master) != MASTER_KEY_BYTES:
            raise SecretsUnavailable(
                f"the master key {path} has {len(master)} bytes instead of {MASTER_KEY_BYTES}", hint
            )
        return _Keys(master)


_STORE_AGAIN = "restore it from a backup, or store the values under another name: pai add secret"


class _Keys:
    """What is derived from the master key, and the work done with it."""

    def __init__(self, master: bytes) -> None:
        self._encryption = _derive(master, b"pai secrets encryption v1")
        self._digest = _derive(master, b"pai secrets digest v1")
        self.check = _derive(master, b"pai secrets check v1").hex().encode()

    def digest(self, name: str, key: str, value: bytes) -> str:
        """Name a value, in hex. Equal values under different names have different digests."""
        return hmac.digest(self._digest, _bound(name, key) + value, "sha256").hex()

    def encrypt(self, name: str, key: str, digest: str, value: bytes) -> _Version:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = AESGCM(self._encryption).encrypt(nonce, value, _bound(name, key, digest))
        return _Version(key, digest, nonce, ciphertext)

    def decrypt(self, name: str, version: _Version) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        bound = _bound(name, version.key, version.digest)
        try:
            value = AESGCM(self._encryption).decrypt(version.nonce, version.ciphertext, bound)
        except (InvalidTag, ValueError):  # ValueError: a nonce of a wrong length
            value = None
        if value is None or not hmac.compare_digest(self.digest(name, version.key, value), version.digest):
            raise SecretsUnavailable(
                f"secret {name} key {version.key} cannot be decrypted: it is damaged, or the master key is another one",
                _STORE_AGAIN,
            )
        return value


def _derive(master: bytes, info: bytes) -> bytes:
    """Derive 32 bytes by HKDF-SHA256 (RFC 5869) without salt."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=info).derive(master)


def _bound(*parts: str) -> bytes:
    """Join names unambiguously: none of them can hold a zero byte."""
    return b"".join(part.encode() + b"\0" for part in parts)


def _read_private(path: Path, size_max: int) -> bytes:
    """Read a file that nobody else may read. Raises FileNotFoundError, or SecretsUnavailable for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SecretsUnavailable(f"{path} is not a file", "move it away, and restore the file from a backup")
            if found.st_mode & 0o077:
                raise SecretsUnavailable(
                    f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {path}"
                )
            if found.st_size > size_max:
                raise SecretsUnavailable(f"{path} is too large to be what it should be", "restore it from a backup")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: OSError) -> SecretsUnavailable:
    return SecretsUnavailable(f"{path}: {error.strerror}", "check its owner, its mode and the space on the disk")
