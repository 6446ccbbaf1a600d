"""Who may write a log in Postgres: taken once, given back, taken over, and worth nothing to whoever lost it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from reconciler.core.errors import LogBusy, LogDamaged, LogNotWritable
from reconciler.log.creation import create_log
from reconciler.log.postgres import holding
from reconciler.log.postgres.holding import Holding
from reconciler.log.postgres.place import PostgresLog
from reconciler.recorder import Recorder
from tests.support import until
from tests.support_log import ORIGIN, decide, new_log_of, secret, some


@pytest.fixture
def log(tmp_path: Path) -> PostgresLog:
    """A log that one program writes at a time."""
    made = new_log_of("postgres", tmp_path)
    assert isinstance(made, PostgresLog)
    return PostgresLog(made.address, tmp_path)


def elsewhere(log: PostgresLog, folder: Path) -> PostgresLog:
    """Give the same log, as a program on another machine has it."""
    folder.mkdir(exist_ok=True)
    return PostgresLog(log.address, folder)


def lapse(log: PostgresLog) -> None:
    """End the lease as time does."""
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(f"UPDATE {log.address.schema}.holder SET until = clock_timestamp() - interval '1 s'")  # noqa: S608


@pytest.fixture
def unrenewed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Holders that never renew, as one that is stalled."""
    monkeypatch.setattr(holding, "RENEW_S", 3600.0)
    return


def test_holder_is_one_until_it_gives_back(log: PostgresLog, tmp_path: Path) -> None:
    """Another machine is refused meanwhile, by name; afterwards it is the one, with a higher epoch."""
    first = Holding(log.address, tmp_path)
    other = elsewhere(log, tmp_path / "other")
    with pytest.raises(LogBusy, match=r"is written by .*\(process \d+\)"):
        other.writer()
    with pytest.raises(LogBusy):  # in the same folder and process as well
        log.writer()
    first.release()
    first.release()
    second = Holding(other.address, tmp_path / "other")
    assert second.epoch > first.epoch
    second.release()


@pytest.mark.usefixtures("unrenewed")
def test_whoever_was_replaced_adds_nothing(log: PostgresLog, tmp_path: Path) -> None:
    """Its decision is refused, its store is not opened again, and what the other one recorded stays."""
    backend = log.writer()
    with Recorder(backend, retry_s=0) as first:
        first.record(decide(secret("a")))
        lapse(log)
        with Recorder(elsewhere(log, tmp_path / "other").writer()) as second:
            second.record(decide(secret("b")))
            for _ in range(3):
                with pytest.raises(LogNotWritable, match="written by another program"):
                    first.record(decide(secret("c")))
            assert not first.status().writable
            assert second.read(lambda state: sorted(state.secrets)) == ["a", "b"]
            second.record(decide(secret("d")))


@pytest.mark.usefixtures("unrenewed")
def test_database_that_was_put_back_gives_no_epoch_twice(log: PostgresLog, tmp_path: Path) -> None:
    """Whoever took the log in what was lost by a failover is not taken for the one that has it now."""
    first = elsewhere(log, tmp_path / "first").writer()
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        holder = f"{log.address.schema}.holder"
        db.execute(f"CREATE TABLE {holder}_before AS SELECT * FROM {holder}")  # noqa: S608
        lapse(log)
        with Recorder(elsewhere(log, tmp_path / "lost").writer(), retry_s=0) as lost:
            db.execute(f"DELETE FROM {holder}; INSERT INTO {holder} SELECT * FROM {holder}_before")  # noqa: S608
            lapse(log)
            with Recorder(elsewhere(log, tmp_path / "now").writer()) as now:
                now.record(decide(secret("a")))
                with pytest.raises(LogNotWritable, match="written by another program"):
                    lost.record(decide(secret("b")))
    first.release()


@pytest.mark.usefixtures("unrenewed")
def test_whoever_was_replaced_closes_no_log(log: PostgresLog, tmp_path: Path) -> None:
    """A move that lost the log meanwhile ends, and the one that has it goes on."""
    moving = elsewhere(log, tmp_path / "moving")
    backend = moving.writer()
    lapse(log)
    with Recorder(elsewhere(log, tmp_path / "other").writer()) as other:
        with pytest.raises(LogNotWritable, match="written by another program"):
            moving.leave("sqlite:data/log.db")
        other.record(decide(secret("a")))
    backend.release()


def test_holder_learns_that_it_was_replaced(log: PostgresLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next renewal, so that its program can end."""
    monkeypatch.setattr(holding, "RENEW_S", 0.05)
    first = log.writer()
    monkeypatch.setattr(holding, "RENEW_S", 3600.0)
    with psycopg.connect(log.address.conninfo, autocommit=True) as db:
        db.execute(f"UPDATE {log.address.schema}.holder SET epoch = epoch + 1")  # noqa: S608
    until("the holder to notice", first.is_lost)
    first.release()
    with psycopg.connect(log.address.conninfo) as db:  # what was not its own any more, it did not give back
        (still,) = db.execute(f"SELECT until > clock_timestamp() FROM {log.address.schema}.holder").fetchone() or ()  # noqa: S608
    assert still
    assert tmp_path.exists()


def test_holder_that_lives_stays_the_holder(log: PostgresLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that would have lapsed many times is renewed."""
    monkeypatch.setattr(holding, "LEASE_S", 1)
    monkeypatch.setattr(holding, "RENEW_S", 0.1)
    first = log.writer()
    with pytest.raises(LogBusy):
        elsewhere(log, tmp_path / "other").writer(wait_s=3)
    assert not first.is_lost()
    first.release()


@pytest.mark.usefixtures("unrenewed")
def test_taking_waits_for_an_open_turn(log: PostgresLog, tmp_path: Path) -> None:
    """What the former holder is about to append is on the log before the next one looks at it, or not at all."""
    backend = log.writer()
    lapse(log)
    took = threading.Event()

    def take() -> None:
        taken = elsewhere(log, tmp_path / "other").writer()
        took.set()
        taken.release()

    other = threading.Thread(target=take)
    with contextlib.closing(backend.open()) as store:
        with store.turn(1):
            other.start()
            assert not took.wait(0.5)
            store.append(some(1, 2), {})
        other.join(30)
        assert took.is_set()
        with pytest.raises(LogNotWritable), store.turn(3):
            raise AssertionError("a turn of who was replaced")
    backend.release()


def test_log_that_was_left_is_opened_by_nobody(log: PostgresLog) -> None:
    """Whoever reads or writes is told where it is."""
    log.leave("sqlite:data/log.db")
    for use in (log.reader, log.writer):
        with pytest.raises(LogDamaged, match=r"was moved to sqlite:data/log\.db"):
            use()


def test_lock_is_free_again_after_a_refusal(log: PostgresLog, tmp_path: Path) -> None:
    """A program that was refused leaves nothing behind in its folder."""
    first = log.writer()
    other = elsewhere(log, tmp_path / "other")
    for _ in range(2):
        with pytest.raises(LogBusy, match="is written by"):
            other.writer()
    first.release()
    other.writer().release()
    with pytest.raises(LogDamaged):
        create_log(log, origin=ORIGIN, vkey="key")
