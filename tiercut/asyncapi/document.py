"""The AsyncAPI document, made from the table of topics and the schemas."""

from __future__ import annotations

import re
from typing import Any

from tiercut import __version__
from tiercut.asyncapi.by_hand import BY_HAND
from tiercut.asyncapi.schemas import Schema, ref, schemas_of
from tiercut.plan import TIERS
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import FORMAT
from tiercut.protocol import topics
from tiercut.protocol.frames import Work
from tiercut.protocol.topics import TOPICS, Topic
from tiercut.results.schema import KIND_CLASSES, with_kinds

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


#: Messages whose classes are above the table of topics.
_ABOVE = {
    topics.PROFILE.name: "Profile",
    topics.EXPLAIN.name: "Explanation",
    topics.RETURN.name: "Outcome",
}


def schema_name(topic: Topic) -> str | None:
    """Name of the schema of a topic's messages; ``None``: they are no JSON."""
    if topic.message is Work:
        return None
    return topic.message.__name__ if isinstance(topic.message, type) else _ABOVE[topic.name]


def document() -> dict[str, Any]:
    """The whole document."""
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
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {_operation_id(topic): _operation(topic) for topic in TOPICS},
        "components": {
            "parameters": _PARAMETERS,
            "messages": {topic.name: _message(topic) for topic in TOPICS},
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Schema]:
    classes = [each.message for each in TOPICS if isinstance(each.message, type) and each.message is not Work]
    people = [each.message for each in TOPICS if each.from_people and isinstance(each.message, type)]
    made = with_kinds(schemas_of([*classes, *KIND_CLASSES, Profile], from_people=people))
    made["Profile"]["properties"] = {"format": {"const": FORMAT}} | made["Profile"]["properties"]
    made["Profile"]["required"].insert(0, "format")
    return made | BY_HAND | {"Outcome": {"oneOf": [ref("Result"), ref("Dropped")]}}


def _server(description: str) -> dict[str, Any]:
    return {
        "host": "{host}:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": description,
        "variables": {"host": {"default": "localhost"}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", topic.pattern)
    return {
        "address": topic.pattern,
        "description": f"{_about(topic)}.\n\nPublished by: {topic.publisher}. Read by: {topic.listeners}.",
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "tags": [{"name": "people" if topic.for_people else "nodes"}],
    }


def _about(topic: Topic) -> str:
    said = f"{schema_name(topic)}, JSON" if schema_name(topic) else "Work, msgpack"
    said += " with CloudEvents attributes as user properties" if topic.event else ""
    return f"{said}: {topic.note}" if topic.note else said


def _operation_id(topic: Topic) -> str:
    return ("hear" if topic.from_people else "say") + topic.name[0].upper() + topic.name[1:]


def _operation(topic: Topic) -> dict[str, Any]:
    """What the site does: it sends, or it receives what people say."""
    return {
        "action": "receive" if topic.from_people else "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{topic.name}"}],
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }


def _message(topic: Topic) -> dict[str, Any]:
    message: dict[str, Any] = {"name": topic.name, "title": schema_name(topic) or "Work"}
    if (schema := schema_name(topic)) is None:
        return message | {
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary", "description": "msgpack: docs/wire-format.md"},
        }
    if topic.event:
        message["headers"] = ref("Event")
    return message | {"contentType": "application/json", "payload": ref(schema)}
