"""Measuring a codec table: what codecs make of each cut, and what the model then answers, frame by frame.

Every codec meets the same frames and the same noise, so that differences between codecs are not those of chance. The
model runs once up to each cut, and once from there on for every different array that codecs give back.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.noise import add_noise, noise_of, takes_noise, with_noise, without_noise
from tiercut.codecs.table import CODECS, codec
from tiercut.datasets.samples import Frame, Samples, for_model, need
from tiercut.errors import DataError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL
from tiercut.profiling.codec_table import CodecRow, CodecTable, Reference
from tiercut.profiling.cut_sampling import candidate_cuts
from tiercut.profiling.machine import this_machine
from tiercut.results.reading import Reading, read_outputs

Tensors = Mapping[str, NDArray[np.generic]]
#: Seconds on a clock that never jumps.
Clock = Callable[[], float]
#: Told after each frame: how much of the work is done, 0..1, and what was done.
Report = Callable[[float, str], None]

MIN_FRAMES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is measured.

    Attributes:
        cuts: Cuts; by default cut 0, those worth choosing, and those of the bundle's own codecs.
        codecs: Names of codecs; by default all, and the bundle's own at their cuts.
        noise: Scales of noise to put in front of each codec that loses something, and of ``raw``.
        frames: How many frames, drawn at random but the same each time.
        threads: Threads per segment.
    """

    cuts: tuple[int, ...] | None = None
    codecs: tuple[str, ...] | None = None
    noise: tuple[float, ...] = ()
    frames: int = 500
    threads: int = 1


def measure_codecs(
    bundle: Bundle,
    samples: Samples,
    options: Options | None = None,
    *,
    clock: Clock = time.perf_counter,
    report: Report | None = None,
) -> CodecTable:
    """Measure a bundle's codec table on this machine.

    With labels, a codec costs the top-1 accuracy that is lost. Without, it costs the part of frames whose result is
    another one than without the codec, as the model's kind of result has it.

    Args:
        bundle: The model.
        samples: The calibration set.
        options: What.
        clock: Measures.
        report: Told about progress.

    Raises:
        DataError: the calibration set is too small, or its labels do not match the model's outputs.
        InputError: a frame does not fit the model.
        SettingsError: there is no codec of a name, or no such cut.
    """
    chosen = options or Options()
    need(samples, MIN_FRAMES, "the calibration set")
    samples = _labelled(bundle, samples.take(max(MIN_FRAMES, chosen.frames)))
    trials = list(_trials(bundle, chosen))
    bench = _Bench(bundle, trials, chosen.threads, clock)
    for i, frame in enumerate(samples.frames):
        bench.frame(frame, None if samples.labels is None else int(samples.labels[i]))
        if report:
            report((i + 1) / len(samples), f"frame {i + 1} of {len(samples)}")
    reference: Reference = "agreement" if samples.labels is None else "labels"
    return CodecTable(
        model=bundle.model,
        model_name=bundle.name,
        rows=tuple(trial.row(bench.right[FULL]) for trial in trials),
        frames=len(samples),
        reference=reference,
        accuracy=statistics.fmean(bench.right[FULL]),
        date=datetime.now(UTC).date().isoformat(),
        machine=this_machine(chosen.threads),
        variants={name: statistics.fmean(right) for name, right in bench.right.items()},
    )


@dataclass(slots=True, eq=False)
class _Trial:
    """One codec at one cut, and what came of it so far, a value per frame."""

    cut: int
    name: str
    lossless: bool
    sizes: list[int] = field(default_factory=list)
    encode_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    @property
    def noise(self) -> float:
        """Scale of its noise."""
        return noise_of(self.name)

    def row(self, right: Sequence[bool]) -> CodecRow:
        """The row of the table, given which frames the model answers rightly without a codec."""
        drop, std = (0.0, 0.0) if self.lossless else paired_drop(right, self.right)
        return CodecRow(
            codec=self.name,
            cut=self.cut,
            bytes=round(statistics.fmean(self.sizes)),
            encode_seconds=statistics.median(self.encode_s),
            decode_seconds=statistics.median(self.decode_s),
            accuracy_drop=drop,
            accuracy_drop_std=std,
            noise=self.noise,
        )


def paired_drop(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float]:
    """Accuracy lost between two runs over the same frames, and its standard error.

    The error is that of matched proportions with half a frame added to each cell of the table (Agresti and Min, Stat.
    Med. 2005), so that it does not become 0 where all frames come out the same.
    """
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    won = sum(b and not a for a, b in zip(before, after, strict=True))
    count = len(before) + 2
    spread = (lost + won + 1) / count - ((lost - won) / count) ** 2
    return (lost - won) / len(before), math.sqrt(spread / count)


class _Bench:
    """One measurement: the model in pieces between the cuts, its tails from them, and its variants.

    Attributes:
        right: Variant → which frames it answers rightly without a codec.
    """

    def __init__(self, bundle: Bundle, trials: Sequence[_Trial], threads: int, clock: Clock) -> None:
        self._bundle = bundle
        self._clock = clock
        self._trials = {cut: list(group) for cut, group in itertools.groupby(trials, key=lambda trial: trial.cut)}
        places = sorted({0, *self._trials, *(spec.cut for spec in bundle.exits), bundle.end})
        self._pieces = {b: bundle.segment(a, b, threads) for a, b in itertools.pairwise(places)}
        tails = (cut for cut, group in self._trials.items() if not all(trial.lossless for trial in group))
        self._tails = {cut: bundle.segment(cut, bundle.end, threads) for cut in tails}
        #: Variant → the cut of the whole model where it goes another way, and the segment from there to its end.
        self._others = {
            each.name: (start, bundle.segment(start, each.end, threads, each.name))
            for each in bundle.variants[1:]
            for start in [each.exit.cut if each.exit else 0]
        }
        self.right: dict[str, list[bool]] = {each.name: [] for each in bundle.variants}

    def frame(self, frame: Frame, label: int | None) -> None:
        """Try all codecs and variants on one frame."""
        tensors: Tensors = self._bundle.to_inputs(frame)
        alive = {0: tensors}
        for cut, piece in self._pieces.items():
            tensors = alive[cut] = piece.run(tensors)
        answer = self._answer(tensors)

        def right(reading: Reading) -> bool:
            return reading.agrees_with(answer) if label is None else reading.class_index == label

        self.right[FULL].append(right(answer))
        for name, (start, segment) in self._others.items():
            inputs = alive[start] if start else self._bundle.to_inputs(frame, name)
            self.right[name].append(right(self._answer(segment.run(inputs), name)))
        for cut, trials in self._trials.items():
            self._codecs(trials, alive[cut], right)

    def _codecs(self, trials: Iterable[_Trial], tensors: Tensors, right: Callable[[Reading], bool]) -> None:
        """Try the codecs of one cut; those with noise all meet the same noise."""
        inputs: dict[float, tuple[Tensors, float]] = {0.0: (tensors, 0.0)}
        known: dict[tuple[bytes, ...], bool] = {}
        for trial in trials:
            if trial.noise not in inputs:
                start_s = self._clock()
                noisy = {name: add_noise(array, trial.noise) for name, array in tensors.items()}
                inputs[trial.noise] = noisy, self._clock() - start_s
            back = self._code(trial, *inputs[trial.noise])
            if trial.lossless:
                continue
            key = tuple(array.tobytes() for array in back.values())
            if key not in known:  # codecs that differ in their compressor alone give the same arrays
                known[key] = right(self._answer(self._tails[trial.cut].run(back)))
            trial.right.append(known[key])

    def _code(self, trial: _Trial, tensors: Tensors, noise_s: float) -> Tensors:
        name, own = without_noise(trial.name), self._bundle.learned
        start_s = self._clock()
        coded = [encode_tensor(tensor, array, name, own) for tensor, array in tensors.items()]
        middle_s = self._clock()
        back = {tensor.name: decode_tensor(tensor, own) for tensor in coded}
        trial.encode_s.append(noise_s + middle_s - start_s)
        trial.decode_s.append(self._clock() - middle_s)
        trial.sizes.append(sum(len(tensor.data) for tensor in coded))
        return back

    def _answer(self, outputs: Tensors, variant: str = FULL) -> Reading:
        return read_outputs(0, outputs, self._bundle, self._bundle.variant(variant))


def _labelled(bundle: Bundle, samples: Samples) -> Samples:
    """The samples with labels as the model counts its classes.

    Raises:
        DataError: they do not match the outputs.
    """
    if samples.labels is None:
        return samples
    shape = bundle.outputs[0].shape
    if not shape or math.prod(shape) != shape[-1]:
        raise DataError(
            f"labels cannot be compared with the outputs of '{bundle.name}'",
            expected="a first output of one score per class",
            came=str(bundle.outputs[0].tensor),
            fix="give frames without labels: answers are compared with those of the model without a codec",
        )
    return for_model(samples, shape[-1], bundle.name, bundle.labels)


def _trials(bundle: Bundle, options: Options) -> Iterator[_Trial]:
    """What is to be tried, by cut."""
    own = {spec.name: spec.cut for spec in bundle.contents.codecs}
    for name in (*(options.codecs or ()), *(f"noise{scale:g}+raw" for scale in options.noise)):
        codec(name, bundle.learned)  # refuses what is none
    for cut in _cuts(bundle, options, own.values()):
        names = options.codecs or (*CODECS, *own)
        here = [name for name in names if name != "raw" and own.get(without_noise(name), cut) == cut]
        noisy = [name for name in here if not noise_of(name) and not codec(name, bundle.learned).lossless]
        here += [with_noise(name, scale) for scale in options.noise for name in ("raw", *noisy)]
        for name in dict.fromkeys(here):
            if _takes(bundle, cut, name):
                yield _Trial(cut, name, codec(name, bundle.learned).lossless)


def _cuts(bundle: Bundle, options: Options, own: Iterable[int]) -> tuple[int, ...]:
    if options.cuts is None:
        return tuple(sorted({0, *candidate_cuts(bundle.cuts), *own}))
    wrong = [cut for cut in options.cuts if not 0 <= cut < bundle.end]
    if wrong:
        raise SettingsError(
            f"the model '{bundle.name}' has no cut {wrong[0]} where something is sent",
            expected=f"cuts of 0 to {bundle.end - 1}",
            came=str(wrong[0]),
            fix="choose cuts from the table that 'tiercut inspect BUNDLE' prints",
        )
    return tuple(sorted(set(options.cuts)))


def _takes(bundle: Bundle, cut: int, name: str) -> bool:
    """Whether a codec does something of its own with a cut's tensors, rather than falling back for all of them."""
    tensors = bundle.cuts[cut].tensors
    if noise_of(name) and not all(takes_noise(tensor.dtype) for tensor in tensors):
        return False
    return any(codec(name, bundle.learned).accepts(tensor.dtype, tensor.shape) for tensor in tensors)
