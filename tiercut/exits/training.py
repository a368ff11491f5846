"""`train_exits`: from a bundle and frames to the bundle with exits, measured and written whole."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from tiercut.datasets.samples import Samples, for_model, need
from tiercut.errors import DataError, ExportError
from tiercut.exits.batches import Features, Inputs, Probe
from tiercut.exits.calibration import Labels
from tiercut.exits.checkpoint import Checkpoint
from tiercut.exits.classifier_output import class_count, final_output, gives_probabilities
from tiercut.exits.evaluation import Measured, measure
from tiercut.exits.graft import graft
from tiercut.exits.heads import make_head
from tiercut.exits.recipe import Note, Recipe, Report
from tiercut.exits.tasks import FrozenTask, Heads, JointTask
from tiercut.exits.training_loop import Task, fit
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import GRAPH_FILE
from tiercut.model.bundle_write import Part, check_replaceable, current_parts, rewrite
from tiercut.model.exit_heads import find_exits
from tiercut.model.graph import only_outputs
from tiercut.model.onnx_file import read_model
from tiercut.torch_view.threads import torch_threads

#: With fewer held-back frames calibration means nothing; with fewer to learn from nothing is learned.
MIN_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Trained:
    """The bundle with exits, and what was measured on the way."""

    bundle: Bundle
    measured: Measured


def train_exits(
    bundle: Bundle,
    train: Samples,
    held_back: Samples,
    target: Path,
    *,
    cuts: Sequence[int],
    recipe: Recipe,
    report: Report,
    note: Note,
    name: str | None = None,
) -> Trained:
    """Attach heads, train them, measure them, and write the bundle that has them; earlier exits go.

    An interrupted call leaves a checkpoint beside the target, from which the same call resumes.

    Args:
        bundle: A classifier with one input.
        train: Frames to learn from; joint training needs their labels.
        held_back: Frames to measure on, none of which is in ``train``.
        target: Folder of the new bundle; an existing one is replaced whole.
        cuts: Where, by `placement`.
        recipe: How.
        report: Told of progress.
        note: Hears what else is being done.
        name: Of the new bundle; as before if not given.

    Raises:
        DataError: there are too few frames, or they or their labels do not fit.
        ExportError: the model cannot have exits, or cannot be trained; or the target cannot be written.
        SettingsError: a checkpoint that is there belongs to another training.
    """
    check_replaceable(target)
    classes = class_count(bundle)
    train, held_back = (for_model(each, classes, bundle.name, bundle.labels) for each in (train, held_back))
    need(train, MIN_FRAMES, "the training set")
    need(held_back, MIN_FRAMES, "the calibration set")
    heads = {
        f"exit{i}": (cut, make_head(bundle.cuts[cut].tensors[0], classes, recipe.head, recipe.seed + i))
        for i, cut in enumerate(cuts, start=1)
    }
    checkpoint = Checkpoint(target.with_name(f"{target.name}.training"), _settings(bundle, train, cuts, recipe))
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.load()  # refused now rather than after minutes of preparation
    with torch_threads(recipe.threads), tempfile.TemporaryDirectory(prefix="tiercut-") as scratch:
        inputs = Inputs(bundle, train), Inputs(bundle, held_back)
        labels = train.labels, held_back.labels
        task = _task(bundle, heads, inputs, labels, recipe=recipe, scratch=Path(scratch), note=note)
        fit(task, recipe, checkpoint, report)
        note("writing the graph")
        draft = _write_draft(bundle, heads, task, Path(scratch) / target.name)
        _check_heads(draft, heads, inputs[1])
        measured = measure(draft, inputs[1], held_back.labels, seed=recipe.seed, threads=recipe.threads, note=note)
        done = rewrite(draft, target, replace(measured.contents, name=name or bundle.name))
    checkpoint.remove()
    return Trained(done, measured)


def _task(
    bundle: Bundle,
    heads: Heads,
    inputs: tuple[Inputs, Inputs],
    labels: tuple[Labels | None, Labels | None],
    *,
    recipe: Recipe,
    scratch: Path,
    note: Note,
) -> Task:
    weights = recipe.loss_weights(len(heads))
    if recipe.mode == "joint":
        if labels[0] is None or labels[1] is None:
            raise DataError(
                "joint training needs labels",
                expected="a class for every frame",
                came="frames without",
                fix="give labelled data, or train with the trunk frozen, which learns from the final output",
            )
        return JointTask(bundle, heads, weights, (inputs[0], labels[0]), (inputs[1], labels[1]))
    names = [*(bundle.cuts[cut].tensors[0].name for cut, _ in heads.values()), final_output(bundle).name]
    probe = Probe(bundle, names, threads=recipe.threads)
    features = []
    for part, each in zip(("train", "test"), inputs, strict=True):
        folder = scratch / part
        folder.mkdir()
        features.append(Features(probe, each, folder, note))
    right = features[1].final().argmax(-1) if labels[1] is None else labels[1]
    return FrozenTask(heads, weights, features[0], (features[1], right), probable=gives_probabilities(bundle))


def _write_draft(bundle: Bundle, heads: Heads, task: Task, folder: Path) -> Bundle:
    """The bundle with trained heads, not measured yet."""
    main = [out.name for out in bundle.outputs]
    parts = current_parts(bundle)
    whole = read_model(parts[GRAPH_FILE].model.SerializeToString())
    trunk = onnx.ModelProto.FromString(only_outputs(whole, main).encode())
    parts[GRAPH_FILE] = Part(trunk, bundle.folder)
    contents = replace(bundle.contents, accuracy=None, exits=(), leaving=())
    if isinstance(task, JointTask):
        trained = task.branching.trunk.weights()
        for part in parts.values():
            _set_weights(part, trained)
        # what was learned or measured for the old weights does not hold for the new ones
        sizes = tuple(replace(size, accuracy=None) for size in contents.sizes)
        contents = replace(contents, codecs=(), sizes=sizes)
    outputs = graft(trunk, {name: (bundle.cuts[cut].tensors[0].name, head) for name, (cut, head) in heads.items()})
    contents = replace(contents, exits=find_exits(read_model(trunk.SerializeToString()), main, outputs))
    return rewrite(bundle, folder, contents, parts=parts)


def _set_weights(part: Part, trained: Mapping[str, NDArray[Any]]) -> None:
    """Put new weights into a graph; those of other input sizes have the same names."""
    found = {tensor.name: tensor for tensor in part.model.graph.initializer}
    for name, array in trained.items():
        if name not in found or tuple(found[name].dims) != array.shape:
            raise ExportError(
                "cannot give the new weights to a variant for another input size",
                expected=f"its graph to have the weight '{name}' {list(array.shape)}",
                came="none such",
                fix="train with the trunk frozen, or export the model without further sizes",
            )
        found[name].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))


def _check_heads(bundle: Bundle, heads: Heads, inputs: Inputs) -> None:
    """The written heads give what the trained ones give."""
    names = [spec.output.name for spec in bundle.exits]
    taken = [bundle.cuts[spec.cut].tensors[0].name for spec in bundle.exits]
    tensors = Probe(bundle, [*names, *taken], threads=1)(inputs.batch([0]))
    for i, spec in enumerate(bundle.exits):
        head = heads[spec.name][1].eval()
        with torch.no_grad():
            wanted = head(torch.from_numpy(tensors[len(names) + i])).numpy()
        difference = float(np.max(np.abs(wanted - tensors[i])))
        if not difference <= 1e-4 * max(1.0, float(np.max(np.abs(wanted)))):
            raise ExportError(
                f"the head of '{spec.name}' does not compute in ONNX what it does in torch",
                expected="logits equal to 1e-4",
                came=f"{difference:.2g} away",
                fix="report it with the model",
            )


def _settings(bundle: Bundle, train: Samples, cuts: Sequence[int], recipe: Recipe) -> dict[str, str]:
    """All that the trained weights depend on."""
    digest = hashlib.sha256() if train.labels is None else hashlib.sha256(train.labels.tobytes())
    for place in np.linspace(0, len(train) - 1, 16).astype(int):
        digest.update(np.ascontiguousarray(train.frames[int(place)]).tobytes())
    return {
        "model": bundle.model,
        "data": f"{len(train)} frames, {digest.hexdigest()[:16]}",
        "cuts": ", ".join(map(str, cuts)),
        "mode": recipe.mode,
        "head": f"{recipe.head.kind}, {recipe.head.width} channels",
        "epochs": str(recipe.epochs),
        "batch": str(recipe.batch),
        "learning rate": f"{recipe.learning_rate:g}",
        "weights": ", ".join(f"{weight:g}" for weight in recipe.loss_weights(len(cuts))),
        "seed": str(recipe.seed),
    }
