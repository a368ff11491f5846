"""Heads, their nodes in the graph, temperatures and calibration errors, each against something simpler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper

from tests.models import write_onnx
from tiercut.errors import ExportError
from tiercut.exits.calibration import calibration_error, fit_temperature, leaving_table
from tiercut.exits.graft import graft
from tiercut.exits.heads import HeadPlan, Kind, make_head
from tiercut.model.cuts import TensorSpec
from tiercut.plan import FULL

SHAPES = [(1, 3, 8, 8), (1, 12, 14, 14), (1, 5, 30, 17), (1, 4, 2, 2), (1, 6, 20), (1, 7)]


def trunk(path: Path, shape: tuple[int, ...]) -> onnx.ModelProto:
    model = onnx.load(write_onnx(path, [helper.make_node("Neg", ["x"], ["y"], name="neg")], shape=shape))
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["auto", "conv", "pooled", "fc"])
def test_head_in_the_graph_computes_what_it_does_in_torch(tmp_path: Path, shape: tuple[int, ...], kind: Kind) -> None:
    head = make_head(TensorSpec("y", shape, "float32"), 10, HeadPlan(kind=kind), seed=1).eval()
    model = trunk(tmp_path / "m.onnx", shape)
    outputs = graft(model, {"exit1": ("y", head)})
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (logits,) = ort.InferenceSession(model.SerializeToString()).run([outputs["exit1"]], {"x": x})
    with torch.no_grad():
        np.testing.assert_allclose(logits, head(torch.from_numpy(-x)).numpy(), atol=1e-5)


def test_nodes_of_heads_have_names_of_their_own(tmp_path: Path) -> None:
    model = trunk(tmp_path / "m.onnx", (1, 3, 8, 8))
    spec = TensorSpec("y", (1, 3, 8, 8), "float32")
    heads = {f"exit{i}": ("y", make_head(spec, 4, HeadPlan(kind="fc"), i)) for i in (1, 2)}
    assert graft(model, heads) == {"exit1": "exit1", "exit2": "exit2"}
    assert [node.name for node in model.graph.node][1:3] == ["exit1.flat/Flatten", "exit1.fc/Gemm"]
    assert len({node.name for node in model.graph.node}) == 5


def test_head_on_half_precision_computes_in_single() -> None:
    head = make_head(TensorSpec("y", (1, 3, 8, 8), "float16"), 4, HeadPlan(), 0)
    assert head(torch.zeros(2, 3, 8, 8, dtype=torch.float16)).dtype == torch.float32


def test_graph_of_an_old_operator_set_is_refused(tmp_path: Path) -> None:
    model = trunk(tmp_path / "m.onnx", (1, 7))
    model.opset_import[0].version = 9
    with pytest.raises(ExportError, match="operator set 11"):
        graft(model, {})


@pytest.mark.parametrize("shape", [(1, 32, 112, 112), (1, 1280, 7, 7), (1, 24, 56, 56)])
def test_default_head_stays_small(shape: tuple[int, ...]) -> None:
    head = make_head(TensorSpec("t", shape, "float32"), 1000, HeadPlan(), 0)
    assert sum(parameter.numel() for parameter in head.parameters()) < 300_000


def test_heads_of_one_seed_are_equal_and_leave_the_global_one() -> None:
    spec = TensorSpec("t", (1, 3, 8, 8), "float32")
    state = torch.random.get_rng_state()
    one, same, other = (make_head(spec, 4, HeadPlan(), seed)[-1].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)  # type: ignore[arg-type]
    assert not torch.equal(one, other)  # type: ignore[arg-type]
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("factor", [0.25, 1, 3])
def test_temperature_undoes_what_logits_were_multiplied_by(factor: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((20_000, 5)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (chances.cumsum(1) > generator.random((20_000, 1))).argmax(1)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_temperature_stays_finite_where_all_is_right_or_wrong() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.05, rel=0.2)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=0.2)


def test_calibration_error_is_the_mean_gap_between_sure_and_right() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    assert calibration_error(sure, right) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05)


def test_frames_leave_at_the_first_exit_that_is_sure_enough() -> None:
    first = np.log([[0.6, 0.4], [0.92, 0.08], [0.98, 0.02], [0.5, 0.5]])
    full = np.array([[9.0, 0], [0, 9], [0, 9], [0, 9]])
    labels = np.array([0, 0, 1, 1])
    rows = {row.threshold: row for row in leaving_table({"exit1": first, FULL: full}, {"exit1": 1.0}, labels)}
    assert (rows[0.9].shares, rows[0.9].accuracy) == ({"exit1": 0.5, FULL: 0.5}, 0.75)
    assert (rows[0.99].shares, rows[0.99].accuracy) == ({"exit1": 0.0, FULL: 1.0}, 0.75)
    colder = leaving_table({"exit1": first, FULL: full}, {"exit1": 0.25}, labels)
    assert colder[-1].shares["exit1"] == 0.5
