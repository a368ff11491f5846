"""Messages as Frigate, zigbee2mqtt, Tasmota and ESPHome publish them become what a model takes, by settings alone."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.sensing.fit import adapt, check_fit
from tiercut.sensing.payloads import REASONS, form_of, read_payload
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensing.units import UNITS
from tiercut.settings import from_table

FOLDER = Path(__file__).parent / "data" / "messages"
NOW = 1_800_000_000.0


def messages(of: str) -> list[tuple[bytes, float]]:
    lines = map(json.loads, (FOLDER / "messages.jsonl").read_text().splitlines())
    return [(line["payload"].encode(), NOW + line["at_s"]) for line in lines if line["of"] == of]


def read(of: str, frame: FrameSpec, **settings: Any) -> list[Captured | Spoiled]:
    """What a stream with these settings makes of recorded messages."""
    source = SourceSettings(sensor="mqtt", format="json", **settings)
    check_fit(form_of(source), source, frame, stream=of)
    reader = read_payload(source)
    return list(adapt((reader(*message) for message in messages(of)), form_of(source), source, frame))


def single(channels: int = 1, rate_hz: float = 1.0, **more: Any) -> FrameSpec:
    """A model that takes one sample."""
    return FrameSpec(kind="signal", samples=1, rate_hz=rate_hz, channels=channels, **more)


def test_frigate_snapshot_becomes_an_image() -> None:
    source = SourceSettings(sensor="mqtt", topic="frigate/door/cat/snapshot")
    frame = FrameSpec(size=(224, 224))
    check_fit(form_of(source), source, frame, stream="door")
    captured = read_payload(source)((FOLDER / "frigate-snapshot.jpg").read_bytes(), NOW)
    assert isinstance(captured, Captured)
    assert captured.frame.shape == (270, 270, 3)
    taken = frame.to_input(captured.frame)
    assert (taken.shape, bool(taken.std() > 20)) == ((1, 224, 224, 3), True)


def test_zigbee2mqtt_climate_becomes_windows_at_a_steady_rate() -> None:
    frame = FrameSpec(
        kind="signal", samples=6, rate_hz=0.1, channel_names=("humidity", "temperature"), units=("1", "K")
    )
    (window,) = read(
        "zigbee2mqtt",
        frame,
        topic="zigbee2mqtt/kitchen/climate",
        json_path=("$.temperature", "$.humidity"),
        channels=("temperature", "humidity"),
        units=("degC", "%"),
    )
    assert isinstance(window, Captured)
    assert np.allclose(window.frame[0], [0.4472, 294.49], atol=1e-3)
    assert np.allclose(window.frame[5], [0.449, 294.99], atol=1e-3)


def test_zigbee2mqtt_contact_is_one_or_zero() -> None:
    items = read(
        "zigbee2mqtt-contact", FrameSpec(kind="signal", samples=7, rate_hz=1.0, channels=1), json_path=("$.contact",)
    )
    assert [item.frame.mean() for item in items if isinstance(item, Captured)] == [1]


def test_tasmota_sensor_is_found_by_its_name() -> None:
    paths = ("$.BME280.Temperature", "$.BME280.Humidity", "$['BME280'].Pressure")
    frame = single(3, 0.1, units=("K", "%", "Pa"))
    (item,) = read("tasmota", frame, rate_hz=0.1, json_path=paths, units=("degC", "%", "hPa"))[:1]
    assert isinstance(item, Captured)
    assert np.allclose(item.frame, [[296.15, 32.3, 101400]])


def test_tasmota_energy_meter_gives_its_power() -> None:
    (item,) = read(
        "tasmota-energy", single(rate_hz=0.1, units=("kW",)), rate_hz=0.1, json_path=("$.ENERGY.Power",), units=("W",)
    )
    assert isinstance(item, Captured)
    assert item.frame[0, 0] == pytest.approx(1.873)


def test_tasmota_message_without_the_sensor_is_dropped_with_its_reason() -> None:
    items = read("tasmota-energy", single(rate_hz=0.1), rate_hz=0.1, json_path=("$.BME280.Temperature",))
    assert [item.reason for item in items if isinstance(item, Spoiled)] == ["no_such_path"]


def test_esphome_number_is_the_whole_payload() -> None:
    items = read("esphome", single(rate_hz=1 / 60, units=("1",)), rate_hz=1 / 60, json_path=("$",), units=("%",))
    assert [item.frame[0, 0] for item in items if isinstance(item, Captured)] == pytest.approx([0.3145, 0.312])
    assert [item.reason for item in items if isinstance(item, Spoiled)] == ["bad_number"]


def test_esphome_binary_sensor_is_one_or_zero() -> None:
    items = read("esphome-binary", FrameSpec(kind="signal", samples=4, rate_hz=1.0, channels=1), json_path=("$",))
    assert [item.frame.ravel().tolist() for item in items if isinstance(item, Captured)] == [[1, 1, 1, 1]]


def blocks() -> list[dict[str, Any]]:
    """Settings in the page about sensors on the bus."""
    page = (Path(__file__).parents[1] / "docs" / "sensors.md").read_text()
    return [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block["name"])
def test_settings_in_the_documentation_say_enough(block: dict[str, Any]) -> None:
    settings = from_table(StreamSettings, block, where="the page")
    for part in settings.parts:
        form = form_of(part)
        read_payload(part)
        assert form.kind == ("image" if part.format == "image" else "signal")


def test_reasons_in_the_documentation_are_all_there_are() -> None:
    page = (Path(__file__).parents[1] / "docs" / "sensors.md").read_text()
    assert set(REASONS) <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert {unit for row in UNITS.values() for unit in row} <= set(re.findall(r"`([^`\s]+)`", page))
