"""`source.require_signatures`: hook, daemon and `pai reconcile` prove who signed, with real keys of ssh and OpenPGP."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support import Git, Site, binding, until
from tests.support_remotes import HttpRemote, bare_remote, clone_of


class Signer:
    """A clone that signs, or does not."""

    def __init__(self, site: Site, clone: Git) -> None:
        self.folder = site.folder
        self.clone = clone

    def key(self, name: str) -> Path:
        """Make an ssh key, or give the one made before."""
        place = self.folder / name
        if not place.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place)], check=True)
        return place

    def public(self, name: str) -> str:
        """Give the public key as a line of an allowed-signers file has it."""
        return " ".join(self.key(name).with_suffix(".pub").read_text().split()[:2])

    def commit(self, name: str, budget: int, *, date: str = "") -> str:
        """Commit a binding's budget, signed by the ssh key `name`, "" for unsigned."""
        self.clone.write({"models/a.yaml": binding("a", budget)})
        self.clone("add", "--all")
        words = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key(name)}"] if name else []
        env = {"GIT_COMMITTER_DATE": date} if date else None
        signing = "--gpg-sign" if name else "--no-gpg-sign"
        done = self.clone.run(*words, "commit", "--quiet", signing, "--message", f"budget {budget}", env=env)
        assert done.code == 0, done
        return self.clone.head


@pytest.fixture
def signer(site: Site) -> Signer:
    """Give a workspace where alice may sign with ssh and every tip must be signed."""
    signer = Signer(site, site.clone())
    (site.root / "signers").write_text(f"alice@example.com {signer.public('alice')}\n")
    _set(site, require_signatures="head", allowed_signers="signers")
    return signer


def _set(site: Site, **settings: str) -> None:
    """Set settings of the source in pai.toml, which the hook reads too."""
    text = (site.root / "pai.toml").read_text()
    for key, value in settings.items():
        lines = [f'{key} = "{value}"' if line.startswith(f"{key} = ") else line for line in text.split("\n")]
        text = "\n".join(lines)
    (site.root / "pai.toml").write_text(text)


def _signature(site: Site, sha: str) -> Any:
    return site.rows("type:revision", f"revision:{sha}")[-1]["data"]["signature"]


def test_signed_tip_comes_into_force_with_its_proof_on_the_log(site: Site, signer: Signer) -> None:
    """What is recorded is the signer that the operator's file names and the key, apart from what git claims."""
    sha = signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    assert site.state().revision == sha
    proof = _signature(site, sha)
    assert (proof["format"], proof["verified"], proof["signer"]) == ("ssh", True, "alice@example.com")
    assert str(proof["key"]).startswith("SHA256:")


def test_wrong_tips_are_refused_by_the_hook_and_by_the_daemon_alike(site: Site, signer: Signer) -> None:
    """Unsigned, signed by a stranger, or altered after signing: PAI305 at the push, and again if the hook is away."""
    good = signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    signer.commit("", 20)
    refusals = []
    for make in ("unsigned", "stranger", "altered"):
        signer.clone("reset", "--quiet", "--hard", good)
        if make == "altered":
            signer.commit("alice", 30)
            raw = signer.clone("cat-file", "commit", "HEAD").replace("budget 30", "budget 31")
            signer.clone(
                "reset", "--hard", signer.clone("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw + "\n")
            )
        else:
            signer.commit("" if make == "unsigned" else "mallory", 30)
        pushed = signer.clone.push()
        assert pushed.code != 0
        assert "PAI305" in pushed.err
        with site.daemon():  # who answers the hook now
            again = signer.clone.push()
        (line,) = [text for text in pushed.err.splitlines() if "PAI305" in text]
        assert line in again.err
        site.bare("fetch", "--quiet", str(signer.clone.folder), "+HEAD:refs/heads/main")
        done = site.pai("reconcile", code=1)
        assert line.removeprefix("remote: ").strip() in done.err
        refusals.append(line)
        assert site.state().revision == good
        site.bare("update-ref", "refs/heads/main", good)
        site.pai("reconcile")
    assert "is not signed" in refusals[0]
    assert "a key that may not sign: SHA256:" in refusals[1]
    assert "does not hold" in refusals[2]


def test_replaced_object_proves_nothing(site: Site, signer: Signer) -> None:
    """A replacement ref, which anybody may push, cannot lend an unsigned commit the signature of another one."""
    good = signer.commit("alice", 10)
    bad = signer.commit("", 20)
    site.bare("fetch", "--quiet", str(signer.clone.folder), f"{bad}:refs/heads/main")
    site.bare("replace", bad, good)
    assert "is not signed" in site.pai("reconcile", code=1).err
    lent = signer.clone("cat-file", "commit", good).replace("budget 10", "budget 11")
    altered = site.bare("hash-object", "-t", "commit", "-w", "--stdin", stdin=lent + "\n")
    site.bare("update-ref", "refs/heads/main", altered)
    site.bare("replace", altered, good)
    assert "does not hold" in site.pai("reconcile", code=1).err


def test_key_counts_only_in_its_time(site: Site, signer: Signer) -> None:
    """A key whose validity has ended signs nothing later; what it signed before stays good."""
    (site.root / "signers").write_text(f'alice@example.com valid-before="20260101" {signer.public("alice")}\n')
    early = signer.commit("alice", 10, date="2025-06-01T00:00:00Z")
    assert signer.clone.push().code == 0
    signer.commit("alice", 20, date="2026-06-01T00:00:00Z")
    pushed = signer.clone.push()
    assert "a key whose time it was not" in pushed.err
    site.pai("reconcile")
    assert site.state().revision == early


def test_head_wants_the_tip_alone_and_all_wants_every_commit(site: Site, signer: Signer) -> None:
    """An unsigned commit below a signed tip passes with head, and is named with all."""
    signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    below = signer.commit("", 20)
    tip = signer.commit("alice", 30)
    _set(site, require_signatures="all")
    pushed = signer.clone.push()
    assert f"commit {below[:12]} is not signed" in pushed.err
    _set(site, require_signatures="head")
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    assert site.outcomes()[-2:] == [(below, "accepted"), (tip, "accepted")]
    assert (_signature(site, below), _signature(site, tip)["verified"]) == (None, True)


def test_only_what_is_signed_stays_in_force_whatever_lies_on_it(site: Site, signer: Signer) -> None:
    """However commits come together past the hook: the newest that is signed and well-formed is in force afterwards."""
    for number, (below, above, broken) in enumerate(product(("alice", ""), ("alice", ""), (False, True))):
        before = site.state().revision
        commits = [signer.commit(below, 20 + number), signer.commit(above, -1 if broken else 40 + number)]
        good = [bool(below), bool(above) and not broken]
        stays = [before, *(sha for sha, is_good in zip(commits, good, strict=True) if is_good)][-1]
        _past_the_hook(site, signer)
        site.pai("reconcile", code=int(not good[1]))
        assert site.state().revision == stays
        vouched = [good[0] or good[1], good[1]]
        assert site.outcomes()[-2:] == [
            (sha, "accepted" if each else "rejected") for sha, each in zip(commits, vouched, strict=True)
        ]
        proved = [proof is not None and proof["verified"] for proof in (_signature(site, sha) for sha in commits)]
        assert proved == [bool(below) and not good[1], bool(above)]  # git's word is enough where the tip vouches


@pytest.mark.parametrize("where", ["local", "remote"])
def test_unsigned_commit_is_never_in_force_however_the_branch_moves(site: Site, signer: Signer, where: str) -> None:
    """A tip that was accepted, refused or passed over, and then is taken back, leaves nothing that nobody signed."""
    with contextlib.ExitStack() as stack:
        repository = site.bare
        if where == "remote":
            repository = bare_remote(site.folder / "srv", site.environment)
            server = stack.enter_context(HttpRemote(repository.folder.parent, site.environment))
            site.environment["PAI_SOURCE_REPO"] = f"{server.url}/team.git"

        def lands(sha: str, then: str) -> None:
            """Move the branch there, wherever it was, as a remote's is moved; `then` is in force afterwards."""
            repository("fetch", "--quiet", str(signer.clone.folder), sha)
            repository("update-ref", "refs/heads/main", sha)
            repository("-c", "gc.reflogExpire=now", "gc", "--quiet", "--prune=now")
            site.pai("reconcile", code=int(sha != then))
            assert site.state().revision == then

        def made(on: str, *signers: str, last: int = 1) -> list[str]:
            """Commit on top of another, each signed by whom it says; the last has the budget."""
            signer.clone("reset", "--quiet", "--hard", on)
            numbers = [*range(20, 19 + len(signers)), last]
            return [signer.commit(name, number) for name, number in zip(signers, numbers, strict=True)]

        first = signer.commit("alice", 10)
        lands(first, first)
        below, signed = made(first, "", "alice")
        lands(signed, signed)
        lands(below, signed)
        lands(signed, signed)
        below, refused = made(signed, "", "", last=-1)
        lands(refused, signed)
        lands(below, signed)
        below, refused = made(first, "", "alice", last=-1)
        lands(refused, signed)
        lands(below, signed)
        (mended,) = made(below, "alice", last=30)
        lands(mended, mended)
        _, middle, unsigned = made(mended, "", "alice", "")
        lands(unsigned, middle)
        lands(first, first)


def test_key_that_is_taken_away_in_the_middle_of_a_pass_vouches_for_nothing(site: Site, signer: Signer) -> None:
    """The tip was found signed before what lies below it was judged, and is refused when it is judged itself."""
    signed = signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    below, tip = signer.commit("", 20), signer.commit("alice", 30)
    _past_the_hook(site, signer)
    tools = site.folder / "tools"
    tools.mkdir()
    proves = f'{shutil.which("ssh-keygen")} "$@"; code=$?; case "$*" in *"-Y verify"*) : > "{site.root}/signers";; esac'
    (tools / "ssh-keygen").write_text(f"#!/bin/sh\n{proves}; exit $code\n")
    (tools / "ssh-keygen").chmod(0o755)
    site.environment["PATH"] = f"{tools}:{site.environment['PATH']}"
    site.pai("reconcile", code=1)
    assert site.state().revision == signed
    assert site.outcomes()[-2:] == [(below, "rejected"), (tip, "rejected")]


def _past_the_hook(site: Site, signer: Signer) -> None:
    """Land the clone's branch as a remote's comes, on which no hook of ours runs."""
    site.bare("fetch", "--quiet", str(signer.clone.folder), "+HEAD:refs/heads/main")


def test_key_added_by_the_operator_lets_the_refused_tip_in_at_the_next_look(site: Site, signer: Signer) -> None:
    """A running daemon judges a refused tip again when the operator's keys have changed."""
    signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    with site.daemon():
        signer.commit("bob", 20)
        site.bare("fetch", "--quiet", str(signer.clone.folder), "+HEAD:refs/heads/main")
        site.pai("reconcile", code=1)
        with (site.root / "signers").open("a") as file:
            file.write(f"bob@example.com {signer.public('bob')}\n")
        site.pai("reconcile")
    assert site.state().revision == signer.clone.head


def test_pai_does_not_make_commits_that_nobody_signed(site: Site, signer: Signer) -> None:
    """Where signatures are asked for, `pai add` refuses before it commits, and a dry run still judges."""
    signer.commit("alice", 10)
    assert signer.clone.push().code == 0
    done = site.pai("add", "agent", "x", "--model", "a", code=1)
    assert "does not sign" in done.err
    assert site.bare("rev-parse", "main") == signer.clone.head
    site.pai("apply", "--dry-run", "-f", str(signer.clone.folder / "models"))


def test_signatures_without_keys_are_wrong_settings(site: Site) -> None:
    """Asking for signatures and naming nobody is told with the settings to set, and a missing file fails closed."""
    _set(site, require_signatures="head")
    done = site.pai("status", code=3)
    assert "source.allowed_signers" in done.err
    _set(site, allowed_signers="nowhere")
    signer = Signer(site, site.clone())
    signer.commit("alice", 10)
    pushed = signer.clone.push()
    assert pushed.code != 0
    assert "cannot be read" in pushed.err


def test_openpgp_signature_is_proved_by_the_operators_keyring(site: Site, tmp_path: Path) -> None:
    """A key of the keyring signs, another one does not, and over http the same holds for a remote."""
    remote = bare_remote(site.folder / "srv", site.environment)
    work = clone_of(remote)
    home, team = _gnupg(tmp_path / "a"), _gnupg(tmp_path / "t")
    for name in ("carol", "mallory"):
        _gpg(home, "--quick-generate-key", f"{name} <{name}@example.com>", "ed25519", "sign", "never")
    exported = _gpg(home, "--export", "carol@example.com")
    _gpg(team, "--import", stdin=exported)

    def signed(name: str, budget: int) -> str:
        work.write({"models/a.yaml": binding("a", budget)})
        work("add", "--all")
        done = work.run("commit", "--quiet", f"--gpg-sign={name}@example.com", "-m", "x", env={"GNUPGHOME": str(home)})
        assert done.code == 0, done
        assert work.push().code == 0
        return work.head

    good = signed("carol", 10)
    with HttpRemote(remote.folder.parent, site.environment) as server:
        site.environment.update({"PAI_SOURCE_REPO": f"{server.url}/team.git", "PAI_SOURCE_INTERVAL": "50ms"})
        site.environment.update({"PAI_SOURCE_REQUIRE_SIGNATURES": "all", "PAI_SOURCE_GNUPG_HOME": str(team)})
        with site.daemon() as daemon:
            until("the first state", lambda: site.state().revision == good)
            proof = _signature(site, good)
            assert (proof["format"], proof["verified"]) == ("openpgp", True)
            assert proof["signer"] == "carol <carol@example.com>"
            signed("mallory", 20)
            until("the refusal", lambda: "is refused" in str(daemon.readiness()[1]["reasons"]))
            assert site.state().revision == good
    (rejected,) = site.rows("type:revision.rejected")
    assert "may not sign" in rejected["data"]["diagnostics"][0]["message"]
    for folder in (home, team):
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False, capture_output=True)


def _gnupg(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def _gpg(home: Path, *words: str, stdin: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
    done = subprocess.run([*command, *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_branch_set_back_to_an_unsigned_commit_is_refused(site: Site, signer: Signer) -> None:
    """With `all` a tip needs a signature of its own, also one that the revision in force descends from."""
    old = signer.commit("", 10)
    good = signer.commit("alice", 20)
    _set(site, require_signatures="all")
    assert signer.clone.push().code == 0
    site.pai("reconcile")
    assert site.state().revision == good
    pushed = signer.clone.run("push", "--force", "origin", f"{old}:refs/heads/main")
    assert pushed.code != 0
    assert "is not signed" in pushed.err
    site.bare("update-ref", "refs/heads/main", old)
    assert "is not signed" in site.pai("reconcile", code=1).err
    assert site.state().revision == good
