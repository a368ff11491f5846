"""The discrete-event model of a site: frames from the sensor through nodes and links to an outcome each.

Latency follows from contention: whatever a plan promises, a frame waits for those before it. The sensor's window and
the decisions on a frame are those of the real programs (`InFlightWindow`, `pipeline.decide`); delivery is ``latest``.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from tiercut.coordinator.mix import Mix
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.protocol.nodes import Progress, Transfer
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport
from tiercut.simulate.flights import RESULT, Flight, journey
from tiercut.simulate.scenario import LinkTraces, Scenario
from tiercut.simulate.sensors import Sensor
from tiercut.simulate.sim_links import SimLine, SimLink
from tiercut.simulate.stations import SimStation

#: How often a policy hears that time passes: the period of the hub's coordinator.
TICK_S = 0.25
#: Messages in flight for this long are reported, as by the real nodes.
LATE_S = 0.15
#: How often nodes publish their status, as the real ones by default.
STATUS_S = 5.0
#: The same of reports on sensors.
REPORT_S = 1.0
#: What becomes of a frame whose result comes after its deadline: it is of no use, whoever chose its plan.
LATE = "past_deadline"


class Policy(Protocol):
    """Who chooses plans: hears what a hub would hear, and says which plan a frame follows."""

    def presence(self, node: str, *, online: bool, now_s: float) -> None:
        """A node was noticed to be there, or gone."""

    def pace(self, node: str, pace: float, now_s: float) -> None:
        """An idle node says how slow it is."""

    def result(self, result: Journey, now_s: float) -> None:
        """A frame's result came."""

    def progress(self, node: str, progress: Progress, now_s: float) -> None:
        """Probes that have crossed a link, and what has been in flight or on a thread for long."""

    def see(self, world: World) -> None:
        """Called once, before anything happens."""

    def passes(self, now_s: float) -> None:
        """Time passes; called every `TICK_S` and before each `choose`."""

    def source(self, report: SourceReport, now_s: float) -> None:
        """A device says how a sensor does."""

    def choose(self, stream: str, now_s: float) -> Mix | None:
        """The plans of a stream's frames that set out now; ``None`` to let them wait."""


class World:
    """A site with its streams.

    Args:
        scenario: What happens.
        policy: Who chooses plans.
    """

    def __init__(self, scenario: Scenario, policy: Policy) -> None:
        self.now_s = 0.0
        self.scenario = scenario
        self._policy = policy
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        device = next(node for node in scenario.site.nodes if node.tier == "device")
        codecs = {(point.codec, point.cut): point for point in device.profile.codecs}
        self.stations = {node.id: SimStation(node, scenario, codecs) for node in scenario.site.nodes}
        self.links = dict(self._linked(scenario.links))
        self._unreachable = {
            ends: noticed(traces.mbps.zeros(), scenario.detect_s) for ends, traces in scenario.links.items()
        }
        for station in self.stations.values():
            station.enter(self)
        self.sensors = {
            stream.goal.name: Sensor(stream, self, scenario.duration_s, scenario.timeout_s)
            for stream in scenario.site.streams
        }

    def run(self) -> list[Flight]:
        """Let everything happen; all frames of one stream after the other, each with an outcome."""
        scenario = self.scenario
        for tick in range(math.ceil(scenario.duration_s / TICK_S)):
            self.at(tick * TICK_S, self._tick)
        for count in range(math.ceil(scenario.duration_s / STATUS_S)):
            self.at(count * STATUS_S, self._status)
        for count in range(math.ceil(scenario.duration_s / REPORT_S)):
            self.at(count * REPORT_S, self._reports)
        for time_s in sorted({time for spans in self._unreachable.values() for span in spans for time in span}):
            if time_s < scenario.duration_s:
                self.at(time_s, self._presence)
        while self._events:
            self.now_s, _, act = heapq.heappop(self._events)
            act()
        return [flight for sensor in self.sensors.values() for flight in sensor.flights]

    def mix_of(self, stream: str) -> Mix | None:
        """The plans that a stream follows now; ``None`` to let its frames wait."""
        self._policy.passes(self.now_s)
        return self._policy.choose(stream, self.now_s)

    def sets_out(self, flight: Flight, device: str) -> None:
        """Give a frame to the device's processor."""
        self.stations[device].put(flight)

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do something at a time; what is due at once happens in the order of asking."""
        heapq.heappush(self._events, (time_s, next(self._order), act))

    def send(self, flight: Flight, sender: str, receiver: str, payload_bytes: int) -> None:
        """Put a frame on a link."""

        def arrive(seconds: float) -> None:
            flight.stage(receiver, "wire", seconds, payload_bytes)
            self.stations[receiver].put(flight)

        self.links[sender, receiver].put(payload_bytes, arrive)

    def probe(self, sender: str, receiver: str, sizes: Sequence[int], now_s: float) -> None:
        """Send messages that only measure, one after the other; the policy hears how long each took.

        None is sent while others are in flight, as with real nodes: it would measure them. Before the start of the
        scenario links are as then.
        """
        link = self.links.get((sender, receiver))
        if not sizes or link is None or link.oldest(self.now_s) is not None or not self.reaches(sender, receiver):
            return

        def arrive(seconds: float) -> None:
            heard_s = self.now_s if now_s >= 0 else now_s + seconds
            crossed = self._transfer(receiver, sizes[0], seconds, arrived=True)
            self._policy.progress(sender, Progress(transfers=(crossed,)), heard_s)
            self.probe(sender, receiver, sizes[1:], heard_s)

        if now_s < 0:
            arrive(link.alone_s(sizes[0]))
        else:
            link.put(sizes[0], arrive)

    def reaches(self, sender: str, receiver: str) -> bool:
        """Whether a sender believes that a node can be reached: outages are noticed late, or not at all if short."""
        return not any(start <= self.now_s < end for start, end in self._unreachable[sender, receiver])

    def ended(self, flight: Flight, outcome: str) -> None:
        """A frame has an outcome; who waits for it hears so when it has come back. Lost is lost, but a result tells."""
        if outcome == RESULT:
            flight.finished_s = self.now_s
            deadline_s = self._goal(flight).deadline_s
            if deadline_s is not None and self.now_s - flight.captured_s > deadline_s:
                outcome = LATE
        if flight.outcome is None:
            flight.outcome, flight.done_s = outcome, self.now_s
        back_s = self._way_back(flight)
        if math.isfinite(back_s):
            self.at(back_s, lambda: self._heard(flight))

    def _heard(self, flight: Flight) -> None:
        if flight.finished_s is not None:
            self._policy.result(journey(flight, self._goal(flight)), self.now_s)
        self.sensors[flight.stream].heard(flight)

    def _goal(self, flight: Flight) -> StreamGoal:
        return self.sensors[flight.stream].stream.goal

    def _linked(self, links: Mapping[tuple[str, str], LinkTraces]) -> Iterable[tuple[tuple[str, str], SimLink]]:
        """The links, those of one line with that between them."""
        lines: dict[object, SimLine] = {}
        for ends, traces in links.items():
            line = lines.setdefault(traces.line or ends, SimLine(traces.mbps, self))
            yield ends, SimLink(traces, line, self)

    def _way_back(self, flight: Flight) -> float:
        """When an outcome is back at the site: the delays of the hops, after any outage on them."""
        back_s = self.now_s
        names = [] if flight.plan is None else [flight.plan.node(tier) for tier in ("device", "edge", "cloud")]
        route = [name for name in names if name is not None]
        route = route[: route.index(flight.where) + 1] if flight.where in route else route
        for sender, receiver in reversed(list(itertools.pairwise(route))):
            traces = self.scenario.links[sender, receiver]
            down = next((end for start, end in traces.mbps.zeros() if start <= back_s < end), back_s)
            back_s = down + (traces.latency_seconds.at(down) if math.isfinite(down) else 0.0)
        return back_s

    def _tick(self) -> None:
        for name, station in self.stations.items():
            running = station.running(self.now_s)
            late = tuple(self._late(name))
            slow = (running,) if running is not None and running.seconds >= LATE_S else ()
            if late or slow:
                self._policy.progress(name, Progress(transfers=late, running=slow), self.now_s)
        self._policy.passes(self.now_s)
        for sensor in self.sensors.values():
            sensor.set_out()

    def _late(self, sender: str) -> Iterable[Transfer]:
        """Messages that have been on a node's links for long."""
        for (start, receiver), link in self.links.items():
            oldest = link.oldest(self.now_s) if start == sender else None
            if oldest is not None and oldest[1] >= LATE_S:
                yield self._transfer(receiver, *oldest, arrived=False)

    def _transfer(self, receiver: str, size: int, seconds: float, *, arrived: bool) -> Transfer:
        tier = self.stations[receiver].node.tier
        return Transfer(tier=tier, node=receiver, payload_bytes=size, seconds=seconds, arrived=arrived)

    def _status(self) -> None:
        """What idle nodes publish now and then."""
        for name, station in self.stations.items():
            if station.idle:
                self._policy.pace(name, self.scenario.slowdowns[name].at(self.now_s), self.now_s)

    def _reports(self) -> None:
        """What devices say of their sensors."""
        for sensor in self.sensors.values():
            self._policy.source(sensor.report(), self.now_s)

    def _presence(self) -> None:
        """A node is there while any link to it is."""
        self._policy.passes(self.now_s)
        for node in self.scenario.site.nodes:
            senders = [sender for sender, receiver in self.links if receiver == node.id]
            online = not senders or any(self.reaches(sender, node.id) for sender in senders)
            self._policy.presence(node.id, online=online, now_s=self.now_s)


def noticed(spans: tuple[tuple[float, float], ...], detect_s: float) -> tuple[tuple[float, float], ...]:
    """When outages are noticed: each after a delay, and those shorter than it never."""
    return tuple((start + detect_s, end + detect_s) for start, end in spans if end - start > detect_s)
