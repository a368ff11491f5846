"""Rate and latency of a hop, from the transfers that the pipeline makes anyway.

``seconds = latency + bytes * 8 / rate``: transfers of two sizes separate the two, so small messages (results, status,
probes) count as much as frames. See `docs/profiles.md` for the method and its sources.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from dataclasses import dataclass, replace

from tiercut.errors import SettingsError
from tiercut.estimate.changepoint import Cusum, NoiseScale
from tiercut.estimate.line import Line, Point, fit
from tiercut.estimate.stalls import Stalls

#: Transfers kept per size class, a factor of 4 each, so that many frames do not push out the few small messages.
_KEPT = 16
#: Jitter of event loops and brokers that no size explains, seconds.
_JITTER_S = 0.001
#: Age at which a transfer's variance has doubled.
_AGE_S = 60.0
#: A fit is repeated this often, and without new transfers after this long.
_FITS, _FIT_AGE_S = 4, 3.0
#: After a change: how far latency and seconds per byte may have moved, relative. Rates move more than routes do.
_LATENCY_MOVES, _RATE_MOVES = 0.3, 3.0
#: How far off the guess before the first transfer may be: seconds, and a factor on the time per byte.
_GUESS_STD_S, _GUESS_FACTOR = 0.02, 10.0
#: Sizes this far apart separate rate from latency.
_APART = 4.0
#: A probe's small message; the time that its large one should take (less where it would delay frames), and the limits
#: of its size: a smaller one would measure the burst that a line lets through at once, not its rate.
_PROBE_SMALL_BYTES = 200
_PROBE_S, _PROBE_GENTLE_S = 0.08, 0.02
_MIN_PROBE_BYTES, _MAX_PROBE_BYTES = 8_000, 60_000
#: Interval of probes after a change and before the first transfer; then they get ever rarer.
_PROBE_SOON_S = 1.0
#: Where no stream has frames, intervals get longer by this factor.
_RARER = 3.0
#: One odd transfer is no change yet: the next probe follows after this.
_PROBE_AGAIN_S = 0.25
#: A transfer in flight that takes this many times as long as expected shows a change by itself.
_OVERDUE = 3.0
#: Standard deviations from which one transfer is odd.
_ODD = 3.0
#: A transfer is taken for no longer and no larger than this, so that one absurd figure cannot spoil the arithmetic.
_MAX_S, _MAX_BYTES = 600.0, 2**30
#: Rates within this factor are the same.
_ODD_FACTOR = 1.3
#: While fewer than this were seen, every one is odd.
_FEW = 4
#: While all transfers have one size, how often a small message is sent to tell rate from latency.
_PROBE_SPLIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSample:
    """One transfer.

    Attributes:
        at_s: When it ended, on one monotonic clock for all samples of an estimator.
        payload_bytes: Its size.
        seconds: How long it took, from publish on.
        probe: It was sent only to measure.
        heard_later_s: How long after its end it is heard of, as what a node then does takes.
    """

    at_s: float
    payload_bytes: int
    seconds: float
    probe: bool = False
    heard_later_s: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.at_s) and math.isfinite(self.seconds)) or min(self.payload_bytes, self.seconds) < 0:
            raise SettingsError(
                "a transfer cannot be", expected="finite times, seconds and bytes >= 0", came=str(self), fix="drop it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """What a hop does now; each figure with its standard deviation.

    Attributes:
        mbps: Rate, 10⁶ bits of payload per second.
        mbps_std: Of ``mbps``, by way of the time per byte.
        latency_seconds: One way.
        latency_std: Of ``latency_seconds``.
        split_known: Transfers of two sizes were seen since the last change; if not, their sum is known alone, and
            ``latency_seconds`` is what was known before.
        samples: Transfers it rests on; 0: it is a guess.
        line: The fit, for times of other sizes.
        ways: How many latencies are in the time of a transfer: 2 with the acknowledgement's way back.
    """

    mbps: float
    mbps_std: float
    latency_seconds: float
    latency_std: float
    split_known: bool
    samples: int
    line: Line
    ways: int

    def transfer_seconds(self, payload_bytes: int) -> float:
        """Until the last byte of a payload has arrived."""
        return self.line.seconds(payload_bytes, fixed=1 / self.ways)

    def transfer_std(self, payload_bytes: int) -> float:
        """Standard deviation of the time of such a transfer."""
        return self.line.std_s(payload_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A step that was noticed.

    Attributes:
        at_s: Of the transfer that gave it away.
        before: Estimate before it.
        after: Estimate from the transfers since.
    """

    at_s: float
    before: LinkEstimate
    after: LinkEstimate

    @property
    def matters(self) -> bool:
        """Whether rate or latency are others: on a line measured rarely, evidence of hardly anything adds up."""
        rate = self.after.mbps / self.before.mbps
        moved_s = abs(self.after.latency_seconds - self.before.latency_seconds)
        same_rate = 1 / _ODD_FACTOR < rate < _ODD_FACTOR
        return not (same_rate and moved_s < max(_JITTER_S, 0.3 * self.before.latency_seconds))

    def __str__(self) -> str:
        """Of rate and latency what reads differently; the rate in any case."""
        rates = f"{self.before.mbps:.3g}", f"{self.after.mbps:.3g}"
        delays = f"{self.before.latency_seconds * 1e3:.3g}", f"{self.after.latency_seconds * 1e3:.3g}"
        said = [" → ".join(dict.fromkeys(rates)) + " Mbps"]
        return ", ".join(said if delays[0] == delays[1] else [*said, f"{delays[0]} → {delays[1]} ms"])


class LinkEstimator:
    """Live estimate of one direction of one hop.

    Feed it one kind of time: the ``wire`` stage where the clocks' offset is known, else publish → PUBACK.

    Args:
        mbps: Rate to expect before anything was seen.
        latency_seconds: One way, likewise.
        acknowledged: Times include the acknowledgement's way back, as publish → PUBACK does.
        idle_s: After this long without a transfer, a probe is due.
    """

    def __init__(
        self, *, mbps: float = 10.0, latency_seconds: float = 0.01, acknowledged: bool = True, idle_s: float = 10.0
    ) -> None:
        self._ways = 2 if acknowledged else 1
        fixed_s, byte_s = latency_seconds * self._ways, 8 / (mbps * 1e6)
        #: What holds when no transfer says otherwise: the first guess, or the last estimate before a change.
        self._prior = Line(fixed_s, byte_s, max(2 * fixed_s, _GUESS_STD_S) ** 2, (_GUESS_FACTOR * byte_s) ** 2)
        self._line = self._prior
        self._idle_s = idle_s
        self._classes: dict[int, deque[tuple[float, Point]]] = {}
        self._recent: deque[tuple[float, Point]] = deque(maxlen=_KEPT)
        self._cusum = Cusum()
        self._noise = NoiseScale()
        self._seen = 0
        self._assumed = False
        #: something large enough to tell its rate has crossed it, ever
        self._rated = False
        self._last_end_s = -math.inf
        self._last_frame_s = -math.inf
        #: when a frame crossed it last whose time was not read
        self._passed_s = -math.inf
        #: how long after its end a frame's transfer is heard of
        self._later_s = 0.0
        #: when the line was fitted, and how often since something was kept or dropped
        self._fitted_s, self._fits = -math.inf, 0
        self._asked_s = -math.inf
        self._probe_every_s = _PROBE_SOON_S
        #: a transfer in flight that counts as if it had arrived, until one has
        self._late: tuple[float, Point] | None = None
        self.stalls = Stalls()

    @property
    def guessed(self) -> bool:
        """Nothing is known of it: neither was a transfer seen nor a like hop's change taken over."""
        return not self._seen and not self._assumed

    @property
    def rate_guessed(self) -> bool:
        """Nothing large enough to tell its rate has crossed it, nor was a like hop's change taken over."""
        return not self._assumed and not self._split_known()

    @property
    def unrated(self) -> bool:
        """Nothing large enough to tell its rate has ever crossed it, nor was a like hop's change taken over."""
        return not (self._rated or self._assumed)

    @property
    def suspects(self) -> bool:
        """Whether the last transfers may be the beginning of a change: the next ones tell."""
        return self._cusum.suspects

    def passed(self, at_s: float) -> None:
        """A frame has crossed it, and how long that took was not read: who set out before has waited for it.

        Args:
            at_s: When its result came.
        """
        self._passed_s = self._last_frame_s = at_s - self._later_s

    def observe(self, sample: LinkSample) -> LinkChange | None:
        """Take a transfer; what changed, if this one gives it away.

        Transfers of one link share it: one that set out while another was in flight has waited for that one, and only
        the time since that one's end is its own.
        """
        sample = replace(
            sample, seconds=min(sample.seconds, _MAX_S), payload_bytes=min(sample.payload_bytes, _MAX_BYTES)
        )
        point = self._own_time(sample)
        was_late = self._forget_late()
        expected_s = self._line.seconds(point.bytes, fixed=point.fixed)
        residual = math.log((point.seconds + _JITTER_S) / (expected_s + _JITTER_S))
        if self._seen:
            self.stalls.seen(sample.at_s, point.seconds, expected_s)
        self._seen += 1
        self._rated |= sample.payload_bytes >= _MIN_PROBE_BYTES
        self._keep(sample.at_s, point)
        if self._seen == 1 or was_late:  # a first guess may be far off, and that is no change
            self._refit(sample.at_s)
            return None
        direction = self._cusum.update(residual / self._noise.sigma)
        if direction is None:
            if (
                self._seen > _FEW and abs(residual) > _ODD * self._noise.sigma
            ):  # more of these, and it is a change: look again soon
                self._probe_every_s = _PROBE_AGAIN_S
            self._noise.add(residual)
            self._refit(sample.at_s)
            return None
        return self._adopt(sample.at_s, self._cusum.run(direction))

    def waits(self, payload_bytes: int, waited_s: float, now_s: float) -> LinkChange | None:
        """A transfer has not arrived yet; what changed, if it takes too long for what was known.

        It counts as if it had just arrived: the truth is worse. The next transfer that arrives takes its place.
        """
        waited_s, payload_bytes = min(waited_s, _MAX_S), min(payload_bytes, _MAX_BYTES)
        known = self._late
        if known is not None and known[1].bytes == payload_bytes and known[1].seconds < waited_s:
            self.stalls.seen(now_s, waited_s, 0.0)
            self._be_late(payload_bytes, waited_s, now_s)  # the same one still
            self._refit(now_s)
            return None
        if not self._overdue(payload_bytes, waited_s):
            return None
        self.stalls.seen(now_s, waited_s, self._line.seconds(payload_bytes))
        self._be_late(payload_bytes, waited_s, now_s)
        return self._adopt(now_s, 1)

    def assume(self, line: Line) -> bool:
        """A hop that may share this one's line has changed to this: until it is measured, so has this one.

        Returns:
            False where this one is as bad already.
        """
        if self._line.byte_s >= line.byte_s / _ODD_FACTOR:
            return False
        fixed_s = max(line.fixed_s, self._line.fixed_s)
        self._prior = Line(fixed_s, line.byte_s, fixed_s**2, (_GUESS_FACTOR * line.byte_s) ** 2)
        self._line = self._prior
        self._classes.clear()
        self._recent.clear()
        self._cusum.reset()
        self._seen, self._late, self._assumed = 0, None, True
        self._fits = 0
        self._asked_s, self._probe_every_s = -math.inf, _PROBE_SOON_S
        return True

    def carries_frames(self, now_s: float) -> bool:
        """Whether a frame has crossed it in the last second."""
        return now_s - self._last_frame_s < _PROBE_SOON_S

    def measured_since(self, since_s: float) -> bool:
        """Whether a transfer ended after that time."""
        return self._last_end_s > since_s

    def estimate(self, now_s: float) -> LinkEstimate:
        """The estimate now; without transfers its uncertainty grows."""
        kept = [point for each in self._classes.values() for _, point in each]
        line = self._believable(self._fit_of_late(now_s), kept) if self._seen else self._line
        mbps = 8e-6 / line.byte_s
        return LinkEstimate(
            mbps=mbps,
            mbps_std=mbps * math.sqrt(line.byte_var) / line.byte_s,
            latency_seconds=line.fixed_s / self._ways,
            latency_std=math.sqrt(line.fixed_var) / self._ways,
            split_known=self._split_known(),
            samples=len(kept),
            line=line,
            ways=self._ways,
        )

    def _overdue(self, payload_bytes: int, waited_s: float) -> bool:
        """Whether a transfer in flight takes so long that the link must have changed, or be gone."""
        return waited_s > _OVERDUE * (self._line.seconds(payload_bytes) + _JITTER_S)

    def probe_due(self, now_s: float, *, gentle: bool = False, rare: bool = False) -> tuple[int, ...]:
        """Sizes of the messages of a probe that is due now, to be sent one after the other; empty when none is due.

        An idle link is probed soon after a change and before anything was seen, then ever more rarely. A busy one is
        not, but for a small message where all its transfers have one size.

        Args:
            now_s: When.
            gentle: Frames of others may be on the same line.
            rare: No stream has frames, so that nothing waits for what this link says.
        """
        idle_s, most_s = now_s - self._last_frame_s, self._idle_s * (_RARER if rare else 1.0)
        if idle_s >= _PROBE_SOON_S and now_s - self._asked_s >= min(self._probe_every_s, most_s):
            # An unmeasured link may be slower than guessed by any factor: 60 kB at 0.1 Mbit/s take five seconds,
            # and frames behind them too.
            self._probe_every_s = min(2 * self._probe_every_s, most_s)
            probe_s = _PROBE_GENTLE_S if gentle or not self._seen else _PROBE_S
            most = _MAX_PROBE_BYTES if self._seen else _MIN_PROBE_BYTES
            large = min(max(int(probe_s / self._line.byte_s), _MIN_PROBE_BYTES), most)
            sizes: tuple[int, ...] = (_PROBE_SMALL_BYTES, large)
        elif idle_s < _PROBE_SOON_S and now_s - self._asked_s >= _PROBE_SPLIT_S and not self._split_known():
            sizes = (_PROBE_SMALL_BYTES,)
        else:
            return ()
        self._asked_s = now_s
        return sizes

    def _believable(self, line: Line, kept: list[Point]) -> Line:
        """Not faster than jitter lets small transfers tell, unless it was known to be that fast before."""
        largest = max((point.bytes for point in kept), default=0)
        min_byte_s = min(self._prior.byte_s, _JITTER_S / max(1, largest))
        return line if line.byte_s >= min_byte_s else replace(line, byte_s=min_byte_s)

    def _split_known(self) -> bool:
        sizes = [max(1, point.bytes) for each in self._classes.values() for _, point in each]
        return bool(sizes) and max(sizes) >= _APART * min(sizes)

    def _be_late(self, payload_bytes: int, waited_s: float, now_s: float) -> None:
        self._forget_late()
        self._late = now_s, Point(1.0, payload_bytes, waited_s, 1.0)
        self._classes.setdefault(_size_class(payload_bytes), deque(maxlen=_KEPT)).append(self._late)
        self._recent.append(self._late)
        self._fits = 0

    def _forget_late(self) -> bool:
        late, self._late = self._late, None
        if late is not None:
            self._drop([late])
            self._recent = deque((each for each in self._recent if each is not late), maxlen=_KEPT)
        return late is not None

    def _own_time(self, sample: LinkSample) -> Point:
        """The part of a transfer's time that is its own, and whether latency is in it. Probes are sent alone."""
        started_s, free_s = sample.at_s - sample.seconds, max(self._last_end_s, self._passed_s)
        self._last_end_s = max(free_s, sample.at_s)
        if not sample.probe:
            self._last_frame_s, self._later_s = self._last_end_s, sample.heard_later_s
        if not sample.probe and free_s - self._line.fixed_s > started_s and sample.at_s >= free_s:
            return Point(0.0, sample.payload_bytes, sample.at_s - free_s, 1.0)
        return Point(1.0, sample.payload_bytes, sample.seconds, 1.0)

    def _keep(self, at_s: float, point: Point) -> None:
        kept = (at_s, point)
        self._classes.setdefault(_size_class(point.bytes), deque(maxlen=_KEPT)).append(kept)
        self._recent.append(kept)
        self._fits = 0

    def _refit(self, now_s: float) -> Line:
        relative, fixed_s, byte_s = self._noise.sigma, self._line.fixed_s, self._line.byte_s
        points = []
        for at_s, (fixed, size, seconds, _) in itertools.chain.from_iterable(self._classes.values()):
            scale_s = relative * (fixed * fixed_s + size * byte_s)
            age = max(0.0, now_s - at_s) / _AGE_S
            points.append(Point(fixed, size, seconds, math.hypot(scale_s, _JITTER_S) * math.sqrt(1 + age**2)))
        self._line = fit(points, self._prior)
        self._fitted_s, self._fits = now_s, self._fits + 1
        return self._line

    def _fit_of_late(self, now_s: float) -> Line:
        """The last fit, where nothing has come since and it has converged: a sample's noise is relative to the line."""
        same = self._fits >= _FITS and 0 <= now_s - self._fitted_s < _FIT_AGE_S
        return self._line if same else self._refit(now_s)

    def _adopt(self, at_s: float, count: int) -> LinkChange:
        """Forget all before the change, and hold on to what it says little about."""
        self._probe_every_s = _PROBE_SOON_S
        since = list(self._recent)[-count:]
        self._drop(since)  # they have bent the line a little
        before = self.estimate(at_s)
        old = before.line
        ratios = [p.seconds / max(_JITTER_S, old.seconds(p.bytes, fixed=p.fixed)) for _, p in since]
        growth = max(1.0, statistics.median(ratios))
        self._prior = Line(
            old.fixed_s,
            old.byte_s,
            (growth * _LATENCY_MOVES * max(old.fixed_s, _JITTER_S)) ** 2,
            (growth * _RATE_MOVES * old.byte_s) ** 2,
        )
        self._classes.clear()
        self._recent.clear()
        self._cusum.reset()
        self._line = self._prior
        for sample in since:  # not copied: a late one is known by its identity
            self._classes.setdefault(_size_class(sample[1].bytes), deque(maxlen=_KEPT)).append(sample)
            self._recent.append(sample)
        for _ in range(3):  # a sample's noise is relative to the line
            self._refit(at_s)
        return LinkChange(at_s=at_s, before=before, after=self.estimate(at_s))

    def _drop(self, samples: list[tuple[float, Point]]) -> None:
        dropped = set(map(id, samples))
        self._fits = 0
        for size_class, kept in self._classes.items():
            self._classes[size_class] = deque((each for each in kept if id(each) not in dropped), maxlen=_KEPT)


def _size_class(payload_bytes: int) -> int:
    return round(math.log(max(1, payload_bytes), _APART))
