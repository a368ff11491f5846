"""How sure an exit is, how far that can be believed, and what leaves where at which threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tiercut.model.confidence import probabilities
from tiercut.model.variants import Leaving
from tiercut.plan import FULL

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

#: Thresholds at which leaving is measured.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99)
#: Temperatures that are tried; Guo et al. find 1 to 3 for networks of today.
_COLDEST, _HOTTEST = 0.05, 20.0
_BINS = 15


def fit_temperature(logits: NDArray[np.floating], labels: Labels) -> float:
    """The temperature under which the labels are likeliest (Guo et al., On Calibration, ICML 2017, section 4.2).

    The likelihood is concave in 1 / temperature, so its slope is searched for zero by halving.

    Args:
        logits: ``(frames, classes)``.
        labels: The right class of each.
    """
    scores = logits.astype(np.float64)
    right = scores[np.arange(len(labels)), labels]
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        expected = (probabilities(scores, 1 / middle) * scores).sum(-1)
        if float((right - expected).mean()) > 0:
            low = middle
        else:
            high = middle
    return 2 / (low + high)


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over 15 bins of confidence, 0..1."""
    bins = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    gaps = [
        abs(float(confidence[bins == i].mean()) - float(right[bins == i].mean())) * float((bins == i).mean())
        for i in range(_BINS)
        if (bins == i).any()
    ]
    return float(sum(gaps))


def leaving_table(
    logits: Mapping[str, NDArray[np.floating]], temperatures: Mapping[str, float], labels: Labels
) -> tuple[Leaving, ...]:
    """What leaves at each exit, and how accurate all together are, for each threshold.

    Args:
        logits: Exits from the first to the last, then ``full``: ``(frames, classes)`` each.
        temperatures: Of each exit.
        labels: The right class of each frame.
    """
    names = [name for name in logits if name != FULL]
    sure = [probabilities(logits[name], temperatures[name]).max(-1) for name in names]
    answers = [logits[name].argmax(-1) for name in (*names, FULL)]
    return tuple(_leaving(threshold, names, sure, answers, labels) for threshold in THRESHOLDS)


def _leaving(
    threshold: float, names: Sequence[str], sure: Sequence[Floats], answers: Sequence[Labels], labels: Labels
) -> Leaving:
    place = np.full(len(labels), len(names))
    for i in reversed(range(len(names))):
        place[sure[i] >= threshold] = i
    answer = np.stack(answers)[place, np.arange(len(labels))]
    shares = {name: part(place == i) for i, name in enumerate((*names, FULL))}
    return Leaving(threshold=threshold, shares=shares, accuracy=part(answer == labels))


def part(which: NDArray[np.bool_]) -> float:
    """Share of what is true, 0..1, to six digits."""
    return round(float(which.mean()), 6)
