"""JSON Schemas of what has no declaration yet."""

from __future__ import annotations

from tiercut.asyncapi.explaining import ANSWER, EXPLANATION
from tiercut.asyncapi.fields import MODEL, STREAM, TIME, VARIANT
from tiercut.asyncapi.shapes import Schema, count, flag, items, name, number, one_of, or_null, record, ref, text

_SEQ = count("Number of the frame in its stream, from 0 at each start of its sensor.")
_STAGE = record(
    "Time that a frame spent on one thing.",
    {
        "where": name("Node id; for wire the node that received."),
        "kind": text(),
        "ms": number(minimum=0),
    },
    {"bytes": count("What crossed the wire."), "emulated": flag("An emulated link or a slowed node: no measurement.")},
)
_SCORE = record(
    "A class and how likely it is.",
    {"class": count("Its index."), "label": text(), "score": {"type": ["number", "string"]}},
)
#: NaN and infinities are written as the words nan, inf and -inf
_NUMBER_OR_WORD: Schema = {"type": ["number", "string"], "description": "A number; nan, inf and -inf as words."}
_OUTPUT = record(
    "One output of a model without labels: all its numbers, or from 17 numbers on what they are like.",
    {"name": text(), "shape": items(count()), "dtype": text("Type of an element, as numpy calls it.")},
    {
        "values": items(_NUMBER_OR_WORD),
        "min": _NUMBER_OR_WORD,
        "max": _NUMBER_OR_WORD,
        "mean": _NUMBER_OR_WORD,
        "argmax": count("Index of the largest."),
    },
)
_RESULT = record(
    "What a model has made of a frame, and the frame's way. Either labels or outputs are there.",
    {
        "stream": STREAM,
        "seq": _SEQ,
        "label": or_null(text("What the sensor calls the frame, such as a file's name.")),
        "captured_at": TIME,
        "confidence": or_null(number("How sure the model is; null where that is not known.", minimum=0, maximum=1)),
        "exit": VARIANT,
        "plan": ref("Plan"),
        "finished_by": name("Node id."),
        "fallback": or_null(text("Why a node ran more than the plan says; null where it did not.")),
        "stages": items(ref("Stage"), "What took how long, in order."),
        "latency_ms": or_null(number("Capture to result; null while clocks are not known.", minimum=0)),
        "emulated_links": items(text(), "Nodes with an emulated link before them."),
        "emulated_nodes": items(text(), "Nodes that were slowed on purpose."),
        "model": record("The model.", {"name": text(), "sha256": MODEL}),
    },
    {
        "labels": items(ref("Score"), "The five best classes, best first."),
        "outputs": items(ref("Output"), "The outputs of a model without labels."),
        "cached": flag("An edge has answered with what it remembers of a frame just like this one."),
        "cached_from": count("Number of that frame."),
        "deadline_ms": number("The frame's deadline, where it has one."),
        "deadline_met": or_null(flag("Null while clocks are not known.")),
    },
) | {"oneOf": [{"required": ["labels"]}, {"required": ["outputs"]}]}
#: CloudEvents 1.0 in MQTT 5's user properties (MQTT binding, binary mode)
_EVENT = record(
    "CloudEvents 1.0 attributes, each a user property of the message; datacontenttype is its content type. "
    "QoS 1 may deliver a message twice: (source, id) tells.",
    {
        "specversion": {"type": "string", "const": "1.0"},
        "id": text("Names the frame in its stream, over restarts of its sensor."),
        "source": text("/tiercut/<site>/<stream>, with /dropped behind it for frames without a result."),
        "type": one_of("tiercut.result.v1", "tiercut.dropped.v1"),
        "time": TIME,
    },
    {"subject": text(), "dataschema": text()},
)


BY_HAND = {
    "Answer": ANSWER,
    "Explanation": EXPLANATION,
    "Result": _RESULT,
    "Score": _SCORE,
    "Output": _OUTPUT,
    "Stage": _STAGE,
    "Event": _EVENT,
}
