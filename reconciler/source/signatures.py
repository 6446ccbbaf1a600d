"""Who signed a commit, proved by git's own tools against the keys that the operator names.

git is asked (`git verify-commit --raw`), with no configuration but ours and no replaced objects. A proof stands on the
operator's files alone: nothing that is in the repository can add a key. The time of a signature is the committer's
word. What a forge says of a commit, and what git claims of its author, are other things, and not here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from reconciler.core.errors import SourceUnavailable
from reconciler.core.events import Signature
from reconciler.source.gitrun import GitRunner, Ran

Mode = Literal["head", "all"]
TIMEOUT_S = 20.0
PROOFS_MAX = 20_000
"""Proofs remembered; a commit's signature does not change, but the keys may."""
_SSH_GOOD = re.compile(r'^Good "git" signature for (.+) with (\S+) key (\S+)$', re.MULTILINE)
_SSH_KEY = re.compile(r'^Good "git" signature with (\S+) key (\S+)$', re.MULTILINE)
_GPG = re.compile(r"^\[GNUPG:\] (\S+)(?: (.*))?$", re.MULTILINE)
_GPG_BAD = {
    "BADSIG": "does not hold",
    "EXPSIG": "has expired",
    "EXPKEYSIG": "is by a key that has expired",
    "REVKEYSIG": "is by a key that was revoked",
    "ERRSIG": "is by a key that may not sign",
    "TRUST_NEVER": "is by a key that may not sign",
}


class SignatureProof(NamedTuple):
    """The result for one signature. `problem` is "" if it holds and its key may sign, else the end of a sentence."""

    signature: Signature | None
    problem: str


class Signatures:
    """Proves signatures by the keys of an allowed-signers file (ssh), a GnuPG folder (OpenPGP), or both."""

    def __init__(self, mode: Mode, allowed_signers: Path | None, gnupg_home: Path | None) -> None:
        self.mode = mode
        self._allowed_signers = allowed_signers
        self._gnupg_home = gnupg_home
        self._version = ""
        self._known: dict[str, SignatureProof] = {}

    def version(self) -> str:
        """Give a name of the present keys; it changes when they do."""
        places = [self._allowed_signers] if self._allowed_signers else []
        if self._gnupg_home:
            places += [self._gnupg_home / name for name in ("pubring.kbx", "pubring.gpg", "trustdb.gpg")]
        return self.mode + "".join(_stamp(place) for place in places)

    def proof(self, repository: Path, folders: Sequence[str], sha: str, claimed: Signature | None) -> SignatureProof:
        """Prove the signature of a commit that `claimed` describes. Raises SourceUnavailable if nobody can tell."""
        if claimed is None:
            return SignatureProof(None, "is not signed")
        if (version := self.version()) != self._version or len(self._known) > PROOFS_MAX:
            self._version, self._known = version, {}
        if sha not in self._known:
            self._known[sha] = self._prove(repository, folders, sha, claimed)
        return self._known[sha]

    def _prove(self, repository: Path, folders: Sequence[str], sha: str, claimed: Signature) -> SignatureProof:
        if claimed.format == "ssh" and self._allowed_signers is not None:
            if not os.access(self._allowed_signers, os.R_OK):
                raise SourceUnavailable(
                    f"signatures cannot be checked: {self._allowed_signers} cannot be read",
                    "source.allowed_signers names it",
                )
            options = {"gpg.ssh.allowedSignersFile": str(self._allowed_signers), "gpg.ssh.program": "ssh-keygen"}
            return _ssh(_verify(repository, folders, sha, options, {}), claimed)
        if claimed.format == "openpgp" and self._gnupg_home is not None:
            if not self._gnupg_home.is_dir():
                raise SourceUnavailable(
                    f"signatures cannot be checked: {self._gnupg_home} is no folder", "source.gnupg_home names it"
                )
            environment = {"GNUPGHOME": str(self._gnupg_home)}
            return _openpgp(_verify(repository, folders, sha, {"gpg.program": "gpg"}, environment), claimed)
        return SignatureProof(claimed, f"has a signature of a kind that may not sign ({claimed.format})")


def _verify(
    repository: Path, folders: Sequence[str], sha: str, options: dict[str, str], environment: dict[str, str]
) -> Ran:
    if folders:  # the objects of a push under way
        environment = {**environment, "GIT_OBJECT_DIRECTORY": folders[0]}
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = ":".join(folders[1:])
    git = GitRunner(repository, TIMEOUT_S, 1 << 30)
    ran = git.run("verify-commit", "--raw", sha, options=options, environment=environment)
    if ran.late or ran.code < 0 or "cannot run" in ran.err or "No such file" in ran.err:
        why = ran.err.strip().splitlines()[:1] or ["it did not end in time"]
        raise SourceUnavailable(
            f"the signature of {sha[:12]} cannot be checked: {why[0]}", "are ssh-keygen and gpg there?"
        )
    return ran


def _ssh(ran: Ran, claimed: Signature) -> SignatureProof:
    said = ran.err + ran.out
    good = _SSH_GOOD.search(said)
    if ran.code == 0 and good is not None:
        return SignatureProof(Signature("ssh", True, good[1], good[3]), "")
    if "expired" in said or "not yet valid" in said:
        return SignatureProof(claimed, "has a signature that is by a key whose time it was not")
    if key := _SSH_KEY.search(said):
        return SignatureProof(claimed, f"has a signature that is by a key that may not sign: {key[2]}")
    return SignatureProof(claimed, "has a signature that does not hold")


def _openpgp(ran: Ran, claimed: Signature) -> SignatureProof:
    lines = _GPG.findall(ran.err + ran.out)
    said = dict(lines)
    for word, problem in _GPG_BAD.items():
        if word in said:
            return SignatureProof(claimed, f"has a signature that {problem}")
    signatures = [word for word, _ in lines if word == "GOODSIG"]
    if ran.code == 0 and len(signatures) == 1 and said.get("VALIDSIG"):
        signer = said["GOODSIG"].partition(" ")[2]
        return SignatureProof(Signature("openpgp", True, signer, said["VALIDSIG"].split()[-1]), "")
    return SignatureProof(claimed, "has a signature that does not hold")


def _stamp(place: Path) -> str:
    try:
        stat = place.stat()
    except OSError:
        return "|-"
    return f"|{stat.st_ino}.{stat.st_size}.{stat.st_mtime_ns}"
