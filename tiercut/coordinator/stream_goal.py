"""What a stream wants of its plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tiercut.errors import SettingsError
from tiercut.model.cuts import CutPoint
from tiercut.model.variants import Leaving, Variant
from tiercut.plan import FULL
from tiercut.planner.objectives import LATENCY, THROUGHPUT, ObjectiveName
from tiercut.planner.problem import Codec
from tiercut.planner.way_back import Destination
from tiercut.profiling.codec_table import CodecTable
from tiercut.profiling.profile import Profile

#: Codecs of a model whose codecs were not measured.
UNMEASURED = ("int8+zstd", "jpeg")
#: Accuracy that a stream gives away by default, once the cost of codecs and exits is known.
DEFAULT_DROP = 0.01


@dataclass(frozen=True, kw_only=True)
class StreamGoal:
    """A stream that wants a plan.

    Attributes:
        name: Its name.
        model: Identity of its model.
        model_name: The model's name.
        cuts: Cut points of the whole model.
        device: Node id of its device.
        objective: What is best.
        min_first_cut: Least cut on the device; raw frames stay there with 1 or more.
        codecs: Names that may be used; none: all that have been measured for the model, else `UNMEASURED`.
        variants: Ways through the model beside the whole of it that may be planned; each says how accurate it is.
        accuracy: Of the whole model, 0..1; 1 where not measured.
        leaving: What leaves where at which threshold.
        table: What codecs cost; ``None`` where not measured.
        deadline_s: Seconds after capture within which a result is of use.
        max_accuracy_drop: What may be given away in all, below the best variant.
        min_noise: Least noise on what leaves the device, in standard deviations.
        exit_threshold: Frames leave at any exit that is at least so sure.
        exit_cuts: Cut and name of every exit of the model, from the first on; those of ``variants`` if not given.
        weight: How many frames it gets beside others where there are not enough for all.
        learned: Names of the codecs that were trained for the whole model.
        results_to: Who waits for its results: their way back counts in plans.
    """

    name: str
    model: str
    model_name: str
    cuts: tuple[CutPoint, ...]
    device: str
    objective: ObjectiveName = "latency"
    min_first_cut: int = 0
    codecs: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    accuracy: float = 1.0
    leaving: tuple[Leaving, ...] = ()
    table: CodecTable | None = None
    deadline_s: float | None = None
    max_accuracy_drop: float | None = None
    min_noise: float = 0.0
    exit_threshold: float | None = None
    exit_cuts: tuple[tuple[int, str], ...] = ()
    learned: frozenset[str] = frozenset()
    moves: bool = False
    weight: float = 1.0
    results_to: Destination | None = None

    @cached_property
    def chosen_codecs(self) -> dict[tuple[int, frozenset[str]], tuple[Profile, list[Codec]]]:
        """What of the table is worth planning with: profile and plans → it, kept as neither changes often."""
        return {}

    @cached_property
    def cut_bytes(self) -> dict[str, tuple[float, ...]]:
        """Bytes at each cut of the whole model and of each variant, counted once."""
        chains = {FULL: self.cuts, **{variant.name: variant.cuts for variant in self.variants}}
        return {name: tuple(float(cut.bytes) for cut in cuts) for name, cuts in chains.items()}

    @property
    def end(self) -> int:
        """Last cut of its whole model."""
        return len(self.cuts) - 1

    def end_of(self, variant: str) -> int | None:
        """Last cut of a variant; ``None`` for one that may not be planned."""
        if variant == FULL:
            return self.end
        found = self.variant(variant)
        return None if found is None else found.end

    def variant(self, name: str) -> Variant | None:
        """A variant beside the whole model."""
        return next((each for each in self.variants if each.name == name), None)

    @cached_property
    def exits(self) -> tuple[tuple[int, str], ...]:
        """Cut and name of every exit, from the first to the last."""
        return self.exit_cuts or tuple((each.exit.cut, each.name) for each in self.variants if each.exit is not None)

    def exits_before(self, variant: str) -> tuple[tuple[int, str], ...]:
        """The exits that a frame of a variant passes: as `Bundle.exits_before`."""
        if variant == FULL:
            return self.exits
        found = self.variant(variant)
        if found is None or found.exit is None:
            return ()
        last = found.exit.cut
        return tuple((cut, name) for cut, name in self.exits if cut < last)

    @cached_property
    def has_sizes(self) -> bool:
        """Variants for other input sizes may be planned."""
        return any(each.exit is None for each in self.variants)

    @property
    def best_accuracy(self) -> float:
        """Of the best variant, below which nothing is to fall by more than ``max_drop``."""
        return max([self.accuracy, *(each.accuracy or 0.0 for each in self.variants)])

    @cached_property
    def shared(self) -> dict[str, int]:
        """Variant → how many of its first blocks are those of the whole model."""
        return {each.name: each.exit.cut for each in self.variants if each.exit is not None}

    @cached_property
    def max_drop(self) -> float | None:
        """The limit that its plans must keep to."""
        if self.max_accuracy_drop is not None or self.objective == "accuracy":
            return self.max_accuracy_drop
        return DEFAULT_DROP if self.table is not None or self.variants else None


def of_rates(goal: StreamGoal) -> bool:
    """Whether a stream is to be quick, or to give many frames: what is to save energy says nothing of rates."""
    return goal.objective in {LATENCY.name, THROUGHPUT.name}


def leaving_at(leaving: tuple[Leaving, ...], threshold: float) -> Leaving:
    """What leaves where at a threshold between two that were measured; at 1 and above no frame leaves early.

    Raises:
        SettingsError: nothing was measured.
    """
    if not leaving:
        raise SettingsError(
            "the shares that leave at this model's exits were not measured",
            expected="a bundle with exits that were measured",
            came="none",
            fix="run 'tiercut exits train', or omit the threshold",
        )
    ordered = sorted(leaving, key=lambda each: each.threshold)
    names = dict.fromkeys(name for each in ordered for name in each.shares)
    last = Leaving(threshold=1.0, shares={FULL: 1.0}, accuracy=ordered[-1].accuracy)
    above = next((each for each in (*ordered, last) if each.threshold >= threshold), last)
    below = next((each for each in reversed(ordered) if each.threshold <= threshold), ordered[0])
    width = above.threshold - below.threshold
    part = (threshold - below.threshold) / width if width > 0 else 0.0
    shares = {n: (1 - part) * below.shares.get(n, 0.0) + part * above.shares.get(n, 0.0) for n in names}
    accuracy = (1 - part) * below.accuracy + part * above.accuracy
    return Leaving(threshold=threshold, shares=shares, accuracy=accuracy)
