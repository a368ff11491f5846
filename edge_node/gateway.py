"""The gateway: the part of an edge that reads sensors which publish on the bus by themselves.

To the rest of the site it is a device with the edge's name: it makes frames of messages, runs the first layers and
sends the rest on, to this edge, to another one or to the cloud. So such a stream is planned, moved and measured like
any other.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import ClassVar

from edge_node.node import EdgeNode
from edge_node.settings import Settings
from iot_node.node import IotNode
from iot_node.settings import Settings as DeviceSettings
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.node.settings import NodeSettings


class Gateway(IotNode):
    """A device node inside an edge; it shares the edge's models.

    Args:
        edge: The edge.
        open_bus: How to reach a broker, as a device.
        clock: Its clock.
    """

    gateway: ClassVar[bool] = True

    def __init__(self, edge: EdgeNode, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        settings = device_settings(edge.context.settings)
        super().__init__(settings, open_bus=open_bus, clock=clock, models=edge.models)
        edge.updates.listeners.append(self.model_came)


def device_settings(edge: NodeSettings) -> DeviceSettings:
    """An edge's settings as its gateway's: without streams of its own, and without what the edge emulates or fetches.

    Behind an emulated link the gateway sends to edges only, or it would get around that link.
    """
    same = {field.name: getattr(edge, field.name) for field in fields(NodeSettings)}
    none = {
        "emulated_mbps": None,
        "emulated_delay_ms": 0.0,
        "emulated_slowdown": 1.0,
        "emulated_profile": False,
        "emulation": (),
        "hub_url": (),
        "heartbeat": None,
    }
    return DeviceSettings(**(same | none), direct_to_cloud=edge.emulated_link is None)


class EdgeBox:
    """An edge and its gateway, in one process."""

    def __init__(self, settings: Settings, *, open_bus: OpenBus, open_gateway_bus: OpenBus) -> None:
        edge = EdgeNode(settings, open_bus=open_bus)
        self._nodes = [edge, Gateway(edge, open_bus=open_gateway_bus)] if settings.gateway else [edge]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        async with asyncio.TaskGroup() as group:
            for node in self._nodes:
                group.create_task(node.run(stop), name=f"{node.tier} {node.context.settings.node}")
