"""A workspace whose log is in Postgres, with real processes: the same work, one writer, moving there and back."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path

import pytest

from reconciler.operations.moving import move
from reconciler.simulator import Simulator
from reconciler.workspace import Workspace
from tests.support import Daemon, Site, agent, binding, copied, until
from tests.support_gateway import PROVIDER_KEYS, Bench
from tests.support_postgres import postgres


def url_of(schema: str) -> str:
    """Give the URL of a schema, as an operator writes it."""
    return postgres().address(schema).url


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a schema that is not made yet."""
    return url_of(re.sub(r"\W+", "_", f"accepted_{request.node.name}").lower()[:60])


def use(site: Site, url: str) -> None:
    """Put the place of the log into the settings, where the hook sees it too."""
    settings = site.root / "pai.toml"
    site.root.mkdir(exist_ok=True)
    text = settings.read_text() if settings.exists() else "[log]\ndatabase = 1\n"
    settings.write_text(re.sub(r"(?m)^database = .*$", f'database = "{url}"', text))


def moved(site: Site, url: str) -> Site:
    """Move the log of a workspace to a new schema."""
    site.pai("database", "init", url)
    site.pai("database", "move", url)
    use(site, url)
    return site


def beside(site: Site, folder: Path) -> Site:
    """Give the same workspace in another folder, as on another machine."""
    return copied(site, folder)


def test_new_workspace_works_as_with_a_file(tmp_path: Path, url: str) -> None:
    """Made, pushed to, served, asked, verified, exported: nothing but the setting is different."""
    site = Site(tmp_path)
    use(site, url)
    refused = site.pai("init", site.root, code=3)
    assert "has no log" in refused.err
    assert "pai database init URL" in refused.err
    site.pai("database", "init", url)
    site.pai("database", "init", url)
    site.pai("init", site.root)
    site.pai("init", site.root)
    assert not site.database.exists()

    site.clone().pushed({"models/flash.yaml": binding("flash"), "agents/a.yaml": agent("a", "flash")})
    with site.daemon(ready=False) as daemon:
        site.pai("add", "secret", "gemini-key", "--from-literal", "api-key=-", stdin="x\n")
        until("the state", lambda: daemon.get("/readyz")[0] == 200)
        assert "flash" in site.pai("get", "models").out
    site.pai("status", "a")
    assert "binding.created" in site.pai("log").out
    assert "flash" in site.pai("blame", "model", "flash").out
    assert "ok: " in site.pai("verify").out
    site.pai("export", tmp_path / "export")
    assert "ok: " in site.pai("verify", tmp_path / "export").out
    shown = site.rows("type:daemon.started")[0]["data"]["settings"]["log.database"]
    assert shown == url.partition("?")[0] + "?schema=" + url.rpartition("=")[2]


def test_gateway_keeps_its_books_there(gateway_template: Site, tmp_path: Path, url: str) -> None:
    """Requests are reserved and settled as ever, and what a killed daemon left open is forfeited."""
    site = moved(copied(gateway_template, tmp_path), url)
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with Simulator(keys=accepted) as simulator, Bench(site, simulator, {}).running() as bench:
        for _ in range(5):
            assert bench.ask("chat", "openai").status_code == 200
        bench.daemon.kill()
        bench.restart()
        assert bench.ask("chat", "openai").status_code == 200
        assert bench.outcomes("openai") == ["settled"] * 6


def test_one_program_writes_at_a_time(team: Site, tmp_path: Path, url: str) -> None:
    """Another one is refused by the holder's name; when that one is gone, it goes on with the same log."""
    moved(team, url)
    other = beside(team, tmp_path / "other")
    first = Daemon(team)
    first.start()
    refused = other.run("serve")
    assert refused.code == 3
    assert f"(process {first.process.pid})" in refused.err
    assert "flash" in other.pai("get", "models").out  # who only reads need not wait
    first.kill()
    with team.daemon():  # in the same folder, the dead one is known to be dead
        pass
    with other.daemon():
        other.pai("apply", "-f", "-", stdin=binding("flash", 7))
    assert team.state().models["flash"].spec["maxTokensPerDay"] == 7
    assert "ok: " in team.pai("verify").out


def test_holder_that_stalled_too_long_adds_nothing_and_ends(team: Site, tmp_path: Path, url: str) -> None:
    """Another one takes the log after the lease; the first wakes up, finds itself replaced, and exits with 3."""
    moved(team, url)
    other = beside(team, tmp_path / "other")
    first = Daemon(team)
    first.start()
    first.process.send_signal(signal.SIGSTOP)
    with other.daemon():
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(30) == 3
        assert "another program writes" in first.log
        started = [row["type"] for row in other.rows("type:daemon")]
        assert started == ["daemon.started.v1"] * 2
    assert "ok: " in other.pai("verify").out


def test_log_moves_there_and_back_byte_by_byte(team: Site, url: str) -> None:
    """Events, hashes and root are the same in every place, and each place that was left says where the log is now."""
    before = [tuple(event) for event in _events(team)]
    out = team.pai("prove", "3").out
    moved(team, url)
    assert [tuple(event) for event in _events(team)] == before
    assert team.pai("prove", "3").out == out
    left = team.run("log", env={"PAI_LOG_DATABASE": "sqlite:data/log.db"})
    assert left.code == 3
    assert "was moved to postgresql://owner@/postgres" in left.err

    team.pai("database", "init", f"{url}2")
    team.pai("database", "move", f"{url}2")  # from one schema to another
    use(team, f"{url}2")
    team.pai("database", "move", "sqlite:data/back.db")
    gone = team.run("log")
    assert gone.code == 3
    assert "was moved to" in gone.err
    assert "back.db" in gone.err
    use(team, "sqlite:data/back.db")
    assert team.pai("prove", "3").out == out
    with team.daemon():
        assert "ok: " in team.pai("verify").out


def _events(site: Site) -> list[object]:
    with contextlib.closing(site.log().reader()) as log:
        return list(log.read())


def test_move_that_is_interrupted_leaves_the_source_the_log(team: Site, url: str) -> None:
    """Its unfinished copy is in the way of another move, and of nothing else."""
    team.pai("database", "init", url)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(Workspace.open(team.root, team.environment), url, interrupt)
    team.pai("apply", "-f", "-", stdin=binding("flash", 5))
    assert "ok: " in team.pai("verify").out
    assert "has a log already" in team.pai("database", "move", url, code=1).err


def test_move_is_refused_where_it_would_lose(team: Site, url: str) -> None:
    """A place with a log, one without a schema, a daemon that runs: the source stays the log."""
    assert "pai database init URL" in team.pai("database", "move", url, code=3).err
    moved(team, url)
    with team.daemon():
        running = team.pai("database", "move", "sqlite:data/other.db", code=3)
        assert "a daemon runs" in running.err
    assert "has a log already" in team.pai("database", "move", url, code=1).err
    assert "must be sqlite:PATH" in team.pai("database", "move", "mysql://db/pai", code=2).err
