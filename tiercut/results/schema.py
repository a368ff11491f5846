"""The JSON Schema of a result: the fields of every result, and those of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tiercut.protocol.results import Result
from tiercut.results.table import KINDS

Schema = dict[str, Any]
#: Makes the schemas of classes and of all that they refer to, by name.
Components = Callable[[Sequence[type[msgspec.Struct]]], Mapping[str, Schema]]


def msgspec_components(classes: Sequence[type[msgspec.Struct]]) -> Mapping[str, Schema]:
    """As msgspec says it, with references as OpenAPI and AsyncAPI have them."""
    return msgspec.json.schema_components(classes, ref_template="#/components/schemas/{name}")[1]


def result_schemas(components: Components = msgspec_components) -> dict[str, Schema]:
    """The schema ``Result``, with the fields of one of our own kinds in it, and those that it refers to.

    Args:
        components: Makes schemas of classes.
    """
    kinds = list(KINDS.own.values())
    made = dict(components([Result, *(kind.said for kind in kinds)]))
    parts = [made.pop(kind.said.__name__) for kind in kinds]
    fields = {name: schema for part in parts for name, schema in part["properties"].items()}
    either = [{"required": list(part["required"])} for part in parts]
    result = made["Result"]
    made["Result"] = result | {"properties": result["properties"] | fields, "oneOf": either}
    return made
