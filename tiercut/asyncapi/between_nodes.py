"""JSON Schemas of what nodes and the hub say to each other."""

from __future__ import annotations

from tiercut.asyncapi.fields import CUT, FRAMES, MODEL, STREAM, TIER, VARIANT
from tiercut.asyncapi.shapes import Schema, count, flag, items, name, number, one_of, or_null, record, ref, text
from tiercut.plan import TIERS
from tiercut.protocol.streams import SOURCE_STATES

_SOURCE_REPORT = record(
    "How a stream's sensor does, by the node that reads it.",
    {
        "stream": STREAM,
        "node": name("Node id."),
        "state": one_of(*SOURCE_STATES),
        "model": text("Identity of the model that its frames are for; empty where it is not open."),
        "message": text("Why it waits, or has failed."),
        "frames": FRAMES,
        "trouble": items(ref("Trouble")),
    },
)
_ASSIGNED = record(
    "The streams whose sensors a node is to read.",
    {"streams": items(record("One of them.", {"settings": ref("StreamSettings"), "model": MODEL}))},
)

_CLOCK_PROBE = record(
    "A question for a node's clock, or its answer; larger by its padding where it measures a link.",
    {
        "clock_id": text("Clock of who says it."),
        "asked_s": number("Number of the question, drawn at random: its answer repeats it exactly."),
        "heard_s": or_null(number("On the answerer's clock; null in a question.")),
        "answered_s": or_null(number("On the answerer's clock; null in a question.")),
    },
    {"padding": text("Makes the message as large as it is to be.")},
)
_PROBE = record(
    "Asks a node to send small messages to another.",
    {"tier": TIER, "node": name(), "sizes": items(count(), "Bytes of each.")},
)
_PROGRESS = record(
    "What a node says between frames: links it has measured, and what takes long.",
    {
        "transfers": items(
            record(
                "Bytes to another node.",
                {"tier": TIER, "node": name(), "bytes": count(), "seconds": number(), "arrived": flag()},
            )
        ),
        "running": items(
            record(
                "A segment that runs for long.",
                {"model": MODEL, "start": CUT, "stop": CUT, "seconds": number(), "variant": VARIANT},
            )
        ),
    },
)
_PREPARE = record(
    "Asks a node to load the segment that a plan to come needs.",
    {
        "site": name(),
        "stream": STREAM,
        "epoch": count("Of the plan to come."),
        "model": MODEL,
        "start": CUT,
        "stop": CUT,
        "variant": VARIANT,
        "leaves_early": flag("Exits on the way are needed too."),
        "codec": text("Codec of what it sends, for a node that has conditions."),
    },
)
_READY = record(
    "A node's answer: the segment is loaded, or will not be.",
    {
        "stream": STREAM,
        "epoch": count(),
        "node": name(),
        "ok": flag(),
        "message": text("Why not."),
        "tier": one_of(*TIERS, ""),
    },
)
_PROFILE: Schema = {
    "type": "object",
    "description": "How long each part of a model takes on a node: docs/profiles.md.",
    "required": ["format", "model", "cut_seconds", "cut_bytes"],
    "properties": {
        "format": {"const": "tiercut-profile/1"},
        "model": MODEL,
        "cut_seconds": items(number(minimum=0), "Up to each cut."),
        "cut_bytes": items(count(), "Alive at each cut."),
    },
}
BETWEEN_NODES: dict[str, Schema] = {
    "Assigned": _ASSIGNED,
    "ClockProbe": _CLOCK_PROBE,
    "Prepare": _PREPARE,
    "Probe": _PROBE,
    "Profile": _PROFILE,
    "Progress": _PROGRESS,
    "Ready": _READY,
    "SourceReport": _SOURCE_REPORT,
}
