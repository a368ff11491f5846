"""python -m edge_node."""

from __future__ import annotations

import sys

from edge_node.gateway import EdgeBox
from edge_node.settings import Settings
from tiercut.node.program import MqttOpener, leave, main


def build(settings: Settings) -> EdgeBox:
    """The node of these settings, with its gateway."""
    return EdgeBox(settings, open_bus=MqttOpener(settings, "edge"), open_gateway_bus=MqttOpener(settings, "device"))


if __name__ == "__main__":
    leave(main(Settings, build, role="edge", program="python -m edge_node", arguments=sys.argv[1:]))
