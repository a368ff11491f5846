"""JSON Schemas of what people read and say, by name. Frames themselves are msgpack: docs/wire-format.md."""

from __future__ import annotations

from tiercut.asyncapi.between_nodes import BETWEEN_NODES
from tiercut.asyncapi.explaining import ANSWER, EXPLANATION
from tiercut.asyncapi.fields import CUT, FRAMES, MODEL, STREAM, TIME, VARIANT
from tiercut.asyncapi.shapes import (
    Schema,
    count,
    flag,
    items,
    name,
    number,
    one_of,
    or_null,
    record,
    ref,
    settings_record,
    table,
    text,
)
from tiercut.plan import TIERS
from tiercut.protocol.frames import STAGE_KINDS
from tiercut.protocol.nodes import CONTROL_MODES, NODE_STATES
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import STREAM_STATES

_SEQ = count("Number of the frame in its stream, from 0 at each start of its sensor.")
_WORD = text("Name of a counter, lower_snake_case.")

_DEADLINE = record(
    "When results are of use.",
    {
        "seconds": number("After capture.", exclusiveMinimum=0),
        "drop": flag("Late frames are dropped."),
        "rest_s": items(number(minimum=0), "Least seconds to the result from each node of the route on, or empty."),
        "in_flight": or_null(count("Frames that may be under way.")),
    },
)
_PLAN = record(
    "What runs where, and how it gets there.",
    {
        "epoch": count("Number of the plan in its stream."),
        "first_cut": CUT | {"description": "The device runs [0, first_cut)."},
        "second_cut": CUT | {"description": "The edge runs [first_cut, second_cut), the cloud the rest."},
        "exit": VARIANT,
        "device": name("Node id of the device."),
        "edge": or_null(name("Node id of the edge; null: no edge takes part.")),
        "cloud": or_null(name("Node id of the cloud node; null: no cloud node takes part.")),
        "codecs": items(text(), "One codec per hop."),
    },
    {
        "threshold": number("Frames leave at any earlier exit that is at least so sure.", minimum=0, maximum=1),
        "deadline": ref("Deadline"),
    },
)
_STAGE = record(
    "Time that a frame spent on one thing.",
    {
        "where": name("Node id; for wire the node that received."),
        "kind": one_of(*STAGE_KINDS),
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
_DROPPED = record(
    "A frame that has no result, and why.",
    {
        "stream": STREAM,
        "seq": _SEQ,
        "where": name("Node id that dropped it."),
        "reason": _WORD,
        "message": text("One sentence."),
    },
    {
        "way": record(
            "How far it had come, for a frame that was too late.",
            {
                "model": MODEL,
                "plan": ref("Plan"),
                "cut": CUT,
                "stages": items(ref("Stage")),
                "age_ms": number(minimum=0),
            },
        )
    },
)

_NODE_STATUS = record(
    "Presence, capacity and load of a node.",
    {
        "node": name("Node id."),
        "tier": one_of(*TIERS, "hub"),
        "state": one_of(*NODE_STATES, description="offline: it has said goodbye, or the broker has lost it."),
        "version": text("Version of tiercut."),
        "clock_id": text("Its monotonic clock."),
        "models": table(MODEL, "Models it has, by name."),
        "load": table(number(), "Figures of now: waiting, busy, counters."),
        "emulated_link": or_null(text("What is emulated, for people.")),
        "reaches_cloud": flag("It can send to cloud nodes."),
        "power_watts": number("Drawn while computing; 0 where it is not known.", minimum=0),
        "instance": text("Drawn anew at each start: two at once are two nodes of one name."),
        "sent_unix_s": number("Wall clock of the node; 0 where it is not said.", minimum=0),
    },
    {"gateway": flag("A part of an edge that reads any sensor on the bus.")},
)
_STREAM_PLAN = record(
    "The plan that a stream follows.",
    {
        "stream": STREAM,
        "model": MODEL,
        "model_name": text("Name of the model."),
        "plan": ref("Plan"),
        "reason": text("Why this plan."),
    },
)
_STREAM_CONTROL = record(
    "What a person wants of a stream's plan. An empty payload is the same as auto.",
    {"mode": one_of(*CONTROL_MODES, description="auto: the coordinator; freeze: none; plan: as given here.")},
    {
        "plan": or_null(ref("Plan")),
        "id": text("Drawn by who says it; explanations repeat it as control_id."),
    },
)
_TROUBLE = record(
    "Why frames were dropped before they set out.",
    {"reason": _WORD, "message": text("What the last one said."), "count": count(), "last_at": TIME},
)
_STREAM_STATUS = record(
    "How a stream does.",
    {
        "stream": STREAM,
        "state": one_of(*STREAM_STATES),
        "message": text("Why it does not run, what was expected, what to do."),
        "model": text("Name of its model."),
        "sensor": text("Kind of its sensor."),
        "device": or_null(name("Node that reads the sensor; null: none yet.")),
        "gateway": flag("That node is an edge that reads it from the bus."),
        "frames": FRAMES,
        "trouble": items(ref("Trouble")),
        "since": TIME,
    },
)
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

SCHEMAS: dict[str, Schema] = {
    **BETWEEN_NODES,
    "Answer": ANSWER,
    "Deadline": _DEADLINE,
    "Dropped": _DROPPED,
    "Event": _EVENT,
    "Explanation": EXPLANATION,
    "NodeStatus": _NODE_STATUS,
    "Output": _OUTPUT,
    "Plan": _PLAN,
    "Result": _RESULT,
    "Score": _SCORE,
    "Stage": _STAGE,
    "StreamControl": _STREAM_CONTROL,
    "StreamPlan": _STREAM_PLAN,
    "StreamSettings": settings_record(
        StreamSettings, "A stream's settings, as in its TOML file. An empty payload removes the stream."
    ),
    "StreamStatus": _STREAM_STATUS,
    "Trouble": _TROUBLE,
}
