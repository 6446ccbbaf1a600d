"""No secret, key, prompt or completion is in any export, page or answer of a command: all of them, on one busy log.

What the gateway itself keeps is looked at in test_gateway_canary; the canaries and the search for them are the same.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.admin.openapi import document
from reconciler.cli.export import FORMATS
from reconciler.cli.main import VERBS, help_text, parser_for
from reconciler.core.keys import looks_like_key
from reconciler.simulator import Simulator
from tests.integration.test_gateway_canary import CANARIES, REPLY, forms, leaks, talk
from tests.support import DEADLINE_S, PAI, Done, Site, copied, run
from tests.support_gateway import PROVIDER_KEYS, Bench

LITERAL = "Tb8canaryliteral"
INLINE = "sk-proj-Yc2canaryinlinekey0123456789abcdefghijklmnop"
BAD = f"""apiVersion: pai.io/v1
kind: ModelBinding
metadata:
  name: leaky
spec:
  provider: openai
  model: gpt-4o
  apiKey: {INLINE}
"""
ELSEWHERE = {
    "init": "its workspace is empty: test_fresh_workspace_tells_nothing",
    "serve": "its log is looked at when it has ended",
    "demo": "it makes a workspace and keys of its own, and shows them to whoever runs it",
    "review": "it shows what diff shows; that no token is printed, the tests of the forges look at",
    "explain": "it shows the schema",
    "help": "it shows what commands are for",
    "version": "it shows two versions",
    "completion": "it prints a script, which asks for the names of objects and for nothing of them",
    "database": "it copies what export shows; that no password is shown, test_postgres_log looks at",
    "prune": "it drops what exports have shown, and prints positions",
}


class Planted:
    """A busy gateway, and what must be nowhere."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.site = bench.site
        self.secrets: dict[str, str] = {**CANARIES, "literal": LITERAL, "inline key": INLINE}

    def leaks(self, text: str | bytes) -> list[str]:
        """Name the canaries that something holds."""
        data = text.encode() if isinstance(text, str) else text
        return [name for name, value in self.secrets.items() if any(form in data for form in forms(value))]

    def pai(self, *words: str | Path, stdin: str = "") -> Done:
        """Run a command that may refuse, and have all that it says looked at."""
        done = run([PAI, *map(str, words)], self.site.environment, self.site.root, stdin)
        assert done.code in (0, 1) or words[0] == "env", (words, done)  # a free port is no address
        return done

    def made_key(self, *words: str) -> None:
        """Make a key; it is printed once, here, and must be nowhere else."""
        done = self.pai("add", "key", *words)
        key = done.out.strip()
        assert looks_like_key(key)
        self.secrets[" ".join(words)] = key
        assert self.leaks(done.err) == []


@pytest.fixture
def planted(gateway_template: Site, tmp_path: Path) -> Iterator[Planted]:
    """Give a gateway after every kind of conversation, a refused push with a key in it, new secrets and keys."""
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with (
        Simulator(keys=accepted, text=REPLY) as simulator,
        Bench(copied(gateway_template, tmp_path), simulator, {}).running() as bench,
    ):
        found = Planted(bench)
        talk(bench)
        bench.quiet()
        found.made_key("robot")
        found.made_key("--admin", "Carol")
        found.secrets["admin token"] = (bench.site.root / "data" / "admin.token").read_text().strip()
        assert found.leaks(found.pai("add", "secret", "mine", "--from-literal", f"k={LITERAL}").out) == []
        clone = bench.site.clone("leaky")
        clone.commit({"models/leaky.yaml": BAD}, "A key inside")
        pushed = clone.push()
        assert pushed.code != 0
        assert found.leaks(pushed.err) == []
        yield found


def exported(planted: Planted, folder: Path) -> dict[str, str]:
    """Export in every format; give the texts, those of compressed columns as well."""
    found = {}
    for form in (None, *FORMATS):
        target = folder / (form or "tiles")
        planted.pai("export", target, *(["--format", form] if form else []))
        for file in (place for place in target.rglob("*") if place.is_file()):
            text = file.read_bytes().decode("latin-1")
            if file.suffix == ".parquet":
                import pyarrow.parquet

                text += json.dumps(pyarrow.parquet.read_table(file).to_pylist(), default=str)
            found[f"{target.name}/{file.relative_to(target)}"] = text
    return found


def test_no_export_holds_a_canary(planted: Planted, tmp_path: Path) -> None:
    """Tiles and all formats of rows, with and without a daemon: none has anything of it, and all have the events."""
    rows = planted.site.rows()
    found = exported(planted, tmp_path / "beside")
    assert len(found) >= len(FORMATS) + 4
    for form in FORMATS:
        whole = "".join(text for name, text in found.items() if name.startswith(f"{form}/"))
        assert all(row["id"] in whole for row in rows), form
    assert {name: leaked for name, text in found.items() if (leaked := planted.leaks(text))} == {}
    assert planted.bench.daemon.stop() == 0
    found = exported(planted, tmp_path / "alone")
    assert {name: leaked for name, text in found.items() if (leaked := planted.leaks(text))} == {}


def page(planted: Planted, path: str, token: str, headers: Mapping[str, str] | None = None) -> str:
    """Read one page of the admin listener, head and body."""
    connection = http.client.HTTPConnection("127.0.0.1", planted.bench.daemon.port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", **(headers or {})})
        with connection.getresponse() as answer:
            return f"{answer.status} {answer.headers}\n{answer.read().decode()}"


def followed(planted: Planted, token: str, last: int) -> str:
    """Follow the log from its beginning over server-sent events until the event at `last` came."""
    connection = http.client.HTTPConnection("127.0.0.1", planted.bench.daemon.port, timeout=DEADLINE_S)
    text = ""
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": "0"}
        connection.request("GET", "/api/v1/events?follow=1", headers=headers)
        with connection.getresponse() as answer:
            assert answer.status == 200
            while f"id: {last}\n" not in text:
                text += answer.readline().decode()
            text += answer.readline().decode()
    return text


def test_no_page_shows_a_canary(planted: Planted) -> None:
    """Every path that the API documents, in the past too, its errors, its stream, the metrics and health."""
    token = planted.secrets["admin token"]
    last = planted.site.rows()[-1]["seq"]
    requests = sorted({row["data"]["request"] for row in planted.site.rows() if "request" in row["data"]})
    names = [each.replace("{name}", "openai" if "models" in each else "robot") for each in document()["paths"]]
    paths = [path for name in names for path in ([name.format(request=r) for r in requests] if "{" in name else [name])]
    assert {"/api/v1/events", "/api/v1/models/openai/blame", f"/api/v1/requests/{requests[-1]}"} <= set(paths)
    pages = {path: page(planted, path, token) for path in (*paths, "/metrics", "/readyz", "/healthz", "/", "/api/v1/x")}
    pages |= {f"{path}?at=%23{last}": page(planted, f"{path}?at=%23{last}", token) for path in paths}
    pages |= {
        f"q={q}": page(planted, f"/api/v1/events?limit=1000&q={q}", token) for q in ("", "type:key", f"x:{LITERAL[:3]}")
    }
    pages["401"] = page(planted, "/api/v1/events", planted.secrets["other key"])
    pages["400"] = page(planted, "/api/v1/events?limit=0", token)
    pages["stream"] = followed(planted, token, last)
    assert all(pages[path].startswith("200") for path in paths)
    assert sum(text.startswith("200") for text in pages.values()) >= len(paths) + 4
    assert pages["401"].startswith("401")
    assert "tokens.settled.v1" in pages["stream"]
    assert {name: found for name, text in pages.items() if (found := planted.leaks(text))} == {}


def forms_of(verb: str) -> tuple[str, ...]:
    """Give the forms of output that a verb has."""
    actions = parser_for(verb)._actions
    return tuple(next(action.choices for action in actions if action.dest == "output" and action.choices))


def commands(planted: Planted, folder: Path) -> list[list[str | Path]]:
    """Give command lines of every verb, in all its forms of output."""
    site = planted.site
    request = planted.bench.tokens("openai")[0]["data"]["request"]
    refused = site.rows("type:request.refused")[0]["data"]["request"]
    (folder / "bad.yaml").write_text(BAD)
    (folder / "proof").write_text(planted.pai("prove", "3", "--with-event").out)
    made: list[list[str | Path]] = [["log", "-o", form] for form in ("table", "json", "jsonl", "csv")]
    made += [["usage", "-o", form] for form in ("table", "json", "csv")]
    made += [
        ["get", what, "-o", form]
        for what in ("models", "agents", "secrets", "keys")
        for form in ("wide", "json", "yaml", "name")
    ]
    made += [["describe", "model", "openai"], ["describe", "agent", "robot"]]
    made += [["status"], ["status", "robot"], ["status", "-o", "json"], ["env", "robot"]]
    made += [[verb, "model", "openai", "-o", form] for verb in ("history", "blame") for form in ("table", "json")]
    made += [["why", each, "-o", form] for each in (request, refused) for form in ("text", "json")]
    made += [["validate", folder / "bad.yaml", "-o", form] for form in forms_of("validate")]
    made += [["apply", "-f", folder / "bad.yaml"], ["apply", "-f", folder / "bad.yaml", "--dry-run"], ["reconcile"]]
    made += [["verify"], ["verify", folder / "proof"], ["prove", "3", "--with-event"], ["export", folder / "out"]]
    made += [["verify", folder / "out"], ["add", "model", "more", "--provider", "openai", "--api-key", "mine:k"]]
    made += [["add", "agent", "worker", "--model", "more"], ["add", "secret", "mine", "--from-literal", f"k={LITERAL}"]]
    made += [["diff", "main~1", "main", "-o", form] for form in forms_of("diff")]
    made += [["suspend", "-m", "a pause"], ["status"], ["resume"]]
    first, now = site.rows("type:revision.accepted")[0]["data"]["commit"], site.state().revision
    made += [["pin", first, "-m", "a pin"], ["pin", now], ["status"], ["unpin"], ["rollback", first], ["rollback", now]]
    made += [["delete", "agent", "worker"], ["delete", "model", "more"], ["delete", "secret", "mine"]]
    return made


@pytest.mark.parametrize("daemon", [True, False])
def test_no_command_prints_a_canary(planted: Planted, tmp_path: Path, daemon: bool) -> None:
    """Every verb, beside the daemon and alone: what it prints and what it says has nothing of it."""
    if not daemon:
        assert planted.bench.daemon.stop() == 0
    lines = commands(planted, tmp_path)
    covered = {str(words[0]) for words in lines} | ELSEWHERE.keys()
    assert VERBS.keys() <= covered, "a verb that nobody has looked at"
    found: dict[str, Any] = {}
    for words in lines:
        done = planted.pai(*words)
        if leaked := planted.leaks(done.out + done.err):
            found[" ".join(map(str, words))] = leaked
    assert found == {}
    if daemon:
        assert planted.bench.daemon.stop() == 0
    assert planted.leaks(planted.bench.daemon.log.split("#token=")[-1].partition(" ")[2]) == []
    files = [place for place in planted.site.root.rglob("*") if place.is_file() and place.name != "admin.token"]
    kept = {place.name: planted.leaks(place.read_bytes()) for place in files}
    assert [name for name, leaked in kept.items() if leaked] == []


def test_fresh_workspace_tells_nothing(tmp_path: Path) -> None:
    """`pai init` and the help print no key that they make."""
    site = Site(tmp_path)
    done = site.pai("init", site.root, cwd=tmp_path)
    signing = (site.root / "data" / "signing.key").read_text().strip()
    master = (site.root / "data" / "master.key").read_bytes()
    for secret in (signing, signing.rpartition("+")[2], master.hex()):
        assert secret not in done.out + done.err + help_text()
    help_pages = [subprocess.run([PAI, verb, "--help"], capture_output=True, check=True) for verb in VERBS]
    assert all(leaks(page.stdout) == [] for page in help_pages)
