"""Delay and rate of the way to each node, from questions to its clock and messages that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tiercut.bus import Bus
from tiercut.clock import Clock
from tiercut.clocks.exchange import ClockExchange
from tiercut.clocks.offsets import ClockOffsets
from tiercut.doctor.findings import Finding, good, warning
from tiercut.errors import BusError
from tiercut.protocol.nodes import MAX_PROBE_BYTES, NodeStatus
from tiercut.protocol.topics import CLOCK

#: Questions to each clock, and the pause between them.
QUESTIONS, PAUSE_S = 4, 0.05
#: How long answers may take after the last question.
ANSWERS_S = 2.0
#: Probe messages: a small one for the delay, large ones for the rate.
SMALL_BYTES, LARGE_BYTES, TIMES = 200, MAX_PROBE_BYTES, 3
#: An offset less certain than this makes stage times useless.
UNSURE_S = 0.05
#: Above this rate, the difference between the messages is noise.
MAX_MBPS = 500.0
#: Below this rate, a photograph takes half a second or more.
SLOW_MBPS = 1.0
_NO_ANSWER = "check that it still runs; with access rules, that it may write to our clock topic (operators only)"


class Links:
    """Asks nodes on one bus.

    Args:
        bus: The bus.
        site: Our site: topics are its.
        own_topic: Where answers arrive.
        clock: Our clock.
    """

    def __init__(self, bus: Bus, *, site: str, own_topic: str, clock: Clock) -> None:
        self._bus = bus
        self._site = site
        self._own_topic = own_topic
        self._clock = clock
        self._offsets = ClockOffsets(clock.id)
        #: node → its clock, by its status
        self._clock_ids: dict[tuple[str, str], str] = {}
        self._service = ClockExchange(
            own_topic=own_topic, clock=clock, offsets=self._offsets, clocks_of=lambda _, *node: self._said(node)
        )

    async def measure(self, nodes: list[NodeStatus]) -> AsyncIterator[Finding]:
        """Clock and link of each node."""
        subscription = await self._bus.subscribe(self._own_topic, qos=0)
        listening = asyncio.create_task(self._service.listen(self._bus, aiter(subscription)))
        try:
            for node in nodes:
                if node.clock_id:
                    self._clock_ids[node.tier, node.node] = node.clock_id
                    yield await self._clock_of(node)
                    yield await self._rate_to(node)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _said(self, node: tuple[str, str]) -> tuple[str, ...]:
        return (self._clock_ids[node],) if node in self._clock_ids else ()

    async def _clock_of(self, node: NodeStatus) -> Finding:
        check, name = "clocks", f"{node.tier}/{node.node}"
        if node.clock_id == self._clock.id:
            return good(check, f"{name} shares our monotonic clock")
        topic = CLOCK.of(site=self._site, tier=node.tier, node=node.node)
        try:
            for _ in range(QUESTIONS):
                await self._service.ask(self._bus, topic)
                await asyncio.sleep(PAUSE_S)
            async with asyncio.timeout(ANSWERS_S):
                while (offset := self._offsets.offset(node.clock_id, self._clock.monotonic_s())) is None:  # noqa: ASYNC110 - what is learned has no event
                    await asyncio.sleep(PAUSE_S)
        except (TimeoutError, BusError):
            return warning(check, f"{name} does not answer when asked for its clock", _NO_ANSWER)
        says = f"the clock of {name} is known to ±{offset.uncertainty_s * 1e3:.1f} ms"
        if offset.uncertainty_s > UNSURE_S:
            return warning(check, f"{says}: stage times are no better than that", "use a faster or less busy network")
        return good(check, says)

    async def _rate_to(self, node: NodeStatus) -> Finding:
        check, name = "link", f"{node.tier}/{node.node}"
        names = {"site": self._site, "tier": node.tier, "node": node.node}
        try:
            small = await self._quickest(names, SMALL_BYTES)
            large = await self._quickest(names, LARGE_BYTES)
        except (TimeoutError, BusError):
            return warning(check, f"messages to {name} are not answered in time", _NO_ANSWER)
        if small is None or large is None:
            return warning(check, f"the link to {name} is unknown, as its clock is", _NO_ANSWER)
        (few, short_s), (many, long_s) = small, large
        took_s = max(long_s - short_s, (many - few) * 8 / (MAX_MBPS * 1e6))
        mbps = (many - few) * 8 / took_s / 1e6
        rate = f"more than {MAX_MBPS:.0f}" if mbps >= MAX_MBPS else f"{mbps:.3g}"
        says = f"to {name}: {rate} Mbps, {short_s * 1e3:.1f} ms"
        if mbps < SLOW_MBPS:
            return warning(check, says, "frames are late on such a link: plans will send few over it")
        return good(check, says)

    async def _quickest(self, names: dict[str, str], size: int) -> tuple[int, float] | None:
        """The shortest of a few: whatever delays one of them is not the link."""
        times = [await self._service.probe(self._bus, names, size) for _ in range(TIMES)]
        return min((took for took in times if took is not None), key=lambda took: took[1], default=None)
