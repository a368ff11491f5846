"""The four programs that `bench.bus` compares: sender and receiver, on raw paho and on `tiercut.bus.mqtt`.

A receiver prints "ready" once it is subscribed, and its figures as one JSON line at the end. The first eight bytes of
each payload are the sender's monotonic time; both run on one machine.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock

_TOPIC = "bench/bus"


@dataclass(frozen=True, slots=True)
class Job:
    """One run: ``paced_s`` > 0 sends one message at a time with this pause, for latency.

    With an ``identity`` (folder of ca.pem, cert.pem, key.pem) the tiercut programs use TLS.
    """

    port: int
    size_bytes: int
    messages: int
    window: int
    paced_s: float
    identity: str = ""


def stamped(filler: bytes) -> bytes:
    """A payload that knows when it was made."""
    return struct.pack("!d", time.monotonic()) + filler


class Figures:
    """What a receiver saw."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._first_s = self._last_s = 0.0
        self.latencies_s: list[float] = []

    def take(self, payload: bytes) -> bool:
        """Count a message; ``True`` when it was the last one."""
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        (sent_s,) = struct.unpack_from("!d", payload)
        self.latencies_s.append(self._last_s - sent_s)
        return len(self.latencies_s) == self._job.messages

    def report(self) -> None:
        """Print rate (between first and last message) and latency quantiles."""
        ordered = sorted(self.latencies_s)
        print(
            json.dumps(
                {
                    "rate": (len(ordered) - 1) / (self._last_s - self._first_s),
                    "p50_s": ordered[len(ordered) // 2],
                    "p99_s": ordered[int(len(ordered) * 0.99)],
                }
            )
        )


def _raw_client(job: Job) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages = job.window
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = job.window
    client.connect("127.0.0.1", job.port, properties=properties)
    return client


def paho_receiver(job: Job) -> None:
    """Raw paho: a thread reads and acknowledges."""
    client, figures, done = _raw_client(job), Figures(job), threading.Event()

    def on_message(_client: Client, _data: Any, message: Any) -> None:
        if figures.take(message.payload):
            done.set()

    def on_connect(*_: Any) -> None:
        client.subscribe(_TOPIC, qos=1)

    client.on_message = on_message
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_connect = on_connect
    client.loop_start()
    done.wait()
    client.disconnect()
    client.loop_stop()
    figures.report()


def paho_sender(job: Job) -> None:
    """Raw paho: a thread writes; `window` messages are in flight."""
    client, filler = _raw_client(job), bytes(job.size_bytes - 8)
    credit = threading.Semaphore(job.window)
    client.on_publish = lambda *_: credit.release()
    client.loop_start()
    for _ in range(job.messages):
        credit.acquire()
        client.publish(_TOPIC, stamped(filler), qos=1)
        if job.paced_s:
            time.sleep(job.paced_s)
    for _ in range(job.window):
        credit.acquire()
    client.disconnect()
    client.loop_stop()


def _bus(job: Job) -> MqttBus:
    names = ("ca", "cert", "key") if job.identity else ()
    files: dict[str, Any] = {f"{name}_file": f"{job.identity}/{name}.pem" for name in names}
    settings = MqttSettings(
        url=f"mqtts://localhost:{job.port}" if job.identity else f"mqtt://127.0.0.1:{job.port}",
        receive_maximum=job.window,
        outgoing_budget_bytes=job.window * job.size_bytes,
        **files,
    )
    return MqttBus(settings, clock=SystemClock())


async def _tiercut_receiver(job: Job) -> None:
    figures = Figures(job)
    async with _bus(job) as bus:
        subscription = await bus.subscribe(_TOPIC)
        print("ready", flush=True)
        async for delivery in subscription:
            last = figures.take(delivery.payload)
            delivery.ack()
            if last:
                break
    figures.report()


async def _tiercut_sender(job: Job) -> None:
    filler = bytes(job.size_bytes - 8)
    async with _bus(job) as bus:
        in_flight: deque[asyncio.Task[Any]] = deque()
        for _ in range(job.messages):
            if len(in_flight) >= job.window:
                await in_flight.popleft()
            in_flight.append(asyncio.create_task(bus.publish(Message(_TOPIC, stamped(filler))), name="bench publish"))
            if job.paced_s:
                await asyncio.sleep(job.paced_s)
        await asyncio.gather(*in_flight)


def main() -> None:
    """``python -m bench.bus_peers paho|tiercut receiver|sender JOB``, the job as JSON."""
    kind, role, job = sys.argv[1], sys.argv[2], Job(**json.loads(sys.argv[3]))
    if kind == "paho":
        (paho_receiver if role == "receiver" else paho_sender)(job)
    else:
        asyncio.run(_tiercut_receiver(job) if role == "receiver" else _tiercut_sender(job))


def arguments(kind: str, role: str, job: Job) -> list[str]:
    """The command line that `main` reads."""
    return [sys.executable, "-m", "bench.bus_peers", kind, role, json.dumps(asdict(job))]


if __name__ == "__main__":
    main()
