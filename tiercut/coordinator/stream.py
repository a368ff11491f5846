"""One stream as the coordinator keeps it: its plan, a change in progress, and whether a new plan is proved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import structs

from tiercut.coordinator.deadline import Punctuality
from tiercut.coordinator.hysteresis import Hysteresis
from tiercut.coordinator.kept import PlanKept
from tiercut.coordinator.mix import Mix, essence
from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.problem import as_choice
from tiercut.coordinator.reading import FIRST, Reading
from tiercut.coordinator.recent_results import RecentResults
from tiercut.coordinator.standing import Compared, Judged, near
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.coordinator.way import along, route
from tiercut.estimate.links import LinkEstimator
from tiercut.plan import Plan
from tiercut.planner import Choice, Problem
from tiercut.profiling.profile import Span
from tiercut.protocol.drop_reasons import LATE_REASONS
from tiercut.protocol.explanations import PlanChange, Shortage
from tiercut.protocol.frames import Dropped
from tiercut.protocol.nodes import StreamControl
from tiercut.protocol.results import Journey

#: Changes that are kept for explanations.
HISTORY = 20
#: Frames of a new plan that must fail, with none that succeeds, before it is taken back.
FAILURES = 3
#: A node that said it was ready and was not is avoided for this long.
SHUN_S = 30.0
#: Drops that say nothing about a plan: a newer frame came, time was up, or a node or the cloud's broker is gone (which
#: is seen elsewhere).
_USUAL = LATE_REASONS | {"newer_frame", "unreachable", "cloud_away", "lost", "duplicate"}
#: Weight of the newest frame in means.
_NEWEST = 0.2
#: Part of a node's time from which a stream keeps it busy.
_FULL = 0.9
#: Figures that have moved by more than this part are told soon.
TOLD = 0.1
#: A stream without results for this long counts as using no node or link.
_SILENT_S = 5.0
#: After so long without a result, and so many times the usual time between two, a stream gives no frames.
_QUIET_S, _QUIET_FRAMES = 10.0, 5

AUTO = StreamControl(mode="auto")


@dataclass(slots=True)
class Pending:
    """A change that waits for nodes to get ready.

    Attributes:
        mix: The plans to come.
        reason: Why.
        waiting: Node → answers that it still owes: one for each of its segments.
        until_s: When it is given up.
        together_s: Until when it waits for other streams' changes as well, once its nodes are ready; ``None``: not.
    """

    mix: Mix
    reason: str
    waiting: Counter[NodeKey]
    until_s: float
    together_s: float | None = None

    def answered(self, key: NodeKey) -> bool:
        """A node has a segment ready; whether all are."""
        self.waiting[key] -= 1
        if self.waiting[key] <= 0:
            del self.waiting[key]
        return not self.waiting

    @property
    def plan(self) -> Plan:
        """That of most frames."""
        return self.mix.first


@dataclass(slots=True)
class Trial:
    """A new plan, while no frame of it has arrived as planned.

    Attributes:
        failures: Frames that failed.
        culprits: Nodes at which they did.
        why: What the last of them said.
    """

    failures: int = 0
    culprits: set[NodeKey] = field(default_factory=set)
    why: str = ""

    def failed(self, culprits: set[NodeKey], why: str) -> None:
        """A frame of the new plan did not come through as planned."""
        self.failures += 1
        self.culprits |= culprits
        self.why = why


@dataclass(slots=True)
class PlannedStream:
    """A stream that wants a plan.

    Attributes:
        goal: What it wants.
        control: What a person wants of it.
        mix: The plans it follows.
        pending: A change in progress.
        trial: The plan is new and has not proved itself.
        proved: The last plan that has.
        shunned: Nodes that are left alone, until when.
        failed: Node → frames in a row that have failed there, of those that follow several plans.
        step: What has changed abruptly since the last evaluation.
        trouble: Why there is no better plan now.
        given_up: Why the last change was given up, until one succeeds.
        evaluated_s: When it was evaluated last.
        explained_s: When its explanation was published last.
        told: The latency and the rate that it told of.
        measured_s: Mean latency of late.
        overhead_s: What of it is in no stage of a plan: making the sensor's frame an input, handing over.
        frames_per_second: Mean rate of results.
        recent: Its results of the last seconds.
        worked_s: Mean seconds that each node has worked on a frame of late.
        taken: What it takes of nodes and links, where there are other streams.
        held: What the segments that its plans run need, MB, by node id and segment, where there are other streams.
        punctuality: Its frames against its deadline.
        exits: Share of frames of late by the exit they left at.
        retained: The plan is from before the hub's start, and links have not been measured since.
        reading: Which of its results are read.
        kept: Whether its plan keeps up with the sensor, and what it promised.
        short: What the site is short of for it, where no plan does without.
        late: No plan meets its deadline.
        behind: No plan takes as many frames as its sensor gives.
        problem: Its last planning problem, as if it were alone.
        predicted_s: What each of several plans promises.
        judged: What its last evaluation rests on, while that is at peace.
        compared: The plans that it was compared with for its explanation.
    """

    goal: StreamGoal
    control: StreamControl = AUTO
    mix: Mix | None = None
    pending: Pending | None = None
    trial: Trial | None = None
    proved: Plan | None = None
    shunned: dict[NodeKey, float] = field(default_factory=dict)
    failed: Counter[NodeKey] = field(default_factory=Counter)
    hysteresis: Hysteresis = field(default_factory=Hysteresis)
    paused_until_s: float = float("-inf")
    wanted_since_s: float | None = None
    step: str | None = None
    trouble: str | None = None
    given_up: str | None = None
    history: list[PlanChange] = field(default_factory=list)
    evaluated_s: float = float("-inf")
    explained_s: float = float("-inf")
    told: tuple[float | None, float] = (None, 0.0)
    measured_s: float | None = None
    overhead_s: float | None = None
    frames_per_second: float = 0.0
    recent: RecentResults = field(default_factory=RecentResults)
    worked_s: dict[NodeKey, float] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    held: dict[tuple[str, Span], float] = field(default_factory=dict)
    punctuality: Punctuality = field(default_factory=Punctuality)
    exits: dict[str, float] = field(default_factory=dict)
    retained: bool = False
    reading: Reading = field(default_factory=Reading)
    kept: PlanKept = field(default_factory=PlanKept)
    short: Shortage | None = None
    late: bool = False
    behind: bool = False
    problem: Problem | None = None
    predicted_s: Mapping[Choice, float] = field(default_factory=dict)
    judged: Judged | None = None
    compared: Compared | None = None
    _last_result_s: float = float("-inf")
    _last_captured_s: float = float("-inf")

    @property
    def plan(self) -> Plan | None:
        """The plan it follows; of several, that of most frames."""
        return None if self.mix is None else self.mix.first

    @property
    def mixed(self) -> bool:
        """It follows several plans, or fewer frames than its sensor gives: the site is planned as a whole."""
        return self.mix is not None and not self.mix.plain

    def turn(self) -> tuple[bool, float]:
        """Sorts streams for evaluation: first those affected by a step, then those that have waited longest."""
        return self.step is None or self.pending is not None, self.evaluated_s

    @property
    def settled(self) -> bool:
        """No change of its plan is being considered or under way, and no frame of a new one has failed."""
        considered = self.step is not None or self.hysteresis.considers
        fails = self.trial is not None and self.trial.failures > 0
        return not (self.plan is None or self.pending or fails or considered)

    @property
    def at_peace(self) -> bool:
        """Settled, and its frames are as they are to be: nothing is waited for that would show in figures only."""
        kept = self.kept
        return self.settled and not (self.trouble or self.short or kept.overrun or kept.promise.late)

    def tells_other(self, now_s: float) -> bool:
        """Whether its latency or its rate is not any more what its last explanation told."""
        told_s, told_fps = self.told
        return not (near(told_s, self.measured_s, TOLD) and near(told_fps, self.rate(now_s), TOLD))

    def facts(self, now_s: float) -> tuple[object, ...]:
        """What its judgement rests on that is the same or is not."""
        frees = now_s < self.paused_until_s, self.hysteresis.holds_back(now_s)
        asks = self.kept.offered.asked_fps
        return self.plan, self.proved, self.control, self.retained, frees, None if asks is None else round(asks, 1)

    def is_due(self, now_s: float, every_s: float) -> bool:
        """Whether to evaluate it now, where nothing special was heard."""
        return not self.settled or now_s - self.evaluated_s >= every_s - 1e-6

    @property
    def frozen(self) -> bool:
        """Only a person may change its plan."""
        return self.control.mode == "freeze" and self.plan is not None

    @property
    def considers_another(self) -> bool:
        """Whether another plan is about to be followed, or may be at one of the next evaluations."""
        return self.pending is not None or (self.control.mode == "auto" and self.hysteresis.considers)

    def by_hand(self) -> Plan | None:
        """The plan that a person wants, if it is not the one that is followed."""
        wanted = self._hand_plan
        if wanted is None or (_same(wanted, self.plan) and not self.mixed):
            return None
        return wanted

    @property
    def _hand_plan(self) -> Plan | None:
        """The plan by hand, of the node that reads the sensor now."""
        plan = self.control.plan
        return plan if plan is None or not self.goal.moves else structs.replace(plan, device=self.goal.device)

    def plans(self) -> list[Plan]:
        """The plans that may be judged: the one it follows or is about to, the last proved, and what a person wants."""
        mixes = (self.mix, None if self.pending is None else self.pending.mix)
        mixed = [plan for mix in mixes if mix is not None for plan, _ in mix.plans]
        return [*mixed, *(plan for plan in (self.proved, self._hand_plan) if plan is not None)]

    def is_shunned(self, key: NodeKey, now_s: float) -> bool:
        """Whether a node is left alone for now."""
        return now_s < self.shunned.get(key, float("-inf"))

    def rate(self, now_s: float) -> float:
        """Frames per second of late; 0 when none came. Those of several plans do not come in the order of capture."""
        if self.mixed:
            return self.recent.per_second(now_s)
        return self.frames_per_second if now_s - self._last_result_s < _SILENT_S else 0.0

    def fell_silent(self, now_s: float) -> bool:
        """Whether no frame has come for much longer than is usual: nothing is short then."""
        usual_s = 1 / self.frames_per_second if self.frames_per_second > 0 else 0.0
        return now_s - self._last_result_s > max(_QUIET_S, _QUIET_FRAMES * usual_s)

    def idle(self, now_s: float) -> bool:
        """Whether it had frames and has none any more."""
        return math.isfinite(self._last_result_s) and self.fell_silent(now_s)

    def fills(self, key: NodeKey, now_s: float) -> bool:
        """Whether its frames keep a node busy all the time: only then the line before it does not go away by itself."""
        return self.rate(now_s) * self.worked_s.get(key, 0.0) >= _FULL

    @property
    def failing(self) -> set[NodeKey]:
        """Nodes of its plans at which its frames fail."""
        return {key for key, count in self.failed.items() if count >= FAILURES}

    def follows(self, mix: Mix) -> None:
        """It follows the plans that it has in other shares, or at another rate."""
        self.mix = mix

    def adopted(self, mix: Mix, reason: str) -> None:
        """A change is done: the stream follows ``mix`` from now on, on trial if its first plan is new."""
        plan = mix.first
        self.trial = None if _same(plan, self.proved) else Trial()
        self.reading.read_all_of(FIRST)
        self.punctuality.new_plan()
        if self.plan is None or (plan.exit, plan.threshold) != (self.plan.exit, self.plan.threshold):
            self.exits = {}
        self.mix, self.pending, self.given_up, self.short = mix, None, None, None
        self.failed.clear()
        self.history.append(PlanChange(plan.epoch, reason))
        del self.history[:-HISTORY]

    def arrived(self, journey: Journey, now_s: float) -> None:
        """A frame has a result, that is read."""
        self.reading.begins()
        self.recent.came(now_s)
        if journey.cached:  # it says nothing of the plan
            return
        self._note_deadline(journey)
        if journey.latency_s is not None:
            self.measured_s = _mean(self.measured_s, journey.latency_s)
            if journey.fallback is None:
                counted = (stage.seconds for stage in journey.stages if stage.kind != "prepare")
                self.overhead_s = _mean(self.overhead_s, max(0.0, journey.latency_s - sum(counted)))
        self._note_work(journey)
        # By the times of capture: results come faster than that while a line before a node gets shorter.
        since_s = journey.captured_unix_s - self._last_captured_s
        if 0 < since_s < _SILENT_S:
            count = self.reading.stands_for
            before_s = 1 / self.frames_per_second if self.frames_per_second else None
            interval_s = _mean(before_s, max(since_s / count, 1e-3), 1 - (1 - _NEWEST) ** count)
            self.frames_per_second = 1 / interval_s
        self._last_captured_s, self._last_result_s = journey.captured_unix_s, now_s
        reached = {key for key, _, _ in along(journey.plan, journey.stages)}
        missed = [key for key in route(journey.plan) if key not in reached] if journey.fallback is not None else []
        for key in reached - set(missed):
            del self.failed[key]
        if self.mixed:
            self.failed.update(missed[:1])
        if self.trial is None or self.plan is None or journey.plan.epoch != self.plan.epoch:
            return
        if journey.fallback is None:
            self.trial, self.proved = None, self.plan
            return
        self.trial.failed(set(missed[:1]), journey.fallback)

    def was_read(self, journey: Journey, now_s: float, *, crossed: list[LinkEstimator], suspects: bool) -> None:
        """A result has been read; the next one is soon, where it gives a change away or its frame was late."""
        newest = 0 if self.plan is None else self.plan.epoch
        eager = suspects or journey.deadline_met is False
        self.reading.ends(now_s, crossed=crossed, epoch=journey.plan.epoch, newest=newest, eager=eager)

    def passed(self, now_s: float) -> None:
        """A frame has a result that is not read."""
        self.reading.passes(now_s)
        self.recent.came(now_s)
        self._last_result_s = now_s

    def _note_work(self, journey: Journey) -> None:
        worked = dict.fromkeys((*self.worked_s, *route(journey.plan)), 0.0)
        for key, _, stage in along(journey.plan, journey.stages):
            if stage.kind in {"decode", "compute", "encode"}:
                worked[key] += stage.seconds
        self.worked_s = {key: _mean(self.worked_s.get(key), seconds) for key, seconds in worked.items()}

    def _note_deadline(self, journey: Journey) -> None:
        current = self.plan is not None and journey.plan.epoch == self.plan.epoch
        if not current:
            return
        for name in {*self.exits, journey.exit}:
            share = self.exits.get(name, 0.0 if self.exits else 1.0)
            self.exits[name] = _mean(share, 1.0 if name == journey.exit else 0.0)
        if journey.deadline_met is not None:
            self.punctuality.judged(met=journey.deadline_met, frames=self.reading.stands_for)
        whole = journey.fallback is None and journey.exit == journey.plan.exit
        if self.predicted_s:
            self.punctuality.predicted_s = self.predicted_s.get(as_choice(journey.plan))
        if journey.latency_s is not None:
            self.punctuality.arrived(journey.latency_s, usual=whole, frames=self.reading.stands_for)

    def dropped(self, message: Dropped) -> None:
        """A frame has no result."""
        if message.reason in LATE_REASONS:
            self.punctuality.judged(met=False)
            way = message.way
            counts = self.reading.late()
            if counts and way is not None and self.plan is not None and way.plan.epoch == self.plan.epoch:
                self.punctuality.arrived(max(way.age_s, self.goal.deadline_s or 0.0), usual=True)  # at least so late
        if self.mixed and message.way is not None and message.reason not in _USUAL:
            self.failed.update(key for key in route(message.way.plan)[1:] if key[1] == message.where)
        if self.trial is not None and self.plan is not None and message.reason not in _USUAL:
            culprits = {key for key in route(self.plan) if key[1] == message.where and key[0] != "device"}
            self.trial.failed(culprits, f"{message.where} dropped frames: {message.message or message.reason}")


def _mean(before: float | None, now: float, weight: float = _NEWEST) -> float:
    return now if before is None else before + weight * (now - before)


def _same(plan: Plan, other: Plan | None) -> bool:
    """Equal but for the epoch, and for what the rest of the way takes at least."""
    return other is not None and essence(plan) == essence(other)
