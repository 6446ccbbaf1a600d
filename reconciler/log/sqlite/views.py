"""Views with plain names, for people and tools that ask SQLite itself: `log`, `usage`, `models`, `agents`.

They belong to the file's format and hold nothing of their own. Pai reads none of them.
"""
# ruff: noqa: S608

from __future__ import annotations

from typing import Final

from reconciler.log.index import FIGURES

_SPENT_ALONE: Final = ("input", "cached", "output", "reasoning")


def _field(path: str, of: str = "CAST(body AS TEXT)") -> str:
    return f"json_extract({of}, '$.{path}')"


def _objects(name: str, kind: str) -> str:
    fields = ", ".join(f"{_field(field)} AS {field}" for field in ("spec", "file", "line", "revision"))
    return f"CREATE VIEW {name} AS SELECT name, {fields} FROM rows WHERE kind = '{kind}'"


def _usage() -> str:
    sums = ", ".join(f"sum({name}) AS {name}" for name in FIGURES)
    parts = ", ".join(f"coalesce({_field(name, 'data')}, 0)" for name in _SPENT_ALONE)
    charged = f"coalesce({_field('charged', 'data')}, {_field('tokens', 'data')})"
    return (
        f"CREATE VIEW usage AS SELECT day, model, agent, {sums} FROM ("
        f"SELECT day, model, agent, {', '.join(FIGURES)} FROM spent WHERE span = 'day' UNION ALL"
        f" SELECT {_field('day', 'data')}, substr(subject, 7), {_field('agent', 'data')}, 1, {parts}, {charged}"
        " FROM log WHERE seq >= (SELECT indexed FROM head) AND type IN ('tokens.settled.v1', 'tokens.forfeited.v1')"
        ") GROUP BY day, model, agent"
    )


def _log(events: str) -> str:
    fields = ", ".join(f"{_field(name)} AS {name}" for name in ("time", "type", "actor", "subject", "data", "id"))
    return f"CREATE VIEW log AS SELECT seq, {fields}, lower(hex(leaf)) AS leaf_hash FROM {events}"


LOG_OF_PRUNED: Final = _log("(SELECT seq, body, leaf FROM kept UNION ALL SELECT seq, body, leaf FROM events)")
"""The view `log` of a log that was pruned: with the events that were kept."""

VIEWS: Final = (
    # Every event, its fields as columns; `data` is JSON.
    _log("events"),
    # Tokens spent, by the day that budgets count them to.
    _usage(),
    # What is in force; `spec` is JSON.
    _objects("models", "model"),
    _objects("agents", "agent"),
)
