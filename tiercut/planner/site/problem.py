"""What is asked of a site: its streams, each with its planning problem as if it were alone, and what they share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiercut.planner.problem import Problem

#: Part of its time that a processor or a line may be busy: with more, frames of several streams that come at the same
#: moment wait for each other for long.
FILLED = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStream:
    """One stream.

    Attributes:
        name: Its name.
        problem: As if it were alone: its constraints hold for every way that its frames may go; its objective does not
            count. Nodes and links are the same wherever their ids are. ``queue_seconds`` count in latencies only.
        frames_per_second: What its sensor gives; infinity for as many as are taken.
        weight: Where there is not enough for all, a stream of weight 2 gets twice as many frames as one of weight 1.
        model: Whose segments its plans run, which streams of one model share; ``None``: its problem's name says it.
    """

    name: str
    problem: Problem
    frames_per_second: float = math.inf
    weight: float = 1.0
    model: str | None = None

    @property
    def model_id(self) -> str:
        """What its model is told by."""
        return self.problem.name if self.model is None else self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLine:
    """A line that several links cross, such as a site's uplink.

    Attributes:
        name: Its name, for people.
        links: (from, to) of the links that cross it.
        mbps: What it carries of all of them together.
    """

    name: str
    links: frozenset[tuple[str, str]]
    mbps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteProblem:
    """All streams of a site.

    Attributes:
        streams: Each with a name of its own.
        lines: Lines that several links share. Each link is a line of its own besides.
        processors: Node id → the node whose processor it works on, where that is another one.
        frame_bytes: What each message has besides its tensors. Lines carry that, too; latencies have it in them.
        taken: Part of its time that a resource is busy with other things, by its name in `SitePlan.load`.
        filled: Part of a resource's time that plans may use.
    """

    streams: tuple[SiteStream, ...]
    lines: tuple[SharedLine, ...] = ()
    processors: tuple[tuple[str, str], ...] = ()
    frame_bytes: float = 0.0
    taken: tuple[tuple[str, float], ...] = ()
    filled: float = FILLED
