"""The pure analysis of a graph, on graphs small enough to count by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiercut.authoring.order import topological_order
from tiercut.errors import BundleError
from tiercut.model.cuts import dominated_cuts
from tiercut.model.graph import Graph
from tiercut.model.macs import node_macs
from tiercut.model.onnx_file import read_model, read_node


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def diamond() -> onnx.ModelProto:
    """x → conv → a; a → relu → b; a + b → y, with 'side' made from x and needed only by the last node."""
    weight = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    inner = [value("a", 1, 2, 4, 4), value("b", 1, 2, 4, 4)]
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, 1, 6, 6)], [value("y", 1, 2, 4, 4)], [weight], value_info=inner
    )
    return helper.make_model(graph)


def graph_of(model: onnx.ModelProto) -> Graph:
    return Graph(read_model(model.SerializeToString()))


def test_tensors_are_alive_until_their_last_reader() -> None:
    graph = graph_of(diamond())
    assert [graph.alive(k) for k in range(4)] == [("x",), ("a",), ("a", "b"), ("y",)]


def test_cut_table_counts_bytes_macs_and_parameters() -> None:
    cuts = graph_of(diamond()).cuts()
    assert [cut.bytes for cut in cuts] == [144, 128, 256, 128]
    assert [cut.macs for cut in cuts] == [0, 2 * 4 * 4 * 9, 288, 288]
    assert [cut.parameters for cut in cuts] == [0, 18, 18, 18]
    assert [cut.after for cut in cuts] == [None, "conv", "relu", "add"]


def test_segment_has_only_its_own_nodes_and_weights() -> None:
    part = onnx.ModelProto.FromString(graph_of(diamond()).extract(1, 3).encode())
    assert [node.name for node in part.graph.node] == ["relu", "add"]
    assert not part.graph.initializer
    assert [v.name for v in part.graph.input] == ["a"]
    assert [v.name for v in part.graph.output] == ["y"]


def test_segment_leaves_out_a_tensor_that_only_passes_by() -> None:
    part = onnx.ModelProto.FromString(graph_of(diamond()).extract(1, 2).encode())
    assert [v.name for v in part.graph.input] == ["a"]
    assert [v.name for v in part.graph.output] == ["b"]


def test_order_finishes_a_branch_before_it_begins_the_next() -> None:
    names = ["x", "l1", "r1", "l2", "r2"]
    nodes = [
        helper.make_node("Relu", [before], [after], name=after)
        for before, after in (("x", "l1"), ("x", "r1"), ("l1", "l2"), ("r1", "r2"), ("x", "dead"))
    ]
    nodes.append(helper.make_node("Add", ["l2", "r2"], ["y"], name="y"))
    graph = helper.make_graph(nodes[::-1], "g", [value("x", 1)], [value("y", 1)])
    assert [node.name for node in topological_order(graph)] == ["l1", "l2", "r1", "r2", "y"]
    assert len(names) == len({*names})


def test_graph_out_of_order_is_refused() -> None:
    model = diamond()
    first = onnx.NodeProto()
    first.CopyFrom(model.graph.node[0])
    del model.graph.node[0]
    model.graph.node.append(first)
    with pytest.raises(BundleError, match="before anything makes it"):
        graph_of(model)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "macs"),
    [
        ("Conv", {"x": (1, 8, 6, 6), "w": (16, 1, 3, 3), "y": (1, 16, 4, 4)}, {"group": 8}, 16 * 16 * 9),
        ("ConvTranspose", {"x": (1, 8, 5, 5), "w": (8, 4, 2, 2), "y": (1, 4, 10, 10)}, {}, 8 * 25 * 4 * 4),
        ("Gemm", {"x": (3, 8), "w": (5, 8), "y": (3, 5)}, {"transB": 1}, 3 * 5 * 8),
        ("Gemm", {"x": (8, 3), "w": (8, 5), "y": (3, 5)}, {"transA": 1}, 3 * 5 * 8),
        ("MatMul", {"x": (2, 4, 6, 8), "w": (2, 4, 8, 6), "y": (2, 4, 6, 6)}, {}, 2 * 4 * 6 * 6 * 8),
        ("Einsum", {"x": (2, 3, 4), "w": (2, 4, 5), "y": (2, 3, 5)}, {"equation": "bij, bjk -> bik"}, 2 * 3 * 4 * 5),
        ("LSTM", {"x": (7, 1, 3), "w": (1, 16, 3), "r": (1, 16, 4), "y": (7, 1, 1, 4)}, {}, 7 * 16 * 7),
        ("Attention", {"q": (1, 2, 6, 8), "k": (1, 2, 9, 8), "v": (1, 2, 9, 4), "y": (1, 2, 6, 4)}, {}, 2 * 54 * 12),
        ("Relu", {"x": (1, 8), "y": (1, 8)}, {}, 0),
    ],
)
def test_macs_are_those_counted_by_hand(
    op: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, int | str], macs: int
) -> None:
    *inputs, output = shapes
    node = helper.make_node(op, inputs, [output], name=None, doc_string=None, domain=None, overload=None, **attributes)
    assert node_macs(read_node(node.SerializeToString()), shapes.__getitem__) == macs


def test_cut_is_dominated_by_an_earlier_smaller_one() -> None:
    assert dominated_cuts([10, 20, 8, 8, 2], [0, 5, 6, 7, 8]) == (False, True, False, True, False)


def test_cut_is_dominated_by_a_later_one_after_the_same_work() -> None:
    # after a convolution, its activation, its pooling
    assert dominated_cuts([10, 8, 8, 4, 1], [0, 5, 5, 5, 9]) == (False, True, True, False, False)


def test_cut_is_compared_only_from_the_first_allowed_one_on() -> None:
    assert dominated_cuts([1, 20, 8, 9, 2], [0, 0, 6, 7, 8], start=1) == (False, False, False, True, False)
