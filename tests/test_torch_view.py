"""A bundle's nodes in torch compute what ONNX Runtime computes, for many frames at once, and can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import tiercut
from tests.bundles import bundle_of, exits_bundle, inputs_of
from tests.models import ARCHITECTURES, write_onnx
from tiercut.errors import CutError, ExportError
from tiercut.model.bundle import Bundle
from tiercut.torch_view import graph
from tiercut.torch_view.graph import TorchChain
from tiercut.torch_view.operators import OPERATORS

RANDOM = np.random.default_rng(0)


def several(architecture: str, count: int) -> list[NDArray[Any]]:
    """Inputs of so many frames, each other than the one before."""
    return [np.concatenate([np.roll(a, i, axis=-1) for i in range(count)]) for a in inputs_of(architecture).values()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_frames_give_what_each_gives_alone(architecture: str) -> None:
    bundle = bundle_of(architecture)
    frames = several(architecture, 3)
    together = TorchChain(bundle, 0, bundle.end)(*map(torch.from_numpy, frames))
    together = together if isinstance(together, tuple) else (together,)
    whole = bundle.segment(0, bundle.end)
    for i in range(3):
        alone = whole.run({spec.name: frame[i : i + 1] for spec, frame in zip(bundle.inputs, frames, strict=True)})
        for spec, tensor in zip(bundle.outputs, together, strict=True):
            torch.testing.assert_close(tensor[i : i + 1], torch.from_numpy(alone[spec.name]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["residual", "multi_input", "multi_output"])
def test_parts_between_any_two_cuts_give_the_whole(architecture: str) -> None:
    bundle = bundle_of(architecture)
    frames = tuple(map(torch.from_numpy, several(architecture, 2)))
    whole = TorchChain(bundle, 0, bundle.end)(*frames)
    for k in range(bundle.end + 1):
        middle = TorchChain(bundle, 0, k)(*frames)
        end = TorchChain(bundle, k, bundle.end)(*(middle if isinstance(middle, tuple) else (middle,)))
        torch.testing.assert_close(end, whole, atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_the_module_it_was_exported_from() -> None:
    module, (image,) = ARCHITECTURES["inception"]()
    bundle = bundle_of("inception")
    chain = TorchChain(bundle, 0, bundle.end)
    frames = torch.cat([image, image.flip(3)])
    for network in (module, chain):
        network(frames).square().sum().backward()
    wanted = {tuple(p.shape): p.grad for p in module.parameters() if p.dim() > 1}
    got = {tuple(p.shape): p.grad for p in chain.parameters() if p.dim() > 1}
    assert got.keys() == wanted.keys()
    for shape, gradient in wanted.items():
        torch.testing.assert_close(got[shape], gradient, atol=1e-4, rtol=1e-3)


def test_all_parameters_but_the_frames_normalisation_are_trained(chain: Bundle) -> None:
    network = TorchChain(chain, 0, chain.end)
    trained = sum(parameter.numel() for parameter in network.parameters())
    assert trained == chain.cuts[-1].parameters
    assert all(not name.startswith("frame/") for name in network.weights())


def test_per_channel_normalisation_is_not_trained(tmp_path: Path) -> None:
    frame = tiercut.FrameSpec(size=(8, 8), mean=(1, 2, 3), std=(4, 5, 6))
    bundle = tiercut.export(torch.nn.Conv2d(3, 2, 3), None, tmp_path / "b", preprocess=frame)
    assert sorted(a.shape for a in TorchChain(bundle, 0, bundle.end).weights().values()) == [(2,), (2, 3, 3, 3)]


def test_weights_are_given_by_their_names_in_the_bundle(chain: Bundle) -> None:
    network = TorchChain(chain, 0, chain.end)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7)
    weights = network.weights()
    assert weights.keys() <= chain.graph.weights.keys()
    assert all((array == 7).all() for array in weights.values())


def test_tensors_between_are_given_by_name(chain: Bundle) -> None:
    network = TorchChain(chain, 0, chain.end)
    names = [chain.cuts[k].tensors[0].name for k in (6, chain.end)]
    inner, final = network.tensors(names, torch.zeros(5, 16, 16, 3, dtype=torch.uint8))
    assert inner.shape == (5, *chain.cuts[6].tensors[0].shape[1:])
    assert final.shape == (5, 4)


def test_chain_of_an_exit_ends_with_its_head() -> None:
    bundle = exits_bundle()
    spec = bundle.exits[0]
    end = bundle.variant(spec.name).end
    frame = torch.randint(0, 256, (3, *bundle.inputs[0].shape[1:]), dtype=torch.uint8)
    trunk, head = TorchChain(bundle, 0, spec.cut), TorchChain(bundle, spec.cut, end, spec.name)
    whole = TorchChain(bundle, 0, end, spec.name)(frame)
    assert isinstance(whole, torch.Tensor)
    assert whole.shape == (3, *spec.output.shape[1:])
    torch.testing.assert_close(head(trunk(frame)), whole, atol=1e-4, rtol=1e-4)


def test_operator_without_an_entry_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Hardmax", ["x"], ["y"], name="n")]
    bundle = tiercut.export(write_onnx(tmp_path / "m.onnx", nodes), None, tmp_path / "b")
    with pytest.raises(ExportError, match="got 'Hardmax'"):
        TorchChain(bundle, 0, bundle.end)


def test_cut_whose_tensor_has_no_batch_dimension_is_refused() -> None:
    bundle = bundle_of("attention")
    cut = next(cut for cut in bundle.cuts if any(spec.shape[0] != 1 for spec in cut.tensors))
    with pytest.raises(ExportError, match="first dimension is the batch"):
        TorchChain(bundle, cut.index, bundle.end)


def test_segment_that_is_none_is_refused(chain: Bundle) -> None:
    with pytest.raises(CutError):
        TorchChain(chain, 3, chain.end + 1)


def test_operator_that_computes_something_else_is_refused(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "OPERATORS", {**OPERATORS, "Relu": lambda call: torch.relu(call.x) + 0.01})
    with pytest.raises(ExportError, match="as ONNX Runtime gives it"):
        TorchChain(chain, 0, chain.end)


def test_operator_that_mixes_frames_is_refused(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.vmap

    def mixing(one: Any) -> Any:
        return lambda x: tuple(y + y.flip(0) - y[:1] for y in right(one)(x))

    monkeypatch.setattr(torch, "vmap", mixing)
    with pytest.raises(ExportError, match="as ONNX Runtime gives it"):
        TorchChain(chain, 0, chain.end)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def floats(*shape: int) -> NDArray[np.float32]:
    return RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


#: Operator, attributes, weights behind the input x of [1, 3, 8, 8].
FORMS: list[tuple[str, dict[str, Any], list[NDArray[Any]]]] = [
    ("Conv", {"pads": [0, 1, 2, 0], "strides": [2, 1]}, [floats(4, 3, 3, 3), floats(4)]),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [floats(4, 3, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_LOWER"}, [floats(4, 3, 2, 2)]),
    ("Conv", {"group": 3, "auto_pad": "VALID"}, [floats(6, 1, 3, 3)]),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, [floats(3, 4, 3, 3)]),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, []),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, []),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 1, 1, 1], "count_include_pad": 1}, []),
    ("GlobalAveragePool", {}, []),
    ("GlobalMaxPool", {}, []),
    ("BatchNormalization", {"epsilon": 0.1}, [floats(3), floats(3), floats(3), floats(3)]),
    ("InstanceNormalization", {}, [floats(3), floats(3)]),
    ("LayerNormalization", {"axis": -2}, [floats(8, 8), floats(8, 8)]),
    ("LRN", {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}, []),
    ("LeakyRelu", {"alpha": 0.2}, []),
    ("PRelu", {}, [floats(3, 1, 1)]),
    ("Elu", {"alpha": 0.5}, []),
    ("HardSigmoid", {"alpha": 0.3}, []),
    ("HardSwish", {}, []),
    ("Softplus", {}, []),
    ("Mish", {}, []),
    ("Erf", {}, []),
    ("Tanh", {}, []),
    ("Clip", {}, [np.array(-0.5, np.float32), np.array(0.5, np.float32)]),
    ("Pow", {}, [np.array(2, np.float32)]),
    ("Sum", {}, [floats(1, 3, 1, 1), floats(8)]),
    ("Max", {}, [floats(3, 1, 1)]),
    ("Div", {}, [floats(1, 3, 1, 1)]),
    ("MatMul", {}, [floats(8, 5)]),
    ("Softmax", {"axis": 1}, []),
    ("LogSoftmax", {}, []),
    ("ReduceMean", {"keepdims": 0}, [ints(2, -1)]),
    ("ReduceMax", {}, [ints(1)]),
    ("ReduceSum", {"noop_with_empty_axes": 1}, []),
    ("Reshape", {}, [ints(0, -1, 4)]),
    ("Reshape", {}, [ints(1, 3, 64)]),
    ("Flatten", {}, []),
    ("Flatten", {"axis": -1}, []),
    ("Unsqueeze", {}, [ints(1, -1)]),
    ("Transpose", {"perm": [0, 2, 3, 1]}, []),
    ("Slice", {}, [ints(6, -1), ints(0, -(2**62)), ints(2, 3), ints(-2, -1)]),
    ("Slice", {}, [ints(1), ints(2**62), ints(-1)]),
    ("Pad", {}, [ints(0, 0, 1, 2, 0, 0, 0, 1), np.array(0.5, np.float32)]),
    ("Pad", {"mode": "reflect"}, [ints(0, 0, 1, 2, 0, 0, 0, 1)]),
    ("Pad", {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 0, 1)]),
    ("Gather", {"axis": 1}, [ints(2, 0, -1)]),
    ("Gather", {"axis": 3}, [np.array(1, np.int64)]),
    ("Expand", {}, [ints(2, 1, 3, 8, 8)]),
]


@pytest.mark.parametrize(("op", "attributes", "weights"), FORMS, ids=[f"{form[0]}{i}" for i, form in enumerate(FORMS)])
def test_operator_computes_what_onnx_runtime_computes(
    tmp_path: Path, op: str, attributes: dict[str, Any], weights: list[NDArray[Any]]
) -> None:
    names = [f"w{i}" for i in range(len(weights))]
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], name="first"),
        helper.make_node(op, ["a", *names], ["o"], name="it", **attributes),
        helper.make_node("Reshape", ["o", "flat"], ["y"], name="last"),
    ]
    arrays = dict(zip(names, weights, strict=True)) | {"flat": ints(1, -1)}
    bundle = tiercut.export(write_onnx(tmp_path / "m.onnx", nodes, weights=arrays), None, tmp_path / "b")
    chain = TorchChain(bundle, 0, bundle.end)  # compares itself with ONNX Runtime
    x = torch.from_numpy(RANDOM.standard_normal((3, 3, 8, 8)).astype(np.float32)).requires_grad_()
    result = chain(x)
    assert isinstance(result, torch.Tensor)
    result.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_settings_are_found_where_older_operator_sets_keep_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Squeeze", ["x"], ["s"], axes=[1]),
        helper.make_node("Split", ["s"], ["p", "q"], axis=1, split=[3, 5]),
        helper.make_node("Softmax", ["q"], ["t"], axis=1),
        helper.make_node("ReduceMean", ["t"], ["m"], axes=[2], keepdims=0),
        helper.make_node("Pad", ["m", "pads"], ["d"], mode="constant"),
        helper.make_node("Unsqueeze", ["d"], ["y"], axes=[2]),
    ]
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 1, 8, 6))
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 6, 1))
    pads = numpy_helper.from_array(ints(0, 1, 0, 0), "pads")
    graph = helper.make_graph(nodes, "g", [value], [out], [pads])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), tmp_path / "m.onnx")
    bundle = tiercut.export(tmp_path / "m.onnx", None, tmp_path / "b")
    assert TorchChain(bundle, 0, bundle.end)(torch.zeros(4, 1, 8, 6)).shape == (4, 6, 1)
