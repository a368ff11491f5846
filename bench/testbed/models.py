"""What the testbed runs: models exported once, profiles measured once on this machine, real photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tiercut
from bench.predictor_models import ARCHITECTURES
from tiercut.cli.demo import cache_folder, prepare_bundle
from tiercut.cli.demo_site import photographs
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.profiling.machine import this_machine
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore

#: Those of the published comparisons that are small enough for two cores.
MODELS = ("efficientnet-lite0", "resnet18", "alexnet")
SIZE = 224
#: Three of the demo's photographs, whose JPEGs are of like size (14.7 to 18.6 kB), so that a turn of three frames is as
#: good as another.
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "astronaut.png")
PROFILE_S = 20.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model with its profile on this machine.

    Attributes:
        bundle: The model, alone in its folder of bundles.
        profile: Measured on the photographs, one thread.
        profiles: The store it is kept in.
        images: The photographs.
    """

    bundle: Bundle
    profile: Profile
    profiles: Path
    images: tuple[Path, ...]


def prepare(name: str, *, again: bool = False) -> Prepared:
    """A model by name, exported and measured if it was not before.

    EfficientNet-Lite0 has its ImageNet weights; the others have random ones.

    Args:
        name: One of `bench.predictor_models.ARCHITECTURES`.
        again: Measure its profile again, as this machine may be another one than it was.

    Raises:
        ExportError: the packages of the extra 'demo' are missing.
        SettingsError: there is no model of that name.
    """
    if name not in ARCHITECTURES:
        raise SettingsError("no such model", expected=", ".join(ARCHITECTURES), came=name, fix="choose one of them")
    folder = cache_folder().parent / "testbed" / name
    images = tuple(path for path in photographs() if path.name in PHOTOGRAPHS)
    return measured(_bundle(name, folder), folder / "profiles", images, again=again)


def measured(
    bundle: Bundle, profiles: Path, images: tuple[Path, ...], *, seconds: float = PROFILE_S, again: bool = False
) -> Prepared:
    """A bundle with its profile on this machine, kept or measured now on some images."""
    store = ProfileStore(profiles)
    profile = None if again else store.load(bundle.model, this_machine(1).id)
    if profile is None:
        frames = (np.asarray(Image.open(path).convert("RGB")) for path in images)
        profile = measure_profile(bundle, frames, Options(seconds=seconds))
        store.save(profile)
    return Prepared(bundle, profile, profiles, images)


def _bundle(name: str, folder: Path) -> Bundle:
    target = folder / "bundles" / name
    try:
        return Bundle.load(target)
    except BundleError:  # not there, or from another version
        target.parent.mkdir(parents=True, exist_ok=True)
    if name == "efficientnet-lite0":
        return prepare_bundle(target.parent)
    torch.manual_seed(0)
    module = ARCHITECTURES[name]().eval()
    example = torch.zeros(1, 3, SIZE, SIZE)
    module(example)  # lazy layers take their width from it
    frame = FrameSpec(size=(SIZE, SIZE), mean=(127.0,), std=(128.0,))
    return tiercut.export(module, (example,), target, name=name, preprocess=frame)
