"""A client's headers go upstream, but for those that are about something else."""

from __future__ import annotations

import pytest

from reconciler.gateway.headers import kept_headers


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
    ],
)
def test_header_that_says_how_to_answer_goes_upstream(name: str) -> None:
    """Betas, versions, and what an SDK says of itself pass unchanged."""
    assert kept_headers([(name.encode(), b"a"), (name.encode(), b"b")])[name] == "a, b"
