"""Frames of sensors to inputs of models."""

from __future__ import annotations

import numpy as np
import pytest

from tiercut.errors import InputError, SettingsError
from tiercut.model.preprocess import FrameSpec


def test_crop_keeps_the_middle_of_a_wide_frame() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[:, 100:200] = 255
    assert FrameSpec(size=(10, 10)).to_input(frame).min() == 255


def test_crop_ratio_leaves_out_the_border() -> None:
    frame = np.full((80, 80, 3), 7, np.uint8)
    frame[10:70, 10:70] = 99
    made = FrameSpec(size=(6, 6), crop_ratio=0.75).to_input(frame)
    assert set(made.ravel().tolist()) == {99}


def test_stretch_takes_all_of_the_frame() -> None:
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 40:] = 200
    made = FrameSpec(size=(8, 8), resize="stretch").to_input(frame)
    assert made[0, 4, 0].tolist() == [0, 0, 0]
    assert made[0, 4, 7].tolist() == [200, 200, 200]


def test_crop_of_another_proportion_fits_any_frame() -> None:
    for shape in ((7, 300, 3), (300, 7, 3), (5, 5, 3), (1, 1, 3)):
        made = FrameSpec(size=(4, 12)).to_input(np.full(shape, 50, np.uint8))
        assert made.shape == (1, 4, 12, 3)
        assert set(made.ravel().tolist()) == {50}


def test_frame_of_the_right_size_is_not_changed() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(FrameSpec(size=(8, 8)).to_input(frame)[0], frame)


@pytest.mark.parametrize(("shape", "channels"), [((9, 9), 3), ((9, 9, 1), 3), ((9, 9, 4), 3), ((9, 9, 3), 1)])
def test_grey_colour_and_transparent_frames_fit_any_model(shape: tuple[int, ...], channels: int) -> None:
    made = FrameSpec(size=(4, 4), channels=channels).to_input(np.full(shape, 9, np.uint8))
    assert made.shape == (1, 4, 4, channels)
    assert made.dtype == np.uint8
    assert set(made.ravel().tolist()) == {9}


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(3), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        FrameSpec().to_input(frame)


def test_tensor_frames_pass_only_with_their_shape_and_type() -> None:
    spec = FrameSpec(kind="tensor", shape=(1, 4), dtype="float32")
    assert spec.to_input(np.ones((1, 4), np.float32)).shape == (1, 4)
    for wrong in (np.ones((4,), np.float32), np.ones((1, 4))):
        with pytest.raises(InputError, match=r"expected float32\[1, 4\]"):
            spec.to_input(wrong)


def test_preprocessing_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SettingsError, match="crop_ratio"):
        FrameSpec(crop_ratio=0)
    with pytest.raises(SettingsError, match="'std'"):
        FrameSpec(std=(1.0, 0.0, 1.0))
    with pytest.raises(SettingsError, match="'mean'"):
        FrameSpec(channels=1, mean=(1.0, 2.0, 3.0))
