"""The providers' keys that bindings name: which can serve, who is told why one cannot, and who waits for one."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reconciler.core import events as ev
from reconciler.gateway.app import Ready
from reconciler.gateway.day import Days
from reconciler.gateway.service import Options, Service
from reconciler.listening import DoorLimits
from reconciler.operations.parts import Parts
from reconciler.secrets.secret_value import SecretValue
from reconciler.simulator import Simulator
from reconciler.workspace import Workspace
from tests.support import DEADLINE_S, Site, agent, copied, until
from tests.support_gateway import PROVIDER_KEYS, PROVIDERS, asked, bound, headers_of, opened, refused

UNFIT = {
    "bom": b"\xef\xbb\xbfsk-secret-of-mine",
    "utf16": b"\xff\xfes\x00k\x00",
    "blank": b"sk-secret of-mine",
    "trailing": b"sk-secret-of-mine ",
    "line": b"sk-secret\nof-mine",
    "control": b"sk-secret\x7f",
    "tab": b"\tsk-secret",
    "accent": "sk-sécret".encode(),
    "latin": b"sk-s\xe9cret",
    "invisible": "sk-\u200bsecret".encode(),
    "zero": b"sk-\0secret",
    "long": b"sk-secret".ljust(8193, b"x"),
}
"""Values that no header can carry."""


@pytest.fixture(scope="module")
def unfit_template(gateway_template: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give a workspace with bindings whose keys nobody can use: stored by an earlier version, and mounted."""
    site = copied(gateway_template, tmp_path_factory.mktemp("unfit"))
    files = {}
    for name in UNFIT:
        files |= {f"models/stored-{name}.yaml": bound(f"stored-{name}", "openai", secret=f"stored-{name}")}
        files |= {f"models/mounted-{name}.yaml": bound(f"mounted-{name}", "openai", secret=f"mounted-{name}")}
    names = [path.removeprefix("models/").removesuffix(".yaml") for path in files]
    site.clone("unfit").pushed(files | {"agents/robot.yaml": agent("robot", "openai", *names)})
    site.pai("reconcile")
    with Parts(Workspace.open(site.root), wait_s=DEADLINE_S) as parts:
        for name, value in UNFIT.items():
            digests = parts.secrets.put(f"stored-{name}", {"openai": value})
            draft = ev.Draft("alice@example.com", f"secret/stored-{name}", ev.SecretStored(keys=digests))
            parts.recorder.record(lambda _, draft=draft: [draft])
    return site


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """Give a mounted folder of such values."""
    folder = tmp_path / "mounted"
    for name, value in UNFIT.items():
        (folder / f"mounted-{name}").mkdir(parents=True)
        (folder / f"mounted-{name}" / "openai").write_bytes(value)
    return folder


def test_key_that_cannot_serve_is_told_alike_by_everybody(unfit_template: Site, mounted: Path, tmp_path: Path) -> None:
    """The 503, the condition, describe and the status line give one reason, with a daemon and without one."""
    variable = {"PAI_SECRETS_DIRECTORY": str(mounted)}
    with opened(unfit_template, tmp_path / "site", **variable) as bench:
        site = bench.site
        running = told(site, variable)
        for name, reason in running.items():
            found = refused("chat", bench.ask("chat", name))
            assert (found.status, found.message) == (503, f"binding {name} is not ready: {reason}")
        described = site.pai("describe", "model", "stored-bom", env=variable).out
        assert f"False (SecretNotReady: {running['stored-bom']})" in described
        whole = bench.daemon.log
    assert told(site, variable) == running
    assert set(running) == {f"{where}-{name}" for where in ("stored", "mounted") for name in UNFIT}
    for reason in running.values():
        assert reason.startswith("secret ")
        whole += reason
    assert "sk-s" not in whole


def told(site: Site, variable: dict[str, str]) -> dict[str, str]:
    """Give why bindings are not ready, as `get` and `status` say alike."""
    lines = site.pai("status", env=variable).out.splitlines()
    found = {}
    for item in site.pai("get", "models", "-o", "json", env=variable).json["items"]:
        name, condition = item["metadata"]["name"], item["status"]["conditions"][0]
        if name.startswith(("stored-", "mounted-")):
            assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "False", "SecretNotReady")
            (line,) = [line for line in lines if line.startswith(f"- {name} ")]
            assert line.endswith(f" — not ready: {condition['message']}")
            found[name] = condition["message"]
    return found


@pytest.mark.parametrize("name", UNFIT)
def test_value_that_can_serve_nobody_is_not_stored(either: Site, tmp_path: Path, name: str) -> None:
    """Whichever way it comes, it is refused with the reason, a way out and nothing of the value; what was stays."""
    value = UNFIT[name]
    either.pai("add", "secret", "k", "--from-literal", "token=sk-before")
    (tmp_path / "value").write_bytes(value)
    ways: list[tuple[list[str], dict[str, object]]] = [
        (["--from-file", f"token={tmp_path / 'value'}"], {}),
        (["--from-literal", "token=-"], {"stdin": value}),
    ]
    if b"\0" not in value:
        text = os.fsdecode(value)
        ways += [(["--from-literal", f"token={text}"], {}), (["--from-env", "token=MINE"], {"env": {"MINE": text}})]
    before = either.types()
    for words, options in ways:
        done = either.pai("add", "secret", "k", *words, code=2, **options)  # type: ignore[arg-type]
        assert done.err.startswith("error: the value of k key token ")
        assert "hint: " in done.err
        assert "secret of" not in done.err
        assert "sk-" not in done.err
    assert either.types() == before


def test_value_for_git_or_a_forge_may_hold_anything(either: Site) -> None:
    """An ssh key has many lines; a secret that the settings name is no binding's. What a binding names has to fit."""
    pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"
    either.pai("add", "secret", "git", "--from-literal", f"ssh-key={pem}", "--from-literal", "known-hosts=a b c")
    either.pai("add", "secret", "words", "--from-literal", "hook=some words")
    either.pai("add", "secret", "forge", "--from-literal", "hook=zwei wörter", code=2)
    if not (either.root / "data" / "pai.sock").exists():  # a daemon goes by its own settings
        named = {"PAI_WEBHOOKS_GITHUB": "forge:hook"}
        either.pai("add", "secret", "forge", "--from-literal", "hook=zwei wörter", env=named)
    either.clone("named").pushed({"models/odd.yaml": bound("odd", "openai").replace("key: openai", "key: ssh-key")})
    either.pai("reconcile")
    either.pai("add", "secret", "provider-keys", "--from-literal", f"ssh-key={pem}", code=2)


OPERATORS = {"PAI_WEBHOOKS_GITHUB": "hooks:openai", "PAI_SOURCE_SECRET": "git", "PAI_FORGE_SECRET": "forge"}
"""Secrets that the settings name for something else, of which some keys are named as those of bindings."""


def test_secret_of_the_operators_own_goes_to_no_provider(gateway_template: Site, tmp_path: Path) -> None:
    """Whoever writes manifests may name it in a binding, and its agent's requests would bring it to a provider."""
    site = copied(gateway_template, tmp_path / "template")
    made = {name: bound(name, "openai", secret=name) for name in ("hooks", "git", "forge")}
    made["git"] = made["git"].replace("key: openai", "key: token")
    made["forge"] = made["forge"].replace("    key: openai\n", "")
    files = {f"models/{name}.yaml": text for name, text in made.items()}
    site.clone("more").pushed({**files, "agents/robot.yaml": agent("robot", "openai", *made)})
    words = [("hooks", "openai"), ("git", "token"), ("forge", "token"), ("git", "openai")]
    for name, key in words:
        site.pai("add", "secret", name, "--from-literal", f"{key}=canary-of-the-operator")
    site.pai("reconcile")
    with opened(site, tmp_path / "site", **OPERATORS) as bench:
        for name, setting in (("hooks", "webhooks.github"), ("git", "source.secret"), ("forge", "forge.secret")):
            found = refused("chat", bench.ask("chat", name))
            assert not any("canary-of-the-operator" in str(visit.headers) for visit in bench.simulator.requests())
            reason = f"is for {setting}, and goes to no provider"
            assert (found.status, reason in found.message) == (503, True), found
            item = bench.site.pai("get", "model", name, "-o", "json", env=OPERATORS).json
            assert reason in item["status"]["conditions"][0]["message"]
        assert bench.ask("chat", "openai").status_code == 200


def test_pipe_in_place_of_a_mounted_key_holds_up_nobody(gateway_template: Site, tmp_path: Path) -> None:
    """A binding whose key is a pipe that nobody writes is a 503; others go on being served."""
    folder = tmp_path / "mounted" / "piped"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "openai")
    site = copied(gateway_template, tmp_path / "template")
    files = {"models/piped.yaml": bound("piped", "openai", secret="piped")}
    site.clone("piped").pushed(files | {"agents/robot.yaml": agent("robot", "piped", "openai")})
    site.pai("reconcile")
    with opened(site, tmp_path / "site", PAI_SECRETS_DIRECTORY=str(tmp_path / "mounted")) as bench:
        assert refused("chat", bench.ask("chat", "piped")).status == 503
        assert bench.ask("chat", "openai").status_code == 200


class Slow:
    """The workspace's secrets, of which one lies in a folder that does not answer."""

    def __init__(self, parts: Parts) -> None:
        self._backends = parts.backends
        self.asked = threading.Event()
        self.answers = threading.Event()

    def at_hand(self, name: str, key: str) -> SecretValue | None:
        """Give what is in memory."""
        return self._backends.at_hand(name, key)

    def resolve(self, name: str, key: str) -> SecretValue:
        """Give a value, or do not return."""
        if name == "missing":
            self.asked.set()
            self.answers.wait(DEADLINE_S)
            return SecretValue(PROVIDER_KEYS["openai"].encode())
        return self._backends.resolve(name, key)


@pytest.fixture
def slow(gateway_template: Site, tmp_path: Path) -> Iterator[tuple[httpx.Client, Slow]]:
    """Give a client of a gateway in this process with such secrets."""
    site = copied(gateway_template, tmp_path)
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with Simulator(keys=accepted) as simulator, Parts(Workspace.open(site.root), wait_s=DEADLINE_S) as parts:
        secrets, listening = Slow(parts), socket.create_server(("127.0.0.1", 0))
        origins = {name: simulator.origin(name) for name in PROVIDERS}  # type: ignore[arg-type]
        options = Options(origins, 16384, (), 5.0, 30.0, 60.0, DoorLimits(10.0, 10.0))
        ready = lambda: Ready(True, [])  # noqa: E731
        service = Service(parts.recorder, secrets, options, Days(), CollectorRegistry(), ready)
        thread = threading.Thread(target=loop.run_until_complete, args=(service.run(listening, stopping),))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=DEADLINE_S) as client:
                yield client, secrets
        finally:
            secrets.answers.set()
            loop.call_soon_threadsafe(stopping.set)
            thread.join()
            loop.close()


def test_key_that_does_not_come_keeps_no_other_binding_waiting(slow: tuple[httpx.Client, Slow]) -> None:
    """While the key of one binding is awaited, another's requests are served; the first is when its key comes."""
    client, secrets = slow

    def ask(name: str) -> httpx.Response:
        path, body = asked("chat", name)
        return client.post(path, json=body, headers=headers_of("chat"))

    with ThreadPoolExecutor() as threads:
        late = [threads.submit(ask, "openai-keyless") for _ in range(5)]
        assert secrets.asked.wait(DEADLINE_S)
        assert ask("openai").status_code == 200
        assert client.get("/healthz").status_code == 200
        refusal = ask("openai-spent")
        assert refusal.status_code == 429
        assert "openai-keyless" not in refusal.text.partition("bindings with room")[2]
        assert not any(one.done() for one in late)
        secrets.answers.set()
        assert {one.result().status_code for one in late} == {200}
    until("it to be quiet", lambda: client.get("/healthz").status_code == 200)
