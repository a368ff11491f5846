"""What a sensor gives: pictures, samples of signals, or arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from tiercut.names import printable

#: Longest message of a spoiled frame, in characters.
MAX_MESSAGE = 600

FormKind = Literal["image", "signal", "tensor"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a signal.

    Attributes:
        name: Such as ``acc_x``; empty where not given.
        unit: Such as ``m/s2``; empty where not given.
    """

    name: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorForm:
    """The form of what a sensor gives, known before its first frame.

    Attributes:
        kind: ``image``: pictures of any size. ``signal``: any number of samples at a time. ``tensor``: arrays that are
            the model's input as they are.
        rate_hz: Signals: samples per second; ``None`` where not given.
        channels: Signals: one entry per channel.
        shape: Tensors: their shape; ``None`` where not given.
        dtype: Tensors: their element type; empty where not given.
    """

    kind: FormKind
    rate_hz: float | None = None
    channels: tuple[Channel, ...] = ()
    shape: tuple[int, ...] | None = None
    dtype: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """What a sensor gave.

    Attributes:
        frame: A picture: uint8 ``(height, width)`` or ``(height, width, 3)``. A signal: float32
            ``(samples, channels)``, any number of samples. Else an array as the model takes it.
        label: Its name for people (``chelsea.png``).
        at_unix_s: Wall clock of its capture (of a signal: of its last sample); ``None``: now.
    """

    frame: NDArray[Any]
    label: str | None = None
    at_unix_s: float | None = None


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A frame that cannot be used: it is counted and dropped, and the sensor goes on.

    Attributes:
        reason: Name of the counter, ``lower_snake_case``, from a fixed and small set.
        message: For people: what was expected, what came, what to do. Parts of it may be the sender's own text: it is
            cut, and what cannot be printed (line ends, control sequences of terminals) becomes a question mark.
    """

    reason: str
    message: str

    def __post_init__(self) -> None:
        shown = printable(self.message[: MAX_MESSAGE + 1])
        object.__setattr__(self, "message", shown if len(shown) <= MAX_MESSAGE else f"{shown[: MAX_MESSAGE - 1]}…")


class Sensor(Protocol):
    """Gives frames, one after the other; each call of the iterator blocks until the next one is there."""

    @property
    def form(self) -> SensorForm:
        """What it gives."""
        ...

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        """Iterate until the sensor ends.

        Raises:
            SensorError: it cannot be read any more.
        """
        ...

    def close(self) -> None:
        """Stop: from any thread, more than once; the iteration ends soon."""
        ...
