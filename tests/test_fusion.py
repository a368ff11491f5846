"""Several sensors in one stream: which frames belong together, and one frame of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tiercut.errors import SettingsError
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.fit import adapt
from tiercut.sensing.fusion import Fuser, fused_form, fused_frame, part_frames, part_names
from tiercut.sensing.sensor_format import Captured, Channel, SensorForm, Spoiled
from tiercut.sensing.time_alignment import MAX_OPEN, Aligned, Aligner

NOW = 1_800_000_000.0
PICTURE = SensorForm(kind="image")


def at(seconds: float, label: str = "") -> Captured:
    return Captured(np.zeros((4, 4, 3), np.uint8), label, NOW + seconds)


def shown(sets: list[Aligned]) -> list[str]:
    """Labels of each set, ``-`` where a sensor is missing."""
    return [" ".join("-" if part is None else part.label or "?" for part in each.parts) for each in sets]


def test_frames_within_the_tolerance_go_out_together() -> None:
    aligner = Aligner(3, 0.1)
    assert aligner.put(0, at(0, "a")) == []
    assert aligner.put(2, at(0.09, "c")) == []
    (made,) = aligner.put(1, at(0.05, "b"))
    assert shown([made]) == ["a b c"]
    assert made.at_unix_s == NOW


def test_set_goes_out_without_a_sensor_once_the_tolerance_has_passed() -> None:
    aligner = Aligner(2, 0.1)
    aligner.put(0, at(0, "a"))
    assert aligner.due(NOW + 0.1) == []
    assert aligner.next_due_s() == pytest.approx(NOW + 0.1)
    assert shown(aligner.due(NOW + 0.11)) == ["a -"]
    assert aligner.due(NOW + 9) == []
    assert aligner.next_due_s() is None


def test_frame_that_comes_after_its_set_is_dropped() -> None:
    aligner = Aligner(2, 0.1)
    aligner.put(0, at(0, "a"))
    aligner.due(NOW + 0.2)
    assert aligner.put(1, at(-0.05, "late"), NOW + 0.25) == []
    assert aligner.flush() == []


def test_of_a_faster_sensor_the_nearest_frame_counts() -> None:
    aligner, made = Aligner(2, 0.1), []
    for k in range(12):
        made += aligner.put(0, at(k / 30, f"a{k}"))
        if k % 3 == 2:
            made += aligner.put(1, at(k / 30 + 0.004, f"b{k}"))
    assert shown(made) == ["a2 b2", "a5 b5", "a8 b8", "a11 b11"]


def test_lost_frame_of_one_sensor_costs_only_its_set() -> None:
    aligner, made = Aligner(2, 0.1), []
    for k in range(4):
        made += aligner.put(0, at(k, f"a{k}"))
        made += aligner.put(1, at(k + 0.02, f"b{k}")) if k != 1 else []
    assert shown(made) == ["a0 b0", "a1 -", "a2 b2", "a3 b3"]


def test_longer_wait_takes_frames_that_arrive_late() -> None:
    aligner = Aligner(2, 0.1, wait_s=1.0)
    aligner.put(0, at(0, "a0"), NOW)
    aligner.put(0, at(0.5, "a1"), NOW + 0.5)
    assert shown(aligner.put(1, at(0.01, "b0"), NOW + 0.8)) == ["a0 b0"]
    assert shown(aligner.put(1, at(0.51, "b1"), NOW + 1.3)) == ["a1 b1"]


def test_memory_of_sets_that_wait_is_bounded() -> None:
    aligner = Aligner(2, 0.001, wait_s=1e9)
    made = [each for k in range(3 * MAX_OPEN) for each in aligner.put(0, at(k, str(k)))]
    assert shown(made[:2]) == ["0 -", "1 -"]
    assert len(made) == 2 * MAX_OPEN


def test_clock_that_is_set_back_does_not_stop_the_stream() -> None:
    aligner = Aligner(2, 0.1)
    aligner.put(0, at(0, "a"))
    aligner.put(1, at(0, "b"))
    aligner.put(0, at(-3600, "a"))
    assert shown(aligner.put(1, at(-3600, "b"))) == ["a b"]


def picture(value: int, *shape: int) -> Captured:
    return Captured(np.full(shape, value, np.uint8), None, NOW)


def test_missing_view_is_black_and_named() -> None:
    spec = FrameSpec(size=(8, 8), views=3)
    parts = [picture(10, 20, 30, 3), None, picture(30, 20, 30, 3)]
    fused = fused_frame(parts, [PICTURE] * 3, spec, names=["door", "garden", "yard"])
    assert fused.label == "without garden"
    assert [int(view.mean()) for view in spec.to_input(fused.frame)] == [10, 0, 30]


def test_views_of_one_size_are_each_what_they_would_be_alone() -> None:
    spec = FrameSpec(size=(8, 8), views=2, crop_ratio=0.8)
    frames = [np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8) for k in range(2)]
    fused = fused_frame([Captured(each) for each in frames], [PICTURE] * 2, spec)
    alone = FrameSpec(size=(8, 8), crop_ratio=0.8)
    assert np.array_equal(spec.to_input(fused.frame), np.concatenate([alone.to_input(each) for each in frames]))


@pytest.mark.parametrize("channels", [1, 3])
def test_views_of_different_sizes_and_colours_fit(channels: int) -> None:
    spec = FrameSpec(size=(8, 8), views=3, channels=channels, crop_ratio=0.5)
    inner = np.full((40, 40, 3), 7, np.uint8)
    inner[10:30, 10:30] = 200  # what crop_ratio keeps
    inner[14:26, 14:26] = 99
    parts = [Captured(inner), picture(50, 9, 9), picture(60, 30, 20, 1)]
    views = spec.to_input(fused_frame(parts, [PICTURE] * 3, spec).frame)
    assert views.shape == (3, 8, 8, channels)
    assert [int(view[4, 4].mean()) for view in views] == [99, 50, 60]
    assert views[0][0].min() > 150


def acc(*names: str, unit: str = "") -> SensorForm:
    return SensorForm(kind="signal", rate_hz=10.0, channels=tuple(Channel(name, unit) for name in names))


MOTION = FrameSpec(
    kind="signal", samples=4, rate_hz=10.0, channel_names=("ax", "gx", "ay"), units=("m/s2", "rad/s", "m/s2")
)


def test_channels_stand_where_the_model_has_them() -> None:
    forms = [acc("ay", "ax"), acc("gx")]
    frames = part_frames(forms, MOTION)
    assert [frame.channel_names for frame in frames] == [("ax", "ay"), ("gx",)]
    assert [frame.units for frame in frames] == [("m/s2", "m/s2"), ("rad/s",)]
    parts = [Captured(np.tile([1.0, 2.0], (4, 1))), Captured(np.full((4, 1), 5.0))]
    assert fused_frame(parts, forms, MOTION).frame[0].tolist() == [1, 5, 2]


def test_missing_signal_holds_its_last_value() -> None:
    fuser = Fuser([acc("ax", "ay"), acc("gx")], MOTION, ["wrist", "ankle"])
    one, two = Captured(np.ones((4, 2))), Captured(np.arange(4.0).reshape(4, 1))
    assert fuser.frame([one, None]).frame[:, 1].tolist() == [0, 0, 0, 0]
    fuser.frame([one, two])
    held = fuser.frame([one, None])
    assert (held.frame[:, 1].tolist(), held.label) == ([3, 3, 3, 3], "without ankle")


@pytest.mark.parametrize(
    ("forms", "spec", "said"),
    [
        ([PICTURE, PICTURE], FrameSpec(views=3), "expected 3 cameras, got 2"),
        ([PICTURE, acc("ax")], FrameSpec(views=2), "got pictures, a signal"),
        ([acc("ax", "ay"), acc("ax")], MOTION, "gx missing"),
        ([acc("ax", "ay", "gx"), acc("ax")], MOTION, "ax twice"),
        ([acc("ax", "ay", "gx"), acc("t")], MOTION, "none from source 2"),
        ([acc(""), acc("")], MOTION, r"3 channels, got 1 \+ 1"),
        ([PICTURE, PICTURE], FrameSpec(kind="tensor", shape=(2,), dtype="float32"), "all give arrays"),
    ],
)
def test_sensors_that_do_not_make_the_models_input_are_refused(
    forms: list[SensorForm], spec: FrameSpec, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        part_frames(forms, spec, stream="yard")


def test_sensors_are_called_by_what_differs_in_their_topics() -> None:
    def named(*topics: str) -> tuple[str, ...]:
        return part_names([SourceSettings(sensor="mqtt", topic=topic) for topic in topics])

    assert named("frigate/door/person/snapshot", "frigate/garden/person/snapshot") == ("door", "garden")
    assert named("a/b", "c") == ("a/b", "c")
    assert part_names([SourceSettings(sensor="camera")] * 2) == ("camera 1", "camera 2")


def test_fused_form_has_the_channels_of_all() -> None:
    assert [channel.name for channel in fused_form([acc("a", "b"), acc("c")]).channels] == ["a", "b", "c"]
    assert fused_form([PICTURE, PICTURE]) == PICTURE


def stream_of(rate_hz: float, value: float, start: float, seconds: float = 8.0) -> Iterator[Captured | Spoiled]:
    """Samples of one channel in chunks of a tenth of a second."""
    size = round(rate_hz / 10)
    count = int(seconds * 10)
    return (Captured(np.full((size, 1), value, np.float32), None, start + (k + 1) / 10) for k in range(count))


def test_two_sensors_of_different_rates_become_one_window() -> None:
    forms: list[Any] = [
        SensorForm(kind="signal", rate_hz=r, channels=(Channel(n, "g"),)) for r, n in ((50, "x"), (20, "y"))
    ]
    spec = FrameSpec(kind="signal", samples=20, rate_hz=10.0, channel_names=("y", "x"), units=("m/s2",))
    aligner, fuser, made = Aligner(2, 0.12, wait_s=3.0), Fuser(forms, spec), []
    sources = [SourceSettings(sensor="mine")] * 2
    found: list[tuple[int, Any]] = [
        (i, item)
        for i, (start, frame) in enumerate(zip((NOW + 0.37, NOW + 0.9), part_frames(forms, spec), strict=True))
        for item in adapt(stream_of(forms[i].rate_hz, i + 1.0, start), forms[i], sources[i], frame, aligned=True)
    ]
    for i, item in sorted(found, key=lambda pair: pair[1].at_unix_s):
        made += [fuser.frame(each.parts) for each in aligner.put(i, item)]
    assert len(made) == 3
    assert all(np.allclose(each.frame, [2 * 9.80665, 9.80665], atol=1e-3) for each in made)
