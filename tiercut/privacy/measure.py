"""Attack a bundle at several cuts, and measure how well frames are rebuilt there."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiercut.datasets.samples import Samples
from tiercut.errors import SettingsError
from tiercut.exits.batches import Inputs
from tiercut.exits.recipe import Note, Recipe, Report
from tiercut.model.bundle import Bundle
from tiercut.privacy.attacker import SMALL_AREA
from tiercut.privacy.image_similarity import MIN_WINDOW, Pixels, as_compared, as_jpeg, compare, mean_image, too_small
from tiercut.privacy.inversion import train_attacker
from tiercut.privacy.report import Leak, PrivacyReport
from tiercut.privacy.wire import Arrays, Ears, Wire
from tiercut.profiling.cut_sampling import candidate_cuts
from tiercut.torch_view.threads import torch_threads

#: Cuts that are attacked by default: those worth choosing behind cut 0.
MAX_CUTS = 6
#: Epochs by whether the attacker's maps are small or large.
EPOCHS_SMALL, EPOCHS_LARGE = 20, 10
#: Twice the usual learning rate rebuilds at 24.0 instead of 23.4 dB after as many epochs (2026-11-21, as above).
BATCH, RATE = 64, 4e-3
#: Rebuilt frames that are kept to be looked at.
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """How to attack.

    Attributes:
        codec: What the tensors travel in, noise included.
        epochs: How often the attacker sees each frame; ``None``: by the size of the images.
        seed: Of the attacker's first weights and of the order of frames.
        threads: Threads of torch and ONNX Runtime.
    """

    codec: str = "raw"
    epochs: int | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.epochs is not None and self.epochs < 1):
            came = f"epochs {self.epochs}, threads {self.threads}"
            fix = "correct the numbers"
            raise SettingsError(
                "the attack is not valid", expected="epochs and threads of 1 or more", came=came, fix=fix
            )


def default_cuts(bundle: Bundle) -> tuple[int, ...]:
    """The cuts worth choosing behind cut 0, at most `MAX_CUTS`, spread evenly."""
    cuts = [k for k in candidate_cuts(bundle.cuts) if k]
    places = np.linspace(0, len(cuts) - 1, min(MAX_CUTS, len(cuts))).round().astype(int)
    return tuple(cuts[i] for i in places)


def usual_epochs(size: Sequence[int]) -> int:
    """Default epochs of an attacker; larger images cost more per epoch, and have more pixels."""
    return EPOCHS_SMALL if math.prod(-(-side // 2) for side in size) <= SMALL_AREA else EPOCHS_LARGE


def check_attackable(bundle: Bundle, cuts: Sequence[int], codec_name: str) -> None:
    """Check that there are frames to rebuild, and the cuts and the codec.

    Raises:
        SettingsError: the model takes no images, or there is no such codec.
        CutError: there is no such cut.
    """
    frame = bundle.frame
    if frame.kind != "image" or frame.views > 1 or too_small(frame.size):
        raise SettingsError(
            f"frames of the model '{bundle.name}' cannot be rebuilt",
            expected=f"a model that takes one image at a time, of {MIN_WINDOW} pixels or more a side",
            came=f"one that takes {bundle.inputs[0]}",
            fix="export it with --image-size, so that images are its input",
        )
    for cut in cuts:
        Wire(bundle, cut, codec_name)


def measure_privacy(
    bundle: Bundle,
    train: Samples,
    held_back: Samples,
    cuts: Sequence[int],
    attack: Attack,
    *,
    report: Report,
    note: Note,
) -> PrivacyReport:
    """Train an attacker per cut, and compare what it rebuilds with the frames.

    Args:
        bundle: The model.
        train: The attacker's frames.
        held_back: Frames that it never sees.
        cuts: Where to attack.
        attack: How.
        report: Hears how far an attacker's training is.
        note: Hears what else is being done.

    Raises:
        SettingsError: the model takes no images, or there is no such codec.
        CutError: there is no such cut.
        InputError: the model takes more than a frame, or the codec's noise cannot be added at a cut.
        DataError: a frame cannot be read, or does not fit the model.
    """
    check_attackable(bundle, cuts, attack.codec)
    inputs = Inputs(bundle, train), Inputs(bundle, held_back)
    seen, kept = (as_compared(frame[0] for frame in each) for each in inputs)
    recipe = Recipe(
        mode="frozen",
        epochs=attack.epochs or usual_epochs(kept.shape[1:3]),
        batch=BATCH,
        learning_rate=RATE,
        seed=attack.seed,
        threads=attack.threads,
    )
    with torch_threads(attack.threads):
        leaks = tuple(
            _leak(Wire(bundle, cut, attack.codec), inputs, (seen, kept), recipe=recipe, report=report, note=note)
            for cut in cuts
        )
    return PrivacyReport(
        model=bundle.model,
        model_name=bundle.name,
        codec=attack.codec,
        size=kept.shape[1:3],
        frames=len(seen),
        held_back=len(kept),
        epochs=recipe.epochs,
        mean_image=compare(mean_image(seen, len(kept)), kept),
        jpeg=compare(as_jpeg(kept), kept),
        leaks=leaks,
        originals=kept[:SHOWN],
    )


def _leak(
    wire: Wire,
    inputs: tuple[Inputs, Inputs],
    pixels: tuple[Pixels, Pixels],
    *,
    recipe: Recipe,
    report: Report,
    note: Note,
) -> Leak:
    """Attack at one cut; of both pairs the first is the attacker's, the second held back."""
    note(f"cut {wire.cut}, after {wire.bundle.cuts[wire.cut].after or 'the input'}")
    with tempfile.TemporaryDirectory(prefix="tiercut-") as scratch:
        held_back = Ears(wire, inputs[1], _made(scratch, "held-back"), note, recipe.threads)
        attackers: list[Callable[[Arrays], Pixels]] = []
        if wire.carries_frame:
            place = wire.tensors.index(wire.bundle.inputs[0])
            attackers.append(lambda heard: as_compared(heard[place]))
        if not (wire.carries_frame and wire.codec.lossless):  # else there is nothing to learn
            heard = Ears(wire, inputs[0], _made(scratch, "train"), note, recipe.threads), held_back
            frame = wire.bundle.frame
            attackers.append(
                train_attacker(heard, *pixels, frame, recipe, scratch=Path(scratch), report=report).rebuild
            )
        tries = [([rebuild(heard) for rebuild in attackers], size) for heard, size in held_back.each()]
    every = [np.concatenate([rebuilt[i] for rebuilt, _ in tries]) for i in range(len(attackers))]
    similarity, best = max(
        ((compare(each, pixels[1]), i) for i, each in enumerate(every)), key=lambda pair: pair[0].psnr_db
    )
    return Leak(
        cut=wire.cut,
        bytes=sum(size for _, size in tries) / len(pixels[1]),
        trained=best > 0 or not wire.carries_frame,
        similarity=similarity,
        shown=every[best][:SHOWN],
    )


def _made(scratch: str, name: str) -> Path:
    folder = Path(scratch) / name
    folder.mkdir()
    return folder
