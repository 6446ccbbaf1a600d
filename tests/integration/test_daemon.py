"""`pai serve` as a process: one at a time, readiness, signals, what a killed one leaves, a full disk."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
import threading

import pytest

from reconciler import __version__
from reconciler.control.client import call
from reconciler.core.errors import UsageError
from tests.support import BAD, DEADLINE_S, PAI, Site, binding, run, until


def test_second_daemon_is_refused(site: Site) -> None:
    """A workspace has one daemon: the second exits 3, says why, and does not disturb the first."""
    with site.daemon() as daemon:
        done = site.pai("serve", code=3)
        assert "error:" in done.err
        assert "hint:" in done.err
        assert daemon.readiness()[0] == 200
        assert site.pai("status", "-o", "json").json["ready"]


def test_branch_of_the_environment_is_the_hooks_while_the_daemon_runs(site: Site) -> None:
    """The hook asks the daemon, whose variables count; the daemon warns that without it the hook goes by pai.toml."""
    clone = site.clone()
    clone.commit({"a.yaml": binding("a")})
    assert clone.push("HEAD:release").code == 0
    clone.commit({"bad.yaml": BAD})
    with site.daemon(env={"PAI_SOURCE_BRANCH": "release"}) as daemon:
        assert "bad.yaml:8:3: error PAI209" in clone.push("HEAD:release").err
        assert clone.push("HEAD:main").code == 0
        assert "WARNING pai.daemon: source.branch is release by the environment and main in pai.toml" in daemon.log
        assert daemon.log.count("WARNING") == 1
    assert "bad.yaml" not in clone.push("HEAD:release").err
    with site.daemon(ready=False) as daemon:
        assert "WARNING" not in daemon.log.partition("admin listener")[0]


def test_port_in_use_is_told_with_the_setting(site: Site) -> None:
    """A taken admin port exits 3 and names the setting; the workspace is free for the next try."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = site.pai("serve", code=3, env={"PAI_ADMIN_LISTEN": f"127.0.0.1:{port}"})
    assert str(port) in done.err
    assert "PAI_ADMIN_LISTEN" in done.err
    assert "daemon.started" not in {row["type"].removesuffix(".v1") for row in site.rows()}
    with site.daemon():
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_the_daemon_in_order(site: Site, number: signal.Signals) -> None:
    """SIGTERM, SIGINT and SIGHUP exit 0, are recorded, and leave neither socket nor lock behind."""
    before = signal.signal(number, signal.SIG_DFL)  # who runs the tests under nohup hands on that it is ignored
    with site.daemon() as daemon:
        signal.signal(number, before)
        daemon.process.send_signal(number)
        assert daemon.process.wait(DEADLINE_S) == 0
    assert [(row["type"], row["data"].get("reason")) for row in site.rows("type:daemon")] == [
        ("daemon.started.v1", None),
        ("daemon.stopped.v1", number.name),
    ]
    assert not (site.root / "data" / "pai.sock").exists()
    assert "Traceback" not in daemon.log
    site.pai("reconcile")


def test_killed_daemon_leaves_a_workspace_that_works(site: Site) -> None:
    """The stale socket of a killed daemon stops neither commands nor the next daemon."""
    clone = site.clone()
    daemon = site.daemon()
    daemon.start()
    first = clone.pushed({"models/a.yaml": binding("a")})
    until("the first state", lambda: site.state().revision == first)
    daemon.kill()
    assert (site.root / "data" / "pai.sock").exists()
    second = clone.pushed({"models/b.yaml": binding("b")})
    site.pai("reconcile")
    assert site.state().revision == second
    third = clone.pushed({"models/c.yaml": binding("c")})
    with site.daemon():
        until("the third state", lambda: site.state().revision == third)
        site.pai("reconcile")
    site.pai("verify")


def test_push_while_no_daemon_runs_is_found_at_its_start(site: Site) -> None:
    """A daemon begins with a look at the tip."""
    sha = site.clone().pushed({"models/a.yaml": binding("a")})
    with site.daemon() as daemon:
        until("the state", lambda: site.state().revision == sha)
        assert "pai_model_bindings 1.0" in daemon.get("/metrics")[1]


def test_admin_listener_answers_what_it_should(site: Site) -> None:
    """/healthz, /readyz and /metrics answer; everything else is 404, and no answer names a file of the machine."""
    with site.daemon() as daemon:
        assert daemon.get("/healthz") == (200, "ok\n")
        assert daemon.readiness() == (200, {"ready": True, "reasons": []})
        status, text = daemon.get("/metrics")
        assert status == 200
        assert {"pai_ready 1.0", "pai_log_writable 1.0", "pai_log_events 3.0"} <= set(text.splitlines())
        assert daemon.get("/")[0] == 404
        assert daemon.get("/../../etc/passwd")[0] == 404
        assert str(site.root) not in text


def test_control_socket_is_private_and_knows_its_verbs(site: Site) -> None:
    """The socket is 0600, answers ping, and refuses a verb that it does not know as an error, not a crash."""
    place = site.root / "data" / "pai.sock"
    with site.daemon():
        assert place.stat().st_mode & 0o777 == 0o600
        assert call(place, "ping", {})["version"] == __version__
        with pytest.raises(UsageError, match="does not know"):
            call(place, "self-destruct", {})
        with pytest.raises(UsageError):
            call(place, "secret.store", {"name": "x", "values": {"k": "***"}})
        assert call(place, "ping", {})["version"] == __version__


def test_who_orders_is_said_beside_the_order(site: Site) -> None:
    """By the name that git has for the user, else by the system's; the order itself has no place for it."""
    place = site.root / "data" / "pai.sock"
    with site.daemon():
        call(place, "suspend", {"reason": "by hand"})
        call(place, "resume", {}, actor="eve@example.com")
        with pytest.raises(UsageError, match="unknown field `actor`"):
            call(place, "suspend", {"actor": "eve@example.com"})
    account = pwd.getpwuid(os.geteuid()).pw_name
    assert [row["actor"] for row in site.rows("type:reconciling")] == [account, "eve@example.com"]


def test_many_commands_at_once_all_succeed(site: Site) -> None:
    """Commands of several people at the same time wait for each other, with and without a daemon."""
    for context in (None, site.daemon()):
        if context:
            context.start()
        running = [
            subprocess.Popen(
                [PAI, "add", "secret", f"s{n}", "--from-literal", "k=v"],
                cwd=site.root,
                env=site.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for n in range(5)
        ]
        failures = [err for process in running if (err := process.communicate(timeout=DEADLINE_S * 2)[1])]
        assert failures == []
        assert {process.returncode for process in running} == {0}
        if context:
            assert context.stop() == 0
    assert len(site.state().secrets) == 5
    site.pai("verify")


def test_daemon_records_its_settings_without_secrets(site: Site) -> None:
    """`daemon.started` tells version and settings; credentials in a URL are not among them."""
    with site.daemon(env={"PAI_PROVIDERS_OPENAI_BASE_URL": "https://gateway.example.com"}):
        pass
    (started,) = site.rows("type:daemon.started")
    assert started["data"]["settings"]["source.branch"] == "main"
    assert started["data"]["settings"]["providers.openai.base_url"] == "https://gateway.example.com"


def _largest(site: Site) -> int:
    return max(place.stat().st_size for place in (site.root / "data").glob("log.db*"))


@pytest.mark.parametrize("room", ["none", "little"])
def test_full_disk_is_told_and_recovered_from(site: Site, room: str) -> None:
    """While nothing can be written, pushes are not in force and readiness says why; space makes all of them so."""
    clone = site.clone()
    with site.daemon() as daemon:
        good = clone.pushed({"models/a.yaml": binding("a")})
        site.pai("reconcile")
        # "little" still takes a small event, but not the push.
        full = (4096 if room == "none" else _largest(site) + 20_000, resource.RLIM_INFINITY)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, full)
        big = clone.pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(200)})
        done = site.pai("reconcile", code=3)
        assert any(said in done.err for said in ("not recorded", "not known", "not writable")), done
        assert site.state().revision == good
        until("readiness to fail", lambda: daemon.readiness()[0] == 503)
        assert "not writable" in str(daemon.readiness()[1]["reasons"])
        assert site.pai("status", "-o", "json").json["ready"] is False
        assert list(site.pai("get", "models", "-o", "name").out.splitlines()) == ["modelbinding.pai.io/a"]
        assert daemon.get("/healthz")[0] == 200
        assert "pai_ready 0.0" in daemon.get("/metrics")[1]
        last = clone.pushed({"models/a.yaml": binding("a", 2)})
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until("everything to be in force", lambda: site.state().revision == last)
        until("readiness", lambda: daemon.readiness() == (200, {"ready": True, "reasons": []}))
    site.pai("verify")
    assert site.outcomes() == [(good, "accepted"), (big, "accepted"), (last, "accepted")]


def test_command_on_a_full_disk_fails_without_a_stack_trace(site: Site) -> None:
    """Without a daemon the command itself says that the log is not writable, and exits 3."""
    site.clone().pushed({f"models/m{n}.yaml": binding(f"m{n}") for n in range(200)})
    limited = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1)); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    done = run([sys.executable, "-c", limited, str(_largest(site)), PAI, "reconcile"], site.environment, site.root)
    assert done.code == 3, done
    assert "error:" in done.err
    assert "Traceback" not in done.err
    site.pai("verify")
    site.pai("reconcile")
    assert len(site.state().models) == 200


def test_stopping_does_not_wait_for_idle_connections(site: Site) -> None:
    """A client that holds a connection open does not keep the daemon from ending."""
    with site.daemon() as daemon:
        held = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(3)]
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert daemon.stop() == 0
        for each in held:
            each.close()


def test_pushes_during_the_stop_are_not_lost(site: Site) -> None:
    """What is pushed while the daemon ends is found by the next one."""
    clone = site.clone()
    shas: list[str] = []
    with site.daemon() as daemon:
        pusher = threading.Thread(
            target=lambda: shas.extend(clone.pushed({"m.yaml": binding("a", n)}) for n in (1, 2, 3))
        )
        pusher.start()
        until("the first push", lambda: shas)
        assert daemon.stop() == 0
        pusher.join(DEADLINE_S)
    with site.daemon():
        until("the last push", lambda: site.state().revision == shas[-1])
    assert site.outcomes() == [(sha, "accepted") for sha in shas]
