"""What the sensors of a device have in common: their settings, their time, and an end that may come from any thread."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from tiercut.clock import Clock, SystemClock
from tiercut.errors import SensorError, SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled

PICTURES = SensorForm(kind="image")

#: A player later than this continues from where it is instead of catching up: a site that is slow or down
#: pauses the recording.
MAX_BEHIND_S = 0.25


class Timing:
    """A sensor's clock, and the signal that ends it.

    Args:
        clock: The machine's when not given.
        wait: Sleeps for some seconds; the default wakes as soon as the sensor is closed.
    """

    def __init__(self, clock: Clock | None = None, wait: Callable[[float], object] | None = None) -> None:
        self.clock = SystemClock() if clock is None else clock
        self._closed = threading.Event()
        self._wait = self._closed.wait if wait is None else wait

    @property
    def closed(self) -> bool:
        """The sensor was told to end."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the sensor, and the sleep that it is in."""
        self._closed.set()

    def sleep(self, seconds: float) -> None:
        """Let time pass on the sensor's thread."""
        if seconds > 0 and not self.closed:
            self._wait(seconds)


class Player:
    """Paces a recording: gives each piece the time at which a sensor would have given it.

    Args:
        timing: The sensor's.
        real_time: Wait until each piece is due; else pieces come as fast as they are taken, with times that are as far
            apart as they were recorded.
    """

    def __init__(self, timing: Timing, *, real_time: bool) -> None:
        self._timing = timing
        self._real_time = real_time
        self._due_s = timing.clock.monotonic_s()
        self._start_unix_s = timing.clock.unix_s()
        #: seconds played so far
        self.played_s = 0.0

    def played(self, seconds: float) -> float:
        """Wait until a number of further seconds have passed since the start.

        Returns:
            Wall clock at that moment.
        """
        self.played_s += seconds
        if not self._real_time:
            return self._start_unix_s + self.played_s
        clock = self._timing.clock
        self._due_s = max(self._due_s + seconds, clock.monotonic_s() - MAX_BEHIND_S)
        self._timing.sleep(self._due_s - clock.monotonic_s())
        return clock.unix_s() - (clock.monotonic_s() - self._due_s)


class DeviceSensor(ABC):
    """A sensor that a device reads by itself: the base of all built-in ones.

    Args:
        source: Its settings.
        stream: Name of its stream, for messages.
        timing: Its time; tests give their own.

    Raises:
        SensorError: its source is missing, or is unusable. What may come back, such as a camera, is no error.
    """

    #: Settings without which it cannot be opened, with an example each.
    NEEDS: ClassVar[dict[str, str]] = {}

    def __init__(self, source: SourceSettings, *, stream: str = "", timing: Timing | None = None) -> None:
        self.source = source
        self.stream = stream
        self._timing = Timing() if timing is None else timing

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """Check that the settings are consistent, without looking at the machine.

        Raises:
            SettingsError: names what is missing.
        """
        for name, example in cls.NEEDS.items():
            if not getattr(source, name):
                raise SettingsError(
                    f"the sensor '{source.sensor}' has no source",
                    expected=f"the setting {name}",
                    came="none",
                    fix=f"add {name} = {example}",
                )

    @classmethod
    def form_of(cls, source: SourceSettings) -> SensorForm:  # noqa: ARG003 - others look at the settings
        """What it will give, as far as the settings and its files say: needs no hardware.

        Raises:
            SensorError: its file is there, and is none that it can read.
        """
        return PICTURES

    @property
    def form(self) -> SensorForm:
        """What it gives."""
        return self.form_of(self.source)

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        """Iterate until the sensor ends, or is closed."""
        for item in self._items():
            if self._timing.closed:
                return
            yield item

    @abstractmethod
    def _items(self) -> Iterator[Captured | Spoiled]:
        """Frames; where it waits, it wakes when the sensor is closed."""

    def close(self) -> None:
        """Stop, from any thread: the iteration ends soon."""
        self._timing.close()


def optional(module: str, *, sensor: str, extra: str, expected: str, fix: str = "") -> Any:
    """Import a library that not every device carries.

    Raises:
        SensorError: it is not there; says what to install.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: its part in C is missing
        raise SensorError(
            f"cannot open the {sensor}",
            expected=expected,
            came=str(error),
            fix=f"pip install tiercut[{extra}]" + (f" ({fix})" if fix else ""),
        ) from error


def in_real_time(source: SourceSettings, *, otherwise: bool) -> bool:
    """Whether a recording is played in its own time.

    Args:
        source: The settings.
        otherwise: Where they do not say.
    """
    return otherwise if source.real_time is None else source.real_time


def options_of(source: SourceSettings) -> Mapping[str, str]:
    """The options of the settings, for what only one sensor needs: name → value."""
    return dict(option.split("=", 1) for option in source.options)
