"""`tiercut.export`: a torch module, a ``.pt2`` or an ``.onnx`` becomes a bundle, checked against the original."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from tiercut.authoring import torch_source
from tiercut.authoring.canonical import canonicalise, graph_inputs
from tiercut.authoring.describe import contents_of, size_label
from tiercut.authoring.verify import Arrays, Draft, only_main, random_example, verify
from tiercut.errors import ExportError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import GRAPH_FILE
from tiercut.model.bundle_write import Part, staged, write_contents, write_graphs
from tiercut.model.onnx_file import dtype_name
from tiercut.model.preprocess import FrameSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What a ``package.module:function`` may return: a model with all that its bundle needs.

    Attributes:
        module: The module.
        example_inputs: Arguments to trace it with.
        name: Name of the bundle.
        labels: Names of its classes.
        preprocess: How a frame becomes its input.
    """

    module: torch.nn.Module
    example_inputs: Sequence[object] | None = None
    name: str | None = None
    labels: Sequence[str] | None = None
    preprocess: FrameSpec | None = None


def export(
    module_or_path: torch.nn.Module | ModelSource | str | os.PathLike[str],
    example_inputs: Sequence[object] | Mapping[str, object] | object | None,
    out_dir: str | os.PathLike[str],
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: FrameSpec | None = None,
    exits: Sequence[str] = (),
    sizes: Sequence[tuple[int, int]] = (),
) -> Bundle:
    """Turn a model into a bundle; a bundle already at ``out_dir`` is replaced whole, or left as it is on an error.

    Args:
        module_or_path: A torch module, ``"package.module:function"`` that returns one (alone, with example inputs, or
            as a `ModelSource`), or the path of a ``.pt2`` or ``.onnx`` file.
        example_inputs: Arguments of the model as arrays or tensors, one or several, by name for ONNX. Their shapes
            become the bundle's. ``None``: those that come with the model, for ONNX its declared shapes, batch 1,
            for a module with ``preprocess`` noise of that form, images with their channels first.
        out_dir: Folder of the bundle.
        name: What people call it; the folder's name if not given.
        labels: Names of the classes, as many as an output's last dimension.
        preprocess: Images to take; the model's own input is then what `FrameSpec` normalises them to. Or the signal
            whose windows are the model's input as they are.
        exits: Names of early exits that the model has already: its last outputs, one each.
        sizes: Further heights and widths of the image, one variant each.

    Returns:
        The bundle, loaded from ``out_dir``.

    Raises:
        ExportError: the model cannot be cut, or its bundle would not compute the same.
    """
    target = Path(out_dir)
    source = _resolve(module_or_path)
    if isinstance(source, ModelSource):
        name, labels, preprocess = name or source.name, labels or source.labels, preprocess or source.preprocess
        example_inputs = source.example_inputs if example_inputs is None else example_inputs
        source = source.module
    frame = preprocess if preprocess is not None and preprocess.kind != "tensor" else None
    frames: dict[str, FrameSpec | None] = {GRAPH_FILE: frame}
    frames |= {f"model-{size_label(size)}.onnx": _resized(frame, size, source) for size in sizes}
    with tempfile.TemporaryDirectory(prefix="tiercut-") as scratch, staged(target) as stage:
        drafts: dict[str, Draft] = {}
        parts: dict[str, Part] = {}
        for file, images in frames.items():
            folder = Path(scratch) / file
            work = folder / "canonical"
            work.mkdir(parents=True)
            draft = _draft(source, example_inputs if file == GRAPH_FILE else None, folder, images)
            drafts[file] = draft if file == GRAPH_FILE else only_main(draft, len(exits))
            model = drafts[file].model
            shapes = [array.shape for array in draft.example]
            parts[file] = Part(canonicalise(model, draft.folder, shapes=shapes, frame=images, work=work), work)
        write_graphs(parts, stage)
        label = name or target.resolve().name
        write_contents(contents_of(parts, stage, name=label, labels=labels, frames=frames, exits=exits), stage)
        bundle = Bundle.load(stage)
        for variant in bundle.variants:
            verify(bundle, variant, drafts[variant.graph])
    return Bundle.load(target)


def _resized(frame: FrameSpec | None, size: tuple[int, int], source: object) -> FrameSpec:
    """Images of another size for a model that takes images."""
    if frame is None or frame.kind != "image" or (isinstance(source, Path) and source.suffix == ".pt2"):
        raise ExportError(
            "there is no other size for this model",
            expected="a model that takes images (--image-size) and is no exported program",
            came="an exported program, which has one size"
            if frame is not None and frame.kind == "image"
            else f"a model that takes {'arrays' if frame is None else 'a signal'}",
            fix="give the torch module or an ONNX file with open sizes, or omit the sizes",
        )
    return replace(frame, size=size)


def _resolve(value: object) -> torch.nn.Module | ModelSource | Path:
    """What to export, before it is read."""
    if isinstance(value, ModelSource):
        return value
    module = torch_source.as_module(value)
    if module is not None:
        return module
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        if path.suffix in {".onnx", ".pt2"}:
            if path.is_file():
                return path
            raise _unknown(f"no file '{path}'")
        if isinstance(value, str) and value.count(":") == 1:
            return _call(value)
    raise _unknown(repr(value)[:80])


def _call(text: str) -> ModelSource:
    """Import and call ``package.module:function``."""
    module_name, _, function_name = text.partition(":")
    try:
        with torch_source.quiet():
            made: Any = getattr(importlib.import_module(module_name), function_name)()
    except ExportError:
        raise
    except Exception as error:  # any error of the author's code
        raise _unknown(f"{type(error).__name__}: {error} from '{text}'") from error
    if isinstance(made, ModelSource):
        return made
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004 - a pair
    if torch_source.as_module(module) is None:
        raise _unknown(f"{type(module).__name__} from '{text}'")
    return ModelSource(module=module, example_inputs=example)


def _draft(source: torch.nn.Module | Path, example: object, scratch: Path, frame: FrameSpec | None) -> Draft:
    if isinstance(source, Path) and source.suffix == ".onnx":
        return _draft_onnx(source, example)
    if isinstance(source, Path):
        program = torch_source.load_program(source)
        args = torch_source.example_of(program) if example is None else _as_sequence(example)
    else:
        if example is None and frame is not None:
            shape = frame.shape if frame.kind == "signal" else (frame.views, frame.channels, *frame.size)
            example = random_example(shape, "float32")
        args = None if example is None else _as_sequence(example)
        program = torch_source.export_module(source, _needed(args))
    raw = scratch / "torch.onnx"
    torch_source.write_onnx(program, raw)
    arrays = torch_source.flatten(_needed(args))
    original = torch_source.runner(program, _needed(args))
    return Draft(model=_load_onnx(raw), folder=scratch, example=arrays, original=original)


def _draft_onnx(path: Path, example: object) -> Draft:
    model = _load_onnx(path)
    inputs = graph_inputs(model.graph)
    if isinstance(example, Mapping):
        missing = [value.name for value in inputs if value.name not in example]
        if missing:
            raise _wrong_examples(f"one for each of {[value.name for value in inputs]}", f"none for {missing}")
        arrays = [_as_array(example[value.name]) for value in inputs]
    elif example is not None:
        arrays = [_as_array(item) for item in _as_sequence(example)]
    else:
        arrays = [_declared_example(value) for value in inputs]
    if len(arrays) != len(inputs):
        raise _wrong_examples(f"{len(inputs)}: {', '.join(value.name for value in inputs)}", str(len(arrays)))
    names = [value.name for value in inputs]

    def original(given: Arrays) -> Arrays:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, dict(zip(names, given, strict=True))))

    return Draft(model=model, folder=path.resolve().parent, example=arrays, original=original)


def _load_onnx(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has several
        came = " ".join(str(error).split())[:120]
        raise ExportError(f"cannot read '{path}'", expected="an ONNX file", came=came, fix="export it again") from error
    if not model.graph.output:
        fix = "export it again"
        raise ExportError(f"cannot read '{path}'", expected="a graph with outputs", came="none", fix=fix)
    return model


def _declared_example(value: onnx.ValueInfoProto) -> NDArray[np.generic]:
    """Noise of the shape that the graph declares, with a batch of one where that is left open."""
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    if dims and dims[0] is None:
        dims[0] = 1
    fixed = [n for n in dims if n is not None]
    dtype = dtype_name(kind.elem_type)
    if not kind.HasField("shape") or len(fixed) < len(dims) or dtype is None:
        shown = [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in kind.shape.dim]
        raise ExportError(
            f"the shape of the input '{value.name}' is not fixed",
            expected="numbers for all dimensions but the first",
            came=f"[{', '.join(map(str, shown))}]",
            fix="give example inputs, on the command line --input-shape 1,3,224,224",
        )
    return random_example(fixed, dtype)


def _as_sequence(example: object) -> tuple[object, ...]:
    return tuple(example) if isinstance(example, (list, tuple)) else (example,)


def _as_array(value: object) -> NDArray[np.generic]:
    tensor: Any = value
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor)


def _needed(args: Sequence[object] | None) -> Sequence[object]:
    if args is None:
        raise _wrong_examples("the arguments of the model", "none")
    return args


def _wrong_examples(expected: str, came: str) -> ExportError:
    fix = "give 'example_inputs', on the command line --input-shape once per input, or --image-size"
    return ExportError("the example inputs do not fit the model", expected=expected, came=came, fix=fix)


def _unknown(came: str) -> ExportError:
    return ExportError(
        "cannot find the model to export",
        expected="a torch module, 'package.module:function' that returns one, a .pt2 or an .onnx file",
        came=came,
        fix="correct the name, and run where Python finds the package",
    )
