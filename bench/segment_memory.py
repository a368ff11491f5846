"""What segments hold, as profiles say it and as a process of their own grows by.

    python -m bench segment_memory

Two models: EfficientNet-Lite0, and a chain of sixteen matrix products of 10 MB each. Of each, some segments [a, b) are
loaded and run once in a process that does nothing else; beside that what the profile of the whole model says of the
same segment, and what its graph alone would say.

Then a site of real programs runs the chain with a device of 70 MB and an edge of 120 MB (`memory_mb`): what each took.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tiercut
from bench.machine import machine
from bench.site import model, mosquitto
from tests.given_sensors import first_frame
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import Processes, ProgramSettings
from tiercut.model.bundle import Bundle
from tiercut.model.memory import BlockMemory, graph_memory
from tiercut.model.preprocess import FrameSpec
from tiercut.profiling.memory import grown_by, measure_memory
from tiercut.protocol.stream_settings import StreamSettings

WIDTH, LAYERS = 1600, 16
#: Of the device and the edge that run it cut.
LIMITS_MB = {"d": 70.0, "e": 120.0}
FRAMES = 40
NOISE = StreamSettings(name="s", model="chain", sensor="noise")
PARTS = ((0.0, 1.0), (0.0, 0.33), (0.33, 1.0), (0.0, 0.66), (0.66, 1.0), (0.33, 0.66))


def chain(folder: Path) -> Bundle:
    """A model of 164 MB."""
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    module = nn.Sequential(nn.Flatten(), nn.Linear(300, WIDTH), *layers, nn.Linear(WIDTH, 10)).eval()
    frame = FrameSpec(size=(10, 10), resize="stretch")
    return tiercut.export(module, (torch.randn(1, 3, 10, 10),), folder / "chain", preprocess=frame)


def rows(bundle: Bundle, memory: BlockMemory) -> Iterator[tuple[str, float, float, float]]:
    """Segment, what its process grew by, what the profile says, what the graph says; MB."""
    graph = graph_memory(bundle)
    for low, high in PARTS:
        a, b = round(low * bundle.end), round(high * bundle.end)
        grown = grown_by(bundle, a, b, 1)
        if grown is not None:
            yield f"[{a}, {b})", grown.load_mb + grown.run_mb, memory.needed_mb(a, b), graph.needed_mb(a, b)


async def cut(bundle: Bundle, folder: Path) -> None:
    """Print how a site runs a model that none of its nodes holds."""
    frame = first_frame(NOISE)
    whole = bundle.segment(0, bundle.end).run(bundle.to_inputs(frame))
    with mosquitto(folder) as port:
        url = f"mqtt://127.0.0.1:{port}"
        common = {"site": "bench", "broker_url": url, "bundles": str(bundle.folder.parent), "status_every_s": 1.0}
        planned = {"name": "s", "model": bundle.name, "device": "d", "codecs": ["raw+zstd"]}
        source = {"name": "s", "model": bundle.name, "sensor": "noise", "delivery": "every", "fps": 10}
        programs: dict[str, tuple[str, ProgramSettings]] = {
            "hub": ("broker", common | {"node": "hub", "streams": [planned]}),
            "e": ("edge_node", common | {"node": "e", "memory_mb": LIMITS_MB["e"]}),
            "d": ("iot_node", common | {"node": "d", "memory_mb": LIMITS_MB["d"], "streams": [source]}),
        }
        bus = MqttBus(MqttSettings(url=url), clock=SystemClock(), wait=True)
        async with Processes(folder, programs) as processes, bus:
            subscription = await bus.subscribe("tiercut/v1/bench/#")
            for name in programs:
                await processes.start(name)
            results, used = [], {}
            async with asyncio.timeout(60):
                async for delivery in subscription:
                    delivery.ack()
                    if delivery.topic.endswith("/status") and delivery.payload:
                        said = json.loads(delivery.payload)
                        used[said.get("node")] = said.get("memory_used_mb")
                    elif delivery.topic.endswith("/result"):
                        results.append(json.loads(delivery.payload))
                    if len(results) >= FRAMES:
                        break
    plan = results[-1]["plan"]
    print(f"cut at {plan['first_cut']}: device [0, {plan['first_cut']}), edge [{plan['first_cut']}, {bundle.end})")
    for node, limit_mb in LIMITS_MB.items():
        print(f"{node}: memory_mb {limit_mb:g}, has grown by {used[node]} MB")
    values = np.array(results[0]["outputs"][0]["values"])
    error = np.abs(values - whole[bundle.outputs[0].name].ravel()[: values.size]).max()
    print(f"first result against the whole model's: differs by {error:.1e} at most")


def main() -> None:
    """Measure and print."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for bundle in (model(), chain(Path(folder))):
            started_s = time.perf_counter()
            memory = measure_memory(bundle)["full"]
            print(f"\n{bundle.name}: measured in {time.perf_counter() - started_s:.1f} s")
            print(f"{'segment':<12}{'process':>10}{'profile':>10}{'graph':>10}   MB")
            ratios = []
            for name, grown_mb, profile_mb, graph_mb in rows(bundle, memory):
                ratios.append(profile_mb / grown_mb)
                print(f"{name:<12}{grown_mb:>10.1f}{profile_mb:>10.1f}{graph_mb:>10.1f}")
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"profile / process: {spread}, median {statistics.median(ratios):.2f}")
        print()
        asyncio.run(cut(bundle, Path(folder)))


if __name__ == "__main__":
    main()
