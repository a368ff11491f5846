"""What security costs: a Mosquitto with TLS, certificates and access rules beside a plain one.

``python -m bench.tls`` takes about two minutes. Both brokers have the configurations of `broker.mosquitto`, and take
turns; all programs are processes of their own on one machine. First frames of 150,528 bytes (224x224 pixels, raw) go
from a device to an edge that runs EfficientNet-Lite0; then the bus alone, as fast as it goes: there every byte is
encrypted and decrypted twice by the cores that also move it. "secured / plain" is the median of the ratios of rates
within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bench.bus import PACED_MESSAGES, SIZES, WINDOW, await_port, median, run
from bench.bus_peers import Job
from bench.machine import machine
from bench.site import model
from broker.mosquitto.access_rules import acl
from broker.mosquitto.configuration import MAX_QUEUED, MAX_QUEUED_BYTES, BusFiles, plain, secure
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import Processes, free_port
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import RESULT
from tiercut.security.authority import AuthorityFolder, Sites
from tiercut.security.identity_list import IdentityName, Listed

#: What the project promises at 150 kB: not more than this part of the throughput is lost.
MAX_LOST = 0.15
PACED_S = 0.02
_PEER = IdentityName("bench", "device", "peer")
_BUS = IdentityName("bench", "bus", "bus")
_NODES = {
    "hub": IdentityName("bench", "hub", "hub"),
    "e": IdentityName("bench", "edge", "e"),
    "d": IdentityName("bench", "device", "d"),
    "reader": IdentityName("bench", "reader", "r"),
}
WARM_UP, FRAMES = 20, 150

#: Memory of the secured broker: a flood of 2 MB messages as fast as they go fills a site's 256 MiB.
FLOOD_MB = 1024


@contextmanager
def brokers() -> Iterator[tuple[dict[str, Job], AuthorityFolder]]:
    """Both brokers: per kind a job with its port and identity; and all identities."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pki = AuthorityFolder.new(folder / "pki", sites=Sites("bench", "cloud"))
        for identity in (_BUS, *_NODES.values()):
            pki.ensure(Listed(identity))
        rules = folder / "acl"
        stream = StreamSettings(name="s", model="m", sensor="noise", device="d")
        own = acl("bench", pki.listed(), [stream]) + f"\nuser {_PEER}\ntopic readwrite bench/bus\n"
        rules.write_text(own, encoding="utf-8")
        pki.ensure(Listed(_PEER))
        files = BusFiles(
            identity=PurePosixPath(pki.files.path_of(_BUS)), acl=PurePosixPath(rules), data=PurePosixPath(folder)
        )
        ports = {"plain": free_port(), "secured": free_port()}
        texts = {
            "plain": plain(port=ports["plain"]),
            "secured": secure(files, port=ports["secured"], memory_mb=FLOOD_MB),
        }
        running = [_start(folder / f"{kind}.conf", texts[kind], ports[kind]) for kind in texts]
        try:
            identities = {"plain": "", "secured": str(pki.files.path_of(_PEER))}
            yield {kind: Job(ports[kind], 0, 0, WINDOW, 0.0, identities[kind]) for kind in texts}, pki
        finally:
            for process in running:
                process.terminate()
                process.wait()


def _start(path: Path, text: str, port: int) -> subprocess.Popen[bytes]:
    as_root = "user root\n" if os.geteuid() == 0 else ""
    path.write_text(text + as_root, encoding="utf-8")
    process = subprocess.Popen(["mosquitto", "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_port(port, process)
    return process


async def frames_per_s(job: Job, pki: AuthorityFolder, bundle: Bundle) -> float:
    """Results per second of a device and an edge, over one of the brokers."""
    url = f"mqtts://localhost:{job.port}" if job.identity else f"mqtt://127.0.0.1:{job.port}"
    folders = {name: str(pki.files.path_of(identity)) for name, identity in _NODES.items()}

    def of(node: str, **more: object) -> dict[str, object]:
        common = {"site": "bench", "node": node, "broker_url": url, "bundles": str(bundle.folder.parent)}
        return common | ({"identity": folders[node]} if job.identity else {}) | more

    route = {"device": "d", "edge": "e", "first_cut": "0", "second_cut": "100%", "codecs": ["raw"]}
    plan = {"stream": "s", "model": bundle.name, **route}
    source = {"name": "s", "model": bundle.name, "sensor": "noise", "delivery": "every"}
    programs = {
        "hub": ("broker", of("hub", plans=[plan])),
        "e": ("edge_node", of("e")),
        "d": ("iot_node", of("d", streams=[source])),
    }
    names = ("ca", "cert", "key") if job.identity else ()
    files = {f"{name}_file": f"{folders['reader']}/{name}.pem" for name in names}
    with tempfile.TemporaryDirectory() as folder:
        bus = MqttBus(MqttSettings(url=url, **files), clock=SystemClock())  # type: ignore[arg-type]
        async with Processes(Path(folder), programs) as running, bus:
            results = aiter(await bus.subscribe(RESULT.filter(site="bench")))
            for name in programs:
                await running.start(name)
            for count in range(WARM_UP + FRAMES):
                (await anext(results)).ack()
                if count == WARM_UP - 1:
                    start = time.perf_counter()
            return FRAMES / (time.perf_counter() - start)


def pipeline(jobs: dict[str, Job], pki: AuthorityFolder, rounds: int) -> float:
    """Measure and print frames per second; returns the ratio."""
    bundle = model()
    rates: dict[str, list[float]] = {kind: [] for kind in jobs}
    for number in range(rounds):
        for kind in list(jobs)[:: 1 if number % 2 == 0 else -1]:
            rates[kind].append(asyncio.run(frames_per_s(jobs[kind], pki, bundle)))
    ratio = statistics.median(one / other for one, other in zip(rates["secured"], rates["plain"], strict=True))
    shown = ", ".join(f"{kind} {statistics.median(each):.1f}" for kind, each in rates.items())
    print(
        f"device to edge, frames/s: {shown}; secured / plain {ratio:.2f} (to reach: {1 - MAX_LOST:.2f})\n", flush=True
    )
    return ratio


def bus_alone(jobs: dict[str, Job], size: int, rounds: int) -> None:
    """Measure and print one size of messages."""
    loaded: dict[str, list[dict[str, float]]] = {kind: [] for kind in jobs}
    paced: dict[str, list[dict[str, float]]] = {kind: [] for kind in jobs}
    # a sender may be faster than its receiver: what waits in between must stay below the brokers' limits
    messages = min(SIZES.get(size, 200), MAX_QUEUED - WINDOW, MAX_QUEUED_BYTES // size - WINDOW)
    for number in range(rounds):
        for kind in list(jobs)[:: 1 if number % 2 == 0 else -1]:
            port, identity = jobs[kind].port, jobs[kind].identity
            loaded[kind].append(run("tiercut", Job(port, size, messages, WINDOW, 0.0, identity)))
            paced[kind].append(run("tiercut", Job(port, size, PACED_MESSAGES, WINDOW, PACED_S, identity)))
    pairs = zip(loaded["secured"], loaded["plain"], strict=True)
    ratio = statistics.median(one["rate"] / other["rate"] for one, other in pairs)
    for kind in jobs:
        rate = median(loaded[kind], "rate")
        p50_ms, p99_ms = (median(paced[kind], key) * 1e3 for key in ("p50_s", "p99_s"))
        shown = f"{ratio:>17.2f}" if kind == "secured" else ""
        row = f"{size:>10,}  {kind:<9}{rate:>11,.0f}{rate * size / 1e6:>9,.1f}{p50_ms:>9.2f}{p99_ms:>9.2f}{shown}"
        print(row, flush=True)


def main() -> int:
    """Measure and print; 1 when more is lost of the pipeline's throughput than was promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 150_000, 2_000_000])
    options = parser.parse_args()
    print(machine())
    with brokers() as (jobs, pki):
        ratio = pipeline(jobs, pki, options.rounds)
        print(f"the bus alone: QoS 1, window {WINDOW}; latency: one message at a time")
        columns = f"{'messages/s':>11}{'MB/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'secured / plain':>17}"
        print(f"{'payload':>10}  {'broker':<9}{columns}")
        for size in options.sizes:
            bus_alone(jobs, size, options.rounds)
    return 0 if ratio >= 1 - MAX_LOST else 1


if __name__ == "__main__":
    sys.exit(main())
