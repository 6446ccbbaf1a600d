"""How each forge proves a delivery and what of it is read: known answers, and everything that is nearly right."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.admin import deliveries
from reconciler.admin.deliveries import FORGES, Malformed
from tests.support_webhooks import NOW, SECRET, delivery

NAMES = sorted(FORGES)
PUSH = json.dumps({"ref": "refs/heads/main", "before": "0" * 40, "repository": {"clone_url": "http://evil/"}}).encode()


def test_github_signature_of_its_documentation_is_taken() -> None:
    """The example that GitHub's documentation gives for testing: secret, payload and signature."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature}
    assert FORGES["github"].prove(headers, b"Hello, World!", b"It's a Secret to Everybody", 0) == ""
    assert FORGES["github"].prove(headers, b"Hello, World?", b"It's a Secret to Everybody", 0) == "signature"


@pytest.mark.parametrize("name", NAMES)
def test_delivery_with_the_secret_is_taken_and_any_other_refused(name: str) -> None:
    """A right proof holds; another secret, another body (where it is signed) and no proof do not."""
    headers = delivery(name, PUSH)
    forge = FORGES[name]
    assert forge.prove(headers, PUSH, SECRET, NOW) == ""
    assert forge.prove(headers, PUSH, SECRET + b"x", NOW) == "signature"
    assert forge.prove({}, PUSH, SECRET, NOW) == "unsigned"
    if name != "gitlab":
        assert forge.prove(headers, PUSH + b" ", SECRET, NOW) == "signature"


@pytest.mark.parametrize("name", NAMES)
@given(cut=st.integers(0, 80), char=st.characters(codec="latin-1"))
def test_proof_that_is_changed_anywhere_is_refused(name: str, cut: int, char: str) -> None:
    """One character more, less or other, also one that is no ASCII, is no proof."""
    headers = delivery(name, PUSH)
    for header in ("x-hub-signature-256", "x-gitlab-token", "x-gitea-signature", "x-hub-signature", "x-pai-signature"):
        if header in headers:
            right = headers[header]
            at = min(cut, len(right))
            for wrong in (right[:at], right[:at] + char + right[at:], right[:at] + char + right[at + 1 :]):
                if wrong != right:
                    assert FORGES[name].prove({**headers, header: wrong}, PUSH, SECRET, NOW) != ""


@pytest.mark.parametrize("secret", [SECRET, b"whsec_" + base64.b64encode(b"0123456789abcdef")], ids=["plain", "whsec"])
def test_gitlabs_signing_token_is_taken(secret: bytes) -> None:
    """The signature of Standard Webhooks, fresh and over id, time and body; one of several is enough."""
    key = base64.b64decode(secret.removeprefix(b"whsec_")) if secret.startswith(b"whsec_") else secret
    signed = b"id-1.%d.%b" % (NOW, PUSH)
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": "id-1", "webhook-timestamp": str(NOW), "webhook-signature": f"v1,AAAA {right}"}
    prove = FORGES["gitlab"].prove
    assert prove(headers, PUSH, secret, NOW + 299) == ""
    assert prove(headers, PUSH, secret, NOW + 301) == "timestamp"
    assert prove(headers, PUSH + b" ", secret, NOW) == "signature"
    assert prove({**headers, "webhook-id": "id-2"}, PUSH, secret, NOW) == "signature"
    assert prove({**headers, "webhook-signature": "v1,"}, PUSH, secret, NOW) == "signature"
    assert prove(headers, PUSH, b"whsec_!", NOW) == "signature"


@pytest.mark.parametrize("stamp", [str(NOW - 301), str(NOW + 301), "", "-1", "1e9", "٣", "9" * 40])
def test_generic_delivery_of_another_time_is_refused(stamp: str) -> None:
    """What was recorded can be sent again for five minutes, and does no more than make Pai look."""
    signature = hmac.new(SECRET, stamp.encode() + b"." + PUSH, hashlib.sha256).hexdigest()
    headers = {"x-pai-timestamp": stamp, "x-pai-signature": f"sha256={signature}"}
    assert FORGES["generic"].prove(headers, PUSH, SECRET, NOW) == "timestamp"


def test_forgejos_own_signature_is_the_one_that_counts() -> None:
    """Where both are there a good one of Gitea does not mend a bad one of Forgejo."""
    good = delivery("gitea", PUSH)["x-gitea-signature"]
    prove = FORGES["gitea"].prove
    assert prove({"x-forgejo-signature": good}, PUSH, SECRET, NOW) == ""
    assert prove({"x-forgejo-signature": "0" * 64, "x-gitea-signature": good}, PUSH, SECRET, NOW) == "signature"


@pytest.mark.parametrize(
    ("name", "headers", "event"),
    [
        ("github", {"x-github-event": "push"}, "push"),
        ("github", {"x-github-event": "ping"}, "ping"),
        ("github", {"x-github-event": "issues"}, "other"),
        ("github", {}, "other"),
        ("gitlab", {"x-gitlab-event": "Push Hook"}, "push"),
        ("gitlab", {"x-gitlab-event": "System Hook"}, "push"),
        ("gitlab", {"x-gitlab-event": "Tag Push Hook"}, "other"),
        ("gitea", {"x-gitea-event": "push"}, "push"),
        ("gitea", {"x-forgejo-event": "push"}, "push"),
        ("gitea", {"x-gitea-event": "create"}, "other"),
        ("bitbucket", {"x-event-key": "repo:push"}, "push"),
        ("bitbucket", {"x-event-key": "repo:refs_changed"}, "push"),
        ("bitbucket", {"x-event-key": "diagnostics:ping"}, "ping"),
        ("bitbucket", {"x-event-key": "pullrequest:created"}, "other"),
        ("generic", {}, "push"),
    ],
)
def test_kind_of_event_is_read_off_the_headers(name: str, headers: dict[str, str], event: str) -> None:
    """Pushes and pings are known by the names that the forges' documentations give them."""
    assert FORGES[name].event(headers) == event


@pytest.mark.parametrize(
    ("name", "body", "refs"),
    [
        ("github", PUSH, ["refs/heads/main"]),
        ("github", urlencode({"payload": PUSH.decode()}).encode(), ["refs/heads/main"]),
        ("gitlab", PUSH, ["refs/heads/main"]),
        ("gitlab", b'{"event_name": "project_create"}', []),
        ("gitea", b'{"ref": "refs/tags/main"}', ["refs/tags/main"]),
        ("bitbucket", b'{"push": {"changes": [{"new": {"type": "branch", "name": "main"}, "old": null}]}}', None),
        ("bitbucket", b'{"push": {"changes": [{"old": {"type": "branch", "name": "main"}, "new": null}]}}', None),
        ("bitbucket", b'{"changes": [{"ref": {"id": "refs/heads/main"}, "type": "UPDATE"}]}', None),
        ("bitbucket", b'{"push": {"changes": [{"new": {"type": "tag", "name": "main"}}]}}', []),
        ("bitbucket", b"{}", []),
        ("generic", PUSH, ["refs/heads/main"]),
    ],
)
def test_refs_of_a_push_are_read(name: str, body: bytes, refs: list[str] | None) -> None:
    """Of every forge's payload the full names of the refs, and nothing else."""
    assert FORGES[name].refs(body) == (["refs/heads/main"] if refs is None else refs)


def test_form_is_unquoted_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever its escapes stand; one call for all of them would keep the other threads waiting."""
    sizes: list[int] = []
    unquote = deliveries.unquote_to_bytes
    monkeypatch.setattr(deliveries, "unquote_to_bytes", lambda piece: sizes.append(len(piece)) or unquote(piece))
    for size in range(4):
        payload = b'{"ref": "refs/heads/main", "x": "' + b"a" * size + "+é%".encode() * 30_000 + b'"}'
        body = b"payload=" + quote_plus(payload).encode() + b"&a=%7B"
        assert FORGES["github"].refs(body) == ["refs/heads/main"]
        assert b"".join(deliveries._unquoted(quote(payload).encode())) == payload
    assert max(sizes) <= 16 * 1024
    for value in (b"%", b"%4", b"%41", b"%zz%"):
        padded = b"b" * (deliveries.UNQUOTED_BYTES - 2) + value
        assert b"".join(deliveries._unquoted(padded)) == unquote(padded)


def test_generic_delivery_need_not_say_what_was_pushed() -> None:
    """Without a body, or without a ref in it, it is about whatever there is."""
    assert FORGES["generic"].refs(b"") is None
    assert FORGES["generic"].refs(b"{}") is None


LARGE = [
    b"payload=x" + b"&a" * 100,
    b'{"changes": [' + b",".join([b"{}"] * 300_000) + b"]}",
    b'{"push": {"changes": [' + b",".join([b'{"new": {}}'] * 90_000) + b"]}}",
    b"payload=" + b"%7B%7D" * 174_000,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"ref": 7, "push": 7}', b"\xff", b"[" * 100_000, b"payload=%7B", *LARGE]
)
def test_payload_that_is_none_is_malformed(name: str, body: bytes) -> None:
    """Whatever is sent, with the right secret too, ends in a clear no."""
    with pytest.raises(Malformed):
        FORGES[name].refs(body)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_refs_or_malformed(body: bytes) -> None:
    """No payload can do anything else."""
    for forge in FORGES.values():
        try:
            refs = forge.refs(body)
        except Malformed:
            continue
        assert refs is None or all(isinstance(ref, str) for ref in refs)
