"""JSON Schemas of why a stream has its plan."""

from __future__ import annotations

from tiercut.asyncapi.fields import CUT, STREAM, TIER, VARIANT
from tiercut.asyncapi.shapes import count, flag, items, number, one_of, or_null, record, ref, table, text
from tiercut.protocol.nodes import CONTROL_MODES

ANSWER = record(
    "What the planner says of one way to run the model; fields as 'tiercut plan --json' prints them.",
    {"feasible": flag("It keeps to all limits.")},
    {
        "variant": or_null(VARIANT),
        "device": or_null(text()),
        "edge": or_null(text()),
        "cloud": or_null(text()),
        "first_cut": or_null(CUT),
        "second_cut": or_null(CUT),
        "codecs": items(text()),
        "latency_seconds": or_null(number()),
        "beside_seconds": number("What every frame takes besides, whichever plan it follows."),
        "accuracy": or_null(number()),
        "energy_joules": or_null(number()),
        "bottleneck_seconds": or_null(number()),
        "stages": items(record("A stage.", {"kind": text(), "where": text(), "seconds": number()})),
        "threshold": or_null(number()),
        "noise": or_null(number()),
        "exits": table(number()),
        "violates": items({"type": "object"}, "Limits that it does not keep."),
    },
)
EXPLANATION = record(
    "Why a stream has its plan, and what is known of its nodes and links.",
    {
        "stream": STREAM,
        "objective": text("latency, throughput, energy or accuracy."),
        "control": one_of(*CONTROL_MODES),
        "control_id": text("The id of the control that this follows."),
        "control_trouble": or_null(text("Why what a person wants is not done.")),
        "under_way": or_null(text("Reason of a change whose nodes get ready.")),
        "plan": or_null({"type": "object", "description": "The plan: variant, nodes, cuts, codecs, epoch."}),
        "trouble": or_null(text("Why there is no plan, or no better one.")),
        "warnings": items(text()),
        "measured_ms": or_null(number("Typical latency of this plan's frames.")),
        "frames_per_second": number(minimum=0),
        "deadline": or_null({"type": "object", "description": "ms, margin_ms, met_share and frames."}),
        "exits": table(number(), "Share of frames that left at each exit."),
        "changes": items(record("A change of plan.", {"epoch": count(), "reason": text()})),
    },
    {
        "best": or_null(ref("Answer")),
        "alternatives": table(or_null(ref("Answer")), "Plainer ways to run the model, and what they would take."),
        "predicted": ref("Answer"),
        "links": items(
            record(
                "A link.",
                {
                    "from": text(),
                    "to": text(),
                    "latency_seconds": number(),
                    "mbps": number(),
                    "mbps_std": number(),
                    "latency_std": number(),
                    "source": one_of("measured", "guessed"),
                },
                {"watts": number()},
            )
        ),
        "nodes": items(
            record(
                "A node.",
                {
                    "id": text(),
                    "tier": TIER,
                    "slowdown": number(),
                    "queue_seconds": number(),
                    "busy": number(),
                    "waiting": number(),
                },
            )
        ),
    },
)
