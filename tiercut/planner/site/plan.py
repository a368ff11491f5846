"""What a site can do: the ways that each stream's frames go, and what is busy for which part of its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiercut.planner.answer import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One of the plans that a stream's frames follow.

    Attributes:
        choice: The plan, by the names of the stream's problem.
        frames_per_second: How many of its frames go this way.
        latency_seconds: What one takes, where nothing waits for others.
    """

    choice: Choice
    frames_per_second: float
    latency_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamShare:
    """What one stream gets.

    Attributes:
        ways: Of most frames first; none where no plan keeps the stream's constraints.
        asked_frames_per_second: What its sensor gives.
        short: Names of the resources of which more would give this stream more frames, what counts most first; none
            where it has all that it asks for.
    """

    ways: tuple[Way, ...]
    asked_frames_per_second: float
    short: tuple[str, ...] = ()

    @property
    def frames_per_second(self) -> float:
        """All its ways together."""
        return sum(way.frames_per_second for way in self.ways)


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """What all streams get.

    Attributes:
        shares: By stream name.
        load: Part of its time that each resource is busy, with what other things take of it: a node by its id, a link
            as ``from -> to``, a shared line by its name.
        least: Frames per second and weight of the stream that has least, of those that do not have all they ask for
            but have a plan at all; infinity where all have.
        bound_frames_per_second: No plan gives more frames in all to streams that are served as fairly. Infinity where
            none is known: the solver failed on figures too far apart.
    """

    shares: Mapping[str, StreamShare]
    load: Mapping[str, float]
    least: float
    bound_frames_per_second: float

    @property
    def frames_per_second(self) -> float:
        """All streams together."""
        return sum(share.frames_per_second for share in self.shares.values())

    @property
    def gap(self) -> float:
        """Part of the bound that the plan stays below it."""
        bound = self.bound_frames_per_second
        return max(0.0, 1 - self.frames_per_second / bound) if bound else 0.0
