"""What the streams of a site share: processors, links and lines, by name and as rows of arrays."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from tiercut.errors import SettingsError
from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import PlanIndex
from tiercut.planner.problem import Problem
from tiercut.planner.site.problem import SharedLine, SiteProblem, SiteStream


@dataclass(frozen=True, slots=True)
class Resources:
    """All that can be short in a site.

    Attributes:
        names: By row: nodes, then links (``from -> to``), then shared lines.
        row: The same the other way round.
        capacity: (R) part of its time that plans may use.
        hops: Rows of the three that follow, by (from, to, Mbit/s); the first row is none, which costs nothing.
        link: (H) the row of a hop's link.
        link_per_bit: (H) seconds.
        lines_per_bit: (H, L) seconds on each shared line.
        line: (L) the rows of the shared lines.
        frame_bits: What each message has besides its tensors.
        processors: Node id → the name of the processor that it works on, where that is another node's.
        problems: Of the streams, without links that cross a line that carries nothing.
    """

    names: tuple[str, ...]
    row: Mapping[str, int]
    capacity: Floats
    hops: Mapping[tuple[str, str, float], int]
    link: Ints
    link_per_bit: Floats
    lines_per_bit: Floats
    line: Ints
    frame_bits: float
    processors: Mapping[str, str]
    problems: tuple[Problem, ...]

    def processor(self, node: str) -> str:
        """The name of the processor that a node works on."""
        return self.processors.get(node, node)

    def hop(self, stream: int, start: str, end: str) -> int:
        """The row of a stream's hop."""
        link = self.problems[stream].links.get((start, end))
        return 0 if link is None else self.hops[start, end, link.mbps]

    def per_bit(self, price: Floats) -> Floats:
        """(H) what a bit costs on each hop, at a price (R) of a second of each resource."""
        costs: Floats = price[self.link] * self.link_per_bit + self.lines_per_bit @ price[self.line]
        return costs

    def busy_seconds(self, stream: int, plan: PlanIndex) -> dict[str, float]:
        """How long a frame of a plan keeps each resource: coding is work of the nodes, not of the line."""
        problem = self.problems[stream]
        variant, route = problem.variants[plan.variant], plan.route(problem)
        busy: defaultdict[str, float] = defaultdict(float)
        for node, start, end in route:
            if end > start:
                seconds = node.slowdown * float(node.block_seconds[variant.name][start:end].sum())
                busy[self.processor(node.id)] += seconds / node.frames_of(variant.name)
        for (sender, _, cut), (receiver, _, _), index in zip(route, route[1:], plan.codecs, strict=False):
            codec, size = problem.codecs[index], float(variant.cut_bytes[cut])
            busy[self.processor(sender.id)] += size / 1e6 * codec.encode_seconds_per_mb
            busy[self.processor(receiver.id)] += size / 1e6 * codec.decode_seconds_per_mb
            bits, hop = size / codec.ratio * 8 + self.frame_bits, self.hop(stream, sender.id, receiver.id)
            busy[self.names[self.link[hop]]] += bits * float(self.link_per_bit[hop])
            for line in np.flatnonzero(self.lines_per_bit[hop]):
                busy[self.names[self.line[line]]] += bits * float(self.lines_per_bit[hop, line])
        return {where: float(seconds) for where, seconds in busy.items() if seconds > 0}


def resources_of(site: SiteProblem) -> Resources:
    """Name them.

    Raises:
        SettingsError: a figure or a name of the site is wrong.
    """
    _check(site)
    closed = {ends for line in site.lines if line.mbps == 0 for ends in line.links}
    problems = tuple(_without_links(stream.problem, closed) for stream in site.streams)
    processors = dict(site.processors)
    nodes = dict.fromkeys(processors.get(node.id, node.id) for problem in problems for node in problem.nodes)
    hops: dict[tuple[str, str, float], int] = {}
    for problem in problems:
        here = {node.id for node in problem.nodes}
        for (start, end), link in problem.links.items():
            if start in here and end in here:
                hops.setdefault((start, end, link.mbps), len(hops) + 1)
    links = dict.fromkeys(_arrow(start, end) for start, end, _ in hops)
    names = (*nodes, *links, *(line.name for line in site.lines))
    row = {name: index for index, name in enumerate(names)}
    taken = dict(site.taken)
    per_line = [[0.0] * len(site.lines)]
    per_line += [[_per_bit(line, (start, end)) for line in site.lines] for start, end, _ in hops]
    return Resources(
        names=names,
        row=row,
        capacity=np.array([max(0.0, site.filled - taken.get(name, 0.0)) for name in names]),
        hops=hops,
        link=np.array([0, *(row[_arrow(start, end)] for start, end, _ in hops)], dtype=np.intp),
        link_per_bit=np.array([0.0, *(_seconds_per_bit(mbps) for _, _, mbps in hops)]),
        lines_per_bit=np.array(per_line).reshape(len(hops) + 1, len(site.lines)),
        line=np.array([row[line.name] for line in site.lines], dtype=np.intp),
        frame_bits=8 * site.frame_bytes,
        processors=processors,
        problems=problems,
    )


def _per_bit(line: SharedLine, ends: tuple[str, str]) -> float:
    return _seconds_per_bit(line.mbps) if line.mbps and ends in line.links else 0.0


def _seconds_per_bit(mbps: float) -> float:
    return 1 / max(1.0, mbps * 1e6)


def _arrow(start: str, end: str) -> str:
    return f"{start} -> {end}"


def _without_links(problem: Problem, closed: set[tuple[str, str]]) -> Problem:
    if closed.isdisjoint(problem.links):
        return problem
    return replace(problem, links={ends: link for ends, link in problem.links.items() if ends not in closed})


def _check(site: SiteProblem) -> None:
    _unique([stream.name for stream in site.streams], "stream")
    _unique([line.name for line in site.lines], "shared line")
    taken_names = {node.id for stream in site.streams for node in stream.problem.nodes}
    taken_names |= {_arrow(*ends) for stream in site.streams for ends in stream.problem.links}
    for stream in site.streams:
        _check_stream(stream)
    for line in site.lines:
        if not 0 <= line.mbps < math.inf:
            _refuse(f"the shared line '{line.name}'", "mbps of 0 or more", str(line.mbps), "give what it carries")
        if line.name in taken_names:
            _refuse(f"the shared line '{line.name}'", "a name of its own", "that of a node or a link", "rename it")
    for where, part in site.taken:
        if not 0 <= part < math.inf:
            _refuse(f"what is taken of '{where}'", "a part of its time, 0 or more", str(part), "correct it")
    if not 0 <= site.frame_bytes < math.inf:
        _refuse("the site's 'frame_bytes'", "a number of bytes, 0 or more", str(site.frame_bytes), "correct it")
    if not 0 < site.filled <= 1:
        _refuse("the site's 'filled'", "a part above 0 and at most 1", str(site.filled), "correct it")


def _check_stream(stream: SiteStream) -> None:
    if not stream.frames_per_second >= 0:
        came = str(stream.frames_per_second)
        _refuse(f"the stream '{stream.name}'", "frames_per_second of 0 or more", came, "give its sensor's rate")
    if not 0 < stream.weight < math.inf:
        _refuse(f"the stream '{stream.name}'", "a weight above 0", str(stream.weight), "leave it at 1")


def _unique(names: Sequence[str], what: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        expected = f"a name of its own for every {what}"
        _refuse("the site", expected, f"{', '.join(twice)} more than once", "rename all but one")


def _refuse(what: str, expected: str, came: str, fix: str) -> NoReturn:
    raise SettingsError(f"{what} cannot be planned", expected=expected, came=came, fix=fix)
