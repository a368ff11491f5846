"""The bus beside raw paho, on one Mosquitto: messages/s, MB/s and latency at four sizes.

``python -m bench.bus`` takes about two minutes. Sender, receiver and broker are processes of their own for both; QoS 1,
the same window; the two take turns. Medians over the rounds are shown; "/ paho" is the median of the ratios of rates
within a round, because a machine's speed drifts more than the two differ.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.bus_peers import Job, arguments
from bench.machine import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

#: payload bytes → messages of a throughput run
SIZES = {1_000: 6_000, 150_000: 600, 600_000: 200, 2_000_000: 80}
WINDOW = 20
PACED_MESSAGES = 100
PACED_MIN_S = 0.004
PACED_BYTES_PER_S = 50e6
KINDS = ("paho", "tiercut")
_CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
"""


@contextmanager
def mosquitto() -> Iterator[int]:
    """A Mosquitto without limits on a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mosquitto.conf")
        config.write_text(_CONFIG.format(port=port), encoding="utf-8")
        with subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL) as process:
            try:
                await_port(port, process)
                yield port
            finally:
                process.terminate()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a broker listens."""
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit("mosquitto did not start; is it installed?")


def run(kind: str, job: Job) -> dict[str, float]:
    """One sender and one receiver of a kind; the receiver's figures."""
    with subprocess.Popen(arguments(kind, "receiver", job), stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None  # noqa: S101 - PIPE
        receiver.stdout.readline()  # "ready"
        subprocess.run(arguments(kind, "sender", job), check=True)
        figures: dict[str, float] = json.loads(receiver.stdout.readline())
    return figures


def median(runs: list[dict[str, float]], key: str) -> float:
    """Of one figure over the rounds."""
    return statistics.median(figures[key] for figures in runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    options = parser.parse_args()
    print(machine())
    print(f"QoS 1, window {WINDOW}, {options.rounds} rounds in turns; latency: one message at a time\n")
    print(f"{'payload':>10}  {'bus':<8}{'messages/s':>11}{'MB/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'/ paho':>9}")
    with mosquitto() as port:
        for size in options.sizes:
            loaded: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
            paced: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
            for number in range(options.rounds):
                for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
                    loaded[kind].append(run(kind, Job(port, size, SIZES.get(size, 200), WINDOW, 0.0)))
                    pause_s = max(PACED_MIN_S, size / PACED_BYTES_PER_S)
                    paced[kind].append(run(kind, Job(port, size, PACED_MESSAGES, WINDOW, pause_s)))
            for kind in KINDS:
                rate = median(loaded[kind], "rate")
                p50_ms, p99_ms = (median(paced[kind], key) * 1e3 for key in ("p50_s", "p99_s"))
                pairs = zip(loaded[kind], loaded["paho"], strict=True)
                ratio = statistics.median(mine["rate"] / other["rate"] for mine, other in pairs)
                row = f"{size:>10,}  {kind:<8}{rate:>11,.0f}{rate * size / 1e6:>9,.1f}"
                print(f"{row}{p50_ms:>9.2f}{p99_ms:>9.2f}{ratio:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
