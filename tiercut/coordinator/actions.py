"""Actions of the coordinator; the hub's shell, or a simulator, carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.plan import Tier
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.explanations import Explanation
from tiercut.protocol.nodes import PrepareSegment, Probe, StreamPlan


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask a node to load a segment before a plan needs it; it answers with `Ready`."""

    tier: Tier
    node: str
    site: str
    message: PrepareSegment


@dataclass(frozen=True, slots=True)
class ProbeHop:
    """Ask a node to measure a hop that nothing crosses; it answers with `Transfer`."""

    tier: Tier
    node: str
    site: str
    message: Probe


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """Publish a stream's plan, retained."""

    message: StreamPlan


@dataclass(frozen=True, slots=True)
class Explain:
    """Publish what is known about a stream's plan, retained JSON for people and ``tiercut watch``."""

    message: Explanation


@dataclass(frozen=True, slots=True)
class TellCapacity:
    """Publish what the site as a whole gives, retained JSON for people and ``tiercut watch``."""

    message: SiteCapacity


Action = Prepare | ProbeHop | PublishPlan | Explain | TellCapacity
