"""``tiercut export`` and ``tiercut inspect`` as a person types them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.bundles import bundle_of
from tests.models import conv_onnx
from tiercut.cli import export, inspect
from tiercut.cli.inspect import human_bytes, human_count
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle


def tiercut(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    export.add_parser(subparsers)
    inspect.add_parser(subparsers)
    args = parser.parse_args([str(word) for word in words])
    status = args.run(args)
    assert isinstance(status, int)
    return status


def test_export_writes_a_bundle_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = conv_onnx(tmp_path / "m.onnx", shape=(1, 3, "h", "w"))
    assert tiercut("export", path, "--out", tmp_path / "b", "--name", "mine", "--input-shape", "1,3,8,8") == 0
    bundle = Bundle.load(tmp_path / "b")
    assert bundle.name == "mine"
    assert bundle.model in capsys.readouterr().out


def test_export_of_images_takes_labels_and_normalisation(tmp_path: Path) -> None:
    path = conv_onnx(tmp_path / "m.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(16)))
    flags = ["--labels", str(tmp_path / "labels.txt"), "--image-size", "8x8", "--mean", "1,2,3", "--resize", "stretch"]
    assert tiercut("export", path, "--out", tmp_path / "b", *flags) == 0
    bundle = Bundle.load(tmp_path / "b")
    assert bundle.labels is not None
    assert bundle.labels[15] == "class 15"
    assert (bundle.frame.size, bundle.frame.mean, bundle.frame.resize) == ((8, 8), (1.0, 2.0, 3.0), "stretch")


def test_export_finds_a_function_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here.py").write_text(
        "import torch\ndef make(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert tiercut("export", "made_here:make", "--out", "b", "--input-shape", "1,4") == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_export_of_a_module_that_takes_images_needs_no_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    (tmp_path / f"images{channels}.py").write_text(
        f"import torch\ndef detector(): return torch.nn.Conv2d({channels}, 4, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ["--image-size", "6x8", "--channels", str(channels)]
    assert tiercut("export", f"images{channels}:detector", "--out", "b", *flags) == 0
    bundle = Bundle.load(tmp_path / "b")
    assert [str(tensor) for tensor in bundle.inputs] == [f"uint8[1, 6, 8, {channels}]"]
    assert bundle.outputs[0].shape == (1, 4, 4, 6)


def test_examples_in_the_help_of_export_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = export.EXAMPLES.replace("\\\n", " ").splitlines()[1:]
    (tmp_path / "mymodels.py").write_text(
        "import torch\ndef resnet():\n"
        "    pool = torch.nn.AdaptiveAvgPool2d(1)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), pool, torch.nn.Flatten())\n"
        "def activity():\n"
        "    return torch.nn.Conv1d(3, 2, 5)\n"
    )
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    conv_onnx(tmp_path / "detector.onnx", shape=(1, 3, "h", "w"))
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert tiercut(*line.split()[1:]) == 0
    assert Bundle.load("bundles/resnet").frame.crop_ratio == 0.875
    assert Bundle.load("bundles/activity").frame.units == ("m/s2",) * 3


@pytest.mark.parametrize(
    "flags",
    [
        ("--input-shape", "1,x"),
        ("--input-shape", "1,2:complex64"),
        ("--image-size", "224"),
        ("--image-size", "8x8", "--mean", "a"),
        ("--labels", "no such file"),
    ],
)
def test_wrong_flag_is_named(tmp_path: Path, flags: tuple[str, ...]) -> None:
    name = flags[-2]
    with pytest.raises(SettingsError, match=f"{name} is not valid"):
        tiercut("export", "m.onnx", "--out", tmp_path / "b", *flags)


def test_inspect_fits_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for architecture in ("residual", "attention", "multi_input"):
        assert tiercut("inspect", bundle_of(architecture).folder, "--all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100


def test_inspect_hides_cuts_never_worth_choosing(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_of("chain")
    hidden = sum(cut.dominated for cut in bundle.cuts)
    assert hidden
    tiercut("inspect", bundle.folder)
    short = capsys.readouterr().out
    tiercut("inspect", bundle.folder, "--all")
    assert f"{hidden} more cuts" in short
    assert "no more bytes or elements" in short
    assert len(capsys.readouterr().out.splitlines()) == len(short.splitlines()) + hidden


def test_inspect_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_of("multi_output")
    tiercut("inspect", bundle.folder, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == bundle.model
    assert [cut["bytes"] for cut in document["cuts"]] == [cut.bytes for cut in bundle.cuts]


def test_inspect_of_no_bundle_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="name a folder that 'tiercut export' has written"):
        tiercut("inspect", tmp_path)


def test_sizes_are_written_for_people() -> None:
    assert [human_bytes(n) for n in (0, 999, 5120, 150_528, 18_510_880)] == [
        "0 B",
        "999 B",
        "5.12 kB",
        "151 kB",
        "18.5 MB",
    ]
    assert [human_count(n) for n in (12, 6664, 4_631_000)] == ["12", "6.66 k", "4.63 M"]
