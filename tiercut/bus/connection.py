"""paho-mqtt on an asyncio loop: one TCP or TLS connection, no thread but the one that dials.

paho's external-loop interface is used as Home Assistant's MQTT client does, with two differences: a packet is written
at once instead of after the next turn of the loop, and the socket is watched for writing only while something is left.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tiercut.bus.client_tls import NewestTls
from tiercut.bus.handshake import Accepted, Events, Refused
from tiercut.bus.open_socket import in_daemon_thread, tune
from tiercut.bus.settings import MqttSettings

#: Packets read in one turn of the loop, so that a flood leaves time for other work.
_PACKETS_PER_TURN = 32
_MISC_INTERVAL_S = 1.0
#: Packet identifiers tried when paho still uses the next one (MQTT 5 §2.2.1: 65,535 of them).
_IDENTIFIER_TRIES = 65_535


class Connection:
    """A paho client whose socket is served by the running loop; it can be opened again after it was lost."""

    def __init__(self, settings: MqttSettings, *, will: tuple[str, bytes] | None, events: Events) -> None:
        self._settings = settings
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._client = self._make_client(will)
        #: the socket that the loop watches
        self._watched: socket.socket | None = None
        self._watching_writes = False
        self._answer: asyncio.Future[Accepted] | None = None
        self._accepted = False
        self._misc: asyncio.TimerHandle | None = None
        #: packets that came, to see whether reading goes on
        self._packets = 0
        #: within loop_write()
        self._writing = False
        #: within any call of paho's that may call us back: nothing is written then, but right after
        self._in_paho = False
        self._closed = asyncio.Event()

    def _make_client(self, will: tuple[str, bytes] | None) -> Client:
        settings = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # credit is the outbox's matter
        client.connect_timeout = settings.connect_timeout_s
        client.username = settings.username
        client.password = settings.password
        if settings.tls:
            client.tls_set_context(cast("ssl.SSLContext", NewestTls(settings)))
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = _ignore  # its presence keeps paho from writing in publish()
        return client

    async def open(self, *, clean_start: bool) -> Accepted:
        """Dial, say CONNECT, wait for CONNACK.

        Raises:
            OSError: not reachable, or closed before CONNACK; ``ssl.SSLError`` and ``TimeoutError`` are among them.
            Refused: CONNACK said no.
        """
        settings = self._settings
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = settings.receive_maximum
        properties.SessionExpiryInterval = settings.session_expiry_s
        properties.MaximumPacketSize = settings.max_incoming_bytes
        self._closed.clear()
        self._client.connect_async(
            settings.host, settings.port, settings.keepalive_s, clean_start=clean_start, properties=properties
        )
        host = self._settings.host
        await in_daemon_thread(self._client.reconnect, late=self.abort, name=f"dial-{host}")
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            raise ConnectionResetError("closed while connecting")
        tune(sock)
        self._answer = self._loop.create_future()
        self._watched = sock
        self._loop.add_reader(sock, self._read)
        self._misc = self._loop.call_later(_MISC_INTERVAL_S, self._do_misc)
        self.flush()
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                return await self._answer
        except BaseException:  # cancelled as well: no half-open connection is left behind
            self.abort()
            raise
        finally:
            self._answer = None

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None) -> int:
        """Queue a PUBLISH, and return its packet identifier; `flush` writes it."""
        for _ in range(_IDENTIFIER_TRIES):
            info = self._client.publish(topic, payload, qos, retain, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                break
        return info.mid

    def ack(self, packet_id: int) -> None:
        """Send PUBACK."""
        self._client.ack(packet_id, 1)
        self.flush()

    def subscribe(self, topic_filter: str, *, qos: int, identifier: int | None, retained: bool) -> int:
        """Send SUBSCRIBE, and return its packet identifier.

        The identifier comes back with each message of this filter (MQTT 5 §3.8.2.1.2). ``retained`` asks for the
        retained messages now (Retain Handling 0, else 2: §3.8.3.1).
        """
        options = SubscribeOptions(qos=qos, retainHandling=0 if retained else 2)
        properties = None
        if identifier is not None:
            properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
            properties.SubscriptionIdentifier = identifier
        _, packet_id = self._client.subscribe(topic_filter, options=options, properties=properties)
        self.flush()
        return packet_id or 0

    def unsubscribe(self, topic_filter: str) -> None:
        """Send UNSUBSCRIBE."""
        self._client.unsubscribe(topic_filter)
        self.flush()

    def drop_unacked(self) -> None:
        """Keep paho from resending unacknowledged messages; only within `Events.on_accepted`."""
        self._client.drop_out_messages()

    def flush(self) -> None:
        """Write what the socket takes now; the rest follows by itself."""
        if self._watched is None or self._in_paho:  # paho's lock around callbacks is not reentrant
            return
        self._in_paho = self._writing = True
        try:
            self._client.loop_write()
        finally:
            self._in_paho = self._writing = False
        sock = self._watched
        if sock is not None and self._client.want_write() != self._watching_writes:
            self._watching_writes = not self._watching_writes
            if self._watching_writes:
                self._loop.add_writer(sock, self._write)
            else:
                self._loop.remove_writer(sock)

    async def close(self, *, will: bool, timeout_s: float) -> None:
        """Say DISCONNECT, after what is queued; with ``will``, the broker publishes the will (MQTT 5 §3.14.2.1)."""
        if self._watched is None:
            return
        self._accepted = False  # not a loss
        # No reason code means 0: the two-byte packet is the one that every broker reads.
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message") if will else None)
        self.flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._closed.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._accepted = False
        # As paho documents it, this terminates an established connection; it has no other public way.
        self._client.connect_async(self._settings.host, self._settings.port)

    def _read(self) -> None:
        for _ in range(_PACKETS_PER_TURN):
            before = self._packets
            self._in_paho = True
            try:
                self._client.loop_read()
            finally:
                self._in_paho = False
            sock = self._watched
            if sock is None:
                break
            # Bytes that TLS has decrypted already do not make the socket readable again.
            if self._packets == before and not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                break
        else:
            if isinstance(self._watched, ssl.SSLSocket):
                self._loop.call_soon(self._read_again)
        self.flush()
        self._events.on_turn()

    def _read_again(self) -> None:
        if self._watched is not None:
            self._read()

    def _write(self) -> None:
        self.flush()
        self._events.on_turn()

    def _do_misc(self) -> None:
        """Keep-alive."""
        self._misc = None
        self._in_paho = True
        try:
            self._client.loop_misc()
        finally:
            self._in_paho = False
        if self._watched is not None:
            self.flush()
            self._misc = self._loop.call_later(_MISC_INTERVAL_S, self._do_misc)

    def _on_connect(
        self, _client: Client, _data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._packets += 1
        answer = self._answer
        if answer is None or answer.done():
            return
        if reason.is_failure:
            answer.set_exception(Refused(reason))
            return
        accepted = Accepted.read(flags.session_present, properties)
        self._accepted = True
        self._events.on_accepted(accepted)
        answer.set_result(accepted)

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        who = "the broker said" if flags.is_disconnect_packet_from_server else "connection lost:"
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before it answered"))
        if self._accepted:
            self._accepted = False
            self._events.on_lost(f"{who} {str(reason).lower()}")

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._packets += 1
        self._events.on_message(message)

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        if self._writing:  # paho reports QoS 0 here, from within loop_write()
            self._events.on_written(mid)
        else:
            self._packets += 1
            self._events.on_acked(mid, reason)

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._packets += 1
        self._events.on_subscribed(mid, reasons[0])

    def _on_socket_close(self, _client: Client, _data: Any, sock: Any) -> None:
        if self._watched is None or sock is not self._watched:  # a socket that was dialled and never watched
            return
        self._watched = None
        self._loop.remove_reader(sock)
        if self._watching_writes:
            self._watching_writes = False
            self._loop.remove_writer(sock)
        if self._misc is not None:
            self._misc.cancel()
            self._misc = None
        self._closed.set()


def _ignore(*_: Any) -> None:
    """A callback that has nothing to do."""
