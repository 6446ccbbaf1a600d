"""Events in the words of other people's tools: rows, CloudEvents 1.0, OCSF 1.3.0. Pure.

Each form carries the position and the leaf hash, so that a row can be led back to the log. What the tables below mean
to a reader stands in docs/exports.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from reconciler.log.store import Stored

CLOUDEVENTS_VERSION: Final = "1.0"
OCSF_VERSION: Final = "1.3.0"

Object = dict[str, object]


class Envelope(msgspec.Struct, frozen=True):
    """A stored event whose data stays as it is."""

    actor: str
    data: msgspec.Raw
    id: str
    subject: str
    time: str
    type: str


class OcsfClass(NamedTuple):
    """What an event type is in OCSF: class, activity, severity, and the status if it has one."""

    class_uid: int
    activity_id: int
    severity_id: int = 1
    status_id: int = 0


ENTITY, API, LIFECYCLE = 3004, 6003, 6002
CLASS_NAMES: Final = {ENTITY: "Entity Management", API: "API Activity", LIFECYCLE: "Application Lifecycle"}
CATEGORY_NAMES: Final = {3: "Identity & Access Management", 6: "Application Activity"}
ACTIVITY_NAMES: Final = {
    ENTITY: {1: "Create", 3: "Update", 4: "Delete", 99: "Other"},
    API: {1: "Create", 3: "Update", 99: "Other"},
    LIFECYCLE: {3: "Start", 4: "Stop"},
}
STATUS_NAMES: Final = {1: "Success", 2: "Failure"}

OCSF: Final[Mapping[str, OcsfClass]] = {
    "binding.created.v1": OcsfClass(ENTITY, 1),
    "binding.changed.v1": OcsfClass(ENTITY, 3),
    "binding.deleted.v1": OcsfClass(ENTITY, 4),
    "agent.created.v1": OcsfClass(ENTITY, 1),
    "agent.changed.v1": OcsfClass(ENTITY, 3),
    "agent.deleted.v1": OcsfClass(ENTITY, 4),
    "secret.stored.v1": OcsfClass(ENTITY, 3),
    "secret.deleted.v1": OcsfClass(ENTITY, 4),
    "key.issued.v1": OcsfClass(ENTITY, 1),
    "key.revoked.v1": OcsfClass(ENTITY, 4),
    "revision.accepted.v1": OcsfClass(ENTITY, 3, 1, 1),
    "revision.rejected.v1": OcsfClass(ENTITY, 3, 2, 2),
    "revision.superseded.v1": OcsfClass(ENTITY, 99),
    "push.admitted.v1": OcsfClass(ENTITY, 3),
    "push.withdrawn.v1": OcsfClass(ENTITY, 3, 2, 2),
    "revision.pinned.v1": OcsfClass(ENTITY, 3, 3),
    "revision.unpinned.v1": OcsfClass(ENTITY, 3, 3),
    "reconciling.suspended.v1": OcsfClass(ENTITY, 3, 3),
    "reconciling.resumed.v1": OcsfClass(ENTITY, 3, 3),
    "history.rewritten.v1": OcsfClass(ENTITY, 3, 3),
    "log.created.v1": OcsfClass(ENTITY, 1),
    "log.accepted.v1": OcsfClass(ENTITY, 3, 4),
    "log.pruned.v1": OcsfClass(ENTITY, 4, 3),
    "tokens.reserved.v1": OcsfClass(API, 1),
    "tokens.settled.v1": OcsfClass(API, 3, 1, 1),
    "tokens.voided.v1": OcsfClass(API, 3, 2, 2),
    "tokens.forfeited.v1": OcsfClass(API, 3, 2, 2),
    "request.refused.v1": OcsfClass(API, 99, 2, 2),
    "daemon.started.v1": OcsfClass(LIFECYCLE, 3),
    "daemon.stopped.v1": OcsfClass(LIFECYCLE, 4),
}

_decode = msgspec.json.Decoder(Envelope).decode


def row(stored: Stored, _origin: str) -> Object:
    """Give the event as `pai log -o jsonl` does."""
    event = _decode(stored.body)
    return {
        "seq": stored.seq,
        "time": event.time,
        "type": event.type,
        "actor": event.actor,
        "subject": event.subject,
        "data": event.data,
        "id": event.id,
        "leafHash": stored.leaf.hex(),
    }


def cloudevent(stored: Stored, origin: str) -> Object:
    """Give the event in the JSON format of CloudEvents; extensions: actor, position, sequence, leafhash."""
    event = _decode(stored.body)
    return {
        "specversion": CLOUDEVENTS_VERSION,
        "id": event.id,
        "source": origin,
        "type": f"io.pai.{event.type}",
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": "application/json",
        "actor": event.actor,
        "position": str(stored.seq),
        "sequence": f"{stored.seq:020d}",
        "leafhash": stored.leaf.hex(),
        "data": event.data,
    }


def ocsf(stored: Stored, origin: str) -> Object:
    """Give the event in the words of OCSF; what OCSF has no word for is in `unmapped`."""
    event = _decode(stored.body)
    data: Object = msgspec.json.decode(event.data)
    kind = OCSF[event.type]
    category = kind.class_uid // 1000
    activity = ACTIVITY_NAMES[kind.class_uid][kind.activity_id]
    made: Object = {
        "activity_id": kind.activity_id,
        "activity_name": activity,
        "category_uid": category,
        "category_name": CATEGORY_NAMES[category],
        "class_uid": kind.class_uid,
        "class_name": CLASS_NAMES[kind.class_uid],
        "type_uid": kind.class_uid * 100 + kind.activity_id,
        "type_name": f"{CLASS_NAMES[kind.class_uid]}: {activity}",
        "time": int(datetime.fromisoformat(event.time).timestamp() * 1000),
        "severity_id": kind.severity_id,
        "message": f"{event.type.removesuffix('.v1')} {event.subject}",
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "Pai", "vendor_name": "Pai"},
            "uid": event.id,
            "sequence": stored.seq,
            "log_name": origin,
            "event_code": event.type,
            "original_time": event.time,
        },
        "actor": {"user": {"name": event.actor}},
        "unmapped": {"position": stored.seq, "leaf_hash": stored.leaf.hex(), "data": data},
    }
    if kind.status_id:
        made["status_id"], made["status"] = kind.status_id, STATUS_NAMES[kind.status_id]
    made |= _subject(kind.class_uid, event, data)
    return made


def _subject(class_uid: int, event: Envelope, data: Object) -> Object:
    """Give the attribute that the class requires: the entity, the call, or the application."""
    sort, _, name = event.subject.partition("/")
    if class_uid == ENTITY:
        return {"entity": {"name": name, "type": sort, "uid": event.subject}}
    if class_uid == LIFECYCLE:
        return {"app": {"name": "Pai", "vendor_name": "Pai", "version": str(data.get("version", ""))}}
    request, agent = str(data.get("request", "")), str(data.get("agent", ""))
    operation = event.type.removesuffix(".v1")
    return {
        "api": {"operation": operation, "request": {"uid": request}, "service": {"name": "Pai gateway"}},
        "src_endpoint": {"name": agent},
        "resources": [{"name": name, "type": sort, "uid": event.subject}],
    }
