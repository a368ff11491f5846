"""The bus over MQTT 5: reconnects, keeps order, and acknowledges a message only after the work on it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import mqtt5

from tiercut.backoff import Backoff
from tiercut.bus.base import Handler, Message, Posted, Properties, Sent, Subscription, Taken
from tiercut.bus.connection import Connection
from tiercut.bus.error_mapping import closed_error, connect_error
from tiercut.bus.handshake import Accepted, Refused
from tiercut.bus.incoming import Incoming
from tiercut.bus.outbox import Queued
from tiercut.bus.outgoing import Outgoing
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.packets import check_filter, check_qos, check_topic
from tiercut.bus.posting import publish_by_post
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, MqttSettings
from tiercut.clock import Clock
from tiercut.errors import BusError

#: How long each step of the goodbye may take; a node has 5 s to stop.
_GOODBYE_S = 1.0


class MqttBus:
    """A `tiercut.bus.Bus` on one MQTT 5 broker.

    A retained message may arrive again after a reconnect, or when a second subscription to the same filter is made.

    Args:
        will: Topic and payload, retained, that takes an `announce` back when the connection ends: the broker publishes
            it after a loss, `close` publishes it otherwise.
        wait: Enter without a broker, and keep trying. Otherwise entering raises when there is none.

    Attributes:
        counters: ``messages_in``, ``bytes_in`` (payloads), ``messages_out``, ``bytes_out``, ``reconnects``,
            ``publish_refused``, ``receive_maximum_exceeded``, ``acknowledged_early``, and ``dropped_<reason>`` for
            messages that came and went to nobody: ``no_subscription``, ``bad_topic``, ``bad_properties``,
            ``qos0_queue_full``.

    Raises:
        SettingsError: on entering: a TLS file is not right.
        BrokerUnreachable: on entering: nothing answers.
        BrokerRefused: on entering: the broker refuses.
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
        ids = PacketIds()
        self._outgoing = Outgoing(settings, clock=clock, counters=self.counters, packet_ids=ids)
        self._incoming = Incoming(settings, clock=clock, counters=self.counters, packet_ids=ids, logger=self._log)
        #: events that need nothing else go straight to their halves
        self.on_message: Callable[[mqtt5.PublishPacket, bytes, float], None] = self._incoming.message
        self.on_acked: Callable[[int, int], None] = self._outgoing.acked
        self._connected = False
        #: connections that were accepted so far
        self._connections = 0
        self._closed = False
        self._lost = asyncio.Event()
        self._lost_reason = ""
        self._connection: Connection | None = None
        self._run: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._connected

    @property
    def max_payload_bytes(self) -> int:
        """The broker's Maximum Packet Size or the settings' cap, less 1 KiB for topic and properties."""
        return self._outgoing.max_packet_bytes - PACKET_OVERHEAD_BYTES

    @property
    def emulated(self) -> str | None:
        """The link is the real one."""
        return None

    @property
    def in_flight_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._outgoing.in_flight_bytes

    @property
    def early_unfinished(self) -> int:
        """See `tiercut.bus.ManagedBus.early_unfinished`."""
        return self._incoming.early_unfinished

    async def __aenter__(self) -> Self:
        connection = Connection(self.settings, will=self._will, events=self)
        self._connection = connection
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = f"bus {self.settings.client_id}"
        self._run = asyncio.create_task(self._keep_connected(connection, first), name=name)
        self._run.add_done_callback(self._on_run_ended)
        try:
            await asyncio.wait([first, self._run], return_when=asyncio.FIRST_COMPLETED)
            if self._run.done():
                await self._run
        except BaseException:  # cancelled as well: the task and its socket end with us
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, *, goodbye: tuple[str, bytes] | None = None) -> None:
        """Publish ``goodbye`` (else the will) retained, disconnect, and end all that waits; idempotent.

        Publishes that are still in flight raise ``BusError``: await them before, where they matter.
        """
        if self._closed:
            return
        self._closed = True
        last, said = goodbye or self._will, False
        try:
            if last is not None and self._connected:
                said = await self._say_last(*last)
        finally:
            await self._disconnect(will=last is not None and not said)

    def post(self, message: Message, taken: Taken) -> Posted:
        """See `tiercut.bus.Bus.post`."""
        if self._closed:
            raise closed_error(self.settings.url)
        return self._outgoing.post(message, taken)

    def soon(self, call: Callable[[], None]) -> None:
        """See `tiercut.bus.Bus.soon`."""
        if self._connection is None:
            asyncio.get_running_loop().call_soon(call)
        else:
            self._connection.soon(call)

    async def publish(self, message: Message) -> Sent:
        """See `tiercut.bus.Bus.publish`."""
        return await publish_by_post(self, message)

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """See `tiercut.bus.Bus.announce`; without a broker (``wait``) it returns at once and is sent later."""
        check_topic(topic)
        self._check_open()
        await self._outgoing.announce(topic, payload, properties)

    async def subscribe(self, topic_filter: str, *, qos: int = 1, handler: Handler | None = None) -> Subscription:
        """See `tiercut.bus.Bus.subscribe`."""
        check_filter(topic_filter)
        check_qos(qos)
        self._check_open()
        return await self._incoming.subscribe(topic_filter, qos, handler)

    # --- Events of the connection -----------------------------------------------------------------------------------

    def on_accepted(self, accepted: Accepted) -> None:
        """Both halves learn what the broker says of itself.

        The connection begins with what was in flight, subscriptions, and announcements.
        """
        connection = self._connection
        if connection is None:
            return
        self._incoming.accepted(connection, accepted, first=self._connections == 0)
        self._outgoing.accepted(accepted)
        self._connections += 1
        self._connected = True
        self._incoming.begin()
        self._outgoing.begin(connection)

    def on_bad_message(self, packet_id: int, reason: str, came: str) -> None:
        """A PUBLISH came that cannot be read."""
        self._incoming.bad_message(packet_id, reason, came)

    def on_written(self, what: object) -> None:
        """A QoS 0 message is on the socket."""
        if isinstance(what, Queued):
            self._outgoing.written(what)

    def on_subscribed(self, packet_id: int, code: int) -> None:
        """SUBACK came."""
        self._incoming.subscribed(packet_id, code)

    def on_unsubscribed(self, packet_id: int) -> None:
        """UNSUBACK came."""
        self._incoming.unsubscribed(packet_id)

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""
        self._connected = False
        self._outgoing.lost()
        self._incoming.lost()
        self._lost_reason = reason
        self._lost.set()

    # --- Inside -----------------------------------------------------------------------------------------------------

    async def _keep_connected(self, connection: Connection, first: asyncio.Future[None]) -> None:
        """Connect, and again after each loss, with exponential backoff and full jitter.

        Args:
            connection: Opened again and again.
            first: Resolved after the first try.
        """
        settings, told = self.settings, ""
        backoff = Backoff(first_s=settings.backoff_min_s, max_s=settings.backoff_max_s, jitter=1.0)
        while True:
            self._lost.clear()
            try:
                await connection.open(clean_start=settings.clean_start and self._connections == 0)
            except (OSError, ValueError, Refused) as caught:
                error = connect_error(settings, caught)
                if not first.done() and not self._wait:
                    raise error from caught
                if str(error) != told:
                    told = str(error)
                    self._log.warning("%s. Trying again until it answers", error)
            else:
                self._log.info("connected to %s as %s", settings.url, settings.client_id)
                self.counters["reconnects"] += self._connections > 1
                told, since_s = "", self._clock.monotonic_s()
                _resolve(first)
                await self._lost.wait()
                self._log.warning("%s: %s. Reconnecting", settings.url, self._lost_reason)
                if self._clock.monotonic_s() - since_s > settings.backoff_max_s:
                    backoff.reset()
            _resolve(first)
            await asyncio.sleep(backoff.take_s())

    def _on_run_ended(self, run: asyncio.Task[None]) -> None:
        """Nobody must wait forever for a bus that no longer tries."""
        error = None if run.cancelled() else run.exception()
        if error is not None and not isinstance(error, BusError):  # that one is raised on entering
            self._log.critical("the bus at %s has failed", self.settings.url, exc_info=error)
            self._closed = True
            self._end(closed_error(self.settings.url))

    async def _say_last(self, topic: str, payload: bytes) -> bool:
        try:
            await self._outgoing.say_last(topic, payload, timeout_s=_GOODBYE_S)
        except (TimeoutError, BusError) as error:
            self._log.warning("no goodbye on %s: %s", topic, str(error) or "no answer")
            return False
        return True

    async def _disconnect(self, *, will: bool) -> None:
        """End the task and the connection, even if cancelled in between."""
        try:
            if self._run is not None:
                self._run.cancel()
                await asyncio.wait([self._run])
            self._connected = False
            self._outgoing.lost()
            if self._connection is not None:
                await self._connection.close(will=will, timeout_s=_GOODBYE_S)
        finally:
            if self._connection is not None:
                self._connection.abort()
            self._incoming.lost()
            self._end(closed_error(self.settings.url))

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error(self.settings.url)

    def _end(self, error: BusError) -> None:
        self._outgoing.end(error)
        self._incoming.end(error)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
