"""Secrets: values that cannot be printed, a store that survives crashes and notices damage, three backends."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reconciler.core.errors import SecretsUnavailable, UsageError
from reconciler.secrets.backends import Backends
from reconciler.secrets.secret_value import SecretValue
from reconciler.secrets.store import CHECK_FILE, SecretStore

VALUE = b"sk-very-secret"


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    folder, key = tmp_path / "secrets", tmp_path / "master.key"
    folder.mkdir(mode=0o700)
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    return SecretStore(folder, key)


def backends(
    store: SecretStore,
    stored: Mapping[str, Mapping[str, str]] | None = None,
    directory: Path | None = None,
    **environment: str,
) -> Backends:
    return Backends(store, (stored or {}).get, directory, environment)


def test_secret_value_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Printing, formatting, logging and reprs of containers show a mask; copies and pickles are refused."""
    value = SecretValue(VALUE)
    logging.getLogger("pai").warning("%s %r", value, [value])
    shown = f"{value} {value!r} {value!s} {value:>40} {[value]} {vars(type(value)).keys()}" + caplog.text
    assert "very" not in shown
    assert value.reveal() == VALUE
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, hash, vars):
        with pytest.raises(TypeError):
            attempt(value)
    assert value == SecretValue(VALUE)
    assert value != SecretValue(b"x")
    assert value != VALUE


def test_stored_value_is_read_back_and_lies_encrypted_and_private(store: SecretStore, tmp_path: Path) -> None:
    """A value comes back by its digest; on disk it is neither readable nor open to others."""
    digests = store.put("gemini-key", {"token": VALUE, "api-key": b"other"})
    assert sorted(digests) == ["api-key", "token"]
    assert store.get("gemini-key", "token", digests["token"]) == SecretValue(VALUE)
    path = tmp_path / "secrets" / "gemini-key"
    assert VALUE not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in (tmp_path / "secrets").iterdir()) == [".check", "gemini-key"]


def test_version_in_force_stays_until_pruned(store: SecretStore) -> None:
    """A new version lies beside the old one, so a crash before its event loses nothing."""
    old = store.put("k", {"token": b"old", "other": b"o"})
    new = store.put("k", {"token": b"new"})
    assert store.get("k", "token", old["token"]) == SecretValue(b"old")
    assert store.get("k", "token", new["token"]) == SecretValue(b"new")
    store.prune("k", {"token": new["token"], "other": old["other"]})
    assert store.get("k", "token", old["token"]) is None
    assert store.get("k", "token", new["token"]) == SecretValue(b"new")
    assert store.get("k", "other", old["other"]) == SecretValue(b"o")
    store.prune("k", {})
    assert store.get("k", "other", old["other"]) is None
    store.remove("k")
    store.remove("k")


def test_digest_names_the_value_without_giving_it_away(store: SecretStore, tmp_path: Path) -> None:
    """The same value has the same digest only under the same name, key and master key."""
    digest = store.put("a", {"token": VALUE})["token"]
    assert store.put("a", {"token": VALUE})["token"] == digest
    assert store.put("b", {"token": VALUE})["token"] != digest
    assert store.put("a", {"other": VALUE})["other"] != digest
    store.remove("a")
    store.remove("b")
    (tmp_path / "master.key").write_bytes(b"x" * 32)
    assert SecretStore(tmp_path / "secrets", tmp_path / "master.key").put("a", {"token": VALUE})["token"] != digest


def test_derived_keys_stay_what_they_are(store: SecretStore, tmp_path: Path) -> None:
    """Digests on logs and ciphertexts on disks depend on them: values of the first release, of HKDF written by hand."""
    (digest,) = store.put("name", {"key": b"value"}).values()
    assert digest == "f81b288f7c5a4e3a61c921239e31a226c454207f0d4f9853dcd2cfffa74a16b7"
    check = (tmp_path / "secrets" / CHECK_FILE).read_text()
    assert check == "f4c891adb11ec006c4436aa807f5451f058c5c32b3b393a177a280bd5fafc7a4"
    (version,) = json.loads((tmp_path / "secrets" / "name").read_bytes())["versions"]
    key = bytes.fromhex("c8f4fd7920ad7f0ccdad82dd25fbc9de6057a3ea15dece878358070f894461df")
    nonce, ciphertext = (base64.b64decode(version[part]) for part in ("nonce", "ciphertext"))
    assert AESGCM(key).decrypt(nonce, ciphertext, f"name\0key\0{digest}\0".encode()) == b"value"


def test_every_flipped_byte_is_noticed(store: SecretStore, tmp_path: Path) -> None:
    """Whatever bit of the file changes, the value is the stored one or an error, never another one."""
    digest = store.put("k", {"token": VALUE})["token"]
    path = tmp_path / "secrets" / "k"
    whole = path.read_bytes()
    damaged = 0
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        try:
            value = store.get("k", "token", digest)
        except SecretsUnavailable:
            damaged += 1
        else:
            assert value is None or value == SecretValue(VALUE)
    assert damaged > len(whole) // 2


def test_swapped_files_are_noticed(store: SecretStore, tmp_path: Path) -> None:
    """A ciphertext is bound to its secret's name."""
    digest = store.put("cheap", {"token": VALUE})["token"]
    (tmp_path / "secrets" / "cheap").rename(tmp_path / "secrets" / "dear")
    with pytest.raises(SecretsUnavailable, match="cannot be decrypted"):
        store.get("dear", "token", digest)


@pytest.mark.parametrize(
    ("key", "mode", "words"),
    [
        (None, 0, "is missing"),
        (b"short", 0o600, "has 5 bytes"),
        (b"x" * 33, 0o600, "has 33 bytes"),
        (b"y" * 32, 0o600, "cannot be decrypted"),
        (bytes(range(32)), 0o640, "can be read by others"),
    ],
)
def test_unusable_master_key_is_an_error_with_a_hint(
    store: SecretStore, tmp_path: Path, key: bytes | None, mode: int, words: str
) -> None:
    """A missing, short, wrong or open master key is SecretsUnavailable."""
    digest = store.put("k", {"token": VALUE})["token"]
    path = tmp_path / "master.key"
    path.unlink()
    if key is not None:
        path.write_bytes(key)
        path.chmod(mode)
    with pytest.raises(SecretsUnavailable, match=words) as caught:
        store.get("k", "token", digest)
    assert caught.value.hint


def test_open_or_damaged_secret_file_is_an_error_with_a_hint(store: SecretStore, tmp_path: Path) -> None:
    """A file that others can read, that is cut short or is a folder, is SecretsUnavailable."""
    digest = store.put("k", {"token": VALUE})["token"]
    path = tmp_path / "secrets" / "k"
    path.chmod(0o644)
    with pytest.raises(SecretsUnavailable, match="can be read by others") as caught:
        store.get("k", "token", digest)
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    for damage in (b"", b"{", path.read_bytes()[:-9], b"\xff\xfe"):
        path.write_bytes(damage)
        with pytest.raises(SecretsUnavailable, match="damaged"):
            store.get("k", "token", digest)
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretsUnavailable, match="k"):
        store.put("k", {"token": VALUE})


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "-a", "a-", "a..b", "a\n", "é", "a" * 64, ".a"])
def test_bad_secret_name_is_refused(store: SecretStore, name: str) -> None:
    """Names that are no RFC 1123 subdomain never reach the file system."""
    for attempt in (
        lambda: store.put(name, {"token": VALUE}),
        lambda: store.get(name, "token", ""),
        lambda: store.prune(name, {}),
        lambda: store.remove(name),
    ):
        with pytest.raises(UsageError):
            attempt()
    assert backends(store).problem(name, "token")


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "a b", "a\x00", "ü", "a" * 254])
def test_bad_key_name_is_refused(store: SecretStore, key: str) -> None:
    """Key names are letters, digits, dashes, dots and underscores."""
    with pytest.raises(UsageError):
        store.put("k", {key: VALUE})
    assert backends(store).problem("k", key)
    with pytest.raises(SecretsUnavailable):
        backends(store).resolve("k", key)


def test_value_has_one_byte_to_one_mebibyte(store: SecretStore, tmp_path: Path) -> None:
    """Empty and oversize values are refused before anything is written, and are not shown."""
    for value in (b"", b"s" * (1024 * 1024 + 1)):
        with pytest.raises(UsageError) as caught:
            store.put("k", {"good": VALUE, "token": value})
        assert "ss" not in caught.value.message
    assert not list((tmp_path / "secrets").iterdir())
    digest = store.put("k" * 63 + "." + "k" * 63, {"token": b"s" * 1024 * 1024})["token"]
    assert store.get("k" * 63 + "." + "k" * 63, "token", digest) is not None


def test_failed_write_leaves_the_old_version_and_no_remains(store: SecretStore, tmp_path: Path) -> None:
    """When the disk takes no more, the error says so and what was stored stays readable."""
    import resource
    import signal

    digest = store.put("k", {"token": VALUE})["token"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(SecretsUnavailable, match="too large"):
            store.put("k", {"token": b"n" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert store.get("k", "token", digest) == SecretValue(VALUE)
    assert sorted(entry.name for entry in (tmp_path / "secrets").iterdir()) == [".check", "k"]


def test_concurrent_puts_lose_no_version(store: SecretStore) -> None:
    """Threads that store keys of one secret at once all find theirs."""
    digests: dict[str, str] = {}

    def put(key: str) -> None:
        digests.update(store.put("k", {key: key.encode()}))

    threads = [threading.Thread(target=put, args=(f"key-{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 16
    assert all(store.get("k", key, digest) == SecretValue(key.encode()) for key, digest in digests.items())


def test_backends_are_asked_in_order(store: SecretStore, tmp_path: Path) -> None:
    """The store wins over the folder, the folder over the environment; each is read anew."""
    mounted = tmp_path / "mounted"
    (mounted / "gemini-key").mkdir(parents=True)
    file = mounted / "gemini-key" / "token"
    file.write_bytes(b"from file\n\n")
    stored = {"gemini-key": store.put("gemini-key", {"token": b"from store"})}
    environment = {"PAI_SECRET_GEMINI_KEY_TOKEN": "from-environment"}
    assert backends(store, stored, mounted, **environment).resolve("gemini-key", "token").reveal() == b"from store"
    others = backends(store, {}, mounted, **environment)
    assert others.resolve("gemini-key", "token").reveal() == b"from file\n"
    file.write_bytes(b"rotated")
    assert others.resolve("gemini-key", "token").reveal() == b"rotated"
    file.unlink()
    assert others.resolve("gemini-key", "token").reveal() == b"from-environment"
    assert others.problem("gemini-key", "token") == ""


def test_absent_secret_is_told_in_the_words_of_the_specification(store: SecretStore, tmp_path: Path) -> None:
    """A missing key of a known secret and a missing secret read differently, for both questions."""
    (tmp_path / "mounted" / "filed").mkdir(parents=True)
    (tmp_path / "mounted" / "filed" / "token").write_bytes(b"\n")
    known = backends(
        store, {"gemini-key": {}}, tmp_path / "mounted", PAI_SECRET_VARIED_OTHER="x", PAI_SECRET_E_TOKEN=""
    )
    expected = {
        "gemini-key": "secret gemini-key has no key token",
        "filed": "secret filed has no key token",
        "varied": "secret varied has no key token",
        "e": "secret e does not exist",
        "none": "secret none does not exist",
    }
    for name, message in expected.items():
        assert known.problem(name, "token") == message
        with pytest.raises(SecretsUnavailable) as caught:
            known.resolve(name, "token")
        assert caught.value.message == message


def test_stored_value_that_is_gone_is_not_replaced_by_another_backend(store: SecretStore) -> None:
    """When the log names a value that the store lacks, that is an error and not the environment's value."""
    lost = backends(store, {"k": {"token": "00"}}, None, PAI_SECRET_K_TOKEN="another")
    assert "missing" in lost.problem("k", "token")
    with pytest.raises(SecretsUnavailable, match="missing"):
        lost.resolve("k", "token")


def test_problem_tells_of_a_lost_or_foreign_master_key(store: SecretStore, tmp_path: Path) -> None:
    """A stored value that nobody can decrypt is not there, and that is known without decrypting it."""
    stored = {"k": store.put("k", {"token": VALUE})}
    key = tmp_path / "master.key"
    assert backends(store, stored).problem("k", "token") == ""
    key.write_bytes(bytes(32))
    found = backends(store, stored).problem("k", "token")
    assert found.startswith("the master key cannot be used: ")
    assert "is not the one" in found
    key.unlink()
    assert "is missing" in backends(store, stored).problem("k", "token")


def test_foreign_master_key_adds_nothing_until_the_store_is_empty(store: SecretStore, tmp_path: Path) -> None:
    """Secrets under two master keys never lie side by side; an empty store takes the key that is there."""
    store.put("k", {"token": VALUE})
    (tmp_path / "master.key").write_bytes(bytes(32))
    with pytest.raises(SecretsUnavailable, match="is not the one"):
        store.put("other", {"token": VALUE})
    store.remove("k")
    stored = {"k": store.put("k", {"token": VALUE})}
    assert backends(store, stored).problem("k", "token") == ""
    assert backends(store, stored).resolve("k", "token") == SecretValue(VALUE)


def test_mounted_links_work_inside_their_folder_only(store: SecretStore, tmp_path: Path) -> None:
    """Kubernetes' `..data` links are followed; a link out of the folder, a pipe or a folder is refused."""
    folder = tmp_path / "mounted" / "k"
    (folder / "..2026_11_23").mkdir(parents=True)
    (folder / "..2026_11_23" / "token").write_bytes(VALUE)
    (folder / "..data").symlink_to("..2026_11_23")
    (folder / "token").symlink_to("..data/token")
    (tmp_path / "outside").write_bytes(b"root:x")
    (folder / "escape").symlink_to("../../outside")
    (folder / "loop").symlink_to("loop")
    (folder / "nested").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"x" * (1024 * 1024 + 2))
    mounted = backends(store, {}, tmp_path / "mounted")
    assert mounted.resolve("k", "token").reveal() == VALUE
    for key in ("escape", "loop", "nested", "pipe", "large"):
        assert mounted.problem("k", key).startswith(f"secret k key {key}")
        with pytest.raises(SecretsUnavailable):
            mounted.resolve("k", key)
