"""Predicting a profile for a machine that has not measured one, from the looks of the model's layers.

As Neurosurgeon (ASPLOS 2017, table 2) and Edgent (MECOMM 2018, table 1) do: per family of layers, time is a function of
a few numbers. Theirs is fitted on single layers; ours on segments between measured cuts, as fused layers cannot be
timed alone, and therefore linear: ``seconds = fixed + a MACs + b elements + c weights``, with no coefficient below 0.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiercut.codecs.table import CODECS
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.plan import FULL
from tiercut.profiling.cut_sampling import candidate_cuts
from tiercut.profiling.layer_features import FAMILIES, TERMS, describe, node_features
from tiercut.profiling.machine import Machine, this_machine
from tiercut.profiling.profile import CodecPoint, Profile

FORMAT = "tiercut-predictor/1"
_DEFAULT_FILE = "predictor.json"
#: Part of a model's time below which an interval's error hardly counts: noise would rule there.
_SMALL = 0.02
_SWEEPS = 3000
#: Seconds to read or write 10⁶ elements, 4 MB at 40 GB/s, and how much that expectation weighs beside one equation:
#: enough for a family that no model of the fit has, nothing beside data.
_EXPECTED_MELEMENTS, _EXPECTED_WEIGHT = 1e-4, 0.02

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Coefficients of all families, and what they were fitted on.

    Attributes:
        machine: Description of the machine that the times are of.
        reference_seconds: What `calibrate.reference_seconds` took there; the ratio to here is the scale.
        models: Names of the models it was fitted on.
        coefficients: Seconds by family and term (`features.TERMS`).
        codecs: Seconds per 10⁶ bytes to encode and to decode, by codec.
        date: Day of the fit, ISO 8601.
        error: Median absolute relative error on models that it was not fitted on; ``None``: not known.
    """

    machine: str
    reference_seconds: float
    models: tuple[str, ...]
    coefficients: Mapping[str, Mapping[str, float]]
    codecs: Mapping[str, tuple[float, float]]
    date: str
    error: float | None = None

    def predict(self, bundle: Bundle, *, scale: float = 1.0, machine: Machine | None = None) -> Profile:
        """A predicted profile of a bundle; its ``source`` says so.

        Args:
            bundle: The model.
            scale: How much longer the machine takes than the one of the fit, see `calibrate`.
            machine: Where it is to run; this one by default.
        """
        table = [self.coefficients.get(name, {}).get(term, 0.0) for name in FAMILIES for term in TERMS]
        chains = {each.name: self._chain(bundle, each, np.array(table) * scale) for each in bundle.variants}
        where = machine or this_machine()
        return Profile(
            model=bundle.model,
            model_name=bundle.name,
            machine=where,
            source="predicted",
            cut_seconds=chains.pop(FULL),
            variants=chains,
            cut_bytes=tuple(cut.bytes for cut in bundle.cuts),
            spread=self.error or 0.0,
            frames=f"none: predicted from {len(self.models)} models on {self.machine}, scale {scale:.2f}",
            codecs=tuple(self._codec_points(bundle, scale)),
            date=datetime.now(UTC).date().isoformat(),
        )

    def _chain(self, bundle: Bundle, variant: Variant, seconds: Vector) -> tuple[float, ...]:
        """Seconds up to each cut of a variant; an exit's head is one block."""
        nodes = node_features(bundle.graph_of(variant.name)) @ seconds
        chain = (0.0, *itertools.accumulate(map(float, nodes)))
        return chain if variant.exit is None else (*chain[: variant.exit.cut + 1], chain[-1])

    def _codec_points(self, bundle: Bundle, scale: float) -> list[CodecPoint]:
        return [
            CodecPoint(
                codec=name,
                cut=k,
                bytes=sum(CODECS[name].estimate_bytes(t.dtype, t.shape) for t in bundle.cuts[k].tensors),
                encode_seconds=encode * bundle.cuts[k].bytes / 1e6 * scale,
                decode_seconds=decode * bundle.cuts[k].bytes / 1e6 * scale,
                lossless=CODECS[name].lossless,
            )
            for k in candidate_cuts(bundle.cuts)
            for name, (encode, decode) in self.codecs.items()
            if name in CODECS and all(CODECS[name].accepts(t.dtype, t.shape) for t in bundle.cuts[k].tensors)
        ]


def fit_predictor(measured: Sequence[tuple[Bundle, Profile]], *, reference_seconds: float) -> Predictor:
    """Fit coefficients to profiles that were measured on one machine.

    Every interval between two measured cuts is an equation, and so is every cut from the start: the first say which
    layer takes the time, the second keep errors from adding up. Errors count relative to the time.

    Raises:
        SettingsError: there are no profiles, of several machines, or one that is itself predicted.
    """
    _check_measured([profile for _, profile in measured])
    systems = [equations(bundle, profile) for bundle, profile in measured]
    expected, sure = _expectations()
    features = np.vstack([*(rows for rows, _ in systems), expected])
    goals = np.concatenate([*(goals for _, goals in systems), sure])
    return Predictor(
        machine=str(measured[0][1].machine),
        reference_seconds=reference_seconds,
        models=tuple(dict.fromkeys(bundle.name for bundle, _ in measured)),
        coefficients=describe(nonnegative(features, goals)),
        codecs=_codec_rates([profile for _, profile in measured]),
        date=datetime.now(UTC).date().isoformat(),
    )


def equations(bundle: Bundle, profile: Profile) -> tuple[Vector, Vector]:
    """Features ``(equations, families * terms)`` and seconds, divided by what an error of 1 would be."""
    cuts = [0, *profile.measured_cuts]
    sums = np.vstack([np.zeros(len(FAMILIES) * len(TERMS)), np.cumsum(node_features(bundle.graph), axis=0)])[cuts]
    seconds = np.array([profile.cut_seconds[k] for k in cuts])
    rows = np.vstack([np.diff(sums, axis=0), sums[1:]])
    goals = np.concatenate([np.diff(seconds), seconds[1:]])
    weights = 1 / (goals + _SMALL * seconds[-1])
    return rows * weights[:, None], goals * weights


def _expectations() -> tuple[Vector, Vector]:
    """One weak equation per family: its elements cost memory traffic."""
    rows = np.zeros((len(FAMILIES), len(FAMILIES), len(TERMS)))
    for i in range(len(FAMILIES)):
        rows[i, i, TERMS.index("melements")] = _EXPECTED_WEIGHT / _EXPECTED_MELEMENTS
    return rows.reshape(len(FAMILIES), -1), np.full(len(FAMILIES), _EXPECTED_WEIGHT)


def nonnegative(features: Vector, goals: Vector) -> Vector:
    """Least squares with no coefficient below 0, by coordinate descent on the normal equations (convex: it converges).

    Args:
        features: ``(equations, n)``.
        goals: ``(equations,)``.
    """
    scales = np.sqrt((features**2).sum(axis=0))
    used = scales > 0
    gram = (features[:, used] / scales[used]).T @ (features[:, used] / scales[used])
    right = (features[:, used] / scales[used]).T @ goals
    found = np.zeros(len(right))
    for _ in range(_SWEEPS):
        before = found.copy()
        for i in range(len(found)):
            found[i] = max(0.0, found[i] + (right[i] - gram[i] @ found) / gram[i, i])
        if np.abs(found - before).max(initial=0.0) <= 1e-9 * np.abs(found).max(initial=1.0):
            break
    result = np.zeros(len(scales))
    result[used] = found / scales[used]
    return result


def save_predictor(predictor: Predictor, path: Path) -> None:
    """Write it as JSON."""
    fields = {name: getattr(predictor, name) for name in predictor.__dataclass_fields__}
    path.write_text(json.dumps({"format": FORMAT} | fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_predictor(path: Path | None = None) -> Predictor:
    """Read one; without a path the one that comes with tiercut.

    Raises:
        SettingsError: the file is not there, or no predictor of this version.
    """
    source = path or resources.files("tiercut.profiling").joinpath(_DEFAULT_FILE)
    try:
        return from_document(json.loads(source.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise _bad("a predictor's JSON", f"{type(error).__name__} at '{source}'") from error


def from_document(document: object) -> Predictor:
    """The predictor that a document says.

    Raises:
        SettingsError: a field is missing or of another type.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _bad(f"'format': '{FORMAT}'", repr(document)[:60])
    try:
        error = document.get("error")
        predictor = Predictor(
            machine=str(document["machine"]),
            reference_seconds=float(document["reference_seconds"]),
            models=tuple(map(str, document["models"])),
            coefficients={
                str(name): {str(term): float(value) for term, value in row.items()}
                for name, row in document["coefficients"].items()
            },
            codecs={str(name): (float(pair[0]), float(pair[1])) for name, pair in document["codecs"].items()},
            date=str(document["date"]),
            error=None if error is None else float(error),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as wrong:
        raise _bad("all fields of a predictor", f"{type(wrong).__name__}: {wrong}"[:80]) from wrong
    numbers = [value for row in predictor.coefficients.values() for value in row.values()]
    numbers += [predictor.reference_seconds, *itertools.chain.from_iterable(predictor.codecs.values())]
    if not all(0 <= value < float("inf") for value in numbers) or not predictor.reference_seconds:
        raise _bad("finite coefficients >= 0 and reference_seconds > 0", "another number")
    return predictor


def _codec_rates(profiles: Sequence[Profile]) -> dict[str, tuple[float, float]]:
    """Median seconds per 10⁶ bytes, over cuts that are large enough to say."""
    points = [(point, profile.cut_bytes[point.cut]) for profile in profiles for point in profile.codecs]
    large = [(point, size / 1e6) for point, size in points if size >= 50_000]  # noqa: PLR2004 - else calls, not bytes
    return {
        name: (
            float(f"{statistics.median(p.encode_seconds / mb for p, mb in large if p.codec == name):.4g}"),
            float(f"{statistics.median(p.decode_seconds / mb for p, mb in large if p.codec == name):.4g}"),
        )
        for name in CODECS
        if any(point.codec == name for point, _ in large)
    }


def _check_measured(profiles: Sequence[Profile]) -> None:
    machines = {profile.machine.id for profile in profiles}
    if len(machines) != 1 or any(profile.source != "measured" for profile in profiles):
        raise SettingsError(
            "a predictor cannot be fitted",
            expected="measured profiles of one machine",
            came=f"{len(profiles)} profiles of {len(machines)} machines, {sorted({p.source for p in profiles})}",
            fix="run 'tiercut profile' for several bundles on one machine",
        )


def _bad(expected: str, came: str) -> SettingsError:
    return SettingsError(
        "a predictor is not valid", expected=expected, came=came, fix="reinstall tiercut, or fit again"
    )
