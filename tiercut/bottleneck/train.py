"""`train_bottleneck`: from a bundle and frames to the bundle with one more codec, written whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tiercut.bottleneck.network import Bottleneck
from tiercut.bottleneck.plan import BottleneckPlan
from tiercut.bottleneck.task import DistillTask
from tiercut.bottleneck.to_onnx import to_onnx
from tiercut.codecs.table import codec
from tiercut.datasets.samples import Samples, need
from tiercut.exits.batches import Features, Inputs, Probe
from tiercut.exits.checkpoint import Checkpoint
from tiercut.exits.recipe import Note, Recipe, Report
from tiercut.exits.training_loop import fit
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_write import check_replaceable, rewrite
from tiercut.model.cuts import TensorSpec
from tiercut.model.learned_codec import CODE, TENSOR
from tiercut.model.variants import LearnedSpec
from tiercut.profiling.codec_measure import Options, measure_codecs
from tiercut.profiling.codec_table import CodecRow
from tiercut.torch_view.threads import torch_threads

#: Fewer frames teach nothing, and fewer held-back ones say nothing.
MIN_FRAMES = 50
#: Codecs of every tiercut to compare with.
BESIDE = ("int8+zstd", "int4+zstd")
#: Frames that tell where the layers begin.
ENOUGH = 512


@dataclass(frozen=True, slots=True)
class Trained:
    """The bundle with the codec, and what was measured.

    Attributes:
        bundle: The new one.
        rows: Bytes and lost agreement of the new codec and of others at its cut, on held-back frames.
        frames: On how many.
        replaced: Whether a codec of that name was there before.
    """

    bundle: Bundle
    rows: tuple[CodecRow, ...]
    frames: int
    replaced: bool


def train_bottleneck(
    bundle: Bundle,
    train: Samples,
    held_back: Samples,
    target: Path,
    *,
    plan: BottleneckPlan,
    recipe: Recipe,
    report: Report,
    note: Note,
) -> Trained:
    """Train an encoder and a decoder, write the bundle that has them, and measure them.

    An interrupted call leaves a checkpoint beside the target, from which the same call resumes.

    Args:
        bundle: A model with one input.
        train: Frames to learn from; labels are not looked at.
        held_back: Frames to measure on, none of which is in ``train``.
        target: Folder of the new bundle; an existing one is replaced whole.
        plan: What to put where.
        recipe: How to train.
        report: Told of progress.
        note: Hears what else is being done.

    Raises:
        DataError: there are too few frames, or they do not fit.
        ExportError: the model's end cannot be trained through, or the target cannot be written.
        SettingsError: a checkpoint that is there belongs to another training.
        InputError: the model takes more than a frame.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link that is the target is replaced, not followed
    check_replaceable(target)
    need(train, MIN_FRAMES, "the calibration set")
    need(held_back, MIN_FRAMES, "the set of held-back frames")
    checkpoint = Checkpoint(
        target.with_name(f"{target.name}.{plan.name}.training"), _settings(bundle, train, plan, recipe)
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.load()  # refused now rather than after minutes of preparation
    with torch_threads(recipe.threads), tempfile.TemporaryDirectory(prefix="tiercut-") as scratch:
        probe = Probe(bundle, [plan.tensor.name, *(out.name for out in bundle.outputs)], threads=recipe.threads)
        features = [
            Features(probe, Inputs(bundle, part), _made(Path(scratch) / name), note)
            for name, part in (("train", train), ("held-back", held_back))
        ]
        network = _network(plan, features[0], recipe.seed)
        fit(DistillTask(network, bundle, plan.cut, *features), recipe, checkpoint, report)
    note("writing the bundle")
    replaced = plan.name in {each.name for each in bundle.contents.codecs}
    written = _write(bundle, target, plan, network)
    checkpoint.remove()
    rows, frames = _measured(written, held_back, plan, recipe.threads, note)
    return Trained(written, rows, frames, replaced)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _network(plan: BottleneckPlan, features: Features, seed: int) -> Bottleneck:
    examples = torch.from_numpy(features.batch(range(min(ENOUGH, len(features))))[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Bottleneck(plan, examples)


def _write(bundle: Bundle, target: Path, plan: BottleneckPlan, network: Bottleneck) -> Bundle:
    encoder, decoder = network.folded()
    tensor, code = replace(plan.tensor, name=TENSOR), TensorSpec(CODE, plan.code, "float32")
    spec = LearnedSpec(
        name=plan.name,
        cut=plan.cut,
        encoder=f"codecs/{plan.name}-encoder.onnx",
        decoder=f"codecs/{plan.name}-decoder.onnx",
        code=plan.code,
        inner=plan.inner,
    )
    others = [each for each in bundle.contents.codecs if each.name != plan.name]
    codecs = tuple(sorted([*others, spec], key=lambda each: (each.cut, each.name)))
    files = {spec.encoder: to_onnx(encoder, tensor, code), spec.decoder: to_onnx(decoder, code, tensor)}
    return rewrite(bundle, target, replace(bundle.contents, codecs=codecs), files=files)


def _measured(
    bundle: Bundle, held_back: Samples, plan: BottleneckPlan, threads: int, note: Note
) -> tuple[tuple[CodecRow, ...], int]:
    """The codec beside others at the same cut, by agreement with the model without any."""
    note(f"measuring on {len(held_back)} held-back frames")
    tensor = plan.tensor
    beside = [name for name in BESIDE if codec(name).accepts(tensor.dtype, tensor.shape)]
    options = Options(cuts=(plan.cut,), codecs=(plan.name, *beside), frames=len(held_back), threads=threads)
    table = measure_codecs(bundle, replace(held_back, labels=None), options)
    return table.rows, table.frames


def _settings(bundle: Bundle, train: Samples, plan: BottleneckPlan, recipe: Recipe) -> dict[str, str]:
    """All that the trained weights depend on."""
    digest = hashlib.sha256()
    for place in np.linspace(0, len(train) - 1, 16).astype(int):
        digest.update(np.ascontiguousarray(train.frames[int(place)]).tobytes())
    return {
        "model": bundle.model,
        "data": f"{len(train)} frames, {digest.hexdigest()[:16]}",
        "cut": str(plan.cut),
        "code": f"{_sides(plan.code)} as {plan.inner}",
        "stride": str(plan.stride),
        "epochs": str(recipe.epochs),
        "batch": str(recipe.batch),
        "learning rate": f"{recipe.learning_rate:g}",
        "seed": str(recipe.seed),
    }


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
