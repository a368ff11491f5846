"""The codec table: measured on frames, kept with its bundle, read by the planner, refused where it does not belong."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper

import tiercut
from tests.bundles import bundle_of, exits_bundle, grey_frames
from tests.models import chain_module, image
from tiercut.cli import main
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.datasets.samples import Samples, Stack
from tiercut.errors import BundleError, DataError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_write import rewrite
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import LearnedSpec
from tiercut.planner.document import read_problem
from tiercut.profiling.codec_choice import problem_codecs, worth_choosing
from tiercut.profiling.codec_measure import Options, measure_codecs, paired_drop
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.codec_table_file import FILE, load_table, write_table
from tiercut.profiling.cut_sampling import candidate_cuts
from tiercut.profiling.machine import this_machine
from tiercut.profiling.profile import CodecPoint, Profile

FEW = Options(codecs=("int8+zstd", "int2+zstd", "png", "jpeg-15"), frames=60)


def photographs(count: int = 60, size: int = 16) -> Samples:
    """Soft patches of colour with a little noise, each other than the next."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size // 4, size // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return Samples(Stack(np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)))


def answers(bundle: Bundle, samples: Samples) -> NDArray[np.int64]:
    full = bundle.segment(0, bundle.end)
    name = bundle.outputs[0].name
    return np.array([full.run(bundle.to_inputs(frame))[name].argmax() for frame in samples.frames], np.int64)


def row(codec: str = "int8+zstd", cut: int = 1, **fields: Any) -> CodecRow:
    numbers: dict[str, Any] = {"bytes": 100, "encode_seconds": 1e-3, "decode_seconds": 1e-3}
    return CodecRow(codec=codec, cut=cut, **numbers | fields)


def table_of(bundle: Bundle, *rows: CodecRow) -> CodecTable:
    return CodecTable(
        model=bundle.model,
        model_name=bundle.name,
        rows=rows or (row(),),
        frames=100,
        reference="labels",
        accuracy=0.9,
        date="2026-11-21",
        machine=this_machine(),
        variants={"full": 0.9},
    )


def profile_of(bundle: Bundle, *points: CodecPoint) -> Profile:
    return Profile(
        model=bundle.model,
        model_name=bundle.name,
        machine=this_machine(),
        source="measured",
        cut_seconds=tuple(i * 1e-3 for i in range(bundle.end + 1)),
        cut_bytes=tuple(cut.bytes for cut in bundle.cuts),
        codecs=points,
    )


@pytest.fixture
def own(chain: Bundle, tmp_path: Path) -> Bundle:
    """The model ``chain`` in a folder of its own."""
    return Bundle.load(shutil.copytree(chain.folder, tmp_path / "chain"))


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A chain whose last biases are such that it gives several answers on `photographs`."""
    torch.manual_seed(2)
    module = chain_module().eval()
    folder = tmp_path_factory.mktemp("decided") / "chain"
    frame = FrameSpec(size=(16, 16), resize="stretch", mean=(127.0,), std=(128.0,))
    bundle = tiercut.export(module, (image(),), folder, preprocess=frame)
    full = bundle.segment(0, bundle.end)
    name = bundle.outputs[0].name
    logits = [np.asarray(full.run(bundle.to_inputs(each))[name], np.float32) for each in photographs().frames]
    with torch.no_grad():
        module[-1].bias -= torch.from_numpy(np.mean(logits, axis=0)[0])  # type: ignore[index]
    return tiercut.export(module, (image(),), folder, preprocess=frame)


@pytest.fixture(scope="module")
def measured(bundles: Path) -> CodecTable:
    return measure_codecs(Bundle.load(bundles / "chain"), photographs(), Options(frames=60))


def test_every_cut_worth_choosing_and_cut_0_get_the_codecs_that_take_them(chain: Bundle, measured: CodecTable) -> None:
    assert measured.cuts == tuple(sorted({0, *candidate_cuts(chain.cuts)}))
    at_frame = {each.codec for each in measured.rows_for(0)}
    later = {each.codec for each in measured.rows_for(measured.cuts[1])}
    assert {"png", "jpeg", "jpeg-15", "webp-50", "raw+zstd"} <= at_frame
    assert {"fp16", "int8+zstd", "int4+zstd", "int2+zstd", "sparse8+zstd"} <= later
    assert not {"raw", "int8"} & at_frame
    assert not {"raw", "jpeg"} & later


def test_table_says_what_it_is_of(chain: Bundle, measured: CodecTable) -> None:
    assert (measured.model, measured.model_name, measured.frames) == (chain.model, "chain", 60)
    assert (measured.reference, measured.accuracy, measured.variants) == ("agreement", 1.0, {"full": 1.0})
    assert all(each.encode_seconds > 0 and each.decode_seconds > 0 for each in measured.rows)


def test_lossless_codecs_cost_nothing_and_others_are_never_certain(measured: CodecTable) -> None:
    for each in measured.rows:
        lossless = each.codec in {"png", "raw+zstd"}
        assert (each.accuracy_drop_std == 0) == lossless
        assert each.accuracy_drop == 0 or not lossless


@pytest.mark.parametrize(("codec", "cut"), [("int2+zstd", 2), ("jpeg-15", 0)])
def test_row_is_what_the_codec_does_to_the_answers(decided: Bundle, codec: str, cut: int) -> None:
    samples = photographs()
    table = measure_codecs(decided, samples, Options(codecs=(codec,), cuts=(cut,), frames=60))
    head, tail = decided.segment(0, cut), decided.segment(cut, decided.end)
    sizes, others = [], 0
    for frame, answer in zip(samples.frames, answers(decided, samples), strict=True):
        coded = [encode_tensor(n, a, codec) for n, a in head.run(decided.to_inputs(frame)).items()]
        back = tail.run({tensor.name: decode_tensor(tensor) for tensor in coded})
        sizes.append(sum(len(tensor.data) for tensor in coded))
        others += int(back[decided.outputs[0].name].argmax() != answer)
    assert others > 0
    assert [(each.bytes, each.accuracy_drop) for each in table.rows] == [(round(np.mean(sizes)), others / 60)]


def test_labels_that_the_model_gives_itself_measure_the_same_as_agreement(decided: Bundle) -> None:
    samples = photographs()
    own = dataclasses.replace(samples, labels=answers(decided, samples))
    by_labels, by_agreement = (measure_codecs(decided, each, FEW) for each in (own, samples))
    assert (by_labels.reference, by_labels.accuracy) == ("labels", 1.0)
    assert [r.accuracy_drop for r in by_labels.rows] == [r.accuracy_drop for r in by_agreement.rows]


def test_wrong_labels_lower_the_accuracy_and_let_a_drop_be_negative(decided: Bundle) -> None:
    samples = photographs()
    wrong = (answers(decided, samples) + 1) % 4
    table = measure_codecs(decided, dataclasses.replace(samples, labels=wrong), FEW)
    assert table.accuracy == 0
    assert all(each.accuracy_drop <= 0 for each in table.rows)
    assert any(each.accuracy_drop < 0 for each in table.rows)


def test_exits_and_other_sizes_get_their_accuracy() -> None:
    bundle = exits_bundle()
    samples = Samples(Stack(np.array(grey_frames(60))))
    table = measure_codecs(bundle, samples, FEW)
    assert list(table.variants) == [variant.name for variant in bundle.variants]
    assert table.variants["full"] == 1.0
    early = bundle.segment(0, bundle.exits[0].cut + 1, 1, "early")
    output = bundle.variant("early").outputs[0].name
    same = [
        early.run(bundle.to_inputs(frame))[output].argmax() == answer
        for frame, answer in zip(samples.frames, answers(bundle, samples), strict=True)
    ]
    assert table.variants["early"] == pytest.approx(np.mean(same))


def test_noise_is_measured_in_front_of_codecs_that_lose_something_and_of_raw(decided: Bundle) -> None:
    options = Options(codecs=("int8+zstd", "png"), cuts=(0, 2), noise=(0.01, 5.0), frames=60)
    table = measure_codecs(decided, photographs(), options)
    assert [(r.codec, r.cut) for r in table.rows if r.noise == 5] == [
        ("noise5+raw", 0),
        ("noise5+raw", 2),
        ("noise5+int8+zstd", 2),
    ]
    drops = {r.codec: r.accuracy_drop for r in table.rows_for(2)}
    assert drops["noise0.01+int8+zstd"] < drops["noise5+int8+zstd"]


def test_model_of_integers_gets_no_noise_where_there_are_integers() -> None:
    bundle = bundle_of("attention")
    rng = np.random.default_rng(0)
    spec = bundle.inputs[0]
    tokens = rng.integers(0, 20, (60, *spec.shape)).astype(spec.dtype)
    table = measure_codecs(bundle, Samples(Stack(tokens)), Options(codecs=("int8+zstd",), noise=(0.5,), frames=60))
    assert all(r.cut > 0 for r in table.rows if r.noise)
    assert any(r.noise for r in table.rows)


def test_codec_of_the_bundle_is_measured_at_its_own_cut_alone(decided: Bundle, tmp_path: Path) -> None:
    cut = 3  # of the same shape as cut 2
    spec = decided.cuts[cut].tensors[0]
    same = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, spec.shape) for name in ("tensor", "code")]
    files: dict[str, bytes] = {}
    for file, (a, b) in {"encoder.onnx": same, "decoder.onnx": same[::-1]}.items():
        graph = helper.make_graph([helper.make_node("Identity", [a.name], [b.name])], "same", [a], [b])
        opsets = [helper.make_opsetid("", 18)]
        files[file] = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    learned = LearnedSpec(
        name="narrow", cut=cut, encoder="encoder.onnx", decoder="decoder.onnx", code=spec.shape, inner="int2+zstd"
    )
    contents = dataclasses.replace(decided.contents, codecs=(learned,))
    bundle = rewrite(decided, tmp_path / "learned", contents, files=files)
    table = measure_codecs(bundle, photographs(), Options(frames=60, cuts=(cut - 1, cut), noise=(0.1,)))
    assert decided.cuts[cut - 1].tensors[0].shape == spec.shape
    own = [each for each in table.rows if "narrow" in each.codec]
    assert [(each.codec, each.cut) for each in own] == [("narrow", cut), ("noise0.1+narrow", cut)]
    inner = next(each for each in table.rows_for(cut) if each.codec == "int2+zstd")
    assert (own[0].bytes, own[0].accuracy_drop) == (inner.bytes, inner.accuracy_drop)


def test_progress_goes_from_nothing_to_all(chain: Bundle) -> None:
    told: list[float] = []
    measure_codecs(chain, photographs(), FEW, report=lambda done, _what: told.append(done))
    assert told == sorted(told)
    assert (len(told), told[-1]) == (60, 1.0)


def test_standard_error_is_that_of_matched_proportions() -> None:
    before = [True] * 80 + [False] * 20
    after = [True] * 70 + [False] * 10 + [True] * 5 + [False] * 15
    drop, std = paired_drop(before, after)
    assert drop == pytest.approx(0.05)
    assert std == pytest.approx(math.sqrt((16 / 102 - (5 / 102) ** 2) / 102))
    assert paired_drop(before, before)[1] == pytest.approx(1 / 102, rel=0.01)


def test_calibration_set_that_is_too_small_is_refused(chain: Bundle) -> None:
    with pytest.raises(DataError, match="50 frames"):
        measure_codecs(chain, photographs(49))


def test_labels_that_do_not_match_the_outputs_are_refused(chain: Bundle) -> None:
    samples = dataclasses.replace(photographs(), labels=np.full(60, 4))
    with pytest.raises(DataError, match="labels"):
        measure_codecs(chain, samples, FEW)


def test_labels_for_a_first_output_that_is_no_list_of_classes_are_refused() -> None:
    bundle = bundle_of("depthwise")
    samples = Samples(Stack(np.zeros((60, *bundle.inputs[0].shape), np.float32)), np.zeros(60, np.int64))
    with pytest.raises(DataError, match="one score per class"):
        measure_codecs(bundle, samples, FEW)


@pytest.mark.parametrize("options", [{"codecs": ("lz5",)}, {"cuts": (99,)}, {"noise": (0.0,)}, {"noise": (11.0,)}])
def test_what_the_model_or_tiercut_does_not_have_is_refused(chain: Bundle, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        measure_codecs(chain, photographs(), Options(**options))


def test_table_comes_back_from_its_file(own: Bundle) -> None:
    assert load_table(own) is None
    table = table_of(own, row(), row("noise0.2+raw", noise=0.2, accuracy_drop=-0.01, accuracy_drop_std=0.02))
    assert write_table(own, table) == own.folder / FILE
    assert load_table(own) == table
    assert Bundle.load(own.folder).model == own.model


def test_table_of_another_model_is_refused_with_both_names(own: Bundle, residual: Bundle) -> None:
    other = table_of(residual)
    with pytest.raises(BundleError, match="residual"):
        write_table(own, other)
    write_table(own, table_of(own))
    text = (own.folder / FILE).read_text().replace(own.model, residual.model).replace('"chain"', '"residual"')
    (own.folder / FILE).write_text(text)
    with pytest.raises(BundleError, match="residual") as caught:
        load_table(own)
    assert "tiercut codecs measure" in caught.value.fix


WRONG = [
    {"format": "tiercut-codecs/9"},
    {"rows": None},
    {"rows": [1]},
    {"frames": 0},
    {"frames": 1.5},
    {"frames": True},
    {"reference": "belief"},
    {"accuracy": 1.5},
    {"accuracy": math.nan},
    {"machine": []},
    {"machine": {}},
    {"variants": {"full": 2}},
    {"variants": []},
    {"model": 7},
]
WRONG_ROWS = [
    {"codec": None},
    {"codec": "a b"},
    {"cut": -1},
    {"cut": 10**6},
    {"bytes": 1.5},
    {"encode_seconds": -1},
    {"decode_seconds": math.inf},
    {"decode_seconds": 10**400},
    {"accuracy_drop": 2},
    {"accuracy_drop_std": "0"},
    {"noise": 0.1},
    {"codec": "noise99+raw"},
]


@pytest.mark.parametrize("change", [*WRONG, *({"row": each} for each in WRONG_ROWS)])
def test_damaged_table_is_refused(own: Bundle, change: dict[str, Any]) -> None:
    document = json.loads(write_table(own, table_of(own)).read_text())
    document["rows"][0] |= change.pop("row", {})
    (own.folder / FILE).write_text(json.dumps(document | change))
    with pytest.raises(BundleError, match="codec"):
        load_table(own)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\x00"])
def test_file_that_is_no_table_is_refused(own: Bundle, text: str) -> None:
    (own.folder / FILE).write_text(text)
    with pytest.raises(BundleError):
        load_table(own)


def test_table_appears_whole_or_not_at_all(own: Bundle) -> None:
    (own.folder / FILE).mkdir()
    (own.folder / FILE / "in-the-way").touch()
    with pytest.raises(BundleError, match="cannot write"):
        write_table(own, table_of(own))
    assert not list(own.folder.glob(".*"))


def test_codecs_that_others_beat_in_every_respect_are_not_worth_choosing() -> None:
    rows = [
        row("int8+zstd", bytes=100, accuracy_drop=0.0),
        row("int8", bytes=120),  # larger, as slow
        row("int4+zstd", bytes=50, accuracy_drop=0.01),
        row("int2+zstd", bytes=60, accuracy_drop=0.1),  # larger than int4 and worse
        row("sparse8+zstd", bytes=100),  # the same as int8+zstd
        row("fp16", bytes=1000, encode_seconds=0, decode_seconds=0),  # no smaller than raw
        row("raw+zstd", bytes=900, encode_seconds=1e-6, decode_seconds=0),
        row("noise0.2+int8+zstd", bytes=100, accuracy_drop=0.2, noise=0.2),
        row("noise0.2+raw", bytes=1000, accuracy_drop=0.3, noise=0.2, encode_seconds=1e-9, decode_seconds=0),
    ]
    good = [each.codec for each in worth_choosing(rows, 1000)]
    assert good == ["int8+zstd", "int4+zstd", "raw+zstd", "noise0.2+int8+zstd", "noise0.2+raw"]


def test_planner_takes_what_the_table_says(chain: Bundle) -> None:
    size = chain.cuts[2].bytes
    table = table_of(
        chain,
        row(cut=2, bytes=size // 4, accuracy_drop=-0.01),
        row("noise0.5+int8+zstd", 2, noise=0.5, accuracy_drop=0.3),
    )
    entries = problem_codecs(table, profile_of(chain))
    assert msgspec.to_builtins(entries[0]) == {
        "name": "int8+zstd@2",
        "ratio": pytest.approx(4, rel=0.01),
        "encode_seconds_per_mb": pytest.approx(1e-3 / size * 1e6),
        "decode_seconds_per_mb": pytest.approx(1e-3 / size * 1e6),
        "accuracy_drop": 0.0,
        "cuts": (2, 2),
        "noise": 0.0,
    }
    assert (entries[1].name, entries[1].noise) == ("noise0.5+int8+zstd@2", 0.5)


def test_planner_reads_every_entry_of_a_measured_table(chain: Bundle, measured: CodecTable) -> None:
    entries = problem_codecs(measured, profile_of(chain))
    problem = read_problem(
        {
            "format": "tiercut-plan-problem/1",
            "model": {
                "name": "chain",
                "variants": [{"name": "full", "accuracy": 1.0, "cut_bytes": [cut.bytes for cut in chain.cuts]}],
            },
            "nodes": [{"id": "device", "tier": "device", "block_seconds": {"full": [0.001] * chain.end}}],
            "links": [],
            "codecs": msgspec.to_builtins(entries),
            "objective": "latency",
        }
    )
    assert len(problem.codecs) == len(entries) + 1 > 8


def test_own_times_of_a_node_come_before_the_tables(chain: Bundle) -> None:
    table = table_of(chain, row(cut=2), row("int4+zstd", 2, bytes=50, accuracy_drop=0.01))
    slow = CodecPoint(codec="int8+zstd", cut=2, bytes=77, encode_seconds=5e-3, decode_seconds=2e-3)
    size = chain.cuts[2].bytes
    first, second = problem_codecs(table, profile_of(chain, slow))
    assert first.encode_seconds_per_mb == pytest.approx(5e-3 / size * 1e6)
    assert first.decode_seconds_per_mb == pytest.approx(2e-3 / size * 1e6)
    assert first.ratio == pytest.approx(size / 100)
    # What the node has not measured takes five times and twice as long as on the table's machine, as the other does.
    assert second.encode_seconds_per_mb == pytest.approx(5e-3 / size * 1e6)
    assert second.decode_seconds_per_mb == pytest.approx(2e-3 / size * 1e6)


def test_receiver_decodes_in_its_own_time(chain: Bundle) -> None:
    point = CodecPoint(codec="int8+zstd", cut=2, bytes=77, encode_seconds=9.0, decode_seconds=3e-3)
    entries = problem_codecs(table_of(chain, row(cut=2)), profile_of(chain), receiver=profile_of(chain, point))
    assert entries[0].encode_seconds_per_mb == pytest.approx(1e-3 / chain.cuts[2].bytes * 1e6)
    assert entries[0].decode_seconds_per_mb == pytest.approx(3e-3 / chain.cuts[2].bytes * 1e6)


def test_limits_of_the_stream_leave_codecs_out(chain: Bundle) -> None:
    noisy = row("noise1+int4+zstd", 2, noise=1.0, accuracy_drop=0.03)
    table = table_of(chain, row(cut=2), row("int4+zstd", 2, bytes=50, accuracy_drop=0.02), noisy)

    def names(**limits: Any) -> list[str]:
        return [entry.name for entry in problem_codecs(table, profile_of(chain), **limits)]

    assert names(max_accuracy_drop=0.01) == ["int8+zstd@2"]
    assert names(names=["int4+zstd"]) == ["int4+zstd@2", "noise1+int4+zstd@2"]
    assert names(names=["int8+zstd"], keep=["int4+zstd@2"]) == ["int8+zstd@2", "int4+zstd@2"]


def save(samples: Samples, folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "frames.npy", np.stack(list(samples.frames)))
    if samples.labels is not None:
        np.save(folder / "labels.npy", samples.labels)
    return folder


def test_command_measures_keeps_and_shows(own: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = save(photographs(), tmp_path / "data")
    flags = ["--codecs", "int8+zstd,int2+zstd", "--cuts", "0,2", "--noise", "0.5"]
    assert main(["codecs", "measure", str(own.folder), "--data", str(data), *flags]) == 0
    told = capsys.readouterr().out
    assert "frames with another answer" in told
    assert "noise0.5+int2+zstd" in told
    table = load_table(own)
    assert table is not None
    assert (table.frames, table.cuts) == (60, (0, 2))
    assert main(["codecs", "show", str(own.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == json.loads((own.folder / FILE).read_text())["rows"]


def test_command_hides_what_is_never_worth_choosing(own: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(own, table_of(own, row(), row("int8", bytes=200)))
    assert main(["codecs", "show", str(own.folder)]) == 0
    short = capsys.readouterr().out
    assert main(["codecs", "show", str(own.folder), "--all"]) == 0
    assert "1 more are never worth choosing" in short
    assert len(capsys.readouterr().out.splitlines()) == len(short.splitlines()) + 1


def test_command_without_a_table_says_how_to_get_one(own: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codecs", "show", str(own.folder)]) == 4
    assert "tiercut codecs measure" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--frames", "49"], 2),
        (["--threads", "0"], 2),
        (["--cuts", "1,x"], 2),
        (["--cuts", "-1"], 2),
        (["--codecs", ""], 2),
        (["--noise", "much"], 2),
        (["--split", "train"], 4),
    ],
)
def test_command_that_fails_writes_nothing(own: Bundle, tmp_path: Path, flags: list[str], status: int) -> None:
    data = save(photographs(), tmp_path / "data")
    assert main(["codecs", "measure", str(own.folder), "--data", str(data), *flags]) == status
    assert not (own.folder / FILE).exists()


@pytest.mark.parametrize("labels", [np.full(60, 4), np.full(49, 0)])
def test_data_that_does_not_fit_leaves_the_old_table(own: Bundle, tmp_path: Path, labels: NDArray[np.int64]) -> None:
    before = write_table(own, table_of(own)).read_bytes()
    data = save(dataclasses.replace(photographs(len(labels)), labels=labels), tmp_path / "data")
    assert main(["codecs", "measure", str(own.folder), "--data", str(data)]) == 4
    assert (own.folder / FILE).read_bytes() == before
