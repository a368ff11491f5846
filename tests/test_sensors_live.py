"""Camera and microphone: what is theirs is real (OpenCV, threads, queues); only the hardware is not."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tiercut.clock import SystemClock
from tiercut.errors import SensorError, SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors import check_source, form_of, open_sensor
from tiercut.sensors.base import Timing
from tiercut.sensors.camera import Camera
from tiercut.sensors.microphone import Microphone


def soon() -> Timing:
    """Real time in which pauses take a hundredth."""
    return Timing(SystemClock(), lambda seconds: time.sleep(seconds / 100))


# ---------------------------------------------------------------------- camera


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """What OpenCV takes for a camera that is unplugged after ten pictures."""
    path = tmp_path / "camera.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(10):
        writer.write(np.full((48, 64, 3), (250, 10, 10), np.uint8))  # blue
    writer.release()
    return path


def test_camera_gives_colour_pictures_with_their_time(film: Path) -> None:
    sensor = open_sensor(SourceSettings(sensor="camera", path=(film,)), timing=soon())
    item = next(iter(sensor))
    sensor.close()
    assert isinstance(item, Captured)
    red, _, blue = item.frame[0, 0]
    assert (red < 50, blue > 200) == (True, True)
    assert item.at_unix_s == pytest.approx(time.time(), abs=5)


def test_camera_that_is_unplugged_is_opened_again(film: Path) -> None:
    sensor = open_sensor(SourceSettings(sensor="camera", path=(film,)), timing=soon())
    found = list(itertools.islice(sensor, 40))
    sensor.close()
    gone = [n for n, each in enumerate(found) if isinstance(each, Spoiled)]
    assert gone
    assert found[gone[0]].reason == "camera_gone"  # type: ignore[union-attr]
    assert any(isinstance(each, Captured) for each in found[gone[0] :])


def test_camera_that_comes_later_is_waited_for(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.avi"
    sensor = open_sensor(SourceSettings(sensor="camera", path=(path,)), timing=soon())
    frames = iter(sensor)
    first = next(frames)
    assert isinstance(first, Spoiled)
    assert "cannot be opened; connect it (tried again after 1 s)" in first.message
    film.rename(path)
    assert any(isinstance(each, Captured) for each in itertools.islice(frames, 20))
    sensor.close()


class Driver:
    """A camera of ten pictures per second, each of them showing its number."""

    def __init__(self, *_: Any) -> None:
        self._number = -1
        self._start_s = time.monotonic()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        self._number += 1
        time.sleep(max(0.0, self._start_s + self._number / 10 - time.monotonic()))
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.full((2, 2, 3), self._number, np.uint8)

    def release(self) -> None:
        """Nothing to release."""


def test_slow_reader_gets_the_newest_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    sensor = open_sensor(SourceSettings(sensor="camera", path=(Path("0"),)))
    frames = iter(sensor)
    next(frames)
    time.sleep(1.0)
    newest = next(frames)
    sensor.close()
    assert isinstance(newest, Captured)
    assert newest.frame[0, 0, 0] >= 9


def test_close_ends_a_camera_that_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(Driver, "grab", lambda _: never.wait(20))
    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    sensor = open_sensor(SourceSettings(sensor="camera", path=(Path("0"),)))
    threading.Timer(0.2, sensor.close).start()
    start_s = time.monotonic()
    assert not list(sensor)
    assert time.monotonic() - start_s < 5
    never.set()


def test_driver_that_raises_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: 1 / 0)
    sensor = open_sensor(SourceSettings(sensor="camera", path=(Path("0"),)), timing=soon())
    found = list(itertools.islice(sensor, 2))
    sensor.close()
    assert [isinstance(each, Spoiled) and "ZeroDivisionError" in each.message for each in found] == [True, True]


@pytest.mark.parametrize("settings", [{}, {"url": "ftp://x/"}, {"url": "//x"}])
def test_camera_without_a_source_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        check_source(SourceSettings(sensor="camera", **settings))


def test_password_of_a_camera_is_not_said() -> None:
    sensor = open_sensor(SourceSettings(sensor="camera", url="http://me:hunter2@127.0.0.1:1/x"), timing=soon())
    item = next(iter(sensor))
    sensor.close()
    assert isinstance(sensor, Camera)
    assert isinstance(item, Spoiled)
    assert "127.0.0.1:1/x" in item.message
    assert "hunter2" not in item.message


# ---------------------------------------------------------------------- microphone


class PortAudioError(Exception):
    """PortAudio's."""


class PortAudio:
    """Stands in for the module sounddevice: streams whose callback a thread calls, as PortAudio does.

    Args:
        pieces: What each stream that is opened gives; an exception refuses to open it.
    """

    PortAudioError = PortAudioError

    def __init__(self, *pieces: list[Any] | Exception) -> None:
        self._pieces = list(pieces)
        self.opened: list[dict[str, Any]] = []
        self.closed = 0

    def _initialize(self) -> None: ...

    def _terminate(self) -> None: ...

    def InputStream(self, *, callback: Callable[..., None], **settings: Any) -> Any:  # noqa: N802 - its name
        self.opened.append(settings)
        pieces = self._pieces.pop(0)
        if isinstance(pieces, Exception):
            raise pieces

        def run() -> None:
            for piece in pieces:
                buffer = piece.copy()
                callback(buffer, len(buffer), None, SimpleNamespace(input_overflow=False))
                buffer[:] = np.nan  # PortAudio uses it again

        return SimpleNamespace(start=threading.Thread(target=run, daemon=True).start, close=self._close)

    def _close(self) -> None:
        self.closed += 1


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PortAudio]]:
    monkeypatch.setattr("tiercut.sensors.microphone.SILENT_S", 0.2)

    def with_pieces(*pieces: list[Any] | Exception) -> PortAudio:
        module = PortAudio(*pieces)
        monkeypatch.setitem(sys.modules, "sounddevice", module)
        return module

    yield with_pieces
    assert Microphone._open_count == 0


def pieces(count: int, first: int = 0) -> list[Any]:
    return [np.full((800, 1), first + number, np.float32) for number in range(count)]


def heard(count: int, **settings: Any) -> list[Captured | Spoiled]:
    sensor = open_sensor(SourceSettings(sensor="microphone", **settings), timing=soon())
    frames = iter(sensor)
    found = list(itertools.islice(frames, count))
    sensor.close()
    assert not list(frames)
    return found


def test_microphone_gives_what_its_callback_took_in_order(portaudio: Callable[..., PortAudio]) -> None:
    module = portaudio(pieces(20))
    found = heard(20)
    assert [each.frame[0, 0] for each in found if isinstance(each, Captured)] == list(range(20))
    assert {each.frame.shape for each in found if isinstance(each, Captured)} == {(800, 1)}
    settings = {"samplerate": 16000.0, "channels": 1, "device": None, "dtype": "float32", "blocksize": 800}
    assert module.opened == [settings]


def test_settings_choose_device_rate_and_channels(portaudio: Callable[..., PortAudio]) -> None:
    module = portaudio(pieces(1), pieces(1))
    heard(1, path=(Path("USB Audio"),), rate_hz=48000.0, channels=("left", "right"))
    heard(1, path=(Path("3"),))
    assert [each["device"] for each in module.opened] == ["USB Audio", 3]
    assert [module.opened[0][name] for name in ("samplerate", "channels", "blocksize")] == [48000, 2, 2400]


def test_sound_that_nobody_took_in_time_is_lost_and_counted(portaudio: Callable[..., PortAudio]) -> None:
    portaudio(pieces(50))
    sensor = open_sensor(SourceSettings(sensor="microphone"), timing=soon())
    frames = iter(sensor)
    found = [next(frames)]
    time.sleep(0.3)  # all come; 40 find a place
    found += itertools.islice(frames, 3)
    sensor.close()
    assert not list(frames)
    assert [each.reason for each in found if isinstance(each, Spoiled)] == ["overrun"]


def test_microphone_that_is_unplugged_is_opened_again(portaudio: Callable[..., PortAudio]) -> None:
    module = portaudio(pieces(2), PortAudioError("Device unavailable"), pieces(2, 5))
    found = heard(6)
    kinds = [each.reason if isinstance(each, Spoiled) else each.frame[0, 0] for each in found]
    assert kinds == [0, 1, "microphone_gone", "microphone_gone", 5, 6]
    assert "Device unavailable" in found[3].message  # type: ignore[union-attr]
    assert module.closed == 2


def test_name_that_no_microphone_has_is_said(portaudio: Callable[..., PortAudio]) -> None:
    portaudio(ValueError("No input device matching 'USB'"))
    item = heard(1, path=(Path("USB"),))[0]
    assert isinstance(item, Spoiled)
    assert "No input device matching 'USB'" in item.message


def test_microphone_without_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SensorError, match=r"tiercut\[audio\].*libportaudio2"):
        open_sensor(SourceSettings(sensor="microphone"))


def test_form_of_a_microphone_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    form = form_of(SourceSettings(sensor="microphone"))
    assert (form.kind, form.rate_hz, len(form.channels)) == ("signal", 16000, 1)
