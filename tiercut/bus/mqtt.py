"""The bus over MQTT 5: reconnects, keeps order, and acknowledges a message only after the work on it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from types import TracebackType
from typing import Self

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from tiercut.bus import Properties, Sent, Subscription
from tiercut.bus.causes import closed_error, connect_error, publish_error, too_large_error
from tiercut.bus.connection import Accepted, Connection, Refused
from tiercut.bus.incoming import Incoming
from tiercut.bus.outbox import Outbox, Outgoing
from tiercut.bus.packets import check_filter, check_qos, check_topic, overhead_bytes, pack
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, MqttSettings
from tiercut.clock import Clock
from tiercut.errors import BusError, PacketTooLarge

#: The longest that saying goodbye may take, per step; a node has 5 s to stop.
_GOODBYE_S = 1.0


class MqttBus:
    """A `tiercut.bus.Bus` on one MQTT 5 broker.

    A retained message may arrive again after a reconnect, or when a second subscription to the same filter is made.

    Args:
        will: Topic and payload, retained, that takes an `announce` back when the connection ends: the broker publishes
            it after a loss, `close` publishes it otherwise.
        wait: Enter without a broker, and go on trying. Without it, entering raises when there is none.

    Attributes:
        counters: ``messages_in``, ``bytes_in`` (payloads), ``messages_out``, ``bytes_out``, ``reconnects``,
            ``publish_refused``, and ``dropped_<reason>`` for messages that came and went to nobody.

    Raises:
        SettingsError: on entering: a TLS file is not right.
        BrokerUnreachable: on entering: nothing answers.
        BrokerRefused: on entering: the broker says no.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        clock: Clock,
        will: tuple[str, bytes] | None = None,
        wait: bool = False,
        logger: logging.Logger | None = None,
    ) -> None:
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._will = will
        self._wait = wait
        self._log = logger or logging.getLogger(__name__)
        self._broker = Accepted()
        self._outbox = Outbox(budget_bytes=settings.outgoing_budget_bytes)
        self._incoming = Incoming(settings, clock=clock, counters=self.counters, logger=self._log)
        #: topic → payload, properties: what every connection begins with
        self._announced: dict[str, tuple[bytes, Properties]] = {}
        self._connected = False
        #: accepted, and nothing said yet on this connection
        self._fresh = False
        #: some connection was accepted before
        self._seen = False
        self._closed = False
        self._lost = asyncio.Event()
        self._lost_reason = ""
        self._connection: Connection | None = None
        self._run: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._connected

    @property
    def max_payload_bytes(self) -> int:
        """The broker's Maximum Packet Size (MQTT 5 §3.2.2.3.6) or the settings' cap, less 1 KiB for the rest."""
        return self._max_packet_bytes - PACKET_OVERHEAD_BYTES

    @property
    def emulated(self) -> str | None:
        """The link is the real one."""
        return None

    @property
    def under_way_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._outbox.under_way_bytes

    async def __aenter__(self) -> Self:
        self._connection = Connection(self.settings, will=self._will, events=self)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = asyncio.create_task(self._keep_connected(first), name=f"bus {self.settings.client_id}")
        try:
            await first
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, *, goodbye: tuple[str, bytes] | None = None) -> None:
        """Publish ``goodbye`` (else the will) retained, disconnect, and end all that waits; idempotent.

        Publishes that are still under way raise ``BusError``: await them before, where they matter.
        """
        if self._closed:
            return
        self._closed = True
        self._announced.clear()
        last = goodbye or self._will
        said = last is None
        try:
            if last is not None and self._connected:
                said = await self._say(*last)
        finally:
            if self._run is not None:
                self._run.cancel()
                await asyncio.gather(self._run, return_exceptions=True)
            self._connected = False
            if self._connection is not None:
                await self._connection.close(will=not said, timeout_s=_GOODBYE_S)
            self._end(closed_error(self.settings.url))

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: int | None = None,
        properties: Properties = (),
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> Sent:
        """See `tiercut.bus.Bus.publish`."""
        check_topic(topic)
        check_qos(qos)
        if self._closed:
            raise closed_error(self.settings.url)
        message = Outgoing(
            topic,
            payload,
            qos,
            retain,
            pack(properties, expiry_s, content_type, response_topic, correlation),
            overhead_bytes(topic, properties, content_type, response_topic, correlation),
            asyncio.get_running_loop().create_future(),
        )
        self._check_size(message)
        self._outbox.add(message)
        self._pump()
        return await message.taken

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """See `tiercut.bus.Bus.announce`; without a broker (``wait``) it returns at once and is sent later."""
        check_topic(topic)
        if self._closed:
            raise closed_error(self.settings.url)
        self._announced[topic] = (payload, properties)
        if self._connected and not self._fresh:
            message = self._announcement(topic, payload, properties)
            self._check_size(message)
            self._outbox.add(message)
            self._pump()
            await message.taken

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> Subscription:
        """See `tiercut.bus.Bus.subscribe`."""
        check_filter(topic_filter)
        check_qos(qos)
        if self._closed:
            raise closed_error(self.settings.url)
        return await self._incoming.subscribe(topic_filter, qos)

    # --- Events of the connection -----------------------------------------------------------------------------------

    def on_accepted(self, accepted: Accepted) -> None:
        """Take the broker's limits; decide who sends the un-acknowledged messages again.

        In the session that knows them, the connection does, with DUP (MQTT 5 §4.4). A new session does not know them,
        and they are new messages there.
        """
        assert self._connection is not None  # noqa: S101 - who else would call
        self._broker = accepted
        self._outbox.credit = accepted.receive_maximum
        resume = accepted.session_present and self._outbox.unacked <= accepted.receive_maximum
        if not resume:
            self._connection.drop_unacked()
        self._outbox.requeue(self._clock.monotonic_s(), unacked=not resume)
        self._incoming.accepted(self._connection, accepted, first=not self._seen)
        self._connected = self._fresh = self._seen = True

    def on_turn(self) -> None:
        """Begin a connection with subscriptions and announcements; then send what there is room for."""
        if not self._connected:
            return
        if self._fresh:
            self._fresh = False
            self._incoming.begin()
            self._outbox.add_first(self._announcement(topic, *what) for topic, what in self._announced.items())
        self._pump()

    def on_message(self, message: MQTTMessage) -> None:
        """Hand a message to its subscriptions."""
        self._incoming.message(message)

    def on_acked(self, packet_id: int, reason: ReasonCode) -> None:
        """The broker took a message, or refused it."""
        message = self._outbox.acked(packet_id)
        if message is None:
            return
        if reason.is_failure:
            self.counters["publish_refused"] += 1
            message.fail(publish_error(message.topic, reason))
        else:
            self._count_out(message)

    def on_written(self, packet_id: int) -> None:
        """A QoS 0 message is on the socket, which is all one can know of it."""
        message = self._outbox.written(packet_id)
        if message is not None:
            self._count_out(message)

    def on_subscribed(self, packet_id: int, reason: ReasonCode) -> None:
        """The broker agreed to a filter, or did not."""
        self._incoming.subscribed(packet_id, reason)

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""
        self._connected = self._fresh = False
        self._incoming.lost()
        self._lost_reason = reason
        self._lost.set()

    # --- Inside -----------------------------------------------------------------------------------------------------

    @property
    def _max_packet_bytes(self) -> int:
        cap = self.settings.max_packet_bytes
        return self._broker.max_packet_bytes if cap is None else min(cap, self._broker.max_packet_bytes)

    async def _keep_connected(self, first: asyncio.Future[None]) -> None:
        """Connect, and again after each loss, with exponential backoff and full jitter."""
        assert self._connection is not None  # noqa: S101 - set by __aenter__, which starts this
        settings, clean_start = self.settings, self.settings.clean_start
        failures, told = 0, ""
        while True:
            self._lost.clear()
            try:
                await self._connection.open(clean_start=clean_start)
            except (OSError, ValueError, Refused) as caught:
                error = connect_error(settings, caught)
                if not first.done() and not self._wait:
                    first.set_exception(error)
                    return
                if str(error) != told:
                    told = str(error)
                    self._log.warning("%s. Trying again until it answers", error)
            else:
                clean_start, told = False, ""
                self._log.info("connected to %s as %s", settings.url, settings.client_id)
                _resolve(first)
                since_s = self._clock.monotonic_s()
                await self._lost.wait()
                self.counters["reconnects"] += 1
                self._log.warning("%s: %s. Reconnecting", settings.url, self._lost_reason)
                if self._clock.monotonic_s() - since_s > settings.backoff_max_s:
                    failures = 0
            _resolve(first)
            limit_s = min(settings.backoff_max_s, settings.backoff_min_s * 2 ** min(failures, 30))
            failures += 1
            await asyncio.sleep(random.uniform(0, limit_s))  # noqa: S311 - jitter is no secret

    def _pump(self) -> None:
        """Hand over what credit and budget allow."""
        connection = self._connection
        if connection is None or not self._connected or self._fresh:
            return
        broker = self._broker
        while self._connected and (message := self._outbox.next()) is not None:
            try:
                self._check_size(message)  # the broker may be another one than at the call
            except PacketTooLarge as error:
                message.fail(error)
                continue
            message.qos = min(message.qos, broker.max_qos)
            message.sent_s = self._clock.monotonic_s()
            retain = message.retain and broker.retain_available
            packet_id = connection.publish(message.topic, message.payload, message.qos, retain, message.properties)
            self._outbox.sent(packet_id, message)
            connection.flush()

    def _check_size(self, message: Outgoing) -> None:
        size = len(message.payload) + max(message.overhead_bytes, PACKET_OVERHEAD_BYTES)
        if size > self._max_packet_bytes:
            raise too_large_error(message.topic, len(message.payload), self.max_payload_bytes)

    def _announcement(self, topic: str, payload: bytes, properties: Properties) -> Outgoing:
        taken: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        packed = pack(properties, None, None, None, None)
        size = overhead_bytes(topic, properties)
        return Outgoing(topic, payload, 1, True, packed, size, taken, announcement=True)

    async def _say(self, topic: str, payload: bytes) -> bool:
        """Publish a last word before all that waits; whether the broker took it."""
        message = self._announcement(topic, payload, ())
        self._outbox.add_first([message])
        self._pump()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await message.taken
        except (TimeoutError, BusError) as error:
            self._log.warning("no goodbye on %s: %s", topic, error or "no answer")
            return False
        return True

    def _count_out(self, message: Outgoing) -> None:
        self.counters["messages_out"] += 1
        self.counters["bytes_out"] += len(message.payload)
        message.finish(self._clock.monotonic_s())

    def _end(self, error: BusError) -> None:
        self._outbox.fail_all(error)
        self._incoming.end(error)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
