"""Refusals in the words of each SDK: by these its clients decide whether to try again."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from reconciler.gateway.refusal import STATUS, Reason
from reconciler.gateway.surfaces import SURFACES

REASONS: tuple[Reason, ...] = get_args(Reason)
ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
}
"""https://docs.anthropic.com/en/api/errors"""
GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
}
"""https://cloud.google.com/apis/design/errors"""


def worded(surface: str, reason: Reason) -> dict[str, Any]:
    """Give the body of a refusal."""
    body = msgspec.json.decode(SURFACES[surface].error(reason, STATUS[reason], "why not", "req_1"))
    assert isinstance(body, dict)
    return body


def test_every_reason_has_a_status() -> None:
    """A new reason cannot be forgotten."""
    assert set(STATUS) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_refusal_has_the_shape_of_each_sdk(reason: Reason) -> None:
    """Whatever the reason, the body is one that the SDK reads, and its words are those of the status."""
    status = STATUS[reason]
    openai = worded("openai", reason)["error"]
    assert set(openai) == {"message", "type", "param", "code"}
    assert (openai["type"] == "api_error") == (status >= 500)
    assert openai["message"] == "why not"
    anthropic = worded("anthropic", reason)
    assert anthropic["error"] == {"type": ANTHROPIC.get(status, "invalid_request_error"), "message": "why not"}
    assert (anthropic["type"], anthropic["request_id"]) == ("error", "req_1")
    gemini = worded("gemini", reason)["error"]
    assert (gemini["code"], gemini["message"]) == (status, "why not")
    assert gemini["status"] == GOOGLE.get(status, gemini["status"])
    assert gemini["details"][-1]["metadata"] == {"requestId": "req_1"}


def test_spent_day_is_what_clients_do_not_try_again() -> None:
    """OpenAI's own code of a spent quota; Google's failure of a quota per day, which Gemini CLI looks for."""
    error = worded("openai", "day-budget")["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    details = worded("gemini", "day-budget")["error"]["details"]
    (quota,) = [detail for detail in details if detail["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"]
    (violation,) = quota["violations"]
    assert "PerDay" in violation["quotaId"]
    assert "PerMinute" not in violation["quotaId"]
    assert violation["description"] == "why not"


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "day-budget"])
def test_only_a_spent_day_is_a_quota(reason: Reason) -> None:
    """What may pass in a moment is not told as if it would not: no other refusal names a quota."""
    assert "quota" not in str(worded("openai", reason))
    assert "Quota" not in str(worded("gemini", reason))
