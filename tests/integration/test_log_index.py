"""The index of the log: searching with it finds what reading everything finds, and the check knows when it is wrong."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.audit.query import matches, read_row, search
from reconciler.audit.spending import KEYS, spending
from reconciler.audit.story import story
from reconciler.audit.terms import Query, parse_query
from reconciler.core.errors import UsageError
from reconciler.core.state import State
from reconciler.log.check.whole import check
from reconciler.log.index import BLOCK_EVENTS, INDEX_VERSION, Block
from reconciler.log.past import objects_at
from reconciler.log.replay import state_at
from reconciler.log.sqlite.index import portions
from reconciler.log.sqlite.place import SqliteLog
from reconciler.log.sqlite.store import SqliteBackend, SqliteReader, SqliteStore, open_reader
from reconciler.recorder import Recorder
from tests.support_history import fill
from tests.support_log import FaultyBackend, binding, new_log, secret

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a log whose index has many small blocks and does not reach its end."""
    path = new_log(tmp_path_factory.mktemp("whole"))
    fill(SqliteLog(path), block_events=32)
    with contextlib.closing(open_reader(path)) as log:
        head = log.head()
        assert 32 * 5 < head.indexed < head.size
        assert check(log) == []
    return path


@pytest.fixture
def log(whole: Path) -> Iterator[SqliteReader]:
    """Give that log, open for reading."""
    with contextlib.closing(open_reader(whole)) as reader:
        yield reader


QUERIES = [
    "",
    "model:m1",
    "agent:agent-2",
    "actor:agent-2",
    "actor:pai",
    "actor:a@example.com",
    "type:binding",
    "type:tokens",
    "type:tokens.forfeited",
    "type:re",
    "-type:tokens",
    "-type:tokens -type:request",
    "model:m1 type:binding",
    "model:m1 -type:tokens",
    "model:m1 agent:agent-2",
    "model:m1 agent:agent-2 type:tokens.settled",
    "request:req_010",
    "request:req_other_14",
    "request:req_010 type:tokens.settled",
    "request:nobody",
    "field:maxTokensPerDay",
    "path:models/m1.yaml",
    "path:models/0.yaml",
    "path:moved/2.yaml",
    "type:push",
    "type:revision.pinned",
    "actor:dora@example.com",
    "revision:a",
    "revision:aaaa",
    "revision:0",
    "revision:zz",
    "model:nobody",
    "-model:m1 -agent:agent-1",
]


@pytest.mark.parametrize("text", QUERIES)
def test_search_by_index_finds_what_reading_everything_finds(log: SqliteReader, text: str) -> None:
    """The same events in the same order, both ways round, within times and positions, and with a limit."""
    rows = [read_row(stored) for stored in log.read()]
    times = ["", f"since:{rows[100].time}", f"until:{rows[-40].time}", f"since:{rows[33].time} until:{rows[180].time}"]
    for when in times:
        query = parse_query(f"{text} {when}", NOW)
        wanted = [row.seq for row in rows if matches(query, row)]
        assert [row.seq for row in search(log, query, oldest_first=True)] == wanted
        assert [row.seq for row in search(log, query)] == wanted[::-1]
        assert [row.seq for row in search(log, query, 3)] == wanted[::-1][:3]
        below = [seq for seq in wanted if 40 <= seq < 170]
        assert [row.seq for row in search(log, query, before=170, start=40)] == below[::-1]


def test_objects_of_a_revision_are_those_of_a_whole_replay(log: SqliteReader) -> None:
    """What is read back of the log for a pin is what a replay of everything gives, at every revision."""
    seqs = [row.seq for row in search(log, parse_query("type:revision", NOW))]
    assert len(seqs) > 20
    for seq in seqs:
        found, whole = objects_at(log, seq + 1), state_at(log, seq + 1)
        assert (found.models, found.agents, found.revision) == (whole.models, whole.agents, whole.revision)
        assert (found.accepted, found.position) == (whole.accepted, whole.position)


@pytest.mark.parametrize("terms", ["", "model:m1", "agent:agent-2 -model:m0", "-agent:agent-1"])
def test_sums_of_the_index_are_those_of_the_events(log: SqliteReader, terms: str) -> None:
    """Whatever the groups and the times, whole hours or not, both ways of adding up agree."""
    rows = [read_row(stored) for stored in log.read()]
    moments = ["", *(row.time for row in rows[50::90]), "2026-11-19", "2026-11-19T03:00:00Z", "2026-11-20"]
    for since, until in itertools.product(moments, moments):
        when = f"{f'since:{since}' * bool(since)} {f'until:{until}' * bool(until)}"
        quick, slow = parse_query(f"{terms} {when}", NOW), parse_query(f"type:tokens {terms} {when}", NOW)
        for by in ([*KEYS], ["model"], ["agent", "day"]):
            assert spending(log, quick, by) == spending(log, slow, by), (since, until, by)  # type: ignore[arg-type]


@pytest.mark.parametrize("terms", ["", "type:tokens"])
def test_more_groups_than_are_wanted_are_an_error(log: SqliteReader, terms: str) -> None:
    """Whether the index adds up or the events are read; as many as there are is none."""
    query = parse_query(terms, NOW)
    number = len(spending(log, query, KEYS))
    assert len(spending(log, query, KEYS, number)) == number
    for few in (1, number - 1):
        with pytest.raises(UsageError, match=f"more than {few:,} groups"):
            spending(log, query, KEYS, few)


def test_view_of_usage_has_the_same_sums(whole: Path, log: SqliteReader) -> None:
    """What SQLite answers about usage is what `pai usage` says, the events behind the index's end included."""
    with contextlib.closing(sqlite3.connect(f"file:{whole}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT day, model, agent, requests, input, output, charged FROM usage").fetchall()
    wanted = spending(log, Query(), KEYS)
    assert sorted(found) == sorted((*s.key, s.requests, s.input, s.output, s.charged) for s in wanted)


def test_budget_of_a_decision_is_the_ledgers(log: SqliteReader) -> None:
    """What `why` says was used and reserved is what the state at that position holds, for every reservation."""
    for row in search(log, parse_query("type:tokens.reserved", NOW)):
        day, model = row.data["day"], row.subject.partition("/")[2]
        account = state_at(log, row.seq).ledger.account(model, day)
        (decision,) = story(log, row.data["request"])
        assert decision.budget is not None
        assert (decision.budget.used, decision.budget.reserved) == (account.used, account.reserved)


def test_index_of_another_version_is_made_anew(whole: Path, tmp_path: Path) -> None:
    """An older program's index is not believed by readers; the next start makes it anew, and the check is clean."""
    path = copied(whole, tmp_path)
    change(path, "UPDATE head SET index_version = 0", "DELETE FROM marks", "DELETE FROM requests")
    with contextlib.closing(open_reader(path)) as log:
        assert any("another version" in problem.message for problem in check(log))
        assert len(list(search(log, parse_query("model:m1 type:binding", NOW)))) > 3
    Recorder(SqliteBackend(path), block_events=32).close()
    with contextlib.closing(open_reader(path)) as log:
        assert log.head().index_version == INDEX_VERSION
        assert check(log) == []


def test_index_goes_on_where_a_killed_program_left_it(tmp_path: Path) -> None:
    """Blocks that were never sealed are sealed by the next program: an index behind the log is no damage."""
    path = new_log(tmp_path)
    fill(SqliteLog(path), block_events=10_000)
    with contextlib.closing(open_reader(path)) as log:
        assert log.head().indexed == 0
    with Recorder(SqliteBackend(path), block_events=32) as recorder:
        recorder.record(lambda _: [secret("x")])
    with contextlib.closing(open_reader(path)) as log:
        assert log.head().indexed == log.size() - 1
        assert check(log) == []
        assert [row.seq for row in search(log, Query())] == list(range(log.size()))[::-1]


def test_index_of_a_large_decision_keeps_nobody_waiting(tmp_path: Path) -> None:
    """What is decided after thousands of events is durable before these are in the index, which is made in parts."""
    backend = FaultyBackend(new_log(tmp_path))
    large = [binding(f"m{n}", n + 1) for n in range(6000)]
    with Recorder(backend) as recorder, contextlib.closing(backend.log.reader()) as log:
        backend.due.gate.clear()
        first = recorder.submit(lambda _: large)
        assert backend.due.waiting.acquire(timeout=10)
        later = recorder.submit(lambda _: [secret("x")])
        backend.due.gate.set()
        later.wait(10)
        assert log.head().indexed < first.wait(10).positions.stop
    with contextlib.closing(backend.log.reader()) as log:
        assert log.head().indexed == 6001
        assert check(log) == []
        blocks = {block for block, _, _ in log.whole_index().marks}
        assert len(blocks) >= 5
        assert [row.seq for row in search(log, parse_query("model:m4321", NOW))] == [4322]


@pytest.mark.parametrize("number", [0, 1, 63, 64, 65, 511, 512, 513, 640, 1500])
def test_records_go_by_few_statements(number: int) -> None:
    """All records in their order; very many take few statements, of which each waits for the interpreter under load."""
    parts = list(portions(range(number)))
    assert [record for part in parts for record in part] == list(range(number))
    assert {len(part) for part in parts[:-1]} <= {64, 512}
    assert len(parts) <= number // 512 + 8


@pytest.mark.parametrize("killed_after", [0, 1, 4])
def test_index_that_a_killed_program_left_in_the_middle_of_a_decision_is_taken_up(
    tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of a large decision is indexed when the program dies, the next one goes on from there."""
    path = new_log(tmp_path)
    saved: list[int] = []
    save_block = SqliteStore.save_block

    def save(store: SqliteStore, block: Block) -> None:
        if len(saved) < killed_after:
            save_block(store, block)
            saved.append(block.stop)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "save_block", save)
        with Recorder(SqliteBackend(path)) as recorder:
            recorder.record(lambda _: [binding(f"m{n}", n + 1) for n in range(6000)])
    with contextlib.closing(open_reader(path)) as log:
        assert log.head().indexed == (saved or [0])[-1]
    Recorder(SqliteBackend(path)).close()
    with contextlib.closing(open_reader(path)) as log:
        assert log.size() - log.head().indexed < BLOCK_EVENTS
        assert check(log) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM marks WHERE kind = 'model' AND value = 'm1' AND block > 64", "model m1"),
        ("UPDATE marks SET offsets = x'01000000' WHERE kind = 'agent' AND block > 64", "as to agent"),
        ("UPDATE marks SET previous = NULL WHERE kind = 'model' AND previous > 0", "as to model"),
        ("UPDATE marks SET account = NULL WHERE value = 'm2'", "as to model m2"),
        ("DELETE FROM marks WHERE block = (SELECT max(block) FROM marks)", "the index"),
        ("DELETE FROM marks WHERE block = 0", "the index"),
        ("DELETE FROM marks", "the index"),
        ("INSERT INTO marks VALUES (0, 'type', 'x', NULL, x'00000000', NULL)", "type x"),
        ("INSERT INTO marks VALUES (9999, 'type', 'x', NULL, x'00000000', NULL)", "the index"),
        ("UPDATE marked SET block = 0 WHERE value = 'm1'", "newest"),
        ("DELETE FROM marked WHERE kind = 'revision'", "newest"),
        ("DELETE FROM requests WHERE request = 'req_010'", "requests"),
        ("UPDATE requests SET seq = seq + 1 WHERE request = 'req_010'", "requests"),
        ("INSERT INTO requests VALUES ('req_x', 3)", "requests"),
        ("UPDATE spent SET charged = charged + 1 WHERE span = 'hour' AND model = 'm1'", "spent in the hour"),
        ("DELETE FROM spent WHERE span = 'day' AND model = 'm1'", "spent in the day"),
        ("INSERT INTO spent VALUES ('day', '2031-01-01', 'd', 'm', 'a', 1, 1, 1, 1, 1, 1)", "2031-01-01"),
        ("UPDATE head SET indexed = indexed - 1", "the index"),
        ("UPDATE head SET indexed = size + 1", "beyond the log"),
    ],
)
def test_index_that_is_wrong_is_noticed(whole: Path, tmp_path: Path, statement: str, said: str) -> None:
    """Whatever is missing, invented or changed in the tables of the index, the check says which part."""
    path = copied(whole, tmp_path)
    change(path, statement)
    with contextlib.closing(open_reader(path)) as log:
        problems = [problem.message for problem in check(log)]
    assert problems
    assert any(said in problem for problem in problems), problems


def copied(path: Path, folder: Path) -> Path:
    """Copy a log that nobody writes."""
    to = folder / "log.db"
    to.write_bytes(path.read_bytes())
    return to


def change(path: Path, *statements: str) -> None:
    """Change the file behind Pai's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def test_state_is_untouched_by_the_size_of_blocks(tmp_path: Path) -> None:
    """The index is derived: whatever its blocks, the events and the state are the same."""
    states: list[State] = []
    for size in (1, 7, 10_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        path = new_log(folder)
        fill(SqliteLog(path), block_events=size)
        with contextlib.closing(open_reader(path)) as log:
            assert check(log) == []
            states.append(state_at(log, log.size()))
    assert [state.models for state in states[1:]] == [states[0].models] * 2
