"""What Home Assistant is told of a stream, and what its templates make of real results and statuses."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from paho.mqtt.client import topic_matches_sub

from broker.home_assistant import discovery, topic
from tests.test_results import work
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import StreamStatus
from tiercut.results.reading import read_outputs, write_result

CAM = StreamSettings(name="cam", model="chain", sensor="noise", device="d")


def config(settings: StreamSettings, bundle: Bundle) -> dict[str, Any]:
    ((_, payload),) = discovery("home", settings, bundle, hub="hub")
    said: dict[str, Any] = json.loads(payload)
    return said


def rendered(template: str, payload: bytes) -> str:
    """As `Template.async_render_with_possible_json_value` of Home Assistant 2026.2 does."""
    values = {"value": payload.decode()}
    with contextlib.suppress(ValueError):
        values["value_json"] = json.loads(payload)
    return ImmutableSandboxedEnvironment().from_string(template).render(values).strip()


def result(bundle: Bundle, *arrays: NDArray[Any]) -> bytes:
    variant = bundle.variants[0]
    outputs = {spec.name: array for spec, array in zip(variant.outputs, arrays, strict=True)}
    read = read_outputs(7, outputs, bundle, variant)
    return write_result(work(bundle.model), read, bundle.name, stages=(), finished_by="c", latency_s=0.03)


def test_state_is_the_best_label_and_the_rest_are_attributes(chain: Bundle) -> None:
    said = config(CAM, chain)
    heard = result(chain, np.array([[0.0, 4.0, 1.0, 0.0]], np.float32))
    assert rendered(said["value_template"], heard) == "dog"
    attributes = json.loads(rendered(said["json_attributes_template"], heard))
    assert attributes["confidence"] == pytest.approx(0.92, abs=0.01)
    assert attributes["labels"][0] == {"class": 1, "label": "dog", "score": attributes["confidence"]}
    assert (attributes["finished_by"], attributes["latency_ms"], attributes["fallback"]) == ("c", 30.0, None)
    assert "stages" not in attributes


def sized(bundle: Bundle, size: int, scores: Any = "none") -> Bundle:
    """The bundle with an output of another size, without labels."""
    output = replace(bundle.outputs[0], shape=(1, size), scores=scores)
    return replace(bundle, contents=replace(bundle.contents, outputs=(output,), labels=None))


@pytest.mark.parametrize(
    ("scores", "values", "state"),
    [
        ("none", [0.25], "0.25"),
        ("none", [np.nan], "None"),  # which Home Assistant shows as unknown
        ("none", [3.5, 1.0], "3.5"),
        ("softmax", [0.1, 2.0, 0.3], "1"),
        ("softmax", [np.nan] * 2, "None"),
        ("none", list(range(40)), "39"),
    ],
)
def test_state_of_a_model_without_labels_is_its_number_or_its_class(
    chain: Bundle, scores: str, values: list[float], state: str
) -> None:
    bundle = sized(chain, len(values), scores)
    said = config(CAM, bundle)
    assert rendered(said["value_template"], result(bundle, np.array([values], np.float32))) == state
    assert (said.get("state_class") == "measurement") is (scores == "none" and len(values) < 17)


@pytest.mark.parametrize(("state", "payload"), [("online", "online"), ("offline", "offline")])
def test_available_while_the_hub_is_online(chain: Bundle, state: Any, payload: str) -> None:
    said = config(CAM, chain)
    hub = said["availability"][0]
    assert hub["topic"] == "tiercut/v1/home/hub/hub/status"
    status = encode_json(NodeStatus(node="hub", tier="hub", state=state, version="1"))
    assert rendered(hub["value_template"], status) == payload
    assert said["availability_mode"] == "all"


@pytest.mark.parametrize(
    ("state", "payload"), [("running", "online"), ("waiting", "offline"), ("refused", "offline"), (None, "offline")]
)
def test_available_while_the_stream_runs(chain: Bundle, state: Any, payload: str) -> None:
    stream = config(CAM, chain)["availability"][1]
    assert stream["topic"] == "tiercut/v1/home/stream/cam/state"
    status = b"" if state is None else encode_json(StreamStatus(stream="cam", state=state))
    assert rendered(stream["value_template"], status) == payload


def test_entity_follows_the_retained_result_where_there_is_one(chain: Bundle) -> None:
    for settings, kind in ((CAM, "result"), (replace(CAM, retain_last=True), "last")):
        said = config(settings, chain)
        assert said["state_topic"] == said["json_attributes_topic"] == f"tiercut/v1/home/stream/cam/{kind}"


def test_state_expires_only_where_results_come_regularly(chain: Bundle) -> None:
    assert "expire_after" not in config(CAM, chain)
    assert config(replace(CAM, fps=2.0), chain)["expire_after"] == 30
    assert config(replace(CAM, fps=0.1), chain)["expire_after"] == 110
    rings = StreamSettings(name="cam", model="chain", sensor="mqtt", topic="door/bell", fps=2.0)
    assert "expire_after" not in config(rings, chain)


def test_names_become_levels_that_home_assistant_takes_and_stay_apart() -> None:
    topics = [topic("home", name) for name in ("a.b", "a-b", "a_b", "A.b")]
    assert len(set(topics)) == 4
    assert topics[1] == "homeassistant/sensor/tiercut_home/a-b/config"
    # the pattern of homeassistant/components/mqtt/discovery.py
    assert all(re.fullmatch(r"homeassistant/\w+/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config", each) for each in topics)


def test_entity_goes_by_an_empty_payload_on_the_same_topic(chain: Bundle) -> None:
    ((made, payload),) = discovery("home", CAM, chain, hub="hub", prefix="ha")
    assert payload
    assert topic("home", "cam", prefix="ha") == made


def test_filter_of_a_site_matches_its_streams_alone() -> None:
    topics = topic("home", "+")
    assert topic_matches_sub(topics, topic("home", "a.b"))
    assert not topic_matches_sub(topics, topic("farm", "cam"))


def test_two_sites_with_streams_of_one_name_are_two_devices(chain: Bundle) -> None:
    said = [json.loads(discovery(site, CAM, chain, hub="hub")[0][1]) for site in ("home", "farm")]
    for one, other in ((said[0][key], said[1][key]) for key in ("unique_id", "device", "default_entity_id")):
        assert one != other
