"""What comes over the way to the cloud: its nodes' statuses, questions for the clock, and outcomes."""

from __future__ import annotations

import asyncio

from tiercut.bus import Handler
from tiercut.node.clocks import Clocks
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.presence import Presence
from tiercut.protocol.topics import RETURN, STATUS


class Uplink(Part):
    """Listens on the uplink, in a task of its own: a site goes on while that way is cut or refused.

    Args:
        context: The node's.
        clocks: Answer there, too.
        presence: Takes in the statuses of cloud nodes.
        returned: Takes the outcomes of frames that were sent to the cloud.
        hears_clouds: Whether it listens for cloud nodes; without, nothing is sent to any.
    """

    def __init__(
        self, context: NodeContext, *, clocks: Clocks, presence: Presence, returned: Handler, hears_clouds: bool = True
    ) -> None:
        self._context = context
        self._clocks = clocks
        self._presence = presence
        self._hears_clouds = hears_clouds
        self._returned = returned

    def tasks(self) -> Tasks:
        """One; where there is one broker, all but the statuses of cloud nodes comes over the home bus."""
        buses = self._context.buses
        return [("cloud", self._hear_clouds if buses.uplink is buses.home else self._serve)]

    async def _serve(self) -> None:
        """The way back is first: no node is known before, so nothing is sent whose outcome could not come back."""
        uplink = self._context.buses.uplink
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clocks.listen(uplink), name="clock on the uplink")
            topic = RETURN.of(**self._context.names)
            await self._context.refusals.subscribe(uplink, topic, handler=self._returned)
            await self._hear_clouds()

    async def _hear_clouds(self) -> None:
        if self._hears_clouds:
            statuses = STATUS.filter(tier="cloud")
            await self._context.refusals.subscribe(self._context.buses.uplink, statuses, handler=self._presence.hear)
