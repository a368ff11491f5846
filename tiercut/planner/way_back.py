"""The result's way back: from the node that ends the model to whoever waits for the result.

Results are small, so a way back takes the latencies of the links that it crosses, and no line's time. A link that is
given in one direction only takes as long in the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tiercut.planner.problem import Link, Node

#: Who waits for a stream's results: its device, the site (its broker, where the edges are), the cloud.
Destination = Literal["device", "site", "cloud"]


@dataclass(frozen=True, slots=True)
class WayBack:
    """What results take to their destination, from wherever the model ends.

    Attributes:
        destination: Who waits for them.
        seconds: By node id: 0 where the destination is, infinity where no way leads.
    """

    destination: Destination
    seconds: Mapping[str, float]


def way_back_to(
    destination: Destination,
    nodes: Sequence[Node],
    links: Mapping[tuple[str, str], Link],
) -> WayBack:
    """The ways of least latency.

    Args:
        destination: Who waits. The site's broker is where its edges are: it is reached at any of them, and at the
            device of a site without edges.
        nodes: The device, edges and cloud nodes.
        links: By (from, to), between these nodes.
    """
    at = {node.id: place for place, node in enumerate(nodes)}
    seconds = np.where(np.eye(len(at), dtype=bool), 0.0, np.inf)
    for (start, end), link in links.items():
        seconds[at[start], at[end]] = link.latency_seconds
        if (end, start) not in links:
            seconds[at[end], at[start]] = link.latency_seconds
    for middle in range(len(at)):  # Floyd and Warshall
        np.minimum(seconds, seconds[:, middle, None] + seconds[middle], out=seconds)
    tiers = {node.tier for node in nodes}
    tier = {"device": "device", "site": "edge" if "edge" in tiers else "device", "cloud": "cloud"}[destination]
    ends = [at[node.id] for node in nodes if node.tier == tier]
    nearest = seconds[:, ends].min(axis=1, initial=math.inf)
    return WayBack(destination, dict(zip(at, nearest.tolist(), strict=True)))
