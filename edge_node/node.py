"""An edge: works on the frames of its site's devices."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from edge_node.answer_cache import AnswerCache
from edge_node.in_flight import Stream
from edge_node.settings import Settings
from tiercut.bus import Delivery
from tiercut.clock import Clock
from tiercut.errors import BadMessage
from tiercut.node.node import Node, OpenBus, Tasks
from tiercut.plan import Tier
from tiercut.protocol.topics import DROPPED, RESULT, WORK, Topic


class EdgeNode(Node):
    """An edge node."""

    tier: ClassVar[Tier] = "edge"

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        super().__init__(settings, open_bus=open_bus, clock=clock)
        self._answers = AnswerCache(
            frames=settings.cache_frames, distance=settings.cache_distance, keep_s=settings.cache_s
        )
        self._remembers = settings.cache_frames > 0

    async def tasks(self) -> Tasks:
        """The common tasks, the frames sent to this edge, and the outcomes of those that it has sent on."""
        topic = WORK.filter(site=self.settings.site, tier=self.tier, node=self.settings.node)
        await self.home.subscribe(topic, handler=self.receive_work)
        tasks = await super().tasks()
        return [*tasks, ("answers", self._hear_outcomes)] if self._remembers else tasks

    async def _hear_outcomes(self) -> None:
        """Keep answers from when outcomes are heard on, wherever frames are finished: at one broker, or at two.

        QoS 0: what was published while this node was away is of no use, and would take the room of frames in its queue.
        """
        for topic in (DROPPED, RESULT):
            handler = partial(self._outcome_heard, topic)
            await self._refusals.subscribe(self.home, topic.filter(site=self.settings.site), qos=0, handler=handler)
        self._processor.answers = self._answers

    def _outcome_heard(self, topic: Topic, delivery: Delivery) -> None:
        delivery.ack()
        names, event = topic.parse(delivery.topic), dict(delivery.properties).get("id")
        if names is None or event is None:
            return
        stream = Stream(names["site"], names["stream"])
        try:
            if topic is RESULT:
                self._answers.result(stream, event, delivery.payload, self.clock.monotonic_s())
            else:
                self._answers.dropped(stream, event)
        except BadMessage as error:
            self.counters[f"bad.{error.reason}"] += 1
        self.worker.resume()
