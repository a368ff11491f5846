"""What the bus is asked to send or to subscribe to: checked and counted (MQTT 5 §3.3.2)."""

from __future__ import annotations

from tiercut.bus.base import Message

_MAX_TOPIC_BYTES = 65_535
#: Fixed header (5), topic length (2), packet identifier (2), length of the properties (4).
_FIXED_BYTES = 13
#: Message Expiry Interval (5).
_EXPIRY_BYTES = 5
#: Topics whose check is remembered.
_KNOWN_TOPICS = 1024

#: topic that was found good → its size in bytes
_known: dict[str, int] = {}


def check_topic(topic: str) -> int:
    """A topic to publish on has at least one character and no wildcard (MQTT 5 §4.7.1, §4.7.3).

    Returns:
        Its size in bytes.

    Raises:
        ValueError: it has not.
    """
    size = _known.get(topic)
    if size is None:
        size = len(topic.encode())
        if not topic or "+" in topic or "#" in topic or "\0" in topic or size > _MAX_TOPIC_BYTES:
            raise ValueError(f"a topic has 1 to 65,535 bytes and no '+', '#' or NUL; this one is {topic[:100]!r}")
        if len(_known) >= _KNOWN_TOPICS:
            _known.clear()
        _known[topic] = size
    return size


def good_topic(topic: str) -> bool:
    """Whether `check_topic` takes it; for topics that strangers send, which are not remembered."""
    return topic in _known or bool(topic and "+" not in topic and "#" not in topic and "\0" not in topic)


def check_filter(topic_filter: str) -> None:
    """'#' stands at the end, '#' and '+' fill a level (MQTT 5 §4.7.1)."""
    levels = topic_filter.split("/")
    wrong = not topic_filter or "\0" in topic_filter or len(topic_filter.encode()) > _MAX_TOPIC_BYTES
    wrong = wrong or any(("#" in level or "+" in level) and len(level) > 1 for level in levels)
    if wrong or "#" in levels[:-1]:
        raise ValueError(f"'#' ends a topic filter, '#' and '+' stand alone between '/'; this one is {topic_filter!r}")


def check_message(message: Message) -> int:
    """Refuse what the bus does not know, or UTF-8 cannot say.

    Returns:
        Bytes of the packet without the payload, at most a few too many.

    Raises:
        ValueError: says what is wrong.
    """
    if message.qos not in (0, 1):
        check_qos(message.qos)
    size = _FIXED_BYTES + _EXPIRY_BYTES + (_known.get(message.topic) or check_topic(message.topic))
    for name, value in message.properties:
        size += 5 + len(name.encode()) + len(value.encode())
    if message.content_type is not None:
        size += 3 + len(message.content_type.encode())
    if message.response_topic is not None:
        size += 3 + len(message.response_topic.encode())
    return size + (3 + len(message.correlation) if message.correlation is not None else 0)


def check_qos(qos: int) -> None:
    """QoS 2 costs two more packets a message and is not needed where receivers dedupe."""
    if qos not in (0, 1):
        raise ValueError(f"the bus knows QoS 0 and 1, not {qos}")
