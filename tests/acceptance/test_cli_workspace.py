"""Making and finding a workspace, exit codes, streams, usage mistakes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import PAI, Git, Site, binding, make, run


def mode(path: Path) -> int:
    """Give a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_what_the_contract_names(tmp_path: Path) -> None:
    """pai.toml, config.git with branch main and its hook, data with log, master key and vkey, all private."""
    site = make(tmp_path)
    assert site.bare("symbolic-ref", "HEAD") == "refs/heads/main"
    assert os.access(site.root / "config.git" / "hooks" / "pre-receive", os.X_OK)
    data = site.root / "data"
    assert mode(data) == 0o700
    assert mode(data / "master.key") == 0o600
    assert mode(data / "log.db") == 0o600
    assert (data / "vkey").read_text().count("+") >= 2
    assert "[source]" in (site.root / "pai.toml").read_text()
    (created,) = site.rows()
    assert (created["seq"], created["type"]) == (0, "log.created.v1")
    assert created["data"]["vkey"] == (data / "vkey").read_text().strip()


def test_init_twice_keeps_everything(team: Site) -> None:
    """A second init exits 0 and changes no setting, key, event or commit; a lost hook comes back."""
    kept = {p: p.read_bytes() for p in (team.root / "data").iterdir() if p.is_file() and "lock" not in p.name}
    settings = team.root / "pai.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    hook = team.root / "config.git" / "hooks" / "pre-receive"
    hook.unlink()
    team.pai("init", team.root)
    assert {p: p.read_bytes() for p in kept} == kept
    assert settings.read_text().endswith("# mine\n")
    assert os.access(hook, os.X_OK)
    team.pai("init")
    assert sorted(team.state().models) == ["flash", "sonnet"]


def test_init_keeps_other_things_in_the_folder(tmp_path: Path) -> None:
    """The folder may hold other files; init without DIR takes the current folder."""
    place = tmp_path / "workspace"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    site = Site(tmp_path)
    site.pai("init", cwd=place)
    assert (place / "notes.txt").read_text() == "mine"
    site.pai("status")


def test_lost_log_is_never_made_anew_silently(team: Site) -> None:
    """Without log.db every command exits 3, init too, and nothing is created."""
    team.database.unlink()
    for words in (("status",), ("get", "models"), ("log",), ("reconcile",), ("serve",), ("init", str(team.root))):
        assert "error:" in team.pai(*words, code=3).err
        assert not team.database.exists()


def test_foreign_log_is_refused(team: Site) -> None:
    """A log.db that is not Pai's exits 3 with a hint, for readers and writers, and is left as it is."""
    team.database.write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    before = team.database.read_bytes()
    for words in (("status",), ("log",), ("verify",), ("reconcile",)):
        done = team.run(*words)
        assert done.code in (1, 3), (words, done)
        assert done.code == 3 or words == ("verify",)
        assert "error:" in done.err
    assert team.database.read_bytes() == before


def test_workspace_is_found_by_option_variable_and_parent(team: Site, tmp_path: Path) -> None:
    """-w before or after the command, then PAI_WORKSPACE, then the nearest parent folder with pai.toml."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = team.root / "some" / "deep" / "folder"
    inside.mkdir(parents=True)
    want = team.pai("get", "models").out
    root = str(team.root)
    assert team.pai("-w", root, "get", "models", cwd=outside).out == want
    assert team.pai("get", "models", "-w", root, cwd=outside).out == want
    assert team.pai(f"--workspace={root}", "get", "models", cwd=outside).out == want
    assert team.pai("get", "models", cwd=outside, env={"PAI_WORKSPACE": root}).out == want
    assert team.pai("get", "models", cwd=inside).out == want
    other = tmp_path / "no-workspace"
    other.mkdir()
    assert team.pai("get", "models", cwd=outside, env={"PAI_WORKSPACE": str(other)}, code=3).err.startswith("error:")
    assert team.pai("-w", root, "get", "models", cwd=outside, env={"PAI_WORKSPACE": str(other)}).out == want


@pytest.mark.parametrize(
    "words",
    [
        ("get", "models"),
        ("status",),
        ("log",),
        ("verify",),
        ("reconcile",),
        ("serve",),
        ("describe", "model", "x"),
        ("delete", "secret", "x"),
        ("add", "secret", "x", "--from-literal", "k=v"),
        ("apply", "-f", "-"),
    ],
    ids=" ".join,
)
def test_no_workspace_exits_3_with_a_hint(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Outside any workspace: error and hint on stderr, nothing on stdout, exit 3."""
    done = Site(tmp_path).pai(*words, code=3)
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "\nhint: " in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gett", "models"), "did you mean pai get?"),
        (("frobnicate",), "see pai --help"),
        (("--frob", "get"), "unknown option --frob"),
        (("get", "models", "--frob"), "--frob"),
        (("get", "modles"), "models"),
        (("get",), "hint:"),
        (("add",), "hint:"),
        (("add", "model", "x", "--provider", "acme", "--api-key", "s"), "acme"),
        (("add", "model", "x", "--provider", "openrouter", "--api-key", "s"), "--model"),
        (("add", "model", "x", "--provider", "openai"), "--api-key"),
        (("add", "agent", "x"), "--model"),
        (("add", "secret", "x"), "needs a value"),
        (("add", "secret", "x", "--from-literal", "novalue"), "KEY="),
        (("add", "secret", "x", "--from-env", "k=NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("log", "nonsense"), "FIELD:VALUE"),
        (("log", "modle:x"), "did you mean model:?"),
        (("log", "since:yesterday-ish"), "cannot read the time"),
        (("log", "--limit", "0"), "--limit"),
        (("log", "--limit", "many"), "--limit"),
        (("apply",), "-f"),
        (("get", "models", "-o", "xml"), "xml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_exits_2_and_says_what_is_meant(team: Site, words: tuple[str, ...], said: str) -> None:
    """A mistake on the command line: exit 2, the way out on stderr, nothing on stdout, nothing changed."""
    done = team.pai(*words, code=2)
    assert done.out == ""
    assert said in done.err, done.err
    assert done.err.startswith("error: ")


def test_misspelt_option_names_the_nearest(team: Site) -> None:
    """An unknown option is met like an unknown command."""
    done = team.pai("log", "--limt", "3", code=2)
    assert "--limit" in done.err


def test_help_and_version_go_to_stdout(tmp_path: Path) -> None:
    """--help of every command exits 0 without a workspace and names its options."""
    site = Site(tmp_path)
    text = site.pai("--help").out
    assert site.pai("help").out == text
    assert site.pai("--version").out.startswith("pai ")
    verbs = [line.split()[0] for line in text.partition("commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert {"init", "serve", "reconcile", "demo", "add", "get", "describe", "delete", "apply", "status", "log"} <= {
        *verbs
    }
    for verb in verbs:
        assert site.pai(verb, "--help").out.startswith(f"usage: pai {verb}")
    assert site.run().code == 2


def test_broken_pipe_is_no_error(team: Site) -> None:
    """`pai log | head -1` ends quietly."""
    pipeline = f'"{PAI}" log | head -1; exit ${{PIPESTATUS[0]}}'
    for _ in range(3):
        done = run(["bash", "-c", pipeline], team.environment, team.root)
        assert done.err == ""
        assert done.code == 0
        assert len(done.out.splitlines()) == 1


def test_stdout_that_cannot_be_written_is_told(team: Site) -> None:
    """Output to a full disk exits 3 with a message, never 0."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [PAI, "get", "models"],
            cwd=team.root,
            env=team.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 3
    assert b"error:" in done.stderr
    assert b"Traceback" not in done.stderr


def test_bad_settings_exit_3_with_the_line(team: Site) -> None:
    """A mistake in pai.toml or in a variable is named with its place."""
    settings = team.root / "pai.toml"
    good = settings.read_text()
    settings.write_text(good.replace("branch =", "brnch ="))
    done = team.pai("reconcile", code=3)
    assert "brnch" in done.err
    assert "pai.toml" in done.err
    settings.write_text(good)
    assert "PAI_ADMIN_LISTEN" in team.pai("serve", code=3, env={"PAI_ADMIN_LISTEN": "nowhere"}).err


def test_workspace_of_a_repository_elsewhere(site: Site) -> None:
    """source.repo may be a repository with a work tree; commands commit there and its files follow."""
    folder = site.folder / "team"
    folder.mkdir()
    work = Git(folder, site.environment)
    work("init", "--quiet", "--initial-branch=main")
    work.commit({"models/a.yaml": binding("a")})
    environment = {"PAI_SOURCE_REPO": str(folder)}
    site.pai("reconcile", env=environment)
    site.pai("add", "agent", "x", "--model", "a", env=environment)
    assert (folder / "agents" / "x.yaml").exists()
    assert work("status", "--porcelain") == ""
    assert list(site.state().agents) == ["x"]


def test_simulated_providers_answer_and_end_with_the_daemon(team: Site) -> None:
    """`pai serve --simulate` needs no key and no network, and leaves nothing behind, however it ends.

    Nothing is imported from the folder in which it is called.
    """
    (team.folder / "msgspec.py").write_text("raise SystemExit('of the current folder')\n")
    for end in (signal.SIGTERM, signal.SIGKILL):
        command = [PAI, "-w", str(team.root), "serve", "--simulate"]
        with (team.folder / "serve.log").open("w+") as log:
            process = subprocess.Popen(command, cwd=team.folder, env=team.environment, stdout=log, stderr=log)
            deadline = time.monotonic() + 20
            while not (team.root / "data" / "pai.sock").exists() or team.run("status").code:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            simulators = [pid for pid in children if "reconciler.simulator" in _command_of(pid)]
            assert len(simulators) == 1
            process.send_signal(end)
            process.wait(20)
            while any("reconciler.simulator" in _command_of(pid) for pid in simulators):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert "no request leaves this machine" in (team.folder / "serve.log").read_text()
        started = team.rows("type:daemon.started")[0]["data"]
        assert "127.0.0.1" in str(started)


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
