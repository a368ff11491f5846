"""Measuring a profile: segments ``[0, k)`` in turns, and codecs on what real frames leave at each cut.

In turns, so that a machine that is disturbed for a second disturbs every cut a little instead of one cut a lot;
medians, so that it hardly matters at all. The clock is given, so that a test can say how long things take.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.table import CODECS, codec
from tiercut.model.bundle import Bundle
from tiercut.model.segments import SegmentCache
from tiercut.model.variants import Variant
from tiercut.plan import FULL
from tiercut.profiling.cut_sampling import MAX_CUTS, candidate_cuts, cuts_to_measure, fill_between
from tiercut.profiling.machine import package_version, this_machine
from tiercut.profiling.memory import measure_memory
from tiercut.profiling.profile import CodecPoint, Profile, Span

T = TypeVar("T")
Frame = NDArray[np.generic]
Tensors = Mapping[str, NDArray[np.generic]]
#: Seconds on a clock that never jumps.
Clock = Callable[[], float]
#: Told after each step: how much of the work is done, 0..1, and what was done.
Report = Callable[[float, str], None]

#: Runs of one segment before the next has its turn; the first after a change finds cold caches and does not count.
WARM_UP, RUNS = 1, 3
#: More samples than these change a median by less than machines differ from minute to minute.
MAX_SAMPLES = 60
MAX_FRAMES = 8
#: Share of the time that codecs get.
CODEC_SHARE = 0.3
CACHE_BYTES = 256_000_000
PACKAGES = ("tiercut", "onnxruntime", "numpy", "zstandard", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a profile is measured.

    Attributes:
        threads: Threads per segment.
        seconds: Time to spend. One round over all cuts and codecs is always made, however long it takes.
        max_cuts: Segments to measure; cuts in between are interpolated.
        codecs: Names of the codecs to measure.
        memory: Measure what segments hold as well, in processes of their own; else the profile does not say.
    """

    threads: int = 1
    seconds: float = 20.0
    max_cuts: int = MAX_CUTS
    codecs: tuple[str, ...] = field(default_factory=lambda: tuple(name for name in CODECS if name != "raw"))
    memory: bool = False


def measure_profile(
    bundle: Bundle,
    frames: Iterable[Frame] = (),
    options: Options | None = None,
    *,
    clock: Clock = time.perf_counter,
    report: Report | None = None,
) -> Profile:
    """Measure a profile of a bundle on this machine.

    Args:
        bundle: The model.
        frames: What its sensor gives; the first `MAX_FRAMES` are used. Without any, made-up frames: good for times,
            poor for the bytes that codecs make.
        options: How.
        clock: Measures.
        report: Told about progress.

    Raises:
        InputError: a frame does not fit the model.
        BundleError: ONNX Runtime refuses a segment.
        SettingsError: there is no codec of a name.
    """
    chosen = options or Options()
    tell = report or (lambda _done, _what: None)
    real = list(itertools.islice(frames, MAX_FRAMES))
    bench = _Bench(bundle, _inputs(bundle, real), chosen, clock)
    samples = bench.segments(lambda done, what: tell(done * (1 - CODEC_SHARE), what))
    codecs = bench.codecs(lambda done, what: tell(1 - CODEC_SHARE * (1 - done), what))
    medians = {part: statistics.median(times) for part, times in samples.items()}
    full = {part.stop: seconds for part, seconds in medians.items() if part.variant == FULL}
    return Profile(
        model=bundle.model,
        model_name=bundle.name,
        machine=this_machine(chosen.threads),
        source="measured",
        cut_seconds=fill_between(bundle.cuts, full),
        variants={each.name: _chain(each, bundle, medians) for each in bundle.variants[1:]},
        cut_bytes=tuple(cut.bytes for cut in bundle.cuts),
        measured_cuts=tuple(sorted(full)),
        spread=statistics.median(map(_spread, samples.values())),
        frames=f"{len(real)} real" if real else "synthetic",
        codecs=tuple(codecs),
        date=datetime.now(UTC).date().isoformat(),
        versions={name: package_version(name) for name in PACKAGES},
        memory=measure_memory(bundle, chosen.threads) if chosen.memory else {},
    )


def _inputs(bundle: Bundle, frames: Sequence[Frame]) -> dict[str, list[Tensors]]:
    """Variant → what its cut 0 takes for each frame, made up where there are none; exits take what the whole takes."""
    chains = [each for each in bundle.variants if each.exit is None]
    return {
        each.name: [bundle.to_inputs(frame, each.name) for frame in frames] or [synthetic_inputs(bundle, each.name)]
        for each in chains
    }


def _chain(variant: Variant, bundle: Bundle, medians: Mapping[Span, float]) -> tuple[float, ...]:
    """Seconds up to each cut of a variant other than the whole model."""
    spec = variant.exit
    if spec is None:
        found = {part.stop: seconds for part, seconds in medians.items() if part.variant == variant.name}
        return fill_between(variant.cuts, found)
    full = {part.stop: seconds for part, seconds in medians.items() if part.variant == FULL}
    trunk = fill_between(bundle.cuts, full)[: spec.cut + 1]
    return (*trunk, trunk[-1] + medians[Span(spec.cut, spec.cut + 1, variant.name)])


def synthetic_inputs(bundle: Bundle, variant: str = FULL) -> dict[str, NDArray[np.generic]]:
    """Inputs for a model without frames: images of soft patches and a little noise, normal noise, zeros for indices."""
    random = np.random.default_rng(0)
    inputs: dict[str, NDArray[np.generic]] = {}
    for tensor in bundle.variant(variant).cuts[0].tensors:
        kind = np.dtype(tensor.dtype)
        if kind == np.uint8 and bundle.frame.kind == "image":
            inputs[tensor.name] = _soft_image(tensor.shape, random)
        elif kind.kind == "f":
            inputs[tensor.name] = random.standard_normal(tensor.shape).astype(kind)
        else:
            inputs[tensor.name] = np.zeros(tensor.shape, kind)
    return inputs


def _soft_image(shape: Sequence[int], random: np.random.Generator) -> NDArray[np.uint8]:
    """``(views, height, width, channels)``: an 8 by 8 grid of colours, blended, as far as a photograph is soft."""
    views, height, width, channels = shape
    grid = random.uniform(0, 255, (8, 8, channels))
    rows = np.linspace(0, 7, height), np.linspace(0, 7, width)
    blended = grid
    for axis, at in enumerate(rows):
        low = np.minimum(at.astype(int), 6)
        part = np.expand_dims(at - low, [i for i in range(3) if i != axis])
        blended = np.take(blended, low, axis) * (1 - part) + np.take(blended, low + 1, axis) * part
    noisy = blended + random.normal(0, 4, (views, *blended.shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


class _Bench:
    """One measurement: the segments it holds ready, the frames, and the clock."""

    def __init__(self, bundle: Bundle, inputs: Mapping[str, Sequence[Tensors]], options: Options, clock: Clock) -> None:
        self._bundle = bundle
        self._inputs = inputs[FULL]
        self._inputs_of = inputs
        self._options = options
        self._clock = clock
        self._cache = SegmentCache(CACHE_BYTES)
        self._heads: dict[Span, list[Tensors]] = {}

    def segments(self, tell: Report) -> dict[Span, list[float]]:
        """Seconds of each run of ``[0, k)``, for the cuts that are measured of each variant; of exits, of the head."""
        parts = list(self._parts())
        samples: dict[Span, list[float]] = {part: [] for part in parts}
        budget_s = self._options.seconds * (1 - CODEC_SHARE)
        for part, done in self._rounds(parts, budget_s, most=MAX_SAMPLES // RUNS):
            segment = self._cache.get(self._bundle, part.start, part.stop, self._options.threads, part.variant)
            frames = itertools.islice(itertools.cycle(self._before(part)), WARM_UP + RUNS)
            samples[part] += [self._seconds(partial(segment.run, frame))[0] for frame in frames][WARM_UP:]
            tell(done, f"[{part.start}, {part.stop})")
        return samples

    def _parts(self) -> Iterator[Span]:
        """What is timed."""
        for variant in self._bundle.variants:
            spec = variant.exit
            if spec is not None:
                yield Span(spec.cut, spec.cut + 1, variant.name)
                continue
            also = tuple(each.cut for each in self._bundle.exits) if variant.name == FULL else ()
            for k in cuts_to_measure(variant.cuts, self._options.max_cuts, also=also):
                yield Span(0, k, variant.name)

    def _before(self, part: Span) -> Sequence[Tensors]:
        """What a segment takes, for each frame."""
        if part.start == 0:
            return self._inputs_of[part.variant]
        if part not in self._heads:  # a head takes one tensor, made once
            trunk = self._cache.get(self._bundle, 0, part.start, self._options.threads)
            self._heads[part] = [trunk.run(frame) for frame in self._inputs]
        return self._heads[part]

    def codecs(self, tell: Report) -> Iterator[CodecPoint]:
        """What each codec makes of each cut worth choosing."""
        cuts = candidate_cuts(self._bundle.cuts)
        pairs = [(k, name) for k in cuts for name in self._options.codecs if self._takes(k, name)]
        samples: dict[tuple[int, str], list[tuple[int, float, float]]] = defaultdict(list)
        alive: dict[tuple[int, int], Tensors] = {}
        turn = itertools.count()
        for (k, name), done in self._rounds(pairs, self._options.seconds * CODEC_SHARE, most=2 * MAX_FRAMES):
            frame = next(turn) // max(1, len(pairs)) % len(self._inputs)
            if (k, frame) not in alive:
                alive = {key: value for key, value in alive.items() if key[1] == frame}
                alive[k, frame] = self._cache.get(self._bundle, 0, k, self._options.threads).run(self._inputs[frame])
            samples[k, name] += [self._code(alive[k, frame], name) for _ in range(WARM_UP + 1)][WARM_UP:]
            tell(done, f"{name} at cut {k}")
        for (k, name), each in samples.items():
            sizes, encodes, decodes = zip(*each, strict=True)
            yield CodecPoint(
                codec=name,
                cut=k,
                bytes=round(statistics.mean(sizes)),
                encode_seconds=statistics.median(encodes),
                decode_seconds=statistics.median(decodes),
                lossless=CODECS[name].lossless,
            )

    def _takes(self, k: int, name: str) -> bool:
        """Whether a codec does something of its own with a cut's tensors, rather than falling back for all of them."""
        tensors = self._bundle.cuts[k].tensors
        return any(codec(name).accepts(tensor.dtype, tensor.shape) for tensor in tensors)

    def _code(self, tensors: Tensors, name: str) -> tuple[int, float, float]:
        """Bytes, seconds to encode and seconds to decode."""
        encode_s, encoded = self._seconds(lambda: [encode_tensor(n, array, name) for n, array in tensors.items()])
        decode_s, _ = self._seconds(lambda: [decode_tensor(tensor) for tensor in encoded])
        return sum(len(tensor.data) for tensor in encoded), encode_s, decode_s

    def _seconds(self, call: Callable[[], T]) -> tuple[float, T]:
        start_s = self._clock()
        result = call()
        return self._clock() - start_s, result

    def _rounds(self, items: Sequence[T], budget_s: float, *, most: int) -> Iterator[tuple[T, float]]:
        """Each item in turn, once at least, until the time is spent; with the part of the work that is done then."""
        start_s = self._clock()
        for number in range(most):
            for i, item in enumerate(items):
                spent_s = self._clock() - start_s
                if number and spent_s >= budget_s:
                    return
                steps = (number + (i + 1) / len(items)) / most
                yield item, min(1.0, max(steps, spent_s / budget_s if budget_s > 0 else 0.0))


def _spread(times: Sequence[float]) -> float:
    """Half the distance of the quartiles, over the median."""
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return float((high - low) / 2 / middle) if middle > 0 else 0.0
