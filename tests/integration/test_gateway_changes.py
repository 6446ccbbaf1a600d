"""Changes while requests run: keys, secrets, bindings and budgets; what runs ends well, what follows obeys."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from reconciler.simulator import Fault
from tests.support import Git, agent, until
from tests.support_gateway import (
    PROVIDER_KEYS,
    Bench,
    asked,
    assert_books_balance,
    bound,
    headers_of,
    model_id,
    refused,
)


class Team:
    """A binding of its own with its agent and key, so that a test may change them."""

    def __init__(self, bench: Bench, name: str, **options: object) -> None:
        self.bench = bench
        self.name = name
        self.git = Git(bench.site.folder / "team", bench.site.environment)
        if not self.git.folder.exists():
            bench.site.clone("team")
        self.put(**options)
        self.key = bench.site.pai("add", "key", name).out.strip()

    def put(self, **options: object) -> None:
        """Write the binding and its agent anew and put them in force."""
        files = {f"models/{self.name}.yaml": bound(self.name, "openai", **options)}  # type: ignore[arg-type]
        self.git.pushed(files | {f"agents/{self.name}.yaml": agent(self.name, self.name, "openai-free")})
        self.bench.site.pai("reconcile")

    def delete(self) -> None:
        """Take the binding away."""
        self.git.pushed({f"models/{self.name}.yaml": None, f"agents/{self.name}.yaml": agent(self.name, "openai-free")})
        self.bench.site.pai("reconcile")

    def dismiss(self) -> None:
        """Take the agent away, but not the binding."""
        self.git.pushed({f"agents/{self.name}.yaml": None})
        self.bench.site.pai("reconcile")

    def ask(self, operation: str = "chat", **options: object) -> httpx.Response:
        """Send a request."""
        return self.bench.ask(operation, self.name, key=self.key, **options)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def stream(self) -> Iterator[Callable[[], str]]:
        """Have a stream run for about two seconds; the caller gets its beginning, and its rest by a call."""
        model = model_id(self.name, "openai")
        self.bench.simulator.fault(Fault(delay_s=0.1, model=model))
        path, body = asked("chat", self.name, stream=True)
        with self.bench.client.stream("POST", path, json=body, headers=headers_of("chat", self.key)) as answer:
            assert answer.status_code == 200
            pieces = answer.iter_text()
            begin = next(pieces)
            yield lambda: begin + "".join(pieces)
        self.bench.quiet()

    def outcomes(self) -> list[str]:
        """Give what became of the binding's reservations."""
        return self.bench.outcomes(self.name)


def credentials(bench: Bench, name: str) -> list[str]:
    """Give the credentials that a binding's requests went upstream with."""
    seen = bench.seen(model_id(name, "openai"))
    return [dict(visit.headers)["authorization"].removeprefix("Bearer ") for visit in seen]


def test_revoked_key_is_refused_at_the_next_request(bench: Bench) -> None:
    """Once `pai delete key` returns, the key is a 401; a stream that it began ends whole."""
    team = Team(bench, "revoked")
    (name,) = [key.name for key in bench.site.state().keys.values() if key.agent == "revoked"]
    with team.stream() as rest:
        bench.site.pai("delete", "key", name)
        assert refused("chat", team.ask()).status == 401
        assert rest().endswith("data: [DONE]\n\n")
    assert team.outcomes() == ["settled"]
    assert_books_balance(bench)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/openai-free", "/v1/models/nothing", "/v1beta/models"])
def test_key_of_a_deleted_agent_is_refused_until_it_comes_back(bench: Bench, path: str) -> None:
    """Without its agent a key is a 401 for whatever it asks, models included; with it the same key works again."""
    team = Team(bench, "dismissed")
    credential = {"authorization": f"Bearer {team.key}"}
    with team.stream() as rest:
        team.dismiss()
        assert bench.client.get(path, headers=credential).status_code == 401
        for operation in ("chat", "responses", "messages", "generate"):
            assert refused(operation, team.ask(operation)).status == 401
        assert rest().endswith("data: [DONE]\n\n")
    team.put()
    assert bench.client.get("/v1/models", headers=credential).status_code == 200
    assert team.ask().status_code == 200
    assert team.outcomes()[-2:] == ["settled", "settled"]


def test_key_expires_at_its_time(bench: Bench) -> None:
    """A key works until its time and is a 401 from then on, without anybody doing anything."""
    team = Team(bench, "expiring")
    end = datetime.now(UTC) + timedelta(seconds=3)
    team.key = bench.site.pai("add", "key", "expiring", "--expires", end.isoformat(timespec="seconds")).out.strip()
    assert team.ask().status_code == 200
    answer = until("the key's end", lambda: (found := team.ask()).status_code != 200 and found)
    assert refused("chat", answer).status == 401
    assert "expired" in answer.text
    assert datetime.now(UTC) >= end - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("networks", "status"),
    [(["127.0.0.1/32"], 200), (["10.0.0.0/8", "127.0.0.0/8"], 200), (["10.0.0.0/8"], 401), (["::1/128"], 401)],
)
def test_key_works_from_its_networks_only(bench: Bench, networks: list[str], status: int) -> None:
    """A key with `--cidr` is taken from inside of its networks, and nowhere else; a header cannot pretend."""
    team = Team(bench, f"nets-{'-'.join(networks).translate(str.maketrans('./:', '---'))}".rstrip("-"))
    words = [word for network in networks for word in ("--cidr", network)]
    team.key = bench.site.pai("add", "key", team.name, *words).out.strip()
    assert team.ask().status_code == status
    pretended = {"x-forwarded-for": "10.0.0.1", "forwarded": "for=10.0.0.1", "x-real-ip": "10.0.0.1"}
    assert team.ask(headers=pretended).status_code == status


def test_deleted_binding_ends_its_streams_well_and_is_gone(bench: Bench) -> None:
    """A binding deleted in mid-stream: the stream ends whole and is settled, the next request is a 404."""
    team = Team(bench, "deleted")
    with team.stream() as rest:
        team.delete()
        assert refused("chat", team.ask()).status == 404
        assert rest().endswith("data: [DONE]\n\n")
    assert team.outcomes() == ["settled"]
    assert_books_balance(bench)


def test_recreated_binding_goes_on_with_its_day(bench: Bench) -> None:
    """What a binding used today counts on when it is deleted and made again."""
    team = Team(bench, "recreated", day=10_000)
    assert team.ask().status_code == 200
    used = bench.site.state().ledger.accounts["recreated"].used
    assert used > 0
    team.delete()
    team.put(day=10_000)
    answer = team.ask()
    assert int(answer.headers["x-pai-tokens-remaining"]) == 10_000 - 2 * used
    assert_books_balance(bench)


def test_lowered_budget_is_in_force_at_the_next_request(bench: Bench) -> None:
    """A budget lowered in mid-stream takes nothing back and grants nothing more; raised again, there is room again."""
    team = Team(bench, "lowered", day=10_000)
    with team.stream() as rest:
        team.put(day=50)
        answer = team.ask()
        assert refused("chat", answer).status == 429
        assert answer.headers["x-should-retry"] == "false"
        assert rest().endswith("data: [DONE]\n\n")
    assert team.outcomes() == ["settled"]
    team.put(day=20_000)
    assert team.ask().status_code == 200
    assert_books_balance(bench)


def test_binding_that_gets_another_model_is_asked_with_it(bench: Bench) -> None:
    """A model changed in git is what the next request goes to; the ledger stays the binding's."""
    team = Team(bench, "moved")
    assert team.ask().status_code == 200
    team.put(model="gpt-4o-moved-2")
    assert team.ask().status_code == 200
    assert len(bench.seen("gpt-4o-moved-2")) == 1
    assert team.outcomes() == ["settled", "settled"]


def test_rotated_secret_is_in_force_at_the_next_request(bench: Bench) -> None:
    """A stream goes on with the key that it began with; once `pai add secret` returns, requests carry the new one."""
    bench.site.pai("add", "secret", "rotated", "--from-literal", f"openai={PROVIDER_KEYS['openai']}")
    team = Team(bench, "rotated", secret="rotated")
    with team.stream() as rest:
        bench.site.pai("add", "secret", "rotated", "--from-literal", "openai=sk-canary-second")
        answer = team.ask()
        assert answer.status_code == 401, "the provider does not take the new one"
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert rest().endswith("data: [DONE]\n\n")
    assert credentials(bench, "rotated") == [PROVIDER_KEYS["openai"], "sk-canary-second"]
    assert sorted(team.outcomes()) == ["settled", "voided"]
    assert_books_balance(bench)


def test_rotation_under_load_fails_no_request(bench: Bench) -> None:
    """While a secret is rotated again and again, each request goes out with a value that was stored."""
    bench.site.pai("add", "secret", "whirl", "--from-literal", f"openai={PROVIDER_KEYS['openai']}")
    team = Team(bench, "whirl", secret="whirl")
    with ThreadPoolExecutor(4) as pool:
        rotating = pool.submit(
            lambda: [
                bench.site.pai("add", "secret", "whirl", "--from-literal", f"openai={PROVIDER_KEYS['openai']}")
                for _ in range(4)
            ]
        )
        statuses = set()
        while not rotating.done():
            statuses |= {answer.status_code for answer in pool.map(lambda _: team.ask(), range(6))}
        rotating.result()
    assert statuses == {200}
    assert_books_balance(bench)


def test_deleted_secret_makes_the_binding_not_ready(bench: Bench) -> None:
    """A stream goes on when its secret is deleted; the next request is a 503 that names the secret."""
    bench.site.pai("add", "secret", "dropped", "--from-literal", f"openai={PROVIDER_KEYS['openai']}")
    team = Team(bench, "dropped", secret="dropped")
    with team.stream() as rest:
        bench.site.pai("delete", "secret", "dropped")
        found = refused("chat", team.ask())
        assert found.status == 503
        assert "secret dropped does not exist" in found.message
        assert rest().endswith("data: [DONE]\n\n")
    assert team.outcomes() == ["settled"]
    assert_books_balance(bench)


def test_agent_that_loses_a_binding_is_refused(bench: Bench) -> None:
    """A binding taken out of an agent's list is a 403 at the next request, while others may still use it."""
    team = Team(bench, "losing")
    assert team.ask().status_code == 200
    team.git.pushed({"agents/losing.yaml": agent("losing", "openai-free")})
    bench.site.pai("reconcile")
    assert refused("chat", team.ask()).status == 403


def test_push_storm_does_not_disturb_requests(bench: Bench) -> None:
    """While a binding is changed over and over, each request is served by one version of it or the next."""
    team = Team(bench, "stormy", day=1_000_000)
    with ThreadPoolExecutor(4) as pool:
        pushing = pool.submit(lambda: [team.put(day=1_000_000 + n) for n in range(6)])
        statuses = set()
        while not pushing.done():
            statuses |= {answer.status_code for answer in pool.map(lambda _: team.ask(), range(8))}
            time.sleep(0.01)
        pushing.result()
    assert statuses == {200}
    positions = {row["data"]["binding"] for row in bench.tokens("stormy") if row["type"] == "tokens.reserved.v1"}
    assert len(positions) > 1
    assert_books_balance(bench)
