"""The AsyncAPI document, made from the table of topics and the schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiercut import __version__
from tiercut.asyncapi.schemas import SCHEMAS
from tiercut.asyncapi.shapes import ref
from tiercut.plan import TIERS
from tiercut.protocol import topics
from tiercut.protocol.topics import TOPICS, Topic

VERSION = "3.0.0"
_DESCRIPTION = """\
Every topic of a tiercut site, on plain MQTT 5. Those tagged `people` are for anybody: results, statuses, and what a
person may say. Those tagged `nodes` are what programs of tiercut say to each other; they may change with any version.
`docs/results.md` shows how to read results, `docs/wire-format.md` what frames look like.
"""
_PARAMETERS = {
    "site": {"description": "Name of the site."},
    "tier": {"description": "Tier of the node.", "enum": [*TIERS, "hub"]},
    "node": {"description": "Node id, unique in its tier."},
    "stream": {"description": "Name of the stream."},
    "model": {"description": "Identity of the model."},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the document says of a topic beside its row in the table.

    Attributes:
        id: Name of channel and message.
        schema: Name of the schema of its payload; ``None``: it is not JSON.
        for_people: Anybody may read it, or say it.
        said_to_us: People publish on it, and the site reads.
        event: Its messages have CloudEvents attributes.
    """

    id: str
    schema: str | None
    for_people: bool = False
    said_to_us: bool = False
    event: bool = False


#: pattern of a topic → what is said of it
ENTRIES: Mapping[str, Entry] = {
    topics.RESULT.pattern: Entry("result", "Result", for_people=True, event=True),
    topics.DROPPED.pattern: Entry("dropped", "Dropped", for_people=True, event=True),
    topics.LAST.pattern: Entry("last", "Result", for_people=True, event=True),
    topics.STREAM_STATUS.pattern: Entry("streamStatus", "StreamStatus", for_people=True),
    topics.PLAN.pattern: Entry("plan", "StreamPlan", for_people=True),
    topics.EXPLAIN.pattern: Entry("explain", "Explanation", for_people=True),
    topics.STATUS.pattern: Entry("status", "NodeStatus", for_people=True),
    topics.WANTED.pattern: Entry("wanted", "StreamSettings", for_people=True, said_to_us=True),
    topics.CONTROL.pattern: Entry("control", "StreamControl", for_people=True, said_to_us=True),
    topics.WORK.pattern: Entry("work", None),
    topics.RETURN.pattern: Entry("return", "Outcome", event=True),
    topics.SOURCE.pattern: Entry("source", "SourceReport"),
    topics.STREAMS.pattern: Entry("streams", "Assigned"),
    topics.PROFILE.pattern: Entry("profile", "Profile"),
    topics.PREPARE.pattern: Entry("prepare", "Prepare"),
    topics.READY.pattern: Entry("ready", "Ready"),
    topics.PROBE.pattern: Entry("probe", "Probe"),
    topics.PROGRESS.pattern: Entry("progress", "Progress"),
    topics.CLOCK.pattern: Entry("clock", "ClockProbe"),
    topics.ECHO.pattern: Entry("echo", "ClockProbe"),
}


def document() -> dict[str, Any]:
    """The whole document.

    Raises:
        KeyError: a topic of the table has no entry here.
    """
    rows = [(topic, ENTRIES[topic.pattern]) for topic in TOPICS]
    rows.sort(key=lambda row: list(ENTRIES).index(row[0].pattern))
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "tiercut",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "site": _server("The site's broker; the secured profile asks for a certificate."),
            "cloud": _server("The cloud's broker; the same one where there is only one."),
        },
        "channels": {entry.id: _channel(topic, entry) for topic, entry in rows},
        "operations": {_operation_id(entry): _operation(topic, entry) for topic, entry in rows},
        "components": {
            "parameters": _PARAMETERS,
            "messages": {entry.id: _message(topic, entry) for topic, entry in rows},
            "schemas": {**SCHEMAS, "Outcome": {"oneOf": [ref("Result"), ref("Dropped")]}},
        },
    }


def _server(description: str) -> dict[str, Any]:
    return {
        "host": "{host}:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": description,
        "variables": {"host": {"default": "localhost"}},
    }


def _channel(topic: Topic, entry: Entry) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", topic.pattern)
    return {
        "address": topic.pattern,
        "description": f"{topic.message}.\n\nPublished by: {topic.publisher}. Read by: {topic.listeners}.",
        "messages": {entry.id: {"$ref": f"#/components/messages/{entry.id}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "tags": [{"name": "people" if entry.for_people else "nodes"}],
    }


def _operation_id(entry: Entry) -> str:
    return ("hear" if entry.said_to_us else "say") + entry.id[0].upper() + entry.id[1:]


def _operation(topic: Topic, entry: Entry) -> dict[str, Any]:
    """What the site does: it sends, or it receives what people say."""
    return {
        "action": "receive" if entry.said_to_us else "send",
        "channel": {"$ref": f"#/channels/{entry.id}"},
        "messages": [{"$ref": f"#/channels/{entry.id}/messages/{entry.id}"}],
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }


def _message(topic: Topic, entry: Entry) -> dict[str, Any]:
    message: dict[str, Any] = {"name": entry.id, "title": topic.message.split(":")[0].split(",")[0]}
    if entry.schema is None:
        return message | {
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary", "description": "msgpack: docs/wire-format.md"},
        }
    if entry.event:
        message["headers"] = ref("Event")
    return message | {"contentType": "application/json", "payload": ref(entry.schema)}
