"""A node gets ready before a plan needs it: it loads the segments that the hub asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from tiercut.bus import Delivery, Message
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage, TiercutError, refuse
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.refusals import REFUSED
from tiercut.protocol.nodes import PrepareSegment, Ready
from tiercut.protocol.topics import PREPARE, READY
from tiercut.repository.store import ModelStore

log = logging.getLogger(__name__)

#: Requests that may wait.
MAX_ASKED = 256


class NotHere(str):
    """Why a segment is refused: its stream is not here, or no longer. That is no fault."""

    __slots__ = ()


class Preparation(Part):
    """Answers the hub's requests to load segments.

    Args:
        context: The node's; a cloud node answers the requests of any site.
        models: Its models.
        refuses: Says why a segment is not to be run here, ``None`` when it may.
    """

    def __init__(
        self, context: NodeContext, models: ModelStore, *, refuses: Callable[[PrepareSegment], str | None]
    ) -> None:
        self._context = context
        self._models = models
        self._refuses = refuses
        self._asked: asyncio.Queue[Delivery] = asyncio.Queue(MAX_ASKED)

    async def subscribe(self) -> None:
        """Hear requests."""
        await self._context.buses.home.subscribe(PREPARE.of(**self._context.names), handler=self._hear)

    def tasks(self) -> Tasks:
        """One: requests are answered one after the other."""
        return [("prepare", self._answer_all)]

    def _hear(self, delivery: Delivery) -> None:
        try:
            self._asked.put_nowait(delivery)
        except asyncio.QueueFull:  # the hub waits in vain, and says so
            delivery.ack()
            self._context.counters["prepares_dropped"] += 1

    async def _answer_all(self) -> None:
        while True:
            await self._answer(await self._asked.get())

    async def _answer(self, delivery: Delivery) -> None:
        """Load what a request asks for, and say that it is ready, or why it is not."""
        delivery.ack()
        try:
            asked = self._read(delivery)
        except BadMessage as error:
            self._context.set_aside(error)
            log.warning("request set aside", extra={"reason": str(error)})
            return
        trouble = self._refuses(asked) or await asyncio.to_thread(self._load, asked)
        if trouble:
            level = logging.INFO if isinstance(trouble, NotHere) else logging.ERROR
            log.log(level, "plan refused", extra={"stream": asked.stream, "epoch": asked.epoch, "reason": trouble})
        ready = Ready(
            stream=asked.stream,
            epoch=asked.epoch,
            node=self._context.settings.node,
            ok=not trouble,
            message=trouble or "",
            tier=self._context.tier,
        )
        topic = READY.of(site=asked.site, stream=asked.stream)
        try:
            await self._context.buses.home.publish(Message(topic, encode_json(ready)))
        except REFUSED as error:
            self._context.refusals.note("ready", error)

    def _read(self, delivery: Delivery) -> PrepareSegment:
        asked = decode_json(PrepareSegment, delivery.payload)
        site = self._context.asked_as.get("site", asked.site)
        if asked.site != site:
            raise refuse("wrong_site", expected=f"a stream of site {site}", came=asked.site)
        return asked

    def _load(self, asked: PrepareSegment) -> str | None:
        try:
            bundle, pieces = self._models.find(asked.model), list(self._pieces(asked))
            if bundle is not None and self._models.memory_mb is not None:
                self._models.check_room(bundle, self._models.needed_mb(bundle, pieces))
            for start, stop, variant in pieces:
                self._models.segment(asked.model, start, stop, variant).warm_up()
            for codec in () if bundle is None else bundle.learned.values():
                codec.prepare()
        except TiercutError as error:
            return str(error)
        except Exception as error:  # a runtime that fails on one segment must not end the node for all others
            log.exception("segment not loaded", extra={"model": asked.model, "start": asked.start, "stop": asked.stop})
            return f"{type(error).__name__}: {error}"
        return None

    def _pieces(self, asked: PrepareSegment) -> Iterator[tuple[int, int, str]]:
        """What is run for a frame: one segment, or the parts between the exits on the way, and these exits' heads.

        Raises:
            BundleError: no such model.
            CutError: no such variant.
        """
        bundle = self._models.find(asked.model)
        start = asked.start
        if asked.leaves_early and bundle is not None:
            for exit_ in bundle.exits_before(bundle.variant(asked.variant)):
                if start < exit_.cut <= asked.stop:
                    yield start, exit_.cut, asked.variant
                    yield exit_.cut, exit_.cut + 1, exit_.name
                    start = exit_.cut
        yield start, asked.stop, asked.variant
