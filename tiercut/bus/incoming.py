"""The incoming half of the MQTT bus: subscriptions, the messages for them, and their acknowledgements."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import mqtt5

from tiercut.bus.acks import AckOrder
from tiercut.bus.base import Delivery, Handler, Subscription, nothing
from tiercut.bus.connection import Connection
from tiercut.bus.error_mapping import subscribe_error
from tiercut.bus.handshake import Accepted
from tiercut.bus.inbox import Inbox
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.packets import good_topic
from tiercut.bus.routes import Route, Routes
from tiercut.bus.settings import MqttSettings
from tiercut.clock import Clock
from tiercut.errors import BusError
from tiercut.logs import Throttle

#: How long messages that an earlier process left in the session wait for this one to subscribe again.
_UNCLAIMED_S = 5.0
#: Messages that cannot be read are logged at most so often, for each reason.
_LOG_EVERY_S = 10.0
#: Reason codes from here on are failures (MQTT 5 §2.4).
_FAILURE = 0x80


class Incoming:
    """Keeps subscriptions over reconnects, and hands out messages.

    With ``clean_start`` off, the broker begins with messages for subscriptions of an earlier process, before this one
    can have subscribed: they are held, unacknowledged, until it does.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        clock: Clock,
        counters: Counter[str],
        packet_ids: PacketIds,
        logger: logging.Logger,
    ) -> None:
        self._settings = settings
        self._monotonic_s = clock.monotonic_s
        self._packet_ids = packet_ids
        self._counters = counters
        self._log = logger
        self._throttle = Throttle(_LOG_EVERY_S)
        self._routes = Routes()
        self._acks = AckOrder(
            self._send_ack,
            credit=settings.receive_maximum,
            counters=counters,
            monotonic_s=clock.monotonic_s,
            stuck_s=settings.stuck_s,
        )
        #: the connection while it can be written to
        self._connection: Connection | None = None
        self._identifiers_allowed = True
        #: packet identifier of a SUBSCRIBE, or of an UNSUBSCRIBE → its filter, on this connection
        self._subscribing: dict[int, str] = {}
        self._unsubscribing: dict[int, str] = {}
        #: messages of a resumed session that nobody has subscribed to yet; bounded by the receive maximum
        self._unclaimed: list[Delivery] = []
        self._holds_unclaimed = False
        self._release: asyncio.TimerHandle | None = None

    @property
    def early_unfinished(self) -> int:
        """As of `tiercut.bus.ManagedBus`."""
        return self._acks.early_unfinished

    async def subscribe(self, topic_filter: str, qos: int, handler: Handler | None) -> Subscription:
        """Subscribe, now or with the next connection, and wait for SUBACK."""
        inbox = Inbox(
            topic_filter,
            qos0_limit=self._settings.qos0_queue,
            unsubscribe=self._unsubscribe,
            dropped=lambda: self._counters.update(dropped_qos0_queue_full=1),
            handler=handler,
        )
        own, *others = self._routes.add(inbox, qos=qos)
        agreed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        own.waiters.append(agreed)
        self._claim(inbox)
        self._send_subscribe(own, retained=True)
        for other in others:  # they overlap with the new one, and have an identifier from now on
            self._send_subscribe(other, retained=False)
        try:
            await agreed
        except BaseException:  # cancelled as well: nobody would read what is subscribed
            inbox.end()
            await self._unsubscribe(inbox)
            raise
        return inbox

    def accepted(self, connection: Connection, accepted: Accepted, *, first: bool) -> None:
        """A connection begins; messages may come at once."""
        self.lost()
        self._connection = connection
        self._identifiers_allowed = accepted.subscription_ids
        if not accepted.session_present:
            for route in self._routes:
                route.confirmed = False
        elif first:
            self._holds_unclaimed = True
            self._release = asyncio.get_running_loop().call_later(_UNCLAIMED_S, self._release_unclaimed)

    def begin(self) -> None:
        """Subscribe to what the session does not know."""
        for route in self._routes:
            if not route.confirmed:
                self._send_subscribe(route, retained=True)

    def lost(self) -> None:
        """The connection is gone: the broker will send again what was not acknowledged."""
        self._connection = None
        self._acks.forget()
        for packet_id in (*self._subscribing, *self._unsubscribing):
            self._packet_ids.free(packet_id)
        self._subscribing.clear()
        self._unsubscribing.clear()
        for delivery in self._unclaimed:
            delivery.ack()  # acknowledges nothing any more; as nobody will finish it, it must not count as unfinished
        self._unclaimed.clear()

    def end(self, error: BusError) -> None:
        """The bus is closing."""
        if self._release is not None:
            self._release.cancel()
        for route in self._routes:
            for waiter in route.waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            for inbox in route.inboxes:
                inbox.end()

    def message(self, message: mqtt5.PublishPacket, payload: bytes, age_s: float) -> None:
        """PUBLISH came, ``age_s`` seconds ago: hand it to its subscriptions."""
        counters, topic, packet_id = self._counters, message.topic, message.packet_id
        counters["messages_in"] += 1
        counters["bytes_in"] += len(payload)
        inboxes = self._routes.inboxes(topic, message.subscription_ids)
        holders = len(inboxes)
        if not holders or (message.response_topic is not None and not good_topic(message.response_topic)):
            inboxes, holders = [], self._unreceived(message)
        acks = () if packet_id is None else self._acks.take(packet_id, holders)
        for index in range(holders):
            delivery = Delivery(
                topic=topic,
                payload=payload,
                received_s=self._monotonic_s() - age_s,
                retain=message.retain,
                duplicate=message.duplicate,
                properties=tuple(message.user_properties),
                content_type=message.content_type,
                response_topic=message.response_topic,
                correlation=message.correlation_data,
                ack=acks[index] if acks else nothing,
            )
            if inboxes:
                inboxes[index].put(delivery, qos0=packet_id is None)
            else:
                self._unclaimed.append(delivery)

    def bad_message(self, packet_id: int, reason: str, came: str) -> None:
        """A PUBLISH came that cannot be read: it is counted, and acknowledged in its turn."""
        self._counters["messages_in"] += 1
        self._counters[f"dropped_{reason}"] += 1
        if self._throttle.allows(reason, self._monotonic_s()):
            self._log.warning("a message was dropped: %s", came, extra={"reason": reason})
        if packet_id:
            self._acks.take(packet_id, 0)

    def _unreceived(self, message: mqtt5.PublishPacket) -> int:
        """How many hold a message that is nobody's: 1 when it waits for a subscription."""
        if not good_topic(message.topic) or not good_topic(message.response_topic or message.topic):
            self._counters["dropped_bad_topic"] += 1
            return 0
        if self._holds_unclaimed and message.packet_id is not None:
            return 1
        self._counters["dropped_no_subscription"] += 1
        return 0

    def subscribed(self, packet_id: int, code: int) -> None:
        """SUBACK came."""
        failed = code >= _FAILURE
        self._packet_ids.free(packet_id)
        route = self._routes.get(self._subscribing.pop(packet_id, ""))
        if route is None:
            return
        waiters, route.waiters = route.waiters, []
        route.confirmed = not failed
        waiting = [waiter for waiter in waiters if not waiter.done()]
        for waiter in waiting:
            if failed:
                waiter.set_exception(subscribe_error(route.topic_filter, code))
            else:
                waiter.set_result(None)
        if failed and not waiting:
            self._log.error("%s", subscribe_error(route.topic_filter, code))

    def unsubscribed(self, packet_id: int) -> None:
        """UNSUBACK came."""
        self._unsubscribing.pop(packet_id, None)
        self._packet_ids.free(packet_id)

    def _claim(self, inbox: Inbox) -> None:
        """Hand over what was held for a subscription that is there now."""
        held, self._unclaimed = self._unclaimed, []
        for delivery in held:
            if inbox in self._routes.inboxes(delivery.topic):
                inbox.put(delivery, qos0=False)
            else:
                self._unclaimed.append(delivery)

    def _release_unclaimed(self) -> None:
        """Nobody wants them: they must not hold up the acknowledgements of all others."""
        self._release, self._holds_unclaimed = None, False
        for delivery in self._unclaimed:
            self._counters["dropped_no_subscription"] += 1
            delivery.ack()
        self._unclaimed.clear()

    def _send_subscribe(self, route: Route, *, retained: bool) -> None:
        if self._connection is not None:
            identifier = route.identifier if self._identifiers_allowed else None
            packet_id = self._packet_ids.take()
            self._subscribing[packet_id] = route.topic_filter
            self._connection.subscribe(
                packet_id, route.topic_filter, qos=route.qos, identifier=identifier, retained=retained
            )

    def _send_ack(self, packet_id: int) -> None:
        if self._connection is not None:
            self._connection.ack(packet_id)

    async def _unsubscribe(self, inbox: Inbox) -> None:
        if self._routes.remove(inbox) and self._connection is not None:
            packet_id = self._packet_ids.take()
            self._unsubscribing[packet_id] = inbox.topic_filter
            self._connection.unsubscribe(packet_id, inbox.topic_filter)
