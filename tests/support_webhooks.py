"""Deliveries of webhooks as the forges send them: headers and proofs by their documentation, made apart from Pai."""

from __future__ import annotations

import hashlib
import hmac

SECRET = b"a secret that both know"
NOW = 1_764_000_000


def delivery(name: str, body: bytes, secret: bytes = SECRET, now: int = NOW, event: str = "") -> dict[str, str]:
    """Give the headers, by lower-case name, of a push (or of another `event`) as the forge sends it."""
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    match name:
        case "github":
            own = {
                "x-github-event": event or "push",
                "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
                "x-hub-signature-256": f"sha256={signature}",
            }
        case "gitlab":
            own = {
                "x-gitlab-event": event or "Push Hook",
                "x-gitlab-event-uuid": "13792a34-cac6-4fda-95a8-c58e00a3954e",
                "x-gitlab-token": secret.decode(),
            }
        case "gitea":
            own = {"x-gitea-event": event or "push", "x-gitea-delivery": "f6266f16", "x-gitea-signature": signature}
        case "bitbucket":
            own = {
                "x-event-key": event or "repo:push",
                "x-request-uuid": "{5b8a4d1c-0000-4000-8000-000000000000}",
                "x-hub-signature": f"sha256={signature}",
            }
        case _:
            signed = hmac.new(secret, b"%d.%b" % (now, body), hashlib.sha256).hexdigest()
            own = {"x-pai-timestamp": str(now), "x-pai-signature": f"sha256={signed}", "x-pai-delivery": "1"}
    return {"content-type": "application/json", **own}
