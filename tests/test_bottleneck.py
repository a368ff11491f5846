"""``tiercut bottleneck train``: learned codecs, distilled from the full model, that become part of its bundle."""

from __future__ import annotations

import argparse
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from tests.bundles import bundle_of
from tests.exit_data import Heard, quarters, write_quarters
from tests.exit_data import train as train_exits
from tiercut.bottleneck.network import Bottleneck
from tiercut.bottleneck.plan import make_plan
from tiercut.bottleneck.to_onnx import to_onnx
from tiercut.bottleneck.train import Trained, train_bottleneck
from tiercut.cli import bottleneck as command
from tiercut.codecs.base import TENSOR_REASONS
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.table import CODECS, codec
from tiercut.datasets.samples import Samples
from tiercut.errors import BadTensor, ChecksumError, CutError, DataError, SettingsError, TiercutError
from tiercut.exits.recipe import Recipe
from tiercut.model.bundle import Bundle
from tiercut.model.cuts import TensorSpec
from tiercut.model.learned_codec import CODE, TENSOR, LearnedCodec
from tiercut.profiling.codec_table import CodecTable
from tiercut.profiling.codec_table_file import load_table, write_table
from tiercut.profiling.machine import this_machine

#: Enough to learn from in a few seconds.
QUICK = Recipe(mode="frozen", epochs=4, batch=16, learning_rate=8e-3)
#: The second ReLU of `chain`, 16x4x4.
CUT = 8
NAME = "bottleneck-8-c8-b4"


def learn(bundle: Bundle, target: Path, heard: Heard | None = None, *, recipe: Recipe = QUICK, **plan: Any) -> Trained:
    """`train_bottleneck` with what the tests do not care about."""
    heard = heard or Heard()
    given: dict[str, Any] = {"cut": CUT, "channels": 8, "bits": 4, **plan}
    return train_bottleneck(
        bundle,
        given.pop("train", quarters(160, 1, labels=False)),
        given.pop("held_back", quarters(100, 2)),
        target,
        plan=make_plan(bundle, **given),
        recipe=recipe,
        report=heard.report,
        note=heard.notes.append,
    )


@pytest.fixture(scope="module")
def model(chain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`chain`, trained on quarters."""
    return train_exits(chain, tmp_path_factory.mktemp("trained") / "b").bundle


@pytest.fixture(scope="module")
def trained(model: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return learn(model, tmp_path_factory.mktemp("bottleneck") / "b")


def answers(bundle: Bundle, codec_name: str | None, samples: Samples) -> NDArray[np.int64]:
    """Classes, with a codec between the two parts at `CUT`."""
    head, tail = bundle.segment(0, CUT), bundle.segment(CUT, bundle.end)
    found = []
    for frame in samples.frames:
        alive = head.run(bundle.to_inputs(frame))
        if codec_name:
            sent = [encode_tensor(name, array, codec_name, bundle.learned) for name, array in alive.items()]
            assert {tensor.codec for tensor in sent} == {codec_name}
            alive = {tensor.name: decode_tensor(tensor, bundle.learned) for tensor in sent}
        found.append(tail.run(alive)[bundle.outputs[0].name].argmax())
    return np.array(found)


def test_bottleneck_answers_as_the_full_model_in_fewer_bytes(trained: Trained) -> None:
    bundle, frames = trained.bundle, quarters(60, 5)
    same = answers(bundle, NAME, frames) == answers(bundle, None, frames)
    rows = {row.codec: row for row in trained.rows}
    assert same.mean() > 0.9
    assert rows[NAME].accuracy_drop < 0.1
    assert rows[NAME].bytes < rows["int4+zstd"].bytes < rows["int8+zstd"].bytes


def test_bundle_has_it_beside_all_it_had(model: Bundle, trained: Trained) -> None:
    bundle = Bundle.load(trained.bundle.folder)
    assert (bundle.cuts, bundle.exits, bundle.leaving) == (model.cuts, model.exits, model.leaving)
    assert bundle.model != model.model
    assert (bundle.folder / "model.data").read_bytes() == (model.folder / "model.data").read_bytes()
    (spec,) = bundle.contents.codecs
    assert (spec.cut, spec.code, spec.inner) == (CUT, (1, 8, 4, 4), "int4+zstd")
    assert spec.encoder in bundle.contents.files
    assert not list(bundle.folder.parent.glob("*.training"))


def test_files_carry_their_weights_and_check(trained: Trained) -> None:
    for spec in trained.bundle.contents.codecs:
        for file in (spec.encoder, spec.decoder):
            loaded = onnx.load(trained.bundle.folder / file, load_external_data=False)
            onnx.checker.check_model(loaded, full_check=True)
            assert all(weight.data_location == onnx.TensorProto.DEFAULT for weight in loaded.graph.initializer)


def test_several_live_in_one_bundle_and_one_of_the_same_name_is_replaced(trained: Trained, tmp_path: Path) -> None:
    once = Recipe(mode="frozen", epochs=1, batch=32)
    second = learn(trained.bundle, tmp_path / "b", recipe=once, bits=8, name="other")
    assert not second.replaced
    third = learn(second.bundle, tmp_path / "b", recipe=once, channels=4, name="other")
    assert third.replaced
    assert [(spec.name, spec.code[1]) for spec in third.bundle.contents.codecs] == [
        (NAME, 8),
        ("other", 4),
    ]
    frames = quarters(5, 6)
    kept = [answers(each.bundle, NAME, frames).tolist() for each in (trained, third)]
    assert kept[0] == kept[1]


def test_interrupted_training_ends_as_one_that_was_not(model: Bundle, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(model, tmp_path / "b", Heard(stop_at=0.5))
    assert not (tmp_path / "b").exists()
    heard = Heard()
    resumed = learn(model, tmp_path / "b", heard)
    assert heard.progress[0].part > 0.5
    assert resumed.bundle.model == trained.bundle.model


def test_checkpoint_of_another_training_is_refused(model: Bundle, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(model, tmp_path / "b", Heard(stop_at=0.5))
    with pytest.raises(SettingsError, match="cannot go on"):
        learn(model, tmp_path / "b", channels=4, name=NAME)


def test_replacing_a_bundle_in_place_leaves_no_codec_table_of_the_old_one(model: Bundle, tmp_path: Path) -> None:
    once = Recipe(mode="frozen", epochs=1, batch=32)
    bundle = learn(model, tmp_path / "b", recipe=once).bundle
    fields: dict[str, Any] = {"model": bundle.model, "model_name": bundle.name, "rows": (), "frames": 1}
    fields |= {"reference": "agreement", "accuracy": 1.0, "date": "2026-11-21", "machine": this_machine(1)}
    write_table(bundle, CodecTable(**fields))
    assert load_table(bundle) is not None
    again = learn(bundle, bundle.folder, recipe=once, name="second").bundle
    assert load_table(again) is None


def test_bundle_may_be_named_from_inside_of_it(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.bundle.folder, tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    learn(Bundle.load("."), Path(), recipe=Recipe(epochs=1, batch=32), name="second")
    assert len(Bundle.load(tmp_path / "b").learned) == 2


def test_failure_leaves_the_bundle_as_it_was(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = learn(trained.bundle, tmp_path / "b", recipe=Recipe(epochs=1, batch=32), name="second").bundle
    monkeypatch.setattr("tiercut.model.bundle_write.write_contents", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(TiercutError):
        learn(bundle, bundle.folder, recipe=Recipe(epochs=1, batch=32), name="third")
    assert Bundle.load(tmp_path / "b").model == bundle.model
    assert {path.name for path in tmp_path.iterdir()} == {"b", "b.third.training"}


def test_codec_takes_exactly_its_tensor(trained: Trained) -> None:
    learned = trained.bundle.learned[NAME]
    assert learned.accepts("float32", (1, 16, 4, 4))
    assert not learned.accepts("float16", (1, 16, 4, 4))
    assert not learned.accepts("float32", (1, 16, 4, 5))
    assert not learned.lossless
    sent = encode_tensor("x", np.zeros((1, 16, 4, 5), np.float32), learned.name, trained.bundle.learned)
    assert sent.codec == "raw+zstd"


def test_tensor_that_is_not_finite_travels_losslessly(trained: Trained) -> None:
    array = np.full((1, 16, 4, 4), np.nan, np.float32)
    sent = encode_tensor("x", array, NAME, trained.bundle.learned)
    assert sent.codec == "raw+zstd"


def test_estimate_is_near_what_it_takes(trained: Trained) -> None:
    learned = trained.bundle.learned[NAME]
    (row,) = (row for row in trained.rows if row.codec == learned.name)
    assert learned.estimate_bytes("float32", (1, 16, 4, 4)) == pytest.approx(row.bytes, rel=0.35)


def spoilt(data: bytes) -> dict[str, bytes]:
    return {
        "none": b"",
        "cut off": data[:-1],
        "trailing": data + b"\0",
        "zeros": bytes(len(data)),
        "another codec": CODECS["raw+zstd"].encode(np.zeros((1, 8, 4, 4), np.float32)),
        "larger": CODECS["int4+zstd"].encode(np.zeros((1, 8, 40, 40), np.float32)),
    }


@pytest.mark.parametrize("how", list(spoilt(b"")))
def test_hostile_bytes_are_refused(trained: Trained, how: str) -> None:
    learned = trained.bundle.learned[NAME]
    data = learned.encode(np.ones((1, 16, 4, 4), np.float32))
    with pytest.raises(BadTensor) as caught:
        learned.decode(spoilt(data)[how], dtype="float32", shape=(1, 16, 4, 4))
    assert caught.value.reason in TENSOR_REASONS


@pytest.mark.parametrize(("dtype", "shape"), [("float64", (1, 16, 4, 4)), ("float32", (1, 16, 4, 3)), ("x", ())])
def test_bytes_for_another_tensor_are_refused(trained: Trained, dtype: str, shape: tuple[int, ...]) -> None:
    learned = trained.bundle.learned[NAME]
    data = learned.encode(np.ones((1, 16, 4, 4), np.float32))
    with pytest.raises(BadTensor):
        learned.decode(data, dtype=dtype, shape=shape)


def test_file_that_changed_after_the_bundle_was_loaded_is_refused(trained: Trained, tmp_path: Path) -> None:
    learn(trained.bundle, tmp_path / "b", recipe=Recipe(epochs=1, batch=32))
    old = Bundle.load(tmp_path / "b")
    learn(old, tmp_path / "b", recipe=Recipe(epochs=1, batch=32, seed=5))
    with pytest.raises(ChecksumError):
        old.learned[NAME].encode(np.ones((1, 16, 4, 4), np.float32))


def test_prepared_codec_needs_its_files_no_more(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.bundle.folder, tmp_path / "b")
    learned = Bundle.load(tmp_path / "b").learned[NAME]
    assert isinstance(learned, LearnedCodec)
    learned.prepare()
    shutil.rmtree(tmp_path / "b")
    data = learned.encode(np.ones((1, 16, 4, 4), np.float32))
    assert learned.decode(data, dtype="float32", shape=(1, 16, 4, 4)).shape == (1, 16, 4, 4)


def test_threads_share_one_codec(trained: Trained) -> None:
    learned = Bundle.load(trained.bundle.folder).learned[NAME]
    arrays = np.random.default_rng(0).uniform(size=(8, 1, 16, 4, 4)).astype(np.float32)
    found: dict[int, bytes] = {}

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = learned.encode(arrays[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == [learned.encode(array) for array in arrays]


@pytest.mark.parametrize(
    ("shape", "stride"),
    [((1, 6, 9, 9), 1), ((1, 6, 9, 9), 2), ((1, 6, 8, 5), 2), ((1, 300, 1, 1), 2), ((1, 40), 1), ((1, 5, 24), 1)],
)
def test_files_compute_what_the_trained_layers_do(shape: tuple[int, ...], stride: int) -> None:
    bundle = fake(shape)
    plan = make_plan(bundle, 1, channels=3, stride=stride, bits=8)
    network = Bottleneck(plan, 50 * torch.rand(30, *shape[1:]))
    tensor, code = TensorSpec(TENSOR, shape, "float32"), TensorSpec(CODE, plan.code, "float32")
    x = 50 * torch.rand(shape)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        encoder, decoder = network.folded()
        wanted = network.decoder(network.encoder(x / network.scale)) * network.scale
        assert torch.allclose(decoder(encoder(x)), wanted, rtol=1e-4, atol=1e-3)
    assert to_onnx(encoder, tensor, code)  # which compares
    assert to_onnx(decoder, code, tensor)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_training_sees_the_codes_that_the_codec_will_give(bits: int) -> None:
    plan = make_plan(fake((1, 16, 8, 8)), 1, channels=8, bits=bits)
    network = Bottleneck(plan, torch.randn(30, 16, 8, 8))
    codes = torch.randn(5, 8, 8, 8)
    inner = codec(plan.inner)
    for mine, code in zip(network.coded(codes), codes.numpy(), strict=True):
        back = inner.decode(inner.encode(code[None]), dtype="float32", shape=plan.code)
        assert np.array_equal(mine.numpy(), back[0])


def of_three_components(shape: tuple[int, ...], stride: int) -> torch.Tensor:
    """Tensors of 60 frames, whose channels (of a patch, where the stride is 2) are mixtures of three patterns."""
    if len(shape) < 4:
        return torch.rand(60, *shape[1:-1], 3) @ torch.randn(3, shape[-1]) + 1
    _, channels, height, width = shape
    amounts = torch.rand(60, 3, -(-height // stride), -(-width // stride))
    mixed = torch.einsum("nkhw,kc->nchw", amounts, torch.randn(3, channels)) + 1
    return mixed.repeat_interleave(stride, 2).repeat_interleave(stride, 3)[:, :, :height, :width]


@pytest.mark.parametrize(("shape", "stride"), [((1, 12, 9, 6), 1), ((1, 12, 9, 6), 2), ((1, 30), 1), ((1, 5, 24), 1)])
def test_layers_begin_as_the_best_linear_ones(shape: tuple[int, ...], stride: int) -> None:
    tensors = of_three_components(shape, stride)
    network = Bottleneck(make_plan(fake(shape), 1, channels=3, stride=stride), tensors)
    with torch.no_grad():
        rebuilt = network.decoder(network.encoder(tensors / network.scale)) * network.scale
    apart = (rebuilt - tensors).abs()
    if stride > 1:
        apart = apart[:, :, :-1]  # of the odd last row, half of each patch lies outside
    assert apart.max() < 1e-3


def test_fewer_frames_than_channels_still_begin_somewhere() -> None:
    network = Bottleneck(make_plan(fake((1, 40)), 1, channels=30), torch.randn(5, 40))
    assert torch.isfinite(network(torch.randn(2, 40))).all()


def test_gradient_passes_the_codec() -> None:
    network = Bottleneck(make_plan(fake((1, 16, 8, 8)), 1, bits=2), torch.randn(30, 16, 8, 8))
    network(torch.randn(2, 16, 8, 8)).square().mean().backward()
    weights = [parameter.grad for parameter in network.encoder.parameters()]
    assert all(grad is not None and grad.abs().max() > 0 for grad in weights)


def test_code_too_short_for_eight_bits_travels_as_halves() -> None:
    plan = make_plan(fake((1, 40)), 1, channels=10, bits=2)
    assert (plan.inner, plan.name, plan.code) == ("fp16", "bottleneck-1-c10-b16", (1, 10))


def fake(shape: tuple[int, ...]) -> Any:
    """A model of which only cut 1 is looked at."""

    class Cut:
        tensors = (TensorSpec("x", shape, "float32"),)

    class Model:
        name, cuts, end = "fake", (Cut, Cut, Cut), 2

    return Model


@pytest.mark.parametrize("cut", [0, -1, 99])
def test_cut_that_does_not_exist_is_refused(chain: Bundle, cut: int) -> None:
    with pytest.raises(CutError, match="bottleneck cannot be"):
        make_plan(chain, cut)


def test_cut_with_several_tensors_or_integers_is_refused(chain: Bundle) -> None:
    residual = bundle_of("residual")
    several = next(cut.index for cut in residual.cuts if len(cut.tensors) > 1)
    integers = next(cut.index for cut in chain.cuts[1:] if cut.tensors[0].dtype == "uint8")
    for bundle, cut in ((residual, several), (chain, integers)):
        with pytest.raises(CutError, match="one tensor of float32"):
            make_plan(bundle, cut)


@pytest.mark.parametrize(
    "plan",
    [
        {"channels": 0},
        {"channels": 16},
        {"stride": 3},
        {"bits": 3},
        {"name": "int8+zstd"},
        {"name": "raw"},
        {"name": "noise1"},
        {"name": "../x"},
        {"cut": 10, "stride": 2},
    ],
)
def test_wrong_setting_is_named(chain: Bundle, plan: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is not valid"):
        make_plan(chain, **{"cut": CUT, **plan})


def test_calibration_set_that_is_too_small_is_refused(model: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too small"):
        learn(model, tmp_path / "b", train=quarters(20, 1))
    assert not list(tmp_path.iterdir())


def test_command_trains_and_says_what_came_of_it(
    model: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    flags = ["--data", write_quarters(tmp_path / "data"), "--cut", CUT, "--channels", 8, "--stride", 2, "--epochs", 1]
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["bottleneck", "train", model.folder, *flags, "-o", tmp_path / "b", "--threads", 1]
    args = parser.parse_args([str(word) for word in words])
    assert args.run(args) == 0
    bundle = Bundle.load(tmp_path / "b")
    printed = capsys.readouterr().out
    assert bundle.model in printed
    assert "another model now" in printed
    assert all(name in printed for name in ("bottleneck-8-c8-s2-b16", "int8+zstd", "int4+zstd"))
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 100
    document = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert [each["name"] for each in document["codecs"]] == ["bottleneck-8-c8-s2-b16"]
