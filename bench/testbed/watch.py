"""What the bench sees on a site's bus: results, plans, explanations, segments that were asked for and loaded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tiercut.bus import Bus, Delivery
from tiercut.declared import decode_json
from tiercut.protocol.nodes import NodeStatus, PrepareSegment, Ready, StreamPlan
from tiercut.protocol.topics import DROPPED, EXPLAIN, PLAN, PREPARE, READY, RESULT, STATUS


@dataclass(frozen=True, slots=True)
class Seen:
    """A result as it came.

    Attributes:
        result: Its JSON.
        at_s: When it came, on this machine's monotonic clock.
        captured_s: When its frame was captured, on the same clock.
    """

    result: dict[str, Any]
    at_s: float
    captured_s: float

    @property
    def seq(self) -> int:
        """The frame's number."""
        return int(self.result["seq"])

    @property
    def epoch(self) -> int:
        """The number of its plan."""
        return int(self.result["plan"]["epoch"])

    @property
    def waited_ms(self) -> float:
        """What it waited on its device, for a place in the window or for the thread."""
        device = self.result["plan"]["device"]
        return sum(float(s["ms"]) for s in self.result["stages"] if s["where"] == device and s["kind"] == "queue")

    @property
    def latency_ms(self) -> float:
        """Capture to result, without that wait."""
        return self.total_ms - self.waited_ms

    @property
    def total_ms(self) -> float:
        """Capture to result."""
        return float(self.result["latency_ms"])


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as it was published."""

    message: StreamPlan
    at_s: float

    @property
    def epoch(self) -> int:
        """Its number."""
        return self.message.plan.epoch


class Watch:
    """Keeps what was seen on the site's bus (and of the nodes' answers on the cloud's), and wakes who waits for it.

    Attributes:
        results: In the order in which they came.
        dropped: Frames without a result: their JSON.
        plans: In order.
        explained: What the coordinator said of its plan, and when.
        asked: (node, epoch) → when it was asked to load a segment.
        ready: (node, epoch) → its answer, and when.
        emulated: (node with its tier, what it emulates, when) at each change.
        online: Nodes that are there.
    """

    def __init__(self) -> None:
        self.results: list[Seen] = []
        self.dropped: list[dict[str, Any]] = []
        self.plans: list[Planned] = []
        self.explained: list[tuple[float, dict[str, Any]]] = []
        self.asked: dict[tuple[str, int], float] = {}
        self.ready: dict[tuple[str, int], tuple[Ready, float]] = {}
        self.emulated: list[tuple[str, str, float]] = []
        self.online: set[str] = set()
        self._changed = asyncio.Event()

    async def listen(self, home: Bus, uplink: Bus, *, site: str, stream: str) -> None:
        """Subscribe; what comes from then on is kept."""
        names = {"site": site, "stream": stream}
        for topic, handler in (
            (RESULT, self._result), (DROPPED, self._dropped), (PLAN, self._plan), (EXPLAIN, self._explained),
        ):  # fmt: skip
            await home.subscribe(topic.of(**names), handler=self._guarded(handler))
        await home.subscribe(STATUS.filter(site=site), handler=self._guarded(self._status))
        await uplink.subscribe(STATUS.filter(tier="cloud"), handler=self._guarded(self._status))
        for bus, asked in ((home, {"site": site}), (uplink, {"tier": "cloud"})):
            await bus.subscribe(PREPARE.filter(**asked), handler=self._guarded(self._asked))
            await bus.subscribe(READY.of(**names), handler=self._guarded(self._ready))

    async def until(self, seen: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until something was seen; false if it was not within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not seen():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return seen()
        return True

    def since(self, start: int, *, epoch: int | None = None) -> list[Seen]:
        """Results from a place in the list on, of one plan or of any."""
        return [seen for seen in self.results[start:] if epoch is None or seen.epoch == epoch]

    def load_s(self, epoch: int) -> float | None:
        """What the slowest node took to load its segment for a plan; ``None`` when none was asked."""
        took = [
            at_s - self.asked[key] for key, (_, at_s) in self.ready.items() if key[1] == epoch and key in self.asked
        ]
        return max(took, default=None)

    def forget_switches(self) -> None:
        """Epochs are about to be used again."""
        self.asked.clear()
        self.ready.clear()

    # ------------------------------------------------------------------ in

    def _guarded(self, handler: Callable[[Delivery], None]) -> Callable[[Delivery], None]:
        def take(delivery: Delivery) -> None:
            delivery.ack()
            if delivery.payload:  # an empty one takes a retained message back
                handler(delivery)
                self._changed.set()

        return take

    def _result(self, delivery: Delivery) -> None:
        result = json.loads(delivery.payload)
        age_s = time.time() - datetime.fromisoformat(result["captured_at"]).timestamp()
        self.results.append(Seen(result, delivery.received_s, time.monotonic() - age_s))

    def _dropped(self, delivery: Delivery) -> None:
        self.dropped.append(json.loads(delivery.payload))

    def _plan(self, delivery: Delivery) -> None:
        self.plans.append(Planned(decode_json(StreamPlan, delivery.payload), delivery.received_s))

    def _explained(self, delivery: Delivery) -> None:
        self.explained.append((delivery.received_s, json.loads(delivery.payload)))

    def _status(self, delivery: Delivery) -> None:
        status = decode_json(NodeStatus, delivery.payload)
        (self.online.add if status.state == "online" else self.online.discard)(status.node)
        name = f"{status.tier}/{status.node}"  # an edge's gateway is a device of the same name
        last = next((what for node, what, _ in reversed(self.emulated) if node == name), None)
        said = status.emulated_link or ""
        if status.state == "online" and said != last:
            self.emulated.append((name, said, delivery.received_s))

    def _asked(self, delivery: Delivery) -> None:
        names = PREPARE.parse(delivery.topic) or {}
        asked: PrepareSegment = decode_json(PrepareSegment, delivery.payload)
        self.asked[names["node"], asked.epoch] = delivery.received_s

    def _ready(self, delivery: Delivery) -> None:
        ready = decode_json(Ready, delivery.payload)
        self.ready[ready.node, ready.epoch] = ready, delivery.received_s
