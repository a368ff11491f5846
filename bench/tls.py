"""What security costs: the bus on a Mosquitto with TLS, certificates and access rules, beside a plain one.

``python -m bench.tls`` takes about a minute. Sender, receiver and both brokers are processes of their own, with the
configurations of `broker.mosquitto`; QoS 1, the same window; the two take turns. "secured / plain" is the median of the
ratios within a round.
"""

from __future__ import annotations

import argparse
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
from broker.mosquitto import BusFiles, plain, secure
from tiercut.identities import IdentityName, Listed
from tiercut.pki_folder import PkiFolder, Sites
from tiercut.processes import free_port

#: What the project promises at 150 kB: not more than this part of the throughput is lost.
MOST_LOST = 0.15
PACED_S = 0.02
_PEER = IdentityName("bench", "device", "peer")
_BUS = IdentityName("bench", "bus", "bus")


@contextmanager
def brokers() -> Iterator[dict[str, Job]]:
    """Both brokers; per kind a job with its port and identity."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pki = PkiFolder.new(folder / "pki", sites=Sites("bench", "cloud"))
        for identity in (_PEER, _BUS):
            pki.ensure(Listed(identity))
        rules = folder / "acl"
        rules.write_text(f"user {_PEER}\ntopic readwrite bench/bus\n", encoding="utf-8")
        files = BusFiles(
            identity=PurePosixPath(pki.path_of(_BUS)), acl=PurePosixPath(rules), data=PurePosixPath(folder)
        )
        ports = {"plain": free_port(), "secured": free_port()}
        texts = {"plain": plain(port=ports["plain"]), "secured": secure(files, port=ports["secured"])}
        running = [_start(folder / f"{kind}.conf", texts[kind], ports[kind]) for kind in texts]
        try:
            identities = {"plain": "", "secured": str(pki.path_of(_PEER))}
            yield {kind: Job(ports[kind], 0, 0, WINDOW, 0.0, identities[kind]) for kind in texts}
        finally:
            for process in running:
                process.terminate()
                process.wait()


def _start(path: Path, text: str, port: int) -> subprocess.Popen[bytes]:
    as_root = "user root\n" if os.geteuid() == 0 else ""
    path.write_text(text + as_root, encoding="utf-8")
    process = subprocess.Popen(
        ["mosquitto", "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await_port(port, process)
    return process


def main() -> int:
    """Measure and print; 1 when more is lost at 150 kB than was promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 150_000, 2_000_000])
    options = parser.parse_args()
    print(machine())
    print(f"QoS 1, window {WINDOW}, {options.rounds} rounds in turns; latency: one message at a time\n")
    print(f"{'payload':>10}  {'broker':<9}{'messages/s':>11}{'MB/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'secured / plain':>17}")
    status = 0
    with brokers() as jobs:
        for size in options.sizes:
            loaded: dict[str, list[dict[str, float]]] = {kind: [] for kind in jobs}
            paced: dict[str, list[dict[str, float]]] = {kind: [] for kind in jobs}
            for number in range(options.rounds):
                for kind in list(jobs)[:: 1 if number % 2 == 0 else -1]:
                    port, identity = jobs[kind].port, jobs[kind].identity
                    loaded[kind].append(run("tiercut", Job(port, size, SIZES.get(size, 200), WINDOW, 0.0, identity)))
                    paced[kind].append(run("tiercut", Job(port, size, PACED_MESSAGES, WINDOW, PACED_S, identity)))
                    time.sleep(0.05)
            pairs = zip(loaded["secured"], loaded["plain"], strict=True)
            ratio = statistics.median(one["rate"] / other["rate"] for one, other in pairs)
            for kind in jobs:
                rate = median(loaded[kind], "rate")
                p50_ms, p99_ms = (median(paced[kind], key) * 1e3 for key in ("p50_s", "p99_s"))
                shown = f"{ratio:>17.2f}" if kind == "secured" else ""
                print(
                    f"{size:>10,}  {kind:<9}{rate:>11,.0f}{rate * size / 1e6:>9,.1f}{p50_ms:>9.2f}{p99_ms:>9.2f}{shown}",
                    flush=True,
                )
            if size == 150_000 and ratio < 1 - MOST_LOST:
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
