"""The JSON Schema of a result: the fields of every result, and those of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiercut.protocol.results import Result
from tiercut.results.table import KINDS

Schema = dict[str, Any]


def result_schemas(components: Callable[[Sequence[type]], Mapping[str, Schema]]) -> dict[str, Schema]:
    """The schema ``Result``, where each result has the fields of one of our own kinds, and those that it refers to.

    Args:
        components: Makes the schemas of classes and of all that they hold, by name.
    """
    classes = [kind.said for kind in KINDS.own.values()]
    made = dict(components([Result, *classes]))
    kinds = [made.pop(each.__name__) for each in classes]
    result = made[Result.__name__]
    fields = {name: schema for kind in kinds for name, schema in kind["properties"].items()}
    either = [{"required": list(kind["required"])} for kind in kinds]
    made[Result.__name__] = result | {"properties": result["properties"] | fields, "oneOf": either}
    return made
