"""What ``bundle.json`` says of a canonical model: its cuts, outputs, exits and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tiercut.errors import ExportError
from tiercut.model.bundle_format import GRAPH_FILE, WEIGHTS_FILE, Contents
from tiercut.model.bundle_write import Part, mark
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.model.exit_heads import find_exits
from tiercut.model.graph import Graph, only_outputs
from tiercut.model.onnx_file import OnnxModel, read_model
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import OutputSpec, Scores, SizeSpec

_SCALED = {"Softmax", "LogSoftmax", "Sigmoid"}


def contents_of(
    parts: Mapping[str, Part],
    stage: Path,
    *,
    name: str,
    labels: Sequence[str] | None,
    frames: Mapping[str, FrameSpec | None],
    exits: Sequence[str],
) -> Contents:
    """Describe graphs that have been written.

    Args:
        parts: File → graph, the main one first.
        stage: Where they were written.
        name: Name of the bundle.
        labels: Names of the classes.
        frames: File → images or the signal that the graph takes; ``None``: arrays as they are.
        exits: Names of the main graph's last outputs, which are early exits.

    Raises:
        ExportError: labels do not fit, there is no input, or an exit is none.
    """
    models = {file: read_model(part.model.SerializeToString()) for file, part in parts.items()}
    graph, exit_outputs = _main_graph(models[GRAPH_FILE], exits)
    cuts = graph.cuts()
    if not cuts[0].tensors:
        raise ExportError(
            "the model has no input", expected="an input that the outputs depend on", came="none", fix="check the model"
        )
    first = cuts[0].tensors[0]
    outputs = _outputs(graph, cuts[-1], labels)
    return Contents(
        name=name,
        files={file: mark(stage / file) for file in (GRAPH_FILE, WEIGHTS_FILE, *list(parts)[1:])},
        frame=frames[GRAPH_FILE] or FrameSpec(kind="tensor", shape=first.shape, dtype=first.dtype),
        outputs=outputs,
        labels=None if labels is None else tuple(labels),
        cuts=cuts,
        exits=find_exits(models[GRAPH_FILE], graph.outputs, exit_outputs),
        sizes=tuple(
            _size(file, model, frame, labels)
            for file, model in list(models.items())[1:]
            if (frame := frames[file]) is not None
        ),
    )


def size_label(size: tuple[int, int]) -> str:
    """What a variant of another input size is called behind ``full@``."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _main_graph(model: OnnxModel, exits: Sequence[str]) -> tuple[Graph, dict[str, str]]:
    names = [value.name for value in model.outputs]
    if len(exits) >= len(names):
        raise ExportError(
            "the exits do not fit the model",
            expected="one output for each, behind at least one of the whole network",
            came=f"{len(names)} outputs, {len(exits)} names of exits",
            fix="return the final output first, then one per exit",
        )
    main = names[: len(names) - len(exits)]
    return Graph(only_outputs(model, main)), dict(zip(exits, names[len(main) :], strict=True))


def _size(file: str, model: OnnxModel, frame: FrameSpec, labels: Sequence[str] | None) -> SizeSpec:
    graph = Graph(model)
    cuts = graph.cuts()
    outputs = _outputs(graph, cuts[-1], labels)
    return SizeSpec(name=f"full@{size_label(frame.size)}", graph=file, frame=frame, outputs=outputs, cuts=cuts)


def _outputs(graph: Graph, last: CutPoint, labels: Sequence[str] | None) -> tuple[OutputSpec, ...]:
    scaled = {name for node in graph.nodes if node.op_type in _SCALED for name in node.output}
    labelled = [t for t in last.tensors if labels is not None and t.shape and t.shape[-1] == len(labels)]
    if labels is not None and not labelled:
        raise ExportError(
            "the labels do not fit the model",
            expected=f"as many as an output's last dimension: {', '.join(f'{t.name} {t}' for t in last.tensors)}",
            came=f"{len(labels)} labels",
            fix="give one label per class, in their order",
        )

    def scores(tensor: TensorSpec) -> Scores:
        return "softmax" if tensor in labelled and tensor.name not in scaled else "as-is"

    return tuple(OutputSpec(t.name, t.shape, t.dtype, scores(t)) for t in last.tensors)
