"""Full sites in the simulator: what all streams get together, by who plans them, beside the linear program's bound.

    python -m bench.many_streams                                 1 to 16 cameras, four uplinks, one and two edges
    python -m bench.many_streams --cameras 8 --uplinks 1 --edges 2

The sites are those of `bench.capacity`: each camera asks for 10 frames/s, results after 300 ms do not count, a frame
takes 220 ms on a device, 50 ms on an edge, 15 ms on the cloud node, and all that goes to the cloud shares the uplink.
The model is drawn (a network of 12 blocks), time is virtual, and the same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiercut.simulate import Replay, Scenario, simulate
from tiercut.simulate.bound import bound_plan
from tiercut.simulate.flights import RESULT
from tiercut.simulate.scenario import scenario_of

POLICIES = {
    "site": "tiercut",
    "one-by-one": "one-by-one",
    "edge": "edge-only",
    "cloud": "cloud-only",
    "device": "device-only",
}
DEVICE_S, EDGE_TIMES, CLOUD_TIMES = 0.22, 50 / 220, 15 / 220
FPS, DEADLINE_S, LAN_MBPS, FRAME_BYTES = 10, 0.3, 100, 96 * 96 * 3


@dataclass(frozen=True, slots=True)
class Site:
    """A site.

    Attributes:
        cameras: Devices with a stream each.
        edges: How many.
        uplink_mbps: What all that goes to the cloud shares.
        settle_s: Frames that are captured sooner do not count.
        counted_s: Those of so long after it do.
        seed: Of the noise.
    """

    cameras: int
    edges: int
    uplink_mbps: float
    settle_s: float
    counted_s: float
    seed: int

    def scenario(self) -> Scenario:
        """What happens: nothing but frames."""
        cameras = [f"camera-{index}" for index in range(self.cameras)]
        edges = [f"edge-{index}" for index in range(self.edges)]
        document: dict[str, Any] = {
            "format": "tiercut-scenario/1",
            "name": f"{self.cameras}-cameras",
            "duration_seconds": self.settle_s + self.counted_s,
            "frames_per_second": FPS,
            "deadline_seconds": DEADLINE_S,
            "seed": self.seed,
            "profile": {"synthetic": {"seed": 4, "blocks": 12, "device_seconds": DEVICE_S, "frame_bytes": FRAME_BYTES}},
            "lines": [{"name": "uplink", "mbps": self.uplink_mbps}],
            "links": [
                {"from": "device", "to": "edge", "mbps": LAN_MBPS, "latency_seconds": 0.001},
                {"from": "edge", "to": "cloud", "line": "uplink", "latency_seconds": 0.001},
                {"from": "device", "to": "cloud", "line": "uplink", "latency_seconds": 0.001},
            ],
            "nodes": [
                *({"id": name, "tier": "device"} for name in cameras),
                *({"id": name, "tier": "edge", "times": EDGE_TIMES} for name in edges),
                {"id": "cloud", "tier": "cloud", "times": CLOUD_TIMES},
            ],
            "streams": [{"name": name, "device": name} for name in cameras],
        }
        return scenario_of(document, folder=Path())


def frames_per_second(site: Site, policy: str) -> float | None:
    """What a policy gives of all streams, or the bound; ``None`` where it has no plan."""
    scenario = site.scenario()
    if policy == "bound":
        return bound_plan(scenario).frames_per_second
    name = POLICIES[policy]
    if policy == "one-by-one" and site.cameras == 1:
        return None
    (replay,) = simulate(scenario, [name])
    return _counted(replay, site)


def _counted(replay: Replay, site: Site) -> float:
    good = [each for each in replay.flights if each.outcome == RESULT and each.captured_s >= site.settle_s]
    return len(good) / site.counted_s


def lines(sites: Sequence[Site], found: Iterator[float | None], columns: Sequence[str]) -> Iterable[str]:
    """A Markdown table."""
    yield f"| cameras, edges, uplink | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for site in sites:
        bound, *others = (next(found) for _ in columns)
        shown = ["-" if each is None else f"{each:.1f} = {each / (bound or 1):.2f} x" for each in others]
        yield f"| {site.cameras}, {site.edges}, {site.uplink_mbps:g} Mbit/s | {bound:.1f} | {' | '.join(shown)} |"


def main() -> int:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--edges", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--uplinks", nargs="+", type=float, default=[0.5, 1.0, 2.0, 8.0], metavar="MBPS")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--settle", type=float, default=25.0, metavar="S", help="not counted; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="counted; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    sites = [
        Site(cameras, edges, uplink, args.settle, args.seconds, args.seed)
        for cameras, edges, uplink in itertools.product(args.cameras, args.edges, args.uplinks)
    ]
    columns = ["bound", *args.policies]
    each = list(itertools.product(sites, columns))
    with ProcessPoolExecutor(args.jobs) as pool:
        found = pool.map(frames_per_second, *zip(*each, strict=True))
        print("results within the deadline per second, and part of the bound\n")
        for line in lines(sites, found, columns):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
