"""What a PUBLISH carries beside its payload: checked, counted, packed and read back (MQTT 5 §3.3.2)."""

from __future__ import annotations

from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from tiercut.bus.base import Message

_MAX_TOPIC_BYTES = 65_535
#: Fixed header (5), topic length (2), packet identifier (2), length of the properties (4).
_FIXED_BYTES = 13


def check_topic(topic: str) -> None:
    """A topic to publish on has at least one character and no wildcard (MQTT 5 §4.7.1, §4.7.3)."""
    if not topic or "+" in topic or "#" in topic or "\0" in topic or len(topic.encode()) > _MAX_TOPIC_BYTES:
        raise ValueError(f"a topic has 1 to 65,535 bytes and no '+', '#' or NUL; this one is {topic[:100]!r}")


def check_filter(topic_filter: str) -> None:
    """'#' stands at the end, '#' and '+' fill a level (MQTT 5 §4.7.1)."""
    levels = topic_filter.split("/")
    wrong = not topic_filter or "\0" in topic_filter or len(topic_filter.encode()) > _MAX_TOPIC_BYTES
    wrong = wrong or any(("#" in level or "+" in level) and len(level) > 1 for level in levels)
    if wrong or "#" in levels[:-1]:
        raise ValueError(f"'#' ends a topic filter, '#' and '+' stand alone between '/'; this one is {topic_filter!r}")


def check_message(message: Message) -> None:
    """Refuse a topic or a QoS that the bus does not know."""
    check_topic(message.topic)
    check_qos(message.qos)


def check_qos(qos: int) -> None:
    """QoS 2 costs two more packets a message and is not needed where receivers dedupe."""
    if qos not in (0, 1):
        raise ValueError(f"the bus knows QoS 0 and 1, not {qos}")


def overhead_bytes(message: Message) -> int:
    """Bytes of the packet without the payload, at most a few too many."""
    size = _FIXED_BYTES + len(message.topic.encode()) + 5
    size += sum(5 + len(name.encode()) + len(value.encode()) for name, value in message.properties)
    texts = (message.content_type, message.response_topic)
    size += sum(3 + len(text.encode()) for text in texts if text is not None)
    return size + (3 + len(message.correlation) if message.correlation is not None else 0)


def pack(message: Message) -> PahoProperties | None:
    """Its properties as paho wants them; ``None``, which is cheap, when there are none."""
    wanted: dict[str, Any] = {
        "MessageExpiryInterval": message.expiry_s,
        "ContentType": message.content_type,
        "ResponseTopic": message.response_topic,
        "CorrelationData": message.correlation,
        "UserProperty": list(message.properties) or None,
    }
    packed: PahoProperties | None = None
    for name, value in wanted.items():
        if value is not None:
            packed = packed or PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            setattr(packed, name, value)
    return packed
