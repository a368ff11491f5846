"""What the exits of a finished bundle are worth, measured on held-back frames with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiercut.exits.batches import Inputs, Probe
from tiercut.exits.calibration import Labels, calibration_error, fit_temperature, leaving_table, part
from tiercut.exits.classifier_output import final_output
from tiercut.exits.recipe import Note, counted
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import Contents
from tiercut.model.confidence import probabilities
from tiercut.model.variants import ExitSpec
from tiercut.plan import FULL

Reference = Literal["labels", "agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        contents: The bundle's, with it.
        reference: ``labels``, or ``agreement`` with the full model where there were none.
        frames: How many held-back frames there were.
        uncalibrated: By exit, its calibration error without its temperature.
    """

    contents: Contents
    reference: Reference
    frames: int
    uncalibrated: Mapping[str, float]


def measure(bundle: Bundle, inputs: Inputs, labels: Labels | None, *, seed: int, threads: int, note: Note) -> Measured:
    """Run the whole graph on every held-back frame.

    Temperatures are fitted on one half of the frames, calibration errors measured on the other; accuracies and what
    leaves where on all of them.

    Args:
        bundle: With exits.
        inputs: Held-back frames.
        labels: The right class of each; ``None``: what the full model says counts as right.
        seed: Of the halves.
        threads: Threads of ONNX Runtime.
        note: Told of progress.
    """
    logits = _logits(bundle, inputs, threads, note)
    right = logits[FULL].argmax(-1) if labels is None else labels
    order = np.random.default_rng(seed).permutation(len(right))
    fitted, checked = order[: len(order) // 2], order[len(order) // 2 :]
    exits: list[ExitSpec] = []
    uncalibrated = {}
    for spec in bundle.exits:
        scores = logits[spec.name]
        temperature = round(fit_temperature(scores[fitted], right[fitted]), 6)
        error, uncalibrated[spec.name] = (_error(scores[checked], right[checked], t) for t in (temperature, 1.0))
        accuracy = part(scores.argmax(-1) == right)
        exits.append(replace(spec, accuracy=accuracy, temperature=temperature, calibration_error=error))
    contents = replace(
        bundle.contents,
        accuracy=None if labels is None else part(logits[FULL].argmax(-1) == right),
        exits=tuple(exits),
        leaving=leaving_table(logits, {spec.name: spec.temperature for spec in exits}, right),
    )
    reference: Reference = "agreement" if labels is None else "labels"
    return Measured(contents=contents, reference=reference, frames=len(right), uncalibrated=uncalibrated)


def _logits(bundle: Bundle, inputs: Inputs, threads: int, note: Note) -> dict[str, NDArray[Any]]:
    """By exit, then of the full model: ``(frames, classes)``."""
    names = {spec.name: spec.output.name for spec in bundle.exits} | {FULL: final_output(bundle).name}
    probe = Probe(bundle, list(names.values()), threads=threads)
    frames = counted(inputs, len(inputs), "held-back frames measured", note)
    rows = [[tensor.reshape(-1) for tensor in probe(frame)] for _, frame in frames]
    return {name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _error(logits: NDArray[Any], right: Labels, temperature: float) -> float:
    sure = probabilities(logits, temperature)
    return round(calibration_error(sure.max(-1), logits.argmax(-1) == right), 6)
