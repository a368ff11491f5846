"""How exits are trained, and what is reported on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from tiercut.errors import SettingsError
from tiercut.exits.heads import KINDS, HeadPlan

Mode = Literal["joint", "frozen"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        mode: ``joint`` trains trunk and heads on labels with the sum of all weighted losses (Teerapittayanon et al.,
            BranchyNet, ICPR 2016, equation 2); ``frozen`` leaves the trunk and teaches the heads its final output.
        epochs: Passes over the training frames.
        batch: Frames per step.
        learning_rate: Its peak; it rises over the first fifth of all steps and falls to nothing by a cosine.
        weights: Of the loss of each exit, from the first to the last, then of the full model's (joint alone, where it
            is 1 when omitted); none: 1 for each.
        head: What heads are made of.
        seed: Of first weights and of the order of frames.
        threads: Threads of torch and ONNX Runtime.
    """

    mode: Mode = "joint"
    epochs: int = 8
    batch: int = 128
    learning_rate: float = 2e-3
    weights: tuple[float, ...] = ()
    head: HeadPlan = field(default_factory=HeadPlan)
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise _bad(name, f"{least} or more", getattr(self, name))
        if self.mode not in MODES:
            raise _bad("mode", f"one of {', '.join(MODES)}", self.mode)
        if self.head.kind not in KINDS or self.head.width < 1:
            raise _bad("head", f"one of {', '.join(KINDS)}, 1 channel or more", self.head)
        if not 0 < self.learning_rate < math.inf:
            raise _bad("learning_rate", "a number > 0", self.learning_rate)
        if any(not 0 <= weight < math.inf for weight in self.weights) or (self.weights and not any(self.weights)):
            raise _bad("weights", "numbers >= 0, one of them > 0", self.weights)

    def loss_weights(self, exits: int) -> tuple[float, ...]:
        """The weight of each exit's loss, and of the full model's behind them.

        Raises:
            SettingsError: there are not as many as exits, or one more.
        """
        if len(self.weights) not in {0, exits, exits + (self.mode == "joint")}:
            raise _bad("weights", f"{exits}, one per exit, and in joint training one for the full model", self.weights)
        given = self.weights or (1.0,) * exits
        return given if len(given) > exits else (*given, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: Which pass, from 1.
        epochs: Of how many.
        part: Of the whole training, 0..1.
        loss: Mean of the last steps.
        accuracy: By exit, on held-back frames, at the end of an epoch; empty in between.
        seconds: Spent, without what earlier runs spent.
        seconds_left: At this pace.
    """

    epoch: int
    epochs: int
    part: float
    loss: float
    accuracy: Mapping[str, float]
    seconds: float
    seconds_left: float


Report = Callable[[Progress], None]
#: Says what is being done besides training, in a few words.
Note = Callable[[str], None]
_Item = TypeVar("_Item")
#: Seconds between two counts.
_COUNTED_EVERY_S = 10.0


def counted(items: Iterable[_Item], total: int, what: str, note: Note) -> Iterator[tuple[int, _Item]]:
    """Number items that take a while each, and say now and then how many are done.

    Args:
        items: One after the other.
        total: How many there will be.
        what: What is done to them, as "measured on held-back frames".
        note: Hears it.
    """
    said = time.monotonic()
    for i, item in enumerate(items):
        yield i, item
        if time.monotonic() - said > _COUNTED_EVERY_S:
            said = time.monotonic()
            note(f"{what}: {i + 1} of {total}")


def _bad(name: str, expected: str, came: object) -> SettingsError:
    return SettingsError(
        f"the recipe's '{name}' is not valid", expected=expected, came=str(came), fix=f"correct {name}"
    )
