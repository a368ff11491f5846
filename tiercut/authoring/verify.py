"""Does a bundle compute what the model it was made from computes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from tiercut.authoring.canonical import graph_inputs
from tiercut.errors import ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import OutputSpec, Variant

Arrays = list[NDArray[np.generic]]

#: Largest difference to the original's output that is put down to the order of additions, relative to its size.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An ONNX model still to be made canonical, and the original that it must agree with.

    Attributes:
        model: The graph; its external weights need not be loaded.
        folder: Where these weights are.
        example: One array per input of the graph.
        original: The model as its author runs it.
    """

    model: onnx.ModelProto
    folder: Path
    example: Arrays
    original: Callable[[Arrays], Arrays]


def random_example(shape: Sequence[int], dtype: str) -> NDArray[np.generic]:
    """An input to compare outputs on: noise, the same at every call; zeros where numbers may be indices."""
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    if kind == np.uint8:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return np.zeros(shape, kind)


def only_main(draft: Draft, exits: int) -> Draft:
    """A draft without its last outputs, which are exits."""
    if not exits:
        return draft
    keep = len(draft.model.graph.output) - exits
    del draft.model.graph.output[keep:]
    return replace(draft, original=lambda given: draft.original(given)[:keep])


def verify(bundle: Bundle, variant: Variant, draft: Draft) -> None:
    """Compare a variant of a bundle with the original on the example, or on a frame of noise.

    Raises:
        ExportError: an output differs.
    """
    given, expected_inputs = draft.example, draft.example
    if variant.frame.kind == "image":
        noise = random_example(variant.frame.shape, "uint8")
        given, expected_inputs = [noise], [_normalised(noise, variant.frame, draft.example[0])]
    names = [value.name for value in graph_inputs(draft.model.graph)]  # the frame's, where it is one
    inputs = dict(zip(names, given, strict=True))
    segment = bundle.segment(0, variant.end, variant=variant.name)
    got = segment.run({tensor.name: inputs[tensor.name] for tensor in segment.takes})
    wanted = dict(zip((out.name for out in draft.model.graph.output), draft.original(expected_inputs), strict=True))
    for spec in variant.outputs:
        if spec.name not in wanted:
            raise _differs("outputs", ", ".join(wanted), spec.name)
        _compare(spec, got[spec.name], wanted[spec.name])


def _compare(spec: OutputSpec, got: NDArray[np.generic], wanted: NDArray[np.generic]) -> None:
    if got.shape != wanted.shape:
        raise _differs(f"'{spec.name}'", f"shape {wanted.shape}", f"{got.shape}")
    mine, original = got.astype(np.float64), wanted.astype(np.float64)
    if not np.array_equal(np.isfinite(mine), np.isfinite(original)):
        raise _differs(f"'{spec.name}'", "finite numbers at the same places", "infinite or none at others")
    finite = np.isfinite(original)
    difference = float(np.max(np.abs(mine - original), where=finite, initial=0.0))
    size = float(np.max(np.abs(original), where=finite, initial=1.0))
    # float16 keeps 11 bits: one more or less in the last place is no fault of ours
    tolerance = max(TOLERANCE, 8 * float(np.finfo(spec.dtype).eps) if spec.dtype.startswith("float") else 0.0)
    if difference > tolerance * size:
        raise _differs(
            f"'{spec.name}'", f"at most {tolerance * size:.2g} away from the original's", f"{difference:.2g}"
        )


def _normalised(noise: NDArray[np.generic], frame: FrameSpec, example: NDArray[np.generic]) -> NDArray[np.generic]:
    """What the original takes for a frame."""
    numbers = (noise.astype(np.float64) - np.array(frame.mean)) / np.array(frame.std)
    numbers = numbers if example.shape[-3:] == frame.shape[-3:] else numbers.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(numbers, dtype=example.dtype).reshape(example.shape)


def _differs(what: str, expected: str, came: str) -> ExportError:
    return ExportError(
        f"the bundle does not compute what the model does ({what})",
        expected=expected,
        came=came,
        fix="make the model deterministic (no random operators), or report it with the model",
    )
