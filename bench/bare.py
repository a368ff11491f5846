"""The bare minimum to compare with: paho's own threads, the same sensor, segments and codecs, nothing else.

No acknowledgement after the work, no order, no back-pressure, no clocks, no checks: a message handler that computes and
publishes. `bench.overhead` and `bench.cost` run it in the same run as tiercut; ``python -m bench.bare ROLE …`` is one
of its processes. With two equal cuts there is no edge: the device publishes to the cloud.

A frame carries what it has cost so far: wall seconds in segments and codecs, and for each node CPU seconds of its
thread in segments and codecs (the device's: in the sensor and the preparation of its frame too).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

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


@dataclass(frozen=True, slots=True)
class Carried:
    """What a frame carries beside its tensors.

    Attributes:
        wall_s: In segments and codecs so far.
        captured_s: When it was the model's input, on the wall clock.
        cpu_s: CPU seconds of each node so far, the device's first.
    """

    wall_s: float
    captured_s: float
    cpu_s: tuple[float, ...] = ()

    def after(self, meter: Meter) -> Carried:
        """With one more node's work."""
        return Carried(self.wall_s + meter.wall_s, self.captured_s, (*self.cpu_s, meter.cpu_s))


def finish(outputs: Arrays, carried: Carried, meter: Meter) -> bytes:
    """The result's JSON: the best class, and what the frame has carried."""
    best = int(np.argmax(next(iter(outputs.values()))))
    carried = carried.after(meter)
    return json.dumps([best, carried.wall_s, carried.captured_s, carried.cpu_s]).encode()


def read_result(payload: bytes) -> Carried:
    """What a result says of its frame."""
    _, wall_s, captured_s, cpu_s = json.loads(payload)
    return Carried(wall_s, captured_s, tuple(cpu_s))


def pack(arrays: Arrays, codec: str, carried: Carried, meter: Meter) -> bytes:
    """Arrays in a codec, and what the frame carries, with the encoding counted."""
    meter.begin()
    tensors = [[name, a.dtype.name, list(a.shape), CODECS[codec].encode(a)] for name, a in arrays.items()]
    meter.end()
    carried = carried.after(meter)
    packed: bytes = msgpack.packb([tensors, carried.wall_s, carried.captured_s, carried.cpu_s])
    return packed


def unpack(payload: bytes, codec: str, meter: Meter) -> tuple[dict[str, NDArray[Any]], Carried]:
    """The reverse, with the decoding counted."""
    tensors, wall_s, captured_s, cpu_s = msgpack.unpackb(payload)
    meter.begin()
    arrays = {name: CODECS[codec].decode(data, dtype=dtype, shape=shape) for name, dtype, shape, data in tensors}
    meter.end()
    return arrays, Carried(wall_s, captured_s, tuple(cpu_s))


class Part:
    """Segment ``[start, end)`` behind a hop: a message in, a message out."""

    def __init__(self, bundle: Bundle, start: int, end: int, codec: str) -> None:
        self._segment = bundle.segment(start, end)
        self._last = end == bundle.end
        self._codec = codec

    def handle(self, payload: bytes) -> bytes:
        """The next node's message, or the result."""
        meter = Meter()
        arrays, carried = unpack(payload, self._codec, meter)
        meter.begin()
        outputs = self._segment.run(arrays)
        meter.end()
        return finish(outputs, carried, meter) if self._last else pack(outputs, self._codec, carried, meter)


class Head:
    """The device's part: a sensor of noise as tiercut's, and segment ``[0, end)``."""

    def __init__(self, bundle: Bundle, end: int, codec: str) -> None:
        self._bundle = bundle
        self._segment = bundle.segment(0, end)
        self._last = end == bundle.end
        self._codec = codec
        self._random = np.random.default_rng(0)
        self._shape = bundle.inputs[0].shape[1:]

    def next(self) -> bytes:
        """The next frame's message, or its result if this is the whole model."""
        meter = Meter()
        meter.begin()
        inputs = self._bundle.to_inputs(self._random.integers(0, 256, self._shape, dtype=np.uint8), FULL)
        meter.end()
        meter.wall_s = 0.0  # the frame's time begins as the model's input
        carried = Carried(0.0, time.time())
        meter.begin()
        outputs = self._segment.run(inputs)
        meter.end()
        return finish(outputs, carried, meter) if self._last else pack(outputs, self._codec, carried, meter)


def at_rate(fps: float) -> Iterator[None]:
    """Yields at a fixed rate; what is late is not made up for."""
    next_s = time.monotonic()
    while True:
        yield
        next_s = max(next_s + 1 / fps, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))


def run_node(role: str, port: int, bundle: Bundle, cuts: tuple[int, int], codec: str) -> None:
    """Edge or cloud: computes in the message handler."""
    first, second = cuts
    part = Part(bundle, *((first, second) if role == "edge" else (second, bundle.end)), codec)
    to = TOPICS["cloud" if role == "edge" else "result"]

    def handle(client: Client, payload: bytes) -> None:
        client.publish(to, part.handle(payload), qos=1)

    connect(port, TOPICS[role], handle)
    threading.Event().wait()


def run_device(port: int, bundle: Bundle, cuts: tuple[int, int], codec: str, fps: float) -> None:
    """The head, at a fixed rate."""
    head = Head(bundle, cuts[0], codec)
    to = TOPICS["cloud" if cuts[0] == cuts[1] else "edge"]
    client = connect(port, None, lambda _client, _payload: None)
    for _ in at_rate(fps):
        client.publish(to, head.next(), qos=1)


if __name__ == "__main__":
    name, port_text, folder, first_text, second_text, codec_name, fps_text = sys.argv[1:]
    model = Bundle.load(Path(folder))
    both = (int(first_text), int(second_text))
    if name == "device":
        run_device(int(port_text), model, both, codec_name, float(fps_text))
    else:
        run_node(name, int(port_text), model, both, codec_name)
