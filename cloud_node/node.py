"""A cloud node: finishes the frames of any number of sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tiercut.node.node import Node, Tasks
from tiercut.plan import Tier
from tiercut.protocol.topics import WORK


class CloudNode(Node):
    """A cloud node: its home bus is the cloud's."""

    tier: ClassVar[Tier] = "cloud"

    @property
    def home_url(self) -> str:
        """The cloud's broker; the site's where there is only one."""
        return self.uplink_url

    @property
    def served_site(self) -> str | None:
        """Any: the topics of its own site only say where it is found."""
        return None

    @property
    def asked_as(self) -> Mapping[str, str]:
        """Edges and devices ask under the name of their site, whichever that is."""
        return {"tier": self.tier, "node": self.settings.node}

    async def tasks(self) -> Tasks:
        """The common tasks, and the frames that any site sends to this node."""
        await self.home.subscribe(WORK.filter(tier=self.tier, node=self.settings.node), handler=self.receive_work)
        return await super().tasks()
