"""python -m edge_node."""

from __future__ import annotations

import sys

from edge_node.node import EdgeNode
from edge_node.settings import Settings
from tiercut.program import MqttOpener, leave, main


def build(settings: Settings) -> EdgeNode:
    """The node of these settings."""
    return EdgeNode(settings, open_bus=MqttOpener(settings, "edge"))


if __name__ == "__main__":
    leave(main(Settings, build, program="python -m edge_node", arguments=sys.argv[1:]))
