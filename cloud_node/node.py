"""A cloud node: finishes the frames of any number of sites."""

from __future__ import annotations

from typing import ClassVar

from cloud_node.settings import Settings
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.node.frame_pipeline import WorkTopic
from tiercut.node.node import Node
from tiercut.plan import Tier


class CloudNode(Node):
    """A cloud node: its home bus is the cloud's, and any site sends to it; its own only says where it is found."""

    tier: ClassVar[Tier] = "cloud"

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        super().__init__(settings, open_bus=open_bus, clock=clock)
        self.parts.insert(0, WorkTopic(self.context, self.frames))
