"""The terms of `pai log`, on rows held in memory."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.audit.lines import describe
from reconciler.audit.query import search
from reconciler.audit.terms import TERMS_MAX, parse_query, parse_terms
from reconciler.core import events as ev
from reconciler.core.diagnostics import Diagnostic
from reconciler.core.errors import QueryError, UsageError
from reconciler.log.index import INDEX_VERSION
from reconciler.log.store import LogHead, Stored
from reconciler.tlog.merkle import leaf_hash

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PERSON = ev.Person("A", "a@example.com", "2026-11-23T10:00:00Z")


class Log:
    """Events in a list, read as a log is."""

    def __init__(self, *events: ev.Event) -> None:
        bodies = map(ev.encode, events)
        self._stored = [Stored(seq, body, leaf_hash(body)) for seq, body in enumerate(bodies)]

    def head(self) -> LogHead:
        """Give the end of the log, which has no index."""
        return LogHead(len(self._stored), b"", 0, 0, 0, INDEX_VERSION)

    def first(self) -> int:
        """Give where the log begins, which was never pruned."""
        return 0

    def read(self, start: int = 0, stop: int | None = None, contains: Sequence[bytes] = ()) -> Iterator[Stored]:
        """Give events oldest first that contain every text."""
        return iter([each for each in self._stored[start:stop] if all(text in each.body for text in contains)])

    def read_back(self, before: int | None = None, contains: Sequence[bytes] = (), start: int = 0) -> Iterator[Stored]:
        """Give events newest first that contain every text."""
        found = [each for each in self._stored[start:before] if all(text in each.body for text in contains)]
        return reversed(found)


def written(day: int, subject: str, actor: str = "a@example.com", **fields: object) -> ev.Event:
    """Make a changed binding."""
    data: dict[str, object] = {"spec": {"maxTokensPerDay": 500_000}, "previous": {"maxTokensPerDay": 1_000_000}}
    data |= {"changed": ["maxTokensPerDay"], "file": "models/a.yaml", "line": 8, "revision": "3f2a91c0", **fields}
    time = f"2026-11-{day:02}T10:00:00.000000Z"
    return ev.Event(actor, ev.BindingChanged(**data), "id", subject, time)  # type: ignore[arg-type]


LOG = Log(
    written(1, "model/a"),
    written(10, "model/b", actor="bot@example.com", revision="aaaa"),
    ev.Event("pai", ev.DaemonStopped(reason="SIGTERM"), "id", "daemon/x", "2026-11-20T10:00:00.000000Z"),
    written(22, "model/a", changed=["apiKeySecretRef.name"], file="models/other.yaml"),
)


def found(*terms: str, **options: object) -> list[int]:
    """Give the positions that match, in the order they come."""
    return [row.seq for row in search(LOG, parse_terms(terms, NOW), **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("terms", "positions"),
    [
        ((), [3, 2, 1, 0]),
        (("type:binding",), [3, 1, 0]),
        (("type:binding.changed",), [3, 1, 0]),
        (("type:changed",), []),
        (("model:a",), [3, 0]),
        (("agent:a",), []),
        (("actor:bot@example.com",), [1]),
        (("revision:3f2a",), [3, 0]),
        (("revision:3F2A",), [3, 0]),
        (("path:models/a.yaml",), [1, 0]),
        (("field:maxTokensPerDay",), [1, 0]),
        (("since:7d",), [3, 2]),
        (("since:2026-11-10",), [3, 2, 1]),
        (("until:2026-11-10",), [0]),
        (("since:2026-11-05", "until:2026-11-20T10:00:00Z"), [1]),
        (("-type:daemon",), [3, 1, 0]),
        (("model:a", "-path:models/a.yaml"), [3]),
    ],
)
def test_terms_narrow_the_log(terms: tuple[str, ...], positions: list[int]) -> None:
    """All terms must hold; the newest event comes first."""
    assert found(*terms) == positions


def test_reverse_gives_the_same_events_oldest_first() -> None:
    """Turning the order round changes nothing else."""
    for terms in ((), ("since:2026-11-05", "until:2026-11-21"), ("model:a",)):
        assert found(*terms, oldest_first=True) == found(*terms)[::-1]


def test_limit_counts_matches() -> None:
    """A limit stops after so many events that match, not so many that were read."""
    assert found("type:binding", limit=2) == [3, 1]
    assert found(limit=0) == []


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("modle:a", "did you mean model"),
        ("gemini", "FIELD:VALUE"),
        ("type:", "FIELD:VALUE"),
        ("since:yesterday", "2026-11-01"),
        ("-since:7d", "until"),
        ("since:99999999d", "2026-11-01"),
    ],
)
def test_broken_term_says_what_to_write(term: str, said: str) -> None:
    """The error names the term, the hint the way out."""
    with pytest.raises(UsageError) as error:
        parse_terms([term], NOW)
    field, _, value = term.removeprefix("-").partition(":")
    assert (value or field) in error.value.message
    assert said in error.value.hint


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  type:binding   model:a ", [("type", "binding", False), ("model", "a", False)]),
        ('path:"my file.yaml" -actor:bot', [("path", "my file.yaml", False), ("actor", "bot", True)]),
        ('"path:my file.yaml"', [("path", "my file.yaml", False)]),
        ("revision:ABC field:a:b", [("revision", "abc", False), ("field", "a:b", False)]),
    ],
)
def test_query_as_one_text_is_taken_apart(text: str, terms: list[tuple[str, str, bool]]) -> None:
    """Blanks part terms, quotes keep them together, the first colon parts field and value."""
    assert [tuple(term) for term in parse_query(text, NOW).terms] == terms


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("type:a modle:b", "modle"),
        ("type:a -modle:b", "modle"),
        ("  x  ", "x"),
        ('type:a "modle:b c"', "modle"),
        ('type:a path:"b c', 'path:"b c'),
        ("since:7d until:never", "never"),
        ("type:a type:", "type:"),
    ],
)
def test_error_points_into_the_query(text: str, wrong: str) -> None:
    """Start and length name the part that cannot be read, in the text as it was given (a quote counts as its term)."""
    with pytest.raises(QueryError) as found:
        parse_query(text, NOW)
    error = found.value
    assert error.query == text
    assert wrong in text[error.start : error.start + error.length + 1]


def test_times_given_twice_must_both_hold() -> None:
    """The later since: and the earlier until: count."""
    query = parse_terms(["since:2026-11-01", "until:2026-11-09", "since:2026-11-03", "until:2026-12-01"], NOW)
    assert (query.since[:10], query.until[:10]) == ("2026-11-03", "2026-11-09")


def about(*payloads: tuple[str, ev.AnyPayload]) -> Log:
    """Put payloads on a log, one a second."""
    time = "2026-11-23T10:00:{:02}.000000Z"
    return Log(
        *(ev.Event("my-agent", payload, "id", about, time.format(n)) for n, (about, payload) in enumerate(payloads))
    )


SPENT: dict[str, Any] = {"request": "req_1", "agent": "my-agent", "day": "2026-11-23"}
ENDED: dict[str, Any] = SPENT | {"status": 200, "durations": ev.Durations(412, 1_630), "reason": ""}
USED: dict[str, Any] = {"cached": 0, "cache_write": 0, "reasoning": 0}
REFUSED: dict[str, Any] = {
    "request": "req_2",
    "agent": "my-agent",
    "surface": "openai",
    "needed": 1_330,
    "remaining": 12,
}
GATEWAY = about(
    (
        "model/flash",
        ev.TokensReserved(**SPENT, key="key-x", surface="openai", tokens=1_330, input=306, output=1_024, binding=2),
    ),
    ("model/flash", ev.TokensSettled(**ENDED, **USED, input=41, output=1_870, charged=1_911)),
    (
        "model/flash",
        ev.TokensSettled(
            **(ENDED | {"reason": "stream cut"}),
            **(USED | {"cached": 1_000, "cache_write": 5, "reasoning": 60}),
            input=4_100,
            output=187,
            charged=4_287,
        ),
    ),
    ("model/flash", ev.TokensVoided(**(ENDED | {"status": 429, "reason": "upstream error"}), tokens=1_330)),
    ("model/flash", ev.TokensForfeited(**(ENDED | {"status": 0, "reason": "restart"}), tokens=1_330)),
    ("model/flash", ev.RequestRefused(**REFUSED, reason="day-budget", count=1)),
    ("model/other", ev.RequestRefused(**REFUSED, reason="day-budget", count=1_500, others=["req_3", "req_4"])),
    ("model/other", ev.RequestRefused(**(REFUSED | {"needed": 0}), reason="not ready", count=1)),
    ("key/key-x", ev.KeyIssued(agent="my-agent", digest="d" * 64, expires="", networks=[])),
    (
        "key/key-y",
        ev.KeyIssued(
            agent="other", digest="e" * 64, expires="2027-02-21T23:35:08Z", networks=["10.0.0.0/8", "192.0.2.7/32"]
        ),
    ),
    ("key/key-y", ev.KeyRevoked(agent="other", digest="e" * 64)),
)


@pytest.mark.parametrize(
    ("terms", "positions"),
    [
        (("request:req_1",), [4, 3, 2, 1, 0]),
        (("request:req_2",), [7, 6, 5]),
        (("request:req_4",), [6]),
        (("request:req_",), []),
        (("-request:req_1", "-request:req_3", "model:flash"), [5]),
        (("model:other",), [7, 6]),
        (("model:flash", "type:tokens.settled"), [2, 1]),
        (("agent:my-agent", "type:key"), [8]),
        (("agent:other",), [10, 9]),
    ],
)
def test_terms_find_requests_and_keys(terms: tuple[str, ...], positions: list[int]) -> None:
    """A request is found also where it is one of several; models by subject, agents by who asked or whose key it is."""
    assert [row.seq for row in search(GATEWAY, parse_terms(terms, NOW))] == positions  # type: ignore[arg-type]


def test_lines_of_requests_and_keys() -> None:
    """Figures have thousands separators, parts that are 0 are left out, no line holds a digest."""
    lines = [describe(row) for row in search(GATEWAY, parse_terms([], NOW), oldest_first=True)]  # type: ignore[arg-type]

    assert lines == [
        "1,330 = 306 input + 1,024 output  req_1",
        "1,911 charged: 41 input + 1,870 output  req_1",
        "4,287 charged (stream cut): 4,100 input (1,000 cached, 5 written) + 187 output (60 reasoning)  req_1",
        "1,330 free again: upstream error, status 429  req_1",
        "1,330 charged, outcome unknown: restart, no answer  req_1",
        "day-budget: 1,330 needed, 12 remaining  req_2",
        "day-budget: 1,330 needed, 12 remaining  req_2 and 1,499 more",
        "not ready  req_2",
        "for my-agent",
        "for other, until 2027-02-21T23:35:08Z, from 10.0.0.0/8, 192.0.2.7/32 only",
        "for other",
    ]


def test_line_of_a_changed_budget_tells_the_story() -> None:
    """Old and new value, commit and place are on the line, with thousands separators."""
    row = next(iter(search(LOG, parse_terms(["model:b"], NOW))))
    assert describe(row) == "maxTokensPerDay 1,000,000 -> 500,000  aaaa models/a.yaml:8"


LONG = "x" * 5000
COMMIT = {"commit": "a" * 40, "parents": [], "author": PERSON, "committer": PERSON, "signature": None}
PLACE = {"file": "a.yaml", "line": 1, "revision": "a" * 40}
LONG_EVENTS: list[ev.AnyPayload] = [
    ev.RevisionAccepted(**COMMIT, message=LONG, counts=ev.Counts(1, 0, 0, 0, 0, 0)),
    ev.RevisionSuperseded(**COMMIT, message=f"short\n{LONG}", by="b" * 40),
    ev.RevisionRejected(
        **COMMIT, message=LONG, diagnostics=[Diagnostic("a.yaml", 1, 1, "error", "PAI209", f"unknown field {LONG}")]
    ),
    ev.BindingCreated(spec={"provider": "openrouter", "model": LONG}, previous=None, changed=[], **PLACE),
    ev.AgentCreated(spec={"modelBindings": [f"m{n}" for n in range(1000)]}, previous=None, changed=[], **PLACE),
    ev.AgentChanged(
        spec={f"f{n}": n for n in range(1000)} | {LONG: 1, "text": LONG},
        previous={"text": [LONG, LONG]},
        changed=["text", LONG, *(f"f{n}" for n in range(1000))],
        **PLACE,
    ),
    ev.SecretStored(keys={f"key-{n}": "d" for n in range(1000)}),
    ev.DaemonStopped(reason=LONG),
]


@pytest.mark.parametrize("payload", LONG_EVENTS, ids=lambda payload: payload.type)
def test_line_stays_readable_whatever_a_user_wrote(payload: ev.AnyPayload) -> None:
    """An event is one line of a few hundred characters that says where it was cut, or how much more there is."""
    event = ev.Event("a@example.com", payload, "id", "x/y", "2026-11-23T10:00:00.000000Z")
    said = describe(next(iter(search(Log(event), parse_terms([], NOW)))))  # type: ignore[arg-type]
    assert len(said) < 600
    assert "\n" not in said
    assert "…" in said or "by bbbbbbb: short" in said
    assert ("more" in said) == isinstance(payload, ev.AgentChanged)


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        (["type:binding model:a"], [("type", "binding"), ("model", "a")]),
        (["path:my file.yaml"], [("path", "my file.yaml")]),
        (["-path:my file.yaml", "model:a"], [("path", "my file.yaml"), ("model", "a")]),
        (['path:"my file.yaml" model:a'], [("path", "my file.yaml"), ("model", "a")]),
        (["actor:Alice A. type:binding"], [("actor", "Alice A. type:binding")]),
        (["path:a model:b"], [("path", "a"), ("model", "b")]),
    ],
)
def test_one_argument_may_hold_several_terms(terms: list[str], found: list[tuple[str, str]]) -> None:
    """What a shell gives as one word is a text of terms, unless it is a name with blanks."""
    assert [(term.field, term.value) for term in parse_terms(terms, NOW).terms] == found


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        (["type:binding sinse:7d"], "sinse"),
        (["type:binding foo"], "foo"),
        (["model:a", "type:binding Since:7d"], "Since"),
        (["model:a b"], "b"),
        (["revision:3f2a rev:1"], "rev"),
        (['model:a path:"x'], 'path:"x'),
        (["path:a sinse:7d"], "sinse"),
    ],
)
def test_what_is_not_understood_in_an_argument_is_an_error(terms: list[str], wrong: str) -> None:
    """Nothing that was typed is passed over, and the error points at it."""
    with pytest.raises(QueryError) as caught:
        parse_terms(terms, NOW)
    error = caught.value
    assert error.query == " ".join(terms)
    assert error.query[error.start : error.start + error.length] == wrong


def test_query_has_a_hundred_terms_at_most() -> None:
    """Each is looked for in each event: a thousand took a question's whole time, and SQLite refuses more."""
    assert len(parse_query("path:x " * TERMS_MAX, NOW).terms) == TERMS_MAX
    with pytest.raises(QueryError, match="at most"):
        parse_query("since:1d " * TERMS_MAX + "until:1h", NOW)
    with pytest.raises(QueryError, match="at most") as caught:
        parse_query("path:x " * TERMS_MAX + "-model:y", NOW)
    assert (caught.value.start, caught.value.length) == (7 * TERMS_MAX, len("-model:y"))
