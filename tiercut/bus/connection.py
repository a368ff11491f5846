"""A client of an MQTT 5 broker on an asyncio loop: no thread but the one that dials."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable

import mqtt5

from tiercut.bus import wire
from tiercut.bus.base import Message
from tiercut.bus.client_tls import newest_tls
from tiercut.bus.handshake import Accepted, Events, Refused
from tiercut.bus.keepalive import KeepAlive
from tiercut.bus.open_socket import dial, in_daemon_thread
from tiercut.bus.settings import MqttSettings
from tiercut.bus.transport import Transport


class Connection:
    """One client; it can be opened again after it was lost.

    Raises:
        SettingsError: a TLS file is not right.
    """

    def __init__(self, settings: MqttSettings, *, will: tuple[str, bytes] | None, events: Events) -> None:
        self._settings = settings
        self._will = will
        self._events = events
        self._transport: Transport | None = None
        self._keepalive = KeepAlive(self._ping, self._on_silence)
        self._answer: asyncio.Future[Accepted] | None = None
        self._accepted = False
        if settings.tls:
            newest_tls(settings)

    async def open(self, *, clean_start: bool) -> Accepted:
        """Dial, say CONNECT, wait for CONNACK.

        Raises:
            OSError: not reachable, or closed before CONNACK; ``ssl.SSLError`` and ``TimeoutError`` are among them.
            ValueError: no CONNECT can carry what the settings say, or a host name that IDNA refuses.
            Refused: CONNACK said no.
        """
        settings = self._settings
        connect = self._connect_packet(clean_start=clean_start)
        dialling = functools.partial(dial, settings)
        sock = await in_daemon_thread(dialling, late=socket.socket.close, name=f"dial-{settings.host}")
        self._transport = transport = Transport(
            sock,
            max_packet_bytes=settings.max_incoming_bytes,
            on_packet=self._on_packet,
            on_lost=self._on_lost,
            on_written=self._events.on_written,
        )
        self._answer = asyncio.get_running_loop().create_future()
        try:
            transport.add(connect)
            transport.flush()
            async with asyncio.timeout(settings.connect_timeout_s):
                return await self._answer
        except BaseException:  # cancelled as well: no half-open connection is left behind
            self.abort()
            raise
        finally:
            self._answer = None

    def publish(self, message: Message, *, qos: int, retain: bool, packet_id: int, duplicate: bool) -> None:
        """Queue a PUBLISH; `flush` writes it.

        Raises:
            ValueError: a text of it is too long.
        """
        if self._transport is not None:
            parts = wire.publish(message, qos=qos, retain=retain, packet_id=packet_id, duplicate=duplicate)
            self._transport.add(*parts)

    def mark(self, what: object) -> None:
        """Have `Events.on_written` called once all that is queued is on the socket."""
        if self._transport is not None:
            self._transport.mark(what)

    def flush(self) -> None:
        """Write what the socket takes now; the rest follows by itself."""
        if self._transport is not None:
            self._transport.flush()

    def soon(self, call: Callable[[], None]) -> None:
        """As of `tiercut.bus.Bus.soon`."""
        if self._transport is None:
            asyncio.get_running_loop().call_soon(call)
        else:
            self._transport.soon(call)

    def ack(self, packet_id: int) -> None:
        """Send PUBACK: at once or, while packets are handled, with what is written next."""
        transport = self._transport
        if transport is not None:
            transport.add(wire.ACK + packet_id.to_bytes(2, "big"))
            if not transport.in_turn:
                transport.flush()

    def subscribe(self, packet_id: int, topic_filter: str, *, qos: int, identifier: int | None, retained: bool) -> None:
        """Send SUBSCRIBE.

        The identifier comes back with each message of this filter (MQTT 5 §3.8.2.1.2). ``retained`` asks for the
        retained messages now (Retain Handling 0, else 2: §3.8.3.1).
        """
        handling = mqtt5.RetainHandling.SEND_ALWAYS if retained else mqtt5.RetainHandling.SEND_NEVER
        wanted = mqtt5.TopicFilter(
            topic_filter, max_qos=mqtt5.QoS(qos), retain_as_published=False, retain_handling=handling
        )
        self._send(mqtt5.SubscribePacket(packet_id, [wanted], subscription_id=identifier).write())

    def unsubscribe(self, packet_id: int, topic_filter: str) -> None:
        """Send UNSUBSCRIBE."""
        self._send(mqtt5.UnsubscribePacket(packet_id, [topic_filter]).write())

    async def close(self, *, will: bool, timeout_s: float) -> None:
        """Say DISCONNECT, after what is queued; with ``will``, the broker publishes the will (MQTT 5 §3.14.2.1)."""
        self._accepted = False  # not a loss
        transport = self._transport
        if transport is None:
            return
        self._keepalive.stop()
        code = mqtt5.DisconnectReasonCode
        reason = code.DISCONNECT_WITH_WILL_MESSAGE if will else code.NORMAL_DISCONNECTION
        # Reason 0 is the two-byte packet, which every broker reads.
        transport.add(mqtt5.DisconnectPacket(reason_code=reason).write())
        transport.close()
        try:
            async with asyncio.timeout(timeout_s):
                await transport.closed.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._accepted = False
        self._keepalive.stop()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _connect_packet(self, *, clean_start: bool) -> bytes:
        settings, will = self._settings, None
        if self._will is not None:
            will = mqtt5.Will(self._will[0], payload=self._will[1], qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True)
        return mqtt5.ConnectPacket(
            settings.client_id,
            username=settings.username,
            password=None if settings.password is None else settings.password.encode(),
            clean_start=clean_start,
            will=will,
            keep_alive=settings.keepalive_s,
            session_expiry_interval=settings.session_expiry_s,
            receive_max=settings.receive_maximum,
            max_packet_size=settings.max_incoming_bytes,
        ).write()

    def _send(self, packet: bytes) -> None:
        if self._transport is not None:
            self._transport.add(packet)
            self._transport.flush()

    # --- What comes -------------------------------------------------------------------------------------------------

    def _on_packet(self, packet: memoryview) -> None:
        kind = packet[0]
        if not self._accepted:
            self._on_answer(packet)
        elif kind & 0xF0 == wire.PUBLISH:
            try:
                message, payload = wire.read_publish(packet)
            except wire.BadMessage as error:
                self._events.on_bad_message(error.packet_id, error.reason, str(error))
            else:
                age_s = 0.0 if self._transport is None else self._transport.age_s
                self._events.on_message(message, payload, age_s)
        elif kind == wire.PUBACK:
            if packet[1] == 2:  # noqa: PLR2004 - 'success', as nearly always
                self._events.on_acked(packet[2] << 8 | packet[3], 0)
            else:
                self._events.on_acked(*wire.read_ack(packet))
        elif kind != wire.PINGRESP:
            self._on_other(wire.read(packet))

    def _on_answer(self, packet: memoryview) -> None:
        """The first packet is CONNACK."""
        answer = self._answer
        if answer is None or answer.done():
            return
        if packet[0] != wire.CONNACK:
            raise wire.Malformed("no CONNACK")
        try:
            accepted = Accepted.read(packet)
        except Refused as error:
            answer.set_exception(error)
            return
        self._accepted = True
        if self._transport is not None:
            said_s = accepted.keepalive_s
            self._keepalive.start(self._transport, self._settings.keepalive_s if said_s is None else said_s)
        self._events.on_accepted(accepted)
        answer.set_result(accepted)

    def _on_other(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.SubAckPacket(reason_codes=[code]):
                self._events.on_subscribed(packet.packet_id, int(code))
            case mqtt5.UnsubAckPacket():
                self._events.on_unsubscribed(packet.packet_id)
            case mqtt5.DisconnectPacket():
                self._lose(f"the broker said {wire.said(mqtt5.DisconnectReasonCode, int(packet.reason_code))}")
            case _:
                raise wire.Malformed(f"a packet that no broker sends: {type(packet).__name__}")

    # --- Its end ----------------------------------------------------------------------------------------------------

    def _on_lost(self, why: OSError | wire.Malformed) -> None:
        if isinstance(why, wire.Malformed):
            if self._accepted:  # tell it, as far as it listens
                self._send(mqtt5.DisconnectPacket(reason_code=why.code).write())
            self._lose(f"the broker sent {why}")
        else:
            self._lose(f"connection lost: {(why.strerror or str(why) or type(why).__name__).lower()}")

    def _lose(self, reason: str) -> None:
        accepted, answer = self._accepted, self._answer
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionResetError("closed before it answered"))
        if accepted:
            self._events.on_lost(reason)

    def _ping(self) -> None:
        self._send(wire.PINGREQ)

    def _on_silence(self) -> None:
        self._lose("connection lost: keep alive timeout")
