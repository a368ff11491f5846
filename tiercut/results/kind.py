"""What a kind of result is: all that has to be known of what some models' outputs become."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta
from numpy.typing import NDArray

from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant

Outputs = Mapping[str, NDArray[Any]]
#: JSON has no NaN and no infinity: they become words.
NumberOrWord = int | float | Annotated[str, Meta(pattern=r"^(nan|-?inf)\Z", extra={"reason": "bad_number"})]
#: Home Assistant keeps a state of at most this many characters.
STATE_CHARACTERS = 255


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a result's JSON in which one kind says what the model made of a frame, with their limits.

    The first field tells the kind: no other kind has it, and it is in every result of this one.
    """


S = TypeVar("S", bound=Said)


class ResultKind(ABC, Generic[S]):
    """One kind of result.

    Attributes:
        name: Its name in the table.
        said: Its fields of a result.
    """

    name: str
    said: type[S]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Its fields of a result, as JSON has them; by the first of them it is known."""
        return tuple(each.encode_name for each in msgspec.structs.fields(self.said))

    @abstractmethod
    def fits(self, bundle: Bundle, variant: Variant) -> bool:
        """Whether the outputs of a way through a model become this; the first kind of the table that fits is used."""

    @abstractmethod
    def read(self, outputs: Outputs, bundle: Bundle, variant: Variant) -> tuple[S, float | None]:
        """What one frame's outputs say, and how sure the model is, 0..1; ``None`` where unknown."""

    @abstractmethod
    def headline(self, said: S) -> tuple[str, str]:
        """What a person reads first, and a figure to it or nothing: both in few characters."""

    @abstractmethod
    def entity(self, bundle: Bundle) -> Mapping[str, Any]:
        """How a sensor of Home Assistant reads its state from a result: ``value_template``, and what goes with it."""

    def agree(self, one: S, other: S) -> bool:
        """Whether a person would call two results of a frame the same answer."""
        return one == other

    def class_of(self, said: S) -> int | None:
        """The index to be compared with a data set's label; ``None`` for kinds that name no class."""
        del said
        return None


def number_or_word(value: float) -> float | str:
    """A number as JSON can have it."""
    return value if math.isfinite(value) else str(value)
