"""Sensors that play files: sound, recordings and video, in their own time or as fast as they are taken."""

from __future__ import annotations

import itertools
import math
import struct
import sys
import threading
import time
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile

from tests.given_sensors import frames_of
from tiercut.clock import ManualClock
from tiercut.errors import SensorError, SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors import form_of, open_sensor
from tiercut.sensors.base import Timing


def source(sensor: str, *paths: Path, **more: Any) -> SourceSettings:
    return SourceSettings(sensor=sensor, path=paths, **more)


def by_hand() -> tuple[ManualClock, Timing]:
    """A clock that only sleeping moves."""
    clock = ManualClock()
    return clock, Timing(clock, clock.advance)


def ramp(count: int, channels: int = 1) -> np.ndarray[Any, Any]:
    """Values of -0.9 to 0.9, another one for each sample and channel."""
    return np.linspace(-0.9, 0.9, count * channels).reshape(count, channels)


def write_wav(path: Path, samples: np.ndarray[Any, Any], *, rate_hz: int = 16000, width: int = 2) -> Path:
    whole = np.round(samples * 2 ** (8 * width - 1)).astype(np.int64)
    if width == 1:
        whole += 128
    data = whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], width, rate_hz, len(samples), "NONE", ""))
        file.writeframes(data)
    return path


def all_samples(settings: SourceSettings) -> np.ndarray[Any, Any]:
    return np.concatenate([each.frame for each in frames_of(settings)])


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_any_width_gives_the_samples_that_were_written(tmp_path: Path, width: int, channels: int) -> None:
    samples = ramp(1000, channels)
    settings = source("wav", write_wav(tmp_path / "a.wav", samples, width=width), loop=False, real_time=False)
    heard = all_samples(settings)
    assert heard.dtype == np.float32
    assert np.allclose(heard, samples, atol=2.0 ** (1 - 8 * width) + 1e-7)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "FLOAT"), ("wav", "DOUBLE"), ("wav", "ULAW"), ("flac", "PCM_16"), ("wavex", "PCM_24")],
)
def test_other_sound_files_are_read_too(tmp_path: Path, suffix: str, subtype: str) -> None:
    samples, path = ramp(1000, 2), tmp_path / f"a.{suffix[:4]}"
    soundfile.write(path, samples, 8000, subtype=subtype, format=suffix.upper())
    settings = source("wav", path, loop=False, real_time=False)
    assert form_of(settings).rate_hz == 8000
    assert np.allclose(all_samples(settings), samples, atol=0.03 if subtype == "ULAW" else 1e-4)


def test_wav_is_played_in_real_time(tmp_path: Path) -> None:
    clock, timing = by_hand()
    path = write_wav(tmp_path / "a.wav", ramp(16000))
    frames = list(itertools.islice(open_sensor(source("wav", path), timing=timing), 30))
    assert clock.now_s == pytest.approx(1.5)
    assert [each.at_unix_s for each in frames if isinstance(each, Captured)][:3] == pytest.approx([0.05, 0.1, 0.15])
    assert {len(each.frame) for each in frames if isinstance(each, Captured)} == {800}


def test_reader_that_pauses_pauses_the_recording(tmp_path: Path) -> None:
    clock, timing = by_hand()
    frames = iter(open_sensor(source("wav", write_wav(tmp_path / "a.wav", ramp(16000))), timing=timing))
    next(frames)
    clock.advance(60)
    for _ in range(16):
        next(frames)
    assert clock.now_s == pytest.approx(60.6, abs=0.06)


def test_late_reader_that_keeps_up_does_not_slow_the_recording_down(tmp_path: Path) -> None:
    clock, timing = by_hand()
    frames = iter(open_sensor(source("wav", write_wav(tmp_path / "a.wav", ramp(16000))), timing=timing))
    for _ in range(20):
        next(frames)
        clock.advance(0.04)
    assert clock.now_s == pytest.approx(1.04)


def test_sound_without_real_time_comes_at_once_with_times_as_recorded(tmp_path: Path) -> None:
    clock, timing = by_hand()
    settings = source("wav", write_wav(tmp_path / "a.wav", ramp(16000)), real_time=False)
    frames = [each for each in itertools.islice(open_sensor(settings, timing=timing), 40) if isinstance(each, Captured)]
    assert clock.now_s == 0
    assert frames[-1].at_unix_s == pytest.approx(2.0)


def test_close_ends_a_player_that_waits(tmp_path: Path) -> None:
    sensor = open_sensor(source("recording", npy(tmp_path, np.zeros((100, 1))), rate_hz=0.01))
    threading.Timer(0.1, sensor.close).start()
    start_s = time.monotonic()
    assert not list(sensor)
    assert time.monotonic() - start_s < 5


def test_sound_names_its_form(tmp_path: Path) -> None:
    form = form_of(source("wav", write_wav(tmp_path / "a.wav", ramp(10, 2)), channels=("left", "right")))
    assert [(each.name, each.unit) for each in form.channels] == [("left", "full-scale"), ("right", "full-scale")]
    assert form_of(source("wav", tmp_path / "elsewhere.wav", rate_hz=8000.0)).rate_hz == 8000


def test_wav_that_was_cut_off_ends_with_its_last_whole_sample(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", ramp(1000, 2))
    path.write_bytes(path.read_bytes()[:-1999])
    assert len(all_samples(source("wav", path, loop=False, real_time=False))) == 500


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "a sound file"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a sound file"),
        (b"\x89PNG no sound at all", "a sound file"),
        (None, "No such file"),
    ],
)
def test_file_that_is_no_sound_is_refused(tmp_path: Path, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(SensorError, match=says):
        open_sensor(source("wav", tmp_path / "a.wav"))


def test_silent_file_that_starts_over_is_an_error_and_no_endless_loop(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="without any"):
        list(open_sensor(source("wav", write_wav(tmp_path / "a.wav", np.zeros((0, 1))))))


def test_odd_wav_without_libsndfile_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 3, 1, 8000, 32000, 4, 32)
    (tmp_path / "a.wav").write_bytes(header + b"data\x00\x00\x00\x00")
    with pytest.raises(SensorError, match=r"tiercut\[audio\]"):
        open_sensor(source("wav", tmp_path / "a.wav"))


def test_another_rate_than_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="leave rate_hz out"):
        open_sensor(source("wav", write_wav(tmp_path / "a.wav", ramp(10)), rate_hz=8000.0))


# ---------------------------------------------------------------------- recordings


def npy(folder: Path, samples: Any, name: str = "a.npy") -> Path:
    np.save(folder / name, samples)
    return folder / name


def text(folder: Path, *lines: str, name: str = "a.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_npy_recording_is_played_at_its_rate(tmp_path: Path) -> None:
    clock, timing = by_hand()
    samples = ramp(100, 3)
    settings = source("recording", npy(tmp_path, samples), rate_hz=50.0, loop=False, channels=("x", "y", "z"))
    frames = [each for each in open_sensor(settings, timing=timing) if isinstance(each, Captured)]
    assert clock.now_s == pytest.approx(2.0)
    assert np.allclose(np.concatenate([each.frame for each in frames]), samples)
    assert [each.name for each in form_of(settings).channels] == ["x", "y", "z"]


def test_csv_gives_the_columns_that_are_asked_for_in_that_order(tmp_path: Path) -> None:
    path = text(tmp_path, "time,acc_x,acc_y,activity", "0.00,1,2,walk", "0.02,3,4,walk", "0.04,5,6,run")
    settings = source("recording", path, channels=("acc_y", "acc_x"), units=("g",), loop=False, real_time=False)
    assert form_of(settings).rate_hz == 50
    assert [(each.name, each.unit) for each in form_of(settings).channels] == [("acc_y", "g"), ("acc_x", "g")]
    assert all_samples(settings).tolist() == [[2, 1], [4, 3], [6, 5]]


@pytest.mark.parametrize(
    "lines",
    [
        ("timestamp_ms;v", "1000;1", "1100;2", "1200;3"),
        ("t\tv\tname", "0\t1\ta", "0.1\t2\tb", "0.2\t3\tc"),
        ("Time,v", "2026-01-01T00:00:00Z,1", "2026-01-01T00:00:00.100Z,2", "2026-01-01T00:00:00.200Z,3"),
        ("timestamp,v", "1767225600000,1", "1767225600100,2", "1767225600200,3"),
    ],
)
def test_times_of_a_csv_tell_its_rate(tmp_path: Path, lines: tuple[str, ...]) -> None:
    settings = source("recording", text(tmp_path, *lines), loop=False, real_time=False)
    assert form_of(settings).rate_hz == pytest.approx(10)
    assert all_samples(settings).ravel().tolist() == pytest.approx([1, 2, 3])


def test_uneven_times_become_even_ones(tmp_path: Path) -> None:
    at_s = np.cumsum(np.random.default_rng(1).uniform(0.015, 0.025, 500))
    rows = [f"{t:.6f},{math.sin(t):.6f}" for t in at_s]
    settings = source("recording", text(tmp_path, "time,v", *rows), rate_hz=50.0, loop=False, real_time=False)
    heard = all_samples(settings).ravel()
    assert np.allclose(heard, np.sin(at_s[0] + np.arange(len(heard)) / 50), atol=1e-3)


def test_pause_in_a_recording_is_not_played(tmp_path: Path) -> None:
    path = text(tmp_path, "time,v", "0,1", "0.1,2", "0.2,3", "3600,4", "3600.1,5")
    assert all_samples(source("recording", path, loop=False, real_time=False)).ravel().tolist() == [1, 2, 3, 4, 5]


def test_rows_that_are_no_numbers_are_left_out_and_said(tmp_path: Path) -> None:
    path = text(tmp_path, "v,w", "1,1", "", "two,2", "nan,2", "2", "3,3")
    spoiled, *rest = open_sensor(source("recording", path, rate_hz=10.0, loop=False, real_time=False))
    assert isinstance(spoiled, Spoiled)
    assert spoiled.reason == "bad_rows"
    assert "3 rows" in spoiled.message
    assert "line 4: could not convert string to float: 'two'" in spoiled.message
    assert [each.frame.tolist() for each in rest if isinstance(each, Captured)] == [[[1, 1]], [[3, 3]]]


@pytest.mark.parametrize(
    ("lines", "settings", "says"),
    [
        (("v,w", "1,2"), {}, "set rate_hz"),
        (("v,w", "1,2"), {"rate_hz": 1.0, "channels": ("x",)}, "columns of v, w"),
        (("1,2", "3,4"), {"rate_hz": 1.0}, "add a header"),
        (("v,w",), {"rate_hz": 1.0}, "no rows"),
        (("v,w", "a,b"), {"rate_hz": 1.0}, "columns of numbers"),
        (("v", "a"), {"rate_hz": 1.0, "channels": ("v",)}, "line 2"),
        (("time,v", "1,1"), {}, "two rows"),
        ((), {"rate_hz": 1.0}, "add a header"),
    ],
)
def test_csv_that_cannot_be_played_says_why(
    tmp_path: Path, lines: tuple[str, ...], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(SensorError, match=says):
        open_sensor(source("recording", text(tmp_path, *lines), **settings))


@pytest.mark.parametrize("samples", [np.zeros((2, 2, 2)), np.array(["a"]), np.zeros((0, 2)), np.array([{}], object)])
def test_npy_that_is_no_recording_is_refused(tmp_path: Path, samples: np.ndarray[Any, Any]) -> None:
    with pytest.raises(SensorError, match="cannot read the recording"):
        open_sensor(source("recording", npy(tmp_path, samples), rate_hz=1.0))


def test_npy_without_a_rate_is_refused_before_the_file_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="rate_hz"):
        form_of(source("recording", tmp_path / "elsewhere.npy"))


def test_folder_of_recordings_is_played_and_one_of_another_form_left_out(tmp_path: Path) -> None:
    npy(tmp_path, np.full((5, 2), 1.0), "1.npy")
    npy(tmp_path, np.full((5, 3), 2.0), "2.npy")
    npy(tmp_path, np.full((5, 2), 3.0), "3.npy")
    items = list(open_sensor(source("recording", tmp_path, rate_hz=100.0, loop=False, real_time=False)))
    assert [each.reason for each in items if isinstance(each, Spoiled)] == ["bad_recording"]
    assert [each.frame[0, 0] for each in items if isinstance(each, Captured)] == [1, 3]


# ---------------------------------------------------------------------- video


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames, 10 per second, brighter and brighter."""
    path = tmp_path_factory.mktemp("video") / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(30):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return path


def test_video_gives_every_frame_at_once(video: Path) -> None:
    clock, timing = by_hand()
    frames = [
        each for each in open_sensor(source("video", video, loop=False), timing=timing) if isinstance(each, Captured)
    ]
    assert [round(each.frame.mean() / 8) for each in frames] == list(range(30))
    assert clock.now_s == 0


def test_video_in_real_time_keeps_to_its_own_frame_rate(video: Path) -> None:
    _, timing = by_hand()
    settings = source("video", video, loop=False, real_time=True)
    frames = [each for each in open_sensor(settings, timing=timing) if isinstance(each, Captured)]
    assert [each.at_unix_s for each in frames] == pytest.approx([number / 10 for number in range(30)])


def test_video_in_real_time_passes_over_frames_that_nobody_took(video: Path) -> None:
    clock, timing = by_hand()
    labels = []
    for each in open_sensor(source("video", video, loop=False, real_time=True), timing=timing):
        assert isinstance(each, Captured)
        labels.append(each.label)
        clock.advance(0.5)
    assert labels == [f"v.avi #{number}" for number in range(0, 30, 5)]


@pytest.mark.parametrize("real_time", [False, True])
def test_file_that_is_no_video_is_refused(tmp_path: Path, *, real_time: bool) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(SensorError, match="OpenCV can read"):
        list(open_sensor(source("video", tmp_path / "v.mp4", real_time=real_time)))
