"""JSON Schemas of what has no declaration yet."""

from __future__ import annotations

from tiercut.asyncapi.explaining import ANSWER, EXPLANATION
from tiercut.asyncapi.fields import TIME
from tiercut.asyncapi.shapes import one_of, record, text
from tiercut.protocol.events import DROPPED_TYPE, RESULT_TYPE, SPEC_VERSION

#: CloudEvents 1.0 in MQTT 5's user properties (MQTT binding, binary mode)
_EVENT = record(
    "CloudEvents 1.0 attributes, each a user property of the message; datacontenttype is its content type. "
    "QoS 1 may deliver a message twice: (source, id) tells.",
    {
        "specversion": {"type": "string", "const": SPEC_VERSION},
        "id": text("Names the frame in its stream, over restarts of its sensor."),
        "source": text("/tiercut/<site>/<stream>, with /dropped behind it for frames without a result."),
        "type": one_of(RESULT_TYPE, DROPPED_TYPE),
        "time": TIME,
    },
    {"subject": text(), "dataschema": text()},
)


BY_HAND = {
    "Answer": ANSWER,
    "Explanation": EXPLANATION,
    "Event": _EVENT,
}
