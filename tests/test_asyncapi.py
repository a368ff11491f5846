"""The AsyncAPI document: up to date, valid, and true of what a site publishes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.aio import async_test, until
from tests.bundles import exits_bundle
from tests.sites import CLOUD_URL, SITE_URL, by_hand, new_site, noise
from tests.test_coordinated import hub
from tiercut.asyncapi.__main__ import as_yaml
from tiercut.asyncapi.document import document, schema_name
from tiercut.bus import Delivery
from tiercut.bus.memory import MemoryBus
from tiercut.declared import encode_json, iso_time
from tiercut.protocol.nodes import StreamControl
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport, StreamStatus, Trouble, encode_assigned, encode_wanted
from tiercut.protocol.topics import TOPICS

ROOT = Path(__file__).parent.parent
OFFICIAL = ROOT / "tests" / "data" / "asyncapi" / "asyncapi-3.0.0.json"


def strict(schema: Any) -> Any:
    """The schema with no fields allowed but those it names, so that a field nobody has described shows."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False} | made if "properties" in schema else made
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


@cache
def validator(schema: str) -> jsonschema.Draft7Validator:
    components = strict(document()["components"])
    del components["schemas"]["Profile"]["additionalProperties"]  # docs/profiles.md has the rest
    root = {"components": components, "$ref": f"#/components/schemas/{schema}"}
    return jsonschema.Draft7Validator(root, format_checker=jsonschema.FormatChecker())


def errors(schema: str, payload: bytes) -> list[str]:
    found: Iterable[Any] = validator(schema).iter_errors(json.loads(payload))
    return [f"{error.json_path}: {error.message}"[:300] for error in found]


def check(delivery: Delivery) -> str | None:
    """Check one message of a site; returns the pattern of its topic."""
    topic = next(each for each in TOPICS if each.parse(delivery.topic))
    schema = schema_name(topic)
    if schema is not None and delivery.payload:
        assert not errors(schema, delivery.payload), delivery.topic
    if topic.event:
        assert not errors("Event", json.dumps(dict(delivery.properties)).encode())
        assert delivery.content_type == "application/json"
    return topic.pattern


def test_file_is_what_the_table_of_topics_makes() -> None:
    written = (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert written == as_yaml(), "run: python -m tiercut.asyncapi > docs/asyncapi.yaml"


def test_document_is_valid_asyncapi() -> None:
    official = json.loads(OFFICIAL.read_text(encoding="utf-8"))
    made = yaml.safe_load(as_yaml())
    jsonschema.Draft7Validator(official).validate(made)
    with pytest.raises(jsonschema.ValidationError):  # it can tell
        jsonschema.Draft7Validator(official).validate(made | {"operations": {"say": {"action": "shout"}}})


def test_every_topic_is_a_channel_with_its_quality_of_service() -> None:
    made = document()
    assert {channel["address"] for channel in made["channels"].values()} == {topic.pattern for topic in TOPICS}
    retained = {name for name, each in made["operations"].items() if each["bindings"]["mqtt"]["retain"]}
    assert {"sayPlan", "sayLast", "hearWanted"} <= retained
    assert "sayResult" not in retained


@pytest.mark.parametrize("schema", document()["components"]["schemas"])
def test_schema_is_a_schema(schema: str) -> None:
    jsonschema.Draft7Validator.check_schema(document()["components"]["schemas"][schema])


@async_test
async def test_what_a_site_publishes_is_as_the_document_says() -> None:
    bundle = exits_bundle()
    site = new_site(bundle.folder.parent, two_brokers=True)
    heard: list[Delivery] = []
    seen: set[str] = set()

    def listen(delivery: Delivery) -> None:
        delivery.ack()
        heard.append(delivery)
        seen.add(delivery.topic.rpartition("/")[2])
        if b'"predicted"' in delivery.payload:
            seen.add("prediction")

    async with MemoryBus(site.brokers[SITE_URL]) as home, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        for bus in (home, cloud):
            await bus.subscribe("tiercut/v1/#", handler=listen)
        stream = noise(bundle, frames=None, fps=30, width=16, height=16, delivery="latest", deadline_ms=20_000.0)
        nodes = site.cloud(), site.edge(cache_frames=4), site.device(stream), hub(site, bundle, deadline_ms=20_000.0)
        wanted = {"result", "prediction", "plan", "ready", "prepare", "probe", "progress", "clock", "echo", "status"}
        async with site.running(*nodes):
            await until(lambda: seen >= wanted)
    assert len({check(each) for each in heard}) >= len(wanted)


@async_test
async def test_results_and_drops_by_way_of_the_cloud_are_as_the_document_says(bundles: Path) -> None:
    del bundles
    bundle = exits_bundle()
    site = new_site(bundle.folder.parent, two_brokers=True)
    returned: list[Delivery] = []
    for deadline_ms, expected in ((None, {"results": 3}), (0.001, {"dropped": 3})):
        stream = noise(bundle, frames=3, width=16, height=16, deadline_ms=deadline_ms)
        nodes = site.hub(by_hand(bundle)), site.cloud(), site.edge(), site.device(stream)
        async with MemoryBus(site.brokers[CLOUD_URL]) as cloud:
            await cloud.subscribe("tiercut/v1/+/+/+/return", handler=returned.append)
            async with site.running(*nodes) as outcomes:
                await outcomes.until(**expected)
        assert all(check(each) for each in outcomes.deliveries)
    assert returned
    assert all(check(each) for each in returned)


SETTINGS = (
    StreamSettings(name="cam", model="m", sensor="mqtt", topic="door/camera", retain_last=True, fps=2.0),
    StreamSettings(
        name="cam",
        model="m",
        sensor="fusion",
        sources=(SourceSettings(sensor="mqtt", topic="a"), SourceSettings(sensor="mqtt", topic="b", scale=(2.0,))),
        objective="accuracy",
        max_accuracy_drop=0.02,
    ),
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_in_the_registry_are_as_the_document_says(settings: StreamSettings) -> None:
    assert not errors("StreamSettings", encode_wanted(settings))
    assert not errors("Assigned", encode_assigned((Assignment(settings, "ab" * 32),)))


@pytest.mark.parametrize(
    "wrong", [{"name": "cam"}, {"name": "cam", "model": "m", "colour": 1}, {"name": "c", "model": 1}]
)
def test_settings_that_the_hub_refuses_are_not(wrong: dict[str, Any]) -> None:
    assert errors("StreamSettings", json.dumps({"name": "cam"} | wrong).encode())


def test_stream_statuses_and_controls_are_as_the_document_says() -> None:
    trouble = (Trouble("no_image", "expected a JPEG, got text", 3, iso_time(1e9)),)
    status = StreamStatus(stream="cam", state="waiting", message="no edge", frames={"captured": 2}, trouble=trouble)
    assert not errors("StreamStatus", encode_json(status))
    report = SourceReport(stream="cam", node="e", state="failed", message="gone", trouble=trouble)
    assert not errors("SourceReport", encode_json(report))
    assert not errors("StreamControl", encode_json(StreamControl(mode="freeze")))
    assert not errors("StreamControl", b'{"mode":"auto"}')
    assert errors("StreamControl", b'{"mode":"faster"}')
