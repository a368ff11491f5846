"""How sure a classifier is: the greatest probability of a softmax, with logits scaled by a temperature.

Scaling by one number learned on held-back frames makes a network's confidence as good as its accuracy says (Guo et al.,
"On Calibration of Modern Neural Networks", ICML 2017); without it the threshold of an exit means little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax over the last axis.

    Args:
        logits: ``(..., classes)``.
        temperature: More than 1 makes it less sure.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def confidence(logits: NDArray[Any], temperature: float = 1.0) -> float:
    """The greatest probability of one frame's logits, 0..1; 0 where they are not all finite, so that nothing leaves."""
    best = float(probabilities(logits.reshape(-1), temperature).max())
    return best if np.isfinite(best) else 0.0
