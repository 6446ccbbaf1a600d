"""What people read of a damaged log: an error that says where and what to do, or what is still right; never a crash."""

from __future__ import annotations

import contextlib
import gc
import io
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.cli.main import main
from reconciler.core.events import DaemonStopped, Draft
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from tests.integration.test_log_tampering import COLUMNS, flip
from tests.support import BAD, Done, Site, binding, copied
from tests.support_tokens import record, refused, reserved, settled

VERBS = [
    ["log"],
    ["log", "--reverse", "-o", "json"],
    ["log", "-o", "csv", "model:flash", "since:1d"],
    ["log", "-o", "jsonl", "path:models/flash.yaml"],
    ["log", "type:binding", "model:flash"],
    ["log", "revision:0", "-actor:pai"],
    ["history", "model", "flash"],
    ["blame", "model", "flash", "-o", "json"],
    ["usage", "--by", "agent"],
    ["get", "models", "--at", "#4"],
    ["describe", "model", "flash"],
    ["describe", "agent", "my-agent", "-o", "json"],
    ["get", "models", "-o", "wide"],
    ["get", "models", "-o", "json"],
    ["get", "agents"],
    ["get", "secrets"],
    ["get", "secrets", "-o", "yaml"],
    ["get", "model", "flash"],
    ["get", "keys"],
    ["get", "keys", "-o", "yaml"],
    ["usage"],
    ["usage", "--by", "day,model,agent", "-o", "json"],
    ["why", "settled"],
    ["why", "refused", "-o", "json"],
    ["env", "my-agent"],
    ["status"],
    ["status", "my-agent"],
    ["status", "-o", "json"],
    ["verify"],
    ["reconcile"],
]
PLACES = [place for place in COLUMNS if place[0] != "snapshots"]


class Damaged(NamedTuple):
    """A workspace of which only the log is to be spoiled, again and again."""

    root: Path
    whole: bytes

    @property
    def database(self) -> Path:
        """The log's file."""
        return self.root / "data" / "log.db"

    def restore(self) -> None:
        """Give the log as it was."""
        for left in self.database.parent.glob("log.db-*"):
            left.unlink()
        self.database.write_bytes(self.whole)


@pytest.fixture(scope="module")
def story(team_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A workspace whose log has changed, deleted and refused things too, keys and requests; its tip is refused."""
    site = copied(team_template, tmp_path_factory.mktemp("story"))
    clone = site.clone()
    clone.pushed({"models/flash.yaml": binding("flash", 5), "models/spare.yaml": binding("spare")})
    clone.pushed({"models/spare.yaml": None})
    (site.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone.pushed({"models/bad.yaml": BAD})
    site.pai("reconcile", code=1)
    site.pai("add", "key", "my-agent", "--expires", "90d", "--cidr", "10.0.0.0/8")
    position = site.state().models["flash"].position
    record(site, reserved("settled", binding=position), settled("settled"), reserved("open"), refused("refused"))
    with Recorder(SqliteBackend(site.database), block_events=4) as recorder:  # an index of one block
        recorder.record(lambda _: [Draft("pai", "daemon/x", DaemonStopped(reason="SIGTERM"))])
    assert list((site.root / "data").glob("log.db-wal")) == []
    return site


@pytest.fixture
def damaged(story: Site, tmp_path: Path) -> Iterator[Damaged]:
    """A copy of it to be spoiled."""
    threshold = gc.get_threshold()  # the command sets its own
    shutil.copytree(story.root, tmp_path / "workspace", symlinks=True)
    yield Damaged(tmp_path / "workspace", story.database.read_bytes())
    gc.set_threshold(*threshold)


def read(root: Path, words: list[str]) -> Done:
    """Run one command in this process, so that a thousand of them are soon done; what it raises is raised."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["-w", str(root), *words])
    out.seek(0)
    err.seek(0)
    return Done(code, out.read(), err.read())


def assert_told(root: Path, what: object) -> int:
    """Run every reading command; give how many could not run."""
    failed = 0
    for words in VERBS:
        try:
            done = read(root, words)
        except BaseException as error:
            raise AssertionError(f"{what}: pai {' '.join(words)}: {error!r}") from error
        assert done.code in (0, 1, 3), (what, words, done)
        assert "Traceback" not in done.err, (what, words, done)
        if done.code == 3:
            failed += 1
            assert done.err.startswith("error: "), (what, words, done)
            assert "\nhint: " in done.err, (what, words, done)
    return failed


def test_flipped_bits_of_the_file_end_in_messages(damaged: Damaged) -> None:
    """Whichever bit of the file is flipped, every command that reads it gives data or an error with a hint."""
    used = [place for place, byte in enumerate(damaged.whole) if byte]
    seed = random.Random(20261123)  # noqa: S311
    failed = 0
    for _ in range(60):
        place, bit = seed.choice(used), seed.randrange(8)
        damaged.restore()
        with damaged.database.open("r+b") as file:
            file.seek(place)
            file.write(bytes([damaged.whole[place] ^ 1 << bit]))
        failed += assert_told(damaged.root, (place, bit))
    assert failed > 60  # else it was not read at all


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_flipped_bits_of_a_value_end_in_messages(damaged: Damaged, place: tuple[str, str]) -> None:
    """The same for values that SQLite has no way to doubt."""
    seed = random.Random(f"{place}")  # noqa: S311
    for _ in range(6):
        row, bit = seed.randrange(200), seed.randrange(20_000)
        damaged.restore()
        if flip(damaged.database, *place, row, bit):
            assert_told(damaged.root, (place, row, bit))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"maxTokensPerDay":5', b'"maxTokensPerDay":6', "does not match its hash"),
        (b'"data":{', b'"dat":{ ', "does not match its hash"),
    ],
    ids=["another-number", "another-field"],
)
def test_damaged_event_is_named_by_its_position(story: Site, tmp_path: Path, old: bytes, new: bytes, said: str) -> None:
    """`pai log` and `pai describe` exit 3, and say which event is damaged and how to see the rest of the damage."""
    site = copied(story, tmp_path)
    (row,) = site.rows("type:binding.changed", "model:flash")
    data = site.database.read_bytes()
    found = data.rindex(b'"type":"binding.changed.v1"')
    begin = data.rindex(b'{"actor"', 0, found)
    site.database.write_bytes(data[:begin] + data[begin:].replace(old, new, 1))
    for words in (["log"], ["log", "-o", "json", "model:flash"], ["describe", "model", "flash"]):
        done = site.pai(*words, code=3)
        assert f"error: the event at position {row['seq']} {said}\nhint: run `pai verify`" in done.err


REPLACED = "UPDATE rows SET body = CAST(replace(CAST(body AS TEXT), '{}', '{}') AS BLOB) WHERE kind = '{}'"


@pytest.mark.parametrize(
    "statement",
    [
        REPLACED.format("provider", "provides", "model"),
        REPLACED.format('"name":', '"nave":', "model"),
        REPLACED.format("modelBindings", "modelWindings", "agent"),
        "UPDATE rows SET name = CAST(x'ff' AS TEXT) WHERE kind = 'secret'",
        "UPDATE rows SET name = 'other' WHERE kind = 'agent'",
        REPLACED.format("Z", "X", "key"),
        REPLACED.format('"day":"2', '"day":"x', "account"),
    ],
    ids=["no-provider", "no-name", "no-bindings", "not-utf8", "another-name", "no-time", "no-day"],
)
def test_damaged_row_is_no_state(damaged: Damaged, statement: str) -> None:
    """Rows have no hash, so what every object of a kind must have is looked for before anything is shown."""
    with contextlib.closing(sqlite3.connect(damaged.database, isolation_level=None)) as db:
        db.execute(statement)
    for words in (["get", "secrets", "-o", "yaml"], ["get", "models"], ["status", "-o", "json"]):
        done = read(damaged.root, words)
        assert done.code == 3, done
        assert done.err.startswith("error: the projection is damaged: ")
        assert "hint: run `pai verify`" in done.err


def test_what_an_older_version_derived_is_not_called_damage(team: Site) -> None:
    """After an upgrade `pai verify` tells what to do, and not to restore a backup; then it agrees."""
    with contextlib.closing(sqlite3.connect(team.database)) as db:
        db.execute("UPDATE head SET fold = fold - 1, index_version = index_version - 1")
        db.commit()
    done = team.pai("verify", code=1)
    assert "another version of Pai, or another tool, made beside its events" in done.err
    assert "damaged" not in done.err
    team.pai("reconcile")
    assert team.pai("verify").out.startswith("ok: ")
