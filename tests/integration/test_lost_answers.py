"""Whoever is told that something failed is not told that it is not there, unless that is so: disk and daemon fail.

Keys are what is asked for: one that is in force, and of which nobody has heard, is a door that nobody closes.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from reconciler.control import wire
from tests.support import PAI, Done, Site, run

NOT_KNOWN = re.compile(
    r"error: it is not known whether this was done: .*\n"
    r"hint: if `pai get keys` lists (key-\S+), take it back, nobody has it: pai delete key \1\n"
)
CALLS = (*range(1, 7), 10, 14, 18, 22)
"""Which of a thread's calls fails first, and with it all that come after it."""


def keys_of(site: Site) -> set[str]:
    """Name the keys in force."""
    return {line.removeprefix("key/") for line in site.pai("get", "keys", "-o", "name").out.splitlines()}


def assert_honest(site: Site, before: set[str], done: Done) -> str:
    """See that a key was made, or was not, or may have been, as the command says; give which of the three it says."""
    new = keys_of(site) - before
    if done.code == 0:
        assert len(new) == 1
        return "made"
    assert not done.out
    if found := NOT_KNOWN.search(done.err):
        assert new <= {found[1]}
        if new:
            site.pai("delete", "key", found[1])
        return "not known"
    assert not new, done
    return "not made"


@pytest.mark.parametrize("calls", ["fdatasync", "fdatasync,fsync", "pwrite64"])
def test_key_is_told_of_at_whichever_call_the_disk_fails(team: Site, calls: str) -> None:
    """Whether its issue reached the disk or not, and whether that can be found out: no key stays that nobody knows."""
    said = set()
    for first in CALLS:
        before = keys_of(team)
        strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
        words = [*strace, "-e", f"inject={calls}:error=EIO:when={first}+", PAI, "add", "key", "my-agent"]
        said.add(assert_honest(team, before, run(words, team.environment, team.root)))
    assert "made" in said or calls == "pwrite64"
    assert "not known" in said or calls == "pwrite64"
    team.pai("verify")


@contextlib.contextmanager
def going_away(site: Site) -> Iterator[None]:
    """Put a daemon there that takes an order and goes away without an answer, whatever it made of it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.root / "data" / "pai.sock"))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener,), daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                asked = connection.recv(100_000)
                if b"/ping " in asked:
                    body = wire.write({"version": "1", "day": "2026-01-01", "addresses": {}})
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                elif b"/health " in asked:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[")


def test_answer_that_is_lost_is_told_of_as_that(team: Site) -> None:
    """An order may have been carried out, and the way to look is named; a question has nothing to be looked for."""
    with going_away(team):
        done = team.pai("add", "key", "my-agent", code=3)
        assert NOT_KNOWN.search(done.err), done
        for words in (
            ("suspend",),
            ("pin", team.state().revision[:12]),
            ("add", "secret", "s", "--from-literal", "k=v"),
        ):
            done = team.pai(*words, code=3)
            assert "error: it is not known whether this was done: the daemon went away before it answered" in done.err
            assert "`pai log` shows it if it was recorded" in done.err
        assert "not known" not in team.pai("status", code=3).err
