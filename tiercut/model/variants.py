"""Ways through a network, each a chain of cut points: the whole model, one per early exit, one per input size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tiercut.errors import SettingsError
from tiercut.model.cuts import Count, CutPoint, DType, Shape, TensorSpec
from tiercut.model.preprocess import FrameSpec
from tiercut.plan import FULL

#: What an output's numbers are: logits that a softmax turns into scores, or what they are.
Scores = Literal["softmax", "as-is"]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output of the model, and how its numbers become scores."""

    name: str
    shape: Shape
    dtype: DType
    scores: Scores

    @property
    def tensor(self) -> TensorSpec:
        """The same as a tensor that is alive at a cut."""
        return TensorSpec(self.name, self.shape, self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitSpec:
    """An early classifier head, at a cut point with one tensor.

    Attributes:
        name: What plans and results call it.
        cut: Cut point of the trunk whose tensor it takes.
        output: Its logits.
        after: Name of its last node.
        macs: Multiply-accumulates of the head alone.
        parameters: Weights and biases of the head alone.
        accuracy: Part of held-back frames that it classifies rightly, 0..1; ``None`` where not measured.
        temperature: Its confidence is ``max softmax(logits / temperature)`` (Guo et al., ICML 2017).
        calibration_error: Expected calibration error of that confidence on held-back frames, 0..1.
    """

    name: str
    cut: int
    output: OutputSpec
    after: str
    macs: Count
    parameters: Count
    accuracy: float | None = None
    temperature: float = 1.0
    calibration_error: float | None = None

    def __post_init__(self) -> None:
        if self.name == FULL or not self.name or self.cut < 1:
            raise _bad("exits", f"a name other than '{FULL}' and a cut >= 1", f"'{self.name}' at cut {self.cut}")
        if not (0 < self.temperature < math.inf):
            raise _bad(f"exits.{self.name}.temperature", "a number > 0", self.temperature)
        for field in ("accuracy", "calibration_error"):
            check_part(getattr(self, field), f"exits.{self.name}.{field}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What happens on held-back frames when every exit lets go what it is at least so sure of.

    Attributes:
        threshold: Least confidence, 0..1.
        shares: Part of the frames that leave at each exit, and at the end (``full``); 1 in all.
        accuracy: Of all these frames together, 0..1.
    """

    threshold: float
    shares: Mapping[str, float]
    accuracy: float

    def __post_init__(self) -> None:
        check_part(self.threshold, "leaving.threshold")
        check_part(self.accuracy, "leaving.accuracy")
        for name, share in self.shares.items():
            check_part(share, f"leaving.shares.{name}")
        if abs(sum(self.shares.values()) - 1) > 1e-3:  # noqa: PLR2004 - rounding
            raise _bad("leaving.shares", "shares that add up to 1", dict(self.shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSpec:
    """The same network for another size of its input, with a graph of its own and the same weights.

    Attributes:
        name: Name of the variant, such as ``full@160``.
        graph: File of its graph.
        frame: How a frame becomes its input.
        outputs: As the main graph's.
        cuts: Its cut points.
        accuracy: As `ExitSpec.accuracy`.
    """

    name: str
    graph: str
    frame: FrameSpec
    outputs: tuple[OutputSpec, ...]
    cuts: tuple[CutPoint, ...]
    accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.name == FULL or not self.name or not self.cuts:
            raise _bad("sizes", f"a name other than '{FULL}', and cuts", f"'{self.name}', {len(self.cuts)} cuts")
        check_part(self.accuracy, f"sizes.{self.name}.accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSpec:
    """A codec that was trained for one cut: an encoder in front of another codec, and a decoder behind it.

    Attributes:
        name: What plans and messages call it.
        cut: The cut whose one tensor it takes.
        encoder: File of the encoder's graph.
        decoder: File of the decoder's graph.
        code: Shape of the float32 tensor between the two.
        inner: Codec of that tensor.
    """

    name: str
    cut: int
    encoder: str
    decoder: str
    code: Shape
    inner: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way through the network, as a chain of cut points from the frame to its outputs.

    The chain of an exit is the trunk's up to the exit's cut, and then one more cut, its end: the head is one block.

    Attributes:
        name: ``full``, an exit's name, or a size's.
        cuts: Its cut points.
        outputs: What it gives.
        frame: How a frame becomes its input.
        accuracy: Part of held-back frames that it classifies rightly, ``None`` where not measured.
        exit: The exit that it ends in.
        graph: File of its graph.
    """

    name: str
    cuts: tuple[CutPoint, ...]
    outputs: tuple[OutputSpec, ...]
    frame: FrameSpec
    accuracy: float | None
    graph: str
    exit: ExitSpec | None = None

    @cached_property
    def end(self) -> int:
        """Number of its last cut."""
        return len(self.cuts) - 1


def exit_variant(spec: ExitSpec, trunk: Variant) -> Variant:
    """The chain that ends in an exit."""
    before = trunk.cuts[spec.cut]
    end = CutPoint(
        index=spec.cut + 1,
        after=spec.after,
        tensors=(spec.output.tensor,),
        macs=before.macs + spec.macs,
        parameters=before.parameters + spec.parameters,
    )
    return Variant(
        name=spec.name,
        cuts=(*trunk.cuts[: spec.cut + 1], end),
        outputs=(spec.output,),
        frame=trunk.frame,
        accuracy=spec.accuracy,
        graph=trunk.graph,
        exit=spec,
    )


def check_part(value: float | None, field: str) -> None:
    """Refuse what is not a part of something, 0..1.

    Raises:
        SettingsError: it is not.
    """
    if value is not None and not 0 <= value <= 1:
        raise _bad(field, "a number of 0 to 1", value)


def _bad(field: str, expected: str, came: object) -> SettingsError:
    return SettingsError(f"'{field}' is not valid", expected=expected, came=str(came)[:80], fix="correct it")
