"""An edge: works on the frames of its site's devices."""

from __future__ import annotations

from typing import ClassVar

from tiercut.node import Node, Tasks
from tiercut.plan import Tier
from tiercut.topics import WORK


class EdgeNode(Node):
    """An edge node."""

    tier: ClassVar[Tier] = "edge"

    async def tasks(self) -> Tasks:
        """The common tasks, and the frames sent to this edge."""
        topic = WORK.of(site=self.settings.site, tier=self.tier, node=self.settings.node)
        await self.home.subscribe(topic, handler=self.receive_work)
        return await super().tasks()
