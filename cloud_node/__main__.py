"""python -m cloud_node."""

from __future__ import annotations

import sys

from cloud_node.node import CloudNode
from cloud_node.settings import Settings
from tiercut.node.program import MqttOpener, leave, main


def build(settings: Settings) -> CloudNode:
    """The node of these settings."""
    return CloudNode(settings, open_bus=MqttOpener(settings, "cloud"))


if __name__ == "__main__":
    leave(main(Settings, build, role="cloud", program="python -m cloud_node", arguments=sys.argv[1:]))
