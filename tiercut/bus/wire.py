"""MQTT 5 packets as bytes, where more than `mqtt5` is needed: frames, acknowledgements, and what it must not read."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import mqtt5

from tiercut.bus.base import Message

#: First bytes of packets (MQTT 5 §2.1.2), flags left out for PUBLISH.
CONNACK, PUBLISH, PUBACK, PINGRESP = 0x20, 0x30, 0x40, 0xD0
PINGREQ = b"\xc0\x00"
#: PUBACK 'success', but for its packet identifier (2 bytes).
ACK = b"\x40\x02"
#: Larger payloads are sent from where they are, beside their packet's head.
JOINED_BYTES = 8 * 1024

_MALFORMED = mqtt5.DisconnectReasonCode.MALFORMED_PACKET
_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)
#: Properties of PUBLISH (MQTT 5 §2.2.2.2): those with a text, two texts, bytes, a number of so many bytes.
_TEXTS = {0x03: 1, 0x08: 1, 0x26: 2}
_BINARY = 0x09
_NUMBERS = {0x01: 1, 0x02: 4, 0x23: 2}
_SUBSCRIPTION_IDENTIFIER = 0x0B


class Malformed(Exception):
    """Bytes after which the connection cannot go on; says what came.

    Attributes:
        code: For our DISCONNECT (MQTT 5 §3.14.2.1).
    """

    def __init__(self, came: str, code: mqtt5.DisconnectReasonCode = _MALFORMED) -> None:
        super().__init__(came)
        self.code = code


class BadMessage(Exception):
    """A PUBLISH that cannot be read, in a frame that can: it costs itself alone.

    Attributes:
        packet_id: To acknowledge it with; 0 for QoS 0.
        reason: ``bad_topic`` or ``bad_properties``.
    """

    def __init__(self, packet_id: int, reason: str, came: str) -> None:
        super().__init__(came)
        self.packet_id = packet_id
        self.reason = reason


def number(data: Sequence[int], at: int, end: int) -> tuple[int, int]:
    """A Variable Byte Integer (MQTT 5 §1.5.5) and where it ends; that is 0 while its end is not there.

    Raises:
        Malformed: it has more than four bytes.
    """
    value = 0
    for index in range(at, min(at + 4, end)):
        value |= (data[index] & 0x7F) << 7 * (index - at)
        if data[index] < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, index + 1
    if end - at >= 4:  # noqa: PLR2004 - its most bytes
        raise Malformed("a length of more than four bytes")
    return 0, 0


def read_ack(packet: memoryview) -> tuple[int, int]:
    """Packet identifier and reason code of a PUBACK, which has the latter only where it is not 0 (MQTT 5 §3.4.2.1).

    Raises:
        Malformed: it is too short.
    """
    length, body = packet[1], 2
    if length > 0x7F:  # noqa: PLR2004 - the continuation bit
        length, body = number(packet, 1, len(packet))
    if length < 2:  # noqa: PLR2004 - the packet identifier
        raise Malformed("a PUBACK without packet identifier")
    return packet[body] << 8 | packet[body + 1], packet[body + 2] if length > 2 else 0  # noqa: PLR2004 - as above


def publish(message: Message, *, qos: int, retain: bool, packet_id: int, duplicate: bool) -> list[bytes]:
    """PUBLISH: one part, or its head and the payload as it is, so that a large one is not copied.

    Raises:
        ValueError: a text that UTF-8 cannot say, or that is too long.
    """
    payload = message.payload
    apart = len(payload) > JOINED_BYTES
    packet = mqtt5.PublishPacket(
        message.topic,
        b"" if apart else bytes(payload),
        qos=_QOS[qos],
        retain=retain,
        packet_id=packet_id or None,
        duplicate=duplicate,
        message_expiry_interval=message.expiry_s,
        content_type=message.content_type,
        response_topic=message.response_topic,
        correlation_data=message.correlation,
        user_properties=list(message.properties),
    ).write()
    if not apart:
        return [packet]
    body = 2
    while packet[body - 1] > 0x7F:  # noqa: PLR2004 - the continuation bit
        body += 1
    return [_head(packet[0], packet[body:], len(payload)), payload]


def _head(first: int, body: bytes | memoryview, payload_bytes: int) -> bytes:
    """A packet up to its payload."""
    length = len(body) + payload_bytes
    head = bytearray((first,))
    while length > 0x7F:  # noqa: PLR2004 - seven bits a byte
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head + body)


def read_publish(packet: memoryview) -> tuple[mqtt5.PublishPacket, bytes]:
    """A whole PUBLISH without its payload, and that.

    `mqtt5.read` panics at texts that are no UTF-8, so those are looked for before: most packets have nothing but ASCII
    beside their payload, which one comparison tells. It is not shown the payload, into which a wrong length may lead.

    Raises:
        BadMessage: only this message is bad.
        Malformed: its packet identifier cannot be known, or its QoS is none that is subscribed to.
    """
    try:
        body = 2
        while packet[body - 1] > 0x7F:  # noqa: PLR2004 - the continuation bit
            body += 1
        topic_end = after = body + 2 + (packet[body] << 8 | packet[body + 1])
        qos, packet_id = packet[0] >> 1 & 3, 0
        if qos:
            packet_id, after = packet[topic_end] << 8 | packet[topic_end + 1], topic_end + 2
        length, at = packet[after], after + 1
    except IndexError as error:
        raise Malformed("a PUBLISH that is too short") from error
    if qos > 1 or (qos and not packet_id):
        raise Malformed(f"a message of QoS {qos} with packet identifier {packet_id}")
    if length > 0x7F:  # noqa: PLR2004 - the continuation bit
        length, at = number(packet, after, len(packet))
    stop = at + length
    if not (bytes(packet[body + 2 : topic_end]).isascii() and bytes(packet[at:stop]).isascii()):
        _check_texts(packet, packet_id, (body + 2, topic_end), (at, stop))
    try:
        found = mqtt5.read(memoryview(_head(packet[0], packet[body:stop], 0)))[0]
    except BaseException as error:
        raise BadMessage(packet_id, "bad_properties", _complaint(error)) from error
    if not isinstance(found, mqtt5.PublishPacket):
        raise Malformed("no PUBLISH")
    return found, bytes(packet[stop:])


def _check_texts(packet: memoryview, packet_id: int, topic: tuple[int, int], properties: tuple[int, int]) -> None:
    """Refuse texts that are no UTF-8."""
    reason = "bad_topic"
    try:
        str(packet[topic[0] : topic[1]], "utf-8")
        reason = "bad_properties"
        _check_properties(packet, *properties)
    except (UnicodeDecodeError, IndexError) as error:
        raise BadMessage(packet_id, reason, str(error)) from error


def _check_properties(packet: memoryview, at: int, end: int) -> None:
    """Read texts; stops at a property that PUBLISH does not have, as `mqtt5.read` does."""
    while at < end:
        name, at = packet[at], at + 1
        if name in _NUMBERS:
            at += _NUMBERS[name]
        elif name == _SUBSCRIPTION_IDENTIFIER:
            _, at = number(packet, at, len(packet))
        elif name == _BINARY:
            at += 2 + (packet[at] << 8 | packet[at + 1])
        elif name in _TEXTS:
            for _ in range(_TEXTS[name]):
                start = at + 2
                at = start + (packet[at] << 8 | packet[at + 1])
                str(packet[start:at], "utf-8")
        else:
            return


def read(packet: memoryview) -> mqtt5.Packet:
    """`mqtt5.read` of a whole packet.

    Raises:
        Malformed: it is none.
    """
    try:
        return mqtt5.read(packet)[0]
    except BaseException as error:
        raise Malformed(_complaint(error)) from error


def _complaint(error: BaseException) -> str:
    """What `mqtt5.read` found wrong; other errors are raised again."""
    if isinstance(error, (ValueError, IndexError)):
        return str(error)
    if type(error).__name__ == "PanicException":  # at a bad text; it has no class to import, and is no Exception
        return "a text that is no UTF-8"
    raise error


def said(codes: type[enum.IntEnum], code: int) -> str:
    """A reason code in words, such as "not authorized"."""
    try:
        return codes(code).name.replace("_", " ").lower()
    except ValueError:
        return f"reason code 0x{code:02X}"
