"""Deliveries beside the loop, which serves agents too."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from reconciler.admin import webhooks
from reconciler.admin.deliveries import FORGES, Headers, Proof
from reconciler.admin.webhooks import SMALL_BYTES, Webhooks
from reconciler.secrets.reader import SecretReader
from reconciler.secrets.secret_value import SecretValue


async def _secret(_: str, __: str) -> SecretValue:
    return SecretValue(b"both know it")


@pytest.mark.parametrize(("size", "beside"), [(SMALL_BYTES, False), (SMALL_BYTES + 1, True)])
def test_large_delivery_is_proved_beside_the_loop(monkeypatch: pytest.MonkeyPatch, size: int, *, beside: bool) -> None:
    """The proof of 1 MiB takes milliseconds, and dozens that end in one moment had everybody wait for all of them."""
    seen: list[bool] = []

    def prove(_: Headers, __: bytes, ___: bytes, ____: float) -> Proof:
        seen.append(threading.current_thread() is not threading.main_thread())
        return "signature"

    async def receive() -> Any:
        return {"type": "http.request", "body": b"a" * size}

    monkeypatch.setattr(webhooks, "FORGES", {"github": FORGES["github"]._replace(prove=prove)})
    reader = cast("SecretReader", SimpleNamespace(read=_secret))
    hooks = Webhooks({"github": "hooks:token"}, reader, "main", lambda: None, CollectorRegistry())
    (route,) = hooks.routes()
    scope = {"type": "http", "method": "POST", "headers": [], "path": "/webhooks/github", "query_string": b""}
    response = asyncio.run(cast("Any", route).endpoint(Request(scope, receive)))
    assert response.status_code == 401
    assert seen == [beside]
    assert not hooks._buffered
