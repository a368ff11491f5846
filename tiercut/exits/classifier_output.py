"""The output of a model that tells its classes."""

from __future__ import annotations

import math

from tiercut.errors import ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.variants import OutputSpec

_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}


def final_output(bundle: Bundle) -> OutputSpec:
    """The one output with a number per class.

    Raises:
        ExportError: there is none, or one that holds independent scores.
    """
    fits = [out for out in bundle.outputs if out.shape[:1] == (1,) and math.prod(out.shape) == max(out.shape)]
    labelled = [out for out in fits if bundle.labels and max(out.shape) == len(bundle.labels)]
    found = next(iter(labelled or fits), None)
    if found is None or max(found.shape) < 2:  # noqa: PLR2004 - two classes
        outputs = ", ".join(f"{out.name} {out.tensor}" for out in bundle.outputs)
        raise _no_classifier(bundle, "an output [1, classes]", outputs)
    if _maker(bundle, found) == "Sigmoid":
        raise _no_classifier(bundle, "logits or a softmax at the end", "a sigmoid, so independent scores")
    return found


def class_count(bundle: Bundle) -> int:
    """How many classes it tells apart."""
    return max(final_output(bundle).shape)


def gives_probabilities(bundle: Bundle) -> bool:
    """Whether a softmax has turned its logits into probabilities already."""
    return _maker(bundle, final_output(bundle)) == "Softmax"


def _maker(bundle: Bundle, output: OutputSpec) -> str:
    """The operator whose numbers the output holds, in whatever shape."""
    makers = {name: node for node in bundle.graph.nodes for name in node.output}
    node = makers.get(output.name)
    while node is not None and node.op_type in _VIEWS:
        node = makers.get(node.input[0])
    return "" if node is None else node.op_type


def _no_classifier(bundle: Bundle, expected: str, came: str) -> ExportError:
    return ExportError(
        f"the model '{bundle.name}' is no classifier that can have exits",
        expected=expected,
        came=came,
        fix="export a model that tells one class of several",
    )
