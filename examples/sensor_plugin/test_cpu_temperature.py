"""The sensor as tiercut opens it: by its name, once the package is installed."""

from __future__ import annotations

from pathlib import Path

from tiercut.sensors import Captured, SourceSettings, Spoiled, form_of, open_sensor


def settings(file: Path) -> SourceSettings:
    return SourceSettings(sensor="cpu-temperature", options=(f"file={file}",))


def test_temperature_is_read_in_degrees(tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("48500\n", encoding="ascii")
    item = next(iter(open_sensor(settings(tmp_path / "temp"))))
    assert isinstance(item, Captured)
    assert item.frame.tolist() == [[48.5]]


def test_missing_file_is_said_and_the_sensor_goes_on(tmp_path: Path) -> None:
    sensor = open_sensor(settings(tmp_path / "temp"))
    item = next(iter(sensor))
    assert isinstance(item, Spoiled)
    assert "No such file" in item.message


def test_form_says_name_rate_and_unit() -> None:
    form = form_of(settings(Path("temp")))
    assert (form.rate_hz, form.channels[0].name, form.channels[0].unit) == (1.0, "temperature", "degC")
