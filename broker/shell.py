"""The coordinator's shell: feeds it from the site's and the cloud's bus, and carries out what it says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace

from tiercut import results
from tiercut.bus import Bus, Delivery
from tiercut.clock import Clock
from tiercut.coordinator.core import Action, Coordinator, Explain, Prepare, PublishPlan
from tiercut.errors import BadMessage
from tiercut.jsonwire import (
    decode_node_status,
    decode_ready,
    decode_stream_plan,
    encode_prepare,
    encode_stream_plan,
)
from tiercut.messages import StreamPlan
from tiercut.profile_wire import decode_profile
from tiercut.topics import EXPLAIN, PLAN, PREPARE, PROFILE, READY, RESULT, STATUS

log = logging.getLogger(__name__)

#: How often streams are evaluated: a step is answered within this and a segment's load.
TICK_S = 0.25
#: Explanations are published so often, or at once with a change.
EXPLAIN_S = 1.0

#: Retained messages come right after a subscription; so long they are waited for before anything is decided.
RETAINED_S = 0.2

Handler = Callable[[Delivery], None]


class CoordinatorShell:
    """Connects a coordinator with the buses.

    Args:
        site: Its site.
        coordinator: What decides.
        clock: Its time.
        home: The site's bus.
        uplink: The cloud's bus; the same where there is one broker.
    """

    def __init__(self, *, site: str, coordinator: Coordinator, clock: Clock, home: Bus, uplink: Bus) -> None:
        self._site = site
        self._coordinator = coordinator
        self._clock = clock
        self._home = home
        self._uplink = uplink
        self._todo: asyncio.Queue[list[Action]] = asyncio.Queue()
        self._explained_s: dict[str, float] = {}
        #: stream → its retained plan from before we started, or our own
        self._plans: dict[str, StreamPlan] = {}

    async def subscribe(self) -> None:
        """Listen; what is retained (plans, status, profiles) comes first, so a coordinator that starts again knows."""
        site = self._site
        await self._listen(self._home, PLAN.filter(site=site), self._plan)
        for bus, names in ((self._home, {"site": site}), (self._uplink, {"tier": "cloud"})):
            await self._listen(bus, PROFILE.filter(**names), self._profile)
            await self._listen(bus, STATUS.filter(**names), self._status)
        for bus in {id(bus): bus for bus in (self._home, self._uplink)}.values():
            await self._listen(bus, READY.filter(site=site), self._ready)
        await self._listen(self._home, RESULT.filter(site=site), self._result)
        await asyncio.sleep(RETAINED_S)

    def next_epoch(self, wanted: StreamPlan) -> int:
        """Number for a plan given by hand: that of the retained one where it says the same, else the next."""
        last = self._plans.get(wanted.stream)
        if last is None:
            return 1
        same = last.model == wanted.model and replace(last.plan, epoch=0) == replace(wanted.plan, epoch=0)
        return last.plan.epoch if same else last.plan.epoch + 1

    def tasks(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        """The tasks of its life."""
        return [("coordinator: tick", self._tick()), ("coordinator: act", self._act())]

    # ------------------------------------------------------------------ in

    async def _listen(self, bus: Bus, topic_filter: str, handler: Handler) -> None:
        def guarded(delivery: Delivery) -> None:
            delivery.ack()
            try:
                handler(delivery)
            except BadMessage as error:
                log.warning("message set aside", extra={"topic": delivery.topic, "reason": str(error)})

        await bus.subscribe(topic_filter, handler=guarded)

    def _plan(self, delivery: Delivery) -> None:
        heard = decode_stream_plan(delivery.payload)
        self._plans[heard.stream] = heard
        self._coordinator.plan_heard(heard)

    def _status(self, delivery: Delivery) -> None:
        names = STATUS.parse(delivery.topic)
        if names is not None:
            self._coordinator.status_heard(decode_node_status(delivery.payload), site=names["site"])

    def _profile(self, delivery: Delivery) -> None:
        names = PROFILE.parse(delivery.topic)
        if names is not None:
            profile = decode_profile(delivery.payload)
            self._coordinator.profile_heard(names["tier"], names["node"], profile, site=names["site"])

    def _ready(self, delivery: Delivery) -> None:
        ready = decode_ready(delivery.payload)
        self._todo.put_nowait(self._coordinator.ready_heard(ready, self._clock.monotonic_s()))

    def _result(self, delivery: Delivery) -> None:
        results.read_outcome(delivery.payload)
        self._coordinator.result_heard(json.loads(delivery.payload), delivery.received_s)

    # ------------------------------------------------------------------ out

    async def _tick(self) -> None:
        while True:
            self._todo.put_nowait(self._coordinator.tick(self._clock.monotonic_s()))
            await asyncio.sleep(TICK_S)

    async def _act(self) -> None:
        while True:
            for action in await self._todo.get():
                await self._carry_out(action)

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Prepare():
                bus = self._uplink if action.tier == "cloud" else self._home
                topic = PREPARE.of(site=action.site, tier=action.tier, node=action.node)
                await bus.publish(topic, encode_prepare(action.message))
            case PublishPlan():
                plan = action.message.plan
                extra = {"stream": action.message.stream, "epoch": plan.epoch, "why": action.message.reason}
                log.info("plan", extra=extra | {"first": plan.first_cut, "second": plan.second_cut})
                topic = PLAN.of(site=self._site, stream=action.message.stream)
                await self._home.publish(topic, encode_stream_plan(action.message), retain=True)
                self._explained_s.pop(action.message.stream, None)
            case Explain():
                now_s = self._clock.monotonic_s()
                if now_s - self._explained_s.get(action.stream, float("-inf")) >= EXPLAIN_S:
                    self._explained_s[action.stream] = now_s
                    document = json.dumps(action.document, separators=(",", ":")).encode()
                    await self._home.publish(EXPLAIN.of(site=self._site, stream=action.stream), document, retain=True)
