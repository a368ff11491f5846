"""The clocks of the nodes that send frames here: asked for when a frame comes, and answered when others ask."""

from __future__ import annotations

import asyncio
from functools import partial

from tiercut.bus import Bus
from tiercut.clocks.exchange import ClockExchange
from tiercut.clocks.offsets import ClockOffsets
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.pipeline.peers import Peers
from tiercut.protocol.frames import Work
from tiercut.protocol.topics import CLOCK, ECHO

#: Clocks that wait to be asked; the others are asked with a later frame.
MAX_CLOCKS_TO_ASK = 64


class Clocks(Part):
    """A node's side of the exchange of clocks, on its buses.

    Args:
        context: The node's.
        peers: Say which clock each node has.

    Attributes:
        offsets: What is known of other clocks.
        exchange: Asks and answers.
    """

    def __init__(self, context: NodeContext, peers: Peers) -> None:
        self._context = context
        self.offsets = ClockOffsets(context.clock.id)
        self.exchange = ClockExchange(
            own_topic=CLOCK.of(**context.names),
            clock=context.clock,
            offsets=self.offsets,
            clocks_of=peers.clocks,
            counters=context.counters,
        )
        #: clock topics to be asked
        self._to_ask: asyncio.Queue[str] = asyncio.Queue(MAX_CLOCKS_TO_ASK)

    def tasks(self) -> Tasks:
        """Answering at home, and asking."""
        return [("clock", partial(self.listen, self._context.buses.home)), ("ask clocks", self._ask)]

    async def listen(self, bus: Bus) -> None:
        """Answer questions on a bus, and take in answers."""
        refusals, names = self._context.refusals, self._context.asked_as
        clocks = await refusals.subscribe(bus, CLOCK.filter(**names), qos=0)
        echoes = await refusals.subscribe(bus, ECHO.filter(**names), qos=0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.exchange.listen(bus, aiter(clocks)), name="clock")
            group.create_task(self.exchange.listen(bus, aiter(echoes)), name="echo")

    def ask_sender(self, work: Work) -> None:
        """Ask the node that sent a frame for its clock, when there is need."""
        if self._to_ask.full() or not self.exchange.wants(work.sent.clock_id):
            return
        start = next((start for start, to in work.plan.hops if to == self._context.tier), None)
        node = None if start is None else work.plan.node(start)
        if start is not None and node is not None:
            self._to_ask.put_nowait(CLOCK.of(site=work.site, tier=start, node=node))

    async def _ask(self) -> None:
        while True:
            topic = await self._to_ask.get()
            await self.exchange.ask(self._context.buses.home, topic)
