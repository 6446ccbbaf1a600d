"""Keys that agents authenticate with: add key, get keys, delete key. The same with and without a running daemon."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from reconciler.control.client import call
from reconciler.core.errors import Refused, UsageError
from reconciler.core.keys import digest, looks_like_key
from tests.support import Site, until

KEY = re.compile(r"pak_[A-Za-z0-9_-]{43}\n")
KEY_LIKE = "pak_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
"""What looks like a key and was never one."""


def issued(site: Site, *words: str) -> tuple[str, str]:
    """Make a key for my-agent; give it and its id."""
    done = site.pai("add", "key", "my-agent", *words)
    assert KEY.fullmatch(done.out), done.out
    found = re.search(r"key/(key-[a-z2-7]+) created for my-agent", done.err)
    assert found is not None, done.err
    return done.out.strip(), found[1]


def test_key_is_alone_on_stdout_and_kept_as_digest_only(either: Site) -> None:
    """The key is printed once; its SHA-256, agent, expiry and networks are on the log and in force on return."""
    key, name = issued(
        either, "--expires", "90d", "--cidr", "10.0.0.0/8", "--cidr", "192.0.2.7", "--cidr", "10.0.0.0/8"
    )

    (kept,) = either.state().keys.values()
    assert (kept.name, kept.agent, kept.digest) == (name, "my-agent", digest(key))
    assert kept.networks == ["10.0.0.0/8", "192.0.2.7/32"]
    left = datetime.fromisoformat(kept.expires) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    (event,) = either.rows("type:key.issued", "-agent:admin.token")
    assert (event["subject"], event["actor"]) == (f"key/{name}", "alice@example.com")


def test_two_keys_of_an_agent_differ(team: Site) -> None:
    """An agent may have several keys, which is how they are rotated."""
    keys = [issued(team) for _ in range(2)]

    assert len({key for key, _ in keys}) == len({name for _, name in keys}) == len(team.state().keys) == 2


def test_key_for_an_unknown_agent_is_not_found(either: Site) -> None:
    """Exit 1 with the nearest name; nothing is printed and nothing recorded."""
    done = either.pai("add", "key", "my-agnt", code=1)

    assert done.out == ""
    assert done.err == "error: there is no agent my-agnt\nhint: did you mean my-agent?\n"
    assert either.types("type:key") == []


@pytest.mark.parametrize(
    "words",
    [
        ["my-agent", "--cidr", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
        ["--cidr", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "agentworkload.pai.io/my-agent"],
        ["--cidr", "10.0.0.0/8", "my-agent", "--cidr", "192.0.2.7", "2001:db8::/32", "--expires", "90d"],
    ],
    ids=" ".join,
)
def test_several_networks_stand_after_one_option_too(team: Site, words: list[str]) -> None:
    """As in the usage of the command; whoever is the agent, no name of one is an address."""
    team.pai("add", "key", *words)
    (key,) = team.pai("get", "keys", "-o", "json").json["items"]
    assert (key["agent"], key["networks"]) == ("my-agent", ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expires", "soon"], "2027-01-31T10:00:00Z"),
        (["--expires", "0d"], "not in the future"),
        (["--expires", "2020-01-01"], "not in the future"),
        (["--expires", "999999w"], "cannot read the time"),
        (["--expires", ""], "--expires is given an empty value"),
        (["--cidr", "10.0.0.1/8"], "hint: write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address"),
        (["--cidr", "2001:db8::1/32"], "2001:db8::/32"),
        (["--cidr", "10.0.0.0/33"], "is no network"),
        (["--cidr", "example.com"], "is no network"),
        (["--cidr", "fe80::1%eth0"], "is no network"),
        (["--cidr", ""], "--cidr is given an empty value"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_wrong_expiry_or_network_makes_no_key(team: Site, words: list[str], said: str) -> None:
    """Wrong usage, exit 2, with the way out."""
    done = team.pai("add", "key", "my-agent", *words, code=2)

    assert done.out == ""
    assert said in done.err
    assert team.types("type:key") == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2999-12-31", "2999-12-31T00:00:00Z"),
        ("2999-12-31T10:00:00Z", "2999-12-31T10:00:00Z"),
        ("2999-12-31T10:00:00.5+02:00", "2999-12-31T08:00:00Z"),
    ],
)
def test_expiry_is_kept_in_utc(team: Site, given: str, kept: str) -> None:
    """A date is its beginning in UTC, a time keeps its moment."""
    issued(team, "--expires", given)

    assert [key.expires for key in team.state().keys.values()] == [kept]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("2001:DB8:0::/32", "2001:db8::/32"), ("10.0.0.0/255.0.0.0", "10.0.0.0/8"), ("::1", "::1/128")],
)
def test_network_is_kept_in_its_shortest_form(team: Site, given: str, kept: str) -> None:
    """Whatever way a network is written, it is kept one way."""
    issued(team, "--cidr", given)

    assert [key.networks for key in team.state().keys.values()] == [[kept]]


def test_get_keys_shows_everything_but_the_key(either: Site) -> None:
    """Id, agent, expiry and networks in every format; neither key nor digest in any."""
    key, name = issued(either, "--expires", "2999-12-31", "--cidr", "10.0.0.0/8")
    other, _ = issued(either)

    item = {
        "apiVersion": "pai.io/v1",
        "kind": "Key",
        "metadata": {"name": name},
        "agent": "my-agent",
        "expires": "2999-12-31T00:00:00Z",
        "networks": ["10.0.0.0/8"],
    }
    listing = either.pai("get", "keys", "-o", "json").json
    assert (listing["kind"], listing["items"][0]) == ("List", item)
    assert (listing["items"][1]["expires"], listing["items"][1]["networks"]) == (None, [])
    assert either.pai("get", "key", name, "-o", "json").json == item
    assert yaml.safe_load(either.pai("get", "keys", "-o", "yaml").out) == listing
    assert either.pai("get", "keys", name, "-o", "name").out == f"key/{name}\n"
    rows = [line.split() for line in either.pai("get", "keys").out.splitlines()]
    assert rows[:2] == [
        ["NAME", "AGENT", "EXPIRES", "NETWORKS"],
        [name, "my-agent", "2999-12-31T00:00:00Z", "10.0.0.0/8"],
    ]
    assert rows[2][1:] == ["my-agent", "never", "any"]
    either.pai("get", "keys", "-o", "wide")
    for output in either.outputs:
        assert digest(key) not in output
        assert digest(other) not in output
    assert sum(key in output for output in either.outputs) == 1


def test_expired_key_is_shown_as_expired(team: Site) -> None:
    """A key whose time is over stays in the list, marked."""
    issued(team, "--expires", "1s")

    until("the key's end", lambda: "Z (expired)" in team.pai("get", "keys").out)


def test_get_keys_of_nobody(team: Site) -> None:
    """No keys are an empty list; an unknown id is not found."""
    assert team.pai("get", "keys", "-o", "json").json["items"] == []
    assert "no keys are in force" in team.pai("get", "keys").err
    assert "there is no key key-x" in team.pai("get", "keys", "key-x", code=1).err


def test_deleted_key_is_gone_and_its_revocation_recorded(either: Site) -> None:
    """Revoking is in force on return; a second time, or an unknown id, is not found."""
    _, name = issued(either)
    _, kept = issued(either)

    assert either.pai("delete", "key", name).out == f"key/{name} deleted\n"

    assert [key.name for key in either.state().keys.values()] == [kept]
    assert either.types("type:key") == ["key.issued", "key.issued", "key.revoked"]
    assert f"there is no key {name}" in either.pai("delete", "key", name, code=1).err
    assert either.pai("verify").code == 0


ORDER: dict[str, object] = {
    "id": "key-a",
    "agent": "my-agent",
    "digest": "0" * 64,
    "expires": "2999-12-31T00:00:00Z",
    "networks": ["10.0.0.0/8"],
}


def test_recorder_takes_no_order_that_nobody_could_read_later(team: Site) -> None:
    """Whatever asks the daemon: what is no digest, time, network or name is refused, and so is a key that is there.

    Who asks is no argument.
    """
    with team.daemon():
        socket = team.root / "data" / "pai.sock"
        for wrong in (
            {"digest": KEY_LIKE},
            {"digest": "0" * 63},
            {"expires": "tomorrow"},
            {"networks": ["10.0.0.1/8"]},
            {"networks": ["10.0.0.1"]},
            {"id": "Key A"},
            {"agent": ""},
            {"actor": "eve@example.com"},
        ):
            with pytest.raises(UsageError):
                call(socket, "key.issue", ORDER | wrong)
        call(socket, "key.issue", ORDER)
        for again in ({"id": "key-b"}, {"digest": "1" * 64}):
            with pytest.raises(Refused):
                call(socket, "key.issue", ORDER | again)
    assert team.types("type:key") == ["key.issued"]


def test_key_is_in_no_file_and_no_message(either: Site) -> None:
    """Not in the workspace, not in the daemon's log, not in an error, wherever somebody types it."""
    assert looks_like_key(KEY_LIKE)
    key, _ = issued(either)
    for words in (
        ["get", "keys", KEY_LIKE],
        ["get", "models", KEY_LIKE],
        ["delete", "key", KEY_LIKE],
        ["add", "key", KEY_LIKE],
        ["status", KEY_LIKE],
        ["add", "agent", "x", "--model", KEY_LIKE],
        ["log", KEY_LIKE],
        ["get", "models", "--", KEY_LIKE, KEY_LIKE],
    ):
        assert KEY_LIKE not in either.run(*words).err, words
    for place in either.root.rglob("*"):
        assert not place.is_file() or key.encode() not in place.read_bytes(), place
    for log in either.folder.glob("serve-*.log"):
        assert key not in log.read_text()
