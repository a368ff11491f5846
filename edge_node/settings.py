"""Settings of an edge node."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.node.settings import NodeSettings
from tiercut.settings import setting

#: Answers that may be kept per stream: each frame that comes is compared with all of them.
MAX_FRAMES = 256


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """An edge node of tiercut: runs the middle layers, sends the rest to the cloud."""

    gateway: bool = setting("read sensors that publish on the bus by themselves", default=True)
    cache_frames: int = setting(
        f"answers kept per stream, for frames that are like an earlier one (0: none, at most {MAX_FRAMES})", default=0
    )
    cache_distance: float = setting(
        "how far a frame may be from a kept one to count as the same: |a - b| / |b| of each of its tensors, "
        "such as 0.05 (0: equal)",
        default=0.0,
    )
    cache_s: float = setting("seconds that an answer is kept", default=60.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {
            "cache_frames": (0 <= self.cache_frames <= MAX_FRAMES, f"0 to {MAX_FRAMES}"),
            "cache_distance": (0 <= self.cache_distance <= 1, "0 to 1"),
            "cache_s": (0 < self.cache_s < math.inf, "more than 0"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                raise SettingsError(
                    f"bad setting {name}", expected=expected, came=str(getattr(self, name)), fix="correct it"
                )
