"""Exits are placed, trained, calibrated, measured and written whole; interrupted trainings go on where they were."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiercut
from tests.bundles import bundle_of
from tests.exit_data import FROZEN, QUICK, Heard, quarters, train
from tests.models import ARCHITECTURES, chain_module
from tiercut.datasets.samples import Samples
from tiercut.errors import CutError, DataError, ExportError, InputError, SettingsError
from tiercut.exits import placement
from tiercut.exits.recipe import Recipe
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_write import rewrite
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import LearnedSpec
from tiercut.plan import FULL


@pytest.fixture(scope="module")
def joint(chain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`chain` with two exits, trained on labels."""
    return train(chain, tmp_path_factory.mktemp("joint") / "b", cuts=(6, 9)).bundle


def test_joint_training_teaches_trunk_and_exits(chain: Bundle, joint: Bundle) -> None:
    assert [(spec.name, spec.cut) for spec in joint.exits] == [("exit1", 6), ("exit2", 9)]
    assert min(spec.accuracy or 0 for spec in joint.exits) > 0.9
    assert (joint.accuracy or 0) > 0.9
    assert joint.cuts == chain.cuts
    frame = quarters(1, 3).frames[0]
    before, after = (b.segment(0, b.end).run(b.to_inputs(frame)) for b in (chain, joint))
    assert not np.allclose(before[chain.outputs[0].name], after[joint.outputs[0].name], atol=0.1)


def test_segments_end_in_a_trained_exit(joint: Bundle) -> None:
    samples = quarters(40, 4)
    variant = joint.variant("exit1")
    head, tail = joint.segment(0, 4, variant="exit1"), joint.segment(4, variant.end, variant="exit1")
    logits = [tail.run(head.run(joint.to_inputs(frame)))[variant.outputs[0].name] for frame in samples.frames]
    assert samples.labels is not None
    assert (np.concatenate(logits).argmax(1) == samples.labels).mean() > 0.9


def test_shares_and_accuracy_of_leaving_are_those_of_the_cascade(joint: Bundle) -> None:
    samples = quarters(100, 2)
    assert samples.labels is not None
    whole = {variant.name: joint.segment(0, variant.end, variant=variant.name) for variant in joint.variants}
    row = next(row for row in joint.leaving if row.threshold == 0.9)
    left, right = dict.fromkeys((*whole,), 0), 0
    for frame, label in zip(samples.frames, samples.labels, strict=True):
        for name in ("exit1", "exit2", FULL):
            (logits,) = whole[name].run(joint.to_inputs(frame)).values()
            spec = joint.variant(name).exit
            if spec is None or torch.softmax(torch.from_numpy(logits[0] / spec.temperature), 0).max() >= 0.9:
                break
        left[name] += 1
        right += int(logits[0].argmax() == label)
    assert row.shares == pytest.approx({name: count / 100 for name, count in left.items()})
    assert row.accuracy == pytest.approx(right / 100)


def test_frozen_training_needs_no_labels_and_leaves_the_trunk(joint: Bundle, tmp_path: Path) -> None:
    unlabelled = {"train": quarters(160, 1, labels=False), "held_back": quarters(100, 2, labels=False)}
    trained = train(joint, tmp_path / "b", recipe=FROZEN, **unlabelled)
    bundle = trained.bundle
    assert [spec.cut for spec in bundle.exits] == [7]
    assert (trained.measured.reference, bundle.accuracy) == ("agreement", None)
    assert (bundle.exits[0].accuracy or 0) > 0.9
    frame = quarters(1, 3).frames[0]
    before, after = (b.segment(0, b.end).run(b.to_inputs(frame)) for b in (joint, bundle))
    assert before[joint.outputs[0].name].tolist() == after[bundle.outputs[0].name].tolist()


def test_new_weights_hold_for_other_input_sizes_too(tmp_path: Path) -> None:
    module, _ = ARCHITECTURES["residual"]()
    frame = FrameSpec(size=(8, 8), resize="stretch", mean=(127,), std=(128,))
    source = tiercut.export(module, None, tmp_path / "s", preprocess=frame, sizes=[(16, 16)])
    bundle = train(source, tmp_path / "b").bundle
    large = bundle.variant("full@16")
    weights = [
        {weight: tensor.encoded for weight, tensor in bundle.graph_of(name).weights.items()}
        for name in (FULL, large.name)
    ]
    assert weights[0].keys() & weights[1].keys()
    assert all(weights[0][name] == weights[1][name] for name in weights[0].keys() & weights[1].keys())
    before, after = (
        b.segment(0, large.end, variant=large.name).run(b.to_inputs(quarters(1, 1).frames[0], large.name))
        for b in (source, bundle)
    )
    name = large.outputs[0].name
    assert not np.allclose(before[name], after[name])


def test_frozen_training_with_too_little_room_makes_the_tensors_anew(
    joint: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = train(joint, tmp_path / "kept", recipe=FROZEN).bundle
    monkeypatch.setattr("tiercut.exits.batches._MAX_OF_DISK", 0)
    heard = Heard()
    assert train(joint, tmp_path / "anew", heard, recipe=FROZEN).bundle.model == kept.model
    assert any("not enough room" in note for note in heard.notes)


def test_learned_codecs_stay_with_the_trunk_that_they_were_made_for(chain: Bundle, tmp_path: Path) -> None:
    codec = LearnedSpec(name="tiny", cut=6, encoder="codecs/e", decoder="codecs/d", code=(1, 2), inner="raw")
    contents = dataclasses.replace(chain.contents, codecs=(codec,))
    source = rewrite(chain, tmp_path / "s", contents, files={"codecs/e": b"e", "codecs/d": b"d"})
    frozen = train(source, tmp_path / "f", recipe=dataclasses.replace(FROZEN, epochs=1)).bundle
    assert frozen.contents.codecs == (codec,)
    assert (frozen.folder / "codecs/e").read_bytes() == b"e"
    joint = train(source, tmp_path / "j", recipe=dataclasses.replace(QUICK, epochs=1)).bundle
    assert joint.contents.codecs == ()


@pytest.mark.parametrize("recipe", [QUICK, FROZEN], ids=["joint", "frozen"])
def test_model_that_ends_in_a_softmax_is_trained_as_one_that_does_not(tmp_path: Path, recipe: Recipe) -> None:
    frame = FrameSpec(size=(16, 16), mean=(127,), std=(128,))
    scores = []
    for name, ending in (("logits", []), ("softmax", [nn.Softmax(1), nn.Unflatten(1, (4, 1, 1))])):
        torch.manual_seed(0)
        source = tiercut.export(nn.Sequential(chain_module(), *ending), None, tmp_path / name, preprocess=frame)
        bundle = train(source, tmp_path / f"{name}-exits", recipe=recipe).bundle
        variant = bundle.variant("exit1")
        segment = bundle.segment(0, variant.end, variant="exit1")
        scores.append(segment.run(bundle.to_inputs(quarters(1, 5).frames[0]))[variant.outputs[0].name])
    logits, softmax = map(torch.from_numpy, scores)
    torch.testing.assert_close(softmax, logits, atol=0.05, rtol=0)


def test_interrupted_training_ends_as_one_that_was_not(chain: Bundle, joint: Bundle, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(chain, tmp_path / "b", Heard(stop_at=0.3), cuts=(6, 9))
    assert [path.name for path in tmp_path.iterdir()] == ["b.training"]
    heard = Heard()
    trained = train(chain, tmp_path / "b", heard, cuts=(6, 9))
    assert [p.epoch for p in heard.progress if p.accuracy] == [2, 3]
    assert trained.bundle.model == joint.model
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_training_stopped_within_an_epoch_goes_on_at_that_step(
    chain: Bundle, joint: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiercut.exits.training_loop._SAVED_EVERY_S", 0)
    monkeypatch.setattr("tiercut.exits.training_loop._SAID_EVERY_S", 0)
    with pytest.raises(KeyboardInterrupt):
        train(chain, tmp_path / "b", Heard(stop_at=0.25, within=True), cuts=(6, 9))
    heard = Heard()
    assert train(chain, tmp_path / "b", heard, cuts=(6, 9)).bundle.model == joint.model
    assert heard.progress[0].part == pytest.approx(0.25 + 1 / 60)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cuts": (6,)}, "expected cuts 6, got 7"),
        ({"recipe": dataclasses.replace(QUICK, epochs=4)}, "expected epochs 4, got 3"),
        ({"train": quarters(161, 1)}, "expected data 161 frames"),
    ],
)
def test_checkpoint_of_another_training_is_refused(
    chain: Bundle, tmp_path: Path, more: dict[str, object], said: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(chain, tmp_path / "b", Heard(stop_at=0.3))
    with pytest.raises(SettingsError, match=said):
        train(chain, tmp_path / "b", **more)
    assert not (tmp_path / "b").exists()


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_checkpoint_is_never_unpickled_and_a_damaged_one_is_refused(chain: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "b.training"
    torch.save({"format": _Touch(tmp_path / "harm")}, path)
    whole = path.read_bytes()
    for data in (whole, whole[:200], b"", b"nothing", pickle.dumps([1], 2)):
        path.write_bytes(data)
        with pytest.raises(SettingsError, match=r"cannot go on from.*delete the file"):
            train(chain, tmp_path / "b")
    assert not (tmp_path / "harm").exists()


def test_bad_data_is_refused_before_training(chain: Bundle, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"held_back": quarters(49, 2)}, "the calibration set is too small"),
        ({"train": quarters(20, 2)}, "the training set is too small"),
        ({"train": quarters(160, 1, labels=False)}, "joint training needs labels"),
        ({"train": Samples(quarters(60, 1).frames, np.full(60, 4))}, "labels from 0 to 3"),
        ({"train": Samples([np.zeros((4, 4, 3), np.float32)] * 60, np.zeros(60, np.int64))}, "frame 0 does not fit"),
    ]
    for more, said in cases:
        with pytest.raises(DataError, match=said):
            train(chain, tmp_path / "b", **more)
    assert not list(tmp_path.iterdir())


def test_folder_that_is_no_bundle_is_refused_before_training(chain: Bundle, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    heard = Heard()
    with pytest.raises(ExportError, match="will not replace"):
        train(chain, tmp_path, heard)
    assert not heard.progress


def test_models_that_cannot_have_exits_are_refused(tmp_path: Path) -> None:
    unlabelled = {"train": quarters(60, 1, labels=False), "held_back": quarters(60, 2, labels=False)}
    with pytest.raises(ExportError, match="is no classifier"):
        train(bundle_of("depthwise"), tmp_path / "b", cuts=(3,))
    with pytest.raises(InputError, match="one frame is not enough"):
        train(bundle_of("multi_input"), tmp_path / "b", cuts=(2,), recipe=FROZEN, **unlabelled)


def test_cuts_by_hand_are_numbers_shares_or_nodes(chain: Bundle) -> None:
    name = chain.cuts[9].after
    assert name is not None
    assert placement.by_hand(chain, [name, " 6"]) == (6, 9)
    assert placement.by_hand(chain, ["…" + name[2:]]) == (9,)


def test_head_where_several_tensors_are_alive_names_the_nearest_good_cuts(residual: Bundle) -> None:
    good = placement.good_cuts(residual)
    bad = next(cut.index for cut in residual.cuts if len(cut.tensors) == 2)
    with pytest.raises(CutError, match=rf"2 tensors.*nearest good cuts: .*{max(k for k in good if k < bad)} \(after"):
        placement.by_hand(residual, [str(bad)])


@pytest.mark.parametrize("texts", [["0"], ["2"], ["6", "6"], ["nowhere"], ["13"]])
def test_cuts_that_can_carry_no_head_are_refused(chain: Bundle, texts: list[str]) -> None:
    with pytest.raises(CutError):
        placement.by_hand(chain, texts)


def test_even_placement_parts_the_work(chain: Bundle) -> None:
    (one,) = placement.evenly(chain, 1)
    assert chain.cuts[one].macs / chain.cuts[-1].macs == pytest.approx(0.5, abs=0.3)
    assert chain.cuts[one + 1].macs > chain.cuts[one].macs  # behind activation and pooling
    with pytest.raises(CutError, match="cannot attach 9 heads"):
        placement.evenly(chain, 9)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"learning_rate": np.nan}, {"weights": (-1.0,)}, {"weights": (0.0, 0.0)}],
)
def test_recipes_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="recipe's"):
        dataclasses.replace(QUICK, **wrong)  # type: ignore[arg-type]


def test_weights_are_one_per_exit_and_one_for_the_full_model() -> None:
    assert Recipe().loss_weights(2) == (1, 1, 1)
    assert Recipe(weights=(0.5, 2)).loss_weights(2) == (0.5, 2, 1)
    assert Recipe(weights=(0.5, 2, 3)).loss_weights(2) == (0.5, 2, 3)
    for recipe in (Recipe(weights=(1,)), Recipe(mode="frozen", weights=(1, 1, 1))):
        with pytest.raises(SettingsError, match="one per exit"):
            recipe.loss_weights(2)
