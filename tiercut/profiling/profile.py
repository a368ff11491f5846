"""A profile: how long one machine takes for a model up to each cut, and what each codec makes of a cut's tensors.

Times are of segments ``[0, k)``, never of single operators: a runtime fuses neighbours, so parts do not add up to the
whole (Neurosurgeon, ASPLOS 2017, sums per-layer times; on fused graphs that overstates). How they are measured is
`measure`'s matter, how they are kept `store`'s, how they are predicted `predictor`'s.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

from msgspec import Meta

from tiercut.errors import SettingsError
from tiercut.fields import ModelId
from tiercut.model.cuts import CutPoint
from tiercut.model.memory import BlockMemory
from tiercut.plan import FULL
from tiercut.planner.problem import Codec
from tiercut.profiling.machine import Machine

Source = Literal["measured", "predicted"]
#: For readers of the schema: the constructor refuses others, with a sentence.
_AT_LEAST_0 = Meta(extra_json_schema={"minimum": 0})
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecPoint:
    """What one codec makes of all tensors of one cut.

    Attributes:
        codec: Its name.
        cut: The cut.
        bytes: Size afterwards, mean over frames.
        encode_seconds: Median over frames.
        decode_seconds: Median over frames.
        lossless: The tensors come back bit for bit.
    """

    codec: str
    cut: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    lossless: bool = False

    def __post_init__(self) -> None:
        if not (self.cut >= 0 and self.bytes >= 0 and _times_fit((self.encode_seconds, self.decode_seconds))):
            raise bad_profile(
                "cut, bytes and seconds >= 0 for each codec",
                f"{self.codec} at cut {self.cut}: {self.bytes} B, {self.encode_seconds} s, {self.decode_seconds} s",
            )


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """What a node runs for a frame.

    Attributes:
        start: First cut.
        stop: Last cut.
        variant: Whose cuts these are.
        heads: Exits that are tried on the way, besides.
    """

    start: int
    stop: int
    variant: str = FULL
    heads: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing is run."""
        return self.start == self.stop and not self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Times of one model on one machine.

    Attributes:
        model: Identity of the bundle.
        model_name: What people call it.
        machine: Where it was measured, or for which it was predicted.
        source: ``measured`` or ``predicted``.
        cut_seconds: Seconds of segment ``[0, k)``, for k = 0 to the end; from 0, never decreasing.
        cut_bytes: Size of the tensors at each cut without a codec.
        variants: Seconds of segment ``[0, k)`` of each variant but the whole model.
        memory: What the blocks of each variant hold, as measured or, in a prediction, as its graph says; empty in
            profiles of older versions.
        measured_cuts: The cuts that were measured; the others are interpolated. Empty for a prediction.
        spread: Half the distance of the quartiles over the median: how much one run differs from the next.
        frames: What it was measured on ("8 real", "synthetic"), for people.
        codecs: What codecs make of the cuts worth choosing.
        date: Day it was made, ISO 8601.
        versions: Packages that the times depend on.
    """

    model: ModelId
    model_name: str
    machine: Machine
    source: Source
    cut_seconds: tuple[Annotated[float, _AT_LEAST_0], ...]
    cut_bytes: tuple[Annotated[int, _AT_LEAST_0], ...]
    measured_cuts: tuple[int, ...] = ()
    spread: float = 0.0
    frames: str = ""
    codecs: tuple[CodecPoint, ...] = ()
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    memory: Mapping[str, BlockMemory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise bad_profile(f"a source of {SOURCES}", repr(self.source))
        for seconds in (self.cut_seconds, *self.variants.values()):
            if not seconds or seconds[0] != 0 or not _times_fit(seconds):
                raise bad_profile("finite cut_seconds that begin with 0", f"{list(seconds[:4])} …")
            if any(a > b for a, b in itertools.pairwise(seconds)):
                raise bad_profile("cut_seconds that never decrease", "a cut that takes less than the one before it")
        if len(self.cut_bytes) != len(self.cut_seconds) or any(size < 0 for size in self.cut_bytes):
            raise bad_profile(f"{len(self.cut_seconds)} cut_bytes >= 0", f"{len(self.cut_bytes)}")
        for name, memory in self.memory.items():
            chain, held = self.chain(name), (memory.weights_mb, memory.peak_mb)
            if any(not _times_fit(each) or (chain and len(each) != len(chain) - 1) for each in held):
                raise bad_profile("finite weights_mb and peak_mb >= 0, one of each per block", f"'{name}' in memory")
        outside = [k for k in (*self.measured_cuts, *(point.cut for point in self.codecs)) if not 0 <= k <= self.end]
        if outside or not _times_fit((self.spread,)):
            raise bad_profile(f"cuts of 0 to {self.end} and a spread >= 0", f"cuts {outside}, spread {self.spread}")

    @property
    def end(self) -> int:
        """Number of the last cut."""
        return len(self.cut_seconds) - 1

    def chain(self, variant: str) -> tuple[float, ...] | None:
        """Seconds of segment ``[0, k)`` of a variant; ``None`` where unknown."""
        return self.cut_seconds if variant == FULL else self.variants.get(variant)

    def seconds(self, a: int, b: int, variant: str = FULL) -> float:
        """Time of segment ``[a, b)`` of a variant.

        Raises:
            SettingsError: the profile has no such segment.
        """
        chain = self.chain(variant) or ()
        if not 0 <= a <= b < len(chain):
            raise SettingsError(
                f"the profile of '{self.model_name}' has no segment [{a}, {b}) of '{variant}'",
                expected=f"0 <= a <= b <= {len(chain) - 1}" if chain else f"one of {[FULL, *self.variants]}",
                came=f"a {a}, b {b}",
                fix="profile the bundle that the nodes have",
            )
        return chain[b] - chain[a]

    def has(self, span: Span) -> bool:
        """Whether it says how long something takes."""
        chain = self.chain(span.variant) or ()
        return 0 <= span.start <= span.stop < len(chain) and all(name in self.variants for name in span.heads)

    def span_seconds(self, span: Span) -> float:
        """Time of all that a node runs for a frame.

        Raises:
            SettingsError: the profile has no such segment or head.
        """
        return self.seconds(span.start, span.stop, span.variant) + sum(map(self.head_seconds, span.heads))

    def head_seconds(self, exit_name: str) -> float:
        """Time of an exit's head alone.

        Raises:
            SettingsError: the profile has no such exit.
        """
        last = len(self.variants.get(exit_name, ())) - 1
        return self.seconds(max(0, last - 1), last, exit_name)

    def scaled(self, factor: float) -> Profile:
        """The same profile for a machine that takes ``factor`` times as long."""
        variants = {name: tuple(each * factor for each in chain) for name, chain in self.variants.items()}
        return replace(self, cut_seconds=tuple(each * factor for each in self.cut_seconds), variants=variants)


def block_seconds(profile: Profile, variant: str = FULL) -> tuple[float, ...]:
    """Seconds of each block between two neighbouring cuts: ``block_seconds`` of the planning problem."""
    return tuple(max(0.0, b - a) for a, b in itertools.pairwise(profile.chain(variant) or ()))


def codec_row(
    point: CodecPoint, cut_bytes: int, *, receiver: CodecPoint | None = None, accuracy_drop: float = 0.0
) -> Codec:
    """One codec of a planning problem, good for one cut.

    Args:
        point: Measured on the sender.
        cut_bytes: Size of that cut without a codec; ratio and seconds per MB refer to it.
        receiver: The same codec and cut measured on the receiver, for the time to decode.
        accuracy_drop: What it costs, 0..1.
    """
    return Codec(
        name=point.codec,
        ratio=cut_bytes / max(1, point.bytes),
        encode_seconds_per_mb=point.encode_seconds / max(1, cut_bytes) * 1e6,
        decode_seconds_per_mb=(receiver or point).decode_seconds / max(1, cut_bytes) * 1e6,
        accuracy_drop=accuracy_drop,
        cuts=(point.cut, point.cut),
    )


def named_by_cut(row: Codec) -> Codec:
    """A row of `codec_rows` under a name that no other has: ``<codec>@<cut>``."""
    return row if row.cuts is None else replace(row, name=f"{row.name}@{row.cuts[0]}")


def codec_rows(
    sender: Profile,
    *,
    cuts: Iterable[int] | None = None,
    receiver: Profile | None = None,
    accuracy_drop: Mapping[str, float] | None = None,
) -> list[Codec]:
    """The planning problem's codecs for the cuts worth choosing: one per codec and cut.

    A codec's ratio depends on the cut (after a ReLU half the values are 0), so one entry for all cuts would mislead.
    One that shrinks nothing is omitted: ``raw`` always exists. ``name`` is the codec's, so it repeats; a problem wants
    unique names (`named_by_cut`).

    Args:
        sender: Profile of the node that encodes.
        cuts: Only these; all that the profile has by default.
        receiver: Profile of the node that decodes; the sender's times where unknown.
        accuracy_drop: By codec name; 0 where it is not given.
    """
    wanted = None if cuts is None else set(cuts)
    theirs = {(p.codec, p.cut): p for p in receiver.codecs} if receiver else {}
    drops = accuracy_drop or {}
    return [
        codec_row(
            point,
            sender.cut_bytes[point.cut],
            receiver=theirs.get((point.codec, point.cut)),
            accuracy_drop=drops.get(point.codec, 0.0),
        )
        for point in sender.codecs
        if (wanted is None or point.cut in wanted) and point.bytes < sender.cut_bytes[point.cut]
    ]


def check_profile_fits(profile: Profile, model: str, cuts: tuple[CutPoint, ...]) -> None:
    """Check that a profile is of a bundle.

    Raises:
        SettingsError: it is of another model.
    """
    if profile.model != model or profile.cut_bytes != tuple(cut.bytes for cut in cuts):
        raise SettingsError(
            f"the profile of '{profile.model_name}' is of another model",
            expected=f"model {model[:16]}… with {len(cuts)} cuts",
            came=f"model {profile.model[:16]}… with {len(profile.cut_seconds)} cuts",
            fix="run 'tiercut profile BUNDLE' again",
        )


def fitting_variants(profile: Profile, ends: Mapping[str, int]) -> tuple[Profile, list[str]]:
    """A profile without the variants that are not those of the bundle, and their names.

    Args:
        profile: A profile of the bundle.
        ends: Variant → its last cut, of those that are known.
    """
    odd = [name for name, chain in profile.variants.items() if name in ends and len(chain) != ends[name] + 1]
    kept = {name: chain for name, chain in profile.variants.items() if name not in odd}
    if not odd:
        return profile, odd
    memory = {name: each for name, each in profile.memory.items() if name not in odd}
    return replace(profile, variants=kept, memory=memory), odd


def bad_profile(expected: str, came: str) -> SettingsError:
    """The error for a profile that does not hold together."""
    return SettingsError(
        "a profile is not valid", expected=expected, came=came, fix="delete it and run 'tiercut profile BUNDLE' again"
    )


def _times_fit(seconds: Iterable[float]) -> bool:
    return all(math.isfinite(each) and each >= 0 for each in seconds)
