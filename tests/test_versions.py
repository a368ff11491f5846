"""Nodes of this version and of the one before it understand each other: recorded bytes of that version, both ways."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.brokers import Mosquitto
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.codecs.encode import encode_tensor
from tiercut.declared import decode_json, encode_json, iso_time, load_json, read
from tiercut.launch.processes import to_toml
from tiercut.model.bundle import Bundle
from tiercut.plan import Deadline, Plan
from tiercut.profiling.machine import Machine
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.profiling.wire import decode_profile, encode_profile
from tiercut.protocol.chunks import Assembled, Assembler, split
from tiercut.protocol.envelope import decode_work, encode_work
from tiercut.protocol.explanations import Explanation, encode_explanation
from tiercut.protocol.frames import ClockStamp, Dropped, DroppedWay, Stage, Work
from tiercut.protocol.nodes import (
    ClockProbe,
    EchoProbe,
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
from tiercut.protocol.results import Result
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import (
    Assignment,
    SourceReport,
    StreamStatus,
    Trouble,
    decode_assigned,
    decode_wanted,
    encode_assigned,
    encode_wanted,
)
from tiercut.protocol.topics import TOPICS

FOLDER = Path(__file__).parent / "data" / "messages-before"
MODEL = "5a" * 32
PLAN = Plan(
    epoch=3,
    first_cut=4,
    second_cut=9,
    device="cam",
    edge="nuc",
    cloud="dc",
    exit="early",
    threshold=0.75,
    codecs=("noise0.2+int8+zstd", "bottleneck-8+int4"),
    deadline=Deadline(seconds=0.5, drop=False, rest_s=(0.25, 0.125, 0.0625), in_flight=3),
)
ALONE = Plan(epoch=0, first_cut=7, second_cut=7, device="cam")
STAGES = (
    Stage("cam", "prepare", 0.0078125),
    Stage("cam", "compute", 0.125),
    Stage("nuc", "wire", 0.0625, emulated=True, payload_bytes=1234),
)
WORKS = {
    "work-full": Work(
        site="home",
        stream="porch",
        seq=7,
        model=MODEL,
        plan=PLAN,
        delivery="latest",
        cut=4,
        tensors=(
            encode_tensor("x", np.arange(64, dtype=np.float32).reshape(1, 8, 8), "raw"),
            encode_tensor("größe", np.arange(3, dtype=np.int64), "raw"),
        ),
        captured_unix_s=1764000000.25,
        captured=ClockStamp("cam-1", 12.5),
        sent=ClockStamp("cam-1", 12.75),
        stages=STAGES,
        deadline_s=0.5,
        label="Tür.jpg",
        return_to="tiercut/v1/home/edge/nuc/return",
        emulated=True,
    ),
    "work-bare": Work(
        site="home",
        stream="porch",
        seq=0,
        model=MODEL,
        plan=ALONE,
        delivery="every",
        cut=0,
        tensors=(),
        captured_unix_s=0.0,
        captured=ClockStamp("c", 0.0),
        sent=ClockStamp("c", 0.0),
    ),
}
TROUBLE = Trouble("no_image", "expected a JPEG, got 'Tür'", 3, iso_time(1764000000.25))
MESSAGES: dict[str, msgspec.Struct] = {
    "stream-plan": StreamPlan(stream="porch", model=MODEL, model_name="lite0", plan=PLAN, reason="schneller, für Tür"),
    "stream-plan-alone": StreamPlan(stream="porch", model=MODEL, model_name="lite0", plan=ALONE),
    "dropped": Dropped(stream="porch", seq=7, where="nuc", reason="past_deadline", message="zu spät"),
    "dropped-way": Dropped(
        stream="porch",
        seq=7,
        where="nuc",
        reason="too_late",
        way=DroppedWay.of(model=MODEL, plan=PLAN, cut=4, stages=STAGES, age_s=0.1875),
    ),
    "node-status": NodeStatus(
        node="nuc",
        tier="edge",
        state="online",
        version="0.1.0",
        clock_id="nuc-1",
        models={"lite0": MODEL},
        load={"waiting": 2.0, "busy": 0.25, "frames_done": 7},
        emulated_link="10 Mbit/s, 20 ms",
        reaches_cloud=False,
        power_watts=12.5,
        instance="a1",
        sent_unix_s=1764000000.25,
        gateway=True,
    ),
    "node-status-bare": NodeStatus(node="hub", tier="hub", state="offline", version="0.1.0"),
    "clock-question": ClockProbe(clock_id="nuc-1", asked_s=1.5),
    "clock-answer": ClockProbe(clock_id="nuc-1", asked_s=1.5, heard_s=2.5, answered_s=2.75),
    "echo": EchoProbe(clock_id="nuc-1", asked_s=1.5, padding="x" * 40),
    "progress": Progress(
        transfers=(Transfer(tier="cloud", node="dc", payload_bytes=200, seconds=0.25, arrived=True),),
        running=(Running(model=MODEL, start=0, stop=2, seconds=1.5, variant="early"),),
    ),
    "probe": Probe(tier="cloud", node="dc", sizes=(200, 4000)),
    "control-auto": StreamControl(mode="auto"),
    "control-plan": StreamControl(mode="plan", plan=PLAN, id="a1b2"),
    "prepare": PrepareSegment(
        site="home",
        stream="porch",
        epoch=3,
        model=MODEL,
        start=1,
        stop=4,
        variant="early",
        leaves_early=True,
        codec="raw",
    ),
    "ready": Ready(stream="porch", epoch=3, node="nuc", ok=False, message="kein Platz für Tür", tier="edge"),
    "source-report": SourceReport(
        stream="porch",
        node="cam",
        state="failed",
        model=MODEL,
        message="gone",
        frames={"captured": 9},
        trouble=(TROUBLE,),
    ),
    "stream-status": StreamStatus(
        stream="porch",
        state="waiting",
        message="no edge",
        model="lite0",
        sensor="mqtt",
        device="nuc",
        gateway=True,
        frames={"captured": 9},
        trouble=(TROUBLE,),
        since=iso_time(1764000000.5),
    ),
}
SETTINGS = StreamSettings(
    name="porch",
    model="lite0",
    sensor="fusion",
    objective="accuracy",
    max_accuracy_drop=0.02,
    retain_last=True,
    sources=(SourceSettings(sensor="mqtt", topic="a"), SourceSettings(sensor="mqtt", topic="b", scale=(2.0,))),
)
PROFILE = Profile(
    model=MODEL,
    model_name="lite0",
    machine=Machine(cpu="EPYC", cores=2.0, arch="x86_64", runtime="1.31", threads=1),
    source="measured",
    cut_seconds=(0.0, 0.25, 0.5),
    cut_bytes=(64, 32, 4),
    measured_cuts=(0, 2),
    spread=0.125,
    frames="8 real",
    date="2026-11-21",
    versions={"onnxruntime": "1.31"},
    variants={"early": (0.0, 0.25)},
    codecs=(CodecPoint(codec="int8", cut=1, bytes=8, encode_seconds=0.001, decode_seconds=0.002, lossless=False),),
)


def recorded(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def same(written: bytes, before: bytes) -> bool:
    """Whether a node of the version before reads the same: JSON in which neither numbers nor order of lists differ."""
    return bool(json.loads(written) == json.loads(before))


@pytest.mark.parametrize("name", WORKS)
def test_envelope_of_the_version_before_is_read_and_written_byte_for_byte(name: str) -> None:
    before = recorded(f"{name}.msgpack")
    assert decode_work(before) == WORKS[name]
    assert encode_work(WORKS[name]) == before


def test_chunks_of_the_version_before_are_read_and_written_byte_for_byte() -> None:
    before = [recorded(f"chunk-{index}.bin") for index in range(3)]
    whole = encode_work(WORKS["work-full"])
    assert split(whole, 500, message_id=bytes(range(16))) == before
    assembler: Assembler[int] = Assembler(max_bytes=10_000, max_messages=2, timeout_s=1.0, counters=Counter())
    assert [assembler.add(chunk, 0.0, token=0) for chunk in before][-1] == Assembled(whole, (0, 0, 0))


@pytest.mark.parametrize("name", MESSAGES)
def test_message_of_the_version_before_is_read_and_written_as_it_was(name: str) -> None:
    before, message = recorded(f"{name}.json"), MESSAGES[name]
    assert decode_json(type(message), before) == message
    assert same(encode_json(message), before)
    assert list(json.loads(encode_json(message))) == list(json.loads(before))


def test_settings_of_the_version_before_are_read_and_written_as_they_were() -> None:
    assert decode_wanted(recorded("wanted.json"), "porch") == SETTINGS
    assert encode_wanted(SETTINGS) == recorded("wanted.json")
    assigned = (Assignment(SETTINGS, MODEL),)
    assert decode_assigned(recorded("assigned.json")) == (assigned, {})
    assert same(encode_assigned(assigned), recorded("assigned.json"))


def test_profile_of_the_version_before_is_read_and_written_as_it_was() -> None:
    assert decode_profile(recorded("profile.json")) == PROFILE
    assert same(encode_profile(PROFILE), recorded("profile.json"))


def reads(message: Any) -> Callable[[bytes], bytes]:
    """How a kind of recorded traffic is read and written again."""
    if message is None:
        return lambda payload: encode_profile(decode_profile(payload))
    if message is Explanation:
        return lambda payload: encode_explanation(read(Explanation, load_json(payload)))
    return lambda payload: encode_json(decode_json(message, payload))


def traffic() -> list[tuple[str, Any, bytes]]:
    """What nodes of a site of the version before said: topic, class of its message, payload."""
    lines = map(json.loads, (FOLDER / "traffic.jsonl").read_text(encoding="utf-8").splitlines())
    rows = [(line, next(each for each in TOPICS if each.parse(line["topic"]))) for line in lines]
    return [(row.name, row.message, line["payload"].encode()) for line, row in rows]


@pytest.mark.parametrize(("topic", "message", "payload"), traffic())
def test_traffic_of_a_site_of_the_version_before_is_read_and_said_again(
    topic: str, message: Any, payload: bytes
) -> None:
    if topic == "return":
        message = Dropped if b'"reason"' in payload else Result
    said, before = json.loads(reads(message)(payload)), json.loads(payload)
    if message is Result:  # the fields of its kind are `tiercut.results`' matter
        said = {key: value for key, value in before.items() if key in {"labels", "outputs"}} | said
    assert said == before


#: A checkout of another version, whose programs run beside these: pytest -s with TIERCUT_BEFORE=/path/to/checkout.
BEFORE = os.environ.get("TIERCUT_BEFORE")
PROGRAMS = {"hub": "broker", "c": "cloud_node", "e": "edge_node", "d": "iot_node"}


def settings_of(name: str, broker: Mosquitto, bundle: Bundle) -> dict[str, Any]:
    """Settings of the programs of a site in which each frame goes by way of all three tiers."""
    more: dict[str, Any] = {}
    if name == "hub":
        cuts = {"first_cut": "1", "second_cut": "2", "codecs": ["raw", "raw"]}
        more = {"plans": [{"stream": "s", "model": bundle.name, "device": "d", "edge": "e", "cloud": "c", **cuts}]}
    if name == "d":
        more = {"streams": [{"name": "s", "model": bundle.name, "sensor": "noise", "fps": 20, "deadline_ms": 5000}]}
    return {"site": "v", "node": name, "broker_url": broker.url, "bundles": str(bundle.folder.parent), **more}


@contextmanager
def running(name: str, folder: Path, broker: Mosquitto, bundle: Bundle, *, before: bool) -> Iterator[None]:
    """A program of this version, or of the one before."""
    root = Path(BEFORE or ".") if before else Path(__file__).parent.parent
    path = folder / f"{name}.toml"
    path.write_text(to_toml(settings_of(name, broker, bundle)), encoding="utf-8")
    command = [sys.executable, "-m", PROGRAMS[name], "--settings", str(path)]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("old", ["d", "e", "c", "hub", "dc", "e hub"] if BEFORE else [""])
def test_site_of_both_versions_gives_results(old: str, tmp_path: Path, chain: Bundle) -> None:
    async def run() -> None:
        results: list[dict[str, Any]] = []
        bad = Counter[str]()
        with ExitStack() as stack:
            broker = stack.enter_context(Mosquitto(tmp_path))
            async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
                said = aiter(await bus.subscribe("tiercut/v1/v/#"))
                for name in PROGRAMS:
                    before = name in old.split() or (name != "hub" and name in old.replace("hub", ""))
                    stack.enter_context(running(name, tmp_path, broker, chain, before=before))
                while len(results) < 30:
                    delivery = await anext(said)
                    delivery.ack()
                    kind = delivery.topic.rpartition("/")[2]
                    if kind == "result":
                        results.append(json.loads(delivery.payload))
                    if kind == "status":
                        load = json.loads(delivery.payload).get("load", {})
                        bad.update({key: int(n) for key, n in load.items() if key.startswith("bad.")})
        assert {stage["where"] for stage in results[-1]["stages"] if stage["kind"] == "compute"} == {"d", "e", "c"}
        assert all(result["latency_ms"] is not None for result in results[-5:])
        assert not bad

    asyncio.run(asyncio.wait_for(run(), 100))
