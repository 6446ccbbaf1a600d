"""What the gateway's tests share: a workspace, `pai serve`, simulated providers, and the one check of the books.

Every binding has an upstream model id of its own, so that what a provider saw and charged can be told binding by
binding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from reconciler.core import events as ev
from reconciler.core import keys
from reconciler.core.budget import Account
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.recorder import Recorder
from reconciler.simulator import SeenRequest, Simulator
from tests.support import DEADLINE_S, Daemon, Site, agent, copied, until

BIG = 100_000_000
"""A budget that no test spends."""
SECRET = "provider-keys"
PROVIDER_KEYS = {
    "openai": "sk-canary-openai",
    "anthropic": "sk-ant-canary",
    "gemini": "AIza-canary-gemini",
    "openrouter": "sk-or-canary",
}
_MODELS = {
    "openai": "gpt-4o",
    "anthropic": "claude-sonnet-4-6",
    "gemini": "gemini-2.0-flash",
    "openrouter": "vendor/model",
}
PROVIDERS = tuple(_MODELS)
QUICK = {
    "PAI_GATEWAY_READ_TIMEOUT": "2s",
    "PAI_GATEWAY_CONNECT_TIMEOUT": "2s",
}
"""Deadlines that a test can wait for."""

PAIRS = (
    ("chat", "openai"),
    ("chat", "anthropic"),
    ("chat", "gemini"),
    ("chat", "openrouter"),
    ("responses", "openai"),
    ("responses", "openrouter"),
    ("messages", "anthropic"),
    ("messages", "openrouter"),
    ("generate", "gemini"),
    ("array", "gemini"),
)
"""Every API that answers with text, and the providers that it meets; `array` is Gemini's stream without alt=sse."""
EMBEDDING_PAIRS = (
    ("embeddings", "openai"),
    ("embeddings", "gemini"),
    ("embeddings", "openrouter"),
    ("embed", "gemini"),
)


def model_id(name: str, provider: str) -> str:
    """Give the upstream model id of a binding."""
    return f"{_MODELS[provider]}-{name}"


def bound(
    name: str,
    provider: str,
    *,
    day: int | None = BIG,
    request: int | None = None,
    model: str = "",
    secret: str = SECRET,
    allow: bool = False,
) -> str:
    """Give the YAML of a binding whose key is in the shared secret; `allow` lets unbounded input pass."""
    lines = ["apiVersion: pai.io/v1", "kind: ModelBinding", "metadata:", f"  name: {name}"]
    if allow:
        lines += ["  annotations:", "    pai.io/unbounded-input: allow"]
    lines += ["spec:", f"  provider: {provider}", f"  model: {model or model_id(name, provider)}"]
    lines += [f"  maxTokensPerDay: {day}"] if day is not None else []
    lines += [f"  maxTokensPerRequest: {request}"] if request is not None else []
    lines += ["  apiKeySecretRef:", f"    name: {secret}", f"    key: {provider}"]
    return "\n".join(lines) + "\n"


def _bindings() -> dict[str, str]:
    """Give the bindings of the shared workspace: each provider's with a budget, without, spent, small."""
    found = {}
    for provider in PROVIDERS:
        found[provider] = bound(provider, provider)
        found[f"{provider}-free"] = bound(f"{provider}-free", provider, day=None)
        found[f"{provider}-spent"] = bound(f"{provider}-spent", provider, day=1)
        found[f"{provider}-small"] = bound(f"{provider}-small", provider, request=2000)
        found[f"{provider}-keyless"] = bound(f"{provider}-keyless", provider, secret="missing")
    found["thinker"] = bound("thinker", "gemini", model="gemini-2.5-pro-thinker")
    found["allowed"] = bound("allowed", "openai", allow=True)
    found["hidden"] = bound("hidden", "openai")
    return found


BINDINGS = _bindings()
MODEL_IDS = {name: re.findall(r"model: (\S+)", text)[0] for name, text in BINDINGS.items()}


def key_of(name: str) -> str:
    """Give a key that is the same in every run, so that a copied workspace knows it."""
    return keys.make_key(hashlib.sha256(name.encode()).digest())


ROBOT = key_of("robot")
OUTSIDER = key_of("outsider")
EXPIRED = key_of("expired")
ELSEWHERE = key_of("elsewhere")
NEARBY = key_of("nearby")


def _issue(site: Site) -> None:
    """Issue the keys as the one writer, while no daemon runs."""
    drafts = [
        ev.Draft("alice@example.com", f"key/key-{name}", ev.KeyIssued(agent=of, digest=keys.digest(key), **more))
        for name, key, of, more in (
            ("robot", ROBOT, "robot", {"expires": "", "networks": []}),
            ("outsider", OUTSIDER, "outsider", {"expires": "", "networks": []}),
            ("expired", EXPIRED, "robot", {"expires": "2026-01-01T00:00:00Z", "networks": []}),
            ("elsewhere", ELSEWHERE, "robot", {"expires": "", "networks": ["10.0.0.0/8", "2001:db8::/32"]}),
            ("nearby", NEARBY, "robot", {"expires": "", "networks": ["10.0.0.0/8", "127.0.0.0/8"]}),
        )
    ]
    with Recorder(SqliteBackend(site.database, wait_s=DEADLINE_S)) as recorder:
        recorder.record(lambda _: drafts)


def prepare(site: Site) -> None:
    """Put bindings, agents, secret and keys of the shared workspace in force."""
    files = {f"models/{name}.yaml": text for name, text in BINDINGS.items()}
    files["agents/robot.yaml"] = agent("robot", *(name for name in BINDINGS if name != "hidden"))
    files["agents/outsider.yaml"] = agent("outsider", "hidden")
    site.clone("prepared").pushed(files, "Bindings of the gateway's tests")
    words = [word for name, value in PROVIDER_KEYS.items() for word in ("--from-literal", f"{name}={value}")]
    site.pai("add", "secret", SECRET, *words)
    site.pai("reconcile")
    _issue(site)


def asked(
    operation: str, name: str, say: str = "hello", *, stream: bool = False, limit: int | None = 100, **more: Any
) -> tuple[str, dict[str, Any]]:
    """Give the path and the body of a request in the words of an API; `say` is the prompt, `limit` the output limit."""
    if operation in ("generate", "array"):
        method = "generateContent" if not stream else "streamGenerateContent"
        query = "?alt=sse" if stream and operation == "generate" else ""
        config = {"generationConfig": {"maxOutputTokens": limit}} if limit is not None else {}
        body = {"contents": [{"role": "user", "parts": [{"text": say}]}], **config}
        return f"/v1beta/models/{name}:{method}{query}", body | more
    if operation == "embed":
        return f"/v1beta/models/{name}:embedContent", {"content": {"parts": [{"text": say}]}} | more
    body = {"model": name}
    if operation == "embeddings":
        return "/v1/embeddings", body | {"input": say} | more
    body |= {"stream": True} if stream else {}
    if operation == "responses":
        body |= {"input": say} | ({"max_output_tokens": limit} if limit is not None else {})
        return "/v1/responses", body | more
    body |= {"messages": [{"role": "user", "content": say}]}
    body |= {"max_tokens": limit} if limit is not None else {}
    return ("/v1/messages" if operation == "messages" else "/v1/chat/completions"), body | more


SURFACE = {
    "chat": "openai",
    "responses": "openai",
    "embeddings": "openai",
    "messages": "anthropic",
    "generate": "gemini",
    "array": "gemini",
    "embed": "gemini",
}
_CREDENTIAL = {"openai": "authorization", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}


def headers_of(operation: str, key: str = ROBOT) -> dict[str, str]:
    """Give the headers by which the API's own SDK authenticates."""
    surface = SURFACE[operation]
    found = {_CREDENTIAL[surface]: f"Bearer {key}" if surface == "openai" else key}
    return found | ({"anthropic-version": "2023-06-01"} if surface == "anthropic" else {})


class Bench:
    """A running gateway between a client and simulated providers."""

    def __init__(self, site: Site, simulator: Simulator, env: Mapping[str, str]) -> None:
        self.site = site
        self.simulator = simulator
        self.daemon = Daemon(site, env={**simulator.environment, **QUICK, **env})
        self._client: httpx.Client | None = None

    @property
    def origin(self) -> str:
        """The gateway's origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The gateway's port."""
        found = re.search(r"gateway for agents on http://\S+:(\d+)", self.daemon.log)
        assert found, self.daemon.log
        return int(found[1])

    @contextlib.contextmanager
    def running(self) -> Iterator[Bench]:
        """Have the daemon run; it has to end by SIGTERM with 0 and balanced books."""
        with self.daemon:
            self._connect()
            try:
                yield self
            finally:
                self._disconnect()
            if self.daemon.process.poll() is None:
                assert_books_balance(self)
        assert_books_balance(self)

    def restart(self) -> None:
        """Start the daemon again after it ended, or was killed."""
        self._disconnect()
        self.daemon.start()
        self._connect()

    def _connect(self) -> None:
        self._client = httpx.Client(base_url=self.origin, timeout=DEADLINE_S, limits=httpx.Limits(max_connections=None))

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def client(self) -> httpx.Client:
        """A client of the gateway with a pool of connections."""
        assert self._client is not None
        return self._client

    def ask(
        self,
        operation: str,
        name: str,
        say: str = "hello",
        *,
        key: str = ROBOT,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request in the words of an API and give the whole answer."""
        path, body = asked(operation, name, say, **options)
        return self.client.post(path, json=body, headers={**headers_of(operation, key), **(headers or {})})

    def raw(
        self, operation: str, name: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send these bytes to the path of an API."""
        path, _ = asked(operation, name)
        sent = {**headers_of(operation), "content-type": "application/json", **(headers or {})}
        return self.client.post(path, content=body, headers=sent)

    def tokens(self, name: str = "") -> list[dict[str, Any]]:
        """Give the events of the ledger, of one binding or of all, oldest first."""
        return self.site.rows("type:tokens", *([f"model:{name}"] if name else []))

    def outcomes(self, name: str) -> list[str]:
        """Give what became of a binding's reservations, oldest first: `settled`, `voided`, `forfeited`."""
        found = [str(row["type"]).split(".")[1] for row in self.tokens(name)]
        return [verb for verb in found if verb != "reserved"]

    def last(self, name: str) -> dict[str, Any]:
        """Give the data of a binding's last outcome, once nothing is under way."""
        self.quiet()
        return next(row["data"] for row in reversed(self.tokens(name)) if row["type"] != "tokens.reserved.v1")

    def quiet(self) -> None:
        """Wait until no request is being answered and no reservation is open."""
        if self.daemon.process.poll() is None:
            until("every request to end", lambda: self.metric("pai_requests_open") == 0)
        until("every reservation to be resolved", lambda: not any(self.reserved().values()))

    def reserved(self) -> dict[str, int]:
        """Give the tokens of open reservations by binding."""
        return {name: account.reserved for name, account in self.site.state().ledger.accounts.items()}

    def seen(self, name: str) -> list[SeenRequest]:
        """Give the requests for a binding that reached its provider, oldest first."""
        return [visit for visit in self.simulator.requests() if _model_of(visit) == MODEL_IDS.get(name, name)]

    def metric(self, line: str) -> float:
        """Read a metric by the beginning of its line, 0 if it is not there."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.daemon.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextlib.contextmanager
def opened(template: Site, folder: Path, **env: str) -> Iterator[Bench]:
    """Have a gateway run on a copy of a workspace, with simulated providers of its own."""
    accepted = {name: {key} for name, key in PROVIDER_KEYS.items()}
    with Simulator(keys=accepted) as simulator, Bench(copied(template, folder), simulator, env).running() as bench:
        yield bench


def _model_of(visit: SeenRequest) -> str:
    """Give the model that a request upstream names, in its path or its body."""
    found = re.search(r"/models/([^/:]+):", visit.path)
    if found:
        return found[1]
    with contextlib.suppress(ValueError):
        return str(json.loads(visit.body).get("model"))
    named = re.search(r'"model": ?"([^"]+)"', visit.body)  # the simulator keeps the beginning of a long body
    return named[1] if named else ""


class _Books:
    """The ledger added up again from the log, event by event, as an auditor would."""

    def __init__(self) -> None:
        self.limits: dict[str, int | None] = {}
        self.models: dict[str, str] = {}  # upstream model to the binding that has or had it
        self.accounts: dict[tuple[str, str], list[int]] = {}
        self.open: dict[str, tuple[str, str, int]] = {}
        self.reserved: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()

    def fold(self, row: Mapping[str, Any]) -> None:
        """Take an event; a reservation that passes its limit, or an outcome without one, fails."""
        kind, data, name = str(row["type"]).removesuffix(".v1"), row["data"], str(row["subject"]).partition("/")[2]
        if kind in ("binding.created", "binding.changed"):
            self.limits[name] = data["spec"].get("maxTokensPerDay")
            self.models[data["spec"]["model"]] = name
        elif kind == "tokens.reserved":
            self._reserve(name, data)
        elif kind.startswith("tokens."):
            model, day, tokens = self.open.pop(data["request"])
            assert (model, day) == (name, data["day"]), data
            spent = {"tokens.settled": data.get("charged", 0), "tokens.voided": 0, "tokens.forfeited": tokens}[kind]
            account = self.accounts[name, day]
            account[0] += spent
            account[1] -= tokens
            self.counted[name] += spent

    def _reserve(self, name: str, data: Mapping[str, Any]) -> None:
        assert data["request"] not in self.open, data
        account = self.accounts.setdefault((name, data["day"]), [0, 0])
        account[1] += data["tokens"]
        limit = self.limits[name]
        assert limit is None or sum(account) <= limit, (name, limit, account, data)
        self.open[data["request"]] = (name, data["day"], data["tokens"])
        self.reserved[name] += 1


def _closed_books(bench: Bench) -> _Books | None:
    """Add the log up; None while something is open, such as a count, which is free and which nobody waits for."""
    books = _Books()
    for row in bench.site.rows():
        books.fold(row)
    return books if books.open == {} else None


def assert_books_balance(bench: Bench) -> None:
    """Wait for the last outcome, then check that the log, the ledger and what the providers really charged agree.

    Each reservation was resolved once; none was granted over its limit; no provider charged a binding more than was
    counted for it; no provider saw a request that was not reserved.
    """
    bench.quiet()
    books = until("every reservation to be resolved", lambda: _closed_books(bench))
    ledger = bench.site.state().ledger
    for name, account in ledger.accounts.items():
        assert account == Account(account.day, *books.accounts[name, account.day]), name
    charged: Counter[str] = Counter()
    for owner, amount in bench.simulator.charged.items():
        charged[books.models[owner.model]] += amount.total
    assert {name: (total, books.counted[name]) for name, total in charged.items() if total > books.counted[name]} == {}
    visits = Counter(books.models.get(_model_of(visit), "") for visit in bench.simulator.requests())
    assert {name: count for name, count in visits.items() if count > books.reserved[name]} == {}


class Refused(NamedTuple):
    """An error as a surface words it."""

    status: int
    kind: str
    message: str


def refused(operation: str, answer: httpx.Response) -> Refused:
    """Read an error in the shape of the API's SDK, and check that shape."""
    body = answer.json()
    surface = SURFACE[operation]
    if surface == "anthropic":
        assert set(body) == {"type", "error", "request_id"}, body
        assert body["type"] == "error"
        assert body["request_id"] == answer.headers["x-pai-request-id"]
        found = Refused(answer.status_code, body["error"]["type"], body["error"]["message"])
    elif surface == "gemini":
        assert body["error"]["code"] == answer.status_code, body
        found = Refused(answer.status_code, body["error"]["status"], body["error"]["message"])
    else:
        assert set(body["error"]) == {"message", "type", "param", "code"}, body
        found = Refused(answer.status_code, body["error"]["code"], body["error"]["message"])
    assert found.message
    assert answer.headers["x-pai-request-id"].startswith("req_")
    assert "x-pai-binding" in answer.headers
    return found
