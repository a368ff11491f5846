"""How far predicted profiles are off on models that the predictor has never seen: each model is omitted once.

``python -m bench.predictor`` exports eight architectures with random weights to a temporary folder, measures each, and
predicts each from the other seven. ``--write FILE`` then fits all eight and keeps the coefficients, with that error.
About four minutes on one core; needs the packages of the extra 'demo'.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

import tiercut
from bench.machine import machine
from bench.predictor_models import ARCHITECTURES
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.predictor import fit_predictor, save_predictor
from tiercut.profiling.profile import Profile
from tiercut.profiling.reference import reference_seconds

Measured = dict[str, tuple[Bundle, Profile]]


def bundle_of(name: str, folder: Path, size: int) -> Bundle:
    """An architecture as a bundle for images of ``size`` by ``size``."""
    torch.manual_seed(0)
    module = ARCHITECTURES[name]().eval()
    module(torch.zeros(1, 3, size, size))  # lazy layers take their width from it
    frame = FrameSpec(size=(size, size), mean=(127.0,), std=(128.0,))
    return tiercut.export(module, (torch.zeros(1, 3, size, size),), folder / name, name=name, preprocess=frame)


def measured(names: list[str], folder: Path, options: Options, size: int) -> Measured:
    """Every architecture with its profile."""
    result: Measured = {}
    for name in names:
        bundle = bundle_of(name, folder, size)
        result[name] = bundle, measure_profile(bundle, options=options)
        print(f"measured {name}: {result[name][1].cut_seconds[-1] * 1e3:.2f} ms", flush=True)
    return result


def errors(predicted: Profile, profile: Profile) -> tuple[float, list[float]]:
    """Signed relative error of the whole model, and absolute ones of each measured cut."""
    pairs = [(predicted.cut_seconds[k], profile.cut_seconds[k]) for k in profile.measured_cuts]
    per_cut = [abs(guess / true - 1) for guess, true in pairs if true > 0]
    return pairs[-1][0] / pairs[-1][1] - 1, per_cut


def report(results: Measured, reference_s: float) -> tuple[float, float]:
    """Leave each model out once and print; median absolute errors of whole models and of cuts."""
    print(f"\n{'left out':<20} {'measured ms':>11} {'predicted ms':>12} {'error':>7} {'per cut':>8} {'worst':>7}")
    wholes, cuts = [], []
    for name, (bundle, profile) in results.items():
        others = [pair for other, pair in results.items() if other != name]
        predicted = fit_predictor(others, reference_seconds=reference_s).predict(bundle)
        whole, per_cut = errors(predicted, profile)
        wholes.append(abs(whole))
        cuts += per_cut
        print(
            f"{name:<20} {profile.cut_seconds[-1] * 1e3:>11.2f} {predicted.cut_seconds[-1] * 1e3:>12.2f}"
            f" {100 * whole:>+6.1f}% {100 * statistics.median(per_cut):>7.1f}% {100 * max(per_cut):>6.0f}%"
        )
    median_whole, median_cut = statistics.median(wholes), statistics.median(cuts)
    print(
        f"median absolute error: whole model {100 * median_whole:.1f} % (worst {100 * max(wholes):.0f} %),"
        f" up to a cut {100 * median_cut:.1f} % (9 of 10 below {100 * float(np.quantile(cuts, 0.9)):.0f} %)"
    )
    return median_whole, median_cut


def main() -> None:
    """Export, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure each model")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--models", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, help="keep the coefficients fitted on all models")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        before_s = reference_seconds(args.threads)
        results = measured(args.models, Path(folder), Options(threads=args.threads, seconds=args.seconds), args.size)
        after_s = reference_seconds(args.threads)
        reference_s = statistics.mean((before_s, after_s))
        print(f"reference convolution: {before_s * 1e3:.3f} ms before, {after_s * 1e3:.3f} ms after")
        median_whole, _ = report(results, reference_s)
        if args.write:
            fitted = fit_predictor(list(results.values()), reference_seconds=reference_s)
            save_predictor(dataclasses.replace(fitted, error=round(median_whole, 3)), args.write)
            print(f"kept in {args.write}")


if __name__ == "__main__":
    main()
