"""The bare minimum to compare with: paho's own threads, the same segments and codecs, nothing else.

No acknowledgement after the work, no order, no back-pressure, no clocks, no checks: a message handler that computes and
publishes. `bench.overhead` runs it in the same run as tiercut; ``python -m bench.bare ROLE …`` is one of its processes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tiercut.codecs.table import CODECS
from tiercut.model.bundle import Bundle

Arrays = Mapping[str, NDArray[Any]]
TOPICS = {"device": "bare/device", "edge": "bare/edge", "cloud": "bare/cloud", "result": "bare/result"}


def connect(port: int, topic: str | None, handler: Callable[[bytes], None]) -> Client:
    """A paho client on its own thread."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)

    def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
        handler(bytes(message.payload))

    client.on_message = on_message
    client.connect("127.0.0.1", port)
    if topic is not None:
        client.subscribe(topic, qos=1)
    client.loop_start()
    return client


def pack(arrays: Arrays, codec: str, spent_s: float, captured_s: float) -> bytes:
    """Arrays in a codec, the seconds of work so far, and when it began."""
    start = time.perf_counter()
    tensors = [[name, a.dtype.name, list(a.shape), CODECS[codec].encode(a)] for name, a in arrays.items()]
    spent_s += time.perf_counter() - start
    packed: bytes = msgpack.packb([tensors, spent_s, captured_s])
    return packed


def unpack(payload: bytes, codec: str) -> tuple[dict[str, NDArray[Any]], float, float]:
    """The reverse, with the decoding counted."""
    tensors, spent_s, captured_s = msgpack.unpackb(payload)
    start = time.perf_counter()
    arrays = {name: CODECS[codec].decode(data, dtype=dtype, shape=shape) for name, dtype, shape, data in tensors}
    return arrays, spent_s + time.perf_counter() - start, captured_s


def run_node(role: str, port: int, bundle: Bundle, cuts: tuple[int, int], codec: str) -> None:
    """Edge or cloud: computes in the message handler."""
    first, second = cuts
    segment = bundle.segment(first, second) if role == "edge" else bundle.segment(second, bundle.end)

    def handle(payload: bytes) -> None:
        arrays, spent_s, captured_s = unpack(payload, codec)
        start = time.perf_counter()
        outputs = segment.run(arrays)
        spent_s += time.perf_counter() - start
        if role == "edge":
            client.publish(TOPICS["cloud"], pack(outputs, codec, spent_s, captured_s), qos=1)
        else:
            best = int(np.argmax(next(iter(outputs.values()))))
            client.publish(TOPICS["result"], json.dumps([best, spent_s, captured_s]), qos=1)

    client = connect(port, TOPICS[role], handle)
    threading.Event().wait()


def run_device(port: int, bundle: Bundle, first: int, codec: str, fps: float) -> None:
    """The head, at a fixed rate."""
    segment = bundle.segment(0, first)
    random = np.random.default_rng(0)
    frame = {bundle.inputs[0].name: random.integers(0, 256, bundle.inputs[0].shape, dtype=np.uint8)}
    client = connect(port, None, lambda _payload: None)
    while True:
        captured_s = time.time()
        start = time.perf_counter()
        outputs = segment.run(frame)
        spent_s = time.perf_counter() - start
        client.publish(TOPICS["edge"], pack(outputs, codec, spent_s, captured_s), qos=1)
        time.sleep(max(0.0, captured_s + 1 / fps - time.time()))


if __name__ == "__main__":
    name, port_text, folder, first_text, second_text, codec_name, fps_text = sys.argv[1:]
    model = Bundle.load(Path(folder))
    if name == "device":
        run_device(int(port_text), model, int(first_text), codec_name, float(fps_text))
    else:
        run_node(name, int(port_text), model, (int(first_text), int(second_text)), codec_name)
