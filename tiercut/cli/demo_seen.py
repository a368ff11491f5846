"""What was seen of a full site: how many results of late, the ways of frames, and what was planned. Without drawing."""

from __future__ import annotations

import json
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tiercut.cli.demo_view import names_only, short_in
from tiercut.plan import Plan
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import StreamPlan
from tiercut.results.reading import headline_in

#: Results of so many seconds are counted, as the hub does; the latency is their median.
WINDOW_S = 5.0
#: Plans that come with one reason within this time are one change of the site.
TOGETHER_S = 3.0
#: Changes that are kept.
CHANGES = 40
#: A part of the site is busy from this load on.
BUSY = 0.3


@dataclass(slots=True)
class Change:
    """Streams that have new plans, all for one reason.

    Attributes:
        at_s: Seconds since the story's begin.
        reason: Why.
        streams: Whose.
    """

    at_s: float
    reason: str
    streams: set[str]

    @property
    def who(self) -> str:
        """The stream, or how many of them."""
        return next(iter(self.streams)) if len(self.streams) == 1 else f"{len(self.streams)} cameras"


@dataclass(slots=True)
class CameraSeen:
    """One camera's stream.

    Attributes:
        ways: Plans with the shares of its frames; none before the first.
        label: What the last frame was called.
        headline: What was seen in it, and how sure that is.
        trouble: What is wrong with it.
    """

    ways: tuple[tuple[Plan, float], ...] = ()
    label: str = ""
    headline: tuple[str, str] = ("", "")
    trouble: Sequence[str] = ()
    #: (when it came, latency in ms or ``None``)
    results: deque[tuple[float, float | None]] = field(default_factory=deque)


@dataclass(slots=True)
class Seen:
    """A site's cameras as they are now. All times are seconds of one monotonic clock.

    Attributes:
        cameras: By name.
        began_s: When the story began; ``None`` before.
        capacity: What the site gives, as the hub says.
        changes: Changes of plans, the newest last.
    """

    cameras: Mapping[str, CameraSeen]
    began_s: float | None = None
    capacity: SiteCapacity | None = None
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=CHANGES))

    def elapsed_s(self, now_s: float) -> float:
        """Since the story's begin."""
        return 0.0 if self.began_s is None else now_s - self.began_s

    def result(self, payload: bytes, now_s: float) -> None:
        """A result."""
        said = json.loads(payload)
        camera = self.cameras.get(said["stream"])
        if camera is None:
            return
        camera.label, camera.headline = said["label"] or "", headline_in(said)
        camera.results.append((now_s, said["latency_ms"]))
        _forget(camera.results, now_s)

    def plan(self, message: StreamPlan, now_s: float) -> None:
        """New plans of a stream."""
        camera = self.cameras.get(message.stream)
        if camera is None:
            return
        camera.ways = message.mix
        at_s, reason = self.elapsed_s(now_s), names_only(message.reason)
        for each in reversed(self.changes):
            if at_s - each.at_s > TOGETHER_S:
                break
            if each.reason == reason:
                each.streams.add(message.stream)
                return
        self.changes.append(Change(at_s, reason, {message.stream}))

    def per_second(self, name: str, now_s: float) -> float:
        """Results of a camera per second, of late."""
        results = self.cameras[name].results
        _forget(results, now_s)
        return len(results) / WINDOW_S

    def latency_ms(self, name: str) -> float | None:
        """Median of a camera's results of late."""
        known = [latency for _, latency in self.cameras[name].results if latency is not None]
        return statistics.median(known) if known else None

    def short(self) -> list[str]:
        """What the site is short of."""
        return [] if self.capacity is None else short_in(self.capacity)

    def troubles(self) -> list[str]:
        """What else is wrong, each once, with whose it is first."""
        said = {names_only(each): name for name, camera in self.cameras.items() for each in camera.trouble}
        return [f"{name}: {each}" for each, name in said.items()]

    def busy(self) -> list[tuple[str, float]]:
        """Parts of the site that are in use as planned, the busiest first; all cameras are one."""
        load = {} if self.capacity is None else self.capacity.load
        parts: dict[str, float] = {}
        for where, part in load.items():
            name = _part(names_only(where), tuple(self.cameras))
            parts[name] = max(part, parts.get(name, 0.0))
        return sorted(((name, part) for name, part in parts.items() if part >= BUSY), key=lambda each: -each[1])


def _forget(results: deque[tuple[float, float | None]], now_s: float) -> None:
    while results and results[0][0] <= now_s - WINDOW_S:
        results.popleft()


def _part(where: str, cameras: Sequence[str]) -> str:
    """The name of a part of the site: cameras and their links have one for all."""
    start, _, end = where.partition(" -> ")
    if start not in cameras:
        return where.replace(" -> ", " → ")
    return "cameras' links" if end else "cameras"


def way_words(ways: Sequence[tuple[Plan, float]], *, whole_names: bool) -> str:
    """Who computes frames: ``62 % edge-1, 38 % camera-1``, where a cut frame has several: ``camera-1 → edge-1``.

    Args:
        ways: Plans with their shares.
        whole_names: Rather than the names of tiers.
    """
    shares: dict[str, float] = {}
    for plan, share in ways:
        where = " → ".join(_who(plan, whole_names=whole_names))
        shares[where] = shares.get(where, 0.0) + share
    if len(shares) == 1:
        return next(iter(shares))
    return ", ".join(f"{share * 100:.0f} % {where}" for where, share in sorted(shares.items(), key=lambda s: -s[1]))


def _who(plan: Plan, *, whole_names: bool) -> list[str]:
    """The nodes that compute a part of a plan's frames."""
    parts = (
        (plan.device, "camera", plan.first_cut > 0),
        (plan.edge, "edge", plan.second_cut > plan.first_cut),
        (plan.cloud, "cloud", plan.cloud is not None),
    )
    return [str(name) if whole_names else tier for name, tier, computes in parts if computes]
