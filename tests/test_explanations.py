"""The explanation of a plan: whatever the coordinator says is as the class says, and JSON can hold it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.coordinating import Told, exits_goal, goal
from tiercut.protocol.explanations import Explanation, LinkFigures, encode_explanation


def strict(schema: Any) -> Any:
    """No field that the class does not have."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False} | made if "properties" in schema else made
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


def test_what_the_coordinator_explains_is_as_the_schema_says() -> None:
    check = jsonschema.Draft202012Validator(strict(msgspec.json.schema(Explanation)))
    without_cloud = Told().site(goal())
    without_cloud.status("cloud", "c", state="offline")
    without_cloud.passes(3)
    late = Told().site(exits_goal(objective="accuracy", deadline_s=0.03))
    late.frames(20)
    impossible = Told().site(goal(min_first_cut=5))
    for told in (Told().site(), without_cloud, late, impossible):
        said = told.explained["cam"]
        assert not [f"{error.json_path}: {error.message}" for error in check.iter_errors(said)]
        assert (
            encode_explanation(msgspec.convert(said, Explanation)) == json.dumps(said, separators=(",", ":")).encode()
        )
    assert without_cloud.explained["cam"]["alternatives"]["cloud-only"]["variant"] is None
    assert late.explained["cam"]["deadline"]["frames"] > 0
    assert impossible.explained["cam"]["best"]["violates"][0]["constraint"] == "min_first_cut"


def test_figure_that_is_not_finite_is_not_said() -> None:
    said = msgspec.convert(Told().site().explained["cam"], Explanation)
    link = LinkFigures(
        start="a", end="b", latency_seconds=0.1, mbps=float("nan"), mbps_std=0.0, latency_std=0.0, source="guessed"
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_explanation(msgspec.structs.replace(said, links=[link]))
