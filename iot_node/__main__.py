"""python -m iot_node."""

from __future__ import annotations

import sys

from iot_node.node import IotNode
from iot_node.settings import Settings
from tiercut.node.program import MqttOpener, leave, main


def build(settings: Settings) -> IotNode:
    """The node of these settings."""
    return IotNode(settings, open_bus=MqttOpener(settings, "device"))


if __name__ == "__main__":
    leave(main(Settings, build, role="device", program="python -m iot_node", arguments=sys.argv[1:]))
