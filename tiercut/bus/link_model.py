"""A model of a slow link: pure arithmetic on times.

Messages are serialized one after the other at the rate, then travel for the delay; several travel at once. MQTT runs
on TCP, so loss never drops a message here. It shows as TCP shows it: as a lower rate and as late messages.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from tiercut.errors import SettingsError

#: TCP's usual segment on Ethernet with timestamps, bytes.
_SEGMENT_BYTES = 1448
#: Linux' TCP_RTO_MIN, seconds: the least that a loss costs which no later segment reveals.
_MIN_TIMEOUT_S = 0.2
#: Segments behind a lost one that make TCP send it again at once (RFC 5681 §3.2: 3 duplicate ACKs).
_FAST_RETRANSMIT_SEGMENTS = 4
#: Mathis et al. 1997, eq. 3: rate = C · segment / (round trip · √loss), C = √(3/2) without delayed ACKs.
_MATHIS_C = math.sqrt(1.5)
#: A loopback's round trip, so that loss without delay stays finite.
_MIN_ROUND_TRIP_S = 0.001


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """One direction of a link.

    Attributes:
        rate_mbps: 10⁶ bits of payload per second; ``None``: unlimited.
        delay_s: One way.
        loss: Share of TCP segments that are lost, [0, 1).
    """

    rate_mbps: float | None = None
    delay_s: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.rate_mbps is not None and not (self.rate_mbps > 0 and math.isfinite(self.rate_mbps)):
            raise _bad("rate_mbps", "a positive number, or none for unlimited", self.rate_mbps)
        if not 0 <= self.delay_s < math.inf:
            raise _bad("delay_s", "seconds, 0 or more", self.delay_s)
        if not 0 <= self.loss < 1:
            raise _bad("loss", "a share of 0 or more and less than 1", self.loss)

    @property
    def bytes_per_s(self) -> float:
        """What gets through: the rate, or what loss leaves of it (see ``_MATHIS_C``)."""
        rate = math.inf if self.rate_mbps is None else self.rate_mbps * 1e6 / 8
        if self.loss:
            round_trip_s = max(2 * self.delay_s, _MIN_ROUND_TRIP_S)
            rate = min(rate, _MATHIS_C * _SEGMENT_BYTES / (round_trip_s * math.sqrt(self.loss)))
        return rate

    def __str__(self) -> str:
        rate = "unlimited rate" if self.rate_mbps is None else f"{self.rate_mbps:g} Mbps"
        loss = f", {self.loss * 100:g} % loss" if self.loss else ""
        return f"emulated link: {rate}, {self.delay_s * 1e3:g} ms{loss}"


def _bad(name: str, expected: str, came: float) -> SettingsError:
    return SettingsError(f"the link's {name}", expected=expected, came=str(came), fix=f"correct {name}")


class Link:
    """When a message that is given to a link now arrives; time is an argument, nothing waits.

    Attributes:
        settings: May be changed at any time; what is already on the link keeps its times.
    """

    def __init__(self, settings: LinkSettings, *, seed: int = 0) -> None:
        self.settings = settings
        self._random = random.Random(seed)  # noqa: S311 - a model of chance, repeatable
        self._free_s = -math.inf
        self._last_arrival_s = -math.inf

    def departure(self, now_s: float, payload_bytes: int) -> tuple[float, float]:
        """The times at which the last byte has left, and at which it arrives; never before an earlier message."""
        settings = self.settings
        start_s = max(now_s, self._free_s)
        self._free_s = start_s + payload_bytes / settings.bytes_per_s
        arrives_s = self._free_s + settings.delay_s + self._repair_s(payload_bytes)
        self._last_arrival_s = max(arrives_s, self._last_arrival_s)
        return self._free_s, self._last_arrival_s

    def _repair_s(self, payload_bytes: int) -> float:
        """What a lost segment adds: a round trip, or a timeout where too few segments follow to reveal it."""
        settings = self.settings
        if not settings.loss:
            return 0.0
        segments = max(1, math.ceil(payload_bytes / _SEGMENT_BYTES))
        if self._random.random() >= 1 - (1 - settings.loss) ** segments:
            return 0.0
        round_trip_s = 2 * settings.delay_s
        return round_trip_s if segments >= _FAST_RETRANSMIT_SEGMENTS else max(_MIN_TIMEOUT_S, round_trip_s)
