"""JSON of the topics that people read too: plans, dropped frames, presence, clock probes.

Read as strictly as the envelope: at most `MAX_JSON_BYTES`, each key once, no NaN, every field of its type. Unknown keys
are ignored, so a newer sender may say more. Results are written by `results`, and read by others.
"""

from __future__ import annotations

import json
from typing import Any

from tiercut.errors import refuse
from tiercut.limits import MAX_STAGES
from tiercut.plan import FULL, Tier, known_tier
from tiercut.protocol.frames import Dropped, DroppedWay, Stage
from tiercut.protocol.nodes import (
    MAX_PROBES,
    ClockProbe,
    NodeStatus,
    PrepareSegment,
    Probe,
    Progress,
    Ready,
    Running,
    StreamControl,
    StreamPlan,
    Transfer,
)
from tiercut.protocol.wirefields import Fields, finite, plan_from_map, plan_to_map

MAX_JSON_BYTES = 64 * 1024
#: Sentences for people; longer ones are cut when written and refused when read.
MAX_SENTENCE = 1024
MAX_ENTRIES = 1024


def encode_stream_plan(message: StreamPlan) -> bytes:
    """The JSON of a stream's plan topic."""
    return _dump(
        {
            "stream": message.stream,
            "model": message.model,
            "model_name": message.model_name,
            "plan": plan_to_map(message.plan),
            "reason": message.reason[:MAX_SENTENCE],
        }
    )


def decode_stream_plan(data: bytes) -> StreamPlan:
    """The plan in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "plan message")
    return StreamPlan(
        stream=root.name("stream"),
        model=root.text("model"),
        model_name=root.text("model_name"),
        plan=plan_from_map(root.child("plan")),
        reason=root.optional_text("reason", limit=MAX_SENTENCE) or "",
    )


def encode_dropped(message: Dropped) -> bytes:
    """The JSON of a stream's dropped topic."""
    return _dump(
        {
            "stream": message.stream,
            "seq": message.seq,
            "where": message.where,
            "reason": message.reason,
            "message": message.message[:MAX_SENTENCE],
            **({} if message.way is None else {"way": _way(message.way)}),
        }
    )


def _way(way: DroppedWay) -> dict[str, Any]:
    stages = [
        {
            "where": each.where,
            "kind": each.kind,
            "ms": round(each.seconds * 1e3, 3),
            "bytes": each.payload_bytes,
            "emulated": each.emulated,
        }
        for each in way.stages
    ]
    return {
        "model": way.model,
        "plan": plan_to_map(way.plan),
        "cut": way.cut,
        "stages": stages,
        "age_ms": round(way.age_s * 1e3, 3),
    }


def decode_dropped(data: bytes) -> Dropped:
    """The dropped frame in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "dropped message")
    return Dropped(
        stream=root.name("stream"),
        seq=root.integer("seq"),
        where=root.name("where"),
        reason=root.name("reason"),
        message=root.optional_text("message", limit=MAX_SENTENCE) or "",
        way=_read_way(root.child("way")) if root.has("way") else None,
    )


def _read_way(fields: Fields) -> DroppedWay:
    stages = (Fields(each, "stage") for each in fields.sequence("stages", limit=MAX_STAGES))
    return DroppedWay(
        model=fields.text("model"),
        plan=plan_from_map(fields.child("plan")),
        cut=fields.integer("cut"),
        stages=tuple(map(read_stage, stages)),
        age_s=fields.number("age_ms") / 1e3,
    )


def read_stage(fields: Fields) -> Stage:
    """A stage as results and drops have it."""
    return Stage(
        where=fields.text("where"),
        kind=fields.text("kind"),  # type: ignore[arg-type] # the constructor checks it
        seconds=fields.number("ms") / 1e3,
        emulated=fields.flag("emulated"),
        payload_bytes=fields.optional_integer("bytes") or 0,
    )


def encode_node_status(message: NodeStatus) -> bytes:
    """The JSON of a node's status topic."""
    return _dump(
        {
            "node": message.node,
            "tier": message.tier,
            "state": message.state,
            "version": message.version,
            "clock_id": message.clock_id,
            "models": message.models,
            "load": message.load,
            "emulated_link": message.emulated_link,
            "reaches_cloud": message.reaches_cloud,
            "power_watts": message.power_watts,
            "instance": message.instance,
            "sent_unix_s": message.sent_unix_s,
            **({"gateway": True} if message.gateway else {}),
        }
    )


def decode_node_status(data: bytes) -> NodeStatus:
    """The presence in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "status message")
    models, load = root.mapping("models", limit=MAX_ENTRIES), root.mapping("load", limit=MAX_ENTRIES)
    for name, identity in models.items():
        if not isinstance(identity, str):
            raise root.bad_type(f"models.{name}"[:80], identity)
    for name, figure in load.items():
        if not isinstance(figure, (int, float)):
            raise root.bad_type(f"load.{name}"[:80], figure)
    return NodeStatus(
        node=root.text("node"),
        tier=root.text("tier"),
        state=root.text("state"),  # type: ignore[arg-type] # the constructor checks it
        version=root.text("version"),
        clock_id=root.optional_text("clock_id") or "",
        models=models,
        load={name: finite(figure, "load") for name, figure in load.items()},
        emulated_link=root.optional_text("emulated_link", limit=MAX_SENTENCE),
        reaches_cloud=root.flag("reaches_cloud"),
        power_watts=root.optional_number("power_watts") or 0.0,
        instance=root.optional_text("instance") or "",
        sent_unix_s=root.optional_number("sent_unix_s") or 0.0,
        gateway=root.flag("gateway"),
    )


def encode_clock_probe(message: ClockProbe, *, padding_bytes: int = 0) -> bytes:
    """The JSON of a question for a node's clock, or of its answer; so much larger if it is to measure a link."""
    said = {
        "clock_id": message.clock_id,
        "asked_s": message.asked_s,
        "heard_s": message.heard_s,
        "answered_s": message.answered_s,
    }
    return _dump(said | {"padding": "x" * padding_bytes} if padding_bytes else said)


def decode_clock_probe(data: bytes) -> ClockProbe:
    """The probe in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "clock probe")
    return ClockProbe(
        clock_id=root.text("clock_id"),
        asked_s=root.number("asked_s"),
        heard_s=root.optional_number("heard_s"),
        answered_s=root.optional_number("answered_s"),
    )


def encode_progress(message: Progress) -> bytes:
    """The JSON of a node's progress topic."""
    return _dump(
        {
            "transfers": [
                {
                    "tier": each.tier,
                    "node": each.node,
                    "bytes": each.payload_bytes,
                    "seconds": each.seconds,
                    "arrived": each.arrived,
                }
                for each in message.transfers
            ],
            "running": [
                {
                    "model": each.model,
                    "start": each.start,
                    "stop": each.stop,
                    "seconds": each.seconds,
                    "variant": each.variant,
                }
                for each in message.running
            ],
        }
    )


def decode_progress(data: bytes) -> Progress:
    """The progress in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "progress message")
    return Progress(
        transfers=tuple(_transfer(Fields(e, "transfer")) for e in root.sequence("transfers", limit=MAX_ENTRIES)),
        running=tuple(_running(Fields(each, "running")) for each in root.sequence("running", limit=MAX_ENTRIES)),
    )


def _running(fields: Fields) -> Running:
    return Running(
        model=fields.text("model"),
        start=fields.integer("start"),
        stop=fields.integer("stop"),
        seconds=fields.number("seconds"),
        variant=fields.optional_text("variant") or FULL,
    )


def _transfer(fields: Fields) -> Transfer:
    return Transfer(
        tier=_tier(fields),
        node=fields.text("node"),
        payload_bytes=fields.integer("bytes"),
        seconds=fields.number("seconds"),
        arrived=fields.flag("arrived"),
    )


def encode_probe(message: Probe) -> bytes:
    """The JSON of a node's probe topic."""
    return _dump({"tier": message.tier, "node": message.node, "sizes": list(message.sizes)})


def decode_probe(data: bytes) -> Probe:
    """The request in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "probe message")
    sizes = root.sequence("sizes", limit=MAX_PROBES)
    if not all(type(size) is int for size in sizes):
        raise root.bad_type("sizes", sizes)
    return Probe(tier=_tier(root), node=root.text("node"), sizes=tuple(sizes))


def _tier(fields: Fields) -> Tier:
    text = fields.text("tier")
    tier = known_tier(text)
    if tier is None:
        raise refuse("bad_name", expected="a tier", came=text)
    return tier


def encode_control(message: StreamControl) -> bytes:
    """The JSON of a stream's control topic."""
    plan = None if message.plan is None else plan_to_map(message.plan)
    return _dump({"mode": message.mode, "plan": plan, "id": message.id})


def decode_control(data: bytes) -> StreamControl:
    """What a person wants, in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "control message")
    plan = plan_from_map(root.child("plan")) if root.mapping("plan", limit=MAX_ENTRIES) else None
    mode, identity = root.text("mode"), root.optional_text("id") or ""
    return StreamControl(mode=mode, plan=plan, id=identity)  # type: ignore[arg-type] # the constructor checks it


def encode_prepare(message: PrepareSegment) -> bytes:
    """The JSON of a node's prepare topic."""
    return _dump(
        {
            "site": message.site,
            "stream": message.stream,
            "epoch": message.epoch,
            "model": message.model,
            "start": message.start,
            "stop": message.stop,
            "variant": message.variant,
            "leaves_early": message.leaves_early,
            "codec": message.codec,
        }
    )


def decode_prepare(data: bytes) -> PrepareSegment:
    """The request in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "prepare message")
    return PrepareSegment(
        site=root.text("site"),
        stream=root.text("stream"),
        epoch=root.integer("epoch"),
        model=root.text("model"),
        start=root.integer("start"),
        stop=root.integer("stop"),
        variant=root.optional_text("variant") or FULL,
        leaves_early=root.flag("leaves_early"),
        codec=root.optional_text("codec") or "",
    )


def encode_ready(message: Ready) -> bytes:
    """The JSON of a stream's ready topic."""
    return _dump(
        {
            "stream": message.stream,
            "epoch": message.epoch,
            "node": message.node,
            "ok": message.ok,
            "message": message.message[:MAX_SENTENCE],
            "tier": message.tier,
        }
    )


def decode_ready(data: bytes) -> Ready:
    """The answer in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "ready message")
    return Ready(
        stream=root.text("stream"),
        epoch=root.integer("epoch"),
        node=root.text("node"),
        ok=root.flag("ok"),
        message=root.optional_text("message", limit=MAX_SENTENCE) or "",
        tier=root.optional_text("tier") or "",
    )


def _dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def load_json(data: bytes, where: str, *, limit: int = MAX_JSON_BYTES) -> Fields:
    """The object in a JSON text of at most ``limit`` bytes, each key once, no NaN.

    Raises:
        BadEnvelope: it is none.
    """
    if len(data) > limit:
        raise refuse("envelope_too_big", expected=f"at most {limit} bytes of JSON", came=len(data))
    try:
        return Fields(
            json.loads(bytes(data).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant), where
        )
    except (ValueError, RecursionError) as error:
        raise refuse("not_json", expected="one JSON object in UTF-8", came=str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise refuse("duplicate_key", expected="each key once in an object", came="one twice")
    return made


def _no_constant(text: str) -> float:
    raise refuse("bad_number", expected="finite numbers", came=text)
