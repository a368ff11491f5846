"""Results of models with labels: the likeliest classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from tiercut.fields import Count
from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.results.kind import STATE_CHARACTERS, NumberOrWord, Outputs, ResultKind, Said, number_or_word

#: Classes that a result names.
TOP = 5

_STATE = f"{{{{ value_json['labels'][0]['label'][:{STATE_CHARACTERS}] if value_json['labels'] else None }}}}"


class Score(Struct, frozen=True, kw_only=True):
    """A class and how likely it is.

    Attributes:
        index: Its index.
        label: What people call it.
        score: A probability where the model gives such, else its own number; nan, inf and -inf as words.
    """

    index: Count = field(name="class")
    label: str
    score: NumberOrWord


class Classes(Said, frozen=True, kw_only=True):
    """The likeliest classes.

    Attributes:
        labels: The five best classes, best first.
    """

    labels: Annotated[tuple[Score, ...], Meta(max_length=TOP)]


class ClassesKind(ResultKind[Classes]):
    """Of the first output with one score per label."""

    name = "classes"
    said = Classes

    def fits(self, bundle: Bundle, variant: Variant) -> bool:
        """It has labels, and an output of as many numbers."""
        count = len(bundle.labels or ())
        return count > 0 and any(math.prod(spec.shape) == count for spec in variant.outputs)

    def read(self, outputs: Outputs, bundle: Bundle, variant: Variant) -> tuple[Classes, float | None]:
        """The best by score; scores become probabilities where the output holds logits."""
        labels = bundle.labels or ()
        spec = next(spec for spec in variant.outputs if math.prod(spec.shape) == len(labels))
        scores = outputs[spec.name]
        if spec.scores != "softmax":
            return Classes(labels=top_labels(scores, labels)), None
        best = _likeliest(scores, labels, 1.0 if variant.exit is None else variant.exit.temperature)
        sure = best[0].score  # where one of the logits is not a number, neither is any probability
        return Classes(labels=best), sure if isinstance(sure, float) else None

    def headline(self, said: Classes) -> tuple[str, str]:
        """The best label, and its score."""
        if not said.labels:
            return "-", ""
        best = said.labels[0]
        return best.label, f"{float(best.score):.2f}"

    def entity(self, bundle: Bundle) -> Mapping[str, Any]:
        """The best label."""
        del bundle
        return {"value_template": _STATE}

    def agree(self, one: Classes, other: Classes) -> bool:
        """Whether they have the same best class."""
        return self.class_of(one) == self.class_of(other)

    def class_of(self, said: Classes) -> int | None:
        """The best one."""
        return said.labels[0].index if said.labels else None


def top_labels(scores: NDArray[Any], labels: Sequence[str], *, top: int = TOP) -> tuple[Score, ...]:
    """The ``top`` best of one row of scores, best first.

    Args:
        scores: ``(classes,)``.
        labels: A name per class.
        top: How many.
    """
    return _named(_best(scores.ravel(), top), labels)


def _likeliest(logits: NDArray[Any], labels: Sequence[str], temperature: float) -> tuple[Score, ...]:
    """The best by probability, as `tiercut.model.confidence.probabilities` has it, which only they need."""
    values = logits.ravel().astype(np.float64) / temperature
    best = _best(values, TOP)
    highest = best[0][1]
    total = float(np.exp(values - highest).sum())
    return _named([(i, math.exp(value - highest) / total) for i, value in best], labels)


def _best(values: NDArray[Any], top: int) -> list[tuple[int, float]]:
    """Index and value of the greatest, greatest first; what is not a number counts as greater than all."""
    found = np.argpartition(values, -top)[-top:] if top < values.size else np.arange(values.size)
    pairs = zip(found.tolist(), values[found].tolist(), strict=True)
    return sorted(pairs, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1], reverse=True)


def _named(best: Iterable[tuple[int, float]], labels: Sequence[str]) -> tuple[Score, ...]:
    return tuple([Score(index=i, label=labels[i], score=number_or_word(round(float(value), 6))) for i, value in best])
