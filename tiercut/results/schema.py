"""The JSON Schema of a result: the fields of every result, and those of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiercut.protocol.results import Result
from tiercut.results.table import KINDS

Schema = dict[str, Any]

#: The classes of the fields of our own kinds.
KIND_CLASSES = tuple(kind.said for kind in KINDS.own.values())


def with_kinds(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Schemas by name, with the fields of the kinds in that of a result: each result has those of one kind.

    Args:
        schemas: Those of `Result`, `KIND_CLASSES` and others.
    """
    made = dict(schemas)
    kinds = [made.pop(each.__name__) for each in KIND_CLASSES]
    result = made[Result.__name__]
    fields = {name: schema for kind in kinds for name, schema in kind["properties"].items()}
    either = [{"required": list(kind["required"])} for kind in kinds]
    made[Result.__name__] = result | {"properties": result["properties"] | fields, "oneOf": either}
    return made
