"""Silero VAD on windows of a second: the network that PyPI's ``silero-vad`` ships, made feed-forward; 310,000 weights.

The shipped network takes 512 samples at a time (32 ms at 16 kHz) and keeps a state in between. Here 32 such steps are
one graph: spectra and convolutions take them as a batch, then an LSTM goes over them, its state zero at first. So a
window knows nothing of the one before it: its first half warms the state up, and only its second half is scored.
Windows that overlap by a half cover everything.

Silero VAD is by the Silero Team, MIT License, https://github.com/snakers4/silero-vad. Of the package only the file of
weights is read; nothing of it is imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tiercut.authoring.export import ModelSource
from tiercut.authoring.torch_source import import_torch
from tiercut.errors import ExportError
from tiercut.model.preprocess import FrameSpec

if TYPE_CHECKING:
    import torch

NAME = "silero-vad"
LABELS = ("silence", "speech")
#: The shipped graph whose weights are taken: those of `SHIPPED` at 16 kHz (its safetensors are of an earlier release).
WEIGHTS = "silero_vad_16k_sequence.onnx"
#: The shipped network as its users run it, step by step; tests compare with it.
SHIPPED = "silero_vad.onnx"
#: Shipped name of a layer → that of `SileroWindow`.
_LAYERS = {"stft": "stft_conv.", "output": "final_conv."} | {f"encoder.{i}": f"conv{i + 1}." for i in range(4)}
#: Samples of a step, and steps of a window (1.024 s).
STEP, STEPS = 512, 32
#: Steps at the end of a window that are scored: their mean probability is the window's.
SCORED = STEPS // 2
RATE_HZ = 16_000.0
STATE = 128

FRAME = FrameSpec(
    kind="signal", samples=STEP * STEPS, rate_hz=RATE_HZ, channel_names=("sound",), units=("full-scale",), layout="flat"
)


def model() -> ModelSource:
    """The model with its weights, labels and the form of its windows: ``tiercut export`` takes this function.

    Raises:
        ExportError: torch or the package silero-vad is not installed.
    """
    torch = import_torch()
    from tiercut.zoo.silero_network import SileroWindow  # noqa: PLC0415 - needs torch

    module = SileroWindow(SCORED)
    module.load_state_dict(shipped_weights(package_file(WEIGHTS)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        example = torch.randn(*FRAME.shape) / 10  # as loud as a voice nearby
    return ModelSource(module=module, example_inputs=(example,), name=NAME, labels=LABELS, preprocess=FRAME)


def package_file(name: str) -> Path:
    """A file that ``silero-vad`` ships.

    Raises:
        ExportError: the package is not installed, or is a version without it.
    """
    found = importlib.util.find_spec("silero_vad")  # this does not import it
    path = Path(found.origin or "").parent / "data" / name if found else None
    if path is None or not path.is_file():
        raise ExportError(
            "Silero VAD is not here",
            expected=f"the package silero-vad, 6.2 or newer, with {name}",
            came="no such package" if path is None else f"no {path}",
            fix="run 'pip install -c constraints.txt tiercut[examples]'",
        )
    return path


def shipped_weights(path: Path) -> dict[str, torch.Tensor]:
    """All weights of the shipped graph, under the names of `SileroWindow`."""
    torch = import_torch()
    graph = onnx.load(path).graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    lstm = next(node for node in graph.node if node.op_type == "LSTM")
    inputs, states, biases = (_in_torchs_order(arrays.pop(name)[0]) for name in lstm.input[1:4])
    arrays = {_LAYERS[layer] + rest: array for name, array in arrays.items() for layer, rest in [_split(name)]}
    arrays |= {"lstm.weight_ih_l0": inputs, "lstm.weight_hh_l0": states}
    arrays |= dict(zip(("lstm.bias_ih_l0", "lstm.bias_hh_l0"), np.split(biases, 2), strict=True))
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _split(name: str) -> tuple[str, str]:
    """The shipped name of a layer, and what of it."""
    layer, _, what = name.rpartition(".")
    return layer, "weight" if what == "forward_basis_buffer" else what


def _in_torchs_order(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """ONNX orders an LSTM's gates input, output, forget, cell; torch input, forget, cell, output.

    Args:
        array: ``(4 * state, …)``, or ``(8 * state,)`` for the two biases.
    """
    gates = array.reshape(-1, 4, STATE, *array.shape[1:])
    return gates[:, (0, 2, 3, 1)].reshape(array.shape)
