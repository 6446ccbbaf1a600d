"""A client's headers go upstream, but for those that are about something else."""

from __future__ import annotations

import time

import pytest

from reconciler.gateway.headers import PARTS_MAX, fallback_of, kept_headers
from reconciler.gateway.refusal import Refusal


@pytest.mark.parametrize(
    "name",
    [
        "openai-organization",
        "openai-project",
        "openai_organization",
        "anthropic-workspace-id",
        "anthropic-organization-id",
        "anthropic-user-profile-id",
        "x-goog-user-project",
        "x-goog-request-params",
        "x-goog-quota-user",
        "x-goog-ext-174067345-bin",
        "chatgpt-account-id",
        "x-openai-actor-authorization",
        "x-ms-client-request-id",
        "x-amz-security-token",
        "ocp-apim-subscription-key",
        "x-auth-token",
        "azure-api-key",
        "api-key",
        "x-org-ids",
        "a" * 60_000 + "-account",
        "authorization",
        "cookie",
    ],
)
def test_header_that_chooses_an_account_stays_here(name: str) -> None:
    """Whoever holds the key pays by its own account: no agent chooses another organization, project or workspace."""
    assert name not in kept_headers([(name.encode(), b"canary")])


@pytest.mark.parametrize(
    "name", ["x-original-url", "x-rewrite-url", "x_original_uri", "x-envoy-upstream-rq-timeout-ms"]
)
def test_header_that_a_proxy_of_the_provider_may_obey_stays_here(name: str) -> None:
    """It would be sent elsewhere, or given up after its work was done."""
    assert name not in kept_headers([(name.encode(), b"canary")])


@pytest.mark.parametrize(
    "name",
    [
        "anthropic-beta",
        "anthropic-version",
        "openai-beta",
        "x-goog-api-client",
        "x-stainless-lang",
        "x-stainless-retry-count",
        "x-claude-code-session-id",
        "user-agent",
        "http-referer",
        "x-title",
        "x-" + "long" * 100,
        "x-secrets",
        "x-tokens-id",
        "x-org-ide",
        "account-name",
    ],
)
def test_header_that_says_how_to_answer_goes_upstream(name: str) -> None:
    """Betas, versions, and what an SDK says of itself pass unchanged."""
    assert kept_headers([(name.encode(), b"a"), (name.encode(), b"b")])[name] == "a, b"


@pytest.mark.parametrize("part", [b"-", b"-org", b"-organization-id", b"_api_key"])
def test_name_takes_no_longer_whatever_it_is_full_of(part: bytes) -> None:
    """A head is looked at in one go, in which nobody else is served, and a name may be as long as a head."""
    name = (part * 60_000)[:60_000] + b"x"

    def work() -> float:
        began = time.thread_time()
        kept_headers([(name, b"")])
        return time.thread_time() - began

    assert min(work() for _ in range(5)) < 0.001  # 0.05 ms


def test_fallbacks_are_counted_before_they_are_looked_at() -> None:
    """What names nothing counts too: sixty thousand commas take as long as sixty thousand names."""
    assert fallback_of([(b"x-pai-fallback", b"," * 50 + b" a, b")]) == ("a", "b")
    with pytest.raises(Refusal, match=f"more than {PARTS_MAX} parts"):
        fallback_of([(b"x-pai-fallback", b"a,,"), (b"x-pai-fallback", b"," * PARTS_MAX)])
