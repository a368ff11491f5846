"""Sensors of a device: frames of the right form, and clear words when there are none."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.given_sensors import frames_of
from tiercut.errors import SensorError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.sensors import BUILT_IN, Captured, check_source, known, open_sensor, plugins
from tiercut.sensors.base import DeviceSensor, options_of
from tiercut.sensors.contract import check_stream
from tiercut.settings import from_table


def photograph(path: Path, *, value: int = 0, size: tuple[int, int] = (8, 6)) -> Path:
    Image.new("RGB", size, (value, 0, 0)).save(path)
    return path


def stream(sensor: str, *paths: Path, **more: Any) -> StreamSettings:
    return StreamSettings(name="s", model="m", sensor=sensor, path=paths, **more)


def captured(settings: StreamSettings, most: int | None = None) -> list[Captured]:
    """The first frames of a sensor that spoils none."""
    return list(itertools.islice(frames_of(settings), most))


def test_folder_gives_its_images_in_order_and_starts_over(tmp_path: Path) -> None:
    photograph(tmp_path / "b.png", value=2)
    photograph(tmp_path / "a.jpg", value=1)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    labels = [each.label for each in captured(stream("images", tmp_path), 3)]
    assert labels == ["a.jpg", "b.png", "a.jpg"]


def test_images_end_when_they_may_not_start_over(tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png")
    assert len(captured(stream("images", file, file, loop=False))) == 2


def test_unreadable_image_is_left_out(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    labels = {each.label for each in captured(stream("images", tmp_path), 4)}
    assert labels == {"a.png"}


def test_folder_of_unreadable_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(SensorError, match="at least one readable image"):
        captured(stream("images", tmp_path), 1)


@pytest.mark.parametrize("path", ["nothing-here", "."])
def test_path_without_images_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(SensorError):
        open_sensor(stream("images", tmp_path / path))


def test_panning_window_moves_and_stays_inside(tmp_path: Path) -> None:
    photo = photograph(tmp_path / "wide.png", size=(64, 32))
    frames = captured(stream("pan", photo, width=16, height=16), 200)
    assert {each.frame.shape for each in frames} == {(16, 16, 3)}
    assert len({each.label for each in frames}) > 50


def test_noise_is_repeatable() -> None:
    first, again = (captured(stream("noise", seed=3), 1)[0].frame for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (224, 224, 3)


def test_video_without_opencv_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(SensorError, match=r"tiercut\[video\]"):
        open_sensor(stream("video", tmp_path / "v.mp4"))


WRONG = [
    {"in_flight": 0},
    {"fps": -1.0},
    {"timeout_s": 0.0},
    {"name": "a/b"},
    {"deadline_ms": -5.0},
    {"frames": -1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_stream_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        StreamSettings(**{"name": "s", "model": "m", "sensor": "noise", **wrong})  # type: ignore[arg-type]


def test_sensor_without_a_source_is_refused() -> None:
    with pytest.raises(SettingsError, match="has no source"):
        check_source(stream("images"))


class Black(DeviceSensor):
    """Black pictures."""

    def _items(self) -> Iterator[Captured]:
        side = int(options_of(self.source)["side"])
        yield Captured(np.zeros((side, side, 3), np.uint8))


def test_new_sensor_is_one_class_and_one_row(monkeypatch: pytest.MonkeyPatch, chain: Bundle) -> None:
    monkeypatch.setitem(BUILT_IN, "black", Black)
    settings = StreamSettings(name="s", model="m", sensor="black", device="d", options=("side=4",))
    check_stream(settings, chain)
    assert known()["black"] == "Black pictures."
    assert [each.frame.shape for each in captured(settings)] == [(4, 4, 3)]


def documented() -> list[dict[str, Any]]:
    text = (Path(__file__).parent.parent / "docs" / "device-sensors.md").read_text(encoding="utf-8")
    return [tomllib.loads(block.split("```")[0]) for block in text.split("```toml\n")[1:]]


@pytest.mark.parametrize("table", documented(), ids=lambda table: table["name"])
def test_documented_streams_are_good(table: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("cpu-temperature", "cpu_temperature:CpuTemperature", plugins.GROUP)
    monkeypatch.setattr(plugins, "_found", lambda: {entry.name: entry})
    settings = from_table(StreamSettings, table, where="docs")
    check_source(settings)
    assert settings.device


def test_every_built_in_sensor_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "device-sensors.md").read_text(encoding="utf-8")
    assert {name for name in BUILT_IN if f"\n| `{name}` |" in text} == set(BUILT_IN)
