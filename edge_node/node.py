"""An edge: works on the frames of its site's devices."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from edge_node.answer_cache import AnswerCache
from edge_node.in_flight import SiteStream
from edge_node.settings import Settings
from tiercut.bus import Delivery
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.errors import BadMessage
from tiercut.node.context import NodeContext
from tiercut.node.frame_pipeline import FramePipeline, WorkTopic
from tiercut.node.node import Node
from tiercut.node.part import Part, Tasks
from tiercut.node.relay import Relay
from tiercut.plan import Tier
from tiercut.protocol.topics import DROPPED, RESULT, Topic


class EdgeNode(Node):
    """An edge node.

    Attributes:
        answers: What it knows of earlier frames.
    """

    tier: ClassVar[Tier] = "edge"

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        super().__init__(settings, open_bus=open_bus, clock=clock)
        self.answers = AnswerCache(
            frames=settings.cache_frames, distance=settings.cache_distance, keep_s=settings.cache_s
        )
        self.parts.insert(0, WorkTopic(self.context, self.frames))
        self.parts.insert(1, Relay(self.context, self.frames.cloud, self.return_path))
        if settings.cache_frames > 0:
            self.parts.append(OutcomeWatch(self.context, self.frames, self.answers))


class OutcomeWatch(Part):
    """Hears what became of the frames that an edge has sent on; from then on it may answer by itself.

    Args:
        context: The edge's.
        frames: Are looked up when outcomes are heard.
        answers: What it keeps.
    """

    def __init__(self, context: NodeContext, frames: FramePipeline, answers: AnswerCache) -> None:
        self._context = context
        self._frames = frames
        self._answers = answers

    def tasks(self) -> Tasks:
        """One, that ends when the subscriptions are there."""
        return [("answers", self._listen)]

    async def _listen(self) -> None:
        """Keep answers from when outcomes are heard on, wherever frames are finished: at one broker, or at two.

        QoS 0: what was published while this node was away is useless, and would take the room of frames in its queue.
        """
        home, site = self._context.buses.home, self._context.settings.site
        for topic in (DROPPED, RESULT):
            handler = partial(self._hear, topic)
            await self._context.refusals.subscribe(home, topic.filter(site=site), qos=0, handler=handler)
        self._frames.processor.answers = self._answers

    def _hear(self, topic: Topic, delivery: Delivery) -> None:
        delivery.ack()
        names, event = topic.parse(delivery.topic), dict(delivery.properties).get("id")
        if names is None or event is None:
            return
        stream = SiteStream(names["site"], names["stream"])
        try:
            if topic is RESULT:
                self._answers.result(stream, event, delivery.payload, self._context.clock.monotonic_s())
            else:
                self._answers.dropped(stream, event)
        except BadMessage as error:
            self._context.set_aside(error)
        self._frames.worker.resume()
