"""Bundles of models that take windows of signals, and of models that take several images at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiercut
from tiercut.cli import main
from tiercut.errors import BundleError, ExportError, InputError, SettingsError
from tiercut.model.bundle_format import to_document
from tiercut.model.preprocess import FrameSpec, Layout
from tiercut.profiling.measure import synthetic_inputs

ACCELERATION = FrameSpec(
    kind="signal", samples=32, rate_hz=50.0, channel_names=("acc_x", "acc_y", "acc_z"), units=("m/s2",)
)


class Activity(nn.Sequential):
    """Two layers over windows of ``(1, 3, 32)``."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 28, 2))


class Views(nn.Module):
    """Three views, each through the same convolution, joined by their mean."""

    def __init__(self, *, batched: bool) -> None:
        super().__init__()
        self.batched = batched
        self.each = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        views = x[0] if self.batched else x
        joined: torch.Tensor = self.each(views).mean((0, 2, 3))[None]
        return joined


@pytest.mark.parametrize(
    ("layout", "shape"), [("channels_first", (1, 3, 32)), ("channels_last", (1, 32, 3)), ("flat", (1, 32))]
)
def test_window_is_laid_out_as_the_model_takes_it(layout: Layout, shape: tuple[int, ...]) -> None:
    channels = 1 if layout == "flat" else 3
    spec = FrameSpec(kind="signal", samples=32, rate_hz=8.0, channels=channels, layout=layout)
    window = np.arange(32 * channels, dtype=np.float32).reshape(32, channels)
    made = spec.to_input(window)
    assert (made.shape, made.dtype.name) == (shape, "float32")
    assert made[0, 1, 5] == window[5, 1] if layout == "channels_first" else made.ravel()[7] == window.ravel()[7]


def test_window_of_another_length_is_refused() -> None:
    for wrong in (np.zeros((31, 3), np.float32), np.zeros((3, 32), np.float32), np.zeros((32, 3), bool)):
        with pytest.raises(InputError, match=r"float32\[32, 3\]"):
            ACCELERATION.to_input(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"rate_hz": 0.0},
        {"rate_hz": float("nan")},
        {"channel_names": ("a", "a")},
        {"units": ("g", "g")},
        {"layout": "flat"},
        {"layout": "rows"},
        {"channels": 0},
    ],
)
def test_signal_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"kind": "signal", "samples": 8, "rate_hz": 8.0, "channels": 3}
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        FrameSpec(**{**good, **wrong})  # type: ignore[arg-type]


def test_bundle_keeps_what_it_takes_of_a_signal(tmp_path: Path) -> None:
    bundle = tiercut.export(Activity(), None, tmp_path / "b", preprocess=ACCELERATION)
    assert tiercut.Bundle.load(bundle.folder).frame == ACCELERATION
    assert str(bundle.inputs[0]) == "float32[1, 3, 32]"
    window = np.ones((32, 3), np.float32)
    (answer,) = bundle.segment(0, bundle.end).run(bundle.to_inputs(window)).values()
    assert answer.shape == (1, 2)


def test_model_of_another_form_than_its_signal_is_not_exported(tmp_path: Path) -> None:
    spec = FrameSpec(kind="signal", samples=32, rate_hz=50.0, channels=3, layout="channels_last")
    with pytest.raises(ExportError, match=r"such a signal.*float32\[1, 32, 3\].*'input' float32\[1, 3, 32\]"):
        tiercut.export(Activity(), torch.zeros(1, 3, 32), tmp_path / "b", preprocess=spec)


@pytest.mark.parametrize("batched", [True, False])
def test_several_views_are_one_input(tmp_path: Path, *, batched: bool) -> None:
    spec = FrameSpec(size=(8, 8), views=3, mean=(100.0, 110.0, 120.0), std=(50.0,))
    example = torch.zeros(1, 3, 3, 8, 8) if batched else None
    bundle = tiercut.export(Views(batched=batched), example, tmp_path / "b", preprocess=spec)
    assert bundle.frame == spec
    assert str(bundle.inputs[0]) == "uint8[3, 8, 8, 3]"
    frames = np.zeros((3, 20, 30, 3), np.uint8)
    frames[1] = 77
    taken = bundle.to_inputs(frames)[bundle.inputs[0].name]
    assert [int(view.mean()) for view in taken] == [0, 77, 0]
    assert synthetic_inputs(bundle)[bundle.inputs[0].name].shape == (3, 8, 8, 3)


def test_wrong_number_of_views_is_refused() -> None:
    for wrong in (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8, 2), np.uint8)):
        with pytest.raises(InputError):
            FrameSpec(size=(8, 8), views=3).to_input(wrong)


def test_document_of_one_view_says_nothing_of_views(tmp_path: Path) -> None:
    module = nn.Conv2d(3, 2, 3)
    bundle = tiercut.export(module, None, tmp_path / "b", preprocess=FrameSpec(size=(8, 8)))
    assert "views" not in to_document(bundle.contents)["frame"]


def test_bundle_with_a_broken_signal_is_refused(tmp_path: Path) -> None:
    bundle = tiercut.export(Activity(), None, tmp_path / "b", preprocess=ACCELERATION)
    file = bundle.folder / "bundle.json"
    document = json.loads(file.read_text())
    for field, value in (("rate_hz", -1), ("samples", "many"), ("layout", "rows"), ("units", [1]), ("samples", 33)):
        broken = {**document, "frame": {**document["frame"], field: value}}
        file.write_text(json.dumps(broken))
        with pytest.raises(BundleError):
            tiercut.Bundle.load(bundle.folder)


def test_flags_make_a_signal_bundle_and_inspect_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--signal-samples 32 --signal-rate-hz 50 --signal-channels acc_x,acc_y,acc_z --signal-units m/s2"
    out = str(tmp_path / "b")
    assert main(["export", "tests.test_signal_bundles:Activity", "--out", out, *flags.split()]) == 0
    assert main(["inspect", out]) == 0
    shown = capsys.readouterr().out
    assert "32 samples at 50 Hz (0.64 s) of acc_x [m/s2], acc_y [m/s2], acc_z [m/s2]" in shown


def test_flags_of_a_signal_must_be_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["export", "tests.test_signal_bundles:Activity", "--out", str(tmp_path / "b")]
    assert main([*out, "--signal-samples", "32"]) != 0
    assert "--signal-rate-hz" in capsys.readouterr().err
    assert main([*out, "--signal-samples", "32", "--signal-rate-hz", "50", "--image-size", "8x8"]) != 0
