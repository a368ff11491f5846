"""python -m broker."""

from __future__ import annotations

import sys

from broker.node import Hub
from broker.settings import Settings
from tiercut.node.program import MqttOpener, leave, main


def build(settings: Settings) -> Hub:
    """The hub of these settings."""
    return Hub(settings, open_bus=MqttOpener(settings, "hub"))


if __name__ == "__main__":
    leave(main(Settings, build, role="hub", program="python -m broker", arguments=sys.argv[1:]))
