"""The bare minimum to compare with: paho's own threads, the same sensor, segments and codecs, nothing else.

No acknowledgement after the work, no order, no back-pressure, no clocks, no checks: a message handler that computes and
publishes. `bench.overhead` and `bench.cost` run it in the same run as tiercut; ``python -m bench.bare ROLE …`` is one
of its processes.

A frame carries its wall seconds in segments and codecs so far. With a folder for ledgers, each process keeps there what
CPU time it has spent in sensor, segments and codecs (`bench.ledger`).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from bench.ledger import Ledger
from tiercut.codecs.table import CODECS
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL

Arrays = Mapping[str, NDArray[Any]]
TOPICS = {"device": "bare/device", "edge": "bare/edge", "cloud": "bare/cloud", "result": "bare/result"}


def connect(port: int, topic: str | None, handler: Callable[[Client, bytes], None]) -> Client:
    """A paho client on its own thread; the handler is given it too, as a message may come before this returns."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)

    def on_message(receiving: Client, _data: Any, message: MQTTMessage) -> None:
        handler(receiving, bytes(message.payload))

    client.on_message = on_message
    client.connect("127.0.0.1", port)
    if topic is not None:
        client.subscribe(topic, qos=1)
    client.loop_start()
    return client


class Meter:
    """Adds up the wall seconds and the thread's CPU seconds of pieces of work."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def begin(self) -> None:
        """A piece begins."""
        self._cpu_s, self._wall_s = time.thread_time(), time.perf_counter()

    def end(self) -> None:
        """It has ended."""
        self.wall_s += time.perf_counter() - self._wall_s
        self.cpu_s += time.thread_time() - self._cpu_s

    def note(self, ledger: Ledger | None) -> None:
        """All pieces of a frame's work here, for others to read."""
        if ledger is not None:
            ledger.add(self.cpu_s, frames=1)


def finish(outputs: Arrays, spent_s: float, captured_s: float) -> bytes:
    """The result's JSON: the best class, seconds of work, and when the frame's time began."""
    return json.dumps([int(np.argmax(next(iter(outputs.values())))), spent_s, captured_s]).encode()


def pack(arrays: Arrays, codec: str, spent_s: float, captured_s: float, meter: Meter) -> bytes:
    """Arrays in a codec, the seconds of work so far with this encoding, and when the frame's time began."""
    meter.begin()
    tensors = [[name, a.dtype.name, list(a.shape), CODECS[codec].encode(a)] for name, a in arrays.items()]
    meter.end()
    packed: bytes = msgpack.packb([tensors, spent_s + meter.wall_s, captured_s])
    return packed


def unpack(payload: bytes, codec: str, meter: Meter) -> tuple[dict[str, NDArray[Any]], float, float]:
    """The reverse, with the decoding metered, not yet added."""
    tensors, spent_s, captured_s = msgpack.unpackb(payload)
    meter.begin()
    arrays = {name: CODECS[codec].decode(data, dtype=dtype, shape=shape) for name, dtype, shape, data in tensors}
    meter.end()
    return arrays, spent_s, captured_s


class Part:
    """Segment ``[start, end)`` behind a hop: a message in, a message out."""

    def __init__(self, bundle: Bundle, start: int, end: int, codec: str, ledger: Ledger | None = None) -> None:
        self._segment = bundle.segment(start, end)
        self._last = end == bundle.end
        self._codec = codec
        self._ledger = ledger

    def handle(self, payload: bytes) -> bytes:
        """The next node's message, or the result."""
        meter = Meter()
        arrays, spent_s, captured_s = unpack(payload, self._codec, meter)
        meter.begin()
        outputs = self._segment.run(arrays)
        meter.end()
        if self._last:
            answer = finish(outputs, spent_s + meter.wall_s, captured_s)
        else:
            answer = pack(outputs, self._codec, spent_s, captured_s, meter)
        meter.note(self._ledger)
        return answer


class Head:
    """The device's part: a sensor of noise as tiercut's, and segment ``[0, end)``."""

    def __init__(self, bundle: Bundle, end: int, codec: str, ledger: Ledger | None = None) -> None:
        self._bundle = bundle
        self._segment = bundle.segment(0, end)
        self._last = end == bundle.end
        self._codec = codec
        self._ledger = ledger
        self._random = np.random.default_rng(0)
        self._shape = bundle.inputs[0].shape[1:]

    def next(self) -> bytes:
        """The next frame's message, or its result if this is the whole model."""
        meter = Meter()
        meter.begin()
        inputs = self._bundle.to_inputs(self._random.integers(0, 256, self._shape, dtype=np.uint8), FULL)
        meter.end()
        meter.wall_s = 0.0  # the frame's time begins as the model's input
        captured_s = time.time()
        meter.begin()
        outputs = self._segment.run(inputs)
        meter.end()
        if self._last:
            message = finish(outputs, meter.wall_s, captured_s)
        else:
            message = pack(outputs, self._codec, 0.0, captured_s, meter)
        meter.note(self._ledger)
        return message


def at_rate(fps: float) -> Iterator[None]:
    """Yields at a fixed rate; what is late is not made up for."""
    next_s = time.monotonic()
    while True:
        yield
        next_s = max(next_s + 1 / fps, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one process."""

    role: str
    port: int
    bundle: Bundle
    first: int
    second: int
    codec: str
    fps: float
    ledger: Ledger | None

    @classmethod
    def of(cls, words: Sequence[str]) -> Settings:
        """From a command line; the folder for ledgers may be absent."""
        role, port, folder, first, second, codec, fps, *ledgers = words
        ledger = Ledger(Path(ledgers[0]) / f"{role}.work") if ledgers else None
        return cls(role, int(port), Bundle.load(Path(folder)), int(first), int(second), codec, float(fps), ledger)


def run_node(s: Settings) -> None:
    """Edge or cloud: computes in the message handler."""
    cuts = (s.first, s.second) if s.role == "edge" else (s.second, s.bundle.end)
    part = Part(s.bundle, *cuts, s.codec, s.ledger)
    to = TOPICS["cloud" if s.role == "edge" else "result"]

    def handle(client: Client, payload: bytes) -> None:
        client.publish(to, part.handle(payload), qos=1)

    connect(s.port, TOPICS[s.role], handle)
    threading.Event().wait()


def run_device(s: Settings) -> None:
    """The head, at a fixed rate."""
    head = Head(s.bundle, s.first, s.codec, s.ledger)
    client = connect(s.port, None, lambda _client, _payload: None)
    for _ in at_rate(s.fps):
        client.publish(TOPICS["edge"], head.next(), qos=1)


if __name__ == "__main__":
    settings = Settings.of(sys.argv[1:])
    run_device(settings) if settings.role == "device" else run_node(settings)
