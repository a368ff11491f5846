"""``tiercut privacy``: attackers rebuild frames from what crosses the wire, and the figures mean what they say."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.bundles import bundle_of, grey_frames
from tests.exit_data import Heard
from tiercut.cli import privacy as command
from tiercut.codecs.table import codec
from tiercut.datasets.holdout import train_and_held_back
from tiercut.datasets.samples import Samples, Stack
from tiercut.errors import CutError, DataError, SettingsError, TiercutError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.privacy.attacker import Attacker
from tiercut.privacy.image_similarity import ROUNDING, as_compared, as_jpeg, compare, mean_image
from tiercut.privacy.measure import MAX_CUTS, Attack, default_cuts, measure_privacy
from tiercut.privacy.report import PrivacyReport, to_document

#: The best that two images of whole pixel values can be told to be.
MAX_DB = 10 * np.log10(255**2 / ROUNDING)


def patches(count: int, seed: int, size: int = 16) -> Samples:
    """Coloured patches of 8 by 8 pixels: 48 numbers say all of a frame of 16 by 16."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, size // 8, size // 8, 3), dtype=np.uint8)
    return Samples(Stack(coarse.repeat(8, axis=1).repeat(8, axis=2)))


def attacked(bundle: Bundle, cuts: Sequence[int], **how: Any) -> PrivacyReport:
    heard = Heard()
    attack = Attack(**{"epochs": 12, **how})
    return measure_privacy(
        bundle, patches(250, 1), patches(40, 2), cuts, attack, report=heard.report, note=heard.notes.append
    )


@pytest.mark.slow
def test_early_cut_gives_frames_away_and_the_scores_do_not(chain: Bundle) -> None:
    report = attacked(chain, (5, chain.end))
    early, late = (leak.similarity for leak in report.leaks)
    assert early.psnr_db > 17
    assert early.psnr_db > late.psnr_db + 3
    assert early.ssim > late.ssim
    assert late.psnr_db > report.mean_image.psnr_db - 0.5
    assert all(leak.trained for leak in report.leaks)


@pytest.mark.slow
def test_noise_makes_it_harder(chain: Bundle) -> None:
    plain, noisy = (attacked(chain, (5,), codec=name).leaks[0] for name in ("int8+zstd", "noise2+int8+zstd"))
    assert plain.similarity.psnr_db > noisy.similarity.psnr_db + 1.5


@pytest.mark.slow
def test_tensors_of_a_cut_with_several_are_heard_together(residual: Bundle) -> None:
    cut = next(cut for cut in residual.cuts if len(cut.tensors) > 1 and residual.inputs[0] not in cut.tensors)
    frames = Samples(Stack(patches(250, 1).frames[0][None, :8, :8].repeat(80, 0)))
    heard = Heard()
    report = measure_privacy(
        residual, frames, frames, [cut.index], Attack(epochs=1), report=heard.report, note=heard.notes.append
    )
    assert report.leaks[0].bytes == cut.bytes


def test_frame_itself_on_the_wire_takes_no_attacker(chain: Bundle) -> None:
    raw = attacked(chain, (0,)).leaks[0]
    assert not raw.trained
    assert raw.similarity.psnr_db == pytest.approx(MAX_DB)
    assert raw.similarity.ssim == pytest.approx(1)
    assert raw.bytes == 16 * 16 * 3


def test_frame_behind_a_lossy_codec_is_at_least_what_everybody_sees(chain: Bundle) -> None:
    report = attacked(chain, (0,), codec="jpeg-15", epochs=1)
    assert report.leaks[0].similarity.psnr_db >= report.jpeg.psnr_db
    sizes = [len(codec("jpeg-15").encode(np.asarray(frame))) for frame in patches(40, 2).frames]
    assert report.leaks[0].bytes == pytest.approx(np.mean(sizes))


def test_same_attack_gives_the_same_figures(chain: Bundle) -> None:
    before = torch.get_rng_state()
    one, two = (to_document(attacked(chain, (7,), epochs=1)) for _ in range(2))
    assert one == two
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fits", [(16, 8, 8), (5, 3, 3), (2, 40, 30), (7, 12), (90,), (3, 1, 1), (9, 3000)])
def test_attacker_makes_images_of_tensors_of_any_shape(fits: tuple[int, ...]) -> None:
    frame = FrameSpec(size=(15, 20), channels=3)
    heard = [np.random.default_rng(0).normal(size=(4, *fits)).astype(np.float32), np.zeros((4, 6), np.float32)]
    rebuilt = Attacker(heard, frame, torch.full((3, 15, 20), 0.5)).eval().rebuild(heard)
    assert rebuilt.shape == (4, 15, 20, 3)
    assert rebuilt.dtype == np.uint8


def test_psnr_is_that_of_the_textbook_and_frames_are_averaged() -> None:
    frames = np.full((2, 16, 16, 1), 100, np.uint8)
    rebuilt = frames.copy()
    rebuilt[0] += 10
    rebuilt[1, ..., 0] += np.tile([0, 20], 8).astype(np.uint8)
    wanted = [10 * np.log10(255**2 / error) for error in (100, 200)]
    assert compare(rebuilt, frames).psnr_db == pytest.approx(np.mean(wanted))


def test_mean_image_says_nothing_and_jpeg_says_much() -> None:
    frames = as_compared(np.asarray(frame)[..., None] for frame in grey_frames(30, 32))
    mean, jpeg = compare(mean_image(frames, 30), frames), compare(as_jpeg(frames), frames)
    assert mean.ssim < 0.2
    assert jpeg.ssim > 0.7
    assert jpeg.psnr_db > mean.psnr_db + 8


@pytest.mark.parametrize(("size", "wanted"), [((224, 224), (64, 64)), ((50, 100), (32, 64)), ((64, 30), (64, 30))])
def test_large_frames_are_compared_at_64_pixels(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    small = as_compared([frame])
    assert small.shape == (1, *wanted, 3)
    assert small.mean() == pytest.approx(frame.mean(), abs=1)


def test_small_frames_are_compared_in_a_smaller_window() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 5, 3), dtype=np.uint8)
    assert compare(frames, frames).ssim == pytest.approx(1)


def test_default_cuts_are_a_few_worth_choosing(chain: Bundle) -> None:
    for bundle in (chain, bundle_of("residual"), bundle_of("multi_output")):
        cuts = default_cuts(bundle)
        assert len(cuts) <= MAX_CUTS
        assert list(cuts) == sorted(set(cuts))
        assert not cuts or 0 < cuts[0] <= cuts[-1] < bundle.end


def test_fifth_of_what_is_not_divided_is_never_learned_from(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.arange(200, dtype=np.uint8).reshape(200, 1, 1))
    train, held_back = train_and_held_back(tmp_path, 1000, 500)
    assert (len(train), len(held_back)) == (160, 40)
    assert not {int(f[0, 0]) for f in train.frames} & {int(f[0, 0]) for f in held_back.frames}


def tiercut(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["privacy", *map(str, words)])
    status: int = args.run(args)
    return status


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for split, count, seed in (("train", 120, 1), ("test", 40, 2)):
        np.save(folder / f"{split}-frames.npy", np.stack(patches(count, seed).frames))
    return folder


def test_command_prints_a_table_and_draws_what_became_of_frames(
    chain: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "new" / "rebuilt.png"
    flags = ["--data", data, "--cuts", "0,7", "--epochs", 1, "--threads", 1, "--picture", picture]
    assert tiercut(chain.folder, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any("mean image" in line for line in lines)
    assert any("At cut 0 it takes no attacker" in line for line in lines)
    assert [path.name for path in picture.parent.iterdir()] == ["rebuilt.png"]
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_command_says_all_as_json(chain: Bundle, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", data, "--cuts", "0", "--codec", "int8+zstd", "--noise", 0.2, "--epochs", 1, "--json"]
    tiercut(chain.folder, *flags)
    document = json.loads(capsys.readouterr().out)
    assert (document["model"], document["codec"]) == (chain.model, "noise0.2+int8+zstd")
    assert document["cuts"][0].keys() == {"cut", "bytes", "trained", "psnr_db", "ssim"}


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--cuts", "1,x"), SettingsError),
        (("--cuts", "99"), CutError),
        (("--cuts", "-1"), CutError),
        (("--codec", "int3"), SettingsError),
        (("--noise", "-1"), SettingsError),
        (("--noise", "nan"), SettingsError),
        (("--epochs", "0"), SettingsError),
        (("--threads", "0"), SettingsError),
        (("--frames", "3"), SettingsError),
        (("--picture", "rebuilt.svg"), SettingsError),
        (("--codec", "noise1+raw", "--noise", "1"), SettingsError),
    ],
)
def test_wrong_flag_is_refused_before_anything_runs(
    chain: Bundle, data: Path, flags: tuple[str, ...], error: type[TiercutError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error):
        tiercut(chain.folder, "--data", data, *flags)
    assert capsys.readouterr().err == ""


def test_model_without_images_is_refused(data: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be rebuilt"):
        tiercut(bundle_of("chain").folder, "--data", data)


def test_calibration_set_that_is_too_small_is_refused(chain: Bundle, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.stack(patches(20, 1).frames))
    with pytest.raises(DataError, match="too small"):
        tiercut(chain.folder, "--data", tmp_path, "--cuts", "7")


def test_picture_that_cannot_be_written_leaves_nothing(chain: Bundle, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write"):
        tiercut(chain.folder, "--data", data, "--cuts", "0", "--picture", tmp_path / "file" / "rebuilt.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
