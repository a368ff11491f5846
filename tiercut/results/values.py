"""Results of models without labels: the numbers of each output, or what many numbers are like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from tiercut.fields import Count
from tiercut.limits import MAX_DIMENSIONS, MAX_TENSORS
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import confidence
from tiercut.model.variants import Variant
from tiercut.results.kind import NumberOrWord, Outputs, ResultKind, Said, number_or_word

#: An output of at most this many numbers is given whole, a larger one as a summary.
WHOLE_OUTPUT = 16
#: Numbers of an output that people are shown.
SHOWN = 4

# NaN and infinity are words in a result; a sensor of numbers takes neither.
_NUMBER = "{% set said = value_json['outputs'][0]['values'][0] %}{{ said if said is number else None }}"
_ARGMAX_OF_FEW = (
    "{% set said = value_json['outputs'][0]['values'] %}{% set numbers = said | select('number') | list %}"
    "{{ said.index(numbers | max) if numbers else None }}"
)
_ARGMAX_OF_MANY = "{{ value_json['outputs'][0]['argmax'] }}"


class Output(Struct, frozen=True, kw_only=True):
    """One output of a model without labels: all its numbers, or from 17 numbers on what they are like.

    Attributes:
        name: Its name in the model.
        shape: Its shape.
        dtype: Type of an element, as numpy calls it.
        values: All numbers in C order; nan, inf and -inf as words.
        min: The least number; nan, inf and -inf as words.
        max: The largest number; nan, inf and -inf as words.
        mean: Their mean; nan, inf and -inf as words.
        argmax: Index of the largest.
    """

    name: str
    shape: Annotated[tuple[Count, ...], Meta(max_length=MAX_DIMENSIONS)]
    dtype: str
    values: Annotated[tuple[NumberOrWord | bool, ...], Meta(max_length=WHOLE_OUTPUT)] | UnsetType = UNSET
    min: NumberOrWord | UnsetType = UNSET
    max: NumberOrWord | UnsetType = UNSET
    mean: NumberOrWord | UnsetType = UNSET
    argmax: Count | UnsetType = UNSET


class Values(Said, frozen=True, kw_only=True):
    """The outputs.

    Attributes:
        outputs: The outputs of a model without labels.
    """

    outputs: Annotated[tuple[Output, ...], Meta(max_length=MAX_TENSORS)]


class ValuesKind(ResultKind[Values]):
    """Of whatever outputs: the last row of the table."""

    name = "values"
    said = Values

    def fits(self, bundle: Bundle, variant: Variant) -> bool:
        """Any."""
        del bundle, variant
        return True

    def read(self, outputs: Outputs, bundle: Bundle, variant: Variant) -> tuple[Values, float | None]:
        """All outputs in order; only an early exit's head says how sure it is."""
        del bundle
        said = Values(outputs=tuple(summary(name, array) for name, array in outputs.items()))
        if variant.exit is None:
            return said, None
        return said, round(confidence(outputs[variant.exit.output.name], variant.exit.temperature), 6)

    def headline(self, said: Values) -> tuple[str, str]:
        """The numbers of the first output, or where it is largest."""
        first = said.outputs[0] if said.outputs else None
        if first is None:
            return "-", ""
        if first.values is not UNSET:
            numbers = " ".join(f"{float(each):.4g}" for each in first.values[:SHOWN])
            return f"{first.name}: {numbers}{' …' if len(first.values) > SHOWN else ''}", ""
        if first.argmax is UNSET or first.max is UNSET:
            return "-", ""
        return f"{first.name}: largest at {first.argmax}, {float(first.max):.4g}", ""

    def entity(self, bundle: Bundle) -> Mapping[str, Any]:
        """The class, or the first number of the first output."""
        first = bundle.outputs[0]
        if math.prod(first.shape) > WHOLE_OUTPUT:
            return {"value_template": _ARGMAX_OF_MANY}
        if first.scores == "softmax":
            return {"value_template": _ARGMAX_OF_FEW}
        return {"value_template": _NUMBER, "state_class": "measurement"}

    def agree(self, one: Values, other: Values) -> bool:
        """Whether their first outputs are largest at the same place."""
        return self.class_of(one) == self.class_of(other)

    def class_of(self, said: Values) -> int | None:
        """Where the first output is largest; NaN counts as the largest, as numpy has it."""
        first = said.outputs[0] if said.outputs else None
        if first is None:
            return None
        if first.argmax is not UNSET:
            return first.argmax
        return int(np.argmax([float(each) for each in first.values])) if first.values else None


def summary(name: str, array: NDArray[Any]) -> Output:
    """One output."""
    shape, dtype = array.shape, str(array.dtype)
    if array.size <= WHOLE_OUTPUT:
        return Output(name=name, shape=shape, dtype=dtype, values=tuple(map(number_or_word, array.ravel().tolist())))
    values = array.astype(np.float64)
    return Output(
        name=name,
        shape=shape,
        dtype=dtype,
        min=number_or_word(float(values.min())),
        max=number_or_word(float(values.max())),
        mean=number_or_word(float(values.mean())),
        argmax=int(values.argmax()),
    )
