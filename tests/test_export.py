"""Models of every kind become bundles, and those that cannot end in one clear sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage.data
import torch
from onnx import helper
from torch import nn

import tiercut
from tests.bundles import bundle_of
from tests.models import ARCHITECTURES, Branching, arrays, conv_onnx, image, write_onnx
from tiercut.authoring.input_nodes import prepend_frame
from tiercut.authoring.verify import Draft, verify
from tiercut.errors import ExportError
from tiercut.model.preprocess import FrameSpec
from tiercut.zoo import efficientnet_lite0, imagenet_labels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_standard_operators_are_in_a_bundle(architecture: str) -> None:
    nodes = onnx.load(bundle_of(architecture).folder / "model.onnx").graph.node
    assert all(node.domain == "" and onnx.defs.has(node.op_type) for node in nodes)
    assert not {"Constant", "BatchNormalization", "Identity", "Dropout"} & {node.op_type for node in nodes}
    assert len({node.name for node in nodes}) == len(nodes)


def test_bundle_says_nothing_of_where_it_was_made() -> None:
    folder = bundle_of("residual").folder
    for name in ("model.onnx", "bundle.json"):
        assert os.sep.encode() + b"site-packages" not in (folder / name).read_bytes()
        assert str(Path(__file__).parent).encode() not in (folder / name).read_bytes()


def test_same_model_gives_the_same_identity(tmp_path: Path) -> None:
    module, example = ARCHITECTURES["depthwise"]()
    assert tiercut.export(module, example, tmp_path / "again").model == bundle_of("depthwise").model


def test_another_weight_gives_another_identity(tmp_path: Path) -> None:
    module, example = ARCHITECTURES["depthwise"]()
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    assert tiercut.export(module, example, tmp_path / "other").model != bundle_of("depthwise").model


def test_exported_program_file_gives_the_same_outputs(tmp_path: Path) -> None:
    module, example = ARCHITECTURES["multi_input"]()
    torch.export.save(torch.export.export(module.eval(), example), tmp_path / "m.pt2")
    bundle = tiercut.export(tmp_path / "m.pt2", None, tmp_path / "b")
    assert [t.name for t in bundle.inputs] == ["image", "sensors"]


def test_module_keeps_its_training_mode(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout())
    tiercut.export(module.train(), image(4), tmp_path / "b")
    assert module.training


def test_function_is_imported_and_called(tmp_path: Path) -> None:
    bundle = tiercut.export("tests.models:function_model", None, tmp_path / "b", name="mine")
    assert bundle.name == "mine"
    assert bundle.cuts[-1].macs == bundle_of("chain").cuts[-1].macs


def test_symbolic_batch_becomes_one(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx", shape=("batch", 3, 8, 8))
    assert tiercut.export(path, None, tmp_path / "b").inputs[0].shape == (1, 3, 8, 8)


def test_example_fixes_symbolic_dimensions(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx", shape=("batch", 3, "h", "w"))
    example = {"x": np.ones((2, 3, 5, 7), np.float32)}
    assert tiercut.export(path, example, tmp_path / "b").cuts[1].tensors[0].shape == (2, 16, 3, 5)


def test_normalisation_is_part_of_the_graph(tmp_path: Path) -> None:
    frame = FrameSpec(size=(8, 8), mean=(10.0, 20.0, 30.0), std=(2.0, 3.0, 4.0))
    bundle = tiercut.export(conv_onnx(tmp_path / "m.onnx"), None, tmp_path / "b", preprocess=frame)
    assert str(bundle.inputs[0]) == "uint8[1, 8, 8, 3]"
    assert bundle.cuts[0].bytes == 192
    assert tiercut.Bundle.load(bundle.folder).frame == frame


def test_image_of_a_model_with_channels_last_is_not_transposed() -> None:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, 8, 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [])
    prepend_frame(graph, FrameSpec(size=(8, 8), mean=(1.0,)))
    assert [node.op_type for node in graph.node] == ["Cast", "Sub", "Relu"]


def test_model_with_softmax_keeps_its_scores(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(1))
    bundle = tiercut.export(module, image(2), tmp_path / "b", labels=["a", "b", "c"])
    assert bundle.outputs[0].scores == "as-is"


def refused(model: object, folder: Path, example: object = None, **more: object) -> str:
    """The sentence that an export ends with; nothing may be left behind."""
    with pytest.raises(ExportError) as caught:
        tiercut.export(model, example, folder / "out", **more)  # type: ignore[arg-type]
    assert not (folder / "out").exists()
    assert not list(folder.glob(".out*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_data_dependent_control_flow_is_refused(tmp_path: Path) -> None:
    said = refused(Branching(), tmp_path, image(4))
    assert "decides by its data which layers run" in said
    assert "torch.where" in said


def test_branches_and_loops_in_onnx_are_refused(tmp_path: Path) -> None:
    def branch(op: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(f"{op}_y", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
        return helper.make_graph([helper.make_node(op, ["x"], [f"{op}_y"])], op, [], [value])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["condition"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["condition"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    said = refused(write_onnx(tmp_path / "m.onnx", nodes), tmp_path)
    assert "decides by its data which nodes run" in said
    assert "the operators If" in said


def test_shape_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["where"]), helper.make_node("Cast", ["where"], ["y"], to=1)]
    assert "the tensor 'where' after the node" in refused(write_onnx(tmp_path / "m.onnx", nodes), tmp_path)


def test_open_dimensions_without_an_example_are_refused(tmp_path: Path) -> None:
    said = refused(conv_onnx(tmp_path / "m.onnx", shape=(1, 3, "h", "w")), tmp_path)
    assert "'x' is not fixed" in said
    assert "[1, 3, h, w]" in said


def test_example_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx")
    assert "does not fit the model's input 'x'" in refused(path, tmp_path, np.ones((1, 3, 9, 9), np.float32))
    assert "expected 1: x, got 2" in refused(path, tmp_path, [np.ones(1), np.ones(1)])


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    said = refused(conv_onnx(tmp_path / "m.onnx"), tmp_path, labels=["a", "b"])
    assert "float32[1, 16]" in said
    assert "2 labels" in said


def test_image_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    said = refused(conv_onnx(tmp_path / "m.onnx"), tmp_path, preprocess=FrameSpec(size=(9, 9)))
    assert "expected one input of shape [1, 3, 9, 9]" in said


@pytest.mark.parametrize(
    "model", ["nothing.onnx", "nothing.pt2", "no_such_package:model", "tests.models:nothing", "word"]
)
def test_model_that_is_not_there_is_refused(tmp_path: Path, model: str) -> None:
    assert "cannot find the model" in refused(model, tmp_path)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.pt2"):
        (tmp_path / name).write_bytes(b"not a model")
        assert f"cannot read '{tmp_path / name}'" in refused(tmp_path / name, tmp_path)


def test_random_model_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])]
    assert "makes random numbers" in refused(write_onnx(tmp_path / "m.onnx", nodes), tmp_path)


def test_bundle_that_computes_something_else_is_refused() -> None:
    bundle = bundle_of("chain")
    _, example = ARCHITECTURES["chain"]()
    model = onnx.load(bundle.folder / "model.onnx", load_external_data=False)
    draft = Draft(
        model=model, folder=bundle.folder, example=arrays(example), original=lambda _: [np.ones((1, 4), np.float32)]
    )
    with pytest.raises(ExportError, match="does not compute what the model does"):
        verify(bundle, bundle.variants[0], draft)


def test_failed_export_leaves_the_old_bundle(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx")
    before = tiercut.export(path, None, tmp_path / "b")
    with pytest.raises(ExportError):
        tiercut.export(path, None, tmp_path / "b", labels=["one"])
    assert tiercut.Bundle.load(tmp_path / "b").model == before.model
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "m.onnx"]


def test_new_bundle_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx")
    old = tiercut.export(path, None, tmp_path / "b")
    (tmp_path / "b" / "left over").touch()
    new = tiercut.export(path, None, tmp_path / "b", labels=list("abcdefghijklmnop"))
    assert new.model != old.model
    assert sorted(p.name for p in new.folder.iterdir()) == ["bundle.json", "model.data", "model.onnx"]


def test_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "out" / "precious"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(ExportError, match="will not replace"):
        tiercut.export(conv_onnx(tmp_path / "m.onnx"), None, precious.parent)
    assert precious.exists()


def test_zoo_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ExportError, match=r"pip install tiercut\[demo\]"):
        efficientnet_lite0.model()


def test_imagenet_has_a_thousand_labels() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert (labels[285], labels[967]) == ("Egyptian cat", "espresso")


@pytest.mark.slow
def test_efficientnet_knows_photographs_whole_and_in_three_parts(tmp_path: Path) -> None:
    bundle = efficientnet_lite0.export(tmp_path / "b")
    a, b = (min(range(bundle.end), key=lambda k: abs(bundle.cuts[k].macs / 385e6 - share)) for share in (0.2, 0.6))
    parts = [bundle.segment(0, a), bundle.segment(a, b), bundle.segment(b, bundle.end)]
    for name, leader in (("chelsea", 285), ("coffee", 967)):
        inputs = bundle.to_inputs(getattr(skimage.data, name)())
        whole = bundle.segment(0, bundle.end)(inputs)["linear"]
        for part in parts:
            inputs = part(inputs)
        assert float(np.abs(inputs["linear"].astype(float) - whole.astype(float)).max()) <= 1e-4
        assert int(whole.argmax()) == leader
