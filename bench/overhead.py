"""What three MQTT hops cost: end-to-end time minus the segments' compute and codec time.

    python -m bench.overhead

EfficientNet-Lite0, cuts at about 20 % and 60 % of the graph, int8, one thread per node, Mosquitto on loopback, one
frame at a time. End to end is from the frame as the model's input to its result at a subscriber (three hops: device →
edge, edge → cloud, cloud → result topic).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client

from bench.bare import TOPICS, connect
from bench.machine import machine
from bench.site import Arrived, model, mosquitto, site, take
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

WARM_UP = 30
FPS = 25


def whole_model_ms(bundle: Bundle, runs: int) -> float:
    """Median of the whole model in this process, one thread."""
    segment = bundle.segment(0, bundle.end)
    inputs = {bundle.inputs[0].name: np.zeros(bundle.inputs[0].shape, np.uint8)}
    times = []
    for _ in range(runs + WARM_UP):
        start = time.perf_counter()
        segment.run(inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:]) * 1e3


@dataclass(frozen=True)
class Times:
    """Seconds of one frame: from its input to the subscriber, and of that in segments and codecs."""

    end_to_end_s: float
    work_s: float

    @property
    def overhead_s(self) -> float:
        """What the three hops cost."""
        return self.end_to_end_s - self.work_s


@dataclass(frozen=True)
class Job:
    """What both systems do."""

    bundle: Bundle
    first: int
    second: int
    codec: str
    frames: int


async def tiercut_times(job: Job) -> list[Arrived]:
    """Tiercut's own nodes."""
    stream = {"fps": FPS, "frames": job.frames + WARM_UP}  # each frame is done before the next one is captured
    cuts: dict[str, Any] = {"first": job.first, "second": job.second}
    with tempfile.TemporaryDirectory() as folder:
        async with site(Path(folder), job.bundle, **cuts, codec=job.codec, stream=stream) as (_, arriving):
            return (await take(arriving, job.frames + WARM_UP))[WARM_UP:]


def bare_times(job: Job) -> list[Times]:
    """The bare minimum (`bench.bare`)."""
    arrived: queue.Queue[Times] = queue.Queue()

    def note(_client: Client, payload: bytes) -> None:
        now_s = time.time()
        _, work_s, captured_s = json.loads(payload)
        arrived.put(Times(now_s - captured_s, work_s))

    with tempfile.TemporaryDirectory() as folder, mosquitto(Path(folder)) as port:
        connect(port, TOPICS["result"], note)
        rest = [str(port), str(job.bundle.folder), str(job.first), str(job.second), job.codec, str(FPS)]
        nodes = [
            subprocess.Popen([sys.executable, "-m", "bench.bare", role, *rest]) for role in ("cloud", "edge", "device")
        ]
        try:
            return [arrived.get(timeout=30) for _ in range(job.frames + WARM_UP)][WARM_UP:]
        finally:
            for node in nodes:
                node.kill()


def median_ms(values: Iterable[float]) -> float:
    """Median, in ms."""
    return statistics.median(values) * 1e3


def report_stages(arrived: list[Arrived]) -> None:
    """Where tiercut's time went."""
    for kind in ("compute", "encode", "decode", "queue", "wire"):
        print(f"  {kind:<26} {median_ms(a.stages_s(kind) for a in arrived):7.2f} ms (sum over nodes)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=200, help="frames per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", default="int8")
    args = parser.parse_args()
    bundle = model()
    job = Job(bundle, resolve_cut(bundle, "20%"), resolve_cut(bundle, "60%"), args.codec, args.frames)
    sizes = [bundle.cuts[k].bytes for k in (job.first, job.second)]
    print(machine())
    print(f"cuts {job.first} ({sizes[0]} B) and {job.second} ({sizes[1]} B), {job.codec}, {FPS} frames/s")
    whole: list[float] = []
    bare: list[Times] = []
    ours: list[Times] = []
    stages: list[Arrived] = []
    for _ in range(args.rounds):  # in turn, so that a machine that drifts does so for all
        whole.append(whole_model_ms(bundle, 100))
        bare += bare_times(job)
        arrived = asyncio.run(tiercut_times(job))
        stages += arrived
        ours += [
            Times(a.end_to_end_s - a.stages_s("prepare"), a.stages_s("compute", "encode", "decode")) for a in arrived
        ]
    print(f"whole model, one process     {statistics.median(whole):7.2f} ms")
    for name, times in (("bare minimum", bare), ("tiercut", ours)):
        print(f"{name}")
        print(f"  end to end p50             {median_ms(t.end_to_end_s for t in times):7.2f} ms")
        print(f"  overhead of three hops p50 {median_ms(t.overhead_s for t in times):7.2f} ms")
    report_stages(stages)
    ratio = median_ms(t.overhead_s for t in ours) / median_ms(t.overhead_s for t in bare)
    print(f"tiercut / bare minimum: {ratio:.2f}   (to reach: 1.00, and 1.90 ms on the machine of the bare minimum)")


if __name__ == "__main__":
    main()
