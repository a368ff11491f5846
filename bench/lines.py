"""What each policy makes of lines as they are found in the world: ``python -m bench.lines``, a few minutes.

Every line of ``examples/scenarios/lines`` is replayed as the uplink (from the edges and from the device to the cloud)
and before the edge (from the device to all others), with two profiles: VGG19 as published, and a mobile network. The
oracle, the best fixed plan and all else that does not depend on the coordinator are kept in a folder for temporary
files, by the content of the scenario and of the simulator: ``--policies tiercut --only wifi-far`` takes seconds.

Cost is the mean over all frames; one without a result counts as the timeout.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tiercut
from tiercut.errors import SettingsError, TiercutError
from tiercut.simulate import Scenario, simulate
from tiercut.simulate.lines import Line, read_line
from tiercut.simulate.run import POLICIES
from tiercut.simulate.scenario import scenario_of

ROOT = Path(__file__).parent.parent
LINES = ROOT / "examples" / "scenarios" / "lines"
KEPT = Path(tempfile.gettempdir()) / "tiercut-bench-lines"
ORACLE, BEST_FIXED = "oracle", "best-fixed"
#: Policies that depend on the coordinator's estimates.
LIVE = {"tiercut", "neurosurgeon", "edgent"}
#: Sources that the others depend on.
SOURCES = ("simulate", "planner", "pipeline", "profiling")
#: Modules among them that only live policies depend on, or that only show.
NOT_SOURCES = {"live.py", "report.py", "picture.py", "run.py"}
#: A policy is behind the best fixed plan where it costs more by this part.
BEHIND = 0.05

#: By name: what a scenario says of nodes and frames.
PROFILES: Mapping[str, dict[str, Any]] = {
    "vgg19": {"profile": {"problem": "tests/data/plan/two-cuts-win.json"}, "min_first_cut": 1},
    "mobile": {
        "profile": {"synthetic": {"seed": 4, "blocks": 20, "device_seconds": 0.4}},
        "nodes": [
            {"id": "device", "tier": "device"},
            {"id": "edge", "tier": "edge", "times": 0.3},
            {"id": "cloud", "tier": "cloud", "times": 0.04},
        ],
    },
}
#: By place: which hops are the line; the others are as good as these.
PLACES: Mapping[str, set[tuple[str, str]]] = {
    "uplink": {("edge", "cloud"), ("device", "cloud")},
    "before the edge": {("device", "edge"), ("device", "cloud")},
}
GOOD: Mapping[tuple[str, str], dict[str, float]] = {
    ("device", "edge"): {"mbps": 60, "latency_seconds": 0.003},
    ("edge", "cloud"): {"mbps": 40, "latency_seconds": 0.015},
}
#: Hops of the problem with that profile.
HOPS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "vgg19": (("device", "edge"), ("edge", "cloud")),
    "mobile": (("device", "edge"), ("edge", "cloud"), ("device", "cloud")),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One replay: a line at a place, with a profile."""

    line: Line
    place: str
    profile: str
    seconds: float
    seed: int

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.line.name}, {self.place}, {self.profile}"

    def document(self) -> dict[str, Any]:
        """As a scenario's file has it."""
        trace = self.line.trace(self.seed, self.seconds)
        points = [list(point) for point in zip(trace.times, trace.values, strict=True)]
        mbps = {"kind": "steps", "points": points}  # drawn once: hops of one line have the same rate
        own = {"mbps": mbps, "latency_seconds": self.line.latency_seconds}
        links = [
            {"from": start, "to": end, **(own if (start, end) in PLACES[self.place] else GOOD[start, end])}
            for start, end in HOPS[self.profile]
        ]
        return {
            "format": "tiercut-scenario/1",
            "name": f"{self.line.name}-{self.place}-{self.profile}".replace(" ", "-"),
            "duration_seconds": self.seconds,
            "frames_per_second": 2,
            "seed": self.seed,
            "links": links,
            **PROFILES[self.profile],
        }

    def scenario(self) -> Scenario:
        """What happens."""
        return scenario_of(self.document(), folder=ROOT)


def costs_ms(case: Case, policies: Sequence[str]) -> dict[str, float]:
    """What each policy costs, kept where the coordinator has no part in it."""
    scenario = case.scenario()
    found: dict[str, float] = {}
    for name in policies:
        kept = None if name in LIVE else KEPT / f"{_key(case)}-{name}"
        try:
            known = None if kept is None else float(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known is None:
            (replay,) = simulate(scenario, [name])
            known = 1e3 * replay.cost_s(scenario.timeout_s)
            if kept is not None:
                KEPT.mkdir(exist_ok=True)
                kept.write_text(repr(known), encoding="utf-8")
        found[name] = known
    return found


def _key(case: Case) -> str:
    said = json.dumps(case.document(), sort_keys=True)
    return hashlib.sha256((_sources() + said).encode()).hexdigest()[:24]


@functools.cache
def _sources() -> str:
    package = Path(tiercut.__file__).parent
    files = sorted(path for part in SOURCES for path in (package / part).glob("*.py") if path.name not in NOT_SOURCES)
    files += sorted((ROOT / "tests" / "data" / "plan").glob("*.json"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def cases(only: Sequence[str], seconds: float, seed: int) -> list[Case]:
    """All replays, or those of some lines or groups.

    Raises:
        SettingsError: there is no such line.
    """
    lines = [read_line(path) for path in sorted(LINES.glob("*.toml"))]
    unknown = set(only) - {line.name for line in lines} - {line.group for line in lines}
    if unknown:
        raise SettingsError(
            "a line is not known",
            expected=f"one of {', '.join(line.name for line in lines)}, or a group of them",
            came=", ".join(sorted(unknown)),
            fix="correct --only",
        )
    chosen = [line for line in lines if not only or {line.name, line.group} & set(only)]
    chosen.sort(key=lambda line: (line.group, line.name))
    return [Case(line, place, profile, seconds, seed) for line in chosen for place in PLACES for profile in PROFILES]


@dataclass(frozen=True, slots=True)
class Row:
    """A policy in a group of replays.

    Attributes:
        group: The group.
        policy: The policy.
        replays: How many.
        mean: Geometric mean of its cost over the oracle's.
        worst: The greatest of these.
        where: In which replay.
        behind: Replays in which it is more than `BEHIND` behind the best fixed plan.
        farthest: Its cost over that plan's, at most.
    """

    group: str
    policy: str
    replays: int
    mean: float
    worst: float
    where: str
    behind: int
    farthest: float


def rows(found: Sequence[tuple[Case, dict[str, float]]], policies: Sequence[str]) -> Iterable[Row]:
    """The table: each policy in each group, and in all."""
    groups = list(dict.fromkeys(case.line.group for case, _ in found))
    for group in [*groups, "all"] if len(groups) > 1 else groups:
        part = [(case, costs) for case, costs in found if group in {"all", case.line.group}]
        for policy in policies:
            times = [costs[policy] / costs[ORACLE] for _, costs in part]
            against = [costs[policy] / costs[BEST_FIXED] for _, costs in part]
            yield Row(
                group=group,
                policy=policy,
                replays=len(part),
                mean=math.exp(sum(map(math.log, times)) / len(times)),
                worst=max(times),
                where=part[times.index(max(times))][0].title,
                behind=sum(each > 1 + BEHIND for each in against),
                farthest=max(against),
            )


def _show(table: Iterable[Row]) -> None:
    print(f"{'group':<13}{'policy':<14}{'mean':>7}{'worst':>8}{'behind':>9}{'most':>7}  worst in")
    last = ""
    for row in table:
        if last and row.group != last:
            print()
        last = row.group
        behind = f"{row.behind}/{row.replays}"
        figures = f"{row.mean:>7.3f}{row.worst:>8.2f}{behind:>9}{row.farthest:>7.2f}"
        print(f"{row.group:<13}{row.policy:<14}{figures}  {row.where}")
    print(f"\nmean, worst: cost over the oracle's; behind: replays more than {BEHIND:.0%} behind the best fixed plan;")
    print("most: cost over that plan's, at most")


def _show_all(found: Sequence[tuple[Case, dict[str, float]]], policies: Sequence[str]) -> None:
    print(f"{'cost, ms':<42}" + "".join(f"{name:>13}" for name in policies))
    for case, costs in found:
        print(f"{case.title:<42}" + "".join(f"{costs[name]:>13.0f}" for name in policies))
    print()


def main() -> int:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="LINE", help="this line or group; repeatable")
    parser.add_argument("--policies", metavar="A,B", help=f"only these of {', '.join(POLICIES)}")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long each replay is (120)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--all", action="store_true", help="also print every replay")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    args = parser.parse_args()
    wanted = list(POLICIES) if args.policies is None else [name.strip() for name in args.policies.split(",")]
    needed = list(dict.fromkeys([*wanted, BEST_FIXED, ORACLE]))
    try:
        todo = cases(args.only, args.seconds, args.seed)
        if args.jobs > 1:
            with ProcessPoolExecutor(args.jobs) as pool:
                costs = list(pool.map(functools.partial(costs_ms, policies=needed), todo))
        else:
            costs = [costs_ms(case, needed) for case in todo]
    except TiercutError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = list(zip(todo, costs, strict=True))
    if args.all:
        _show_all(found, needed)
    table = list(rows(found, wanted))
    _show(table)
    if args.json is not None:
        replays = [{"replay": case.title, "group": case.line.group, "cost_ms": cost} for case, cost in found]
        figures = {"replays": replays, "rows": [asdict(row) for row in table]}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
