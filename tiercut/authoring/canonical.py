"""From any ONNX graph to one that can be cut: fixed shapes, standard operators, nodes in order, nothing superfluous."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from tiercut.authoring.input_nodes import check_signal, prepend_frame
from tiercut.authoring.order import fixed_spec, topological_order
from tiercut.errors import ExportError
from tiercut.model.bundle_format import OUTSIDE_BYTES
from tiercut.model.onnx_file import dtype_name
from tiercut.model.preprocess import FrameSpec

#: Domains of operators that every ONNX runtime has.
STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
#: Operators that hold graphs of their own, run or not run depending on values.
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
#: Operators that give something else at every call.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}

#: Where torch's exporter notes the module that a node comes from.
_SCOPES = "pkg.torch.onnx.name_scopes"


def canonicalise(
    model: onnx.ModelProto, folder: Path, *, shapes: Sequence[tuple[int, ...]], frame: FrameSpec | None, work: Path
) -> onnx.ModelProto:
    """Rewrite a model so that it can be cut at every position between two nodes.

    Constants are folded, batch normalisation becomes part of its convolution, dead nodes and unused inputs go, and a
    frame's normalisation becomes the first nodes.

    Args:
        model: The model, changed in place; its external weights may be unloaded.
        folder: Where these weights are.
        shapes: Shape of each input, in order.
        frame: Images to take instead of the model's own input, or the signal that it takes; ``None``: neither.
        work: Empty folder for the weights of the result.

    Returns:
        A model whose larger weights refer to a file in ``work``.

    Raises:
        ExportError: it cannot be cut, and why.
    """
    fix_inputs(model.graph, shapes)
    _name_nodes(model.graph.node)  # now: where a node comes from is not kept by the optimiser
    if frame is not None and frame.kind == "signal":
        check_signal(model.graph, frame)
    elif frame is not None:
        prepend_frame(model.graph, frame)
    result = _optimise(model, folder, work)
    _check_operators(result.graph)
    _tidy(result)
    result = onnx.shape_inference.infer_shapes(result, data_prop=True)
    _check_shapes(result.graph)
    return result


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller gives: before IR version 4, initialisers were listed with them."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def fix_inputs(graph: onnx.GraphProto, shapes: Sequence[tuple[int, ...]]) -> None:
    """Give every input the shape of its example; shapes declared further on are forgotten and inferred again."""
    inputs = graph_inputs(graph)
    for value, shape in zip(inputs, shapes, strict=True):
        declared = value.type.tensor_type.shape.dim
        fits = len(declared) == len(shape) or not value.type.tensor_type.HasField("shape")
        if not fits or any(d.HasField("dim_value") and d.dim_value != n for d, n in zip(declared, shape, strict=False)):
            raise ExportError(
                f"the example does not fit the model's input '{value.name}'",
                expected=str([d.dim_value or d.dim_param or "?" for d in declared]),
                came=str(list(shape)),
                fix="give an example of the input's shape",
            )
        element_type = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, element_type, shape))
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def _optimise(model: onnx.ModelProto, folder: Path, work: Path) -> onnx.ModelProto:
    """ONNX Runtime's basic optimisations, or none of them where they would leave the standard."""
    allowed = _domains(model.graph)
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        result = _optimise_at(level, model, folder, work)
        if not _not_standard(result) or not allowed <= STANDARD_DOMAINS:
            break
    return result


def _optimise_at(
    level: ort.GraphOptimizationLevel, model: onnx.ModelProto, folder: Path, work: Path
) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(work / "optimised.onnx")
    options.log_severity_level = 4
    for key, value in {
        "session.model_external_initializers_file_folder_path": str(folder),
        "session.optimized_model_external_initializers_file_name": "optimised.data",
        "session.optimized_model_external_initializers_min_size_in_bytes": str(OUTSIDE_BYTES),
    }.items():
        options.add_session_config_entry(key, value)
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no common class for its errors
        raise ExportError(
            "ONNX Runtime does not take the model",
            expected="a graph it can run on a CPU",
            came=" ".join(str(error).split())[:300],
            fix="correct the model, or export it with a newer opset",
        ) from error
    return onnx.load(work / "optimised.onnx", load_external_data=False)


def _domains(graph: onnx.GraphProto) -> set[str]:
    return {node.domain for node in graph.node}


def _not_standard(model: onnx.ModelProto) -> list[str]:
    """Operators that another ONNX runtime would not know; some fusions make such even in the standard's domain."""
    return sorted(
        {
            f"{node.domain or 'ai.onnx'}.{node.op_type}"
            for node in model.graph.node
            if node.domain not in STANDARD_DOMAINS or not onnx.defs.has(node.op_type, node.domain)
        }
    )


def _check_operators(graph: onnx.GraphProto) -> None:
    branching = sorted({node.op_type for node in graph.node if node.op_type in CONTROL_FLOW})
    if branching:
        raise ExportError(
            "the model decides by its data which nodes run",
            expected="a feed-forward graph, the same nodes for every input",
            came=f"the operators {', '.join(branching)}",
            fix="replace branches and loops with tensor operations (torch.where, fixed repetitions)",
        )
    random = sorted({node.op_type for node in graph.node if node.op_type in RANDOM})
    if random:
        raise ExportError(
            "the model makes random numbers",
            expected="the same output for the same input",
            came=f"the operators {', '.join(random)}",
            fix="switch the model's randomness off, or give the numbers as an input",
        )
    foreign = _not_standard(onnx.ModelProto(graph=graph))
    if foreign:
        raise ExportError(
            "the model uses operators outside the ONNX standard",
            expected="operators of ai.onnx and ai.onnx.ml",
            came=", ".join(foreign[:5]),
            fix="export it again without a runtime's own fusions",
        )


def _tidy(model: onnx.ModelProto) -> None:
    """Bring the graph into its one form: what does not change a result does not change the file."""
    graph = model.graph
    _lift_constants(graph)
    nodes = topological_order(graph)
    _name_nodes(nodes)
    for node in nodes:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    used = dict.fromkeys(name for node in nodes for name in node.input)
    outputs = {value.name for value in graph.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constant = sorted(outputs & weights.keys())
    if constant:
        raise ExportError(
            "an output does not depend on the input",
            expected="outputs computed from the input",
            came=f"the constant '{constant[0]}'",
            fix="remove it from the model's outputs",
        )
    tidy = onnx.GraphProto(name="model", output=graph.output, node=nodes)
    tidy.input.extend(value for value in graph.input if value.name in used or value.name in outputs)
    tidy.initializer.extend(weights[name] for name in used if name in weights)
    made = {name for node in nodes for name in node.output if name in used}
    tidy.value_info.extend(value for value in graph.value_info if value.name in made and value.name not in outputs)
    graph.CopyFrom(tidy)
    for noted in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        noted.ClearField("doc_string")
        del noted.metadata_props[:]
    _tidy_header(model, {node.domain for node in nodes} | {"", "ai.onnx"})


def _tidy_header(model: onnx.ModelProto, domains: set[str]) -> None:
    imports = [item for item in model.opset_import if item.domain in domains]
    plain = onnx.ModelProto(ir_version=model.ir_version, producer_name="tiercut", opset_import=imports)
    plain.graph.CopyFrom(model.graph)
    model.CopyFrom(plain)


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes that are left into initialisers."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        attribute = node.attribute[0]
        value = onnx.helper.get_attribute_value(attribute)
        tensor = value if isinstance(value, onnx.TensorProto) else _constant(attribute.name, value)
        lifted = graph.initializer.add()
        lifted.CopyFrom(tensor)
        lifted.name = node.output[0]
        graph.node.remove(node)


def _constant(kind: str, value: object) -> onnx.TensorProto:
    dtype = np.int64 if "int" in kind else np.float32
    return onnx.numpy_helper.from_array(np.array(value, dtype=dtype))


def _name_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Give every node a name of its own that a person finds again: the module it comes from and what it does."""
    count: Counter[str] = Counter()
    taken: set[str] = set()
    for node in nodes:
        name = base = _base_name(node)
        while name in taken:
            count[base] += 1
            name = f"{base}_{count[base] + 1}"
        taken.add(name)
        node.name = name


def _base_name(node: onnx.NodeProto) -> str:
    scopes = next((item.value for item in node.metadata_props if item.key == _SCOPES), None)
    if scopes is None:
        return node.name or node.op_type
    names = _scope_names(scopes)
    module = names[-2] if len(names) > 1 else ""  # the last one is torch's name of the operation
    return f"{module}/{node.op_type}" if module else node.op_type


def _scope_names(text: str) -> list[str]:
    for parse in (ast.literal_eval, json.loads):
        try:
            return [str(name) for name in parse(text)]
        except (ValueError, SyntaxError, TypeError):
            continue
    return []


def _check_shapes(graph: onnx.GraphProto) -> None:
    """Every tensor that a cut could meet has a fixed shape and a type that can travel."""
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in graph.initializer:
        if dtype_name(tensor.data_type) is None:
            raise ExportError(
                f"the weight '{tensor.name}' is of a type that cannot travel",
                expected="numbers of 8 to 64 bits that numpy has, or bools",
                came=onnx.TensorProto.DataType.Name(tensor.data_type).lower(),
                fix="convert the model to float32 or float16 first",
            )
    for node in graph.node:
        for name in node.output:
            if name in used and (name not in values or fixed_spec(values[name]) is None):
                raise ExportError(
                    f"the tensor '{name}' after the node '{node.name}' ({node.op_type}) has no fixed shape or type",
                    expected="the same shape for every input, and numbers or bools",
                    came=_describe(values.get(name)),
                    fix="give examples of the size to be used, and keep operators whose result's size depends on"
                    " values (NonZero, NMS) out of the model",
                )


def _describe(value: onnx.ValueInfoProto | None) -> str:
    if value is None or not value.type.HasField("tensor_type"):
        return "nothing known"
    kind = value.type.tensor_type
    dims = [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in kind.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()}[{', '.join(map(str, dims))}]"
