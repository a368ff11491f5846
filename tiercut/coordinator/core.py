"""The coordinator's state machine: events go in, actions come out.

A new plan is made before the old one breaks, and must prove itself::

    evaluate ──▶ worth a change ──▶ Prepare to each node ──▶ all ready ──▶ PublishPlan with the next epoch ──▶ on trial
                                          └── one is not, or says no ──▶ the last plan stays, and why is said     │
                     back to the last plan, and away from that node for a while ◀── its first frames fail ────────┘
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tiercut.coordinator.actions import Action, Explain, ProbeHop
from tiercut.coordinator.best_plan import Best, best_of
from tiercut.coordinator.changes import READY_S, Changes
from tiercut.coordinator.events import (
    ControlHeard,
    DroppedHeard,
    Event,
    PlanHeard,
    ProfileHeard,
    ProgressHeard,
    PublishFailed,
    ReadyHeard,
    ResultHeard,
    ResultPassed,
    SourceHeard,
    StatusHeard,
    StreamUnwanted,
    StreamWanted,
    Tick,
    UplinkHeard,
)
from tiercut.coordinator.explain import explanation
from tiercut.coordinator.full_site import FullSite
from tiercut.coordinator.invariants import validate
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.problem import as_choice, build, hops, missing
from tiercut.coordinator.profiles import take_profile
from tiercut.coordinator.reading import AFTER_A_CHANGE, FIRST
from tiercut.coordinator.replanning import Replanning
from tiercut.coordinator.sharing import beside_others, held, taken
from tiercut.coordinator.shortage import shortage
from tiercut.coordinator.site.lines import Line
from tiercut.coordinator.site.listening import Listening
from tiercut.coordinator.site.problem import MOST_MARGIN
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.spans import spans
from tiercut.coordinator.standing import Judged
from tiercut.coordinator.stream import PlannedStream
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.errors import SettingsError
from tiercut.logs import Throttle
from tiercut.plan import known_tier, node_id
from tiercut.planner import Answer, Problem, evaluate
from tiercut.protocol.explanations import Shortage
from tiercut.protocol.frames import Dropped
from tiercut.protocol.nodes import Probe, Progress, Ready, StreamControl, StreamPlan
from tiercut.protocol.results import Journey

log = logging.getLogger(__name__)

#: How often explanations are published, and how often while hardly a figure moves; a change publishes one at once.
EXPLAIN_S, EXPLAIN_CALM_S = 1.0, 5.0
#: Something has changed, or is about to: streams are evaluated at each tick for so long afterwards …
LIVELY_S = 3.0
#: … and else as often as this, because estimates move slowly all the time; where no frames come, as this.
CALM_S, IDLE_S = 1.0, 5.0
#: What may change a plan only where its handler says so, because it is heard all the time.
_USUAL = (Tick, ResultHeard, ResultPassed, ProgressHeard, StatusHeard, SourceHeard, UplinkHeard)
#: Streams evaluated in one tick, those that have waited longest first: a few milliseconds each.
PER_TICK = 16


class Coordinator:
    """Plans of one site's streams.

    Args:
        site: Its name.
        lines: Lines that several of its hops share.
        as_one: Plan all streams together where the site is too full for each by itself.
        log: Gets every event before it is handled: handled by another coordinator in the same order, they give the
            same actions.
    """

    def __init__(
        self, site: str, *, lines: Iterable[Line] = (), as_one: bool = True, log: list[Event] | None = None
    ) -> None:
        self._log = log
        self.view = SiteView(lines)
        self._replanning = Replanning(self.view)
        self._changes = Changes(site, self.view)
        self._whole = FullSite(self.view, self._changes, as_one=as_one)
        self._streams: dict[str, PlannedStream] = {}
        #: (tier, node, model) → the node's last profile of it
        self._profiles: dict[tuple[str, str, str], ProfileHeard] = {}
        self._throttle = Throttle(60.0)
        #: something was heard since the last tick that may change a plan
        self._stirred = False
        self._lively_until_s = float("-inf")
        self._listening = Listening()

    def handle(self, event: Event) -> list[Action]:  # noqa: C901, PLR0912 - one line per kind of event
        """Handle an event; returns the actions that follow from it."""
        if self._log is not None:
            self._log.append(event)
        if not isinstance(event, _USUAL):
            self._stirred = True
        match event:
            case Tick(now_s):
                return self._tick(now_s)
            case ResultHeard(journey, now_s):
                return self._result_heard(journey, now_s)
            case ResultPassed(stream, now_s):
                self._result_passed(stream, now_s)
            case ProgressHeard(node, progress, now_s):
                return self._progress_heard(node, progress, now_s)
            case DroppedHeard(message, now_s):
                return self._dropped_heard(message, now_s)
            case ReadyHeard(ready, now_s):
                return self._ready_heard(ready, now_s)
            case SourceHeard(report, now_s):
                if (reported := self._streams.get(report.stream)) is not None:
                    self._stirred |= reported.kept.reported(report, now_s)
            case StatusHeard():
                self._status_heard(event)
            case ProfileHeard():
                self._profile_heard(event)
            case PlanHeard(message):
                self._plan_heard(message)
            case ControlHeard(stream, control):
                self._control_heard(stream, control)
            case StreamWanted(goal):
                self._stream_wanted(goal)
            case StreamUnwanted(stream):
                self._streams.pop(stream, None)
            case PublishFailed(stream, why):
                self._publish_failed(stream, why)
            case UplinkHeard(connected):
                self._stirred |= connected != self.view.uplink
                self.view.uplink = connected
        return []

    def validate_state(self) -> None:
        """Check what holds after every event.

        Raises:
            AssertionError: something does not hold.
        """
        validate(self._streams, self.view)

    def calm(self, now_s: float) -> bool:
        """Whether nothing has changed of late, and no change is under way: ticks may be rare, `CALM_S` apart."""
        return (
            not self._stirred
            and now_s >= self._lively_until_s
            and all(stream.settled for stream in self._streams.values())
        )

    def reads(self, name: str, now_s: float) -> bool:
        """Whether a stream's result that comes now is to be read: `ResultHeard`, else `ResultPassed`."""
        stream = self._streams.get(name)
        if stream is None:
            return False
        several = stream.mix is not None and len(stream.mix.plans) > 1  # nobody knows which of them a frame follows
        listens = (several or self._crosses_line(stream)) and self._listening.hears(now_s)
        return stream.reading.due(now_s) or listens

    def _crosses_line(self, stream: PlannedStream) -> bool:
        return stream.mix is not None and any(self.view.crosses_line(plan) for plan, _ in stream.mix.plans)

    def goal(self, name: str) -> StreamGoal:
        """What a stream wants; ``KeyError`` for one that was never wanted."""
        return self._streams[name].goal

    # ------------------------------------------------------------------ events

    def _stream_wanted(self, goal: StreamGoal) -> None:
        known = self._streams.get(goal.name)
        self._streams[goal.name] = PlannedStream(goal, mix=known.mix if known else None)
        if known is not None:
            self._streams[goal.name].kept.offered = known.kept.offered
        for event in list(self._profiles.values()):
            if event.profile.model == goal.model:  # heard before any stream wanted the model
                self._profile_heard(event)

    def _plan_heard(self, message: StreamPlan) -> None:
        stream = self._streams.get(message.stream)
        if stream is None or message.model != stream.goal.model:
            return
        if stream.plan is None or message.plan.epoch >= stream.plan.epoch:
            if stream.plan is None or message.plan.epoch > stream.plan.epoch:
                stream.reading.read_all_of(FIRST)
            stream.retained = stream.plan is None
            stream.mix, stream.proved = Mix.heard(message), message.plan

    def _control_heard(self, name: str, control: StreamControl) -> None:
        stream = self._streams.get(name)
        if stream is not None:
            stream.control = control
            stream.paused_until_s = stream.explained_s = float("-inf")

    def _status_heard(self, event: StatusHeard) -> None:
        status, tier = event.status, known_tier(event.status.tier)
        if tier is not None:
            node = self.view.node(tier, status.node, site=event.site)
            before = node.online, node.models, set(node.warnings)
            node.heard(status, event.now_s, event.unix_s)
            self._stirred |= before != (node.online, node.models, set(node.warnings))

    def _profile_heard(self, event: ProfileHeard) -> None:
        tier = known_tier(event.tier)
        if tier is None:
            return
        self._profiles[tier, event.node, event.profile.model] = event
        take_profile(self.view.node(tier, event.node, site=event.site), event.profile, self._goals(event.profile.model))

    def _goals(self, model: str) -> list[StreamGoal]:
        return [stream.goal for stream in self._streams.values() if stream.goal.model == model]

    def _result_heard(self, journey: Journey, now_s: float) -> list[Action]:
        """Its stage times correct what is known of nodes and links."""
        stream = self._streams.get(journey.stream)
        if stream is None or journey.model != stream.goal.model:
            return []
        stream.arrived(journey, now_s)
        ran = {} if journey.cached else spans(journey.plan, journey.exit, stream.goal)
        changes = self.view.result_came(journey, ran, now_s)
        stream.was_read(journey, now_s, crossed=self.view.crossed, suspects=self.view.suspects)
        deviates = stream.kept.arrived(journey, now_s)
        if deviates is not None and not changes:
            stream.step = deviates
            return self._tick(now_s)
        return self._changed(changes, now_s)

    def _result_passed(self, name: str, now_s: float) -> None:
        stream = self._streams.get(name)
        if stream is not None:
            stream.passed(now_s)
            if self._crosses_line(stream):
                self.view.lines.missed()

    def _progress_heard(self, node: NodeKey, progress: Progress, now_s: float) -> list[Action]:
        doubted = len(self.view.before_doubts(now_s))
        changes = [change for each in progress.transfers for change in self.view.transferred(node, each, now_s)]
        changes += [change for each in progress.running for change in self.view.runs_long(node, each, now_s)]
        if len(self.view.before_doubts(now_s)) < doubted and not changes:  # what a change waits for has been measured
            return self._tick(now_s)
        return self._changed(changes, now_s)

    def _dropped_heard(self, message: Dropped, now_s: float) -> list[Action]:
        stream = self._streams.get(message.stream)
        if stream is None:
            return []
        stream.dropped(message)
        way = message.way
        if way is None or way.model != stream.goal.model:
            return []
        ran = spans(way.plan, way.plan.exit, stream.goal, reached=way.cut)
        return self._changed(self.view.went(way.plan, way.model, way.stages, ran, now_s), now_s)

    def _publish_failed(self, name: str, why: str) -> None:
        stream = self._streams.get(name)
        if stream is not None:
            stream.given_up = f"the plan was not published: {why}"

    def _ready_heard(self, ready: Ready, now_s: float) -> list[Action]:
        stream = self._streams.get(ready.stream)
        pending = None if stream is None else stream.pending
        if stream is None or pending is None or pending.plan.epoch != ready.epoch:
            return []
        key = next((k for k in pending.waiting if k[1] == ready.node and ready.tier in {"", k[0]}), None)
        if key is None:
            return []
        if not ready.ok:
            self._whole.refused(stream, [key], now_s)
            return self._give_up(stream, f"{node_id(*key)} refuses: {ready.message}", now_s)
        return self._changes.adopt_ready(self._streams.values(), now_s) if pending.answered(key) else []

    def _tick(self, now_s: float) -> list[Action]:
        """Evaluate the streams that have waited longest."""
        actions: list[Action] = []
        for sentence in self.view.lines.look(now_s):
            log.info("shared line", extra={"said": sentence})
            self._stirred = True
        if self._stirred:
            self._stirred, self._lively_until_s = False, now_s + LIVELY_S
        lively = now_s < self._lively_until_s
        due = [
            each
            for each in self._streams.values()
            if lively or each.is_due(now_s, CALM_S if each.rate(now_s) else IDLE_S)
        ]
        actions += self._changes.adopt_ready(self._streams.values(), now_s)
        actions += self._plan_site(now_s, lively=lively)
        for stream in sorted(due, key=PlannedStream.turn)[:PER_TICK]:
            stream.evaluated_s = now_s
            try:
                stream.problem = self._problem(stream, now_s)
                actions += self._look_at(stream, stream.problem, now_s)
                stream.taken = taken(stream, stream.problem, now_s) if len(self._streams) > 1 else {}
                stream.held = held(stream, stream.problem) if len(self._streams) > 1 else {}
            except Exception as error:  # a fault in one stream's figures must not end the others' planning
                stream.step = None
                stream.trouble = f"a fault in the coordinator: {type(error).__name__}: {error}"
                if self._throttle.allows(stream.goal.name, now_s):
                    log.exception("stream not evaluated", extra={"stream": stream.goal.name})
                actions.append(Explain(explanation(stream, self.view, None, None, now_s)))
        return [*actions, *self._tell_of_site(now_s), *self._probes(now_s)]

    # ------------------------------------------------------------------ inside

    def _problem(self, stream: PlannedStream, now_s: float) -> Problem | None:
        """A stream's problem as if it were alone.

        In a full site frames wait for those of other streams under any plan: that much later no margin helps.
        """
        deadline_s = stream.goal.deadline_s or 0.0
        margin_s = stream.punctuality.margin_s(deadline_s)
        if self._whole.active:
            margin_s = min(margin_s, MOST_MARGIN * deadline_s)
        return build(stream.goal, self.view, now_s, margin_s=margin_s, plans=stream.plans())

    def _shared_problem(self, stream: PlannedStream, now_s: float) -> Problem | None:
        """The same where it can be planned with others; ``None`` where its device follows one plan at a time."""
        device = self.view.nodes.get(("device", stream.goal.device))
        return self._problem(stream, now_s) if device is None or device.mixes else None

    def _plan_site(self, now_s: float, *, lively: bool) -> list[Action]:
        """All streams as one, where the site is full; a fault in the figures of all must not end planning."""
        try:
            return self._whole.plan(self._streams.values(), self._shared_problem, now_s, lively=lively)
        except Exception:
            self._whole.give_up(now_s)
            if self._throttle.allows("", now_s):
                log.exception("site not planned as one")
            return []

    def _tell_of_site(self, now_s: float) -> list[Action]:
        try:
            return self._whole.tell(self._streams.values(), now_s)
        except Exception:  # likewise: what cannot be said ends nothing
            if self._throttle.allows("", now_s):
                log.exception("site's capacity not told")
            return []

    def _changed(self, changes: list[str], now_s: float) -> list[Action]:
        """An abrupt change may affect every stream: evaluate them now, not at the next tick."""
        if not changes:
            return []
        self._stirred = True
        for each in self._streams.values():
            each.step = "; ".join(changes)
            each.reading.read_all_of(AFTER_A_CHANGE)
        return self._tick(now_s)

    def _look_at(self, stream: PlannedStream, problem: Problem | None, now_s: float) -> list[Action]:
        pending = stream.pending
        if pending is not None and now_s > pending.until_s:
            late = ", ".join(sorted(node_id(*key) for key in pending.waiting))
            self._whole.refused(stream, pending.waiting, now_s)
            return self._give_up(stream, f"{late} did not get ready within {READY_S:.0f} s", now_s)
        if problem is None:
            stream.step = None
            stream.trouble, stream.short = missing(stream.goal, self.view), None
            return self._explain(stream, None, None, now_s)
        if stream.fell_silent(now_s) and (stream.kept.overrun or stream.kept.promise.late):
            stream.kept.fell_silent()
        if self._whole.has(stream):
            return self._explain(stream, problem, self._whole.look_at(stream, problem, now_s), now_s)
        others = [other for other in self._streams.values() if other is not stream]
        problem = beside_others(stream, problem, others, now_s)
        if self._stands(stream, problem, now_s):
            best_then = None if stream.judged is None else stream.judged.best
            calm = now_s >= self._lively_until_s and not stream.tells_other(now_s)
            return self._explain(stream, problem, best_then, now_s, every_s=EXPLAIN_CALM_S if calm else EXPLAIN_S)
        best = best_of(problem, stream.goal, stream.kept.offered.asked_fps)
        stream.behind, stream.late = best.behind, best.late is not None
        current = self._current(stream, best.problem, now_s)
        change = None if stream.pending else self._replanning.change(stream, best, now_s)
        asked = [] if change is None else self._changes.begin(stream, Mix.of(change[0]), change[1], now_s)
        if not stream.considers_another:
            stream.short = None if current is None else self._short(stream, best, current)
        stream.judged = Judged(problem, self._facts(stream, now_s), best.answer, now_s) if stream.at_peace else None
        return [*asked, *self._explain(stream, best.problem, best.answer, now_s)]

    def _stands(self, stream: PlannedStream, problem: Problem, now_s: float) -> bool:
        """Whether what followed from the last evaluation would follow again."""
        if stream.judged is None or not stream.at_peace:
            return False
        stream.kept.looked_at(now_s)
        stream.punctuality.overhead_s = stream.overhead_s or 0.0
        return stream.at_peace and stream.judged.stands(problem, self._facts(stream, now_s), now_s)

    def _facts(self, stream: PlannedStream, now_s: float) -> tuple[object, ...]:
        """What a judgement rests on besides the problem."""
        return (*stream.facts(now_s), self.view.doubts(now_s))

    @staticmethod
    def _short(stream: PlannedStream, best: Best, current: Answer) -> Shortage | None:
        return shortage(overrun=stream.kept.overrun, late=stream.kept.promise.late, best=best, current=current)

    @staticmethod
    def _current(stream: PlannedStream, problem: Problem, now_s: float) -> Answer | None:
        """The plan that is followed by today's figures; notes what it promises, as its frames are compared with it."""
        stream.punctuality.predicted_s, stream.kept.overrun, stream.predicted_s = None, None, {}
        stream.punctuality.overhead_s = stream.overhead_s or 0.0
        if stream.plan is None:
            return None
        try:
            current = evaluate(problem, as_choice(stream.plan))
        except SettingsError:  # no longer possible
            return None
        if stream.goal.deadline_s is not None:
            stream.punctuality.predicted_s = current.latency_seconds - current.back_seconds
        if not stream.retained:  # before links are measured again nothing is promised
            stream.kept.evaluated(stream.plan, problem, current, now_s)
        return current

    def _give_up(self, stream: PlannedStream, why: str, now_s: float) -> list[Action]:
        self._changes.give_up(stream, why, now_s)
        return self._explain(stream, None, None, now_s)

    def _explain(
        self,
        stream: PlannedStream,
        problem: Problem | None,
        best: Answer | None,
        now_s: float,
        *,
        every_s: float = EXPLAIN_S,
    ) -> list[Action]:
        if now_s - stream.explained_s < every_s:
            return []
        stream.explained_s, stream.told = now_s, (stream.measured_s, stream.rate(now_s))
        return [Explain(explanation(stream, self.view, problem, best, now_s))]

    def _probes(self, now_s: float) -> list[Action]:
        """Hops that a plan could take and that nothing crosses; a sender measures one after the other."""
        asked: list[Action] = []
        rare = not any(each.rate(now_s) for each in self._streams.values())
        found = {(a.key, b.key): (a, b) for each in self._streams.values() for a, b in hops(each.goal, self.view)}
        for ends, (sender, receiver) in found.items():
            gentle = self.view.line_in_use(*ends, now_s)
            sizes = self.view.estimator(*ends).probe_due(now_s, gentle=gentle, rare=rare)
            if self.view.lines.measured(sender.id, receiver.id, now_s):
                sizes = sizes[:1]  # its delay is all that is not known, and frames would wait for more
            if sizes:
                message = Probe(tier=receiver.tier, node=receiver.node, sizes=sizes)
                asked.append(ProbeHop(sender.tier, sender.node, sender.site, message))
        return asked
