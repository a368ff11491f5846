"""What a PUBLISH carries beside its payload: checked, counted, packed and read back (MQTT 5 §3.3.2)."""

from __future__ import annotations

from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from tiercut.bus import Properties

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


def check_qos(qos: int) -> None:
    """QoS 2 costs two more packets a message and is not needed where receivers dedupe."""
    if qos not in (0, 1):
        raise ValueError(f"the bus knows QoS 0 and 1, not {qos}")


def overhead_bytes(
    topic: str,
    properties: Properties = (),
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation: bytes | None = None,
) -> int:
    """Bytes of the packet without the payload, at most a few too many."""
    size = _FIXED_BYTES + len(topic.encode()) + 5
    size += sum(5 + len(name.encode()) + len(value.encode()) for name, value in properties)
    size += sum(3 + len(text.encode()) for text in (content_type, response_topic) if text is not None)
    return size + (3 + len(correlation) if correlation is not None else 0)


def pack(
    properties: Properties,
    expiry_s: int | None,
    content_type: str | None,
    response_topic: str | None,
    correlation: bytes | None,
) -> PahoProperties | None:
    """The properties as paho wants them; ``None``, which is cheap, when there are none."""
    wanted: dict[str, Any] = {
        "MessageExpiryInterval": expiry_s,
        "ContentType": content_type,
        "ResponseTopic": response_topic,
        "CorrelationData": correlation,
        "UserProperty": list(properties) or None,
    }
    packed: PahoProperties | None = None
    for name, value in wanted.items():
        if value is not None:
            packed = packed or PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            setattr(packed, name, value)
    return packed
