"""The streams of a device, as they come and go: its own, and those that the hub has it read.

Each stream lives in a task of its own: it waits for its model, opens its sensor, follows its plans, and says on the
stream's ``source`` topic how that goes. What goes wrong in one ends neither the others nor the node. `Assignments`
says which streams are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

from iot_node.assignments import Assignments, Unreadable, Wanted
from iot_node.background_open import open_in_background
from iot_node.source import Source
from iot_node.stream import Stream
from tiercut.bus import Bus, Delivery, Message
from tiercut.clock import Clock
from tiercut.declared import encode_json
from tiercut.errors import BusError, TiercutError
from tiercut.model.bundle import Bundle
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, SourceState
from tiercut.protocol.topics import DROPPED, PLAN, RESULT, SOURCE
from tiercut.repository.store import ModelStore

log = logging.getLogger(__name__)

#: How often to look for a model that is missing.
MODEL_POLL_S = 0.5
#: How often to check a report, and publish it if it has changed; a new state is published at once.
REPORT_EVERY_S = 1.0
#: A sensor that could not be opened, or that failed, is retried after this.
AGAIN_S = 10.0


class StreamManager:
    """Starts and stops streams.

    Args:
        site: The device's site.
        node: Its id.
        models: Its models.
        bus: Its home bus, once that is open.
        clock: Its clock.
        counters: Counts ``streams_refused``, ``bad.<reason>``.
        refusals: What the broker refuses.
        open_stream: Makes a stream with an open sensor.
        follow: Follows a stream's plans forever.
        heard: Takes in an outcome.

    Attributes:
        streams: Those whose sensors are open, by name.
        again_s: A sensor that could not be opened, or that failed, is retried after this many seconds.
    """

    def __init__(
        self,
        *,
        site: str,
        node: str,
        models: ModelStore,
        bus: Callable[[], Bus],
        clock: Clock,
        counters: Counter[str],
        refusals: Refusals,
        open_stream: Callable[[StreamSettings, Bundle], Stream],
        follow: Callable[[Stream, AsyncIterator[Delivery]], Coroutine[Any, Any, None]],
        heard: Callable[..., None],
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.again_s = AGAIN_S
        self._site = site
        self._node = node
        self._models = models
        self._bus = bus
        self._refusals = refusals
        self._open_stream = open_stream
        self._follow = follow
        self._heard = heard
        self._assignments = Assignments(node=node, clock=clock, counters=counters)
        #: what runs by name, and what it was asked for
        self._running: dict[str, tuple[Wanted | Unreadable, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    def own(self, settings: StreamSettings, stream: Stream | None) -> None:
        """A stream of the device's own settings, with its open sensor where its model is there already."""
        self._assignments.own(settings)
        if stream is not None:
            self.streams[settings.name] = stream

    def assigned(self, delivery: Delivery) -> None:
        """The hub says which streams' sensors to read: the handler of a subscription."""
        delivery.ack()
        if self._assignments.assign(delivery.payload):
            self._changed.set()

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Start what is wanted and stop what is not, forever."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wanted = self._assignments.wanted
                for name, (was, task) in list(self._running.items()):
                    if wanted.get(name) != was:
                        task.cancel()
                        await asyncio.wait([task])
                        del self._running[name]
                for name, each in wanted.items():
                    if name not in self._running:
                        life = self._live(each) if isinstance(each, Wanted) else self._refuse(each)
                        task = group.create_task(life, name=f"stream {name}")
                        self._running[name] = each, task
                await self._changed.wait()

    async def _refuse(self, unreadable: Unreadable) -> None:
        await self._say(unreadable.name, "failed", unreadable.why)

    async def _live(self, wanted: Wanted) -> None:
        """One stream, restarted whenever it fails."""
        name, said = wanted.settings.name, ""
        while True:
            try:
                await self._once(wanted)
            except Exception as error:  # whatever goes wrong in one stream, the others go on
                if _is_cancelled():  # and a removed one publishes no more reports
                    return
                cause = _first(error)
                why = _sentence(cause)
                if why != said:
                    shown = None if isinstance(cause, TiercutError) else cause
                    log.error("stream failed", extra={"stream": name, "reason": why}, exc_info=shown)  # noqa: TRY400 - a sentence of ours says it all
                said = why
                await self._say(name, "failed", why)
            finally:
                stream = self.streams.pop(name, None)
                if stream is not None:
                    stream.close()
            await asyncio.sleep(self.again_s)

    async def _once(self, wanted: Wanted) -> None:
        settings, name = wanted.settings, wanted.settings.name
        bundle = await self._model(wanted)
        stream = self.streams.get(name)
        if stream is None:
            make = partial(self._open_stream, settings, bundle)
            stream = await open_in_background(make, late=Stream.close, name=f"open-{name}")
            self.streams[name] = stream
        bus, names, subscriptions = self._bus(), {"site": self._site, "stream": name}, []
        try:
            for topic in (RESULT, DROPPED):
                handler = partial(self._heard, stream, dropped=topic is DROPPED)
                subscriptions.append(await self._refusals.subscribe(bus, topic.of(**names), handler=handler))
            plans = await self._refusals.subscribe(bus, PLAN.of(**names))
            subscriptions.append(plans)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(stream, aiter(plans)), name=f"{name}: plan")
                group.create_task(self._sense(stream), name=f"{name}: sensor")
                group.create_task(stream.watch_overdue(), name=f"{name}: overdue")
                group.create_task(self._report(stream), name=f"{name}: report")
        finally:
            stream.close()
            stream.publish_all()
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await stream.sensor.source.disconnect()
                    for subscription in subscriptions:
                        await subscription.close()

    async def _sense(self, stream: Stream) -> None:
        """Read a stream's sensor; where it fails, open it again, while frames in flight go on."""
        while True:
            await stream.sensor.source.connect(self._bus())
            await stream.sensor.read()
            if stream.sensor.has_ended:
                return
            await stream.sensor.source.disconnect()
            stream.sensor.resume(await self._opened_again(stream))

    async def _opened_again(self, stream: Stream) -> Source:
        name = f"open-{stream.settings.name}"
        while True:
            await asyncio.sleep(self.again_s)
            try:
                return await open_in_background(stream.sensor.open_again, late=Source.close, name=name)
            except Exception as error:  # noqa: BLE001 - a driver may raise anything; it is tried again
                stream.sensor.failed(_sentence(error), None if isinstance(error, TiercutError) else error)

    async def _model(self, wanted: Wanted) -> Bundle:
        """The stream's model, as soon as it is there."""
        said, name = False, wanted.settings.name
        while (bundle := self._find(wanted)) is None:
            if not said:
                said = True
                await self._say(name, "waiting", f"the model '{wanted.settings.model}' is not on '{self._node}' yet")
            await asyncio.sleep(MODEL_POLL_S)
        return bundle

    def _find(self, wanted: Wanted) -> Bundle | None:
        if wanted.model:
            return self._models.find(wanted.model)
        self._models.refresh()
        return next((each for each in self._models.bundles() if each.name == wanted.settings.model), None)

    # ------------------------------------------------------------------ reports

    async def _report(self, stream: Stream) -> None:
        """Publish how the sensor does, where that has changed."""
        before = None
        while True:
            report = self._assignments.with_rival(stream.report())
            if report != before:
                await self._publish(report)
                before = report
            await stream.sensor.changed.rest(REPORT_EVERY_S)

    async def _say(self, stream: str, state: SourceState, message: str) -> None:
        report = SourceReport(stream=stream, node=self._node, state=state, message=message)
        with contextlib.suppress(BusError):
            await self._publish(self._assignments.with_rival(report))

    async def _publish(self, report: SourceReport) -> None:
        topic = SOURCE.of(site=self._site, stream=report.stream)
        try:
            await self._bus().publish(Message(topic, encode_json(report), retain=True))
        except REFUSED as error:
            self._refusals.note("source", error)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, TiercutError) else f"{type(error).__name__}: {error}"


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
