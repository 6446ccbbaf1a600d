"""Sources on other machines, with real git over http, https and ssh on loopback: what works, what a fault does."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Git, Site, binding, maybe_daemon, until
from tests.support_remotes import Authority, HttpRemote, SshRemote, bare_remote, clone_of, silent_listener

TOKEN = "canary-token-7f3a"
QUICK = {"PAI_SOURCE_TIMEOUT": "1500ms", "PAI_SOURCE_INTERVAL": "100ms"}


class Team:
    """A workspace whose source is `remote`, and a clone to push from; one model is pushed, nothing is fetched yet."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.remote = bare_remote(site.folder / "srv", site.environment)
        self.work = clone_of(self.remote)
        self.first = self.work.pushed({"models/a.yaml": binding("a")})

    def use(self, **settings: str) -> None:
        """Set settings of the source by their variables."""
        self.site.environment.update({f"PAI_SOURCE_{key.upper()}": value for key, value in settings.items()})

    @property
    def in_force(self) -> str:
        """The revision in force, as the log says."""
        return self.site.state().revision


@pytest.fixture
def team(site: Site) -> Team:
    """Give a workspace and a remote repository that nothing serves yet."""
    return Team(site)


@pytest.fixture
def http(team: Team) -> Iterator[HttpRemote]:
    """Serve the team's repository over http, and let the workspace follow it."""
    with HttpRemote(team.remote.folder.parent, team.site.environment) as server:
        team.use(repo=f"{server.url}/team.git")
        yield server


def test_http_remote_comes_into_force_with_and_without_a_daemon(team: Team, http: HttpRemote) -> None:
    """`pai reconcile` fetches; the daemon polls, and a push is in force without anybody asking."""
    team.site.pai("reconcile")
    assert team.in_force == team.first
    with team.site.daemon(env=QUICK) as daemon:
        second = team.work.pushed({"models/b.yaml": binding("b")})
        until("the push", lambda: team.in_force == second)
        status, ready = daemon.readiness()
        assert (status, ready["reasons"]) == (200, [])
        assert ready["source"]["remote"] == f"{http.url}/team.git"
        assert "pai_source_up 1.0" in daemon.get("/metrics")[1]
    assert f"Source:   {http.url}/team.git (last fetched: 20" in team.site.pai("status").out
    team.site.pai("verify")


def test_token_is_used_and_never_shown(team: Team, http: HttpRemote) -> None:
    """A remote that wants a token gets it from the secret store, and no output, log or process list ever shows it."""
    http.login = ("x-access-token", TOKEN)
    done = team.site.pai("reconcile", code=3)
    assert "asks for credentials" in done.err
    assert "source.secret" in done.err
    team.site.pai("add", "secret", "forge", "--from-literal", "token=-", stdin=TOKEN)
    team.use(secret="forge")
    team.site.pai("reconcile")
    assert team.in_force == team.first
    with team.site.daemon(env=QUICK) as daemon:
        http.login = ("x-access-token", "another")
        until("the refusal", lambda: "does not take the credentials" in str(daemon.readiness()[1]["reasons"]))
        told = [daemon.log, json.dumps(daemon.readiness()), daemon.get("/metrics")[1], team.site.pai("status").out]
    told += [json.dumps(team.site.rows()), *team.site.outputs]
    assert TOKEN not in "".join(told)
    mirror = team.site.root / "data" / "source.git"
    assert not [path for path in mirror.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("glpat-kitTen7f3a", "glpat-k{url}Ten7f3a"),
        ("two words 7f3a", "two\u200bwords\u200b7f3a"),
    ],
)
def test_token_that_a_remote_has_put_together_is_not_shown(team: Team, http: HttpRemote, token: str, said: str) -> None:
    """What is done to a remote's words cannot make the token of what was none when the token was looked for."""
    http.login = ("x-access-token", token)
    team.site.pai("add", "secret", "forge", "--from-literal", "token=-", stdin=token)
    team.use(secret="forge")
    team.site.pai("reconcile")
    with team.site.daemon(env=QUICK) as daemon:
        http.fault = "says " + said.format(url=f"{http.url}/team.git")
        until("the reason", lambda: "***" in str(daemon.readiness()[1]["reasons"]))
        told = [daemon.log, json.dumps(daemon.readiness()), team.site.pai("status").out]
    told += [team.site.pai("reconcile", code=3).err, *team.site.outputs]
    assert token not in "".join(told)


def test_username_and_password_of_the_secret_are_used(team: Team, http: HttpRemote) -> None:
    """Basic authentication takes both from the secret, with whatever characters they have."""
    http.login = ("björn", 'p@ss:w"or d%41\\')
    options = [f"username={http.login[0]}", f"password={http.login[1]}"]
    team.site.pai("add", "secret", "forge", *(word for o in options for word in ("--from-literal", o)))
    team.use(secret="forge")
    team.site.pai("reconcile")
    assert team.in_force == team.first


def test_password_in_the_address_works_and_is_never_shown(team: Team, http: HttpRemote) -> None:
    """An address with a password is taken; the password is in no output, no event and no argument of git."""
    http.login = ("alice", TOKEN)
    team.use(repo=f"http://alice:{TOKEN}@127.0.0.1:{http.port}/team.git")
    team.site.pai("reconcile")
    with team.site.daemon(env=QUICK) as daemon:
        http.fault = "hang head"
        arguments = until("a git that hangs", lambda: _git_arguments(http.url))
        http.resume()
        log = daemon.log
    assert TOKEN not in arguments
    assert TOKEN not in log + json.dumps(team.site.rows()) + "".join(team.site.outputs)


def _git_arguments(url: str) -> str:
    """Give the command lines and environments of the git processes that speak to `url`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            if url.encode() in line and b"ls-remote" in line:
                found.append((line + (process / "environ").read_bytes()).decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_https_is_checked_against_the_authority_of_the_settings(team: Team) -> None:
    """A certificate of an unknown authority is refused with the setting to set; with it, the fetch works."""
    authority = Authority(team.site.folder)
    with HttpRemote(team.remote.folder.parent, team.site.environment, authority) as server:
        team.use(repo=f"{server.url}/team.git")
        done = team.site.pai("reconcile", code=3)
        assert "certificate that is not trusted" in done.err
        assert "source.ca_file" in done.err
        team.use(ca_file=str(authority.ca_file))
        team.site.pai("reconcile")
    assert team.in_force == team.first


def test_redirect_to_another_host_never_gets_the_credentials(team: Team, http: HttpRemote) -> None:
    """A redirect is refused with a way out, and the host that it names is not even asked."""
    team.site.pai("add", "secret", "forge", "--from-literal", "token=-", stdin=TOKEN)
    team.use(secret="forge")
    with HttpRemote(team.remote.folder.parent, team.site.environment) as other:
        http.fault = f"redirect {other.url.replace('127.0.0.1', 'localhost')}"
        done = team.site.pai("reconcile", code=3)
        assert other.seen == []
    assert "redirect" in done.err
    assert "hint: set source.repo" in done.err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang head", "within 1.5 s"),
        ("hang pack", "within 1.5 s"),
        ("truncate", "broke off"),
        ("garbage", "does not speak git"),
        ("error 500", "error: 500"),
    ],
)
def test_fault_of_the_remote_keeps_the_last_state_and_is_told(
    team: Team, http: HttpRemote, fault: str, words: str
) -> None:
    """Whatever the remote does, the last state stays in force, readiness tells, and it mends by itself."""
    with team.site.daemon(env=QUICK) as daemon:
        until("the first state", lambda: team.in_force == team.first)
        http.fault = fault
        second = team.work.pushed({f"models/b{n}.yaml": binding(f"b{n}") for n in range(20)})
        reasons = until("the reason", lambda: daemon.readiness()[1]["reasons"])
        status, ready = daemon.readiness()
        assert status == 200
        assert reasons[0].startswith("the source cannot be read: http://127.0.0.1:")
        assert words in reasons[0]
        assert "last good fetch 20" in reasons[0]
        assert "\x1b" not in json.dumps(ready)
        assert ready["source"]["since"]
        assert ready["source"]["next"]
        assert "pai_source_up 0.0" in daemon.get("/metrics")[1]
        assert words in team.site.pai("status").out
        assert team.in_force == team.first
        http.resume()
        until("the second state", lambda: team.in_force == second)
        until("no reason", lambda: not daemon.readiness()[1]["reasons"])
    assert not list((team.site.root / "data" / "source.git").rglob("tmp_*"))


def test_hung_remote_blocks_nothing_else(team: Team, http: HttpRemote) -> None:
    """While a fetch hangs, commands and the admin listener answer at once, and SIGTERM ends the daemon in time."""
    team.site.pai("reconcile")
    with team.site.daemon(env={"PAI_SOURCE_TIMEOUT": "10m", "PAI_SOURCE_INTERVAL": "50ms"}):
        http.fault = "hang head"
        seen = len(http.seen)
        until("a fetch that hangs", lambda: len(http.seen) > seen)
        started = time.monotonic()
        team.site.pai("add", "secret", "s", "--from-literal", "k=v")
        team.site.pai("get", "models")
        team.site.pai("status")
    assert time.monotonic() - started < 60  # one fetch alone would take ten minutes


def test_remote_that_does_not_even_connect_is_given_up(team: Team) -> None:
    """Neither a machine that drops packets nor one that never answers holds `pai reconcile` beyond the deadline."""
    team.use(timeout="1s")
    for accept in (False, True):
        with silent_listener(accept=accept) as port:
            team.use(repo=f"http://127.0.0.1:{port}/team.git")
            assert "within 1 s" in team.site.pai("reconcile", code=3).err
            _store(team.site, SshRemote(team.site.folder).folder / "user_key", "[127.0.0.1]:1 ssh-ed25519 AAAA")
            team.use(repo=f"ssh://git@127.0.0.1:{port}/team.git", secret="forge")
            assert "within 1 s" in team.site.pai("reconcile", code=3).err
    team.use(repo="http://127.0.0.1:1/team.git")
    assert "cannot be reached (unable to access it: " in team.site.pai("reconcile", code=3).err


def test_daemon_that_never_reached_its_remote_is_not_ready(team: Team) -> None:
    """Without a last state, an unreachable remote is no empty repository: not ready, with the reason."""
    team.use(repo="http://127.0.0.1:1/team.git", interval="100ms")
    with team.site.daemon(ready=False) as daemon:
        reasons = until("the reason", lambda: daemon.readiness()[1]["reasons"])
        until("the fetch", lambda: "never fetched" in str(daemon.readiness()[1]["reasons"]))
        assert daemon.readiness()[0] == 503
        assert reasons
    assert json.loads(team.site.pai("status", "-o", "json").out)["ready"] is False


def test_daemon_starts_from_its_mirror_while_the_remote_is_away(team: Team, http: HttpRemote) -> None:
    """A restart with a dead remote is ready with the last state, and catches up when the remote is back."""
    with team.site.daemon(env=QUICK):
        until("the first state", lambda: team.in_force == team.first)
    http.fault = "error 500"
    second = team.work.pushed({"models/b.yaml": binding("b")})
    with team.site.daemon(env=QUICK) as daemon:
        until("the reason", lambda: "error: 500" in str(daemon.readiness()[1]["reasons"]))
        assert daemon.readiness()[0] == 200
        assert team.site.pai("get", "models", "-o", "name").out.strip() == "modelbinding.pai.io/a"
        http.resume()
        until("the second state", lambda: team.in_force == second)


@pytest.mark.usefixtures("http")
def test_branch_that_is_deleted_and_made_again_is_followed(team: Team) -> None:
    """A missing branch keeps the last state; made anew from nothing, it is a rewrite that comes into force."""
    team.site.pai("reconcile")
    team.remote("symbolic-ref", "HEAD", "refs/heads/other")
    team.work.push("HEAD:refs/heads/other")
    team.work.push(":main")
    done = team.site.pai("reconcile", code=3)
    assert "branch main does not exist" in done.err
    assert "its branches: other" in done.err
    assert team.in_force == team.first
    team.work("checkout", "--quiet", "--orphan", "fresh")
    again = team.work.pushed({"models/a.yaml": binding("a", 5)})
    team.site.pai("reconcile")
    assert team.in_force == again
    assert "history.rewritten" in team.site.types()


def test_empty_remote_is_an_empty_state_and_an_emptied_one_is_a_fault(site: Site) -> None:
    """A remote without a branch is ready with nothing; one that lost all its branches keeps the last state."""
    remote = bare_remote(site.folder / "srv", site.environment)
    with HttpRemote(remote.folder.parent, site.environment) as server:
        site.environment["PAI_SOURCE_REPO"] = f"{server.url}/team.git"
        assert "no commit yet" in site.pai("reconcile").out
        first = clone_of(remote).pushed({"models/a.yaml": binding("a")})
        site.pai("reconcile")
        assert site.state().revision == first
        shutil.rmtree(remote.folder)
        bare_remote(site.folder / "srv", site.environment)
        assert "branch main does not exist" in site.pai("reconcile", code=3).err
        assert site.state().revision == first


@pytest.mark.usefixtures("http")
def test_another_address_never_serves_the_old_ones_commits(team: Team) -> None:
    """After source.repo changes, the mirror's old branch is not taken for the new remote's."""
    team.site.pai("reconcile")
    team.use(repo="http://127.0.0.1:1/team.git")
    assert team.site.pai("reconcile", code=3)
    status = team.site.pai("status", "-o", "json").json
    assert "never been fetched" in str(status["reasons"])
    mirror = Git(team.site.root / "data" / "source.git", team.site.environment)
    assert mirror("for-each-ref", "refs/heads") == ""
    assert team.in_force == team.first


@pytest.mark.usefixtures("http")
def test_pack_beyond_the_limit_is_refused(team: Team) -> None:
    """A transfer larger than the operator allows ends in a clear state, and leaves nothing behind."""
    team.site.pai("reconcile")
    team.work.pushed({f"noise/{n}.bin": os.urandom(3000) for n in range(200)})
    team.use(max_transfer_bytes="100000")
    done = team.site.pai("reconcile", code=3)
    assert "more than 100,000 bytes" in done.err
    assert team.in_force == team.first
    assert not list((team.site.root / "data" / "source.git").rglob("tmp_*"))


@pytest.mark.usefixtures("http")
def test_unsound_objects_are_refused(team: Team) -> None:
    """A commit that git fsck would not let pass is not fetched, and the last state stays."""
    team.site.pai("reconcile")
    tree = team.remote("rev-parse", "main^{tree}")
    raw = f"tree {tree}\nparent {team.first}\nauthor nobody\n\nbad\n"
    bad = team.remote("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw)
    team.remote("update-ref", "refs/heads/main", bad)
    assert "not sound" in team.site.pai("reconcile", code=3).err
    assert team.in_force == team.first


def _size(mirror: Path) -> int:
    return sum(path.stat().st_size for path in mirror.rglob("*") if path.is_file())


def test_remote_that_serves_files_and_no_git_is_refused(team: Team, http: HttpRemote) -> None:
    """Git would take what it finds there without fsck and without a limit; nothing of it is even asked for."""
    team.site.pai("reconcile")
    mirror = team.site.root / "data" / "source.git"
    before = _size(mirror)
    team.work.pushed({f"noise/{n}.bin": os.urandom(3000) for n in range(20)})
    team.remote("update-server-info")
    http.fault, http.seen[:] = "files", []
    done = team.site.pai("reconcile", code=3)
    assert "serves files and does not speak git" in done.err
    assert "hint: serve it by git's smart HTTP" in done.err
    assert not [path for _, path, _ in http.seen if "/objects/" in path]
    assert _size(mirror) == before
    assert team.in_force == team.first


@pytest.mark.usefixtures("http")
@pytest.mark.parametrize("what", ["unsound", "too large"])
def test_failed_fetch_leaves_nothing_behind(team: Team, what: str) -> None:
    """However often it is tried; and few large objects count as much as many small ones."""
    team.site.pai("reconcile")
    mirror = team.site.root / "data" / "source.git"
    before = _size(mirror)
    team.work.pushed({f"noise/{n}.bin": os.urandom(30_000) for n in range(20)})
    if what == "unsound":
        raw = f"tree {team.work('rev-parse', 'HEAD^{tree}')}\nparent {team.first}\nauthor a\n\nbad\n"
        bad = team.remote("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw)
        team.remote("update-ref", "refs/heads/main", bad)
    else:
        team.use(max_transfer_bytes="200000")
    for _ in range(2):
        assert (
            what.replace("unsound", "not sound").replace("too large", "more than")
            in team.site.pai("reconcile", code=3).err
        )
    assert _size(mirror) == before
    assert team.in_force == team.first


@pytest.mark.parametrize("first", [True, False])
def test_shallow_remote_is_refused_in_so_many_words(team: Team, http: HttpRemote, first: bool) -> None:
    """What it lacks may be what a verdict or the log needs; that is no empty repository, and no state that stays."""
    second = team.work.pushed({"models/b.yaml": binding("b")})
    folder = team.remote.folder.parent
    git = Git(folder, team.site.environment)
    git("clone", "--quiet", "--bare", "--depth", "1", f"file://{team.remote.folder}", "shallow.git")
    if not first:
        team.site.pai("reconcile")
        third = team.work.pushed({"models/c.yaml": binding("c")})
        for name in ("objects", "refs", "shallow", "packed-refs"):
            shutil.rmtree(team.remote.folder / name, ignore_errors=True)
            (team.remote.folder / name).unlink(missing_ok=True)
        git("clone", "--quiet", "--bare", "--depth", "1", f"file://{team.work.folder}", "shallow2.git")
        shutil.copytree(folder / "shallow2.git", team.remote.folder, dirs_exist_ok=True)
        assert team.remote("rev-parse", "main") == third
    else:
        team.use(repo=f"{http.url}/shallow.git")
    for _ in range(2):
        assert "is a shallow clone, whose older commits are missing" in team.site.pai("reconcile", code=3).err
    assert team.in_force == ("" if first else second)
    assert not (team.site.root / "data" / "source.git" / "shallow").exists()


@pytest.fixture
def ssh(team: Team) -> Iterator[SshRemote]:
    """Serve the team's repository over ssh, and let the workspace follow it with the right key and host."""
    with SshRemote(team.site.folder) as server:
        team.use(repo=server.url(team.remote.folder), secret="forge")
        yield server


def _store(site: Site, key: Path, known_hosts: str) -> None:
    site.pai("add", "secret", "forge", "--from-file", f"ssh-key={key}")
    site.pai("add", "secret", "forge", "--from-literal", "known-hosts=-", stdin=known_hosts)


def test_ssh_remote_comes_into_force(team: Team, ssh: SshRemote) -> None:
    """With a key and a known host the daemon follows an ssh remote; the key is never on the disk in the clear."""
    _store(team.site, ssh.folder / "user_key", ssh.known_hosts)
    with team.site.daemon(env={"PAI_SOURCE_INTERVAL": "100ms"}):
        until("the first state", lambda: team.in_force == team.first)
        second = team.work.pushed({"models/b.yaml": binding("b")})
        until("the second state", lambda: team.in_force == second)
    secret = (ssh.folder / "user_key").read_bytes().splitlines()[2]
    assert not [p for p in team.site.root.rglob("*") if p.is_file() and secret in p.read_bytes()]


def test_unknown_and_changed_host_keys_are_refused(team: Team, ssh: SshRemote) -> None:
    """No known hosts, an unknown host and another key than the known one are three refusals, each with its way out."""
    key = ssh.folder / "user_key"
    team.site.pai("add", "secret", "forge", "--from-file", f"ssh-key={key}")
    done = team.site.pai("reconcile", code=3)
    assert "no known hosts" in done.err
    assert "ssh-keyscan" in done.err
    _store(team.site, key, ssh.known_hosts.replace(str(ssh.port), "1"))
    done = team.site.pai("reconcile", code=3)
    assert "a host key that is not known" in done.err
    assert "ssh-keyscan" in done.err
    other = (ssh.folder / "other_key.pub").read_text()
    _store(team.site, key, f"[127.0.0.1]:{ssh.port} {other}")
    done = team.site.pai("reconcile", code=3)
    assert "another host key than the known one" in done.err
    assert "Compare the fingerprint" in done.err
    _store(team.site, ssh.folder / "other_key", ssh.known_hosts)
    assert "does not take the ssh key" in team.site.pai("reconcile", code=3).err
    _store(team.site, key, ssh.known_hosts)
    team.site.pai("reconcile")
    assert team.in_force == team.first


@pytest.mark.usefixtures("http")
def test_rewrite_during_a_fetch_ends_in_the_new_state(team: Team) -> None:
    """While fetches run, the branch is rewritten again and again; in the end its last tip is in force."""
    with team.site.daemon(env={"PAI_SOURCE_INTERVAL": "1ms"}):
        tip = team.first
        for number in range(8):
            team.work.write({"models/a.yaml": binding("a", 100 + number)})
            team.work("commit", "--quiet", "--all", "--amend", "--message", f"version {number}")
            tip = team.work.head
            assert team.work.push("--force", "HEAD:main").code == 0
        until("the last tip", lambda: team.in_force == tip)
    team.site.pai("verify")


@pytest.mark.parametrize("daemon", [False, True])
def test_unpin_tells_what_the_remote_has_or_that_it_is_away(team: Team, http: HttpRemote, daemon: bool) -> None:
    """What is said is what is in force in the end, and that a remote which is away may hold more."""
    team.site.pai("reconcile")
    second = team.work.pushed({"models/a.yaml": binding("a", 2)})
    team.site.pai("reconcile")
    with maybe_daemon(team.site, daemon):
        team.site.pai("pin", team.first)
        http.fault = "error 500"
        done = team.site.pai("unpin")
        assert "warning: the source cannot be read, so what it holds waits: " in done.err
        assert team.in_force == second
        team.site.pai("pin", team.first)
        third = team.work.commit({"models/a.yaml": binding("a", 3)})
        http.fault = ""
        assert team.work.push().code == 0
        done = team.site.pai("unpin")
        assert f"revision {third[:7]} " in done.out
        assert team.in_force == third
