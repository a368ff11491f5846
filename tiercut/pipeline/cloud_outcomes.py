"""Outcomes of streams whose results the cloud waits for: first on the cloud's bus, then where all outcomes go.

An outcome is the credit for the device's next frame, so it comes home when the cloud's broker has it. While that is
away, streams stand still instead of working for nobody. With ``every`` outcomes wait for the broker. With ``latest``
they wait for `PATIENCE_S`, which is less than a device waits; then a frame has no result, and the reason comes home.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tiercut.bus import Bus, Message, Sent
from tiercut.declared import encode_json
from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.limits import CLOUD_PATIENCE_S
from tiercut.pipeline.dispatch import Posted
from tiercut.protocol import events
from tiercut.protocol.frames import Dropped
from tiercut.protocol.topics import DROPPED, RESULT

log = logging.getLogger(__name__)

#: An outcome of a ``latest`` stream waits so long for the cloud's broker.
PATIENCE_S = CLOUD_PATIENCE_S
#: Outcomes that wait take no more memory; what comes then is given up at once, but for results of ``every``: they are
#: made again.
MAX_WAITING_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A frame's outcome.

    Attributes:
        site: Whose stream it is.
        stream: Its stream.
        seq: Its frame's number.
        home: As it goes to the site.
        waits: For the cloud's broker, however long that is away.
    """

    site: str
    stream: str
    seq: int
    home: Message
    waits: bool

    @property
    def is_result(self) -> bool:
        """Whether it is a result, and not why there is none."""
        return dict(self.home.properties).get("type") == events.RESULT_TYPE

    @property
    def key(self) -> tuple[str | None, str | None]:
        """Names it: a frame that is sent again may have it twice."""
        return events.id_and_source(self.home.properties)

    @property
    def on_the_cloud(self) -> Message:
        """As it goes to the cloud's bus: the same, on the stream's own topic."""
        topic = (RESULT if self.is_result else DROPPED).of(site=self.site, stream=self.stream)
        attributes = [each for each in self.home.properties if each[0] != events.FOR_DEVICE]
        return Message(topic, self.home.payload, properties=attributes, content_type=events.CONTENT_TYPE)

    def instead(self, dropped: Dropped) -> Message:
        """What goes to the site in its place: why the frame has no result."""
        own = RESULT.of(site=self.site, stream=self.stream)
        topic = DROPPED.of(site=self.site, stream=self.stream) if self.home.topic == own else self.home.topic
        source = events.event_source(self.site, self.stream, events.DROPPED_TYPE)
        changed = {"source": source, "type": events.DROPPED_TYPE}
        attributes = [(name, changed.get(name, value)) for name, value in self.home.properties]
        return Message(topic, encode_json(dropped), properties=attributes, content_type=events.CONTENT_TYPE)


class CloudOutcomes:
    """Outcomes on their way to the cloud's bus.

    Args:
        node: The node's id.
        bus: The cloud's bus, once it is open.
        counters: Counts ``dropped.cloud_away``, ``dropped.refused``: results that the cloud does not get; and
            ``drops_not_in_cloud``: reasons that it does not get.
    """

    def __init__(self, *, node: str, bus: Callable[[], Bus], counters: Counter[str]) -> None:
        self._node = node
        self._bus = bus
        self._counters = counters
        #: what names an outcome → it, while it waits
        self._waiting: dict[tuple[str | None, str | None], _Waiting] = {}
        self._bytes = 0
        self._idle: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, outcome: Outcome, then: Callable[[Message], None]) -> None:
        """Publish on the cloud's bus.

        Args:
            outcome: The outcome; one that waits already is not sent twice.
            then: Called once with what goes to the site: the outcome, or why there is none.
        """
        if outcome.key in self._waiting:
            return
        size = len(outcome.home.payload)
        if self._bytes + size > MAX_WAITING_BYTES:
            why = f"{self._bytes} bytes of outcomes wait for the cloud's broker"
            if outcome.waits and outcome.is_result:  # its device sends the frame again
                self._log_unsent(outcome, why)
            else:
                self.give_up(outcome, then, "cloud_away", why)
            return
        self._bytes += size
        waiting = self._waiting[outcome.key] = _Waiting(outcome, then)
        try:
            waiting.posted = self._bus().post(outcome.on_the_cloud, lambda told: self._told(waiting, told))
        except BusError as error:
            self._told(waiting, error)
            return
        if not outcome.waits:
            waiting.timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._too_late, waiting)

    async def drain(self, timeout_s: float) -> int:
        """Wait for those that are on their way; returns how many are not there in time."""
        if self._waiting:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._idle.wait()
        return len(self._waiting)

    def give_up(self, outcome: Outcome, then: Callable[[Message], None], reason: str, why: str) -> None:
        """An outcome does not get to the cloud's bus: its frame has no result, for the reason given."""
        log.debug("not in the cloud", extra={"stream": outcome.stream, "seq": outcome.seq, "reason": why})
        if not outcome.is_result:
            self._counters["drops_not_in_cloud"] += 1
            then(outcome.home)
            return
        self._counters[f"dropped.{reason}"] += 1
        dropped = Dropped(stream=outcome.stream, seq=outcome.seq, where=self._node, reason=reason, message=why)
        then(outcome.instead(dropped))

    def _told(self, waiting: _Waiting, told: Sent | Exception) -> None:
        self._take_out(waiting)
        outcome = waiting.outcome
        if isinstance(told, Sent):
            waiting.then(outcome.home)
        elif isinstance(told, PublishRefused | PacketTooLarge):
            self.give_up(outcome, waiting.then, "refused", f"the cloud's broker: {told}")
        else:  # the bus was closed: the frame has no outcome, and its device counts it or sends it again
            self._log_unsent(outcome, str(told))

    @staticmethod
    def _log_unsent(outcome: Outcome, why: str) -> None:
        log.info("outcome not sent", extra={"stream": outcome.stream, "seq": outcome.seq, "reason": why})

    def _too_late(self, waiting: _Waiting) -> None:
        if waiting.posted is not None:
            waiting.posted.cancel()
        self._take_out(waiting)
        why = f"the cloud's broker did not take the result within {PATIENCE_S:g} s"
        self.give_up(waiting.outcome, waiting.then, "cloud_away", why)

    def _take_out(self, waiting: _Waiting) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        del self._waiting[waiting.outcome.key]
        self._bytes -= len(waiting.outcome.home.payload)
        if self._idle is not None and not self._waiting:
            self._idle.set()


@dataclass(slots=True, eq=False)
class _Waiting:
    outcome: Outcome
    then: Callable[[Message], None]
    posted: Posted | None = None
    timer: asyncio.TimerHandle | None = None
