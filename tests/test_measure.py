"""Measuring a profile on the runtime: what is measured, on which frames, and for how long."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.bundles import bundle_of
from tests.models import ARCHITECTURES
from tiercut.cli import profile as command
from tiercut.errors import InputError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.profiling.cut_sampling import candidate_cuts
from tiercut.profiling.measure import Options, measure_profile, synthetic_inputs
from tiercut.profiling.profile import Profile, codec_rows
from tiercut.profiling.reference import reference_seconds
from tiercut.profiling.store import read_profile

QUICK = Options(seconds=0.05)


class SteppingClock:
    """A clock that moves on by a second each time it is read."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self) -> float:
        return float(next(self._count))


def tiercut(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args([str(word) for word in words])
    return command.run(args)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kind_of_model_can_be_measured(architecture: str) -> None:
    bundle = bundle_of(architecture)
    profile = measure_profile(bundle, options=QUICK)
    assert (profile.model, profile.source, profile.frames) == (bundle.model, "measured", "synthetic")
    assert len(profile.cut_seconds) == bundle.end + 1
    assert profile.cut_seconds[-1] > 0
    assert profile.measured_cuts[-1] == bundle.end


def test_profile_has_the_codecs_of_every_cut_worth_choosing(chain: Bundle) -> None:
    profile = measure_profile(chain, options=QUICK)
    assert {point.cut for point in profile.codecs} == set(candidate_cuts(chain.cuts))
    at_frame = {point.codec for point in profile.codecs if point.cut == 0}
    later = {point.codec for point in profile.codecs if point.cut > 0}
    assert {"jpeg", "png", "raw+zstd"} <= at_frame
    assert "int8" not in at_frame
    assert {"int8", "int8+zstd", "fp16"} <= later
    assert "jpeg" not in later


def test_codecs_are_measured_on_the_frames_given(chain: Bundle) -> None:
    black = [np.zeros((16, 16, 3), np.uint8)] * 2
    noise = [np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)]
    sizes = [
        {(p.codec, p.cut): p.bytes for p in measure_profile(chain, frames, QUICK).codecs}[("raw+zstd", 0)]
        for frames in (black, noise)
    ]
    assert sizes[0] * 10 < sizes[1]
    assert measure_profile(chain, black, QUICK).frames == "2 real"


def test_budget_ends_the_rounds_after_the_first(chain: Bundle) -> None:
    clock = SteppingClock()
    profile = measure_profile(chain, options=Options(seconds=1.0, codecs=("int8",)), clock=clock)
    assert profile.cut_seconds[-1] == pytest.approx(1.0)  # each run took one tick
    assert clock() < 400


def test_progress_goes_from_nothing_to_all(chain: Bundle) -> None:
    told: list[float] = []
    measure_profile(chain, options=QUICK, report=lambda done, _what: told.append(done))
    assert told == sorted(told)
    assert told[0] < 0.5
    assert 0.7 < told[-1] <= 1


def test_frame_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError):
        measure_profile(bundle_of("multi_input"), [np.zeros((8, 8, 3), np.uint8)], QUICK)


def test_unknown_codec_is_refused(chain: Bundle) -> None:
    with pytest.raises(SettingsError, match="no such codec"):
        measure_profile(chain, options=Options(seconds=0.05, codecs=("lz5",)))


def test_made_up_frames_compress_like_soft_images(chain: Bundle) -> None:
    (frame,) = synthetic_inputs(chain).values()
    assert (frame.shape, frame.dtype.name) == ((1, 16, 16, 3), "uint8")
    steps = np.abs(np.diff(frame.astype(int), axis=1)).mean()
    assert 1 < steps < 40  # neighbours differ, but not as noise does (85)


def test_rows_of_a_measured_profile_are_ready_for_a_planner(chain: Bundle) -> None:
    profile = measure_profile(chain, options=QUICK)
    rows = codec_rows(profile)
    assert rows
    for row in rows:
        assert row.ratio > 1
        assert row.cuts is not None
        assert row.cuts[0] == row.cuts[1]
        assert row.encode_seconds_per_mb > 0
    assert json.dumps(msgspec.to_builtins(rows))


def test_command_measures_and_keeps_the_profile(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    flags = ("--out", tmp_path / "p", "--frames", tmp_path, "--seconds", "0.05")
    assert tiercut("profile", bundles / "chain", *flags) == 0
    printed = capsys.readouterr().out
    (file,) = (tmp_path / "p").rglob("*.json")
    assert str(file) in printed
    assert "ms up to it" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 100
    assert read_profile(file).frames == "1 real"


def test_command_prints_json_for_programs(bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiercut("profile", bundles / "chain", "--out", tmp_path, "--seconds", "0.05", "--json") == 0
    assert json.loads(capsys.readouterr().out)["format"] == "tiercut-profile/1"


@pytest.mark.parametrize(
    "flags", [("--threads", "0"), ("--seconds", "0"), ("--seconds", "nan"), ("--frames", "no such folder")]
)
def test_wrong_flag_is_named(bundles: Path, tmp_path: Path, flags: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"{flags[0]} is not valid"):
        tiercut("profile", bundles / "chain", "--out", tmp_path, *flags)


def test_file_that_is_no_image_is_named(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(SettingsError, match=r"an image in '.*a\.png'"):
        tiercut("profile", bundles / "chain", "--out", tmp_path / "p", "--frames", tmp_path)


def test_reference_convolution_is_timed() -> None:
    assert reference_seconds(clock=SteppingClock()) == 1.0
    assert 1e-5 < reference_seconds() < 1


def test_profile_can_be_scaled_to_a_slower_machine(chain: Bundle) -> None:
    profile: Profile = measure_profile(chain, options=QUICK)
    assert profile.scaled(3).cut_seconds[-1] == pytest.approx(3 * profile.cut_seconds[-1])
