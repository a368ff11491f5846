"""CloudEvents 1.0 attributes of a frame's outcome, as user properties of its message (MQTT binding, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tiercut.declared import iso_time
from tiercut.errors import refuse
from tiercut.protocol.frames import Work

RESULT_TYPE = "tiercut.result.v1"
DROPPED_TYPE = "tiercut.dropped.v1"
SPEC_VERSION = "1.0"
#: The message's content type, which CloudEvents calls ``datacontenttype``.
CONTENT_TYPE = "application/json"
#: Digits of a frame's number, at most: those of 2**64.
MAX_SEQ_DIGITS = 20
#: What every outcome has.
REQUIRED = ("specversion", "id", "source", "type", "time")
#: What an outcome may have besides: no node adds them, all that hand an outcome on keep them.
OPTIONAL = ("subject", "dataschema")

#: Says which device an outcome is for that comes back from the cloud, where that device puts outcomes in order.
FOR_DEVICE = "device"
#: Says of an outcome that an edge is to put on the cloud's bus how its stream's frames are delivered.
DELIVERY = "delivery"


def event_id(seq: int, captured_unix_s: float) -> str:
    """What names a frame's outcome within its stream, over restarts of its device."""
    return f"{seq}-{round(captured_unix_s * 1e3)}"


def seq_of(event: str) -> int:
    """The number of the frame that an `event_id` names.

    Raises:
        BadEnvelope: it is no such id.
    """
    digits = event.partition("-")[0]
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= MAX_SEQ_DIGITS):
        expected = "an id of a frame's number, '-', and when it was captured in milliseconds"
        raise refuse("bad_outcome", expected=expected, came=event[:60])
    return int(digits)


def captured_in(event: str) -> float:
    """When the frame was captured that an `event_id` names, unix time in seconds; minus infinity where it says none."""
    digits = event.partition("-")[2]
    return int(digits) / 1e3 if digits.isdecimal() and digits.isascii() and len(digits) <= MAX_SEQ_DIGITS else -math.inf


def event_source(site: str, stream: str, kind: str) -> str:
    """Where an outcome comes from.

    A frame that was dropped on one way may have a result on another: these are two events, and have the same id.
    """
    return f"/tiercut/{site}/{stream}" + ("/dropped" if kind == DROPPED_TYPE else "")


def id_and_source(properties: Iterable[tuple[str, str]]) -> tuple[str | None, str | None]:
    """What names an event, among user properties; ``None`` for what is not there: it is no CloudEvent."""
    event = source = None
    for name, value in properties:
        if name == "id":
            event = value
        elif name == "source":
            source = value
    return event, source


def attributes(work: Work, *, kind: str, unix_s: float) -> list[tuple[str, str]]:
    """The attributes of a frame's outcome.

    ``(source, id)`` names the event: QoS 1 may deliver it twice, and this is the key to tell. The capture time is part
    of the id because a device that starts again counts its frames from 0.
    """
    return [
        ("specversion", SPEC_VERSION),
        ("id", event_id(work.seq, work.captured_unix_s)),
        ("source", event_source(work.site, work.stream, kind)),
        ("type", kind),
        ("time", iso_time(unix_s, digits="microseconds")),
    ]


def read_attributes(properties: Iterable[tuple[str, str]], *, site: str, stream: str) -> list[tuple[str, str]]:
    """The attributes of an outcome among user properties, and no others.

    Args:
        properties: As they came.
        site: The site whose outcome it is to be.
        stream: The stream that its payload names.

    Raises:
        BadEnvelope: one is missing or twice, or it is no outcome of that stream.
    """
    found = [(name, value) for name, value in properties if name in REQUIRED or name in OPTIONAL]
    values = dict(found)
    missing = [name for name in REQUIRED if not values.get(name)]
    if missing or len(values) != len(found):
        came = [name for name, _ in found]
        raise refuse("bad_return", expected=f"the attributes {list(REQUIRED)}, each once", came=came)
    expected = {"specversion": SPEC_VERSION, "source": event_source(site, stream, values["type"])}
    wrong = {name: values[name] for name, value in expected.items() if values[name] != value}
    if wrong:
        raise refuse("bad_return", expected=f"{expected}", came=wrong)
    return found
