"""How many frames of a stream are worth having in flight: as many as keep the slowest stage of their way busy.

A sensor that gives more than the way takes fills every place it is given. Each frame more than the slowest stage needs
only waits in front of it: latency grows, throughput does not. What the way takes shows at the device alone, from the
time between sending a frame and its outcome:

- The *unloaded* round trip is that of frames that were sent while none of their stream was ahead of them.
- Frames that wait for each other take longer. As many are in flight as make the mean round trip `QUEUE_RATIO` times the
  unloaded one. That little queue keeps the slowest stage busy when stages take now longer, now shorter.
- The number is a fraction. With 2.4 two may be in flight at any time, and a third for 0.4 of the time between two
  outcomes.

Nothing is held back, and nothing learnt, while the sensor gives less than the way takes: then all ``limit`` places are
there for a hiccup. `docs/adr/0013-the-window-follows-the-way.md` compares this with BBR and its relatives.
"""

from __future__ import annotations

import math
from collections import deque

#: Mean round trip under load that is aimed at, in unloaded ones.
QUEUE_RATIO = 1.15
#: The same of frames that are spaced by the hub, which has found room for them: what they wait for is others' frames,
#: and to send fewer would leave that to the others.
SPACED_QUEUE_RATIO = 2.0
#: Unloaded round trips that are remembered; their mean counts. The first of a plan does not: it is often slow.
UNLOADED = 9
#: Frames in a row that are sent alone where the unloaded round trip is unknown, or has changed by more than this part.
PROBE_FRAMES, CHANGED = 3, 0.2
#: A round trip measured so long ago is measured again where the window holds frames back: seconds, and round trips.
PROBE_AFTER_S, PROBE_AFTER_ROUND_TRIPS = 10.0, 60.0
#: The same, where fewer than `UNLOADED` are known, or frames take longer or shorter by more than `CHANGED` since then.
PROBE_SOON_S, PROBE_SOON_ROUND_TRIPS = 1.0, 15.0
#: Round trips after which the size is adjusted, at least; only those of frames that were sent with that size count.
ROUND = 6
#: The size changes by these factors from one round to the next, at most.
MIN_FACTOR, MAX_FACTOR = 0.6, 1.25
#: A single round trip counts for at most this many usual ones: a broker that was gone says nothing of the way.
MAX_OUTLIER = 3.0
#: Weight of a new round trip in the smoothed one.
SMOOTHING = 1 / 8
#: A frame in flight for this many usual round trips, and at least so many seconds, takes no place from others.
LATE_ROUND_TRIPS, LATE_S = 4.0, 0.25


class WayWindow:
    """The size of one stream's window.

    Args:
        limit: The most frames that may be in flight, >= 1.

    Attributes:
        limit: The same.
        queue_ratio: Mean round trip under load that is aimed at, in unloaded ones.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queue_ratio = QUEUE_RATIO
        self._size = float(limit)
        #: seconds, newest last
        self._unloaded: deque[float] = deque(maxlen=UNLOADED)
        #: when the newest of them was measured, and the size at that time
        self._unloaded_at: tuple[float, float] = (-math.inf, self._size)
        #: smoothed round trip of all frames; 0: unknown
        self._round_trip_s = 0.0
        #: frames sent from then on belong to this round, and their round trips
        self._round_from_s = -math.inf
        self._round: list[float] = []
        #: a frame had to wait in this round
        self._held = False
        #: frames still to be sent alone, and the round trips of those before them
        self._probes_left = 0
        self._probes: list[float] = []
        #: no frame was measured yet since there is another way
        self._is_first = True
        #: when the last outcome came
        self._outcome_s = -math.inf

    @property
    def size(self) -> float:
        """How many frames may be in flight on average, 1 to ``limit``."""
        return self._size

    @property
    def late_after_s(self) -> float:
        """Seconds after which a frame without an outcome takes no place from others."""
        return max(LATE_ROUND_TRIPS * self._round_trip_s, LATE_S) if self._round_trip_s else math.inf

    @property
    def outcome_s(self) -> float:
        """When the last outcome came; minus infinity before the first."""
        return self._outcome_s

    def wait_s(self, in_flight: int, now_s: float) -> float:
        """Seconds until one more frame may be sent; infinity: not before an outcome."""
        if in_flight >= self.limit:
            return math.inf
        if self._probes_left:
            return math.inf if in_flight else 0.0
        if self._size >= self.limit:
            return 0.0
        if in_flight + 1 <= self._size:
            return 0.0
        if in_flight >= self._size:
            return math.inf
        # a part of a place: it is free for that part of the time between two outcomes
        taken = in_flight + 1 - self._size
        return max(0.0, self._outcome_s + taken * self._round_trip_s / self._size - now_s)

    def held(self) -> None:
        """A frame was there to be sent and had to wait."""
        self._held = True

    def outcome(self, sent_s: float, now_s: float, *, alone: bool, exact: bool = True) -> None:
        """A frame has an outcome.

        Args:
            sent_s: When it was sent first.
            now_s: When its outcome came.
            alone: No other frame was in flight when it was sent.
            exact: It has a result, and was sent once. Others would have taken about as long, or longer.
        """
        self._outcome_s = now_s
        round_trip_s = now_s - sent_s
        if alone:
            self._was_alone(round_trip_s if exact else None, now_s)
        if not exact and round_trip_s <= self._round_trip_s:
            return
        usual_s = self._round_trip_s or round_trip_s
        round_trip_s = min(round_trip_s, MAX_OUTLIER * usual_s)
        self._round_trip_s = usual_s + SMOOTHING * (round_trip_s - usual_s)
        if sent_s >= self._round_from_s and not self._probes_left:
            self._round.append(round_trip_s)
            if len(self._round) >= max(ROUND, self._size):
                self._adjust(sum(self._round) / len(self._round), now_s)

    def relimit(self, limit: int) -> None:
        """At most so many frames may be in flight from now on, on the same way."""
        self._size = float(limit) if self._size >= self.limit else min(self._size, limit)
        self.limit = limit

    def new_way(self, limit: int, now_s: float) -> None:
        """Frames are sent another way from now on: what is known was about the old one. The size is a first guess."""
        self.relimit(limit)
        self._unloaded.clear()
        self._unloaded_at = (-math.inf, self._size)
        self._round_trip_s = 0.0
        self._probes_left = 0
        self._probes.clear()
        self._is_first = True
        self._begin_round(now_s)

    # ------------------------------------------------------------------ the unloaded round trip

    def _was_alone(self, round_trip_s: float | None, now_s: float) -> None:
        known_s = self._unloaded_s
        if round_trip_s is not None and self._is_first:
            self._is_first = False
            return
        if round_trip_s is not None:
            self._unloaded.append(min(round_trip_s, MAX_OUTLIER * known_s) if known_s else round_trip_s)
            self._unloaded_at = (now_s, self._size)
        if self._probes_left:
            self._probed(round_trip_s, known_s, now_s)

    def _probed(self, round_trip_s: float | None, known_s: float, now_s: float) -> None:
        """A frame has come home that was sent alone on purpose."""
        self._probes_left -= 1
        if round_trip_s is not None:
            self._probes.append(round_trip_s)
            if len(self._probes) == 1 and known_s and abs(round_trip_s / known_s - 1) <= CHANGED:
                self._probes_left = 0
        if self._probes_left:
            return
        probes = self._probes or [known_s]
        if min(probes) > (1 + CHANGED) * known_s or max(probes) < (1 - CHANGED) * known_s:
            self._unloaded.clear()
            self._unloaded.extend(probes)
        self._probes.clear()
        self._begin_round(now_s + known_s)  # until then the way fills again

    @property
    def _unloaded_s(self) -> float:
        """The unloaded round trip; 0: unknown."""
        return sum(self._unloaded) / len(self._unloaded) if self._unloaded else 0.0

    def _is_stale(self, now_s: float) -> bool:
        """Whether it is time to measure it again, on purpose: it costs about one round trip."""
        unloaded_s = self._unloaded_s
        if not unloaded_s:
            return True
        measured_s, size = self._unloaded_at
        has_changed = self._size < (1 - CHANGED) * size or self._round_trip_s < (1 - CHANGED) * unloaded_s
        if has_changed or len(self._unloaded) < UNLOADED:
            round_trip_s = min(unloaded_s, self._round_trip_s)
            return now_s - measured_s > max(PROBE_SOON_S, PROBE_SOON_ROUND_TRIPS * round_trip_s)
        return now_s - measured_s > max(PROBE_AFTER_S, PROBE_AFTER_ROUND_TRIPS * unloaded_s)

    # ------------------------------------------------------------------ the size

    def _adjust(self, round_trip_s: float, now_s: float) -> None:
        """A round has ended."""
        held, unloaded_s = self._held, self._unloaded_s
        self._begin_round(now_s)
        if not held:
            self._size = min(self.limit, MAX_FACTOR * self._size)
            return
        ratio = self.queue_ratio * unloaded_s / round_trip_s if round_trip_s else math.inf
        too_low = ratio * (1 - CHANGED) > self.queue_ratio  # no frame among others is sooner than one alone
        if (self._size < self.limit or ratio < 1 or too_low) and self._is_stale(now_s):
            self._probes_left = PROBE_FRAMES
            return
        if MIN_FACTOR < ratio < MAX_FACTOR:
            ratio = math.sqrt(ratio)
        self._size = min(self.limit, max(1.0, self._size * min(max(ratio, MIN_FACTOR), MAX_FACTOR)))

    def _begin_round(self, from_s: float) -> None:
        self._round.clear()
        self._round_from_s = from_s
        self._held = False
