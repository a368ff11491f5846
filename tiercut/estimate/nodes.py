"""Slowdown and queue of a node, from the stage times of the frames it ran, against its profile.

``log(measured / profile) = load + bias(segment)``: load is the node's and moves quickly, bias is the profile's error
for one segment and moves slowly. One segment alone cannot tell them apart: all of it then counts as load, which
predicts that segment rightly. With two or more, what they do not share is the profile's.
"""

from __future__ import annotations

import itertools
import math
import operator
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.estimate.changepoint import Cusum, NoiseScale
from tiercut.plan import FULL
from tiercut.profiling.profile import Profile, Span, block_seconds

#: Segments shorter than this are timer and scheduler, not computation.
_JITTER_S = 5e-5
_KEPT = 24
_QUEUE_KEPT = 8
#: This many frames in a row that waited so long are the beginning of a queue.
_GROWS, _LONG_WAIT_S = 2, 0.01
#: A queue that no frame waits in any more is forgotten with this half-life.
_QUEUE_FORGET_S = 2.0
#: A node without measurements returns to its profile with this half-life, so that it is tried again. Each
#: time that it then turns out to be as slow as before, the next trial comes after twice the time.
_FORGET_S, _MAX_FORGET_S = 5.0, 300.0
#: A running segment that takes this many times as long as expected shows a change by itself.
_OVERDUE = 3.0
#: A change by less than this factor shows nowhere.
_SHOWS = 1.1
#: Logarithm of the slowdown from which it is worth a trial.
_SLOW = 0.3
#: After this long without a frame a node is idle, and its pace counts; below this factor that is noise.
_IDLE_S, _SAME_PACE = 1.0, 1.3
#: The median of this many counts: a single one may have met another program by chance.
_PACES = 3
#: From this pace on a node is busy with something else.
_BUSY_PACE = 1.5
#: Bounds of any correction: beyond, the profile is of another machine and is to be measured again.
_MAX = 64.0
#: Share of what a frame says about its segment's bias that is believed.
_BIAS_STEP = 0.05
#: Frames before a contradiction is reported, and how far off a measured or predicted profile must be.
_CERTAIN = 20
_OFF: Mapping[str, float] = {"measured": 1.5, "predicted": 2.5}

EMPTY: Mapping[str, int] = {}
#: More blocks than any model has.
_ALL = 2**31

#: Model and what of it was run.
_Key = tuple[str, Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEstimate:
    """What a node does now.

    Attributes:
        slowdown: Factor on its profile; ``slowdown`` of the planning problem.
        slowdown_std: Its standard deviation.
        queue_seconds: Least wait of late before a frame starts: a burst that passes is no queue.
        samples: Frames it rests on; 0: it is a guess.
    """

    slowdown: float
    slowdown_std: float
    queue_seconds: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadChange:
    """A step in a node's load that was noticed."""

    at_s: float
    before: LoadEstimate
    after: LoadEstimate

    @property
    def matters(self) -> bool:
        """Whether it shows: a node that was about as slow before has not changed, however sure that is now."""
        return not 1 / _SHOWS < self.after.slowdown / self.before.slowdown < _SHOWS

    def __str__(self) -> str:
        return f"slowdown {self.before.slowdown:.2f} → {self.after.slowdown:.2f}"


@dataclass(slots=True)
class _Bias:
    """Error of a profile for one segment.

    Attributes:
        log: Natural logarithm of measured / profile, without the node's load.
        count: Frames it rests on.
        ratios: The last measured / profile, load included.
    """

    log: float
    count: int
    ratios: deque[float]


class LoadEstimator:
    """Live estimate of one node, whichever models it runs."""

    def __init__(self) -> None:
        self._logs: deque[tuple[_Key, float]] = deque(maxlen=_KEPT)
        self._queues: deque[float] = deque(maxlen=_QUEUE_KEPT)
        self._biases: dict[_Key, _Bias] = {}
        self._cusum = Cusum()
        self._noise = NoiseScale(typical=0.1, least=0.05)
        self._last_s = -math.inf
        self._forget_s = _FORGET_S
        #: the load that was forgotten, while nothing was seen since
        self._before: float | None = None
        #: what the idle node has said of its pace: soon after its last frame, and now
        self._pace_then: float | None = None
        self._pace_now: float | None = None
        self._paces: deque[float] = deque(maxlen=_PACES)

    @property
    def suspects(self) -> bool:
        """Whether the last frames may be the beginning of another slowdown or of a queue: the next ones tell."""
        return self._cusum.suspects or self._queue_grows()

    def paced(self, now_s: float, pace: float) -> None:
        """An idle node says how much slower than at best it is: by this its slowdown follows while no frame tells.

        Args:
            now_s: When.
            pace: Factor on its best time for a fixed piece of work, >= 1.
        """
        if now_s - self._last_s < _IDLE_S or not 0 < pace < math.inf:
            return
        self._paces.append(pace)
        pace = statistics.median(self._paces)
        if self._pace_then is None:
            self._pace_then = pace if self._logs else 1.0
        self._pace_now = pace

    def observe(
        self, now_s: float, profile: Profile, span: Span, *, seconds: float, queue_seconds: float = 0.0
    ) -> LoadChange | None:
        """Take the ``compute`` stage of a frame; what changed, if this one gives it away.

        Args:
            now_s: When, on one clock for all frames of an estimator.
            profile: Of the frame's model on this node, without corrections.
            span: What was run; nothing says nothing.
            seconds: Length of the stage.
            queue_seconds: Length of the ``queue`` stage before it.

        Raises:
            SettingsError: a time that cannot be, or a segment that the profile does not have.
        """
        if not (0 <= seconds < math.inf and 0 <= queue_seconds < math.inf):
            raise SettingsError(
                "a stage cannot be", expected="finite seconds >= 0", came=f"{seconds}, {queue_seconds}", fix="drop it"
            )
        if now_s - self._last_s > self._forget_s:
            self._begin_again()
        self._queues.append(queue_seconds)
        self._last_s = max(self._last_s, now_s)
        self._pace_then = self._pace_now = None
        self._paces.clear()
        expected_s = profile.span_seconds(span)
        if span.empty:
            return None
        ratio = _bounded(math.log((seconds + _JITTER_S) / (expected_s + _JITTER_S)))
        return self._take((profile.model, span), ratio, now_s)

    def runs(self, now_s: float, profile: Profile, span: Span, *, seconds: float) -> LoadChange | None:
        """A frame has been computed for so long and is not done; what changed, if that is too long for what was known.

        It counts as if it had just been done: the truth is worse.

        Raises:
            SettingsError: a segment that the profile does not have.
        """
        expected_s = profile.span_seconds(span)
        if span.empty or seconds <= expected_s:
            return None
        ratio = _bounded(math.log((seconds + _JITTER_S) / (expected_s + _JITTER_S)))
        key = profile.model, span
        bias = self._biases.setdefault(key, _Bias(0.0, 0, deque(maxlen=_CERTAIN)))
        if ratio - bias.log - self._load() <= math.log(_OVERDUE):
            return None
        self._last_s = max(self._last_s, now_s)
        return self._adopt(now_s, list(self._logs), [(key, ratio)])

    def estimate(self, now_s: float) -> LoadEstimate:
        """The estimate now; back towards the profile where nothing was measured for long."""
        age_s = max(0.0, now_s - self._last_s)
        fading = 0.5 ** (age_s / self._forget_s) if self._logs else 0.0
        queue_s = min(self._queues) * 0.5 ** (age_s / _QUEUE_FORGET_S) if self._queues else 0.0
        load, count = self._load(), len(self._logs)
        if self._pace_now is not None and self._pace_now > _BUSY_PACE:  # as busy as ever, says the node
            fading = 1.0
        slowdown = math.exp(_bounded(load * fading + self._pace_log()))
        forgotten = abs(load) * (1 - fading)  # it may be as loaded as ever
        sampled = self._noise.sigma / math.sqrt(count) if count else math.log(2)
        return LoadEstimate(
            slowdown=slowdown,
            slowdown_std=slowdown * math.hypot(sampled, forgotten),
            queue_seconds=queue_s,
            samples=count,
        )

    def _queue_grows(self) -> bool:
        """Whether the last two frames waited for long, and an earlier one did not: one alone was a burst."""
        if len(self._queues) < _GROWS + 1:
            return False
        lately = min(itertools.islice(reversed(self._queues), _GROWS))
        return lately > _LONG_WAIT_S + 2 * min(self._queues)

    def _pace_log(self) -> float:
        """What the node's pace has changed by since its frames were seen; small differences are noise."""
        if self._pace_now is None or self._pace_then is None:
            return 0.0
        log = math.log(self._pace_now / self._pace_then)
        return log if abs(log) > math.log(_SAME_PACE) else 0.0

    def corrected_blocks(
        self, profile: Profile, variant: str = FULL, shared: Mapping[str, int] = EMPTY
    ) -> tuple[float, ...]:
        """``block_seconds`` with the biases of the segments that were run; the slowdown comes on top of it.

        Args:
            profile: Of the model on this node.
            variant: Whose blocks.
            shared: Variant → how many of its first blocks are those of the whole model.
        """
        seconds = block_seconds(profile, variant)
        if not any(bias.log for (model, _), bias in self._biases.items() if model == profile.model):
            return seconds  # most nodes run one segment only, which tells of no error
        totals, weights = [0.0] * len(seconds), [0.0] * len(seconds)
        for (model, span), bias in self._biases.items():
            same = (
                len(seconds)
                if span.variant == variant
                else min(_shared(span.variant, shared), _shared(variant, shared))
            )
            if model == profile.model:
                for k in range(span.start, min(span.stop, len(seconds), same)):
                    totals[k] += bias.count * bias.log
                    weights[k] += bias.count
        return tuple(
            each * math.exp(total / weight) if weight else each
            for each, total, weight in zip(seconds, totals, weights, strict=True)
        )

    def contradictions(self, profile: Profile) -> list[str]:
        """Where the profile is not what is measured and load does not explain it, for people.

        Less time than the profile says, or one segment that is off while others are not.
        """
        bound = math.log(_OFF[profile.source])
        return [
            _contradiction(profile, span, statistics.median(bias.ratios))
            for (model, span), bias in sorted(self._biases.items(), key=operator.itemgetter(0))
            if model == profile.model
            and bias.count >= _CERTAIN
            and (abs(bias.log) > bound or statistics.median(bias.ratios) < -bound)
        ]

    def _take(self, key: _Key, ratio: float, now_s: float) -> LoadChange | None:
        bias = self._biases.setdefault(key, _Bias(0.0, 0, deque(maxlen=_CERTAIN)))
        bias.ratios.append(ratio)
        bias.count += 1
        first = not self._logs
        if first and self._before is not None:
            self._judge_trial(ratio - bias.log)
        residual = ratio - bias.log - self._load()
        self._logs.append((key, ratio))
        if first:
            return None
        direction = self._cusum.update(residual / self._noise.sigma)
        if direction is None:
            self._noise.add(residual)
            self._learn_bias(bias, residual)
            return None
        before_logs, run = list(self._logs), self._cusum.run(direction)
        return self._adopt(now_s, before_logs[:-run], before_logs[-run:])

    def _begin_again(self) -> None:
        """After a while without frames the past counts no more: it was forgotten when this trial was chosen."""
        self._before = self._load() if self._logs else None
        self._logs.clear()
        self._queues.clear()
        self._cusum.reset()

    def _judge_trial(self, load: float) -> None:
        """Whether a node that was slow, and that is tried again, is as slow as it was: then trials get rarer."""
        before, self._before = self._before, None
        if before is not None and before > _SLOW:
            in_vain = load > before / 2
            self._forget_s = min(2 * self._forget_s, _MAX_FORGET_S) if in_vain else _FORGET_S

    def _learn_bias(self, bias: _Bias, residual: float) -> None:
        """Only with segments to compare. What they have in common is load: else both would drift, one up, one down."""
        compared = [self._biases[key] for key in {key for key, _ in self._logs}]
        if len(compared) < 2:  # noqa: PLR2004
            return
        bias.log = _bounded(bias.log + _BIAS_STEP * max(-1.0, min(1.0, residual)))
        common = _BIAS_STEP * statistics.median(each.log for each in compared)
        for each in compared:
            each.log -= common

    def _load(self) -> float:
        """Median of what biases do not explain: half of the samples may be outliers."""
        return statistics.median(log - self._biases[key].log for key, log in self._logs) if self._logs else 0.0

    def _adopt(self, now_s: float, earlier: list[tuple[_Key, float]], since: list[tuple[_Key, float]]) -> LoadChange:
        self._logs = deque(earlier, maxlen=_KEPT)
        before = self.estimate(now_s)
        self._logs = deque(since, maxlen=_KEPT)
        self._queues = deque(itertools.islice(self._queues, max(0, len(self._queues) - len(since)), None), _QUEUE_KEPT)
        self._cusum.reset()
        return LoadChange(at_s=now_s, before=before, after=self.estimate(now_s))


def _bounded(log: float) -> float:
    return max(-math.log(_MAX), min(math.log(_MAX), log))


def _shared(variant: str, shared: Mapping[str, int]) -> int:
    """How many of a variant's first blocks are those of the whole model."""
    return _ALL if variant == FULL else shared.get(variant, 0)


def _contradiction(profile: Profile, span: Span, ratio: float) -> str:
    says_ms = profile.span_seconds(span) * 1e3
    of = "" if span.variant == FULL else f" of '{span.variant}'"
    cure = "run 'tiercut profile' on that machine" + (" again" if profile.source == "measured" else "")
    return (
        f"the {profile.source} profile of '{profile.model_name}' says {says_ms:.3g} ms for "
        f"[{span.start}, {span.stop}){of}, measured are {says_ms * math.exp(ratio):.3g} ms; {cure}"
    )
