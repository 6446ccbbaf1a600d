"""What git says becomes an error that people can use; secrets and control characters do not get through."""

from __future__ import annotations

import base64
import time

import pytest

from reconciler.source.credentials import RemoteAddress, RemoteCredentials
from reconciler.source.git_refusals import failure, push_refused
from reconciler.source.gitrun import SAID_BYTES_MAX, Ran


@pytest.mark.parametrize(
    ("repo", "url", "scheme", "username", "password"),
    [
        ("https://host/x.git", "https://host/x.git", "https", "", b""),
        ("https://bob:p%40ss@host:8443/x.git", "https://host:8443/x.git", "https", "bob", b"p@ss"),
        ("https://token@host/x.git", "https://host/x.git", "https", "token", b""),
        ("ssh://git@host:22/~/x.git", "ssh://git@host:22/~/x.git", "ssh", "git", b""),
        ("ssh://git:secret@host/x.git", "ssh://git@host/x.git", "ssh", "git", b"secret"),
        ("git@host:team/x.git", "git@host:team/x.git", "ssh", "", b""),
        ("http://[::1]:8000/x", "http://[::1]:8000/x", "http", "", b""),
    ],
)
def test_address_given_to_git_has_no_password(repo: str, url: str, scheme: str, username: str, password: bytes) -> None:
    """Git gets the address without what is secret in it."""
    address = RemoteAddress.parse(repo)
    assert (address.url, address.scheme, address.username, address.password) == (url, scheme, username, password)


def test_secrets_are_taken_out_of_whatever_comes_back() -> None:
    """A remote that repeats the token, as it is, in an address or in a header, does not get it onto a screen."""
    held = RemoteCredentials("bob", b"to ken/1")
    basic = base64.b64encode(b"bob:to ken/1").decode()
    said = f"remote: bad to ken/1, to%20ken%2F1, Basic {basic}"
    assert held.scrub(said) == "remote: bad ***, ***, Basic ***"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "asks for credentials"),
        ("fatal: Authentication failed for 'https://h/x'", "does not take the credentials"),
        ("error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403", "does not allow it (403)"),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 302", "redirect"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "does not resolve"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "not known"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "the ssh key"),
        ("fatal: write error: File too large\nfatal: fetch-pack: invalid index-pack output", "more than 1,000 bytes"),
        ("error: object 12: badTree\nfatal: fsck error in packed object", "not sound"),
        ("fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output", "the disk here"),
        ("remote: fatal: No space left on device\nfatal: early EOF", "broke off"),
        ("fatal: early EOF\nfatal: fetch-pack: invalid index-pack output", "broke off"),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "no such repository"),
        ("ssh: connect to host h port 22: Connection timed out\nfatal: Could not read from remote", "does not answer"),
        ("fatal: something that nobody has seen", "something that nobody has seen"),
    ],
)
def test_failure_names_the_remote_and_a_way_out(said: str, words: str) -> None:
    """Each known failure has its own words and a hint; an unknown one keeps git's."""
    error = failure(Ran(128, "", said), "https://h/x", "https", 30, 1000)
    assert error.message.startswith("https://h/x ")
    assert words in error.message
    assert error.hint


def test_failure_cannot_steer_a_terminal_or_fill_it() -> None:
    """Control characters and endless lines of a remote are cut."""
    error = failure(Ran(1, "", "remote: \x1b[2J\u202eevil" + "x" * 9000 + "\nfatal: no\n"), "h", "https", 30, 1)
    assert "\x1b" not in error.message
    assert "\u202e" not in error.message
    assert len(error.message) < 500


def test_refused_push_keeps_the_remotes_words() -> None:
    """The reason in git's table and the remote's own lines are what the user sees."""
    out = "To https://h/x\n!\t1:refs/heads/main\t[remote rejected] (protected branch hook declined)\nDone\n"
    err = "remote: error: GH006: Protected branch.        \nremote: \nerror: failed to push some refs\n"
    assert push_refused(Ran(1, out, err)) == (
        "[remote rejected] (protected branch hook declined); error: GH006: Protected branch."
    )
    assert push_refused(Ran(128, "", "fatal: unable to access")) == ""


@pytest.mark.parametrize("word", ["load key ", "Load key e", "host key for ", "expected "])
def test_words_that_begin_a_pattern_again_and_again_take_no_time(word: str) -> None:
    """What a remote says in one long line is searched in a moment: nobody else runs meanwhile."""
    said = f"remote: {word * 10_000}"[:SAID_BYTES_MAX] + "\nfatal: early EOF"
    began = time.process_time()
    error = failure(Ran(128, "", said), "https://h/x", "https", 30, 1000)
    assert time.process_time() - began < 0.15
    assert "broke off" in error.message
