"""A sensor that publishes on the bus by itself: what comes on its topic is kept until a thread takes it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator

from tiercut.bus import Bus, Delivery, Subscription
from tiercut.clock import Clock
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.fit import tick
from tiercut.sensing.payloads import form_of, read_payload
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled

#: Messages that may wait. Pictures make room for newer ones, unless every one is wanted; of a signal each counts.
MAX_PICTURES, MAX_PICTURES_OF_EVERY, MAX_MESSAGES = 2, 64, 4096
#: Memory for messages that wait.
MAX_BYTES = 32 * 1024 * 1024
#: How often signals without a rate are brought up to now.
TICK_S = 1.0


class BusSensor:
    """A `Sensor` whose frames come from a topic.

    Messages are acknowledged as they come: the broker's credit is for frames on their way. A retained message is from
    before, so it is dropped as ``retained``; one that finds no room as ``sensor_ahead``.

    Args:
        source: Topic and form of the payloads.
        clock: For the time of arrival.
        every: Every frame is wanted: more of them may wait.

    Raises:
        SettingsError: the settings do not say what a payload is.
    """

    def __init__(self, source: SourceSettings, *, clock: Clock, every: bool = False) -> None:
        self.form: SensorForm = form_of(source)
        self._source = source
        self._clock = clock
        self._read = read_payload(source)
        max_pictures = MAX_PICTURES_OF_EVERY if every else MAX_PICTURES
        self._most = MAX_MESSAGES if self.form.kind == "signal" else max_pictures
        #: a signal without a rate keeps its last value while nothing comes: it is told that time goes on
        self._tick_s = TICK_S if self.form.kind == "signal" and self.form.rate_hz is None else None
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._lost: Counter[str] = Counter()
        self._subscription: Subscription | None = None

    async def connect(self, bus: Bus) -> None:
        """Listen to its topic.

        Raises:
            BrokerRefused: the broker does not allow it.
        """
        self._subscription = await bus.subscribe(self._source.topic, handler=self._heard)

    async def disconnect(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        """Wait for each message, until `close`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, self._tick_s)
                if self._closed:
                    return
                message = self._take() if self._waiting else None
            yield tick(self.form, self._clock.unix_s()) if message is None else self._read(*message)

    def close(self) -> None:
        """End the iteration."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take_lost(self) -> Counter[str]:
        """How many messages were dropped before anyone took them, by reason, since the last call."""
        with self._changed:
            lost, self._lost = self._lost, Counter()
        return lost

    def newest_unix_s(self) -> float | None:
        """When the newest message came that waits to be taken; ``None``: none waits."""
        with self._changed:
            return self._waiting[-1][1] if self._waiting else None

    def _heard(self, delivery: Delivery) -> None:
        delivery.ack()
        with self._changed:
            if delivery.retain:
                self._lost["retained"] += 1
                return
            self._waiting.append((delivery.payload, self._clock.unix_s()))
            self._bytes += len(delivery.payload)
            while len(self._waiting) > self._most or self._bytes > MAX_BYTES:
                self._take()
                self._lost["sensor_ahead"] += 1
            self._changed.notify_all()

    def _take(self) -> tuple[bytes, float]:
        message = self._waiting.popleft()
        self._bytes -= len(message[0])
        return message
