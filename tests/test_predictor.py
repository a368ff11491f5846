"""A predictor finds again what made the times, stays non-negative, and says that it predicts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import bundle_of
from tests.profiles import MACHINE
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.profiling.layer_features import FAMILIES, TERMS, family, node_features
from tiercut.profiling.predictor import Predictor, equations, fit_predictor, load_predictor, nonnegative, save_predictor
from tiercut.profiling.profile import Profile

#: Costs of a machine that does not exist: seconds per node, per 10⁹ MACs, per 10⁶ elements, per 10⁶ weights.
TRUE = (2e-6, 0.02, 1e-3, 3e-3)
TRAINING = ("chain", "residual", "inception", "depthwise")


def profile_from(bundle: Bundle, costs: tuple[float, float, float, float] = TRUE) -> Profile:
    """What a machine of these costs would measure."""
    per_node = node_features(bundle.graph) @ np.tile(costs, len(FAMILIES))
    return Profile(
        model=bundle.model,
        model_name=bundle.name,
        machine=MACHINE,
        source="measured",
        cut_seconds=(0.0, *np.cumsum(per_node).tolist()),
        cut_bytes=tuple(cut.bytes for cut in bundle.cuts),
        measured_cuts=tuple(range(1, bundle.end + 1)),
    )


def predictor() -> Predictor:
    pairs = [(bundle_of(name), profile_from(bundle_of(name))) for name in TRAINING]
    return fit_predictor(pairs, reference_seconds=0.002)


@pytest.mark.parametrize(("architecture", "error"), [*((name, 0.05) for name in TRAINING), ("dense", 0.3)])
def test_times_that_follow_the_features_are_found_again(architecture: str, error: float) -> None:
    bundle = bundle_of(architecture)
    predicted, true = predictor().predict(bundle, machine=MACHINE), profile_from(bundle)
    assert predicted.cut_seconds[-1] == pytest.approx(true.cut_seconds[-1], rel=error)


def test_prediction_is_named_one_and_scaled() -> None:
    bundle = bundle_of("dense")
    once, twice = predictor().predict(bundle), predictor().predict(bundle, scale=2)
    assert once.source == "predicted"
    assert once.measured_cuts == ()
    assert "4 models on Test CPU" in once.frames
    assert twice.cut_seconds[-1] == pytest.approx(2 * once.cut_seconds[-1])


def test_solver_meets_the_conditions_of_an_optimum() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        features, goals = draw.random((30, 8)), draw.normal(size=30)
        found = nonnegative(features, goals)
        gradient = features.T @ (features @ found - goals)  # Karush, Kuhn, Tucker: 0 inside, not downhill at the border
        assert (found >= 0).all()
        assert gradient[found > 0] == pytest.approx(0, abs=1e-5)
        assert (gradient[found == 0] > -1e-5).all()


def test_solver_leaves_columns_without_data_at_zero() -> None:
    features = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert nonnegative(features, np.array([3.0, 6.0])) == pytest.approx([3.0, 0.0])


def test_equations_weigh_relative_errors() -> None:
    bundle = bundle_of("chain")
    rows, goals = equations(bundle, profile_from(bundle))
    assert rows.shape == (2 * bundle.end, len(FAMILIES) * len(TERMS))
    assert goals.max() <= 1
    assert goals[-1] == pytest.approx(1 / 1.02)


def test_fused_activations_and_views_are_free() -> None:
    graph = bundle_of("chain").graph
    costs = {node.op_type: row.any() for node, row in zip(graph.nodes, node_features(graph), strict=True)}
    assert costs["Conv"]
    assert costs["Gemm"]
    assert not costs["Relu"]
    assert not costs.get("Flatten", False)
    assert not costs.get("Reshape", False)


def test_activation_whose_input_others_need_is_not_free() -> None:
    graph = bundle_of("residual").graph  # relu(left + right): the sum is no convolution
    rows = [row for node, row in zip(graph.nodes, node_features(graph), strict=True) if node.op_type == "Relu"]
    assert any(row.any() for row in rows)


@pytest.mark.parametrize(
    ("architecture", "families"),
    [
        ("depthwise", {"depthwise", "pointwise", "elementwise", "pool"}),
        ("chain", {"stem", "conv", "dense", "pool"}),
        ("inception", {"stem", "copy", "pool", "dense"}),
    ],
)
def test_nodes_are_put_into_families(architecture: str, families: set[str]) -> None:
    graph = bundle_of(architecture).graph
    assert families <= {family(node, graph) for node in graph.nodes}


@pytest.mark.parametrize("architecture", ["attention", "multi_input", "multi_output"])
def test_every_kind_of_model_can_be_predicted(architecture: str) -> None:
    bundle = bundle_of(architecture)
    predicted = predictor().predict(bundle)
    assert len(predicted.cut_seconds) == bundle.end + 1


def test_predictor_survives_its_file(tmp_path: Path) -> None:
    save_predictor(predictor(), tmp_path / "p.json")
    loaded = load_predictor(tmp_path / "p.json")
    bundle = bundle_of("dense")
    assert loaded.predict(bundle).cut_seconds == pytest.approx(predictor().predict(bundle).cut_seconds, rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tiercut-predictor/2"},
        {"reference_seconds": 0},
        {"coefficients": {"conv": {"fixed": -1.0}}},
        {"coefficients": [1]},
        {"codecs": {"int8": [1]}},
        {"models": None},
    ],
)
def test_damaged_predictor_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "p.json"
    save_predictor(predictor(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match="a predictor is not valid"):
        load_predictor(path)


def test_predictor_is_not_fitted_to_predictions() -> None:
    bundle = bundle_of("chain")
    predicted = dataclasses.replace(profile_from(bundle), source="predicted")
    with pytest.raises(SettingsError, match="measured profiles of one machine"):
        fit_predictor([(bundle, predicted)], reference_seconds=0.002)


def test_predictor_that_ships_is_honest_and_usable() -> None:
    shipped = load_predictor()
    profile = shipped.predict(bundle_of("chain"))
    assert shipped.machine
    assert shipped.error is not None
    assert 0 < shipped.error < 0.5
    assert len(shipped.models) >= 6
    assert {point.codec for point in profile.codecs} >= {"int8+zstd", "fp16"}
