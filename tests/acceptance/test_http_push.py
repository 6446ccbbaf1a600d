"""Pushing straight to Pai over HTTP, with git as the client: who may, what the pusher reads, what is recorded."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.source.hook import MARK
from tests.support import BAD, DEADLINE_S, Daemon, Done, Git, Site, agent, binding, until

PATH = "/git/config.git"


class Served:
    """A workspace whose daemon takes pushes over HTTP, and the tokens to push with."""

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self.site = site
        self.daemon = daemon
        self.first = (site.root / "data" / "admin.token").read_text().strip()

    def token(self, person: str, *options: str) -> str:
        """Issue a token."""
        return self.site.pai("add", "key", "--admin", person, *options).out.strip()

    def url(self, token: str = "", path: str = PATH) -> str:
        """Give the address of the repository, with a token in it if there is one."""
        return f"http://{f'git:{token}@' if token else ''}127.0.0.1:{self.daemon.port}{path}"

    def clone(self, token: str, name: str = "over-http", *options: str) -> Git:
        """Clone over HTTP."""
        git = Git(self.site.folder, {**self.site.environment, "GIT_TERMINAL_PROMPT": "0"})
        git("clone", "--quiet", *options, self.url(token), name)
        return Git(self.site.folder / name, git.environment)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask without git; give status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            with connection.getresponse() as answer:
                named = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, named, answer.read()

    def bearer(self) -> dict[str, str]:
        """Give the header that holds the first token."""
        return {"Authorization": f"Bearer {self.first}"}


@pytest.fixture
def served(team: Site) -> Iterator[Served]:
    """Give a workspace of the test's own with its daemon."""
    with team.daemon() as daemon:
        yield Served(team, daemon)


def refusal(done: Done) -> list[str]:
    """Give what the remote said, line by line."""
    lines = [line.removeprefix("remote: ").rstrip() for line in done.err.splitlines() if line.startswith("remote:")]
    return [line for line in lines if line]


def test_push_comes_into_force_and_says_who_pushed(served: Served) -> None:
    """The revision carries whose token the push held, apart from what git claims; so does the push's own event."""
    token = served.token("dora@example.com")
    clone = served.clone(token)
    old = clone.head
    one = clone.commit({"models/a.yaml": binding("a")})
    two = clone.pushed({"models/b.yaml": binding("b")})
    until("the push to be in force", lambda: served.site.state().revision == two)
    accepted = served.site.rows("type:revision.accepted")[-2:]
    assert [(row["data"]["commit"], row["data"]["pusher"]) for row in accepted] == [
        (one, "dora@example.com"),
        (two, "dora@example.com"),
    ]
    assert {row["actor"] for row in accepted} == {"alice@example.com"}
    (pushed,) = served.site.rows("type:push")
    assert (pushed["actor"], pushed["subject"]) == ("dora@example.com", "branch/main")
    keys = served.site.pai("get", "keys", "-o", "json").json["items"]
    (key,) = (item["metadata"]["name"] for item in keys if item["agent"] == "dora@example.com")
    assert pushed["data"] == {"from": old, "to": two, "key": key}
    assert served.site.state().pushes == ()
    assert token not in served.daemon.log + str(served.site.rows())


def test_pushes_by_file_and_over_http_are_told_apart(served: Served) -> None:
    """Only the commits that a push over HTTP brought carry its pusher; the first token's pusher is `admin.token`."""
    clone = served.clone(served.first)
    by_file = served.site.clone("by-file")
    a = by_file.pushed({"models/a.yaml": binding("a")})
    clone("pull", "--quiet", "--ff-only")
    b = clone.pushed({"models/b.yaml": binding("b")})
    until("the push to be in force", lambda: served.site.state().revision == b)
    pushers = {row["data"]["commit"]: row["data"].get("pusher", "") for row in served.site.rows("type:revision")}
    assert (pushers[a], pushers[b]) == ("", "admin.token")


def test_number_of_a_push_cannot_be_invented(served: Served) -> None:
    """Who sets the variable of the hook in a push by file is refused: nobody says by himself who pushes."""
    clone = served.site.clone("by-file")
    clone.commit({"models/a.yaml": binding("a")})
    done = clone.push(env={"PAI_PUSH": "0" * 32})
    assert done.code != 0
    assert "the push cannot be recorded: it does not come through this daemon" in done.err
    assert served.site.rows("type:push") == []


@pytest.mark.parametrize("case", ["bad", "branch", "ref", "deletions"])
def test_refusals_are_those_of_a_push_by_file_byte_for_byte(served: Served, case: str) -> None:
    """Whatever the hook says to who pushes by file, it says to who pushes over HTTP, and nothing else is said."""
    clone = served.clone(served.first)
    words = ["HEAD:main"]
    if case == "bad":
        clone.commit({"models/bad.yaml": BAD, "agents/c.yaml": agent("c", "nobody"), "models/ü\t.yaml": "a: b: c"})
    elif case == "branch":
        clone.commit()
        served.site.bare("symbolic-ref", "HEAD", "refs/heads/other")
        words = ["--delete", "main"]
    elif case == "ref":
        words = ["HEAD:main", "HEAD:refs/pai/anything"]
        clone.commit({"models/a.yaml": binding("a")})
    else:
        clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(6)})
        until("the push to be in force", lambda: served.site.state().revision == clone.head)
        clone.commit({f"models/m{n}.yaml": None for n in range(6)})
    before = served.site.bare("for-each-ref")
    over_http = clone.push(*words)
    by_file = clone.run("push", "--quiet", str(served.site.root / "config.git"), *words)
    assert over_http.code != 0
    assert refusal(over_http), over_http
    assert refusal(over_http) == refusal(by_file)
    assert served.site.bare("for-each-ref") == before


def test_wrong_token_is_refused_and_git_asks(served: Served) -> None:
    """Without a token git asks for one; a wrong, revoked or an agent's one is refused, for reading too."""
    git = Git(served.site.folder, {**served.site.environment, "GIT_TERMINAL_PROMPT": "0"})
    assert "could not read Username" in git.run("ls-remote", served.url()).err
    agents = served.site.pai("add", "key", "my-agent").out.strip()
    revoked = served.token("eve@example.com")
    name = next(row["subject"] for row in reversed(served.site.rows("type:key.issued"))).partition("/")[2]
    assert git.run("ls-remote", served.url(revoked)).code == 0
    served.site.pai("delete", "key", name)
    elsewhere = served.token("eve@example.com", "--cidr", "192.0.2.0/24")
    for token in ("wrong", agents, revoked, elsewhere, "pak_" + "A" * 43):
        assert "Authentication failed" in git.run("ls-remote", served.url(token)).err
    status, headers, body = served.ask("GET", f"{PATH}/info/refs?service=git-receive-pack")
    assert status == 401
    assert headers["www-authenticate"].startswith('Basic realm="Pai"')
    assert body.startswith(b"error: this needs a token")
    for header in ("Basic", "Basic !!", "Basic " + b64encode(b"no-colon").decode(), "Digest x", "Bearer"):
        assert served.ask("GET", PATH, headers={"Authorization": header})[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/git/", 404),
        ("GET", PATH, 404),
        ("GET", f"{PATH}/HEAD", 404),
        ("GET", f"{PATH}/config", 404),
        ("GET", f"{PATH}/info/refs", 404),
        ("GET", f"{PATH}/info/refs?service=git-upload-archive", 404),
        ("GET", f"{PATH}/info/refs?service=git-upload-pack&x=1", 404),
        ("GET", f"{PATH}/objects/info/packs", 404),
        ("GET", "/git/config.git/../config.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/git/%2e%2e/config.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/git/other.git/info/refs?service=git-upload-pack", 404),
        ("POST", f"{PATH}/git-upload-archive", 404),
        ("GET", f"{PATH}/git-receive-pack", 405),
        ("POST", f"{PATH}/info/refs?service=git-upload-pack", 405),
    ],
)
def test_there_is_nothing_else_below_git(served: Served, method: str, path: str, status: int) -> None:
    """Only the two services of the one repository are there; every other path is told as what it is."""
    assert served.ask(method, path, headers=served.bearer())[0] == status


def test_repository_that_is_not_the_workspaces_own_is_not_there(team: Site) -> None:
    """With source.repo elsewhere the path has nothing, and the answer says why on git's own terminal."""
    shutil.move(team.root / "config.git", team.folder / "elsewhere.git")
    with team.daemon(env={"PAI_SOURCE_REPO": str(team.folder / "elsewhere.git")}) as daemon:
        served = Served(team, daemon)
        git = Git(team.folder, team.environment)
        done = git.run("ls-remote", served.url(served.first))
    assert done.code != 0
    assert "remote: error: there is nothing at this path: source.repo is not the workspace's own config.git" in done.err


def test_clone_shallow_and_fetch_work(served: Served) -> None:
    """What git reads over HTTP is what it reads by file, with protocol 2 and 0, whole and shallow."""
    for number in range(3):
        served.site.clone(f"c{number}").pushed({"README": str(number)})
    whole = served.clone(served.first, "whole")
    assert whole.head == served.site.bare("rev-parse", "main")
    shallow = served.clone(served.first, "shallow", "--depth", "1")
    assert shallow("rev-list", "--count", "HEAD") == "1"
    sha = shallow.pushed({"models/a.yaml": binding("a")})
    assert whole("fetch", "--quiet", "origin") == ""
    assert whole("rev-parse", "origin/main") == sha
    old = served.clone(served.first, "old", "-c", "protocol.version=0")
    assert old.head == sha
    done = whole.run("ls-remote", "origin", env={"GIT_TRACE_CURL": "1"})
    assert "Git-Protocol: version=2" in done.err


def test_push_of_10000_files_in_chunks(served: Served) -> None:
    """A push that git sends in chunks (over its buffer of 1 MiB) gets in as a whole, and the tip comes into force."""
    clone = served.clone(served.first)
    files = {f"models/m{n}.yaml": binding(f"m{n}", n + 1) + f"# {os.urandom(96).hex()}\n" for n in range(10_000)}
    clone.commit(dict(files))
    done = clone.push(env={"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"})
    assert done.code == 0, done.err[-2000:]
    assert "Transfer-Encoding: chunked" in done.err
    until("the push to be in force", lambda: served.site.state().revision == clone.head, 120)
    assert len(served.site.state().models) == 10_002


def test_two_pushes_that_race_leave_one_and_lose_nothing(served: Served) -> None:
    """One of two gets in; the other reads that the branch moved, and gets in on top after a rebase."""
    clones = [served.clone(served.token(f"{name}@example.com"), name) for name in ("ann", "bea")]
    for clone in clones:
        clone.commit({f"models/{clone.folder.name}.yaml": binding(clone.folder.name)})
    running = [
        subprocess.Popen(
            ["git", "push", "--quiet", "origin", "HEAD:main"],
            cwd=clone.folder,
            env=clone.environment,
            stderr=subprocess.DEVNULL,
        )
        for clone in clones
    ]
    codes = [process.wait(60) for process in running]
    assert sorted(code == 0 for code in codes) == [False, True], codes
    loser = clones[0] if codes[0] else clones[1]
    loser("pull", "--quiet", "--rebase", "origin", "main")
    assert loser.push().code == 0
    until("both to be in force", lambda: {"ann", "bea"} <= served.site.state().models.keys())
    pushers = {row["data"]["commit"]: row["data"].get("pusher") for row in served.site.rows("type:revision")[1:]}
    assert sorted(str(who) for who in pushers.values()) == ["ann@example.com", "bea@example.com"]


def children(daemon: Daemon) -> list[str]:
    """Name the processes that the daemon has started for git and that still run; those that judge bodies stay."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")
            lasting = b"body_worker" in (entry / "cmdline").read_bytes()
            if fields[2].split()[1] == str(daemon.process.pid) and not lasting:
                found.append(fields[0].split()[0])
    return found


def members(session: str) -> list[str]:
    """Name the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")
            state, _, _, number = fields[2].split()[:4]
            if number == session and state != "Z":
                found.append(fields[0].split()[0])
    return found


def test_client_that_is_killed_in_the_middle_leaves_nothing(served: Served) -> None:
    """The branch stays, nothing is recorded, processes and objects in quarantine are gone; the next push works."""
    clone = served.clone(served.first)
    clone.commit({"models/a.yaml": binding("a"), "junk": os.urandom(3_000_000)})
    pack = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "-q"],
        cwd=clone.folder,
        input=b"HEAD\n^origin/main\n",
        env=clone.environment,
        capture_output=True,
        check=True,
    ).stdout
    old, new = clone("rev-parse", "origin/main"), clone.head
    line = f"{old} {new} refs/heads/main\0 report-status".encode()
    body = b"%04x%b0000" % (len(line) + 4, line) + pack
    head = (
        f"POST {PATH}/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.first}\r\n"
        f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.daemon.port)) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        objects = served.site.root / "config.git" / "objects"
        until("git to take it", lambda: any(path.name.startswith("tmp_objdir") for path in objects.iterdir()))
    until("git to tidy up", lambda: not any(path.name.startswith("tmp_") for path in objects.iterdir()))
    until("git to end", lambda: not children(served.daemon))
    assert served.site.bare("rev-parse", "main") == old
    assert list((served.site.root / "config.git" / "refs" / "heads").glob("*.lock")) == []
    assert served.site.rows("type:push") == []
    assert clone.push().code == 0


def test_git_killed_while_it_sends_leaves_nothing(served: Served) -> None:
    """The same with git itself as the client that dies."""
    clone = served.clone(served.first)
    old = clone.head
    clone.commit({"models/a.yaml": binding("a"), "junk": os.urandom(20_000_000)})
    process = subprocess.Popen(
        ["git", "push", "--quiet", "origin", "HEAD:main"],
        cwd=clone.folder,
        env=clone.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until("git to run here", lambda: children(served.daemon) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    until("git to end", lambda: not children(served.daemon))
    assert served.site.bare("rev-parse", "main") in (old, clone.head)
    assert served.site.bare("fsck", "--strict") == ""
    assert clone.push().code == 0


def test_body_beyond_the_limit_is_refused_before_it_is_read(served: Served) -> None:
    """The length that a request claims is enough to refuse it."""
    headers = {**served.bearer(), "Content-Type": "application/x-git-receive-pack-request"}
    with socket.create_connection(("127.0.0.1", served.daemon.port), timeout=30) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": str(10**12)}.items())
        connection.sendall(f"POST {PATH}/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_gzip_body_and_expect_100_are_understood(served: Served) -> None:
    """A compressed request that waits for 100 Continue is answered as git answers it."""
    body = gzip.compress(b"0014command=ls-refs\n" + b"00010009peel\n" + b"0000")
    request = (
        f"POST {PATH}/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.first}\r\n"
        "Content-Type: application/x-git-upload-pack-request\r\nContent-Encoding: gzip\r\nGit-Protocol: version=2\r\n"
        f"Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.daemon.port), timeout=30) as connection:
        connection.sendall(request.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert b"HTTP/1.1 200" in answer
    assert f"{served.site.state().revision} refs/heads/main".encode() in answer


def test_held_log_takes_no_push_and_says_so(team: Site) -> None:
    """In the read-only state after a rollback a push is refused with the reason; reading goes on."""
    backup = team.folder / "backup.db"
    shutil.copy(team.database, backup)
    sha = team.clone().pushed({"models/a.yaml": binding("a")})
    with team.daemon():
        until("the push", lambda: team.state().revision == sha)
    shutil.copy(backup, team.database)
    with team.daemon(ready=False) as daemon:
        served = Served(team, daemon)
        clone = served.clone(served.first)
        clone.commit({"models/b.yaml": binding("b")})
        done = clone.push()
        assert done.code != 0
        assert "remote: error: pushes cannot be recorded now: rollback detected" in done.err
    assert team.bare("rev-parse", "main") == sha


def test_without_the_hook_no_push_is_taken(served: Served) -> None:
    """A repository whose pushes nobody would judge takes none over HTTP."""
    clone = served.clone(served.first)
    (served.site.root / "config.git" / "hooks" / "pre-receive").unlink()
    clone.commit({"models/a.yaml": binding("a")})
    assert "remote: error: the repository has no hook of Pai" in clone.push().err


def test_settings_of_the_repository_do_not_decide_who_may_push(served: Served) -> None:
    """http.receivepack is said by the daemon, whatever the repository says."""
    served.site.bare("config", "http.receivepack", "false")
    assert served.clone(served.first).pushed({"models/a.yaml": binding("a")})


def test_daemon_that_stops_ends_a_push_that_hangs(team: Site) -> None:
    """A client that sends half a push and waits keeps the daemon from ending for some seconds only."""
    with team.daemon() as daemon:
        served = Served(team, daemon)
        head = (
            f"POST {PATH}/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.first}\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000\r\n\r\n00"
        )
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(head.encode())
            until("git to run", lambda: children(daemon))
            sessions = children(daemon)
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 25
            assert not [each for each in sessions if members(each)]


def test_daemon_that_stops_ends_a_push_whose_hook_hangs(team: Site) -> None:
    """What was started for a push ends with the daemon, also a hook that neither reads nor writes."""
    with team.daemon() as daemon:
        clone = Served(team, daemon).clone(Served(team, daemon).first)
        clone.commit({"models/a.yaml": binding("a")})
        hook = team.root / "config.git" / "hooks" / "pre-receive"
        began = team.folder / "began"
        hook.write_text(f"#!/bin/sh\n{MARK}\ntouch {began}\nexec sleep 300 >/dev/null 2>&1\n")
        with subprocess.Popen(
            ["git", "push", "--quiet", "origin", "HEAD:main"],
            cwd=clone.folder,
            env=clone.environment,
            stderr=subprocess.DEVNULL,
        ) as push:
            until("the hook to run", began.exists)
            sessions = children(daemon)
            assert daemon.stop() == 0
            push.wait(DEADLINE_S)
        left = [member for each in sessions for member in members(each)]
        for process in left:
            os.kill(int(process), signal.SIGKILL)
        assert not left
