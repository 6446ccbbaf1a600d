"""What comes as bytes and is to become text: a clear refusal for what is none, and no internal error."""

from __future__ import annotations

import json
import socket
import time

import pytest

from reconciler.control import wire
from reconciler.workspace import Workspace
from tests.acceptance.test_api import Served, token_of
from tests.support import Site

ACTORS = {
    "bytes-that-are-no-text": b"%ff",
    "the-same-unquoted": b"\xff",
    "overlong": b"%c0%80",
    "surrogate": b"%ed%a0%80",
    "nul": b"a%00b",
    "line-end": b"a%0Ab",
    "very-long": b"a" * 60_000,
}


def order(site: Site, verb: str, body: bytes, actor: bytes) -> tuple[int, str]:
    """Send an order to the daemon's control socket as its user may; give the status and what is said."""
    head = b"POST /api/v1/operations/%s HTTP/1.1\r\nHost: pai\r\nPai-Actor: %s\r\nContent-Length: %d\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client, wire.address_of(site.root / "data" / "pai.sock") as address:
        client.connect(address)
        client.sendall(head % (verb.encode(), actor, len(body)) + body)
        answer = b"".join(wire.pieces(client, time.monotonic() + 30))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


def test_actor_that_is_no_line_of_text_is_refused(team: Site) -> None:
    """With what is wrong and what to do; nothing is recorded. One in UTF-8 is taken, quoted or not."""
    with team.daemon():
        for actor in ACTORS.values():
            status, said = order(team, "suspend", b"{}", actor)
            assert (status, "no line" in said, "git config" in said) == (400, True, True), (actor, said)
        for actor in ("é@example.com".encode(), b"%c3%a9@example.com"):
            assert order(team, "suspend", b"{}", actor)[0] == 200
            assert order(team, "resume", b"{}", actor)[0] == 200
    said_by = [row["actor"] for row in team.rows("type:reconciling")]
    assert said_by == ["é@example.com"] * 4


def test_order_with_what_is_no_text_is_refused(team: Site) -> None:
    """Lone surrogates of JSON, in whichever field; and bytes on the command line, with a daemon and without."""
    orders = [
        ("suspend", {"reason": "\ud800"}),
        ("pin", {"revision": team.state().revision, "reason": "\udcff"}),
        ("pin", {"revision": "\ud800"}),
        ("secret.store", {"name": "\ud800", "values": {"k": "dg=="}}),
        ("secret.store", {"name": "s", "values": {"\ud800": "dg=="}}),
        ("secret.delete", {"name": "\ud800"}),
        ("key.issue", {"id": "k", "agent": "\ud800", "digest": "d" * 64, "expires": "", "networks": [], "admin": True}),
        ("key.revoke", {"name": "\ud800"}),
    ]
    with team.daemon():
        for verb, fields in orders:
            status, said = order(team, verb, json.dumps(fields).encode(), b"a@example.com")
            assert status in (400, 404, 409), (verb, said)
            assert "internal error" not in said
        assert "no text" in team.pai("suspend", "-m", "\udcff", code=2).err
    assert "no text" in team.pai("suspend", "-m", "\udcff", code=2).err


@pytest.mark.parametrize("wrong", ["%ff", "%c0%80", "%ed%a0%80", "%00", "x" * 7000])
def test_api_answers_what_is_no_text(team: Site, wrong: str) -> None:
    """In a path, a parameter or a header: found nowhere, or refused, and never an error of ours."""
    with team.daemon() as daemon:
        served = Served(team, daemon, token_of(team))
        for path in (f"models/{wrong}", f"requests/{wrong}", f"events?q={wrong}", f"state?at={wrong}", wrong):
            assert served.ask(f"/api/v1/{path}")[0] in (200, 400, 404, 409, 414, 431), path


def test_place_of_the_workspace_is_taken_out_of_a_message(team: Site) -> None:
    """Files are named by their path in the workspace."""
    workspace = Workspace.open(team.root, {})
    told = workspace.without_places(f"{team.database} cannot be read, nor {team.root}; {workspace.repository} can")
    assert told == "data/log.db cannot be read, nor the workspace; source.repo can"
