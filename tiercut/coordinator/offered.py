"""How many frames a stream's sensor gives, and how many get through, from the reports of the node that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from tiercut.protocol.streams import SourceReport

#: Counter of frames that were passed over because the site has no room for them, before anyone looked at them.
BEYOND_RATE = "dropped.beyond_rate"
#: Counters of frames that were turned away before they set out, because the last ones had not got through.
TURNED_AWAY = ("dropped.newer_frame", "dropped.sensor_ahead", BEYOND_RATE)
#: A way takes what its sensor gives from this share of the frames on.
TAKES_ALL = 0.95
#: Reports closer to each other say little of a rate: a few frames more or less.
APART_S = 1.5
#: A report older than this says nothing of now.
OLD_S = 10.0


@dataclass(slots=True)
class Offered:
    """One stream's sensor.

    Attributes:
        asked_fps: Frames per second that it would give; ``None`` while unknown, and where it gives as many as are
            taken.
        done_fps: Frames per second that have had their outcome; ``None`` while unknown.
    """

    asked_fps: float | None = None
    done_fps: float | None = None
    _counted: Mapping[str, int] = field(default_factory=dict)
    _counted_s: float | None = None

    @property
    def gets_stuck(self) -> bool:
        """Fewer frames get through than the sensor gives."""
        asked_fps, done_fps = self.asked_fps, self.done_fps
        return asked_fps is not None and done_fps is not None and done_fps < TAKES_ALL * asked_fps

    def heard(self, report: SourceReport, now_s: float) -> None:
        """A report of its counters, which start again with the node that counts."""
        if report.state != "running":
            self.asked_fps = self.done_fps = self._counted_s = None
            return
        first = self._counted_s is None or now_s - self._counted_s > OLD_S
        restarted = report.frames.get("captured", 0) < self._counted.get("captured", 0)
        if first or restarted or self._counted_s is None:
            self.asked_fps = _or_none(report.frames_per_second)
        elif now_s - self._counted_s < APART_S:
            return
        else:
            self._count(report, now_s - self._counted_s)
        self._counted, self._counted_s = report.frames, now_s

    def _count(self, report: SourceReport, seconds: float) -> None:
        def more(name: str) -> int:
            return max(0, report.frames.get(name, 0) - self._counted.get(name, 0))

        captured, unchanged = more("captured"), more("dropped.unchanged")
        looked_at = captured - more(BEYOND_RATE)
        used = 1.0 if looked_at <= 0 else 1 - min(1.0, unchanged / looked_at)
        self.done_fps = more("done") / seconds
        if (fps := _or_none(report.frames_per_second)) is not None:
            self.asked_fps = used * fps
        elif any(more(name) for name in TURNED_AWAY):
            self.asked_fps = (used * captured + more("dropped.sensor_ahead")) / seconds
        else:
            self.asked_fps = None


def _or_none(fps: float | UnsetType) -> float | None:
    return None if fps is UNSET else fps
