"""A device whose window is always full: the most that a way gives, for `bench.overload` to compare with."""

from __future__ import annotations

import math
import sys

from iot_node.__main__ import build
from iot_node.settings import Settings
from tiercut.node.program import leave, main
from tiercut.pipeline.way_window import WayWindow


def wait_s(window: WayWindow, in_flight: int, now_s: float) -> float:
    """As many as the limit may be in flight, whatever they wait for."""
    del now_s
    return 0.0 if in_flight < window.limit else math.inf


if __name__ == "__main__":
    WayWindow.wait_s = wait_s  # type: ignore[assignment, method-assign]
    leave(main(Settings, build, role="device", program="python -m bench.full_window", arguments=sys.argv[1:]))
