"""Frames with or without labels, as data for training and measuring, and whether they fit a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import DataError

Frame = NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Frames, and what is on them where that is known.

    Attributes:
        frames: Each as a sensor gives it: uint8 ``(height, width)`` or ``(height, width, 3)``; for models that take
            tensors an array.
        labels: Class of each frame, int64; ``None``: not known.
        names: Names of the classes, where folders or a model gave them.
    """

    frames: Sequence[Frame]
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, count: int, seed: int = 0) -> Samples:
        """A number of them, drawn without repetition, the same at every call; all in their order if there are fewer."""
        if count >= len(self):
            return self
        return self._chosen(np.random.default_rng(seed).permutation(len(self))[:count])

    def split(self, part: float, seed: int = 0) -> tuple[Samples, Samples]:
        """Two that share no frame, the first with ``part`` (0 to 1) of all, drawn the same at every call."""
        order = np.random.default_rng(seed).permutation(len(self))
        count = round(part * len(self))
        return self._chosen(order[:count]), self._chosen(order[count:])

    def _chosen(self, places: NDArray[np.int64]) -> Samples:
        labels = None if self.labels is None else self.labels[places]
        return replace(self, frames=_Chosen(self.frames, places), labels=labels)


class Frames(Sequence[Frame]):
    """Frames that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return _Chosen(self, np.arange(self._count)[index])
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._frame(index % self._count)

    @abstractmethod
    def _frame(self, index: int) -> Frame:
        """The frame at a place, 0 to one less than there are."""


class _Chosen(Frames):
    """Some of other frames, by their places."""

    def __init__(self, frames: Sequence[Frame], places: NDArray[np.int64]) -> None:
        super().__init__(len(places))
        self._frames, self._places = frames, places

    def _frame(self, index: int) -> Frame:
        return self._frames[int(self._places[index])]


class Stack(Frames):
    """The frames along an array's first axis."""

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__(len(array))
        self._array = array

    def _frame(self, index: int) -> Frame:
        return np.asarray(self._array[index])


def for_model(samples: Samples, outputs: int, model_name: str, names: tuple[str, ...] | None = None) -> Samples:
    """The same frames with labels as the model counts its classes.

    Folders that are called as the model's classes, or as their numbers, are matched by that; others by their order.

    Args:
        samples: Frames, with labels or without.
        outputs: How many classes the model tells apart.
        model_name: For messages.
        names: The model's own names of its classes.

    Raises:
        DataError: the labels do not match the model's outputs.
    """
    if samples.labels is None or samples.names is None:
        check_labels(samples, outputs, model_name)
        return samples
    places = {name: i for i, name in enumerate(names or ())}
    known = [name for name in samples.names if name in places]
    if known and len(known) < len(samples.names):
        unknown = sorted(set(samples.names) - set(known))
        raise _unlike(model_name, f"names among the model's {len(places)} classes", f"'{unknown[0]}'")
    if not known:
        numbers = all(name.isdecimal() for name in samples.names)
        places = {name: int(name) if numbers else i for i, name in enumerate(samples.names)}
    by_place = np.array([places[name] for name in samples.names], np.int64)
    matched = replace(samples, labels=by_place[samples.labels], names=names)
    check_labels(matched, outputs, model_name)
    return matched


def check_labels(samples: Samples, outputs: int, model_name: str) -> None:
    """Check that every label is one of the model's classes.

    Raises:
        DataError: one is not.
    """
    if samples.labels is None or not len(samples.labels):
        return
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if low < 0 or high >= outputs:
        raise _unlike(model_name, f"labels from 0 to {outputs - 1}", str(low if low < 0 else high))


def need(samples: Samples, least: int, what: str) -> None:
    """Check that there are enough frames.

    Args:
        samples: Those there are.
        least: How many it takes.
        what: For what, as "the calibration set".

    Raises:
        DataError: there are fewer.
    """
    if len(samples) < least:
        came = f"{len(samples)}"
        raise DataError(f"{what} is too small", expected=f"{least} frames or more", came=came, fix="give more frames")


def _unlike(model_name: str, expected: str, came: str) -> DataError:
    return DataError(
        f"the labels do not match the outputs of '{model_name}'",
        expected=expected,
        came=came,
        fix="give data of the classes that the model knows",
    )
