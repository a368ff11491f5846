"""Reading and writing ONNX files without the package onnx, checked against it."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.bundles import bundle_of
from tests.models import ARCHITECTURES
from tiercut.errors import BundleError
from tiercut.model.bundle_format import GRAPH_FILE
from tiercut.model.onnx_file import make_head, make_node, make_value, make_weight, read_model, read_node

PARTS = {"nodes": "node", "inputs": "input", "outputs": "output", "weights": "initializer", "values": "value_info"}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_file_is_read_as_onnx_reads_it(name: str) -> None:
    data = (bundle_of(name).folder / GRAPH_FILE).read_bytes()
    ours, theirs = read_model(data), onnx.ModelProto.FromString(data)
    for part, field in PARTS.items():
        assert [each.encoded for each in getattr(ours, part)] == [
            each.SerializeToString(deterministic=True) for each in getattr(theirs.graph, field)
        ]
    assert [(n.name, n.op_type, list(n.input), list(n.output)) for n in ours.nodes] == [
        (n.name, n.op_type, list(n.input), list(n.output)) for n in theirs.graph.node
    ]
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, tuple(w.dims)) for w in theirs.graph.initializer]
    again = onnx.ModelProto.FromString(ours.encode())
    assert (again.graph, again.opset_import, again.ir_version) == (theirs.graph, theirs.opset_import, theirs.ir_version)


@pytest.mark.parametrize(
    ("shape", "known"),
    [((1, 3), (1, 3)), ((), ()), (("batch", 3), None), ((None, 3), None), (None, None), ((2**40, 0), (2**40, 0))],
)
def test_shape_is_known_where_every_dimension_is_fixed(
    shape: tuple[int | str | None, ...] | None, known: tuple[int, ...] | None
) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.INT8, shape)
    model = read_model(helper.make_model(helper.make_graph([], "g", [value], [])).SerializeToString())
    assert [(each.dtype, each.shape) for each in model.inputs] == [("int8", known)]


def test_dimension_that_says_what_it_means_is_fixed_too() -> None:
    value = helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, (1, 3), shape_denotation=["DATA_BATCH", "DATA_CHANNEL"]
    )
    model = read_model(helper.make_model(helper.make_graph([], "g", [value], [])).SerializeToString())
    assert [each.shape for each in model.inputs] == [(1, 3)]


def test_tensors_that_no_cut_may_have_are_of_no_type() -> None:
    values = [helper.make_tensor_value_info(str(kind), kind, [1]) for kind in TensorProto.DataType.values() if kind]
    values.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [1]))
    model = read_model(helper.make_model(helper.make_graph([], "g", values, [])).SerializeToString())
    known = {each.name: each.dtype for each in model.inputs}
    assert known[str(TensorProto.FLOAT)] == "float32"
    assert {known[str(kind)] for kind in (TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.COMPLEX64)} == {None}
    assert known["list"] is None


def test_attributes_are_read() -> None:
    node = helper.make_node("Einsum", ["a", ""], ["c"], name="e", equation="ij->i", axis=-3, alpha=0.5, pads=[1, 2])
    read = read_node(node.SerializeToString())
    assert {(each.name, each.i, each.s) for each in read.attribute} >= {("equation", 0, b"ij->i"), ("axis", -3, b"")}
    assert read.input == ("a", "")


def test_what_is_made_is_what_onnx_makes() -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    assert onnx.NodeProto.FromString(make_node("Conv", "n", ["x"], ["y"], pads=[1, 300]).encoded) == helper.make_node(
        "Conv", ["x"], ["y"], name="n", pads=[1, 300]
    )
    assert onnx.TensorProto.FromString(make_weight("w", (2, 3), array.tobytes()).encoded) == numpy_helper.from_array(
        array, "w"
    )
    assert onnx.ValueInfoProto.FromString(make_value("x", (1, 200)).encoded) == helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, (1, 200)
    )
    head = onnx.ModelProto.FromString(make_head(ir_version=9, opset=18))
    assert (head.ir_version, head.opset_import[0].version) == (9, 18)


@given(st.binary(max_size=80), st.integers(0, 400))
def test_bytes_that_are_no_onnx_file_are_refused_or_read(noise: bytes, at: int) -> None:
    model = onnx.ModelProto(ir_version=9)
    model.graph.CopyFrom(helper.make_graph([helper.make_node("Relu", ["x"], ["y"], a=1)], "g", [], []))
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]))
    data = model.SerializeToString()
    for damaged in (noise, data[:at] + noise + data[at:], data[:at] + noise):
        with contextlib.suppress(BundleError):
            for node in read_model(damaged).nodes:
                assert isinstance(node.attribute, tuple)


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x3a\x05ab", b"\x0b", b"\xff" * 20, b"\x3a\x05\x0a\x03\x0a\x01\xff", b"\x38\x01"]
)
def test_damaged_file_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(BundleError, match="expected an ONNX graph"):
        read_model(data)
