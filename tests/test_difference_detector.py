"""Frames of a still scene are skipped, and nothing that moves is."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from iot_node.difference_detector import DifferenceDetector
from iot_node.stream import Stream
from tests.aio import async_test, until
from tests.sites import ON_NO_BUS, by_hand, new_site
from tiercut.clock import ManualClock
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.plan import Plan
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings

Frame = NDArray[Any]


def scene(height: int = 480, width: int = 640, seed: int = 0) -> Frame:
    """Soft patches of colour."""
    coarse = np.random.default_rng(seed).integers(60, 180, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def noisy(frame: Frame, sigma: float = 5.0, seed: int = 0) -> Frame:
    noise = np.random.default_rng(seed).normal(0, sigma, frame.shape)
    return np.clip(np.round(frame + noise), 0, 255).astype(np.uint8)


def with_object(frame: Frame, x: int, side: int = 20) -> Frame:
    changed = frame.copy()
    changed[200 : 200 + side, x : x + side] += 60
    return changed


def skips(*frames: Frame, below: float = 0.02) -> list[bool]:
    """Which of some frames are skipped, a tenth of a second apart."""
    detector = DifferenceDetector(below=below, max_s=10.0)
    return [detector.skips(frame, i / 10) for i, frame in enumerate(frames)]


def test_still_scene_with_a_sensors_noise_is_skipped() -> None:
    assert skips(*(noisy(scene(), seed=i) for i in range(4))) == [False, True, True, True]


@pytest.mark.parametrize("place", [300, 310, 319, 636])
def test_small_object_that_comes_is_seen(place: int) -> None:
    side = min(20, 640 - place)
    before, after = noisy(scene(), seed=1), noisy(with_object(scene(), place, side), seed=2)
    assert skips(before, after) == [False, side < 5]  # 4 of 640 pixels wide: too small for 0.02


def test_small_object_that_moves_is_seen_where_the_whole_picture_changes_less_than_by_noise() -> None:
    before, after = (with_object(scene(), x).astype(int) for x in (300, 310))
    noise = abs(noisy(scene(), seed=1).astype(int) - noisy(scene(), seed=2)).mean()
    assert abs(after - before).mean() < noise / 50
    assert skips(noisy(before, seed=1), noisy(after, seed=2)) == [False, False]


def test_slow_change_adds_up() -> None:
    said = skips(*((scene() * (1 - i / 200)).astype(np.uint8) for i in range(20)))
    passed = [i for i, skipped in enumerate(said) if not skipped]
    assert len(passed) == 3
    assert np.diff(passed).min() > 3


def test_frame_passes_now_and_then_however_still_it_is() -> None:
    detector = DifferenceDetector(below=0.02, max_s=10.0)
    passed = [s for s in range(35) if not detector.skips(scene(), float(s))]
    assert passed == [0, 10, 20, 30]


def test_nothing_is_skipped_without_a_threshold_or_after_forgetting() -> None:
    assert skips(scene(), scene(), below=0.0) == [False, False]
    detector = DifferenceDetector(below=0.02, max_s=10.0)
    assert not detector.skips(scene(), 0.0)
    detector.forget()
    assert not detector.skips(scene(), 0.1)
    assert detector.skips(scene(), 0.2)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (28, 28), (9, 300), (481, 641), (1080, 1920)])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_pictures_of_every_form_are_compared(shape: tuple[int, int], channels: tuple[int, ...]) -> None:
    frame = np.full((*shape, *channels), 100, np.uint8)
    changed = frame.copy()
    changed[: shape[0] // 2 + 1, -30:] += 20
    assert skips(frame, frame, changed, changed) == [False, True, False, True]


def test_other_arrays_are_compared_by_their_range() -> None:
    values = np.linspace(-2.0, 2.0, 100, dtype=np.float32).reshape(4, 25)
    assert skips(values, values + 0.07, values + 0.09) == [False, True, False]
    flat = np.zeros(5, np.int64)
    assert skips(flat, flat, flat + 1) == [False, True, False]
    broken = values.copy()
    broken[0, 0] = np.nan
    assert skips(values, broken, broken) == [False, False, False]


def test_small_change_in_one_of_several_views_is_seen() -> None:
    still = np.stack([scene(48, 64), scene(48, 64, 1)])
    moved = still.copy()
    moved[1, 8:24, 8:24] = 255 - moved[1, 8:24, 8:24]
    assert skips(still, still, moved, np.stack([*moved, moved[0]])) == [False, True, False, False]
    assert skips(np.zeros((0, 4, 4, 3), np.uint8)) == [False]


def test_frame_of_another_form_passes() -> None:
    assert skips(scene(48, 64), scene(48, 64)[:, :, 0], scene(64, 48)[:, :, 0]) == [False, False, False]
    assert skips(np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8)) == [False, True]


@pytest.mark.parametrize("wrong", [{"skip_below": -0.1}, {"skip_below": float("nan")}, {"skip_most_s": 0.0}])
def test_bad_threshold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        StreamSettings(name="cam", model="m", sensor="noise", **wrong)


# ---------------------------------------------------------------------- in a stream


def pictures(folder: Path, *seeds: int) -> tuple[Path, ...]:
    """Files with a picture for each seed."""
    files = []
    for number, seed in enumerate(seeds):
        files.append(folder / f"{number:03}.png")
        Image.fromarray(noisy(scene(64, 64, seed), sigma=2, seed=number)).save(files[-1])
    return tuple(files)


@async_test
async def test_device_skips_still_frames_before_the_work_and_counts_them(
    bundles: Path, chain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    to_inputs = Bundle.to_inputs

    def counted(bundle: Bundle, frame: Frame, variant: str) -> dict[str, Frame]:
        made.append(1)
        return to_inputs(bundle, frame, variant)

    monkeypatch.setattr(Bundle, "to_inputs", counted)
    files = pictures(tmp_path, 0, 0, 0, 1, 1, 0)
    stream = StreamSettings(
        name="cam", model="chain", sensor="images", path=files, loop=False, delivery="every", skip_below=0.02
    )
    site = new_site(bundles)
    device = site.device(stream)
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=3)
        await until(lambda: device.counters["frames_captured"] == 6)
    assert outcomes.seqs() == [0, 3, 5]
    assert len(made) == 3
    assert device.load.figures()["dropped.unchanged"] == 3
    assert device.counters["frames_done"] == 3


@async_test
async def test_frame_after_one_that_was_dropped_is_not_skipped(chain: Bundle, tmp_path: Path) -> None:
    settings = StreamSettings(
        name="cam", model="chain", sensor="images", path=pictures(tmp_path, 0), fps=500, skip_below=0.02
    )
    jobs: list[Job] = []
    counters: Counter[str] = Counter()
    stream = Stream(
        settings,
        site="home",
        node="d",
        bundle=chain,
        clock=ManualClock(),
        counters=counters,
        submit=jobs.append,
        **ON_NO_BUS,
    )
    plan = Plan(epoch=1, first_cut=1, second_cut=chain.end, device="d", edge="e", codecs=("raw",))
    stream.new_plan(StreamPlan(stream="cam", model=chain.model, model_name="chain", plan=plan))
    reading = asyncio.create_task(stream.sensor.read())
    for sent in (1, 2, 3):
        while len(jobs) < sent or counters["dropped.unchanged"] < 4 * sent:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.001)
        assert len(jobs) == sent
        stream.outcome(jobs[-1].work.seq, dropped=True)
    reading.cancel()
    await asyncio.wait([reading])
