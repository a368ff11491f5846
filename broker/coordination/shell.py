"""The coordinator's shell: feeds it from the site's and the cloud's bus, and carries out its actions."""

from __future__ import annotations

import asyncio
import logging
import operator
from collections import Counter
from collections.abc import Callable, Coroutine

from tiercut.alarm import Alarm
from tiercut.bus import Bus, Delivery, Message
from tiercut.clock import Clock
from tiercut.coordinator.actions import Action, Explain, Prepare, ProbeHop, PublishPlan, TellCapacity
from tiercut.coordinator.core import CALM_S, Coordinator
from tiercut.coordinator.events import (
    ControlHeard,
    DroppedHeard,
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
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BusError
from tiercut.logs import Throttle
from tiercut.node.message_guard import LOG_EVERY_S, Handler, MessageGuard
from tiercut.plan import Tier, known_tier
from tiercut.profiling.wire import decode_profile
from tiercut.protocol.explanations import Explanation, encode_explanation
from tiercut.protocol.frames import Dropped
from tiercut.protocol.nodes import NodeStatus, Progress, Ready, StreamControl, StreamPlan
from tiercut.protocol.results import read_journey
from tiercut.protocol.streams import SourceReport
from tiercut.protocol.topics import (
    CAPACITY,
    CONTROL,
    DROPPED,
    EXPLAIN,
    PLAN,
    PREPARE,
    PROBE,
    PROFILE,
    PROGRESS,
    READY,
    RESULT,
    STATUS,
)

log = logging.getLogger(__name__)

#: How often the coordinator looks at its streams, while something may change; an abrupt change is evaluated at once.
TICK_S = 0.25
#: How long to wait for retained messages, which come right after a subscription, before anything is decided.
RETAINED_S = 0.2
#: Messages to cloud nodes are useless later than this.
UPLINK_TIMEOUT_S = 2.0
#: The uplink must be away for this long before plans do without it: a connection that is back at once is no outage.
UPLINK_AWAY_S = 2.0
#: How soon a refused subscription on the uplink is retried.
SUBSCRIBE_AGAIN_S = 10.0


class CoordinatorShell:
    """Connects a coordinator with the buses.

    The site's bus and the way to the cloud are served by tasks of their own, so that a site goes on while that way is
    cut.

    Args:
        site: Its site.
        coordinator: What decides.
        clock: Its time.
        home: The site's bus.
        uplink: The cloud's bus; the same where there is one broker.
        counters: Counts ``bad.<reason>`` and ``publishes_refused``.
        also: Hears each result too, with the stream that its topic names.
    """

    def __init__(
        self,
        *,
        site: str,
        coordinator: Coordinator,
        clock: Clock,
        home: Bus,
        uplink: Bus,
        counters: Counter[str],
        also: Callable[[str, Delivery], None],
    ) -> None:
        self._also = also
        self._site = site
        self._coordinator = coordinator
        self._clock = clock
        self._home = home
        self._uplink = uplink
        self._counters = counters
        self._throttle = Throttle(LOG_EVERY_S)
        self._guard = MessageGuard(counters, clock)
        self._read_result = self._guard.guarded(self._result)
        #: what waits to be published, per bus
        self._todo: asyncio.Queue[Action] = asyncio.Queue()
        self._todo_uplink: asyncio.Queue[Action] = asyncio.Queue()
        #: stream → its retained plan from before we started, or our own
        self._plans: dict[str, StreamPlan] = {}
        #: stream → why it has no better plan, or what it is short of
        self._troubles: dict[str, str] = {}
        #: stream → a person's command for it
        self._controls: dict[str, StreamControl] = {}
        self._connected_s = clock.monotonic_s()
        self._alarm = Alarm()
        #: the next tick is not soon
        self._resting = False

    async def subscribe(self) -> None:
        """Listen at home; what is retained comes first, so a coordinator that starts again knows."""
        site, home = self._site, self._home
        await self._listen(home, PLAN.filter(site=site), self._plan)
        await self._listen(home, CONTROL.filter(site=site), self._control)
        await self._listen_to_nodes(home, site=site)
        await self._listen(home, READY.filter(site=site), self._ready)
        await home.subscribe(RESULT.filter(site=site), qos=0, handler=self._result_came)
        await self._listen(home, DROPPED.filter(site=site), self._dropped)
        if self._uplink is home:
            await self._listen_to_nodes(home, tier="cloud")
        await asyncio.sleep(RETAINED_S)

    def want(self, goal: StreamGoal) -> None:
        """Plan a stream from now on; what was heard of it before counts."""
        self._coordinator.handle(StreamWanted(goal))
        if (plan := self._plans.get(goal.name)) is not None:
            self._coordinator.handle(PlanHeard(plan))
        if (control := self._controls.get(goal.name)) is not None:
            self._coordinator.handle(ControlHeard(goal.name, control))
        self._look_up()

    def unwant(self, stream: str) -> None:
        """Stop planning it."""
        self._coordinator.handle(StreamUnwanted(stream))
        for table in (self._plans, self._controls, self._troubles):
            table.pop(stream, None)

    def plan_of(self, stream: str) -> StreamPlan | None:
        """The plan that a stream follows, as it was published."""
        return self._plans.get(stream)

    def source_heard(self, report: SourceReport) -> None:
        """How a stream's sensor does."""
        self._coordinator.handle(SourceHeard(report, self._clock.monotonic_s()))

    def trouble_of(self, stream: str) -> str | None:
        """Why a stream has no better plan, or what it is short of, as it was last explained."""
        return self._troubles.get(stream)

    def next_epoch(self, wanted: StreamPlan) -> int:
        """Number for a plan given by hand: that of the retained one where it says the same, else the next."""
        last = self._plans.get(wanted.stream)
        if last is None:
            return 1
        mixes = (Mix.heard(each).numbered(0) for each in (last, wanted))
        same = last.model == wanted.model and operator.eq(*mixes)
        return last.plan.epoch if same else last.plan.epoch + 1

    def tasks(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        """The tasks of its life."""
        tasks = [("coordinator: tick", self._tick()), ("coordinator: act", self._act(self._todo, timeout_s=None))]
        if self._uplink is not self._home:
            tasks += [
                ("coordinator: act on the uplink", self._act(self._todo_uplink, timeout_s=UPLINK_TIMEOUT_S)),
                ("coordinator: uplink", self._serve_uplink()),
            ]
        return tasks

    # ------------------------------------------------------------------ in

    async def _serve_uplink(self) -> None:
        while True:
            try:
                await self._listen_to_nodes(self._uplink, tier="cloud")
                await self._listen(self._uplink, READY.filter(site=self._site), self._ready)
            except BusError as error:
                log.error("the cloud's broker refuses the hub", extra={"reason": str(error)})  # noqa: TRY400 - the sentence says it all
                await asyncio.sleep(SUBSCRIBE_AGAIN_S)
            else:
                return

    async def _listen_to_nodes(self, bus: Bus, **names: str) -> None:
        await self._listen(bus, PROFILE.filter(**names), self._profile)
        await self._listen(bus, STATUS.filter(**names), self._status)
        await self._listen(bus, PROGRESS.filter(**names), self._progress)

    async def _listen(self, bus: Bus, topic_filter: str, handler: Handler) -> None:
        def taken(delivery: Delivery) -> None:
            handler(delivery)
            self._look_up()

        await bus.subscribe(topic_filter, handler=self._guard.guarded(taken))

    def _plan(self, delivery: Delivery) -> None:
        if not delivery.payload:  # its stream was removed
            return
        heard = decode_json(StreamPlan, delivery.payload)
        PLAN.check(delivery.topic, stream=heard.stream)
        known = self._plans.get(heard.stream)
        if known is not None and heard.plan.epoch < known.plan.epoch:  # a broker with an old memory: `retained`
            return
        self._plans[heard.stream] = heard
        self._coordinator.handle(PlanHeard(heard))

    def _control(self, delivery: Delivery) -> None:
        names = CONTROL.parse(delivery.topic)
        if names is not None:  # an empty retained message takes the last one back
            control = decode_json(StreamControl, delivery.payload) if delivery.payload else StreamControl(mode="auto")
            self._controls[names["stream"]] = control
            self._coordinator.handle(ControlHeard(names["stream"], control))

    def _status(self, delivery: Delivery) -> None:
        status = decode_json(NodeStatus, delivery.payload)
        names = STATUS.check(delivery.topic, tier=status.tier, node=status.node)
        now_s, unix_s = self._clock.monotonic_s(), self._clock.unix_s()
        self._coordinator.handle(StatusHeard(status=status, site=names["site"], now_s=now_s, unix_s=unix_s))

    def _profile(self, delivery: Delivery) -> None:
        names = PROFILE.parse(delivery.topic)
        if names is not None:
            profile = decode_profile(delivery.payload)
            self._coordinator.handle(
                ProfileHeard(tier=names["tier"], node=names["node"], profile=profile, site=names["site"])
            )

    def _ready(self, delivery: Delivery) -> None:
        ready = decode_json(Ready, delivery.payload)
        READY.check(delivery.topic, stream=ready.stream)
        self._put(self._coordinator.handle(ReadyHeard(ready, self._clock.monotonic_s())))

    def _result_came(self, delivery: Delivery) -> None:
        """Count a result by its topic, or read it: that takes far longer, and the coordinator gains from few of them.

        They come with QoS 0: nothing is acknowledged, and one that is lost is one more that is not read. What was
        published while the hub was away says nothing of now.
        """
        delivery.ack()  # `LastResults` may have asked for QoS 1
        stream = RESULT.stream_of(delivery.topic)
        if stream is not None:
            self._also(stream, delivery)
        if stream is None or self._coordinator.reads(stream, delivery.received_s):
            self._read_result(delivery)
        else:
            self._coordinator.handle(ResultPassed(stream, delivery.received_s))

    def _result(self, delivery: Delivery) -> None:
        journey = read_journey(delivery.payload)
        RESULT.check(delivery.topic, stream=journey.stream)
        self._put(self._coordinator.handle(ResultHeard(journey, delivery.received_s)))
        self._look_up()

    def _dropped(self, delivery: Delivery) -> None:
        dropped = decode_json(Dropped, delivery.payload)
        DROPPED.check(delivery.topic, stream=dropped.stream)
        self._put(self._coordinator.handle(DroppedHeard(dropped, delivery.received_s)))

    def _progress(self, delivery: Delivery) -> None:
        names = PROGRESS.parse(delivery.topic)
        tier: Tier | None = None if names is None else known_tier(names["tier"])
        if names is not None and tier is not None:
            progress = decode_json(Progress, delivery.payload)
            self._put(self._coordinator.handle(ProgressHeard((tier, names["node"]), progress, delivery.received_s)))

    # ------------------------------------------------------------------ out

    def _put(self, actions: list[Action]) -> None:
        if actions:
            self._look_up()
        for action in actions:
            to_cloud = isinstance(action, Prepare) and action.tier == "cloud" and self._uplink is not self._home
            (self._todo_uplink if to_cloud else self._todo).put_nowait(action)

    async def _tick(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            if self._uplink.connected:
                self._connected_s = now_s
            self._coordinator.handle(UplinkHeard(connected=now_s - self._connected_s < UPLINK_AWAY_S))
            if (
                self._todo.empty()
            ):  # while the site's own broker is away nothing can be published, and nothing is decided
                self._put(self._coordinator.handle(Tick(now_s)))
            self._resting = self._uplink.connected and self._coordinator.calm(now_s)
            await self._alarm.rest(CALM_S if self._resting else TICK_S)

    def _look_up(self) -> None:
        """Something was heard: tick now, if it is worth that and the next one is not soon in any case."""
        if self._resting and not self._coordinator.calm(self._clock.monotonic_s()):
            self._resting = False
            self._alarm.wake()

    async def _act(self, todo: asyncio.Queue[Action], *, timeout_s: float | None) -> None:
        while True:
            action = await todo.get()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._carry_out(action)
            except TimeoutError:
                log.info("not published in time", extra={"action": type(action).__name__})
            except ValueError:  # no JSON: a figure that is not finite
                log.exception("not said", extra={"action": type(action).__name__})
            except BusError as error:
                self._counters["publishes_refused"] += 1
                if isinstance(action, PublishPlan):
                    self._coordinator.handle(PublishFailed(action.message.stream, str(error)))
                if self._throttle.allows(type(action).__name__, self._clock.monotonic_s()):
                    log.error("not published", extra={"action": type(action).__name__, "reason": str(error)})  # noqa: TRY400 - the sentence says it all

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Prepare():
                bus = self._uplink if action.tier == "cloud" else self._home
                topic = PREPARE.of(site=action.site, tier=action.tier, node=action.node)
                await bus.publish(Message(topic, encode_json(action.message)))
            case ProbeHop():
                topic = PROBE.of(site=action.site, tier=action.tier, node=action.node)
                await self._home.publish(Message(topic, encode_json(action.message), qos=0))
            case PublishPlan():
                plan = action.message.plan
                extra = {"stream": action.message.stream, "epoch": plan.epoch, "why": action.message.reason}
                log.info("plan", extra=extra | {"first": plan.first_cut, "second": plan.second_cut})
                topic = PLAN.of(site=self._site, stream=action.message.stream)
                await self._home.publish(Message(topic, encode_json(action.message), retain=True))
            case Explain():
                message = action.message
                self._explained(message)
                topic = EXPLAIN.of(site=self._site, stream=message.stream)
                await self._home.publish(Message(topic, encode_explanation(message), retain=True))
            case TellCapacity():
                topic = CAPACITY.of(site=self._site)
                await self._home.publish(Message(topic, encode_json(action.message), retain=True))

    def _explained(self, message: Explanation) -> None:
        short = message.short.message if message.short else None
        trouble = message.control_trouble or message.trouble or short
        if trouble:
            self._troubles[message.stream] = trouble
        else:
            self._troubles.pop(message.stream, None)
