"""A tour without keys or network: real pushes, requests to a simulated provider, a spent budget, the audit trail.

Everything happens in a temporary folder, which is removed at the end unless --keep is given.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from reconciler import quick
from reconciler.core.errors import CouldNotRun
from reconciler.core.objects import DAY_LIMIT

START_S = 20.0
PROVIDER_KEY = "not-a-real-key"
SMALL_BUDGET = 500
REQUESTS_MAX = 50
STEPS_TIMEOUT_S = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai demo`."""
    parser.add_argument("--keep", action="store_true", help="keep the workspace and say where it is")


def run(args: argparse.Namespace) -> int:
    """Take the tour; 0 if every step went as it should."""
    if shutil.which("git") is None:
        raise CouldNotRun("the tour needs git", "install git, and run pai demo again")
    folder = Path(tempfile.mkdtemp(prefix="pai-demo-"))
    try:
        from reconciler.simulator import Simulator

        with Simulator(keys={"gemini": {PROVIDER_KEY}}) as simulator:
            _Tour(folder, simulator.environment).take()
    finally:
        if args.keep:
            print(f"\nkept: the workspace is {folder / 'workspace'}, the clone {folder / 'clone'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def example_manifests() -> Path:
    """Find the example manifests: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "_files" / "manifests", package.parent / "manifests"):
        if place.is_dir():
            return place
    raise CouldNotRun("the example manifests are missing from this installation", "install Pai again")


class _Tour:
    """The steps, each a real command that is printed before its output."""

    def __init__(self, folder: Path, providers: Mapping[str, str]) -> None:
        self._workspace = folder / "workspace"
        self._gateway_port = _free_port()
        self._clone = folder / "clone"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "GIT_"))},
            quick.VARIABLE: os.environ.get(quick.VARIABLE, ""),
            "PAI_WORKSPACE": str(self._workspace),
            "PAI_ADMIN_LISTEN": f"127.0.0.1:{_free_port()}",
            "PAI_GATEWAY_LISTEN": f"127.0.0.1:{self._gateway_port}",
            **providers,
            "GIT_CONFIG_NOSYSTEM": "1",  # the user's settings may sign, refuse or redirect
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Alice",
            "GIT_AUTHOR_EMAIL": "alice@example.com",
            "GIT_COMMITTER_NAME": "Alice",
            "GIT_COMMITTER_EMAIL": "alice@example.com",
        }

    def take(self) -> None:
        """Go through all steps. Raises CouldNotRun if one does not end as it should."""
        self._title("A workspace: settings, a bare repository with its hook, an empty log")
        self._pai("init", str(self._workspace))
        daemon = subprocess.Popen(
            self._command("serve"), env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._await_daemon()
            self._steps()
        finally:
            daemon.terminate()
            daemon.wait(START_S)
        self._title("The log proves itself: every byte is hashed again, the state replayed and compared")
        self._pai("verify")

    def _steps(self) -> None:
        self._title("A push of the example manifests comes into force")
        self._git("clone", "--quiet", str(self._workspace / "config.git"), str(self._clone))
        shutil.copytree(example_manifests(), self._clone, dirs_exist_ok=True)
        self._commit("Bindings for the team")
        self._git("push", "--quiet", "origin", "HEAD:main", inside=True)
        self._pai("reconcile")
        self._pai("get", "models")

        self._title("A secret goes to the encrypted store; its value is never shown again")
        self._pai("add", "secret", "gemini-key", "--from-literal", "api-key=-", stdin=f"{PROVIDER_KEY}\n")

        self._title(
            "An agent gets a key of Pai, and calls a model by its binding's name; the provider's key stays here"
        )
        key = self._pai("add", "key", "my-agent", captured=True)
        print(f"{key[:8]}... (shown once)")
        self._ask(key)
        self._pai("status", "my-agent")

        self._title("A wrong push never gets in: the place and the way out are on the pusher's terminal")
        binding = self._clone / "models" / "gemini-flash.yaml"
        good = binding.read_text()
        binding.write_text(good.replace(DAY_LIMIT, "maxTokenPerDay"))
        self._commit("Typo")
        self._git("push", "origin", "HEAD:main", inside=True, fails=True)

        self._title("A budget is changed by a commit, and holds at once")
        self._git("reset", "--quiet", "--hard", "HEAD~1", inside=True)
        binding.write_text(good.replace(f"{DAY_LIMIT}: 1000000", f"{DAY_LIMIT}: {SMALL_BUDGET}"))
        self._commit(f"Cut gemini-flash to {SMALL_BUDGET} tokens a day")
        self._git("push", "--quiet", "origin", "HEAD:main", inside=True)
        self._pai("reconcile")
        refused = self._spend(key)

        self._title("Where the tokens went, who set the limit that refused, in which commit, at which line")
        self._pai("usage")
        self._pai("why", refused)
        self._pai("log", "model:gemini-flash", "type:binding")

    def _spend(self, key: str) -> str:
        """Ask until the budget refuses; give the id of the refused request."""
        for _ in range(REQUESTS_MAX):
            status, request = self._ask(key)
            if status == http.client.TOO_MANY_REQUESTS:
                return request
        raise CouldNotRun("the budget was not spent", "run pai demo --keep to look at it")

    def _ask(self, key: str) -> tuple[int, str]:
        """Call the model as an agent would, and print what came back; give the status and the request's id."""
        question = {"model": "gemini-flash", "messages": [{"role": "user", "content": "Say something short."}]}
        print(f"> POST /v1/chat/completions {json.dumps(question)}", flush=True)
        connection = http.client.HTTPConnection("127.0.0.1", self._gateway_port, timeout=STEPS_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(question), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        if "error" in body:
            print(f"< {answer.status} {body['error']['message']}", flush=True)
        else:
            text, left = body["choices"][0]["message"]["content"], answer.headers["x-pai-tokens-remaining"]
            print(f"< {answer.status} {text!r:.60} ({body['usage']['total_tokens']} tokens, {int(left):,} left today)")
        return answer.status, answer.headers["x-pai-request-id"]

    def _commit(self, message: str) -> None:
        self._git("add", "--all", inside=True, shown=False)
        self._git("commit", "--quiet", "-m", message, inside=True)

    def _await_daemon(self) -> None:
        print("$ pai serve &")
        deadline = time.monotonic() + START_S
        while not (self._workspace / "data" / "pai.sock").exists():
            if time.monotonic() > deadline:
                raise CouldNotRun("the daemon of the tour did not start", "run pai demo --keep, then pai serve there")
            time.sleep(0.02)

    def _title(self, text: str) -> None:
        print(f"\n# {text}", flush=True)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "reconciler.cli.main", *words]  # -P: nothing of the current folder

    def _pai(self, *words: str, stdin: str | None = None, captured: bool = False) -> str:
        """Run a command, showing it and what it prints; `captured` gives its output instead of showing it."""
        source = f"echo ... | pai {shlex.join(words)}" if stdin else f"pai {shlex.join(words)}"
        print(f"$ {source}", flush=True)
        done = subprocess.run(
            self._command(*words),
            env=self._environment,
            input=stdin,
            stdout=subprocess.PIPE if captured else None,
            text=True,
            check=False,
            timeout=STEPS_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise CouldNotRun(f"pai {words[0]} ended with {done.returncode}", "run pai demo --keep to look at it")
        return (done.stdout or "").strip()

    def _git(self, *words: str, inside: bool = False, fails: bool = False, shown: bool = True) -> None:
        if shown:
            print(f"$ git {shlex.join(words)}", flush=True)
        done = subprocess.run(
            ["git", *words],
            cwd=self._clone if inside else None,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=STEPS_TIMEOUT_S,
        )
        if (done.returncode != 0) != fails:
            raise CouldNotRun(f"git {words[0]} ended with {done.returncode}", "run pai demo --keep to look at it")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
