"""How fast this machine is, in a tenth of a second: one convolution, the same everywhere, timed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiercut.model.cuts import TensorSpec
from tiercut.model.onnx_file import OnnxModel, make_head, make_node, make_value, make_weight
from tiercut.model.segments import Segment

#: 64 to 64 channels, 3 by 3, on 56 by 56: a layer of ResNet-18, 0.116 GMACs. One convolution stands for all layers,
#: so machines whose memory is slow for their arithmetic are predicted too fast; live stage times correct that.
CHANNELS, SIDE, KERNEL = 64, 56, 3
_RUNS, _WARM_UP = 15, 3


def reference_seconds(threads: int = 1, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of the reference convolution on this machine."""
    takes = TensorSpec("x", (1, CHANNELS, SIDE, SIDE), "float32")
    segment = Segment(
        _model().encode(),
        folder=Path(),
        takes=(takes,),
        gives=(TensorSpec("y", takes.shape, "float32"),),
        title="reference",
        threads=threads,
    )
    inputs = {"x": _wave(takes.shape)}
    times = []
    for _ in range(_WARM_UP + _RUNS):
        start_s = clock()
        segment.run(inputs)
        times.append(clock() - start_s)
    return statistics.median(times[_WARM_UP:])


def _model() -> OnnxModel:
    weight = _wave((CHANNELS, CHANNELS, KERNEL, KERNEL))
    shape = (1, CHANNELS, SIDE, SIDE)
    return OnnxModel(
        head=make_head(ir_version=9, opset=18),
        name="reference",
        nodes=(make_node("Conv", "conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),),
        inputs=(make_value("x", shape),),
        outputs=(make_value("y", shape),),
        weights=(make_weight("w", weight.shape, weight.tobytes()),),
    )


def _wave(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers of both signs, none so small that it would be slow; numpy's random ones are 2 MB that a node spares."""
    wave: NDArray[np.float32] = np.sin(np.arange(math.prod(shape)) + 0.5).reshape(shape).astype("<f4")
    return wave
