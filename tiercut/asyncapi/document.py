"""The AsyncAPI document, made from the table of topics and the schemas."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, get_args

from tiercut import __version__
from tiercut.asyncapi.schemas import Schema, ref, schemas_of
from tiercut.plan import TIERS
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import FORMAT
from tiercut.protocol import events
from tiercut.protocol.frames import Work
from tiercut.protocol.topics import TOPICS, Topic
from tiercut.results.schema import result_schemas

VERSION = "3.0.0"
_DESCRIPTION = """\
Every topic of a tiercut site, on plain MQTT 5. Those tagged `people` are for anyone: results, statuses, and people's
commands. Those tagged `nodes` are between tiercut's own programs; they may change with any version.
`docs/results.md` shows how to read results, `docs/wire-format.md` what frames look like.
"""
_PARAMETERS = {
    "site": {"description": "Name of the site."},
    "tier": {"description": "Tier of the node.", "enum": [*TIERS, "hub"]},
    "node": {"description": "Node id, unique in its tier."},
    "stream": {"description": "Name of the stream."},
    "model": {"description": "Identity of the model."},
}


#: CloudEvents 1.0 in MQTT 5's user properties (MQTT binding, binary mode)
_EVENT: Schema = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes, each a user property of the message; datacontenttype is its content "
    "type. QoS 1 may deliver a message twice: (source, id) tells.",
    "required": list(events.REQUIRED),
    "properties": {
        "specversion": {"type": "string", "const": events.SPEC_VERSION},
        "id": {"type": "string", "description": "Names the frame in its stream, over restarts of its sensor."},
        "source": {
            "type": "string",
            "description": "/tiercut/<site>/<stream>, with /dropped behind it for frames without a result.",
        },
        "type": {"enum": [events.RESULT_TYPE, events.DROPPED_TYPE]},
        "time": {"type": "string", "format": "date-time", "description": "UTC, ISO 8601."},
        **{name: {"type": "string"} for name in events.OPTIONAL},
    },
}
_PROFILE = Profile.__name__


def schema_name(topic: Topic) -> str | None:
    """Name of the schema of a topic's messages; ``None``: they are no JSON."""
    if isinstance(topic.message, UnionType):
        return "Outcome"
    if topic.message is None:  # the class is unknown to the table, as it is above it
        return _PROFILE
    return None if topic.message is Work else topic.message.__name__


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
    people = [each.message for each in TOPICS if each.from_people and isinstance(each.message, type)]
    kinds: list[type] = [each.message for each in TOPICS if isinstance(each.message, type) and each.message is not Work]
    made = schemas_of([*kinds, Profile], from_people=people) | result_schemas(schemas_of)
    profile = made[_PROFILE]
    profile["properties"] = {"format": {"const": FORMAT}} | profile["properties"]
    profile["required"] = ["format", *profile["required"]]
    outcomes = next(get_args(each.message) for each in TOPICS if isinstance(each.message, UnionType))
    return made | {"Event": _EVENT, "Outcome": {"oneOf": [ref(each.__name__) for each in outcomes]}}


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
