"""Signals of any rate, unit and chunk size become windows that a model takes; what cannot is refused beforehand."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercut.errors import SettingsError
from tiercut.model.cuts import TensorSpec
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.fit import Adapter, adapt, check_fit, check_inputs, tick
from tiercut.sensing.payloads import form_of
from tiercut.sensing.resampling import Resampler
from tiercut.sensing.sensor_format import Captured, Channel, SensorForm, Spoiled
from tiercut.sensing.units import UNITS, conversion

NOW = 1_800_000_000.0
PLUGIN = SourceSettings(sensor="mine")


def signal(samples: int = 8, rate_hz: float = 10.0, **more: Any) -> FrameSpec:
    return FrameSpec(kind="signal", samples=samples, rate_hz=rate_hz, **{"channels": 1, **more})


def form(rate_hz: float | None = 10.0, *channels: Channel) -> SensorForm:
    return SensorForm(kind="signal", rate_hz=rate_hz, channels=channels or (Channel(),))


def chunks(samples: np.ndarray, sizes: Iterable[int], rate_hz: float, start: float = NOW) -> list[Captured]:
    """A recording in chunks, the last sample of each at its time."""
    made, place = [], 0
    for size in sizes:
        part = samples[place : place + size].astype(np.float32)
        place += len(part)
        if len(part):
            made.append(Captured(part.reshape(len(part), -1), at_unix_s=start + (place - 1) / rate_hz))
    return made


def ends(found: Iterable[Captured]) -> list[float]:
    """Times of windows."""
    return [each.at_unix_s or 0.0 for each in found]


def windows(
    items: Iterable[Captured | Spoiled],
    frame: FrameSpec,
    given: SensorForm,
    source: SourceSettings = PLUGIN,
    **more: Any,
) -> list[Captured]:
    found = list(adapt(iter(items), given, source, frame, **more))
    assert all(isinstance(item, Captured) for item in found), found
    return [item for item in found if isinstance(item, Captured)]


def sine(hz: float, rate_hz: float, seconds: float) -> np.ndarray:
    wave: np.ndarray = np.sin(math.tau * hz * np.arange(int(rate_hz * seconds)) / rate_hz)[:, None]
    return wave.astype(np.float32)


def resampled(samples: np.ndarray, given_hz: float, wanted_hz: float, sizes: Sequence[int]) -> np.ndarray:
    resampler, place, made = Resampler(given_hz, wanted_hz), 0, []
    for size in sizes:
        made.append(resampler.push(samples[place : place + size]))
        place += size
    rest = resampler.end()
    return np.concatenate([*made, *([] if rest is None else [rest])])


@pytest.mark.parametrize(
    ("given_hz", "wanted_hz", "hz", "apart"),
    [
        (100, 50, 5, 1e-3),
        (44100, 16000, 440, 1e-3),
        (8000, 16000, 440, 1e-3),
        (100, 30, 3.3, 1e-3),
        (50, 50, 20, 1e-6),
        (10, 50, 0.5, 0.013),  # straight lines from sample to sample
    ],
)
def test_sine_keeps_its_frequency_size_and_phase(given_hz: float, wanted_hz: float, hz: float, apart: float) -> None:
    made = resampled(sine(hz, given_hz, 2), given_hz, wanted_hz, [10**9])
    expected = sine(hz, wanted_hz, 2)[: len(made)]
    assert abs(len(made) - 2 * wanted_hz) <= 1
    assert np.abs(made - expected)[20:-20].max() < apart


def test_what_the_models_rate_cannot_carry_is_filtered_out() -> None:
    for hz, size in ((20, 0.85), (28, 1e-3), (49, 1e-3)):
        made = resampled(sine(hz, 100, 10), 100, 50, [1000])[50:-50]
        assert (np.abs(made).max() > size) == (hz == 20)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=40),
    st.sampled_from([(100, 50), (50, 50), (7, 50), (48, 10), (3000, 8000)]),
)
def test_chunks_do_not_matter(sizes: list[int], rates: tuple[float, float]) -> None:
    samples = np.random.default_rng(0).standard_normal((sum(sizes), 2)).astype(np.float32)
    made = resampled(samples, *rates, sizes)
    assert np.allclose(made, resampled(samples, *rates, [len(samples)]), atol=1e-6)


def test_constant_signal_stays_constant_from_its_first_sample() -> None:
    for rates in ((100, 50), (10, 50), (44100, 16000)):
        made = resampled(np.full((500, 1), 21.5, np.float32), *rates, [7] * 80)
        assert np.allclose(made, 21.5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(0, 0.99), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_windows_overlap_exactly(samples: int, overlap: float, sizes: list[int]) -> None:
    total = sum(sizes)
    frame, source = signal(samples), SourceSettings(sensor="mine", overlap=overlap)
    found = windows(chunks(np.arange(total), sizes, 10), frame, form(), source)
    step = max(1, round(samples * (1 - overlap)))
    assert len(found) == max(0, (total - samples) // step + 1)
    for k, window in enumerate(found):
        assert window.frame.ravel().tolist() == list(range(k * step, k * step + samples))
        assert window.at_unix_s == pytest.approx(NOW + (k * step + samples - 1) / 10, abs=1e-3)


def test_time_of_a_window_is_that_of_its_last_sample_at_any_rate() -> None:
    found = windows(chunks(np.arange(1000), [13] * 80, 100), signal(20), form(100.0))
    assert [round(window.at_unix_s - NOW, 2) for window in found if window.at_unix_s] == [1.9, 3.9, 5.9, 7.9, 9.9]
    assert abs(float(found[1].frame[-1, 0]) - 390) < 0.1


def test_gap_begins_a_new_window() -> None:
    before, after = chunks(np.zeros(12), [4] * 3, 10), chunks(np.ones(12), [4] * 3, 10, start=NOW + 30)
    found = windows([*before, *after], signal(8), form())
    assert [window.frame.mean() for window in found] == [0, 1]
    assert found[1].at_unix_s == pytest.approx(NOW + 30.7)


def test_late_chunks_make_no_gap_and_a_slow_clock_is_followed() -> None:
    random = np.random.default_rng(0)
    items = chunks(np.arange(36_000), [10] * 3600, 10 / 1.0001)  # an hour, the sensor's clock 100 ppm slow
    late = [replace(each, at_unix_s=(each.at_unix_s or 0) + random.uniform(0, 0.2)) for each in items]
    found = windows(late, signal(10), form())
    assert len(found) == 3600
    assert abs((found[-1].at_unix_s or 0) - (items[-1].at_unix_s or 0)) < 0.1


def test_large_chunk_needs_memory_for_one_window_at_a_time() -> None:
    frame, source = signal(16_000, 16_000.0), SourceSettings(sensor="mine", overlap=0.99)
    chunk = Captured(np.zeros((400_000, 1), np.float32), at_unix_s=NOW)
    tracemalloc.start()
    assert sum(1 for _ in adapt(iter([chunk]), form(48_000.0), source, frame)) > 700
    assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    tracemalloc.stop()


def reading(value: float, at_s: float) -> Captured:
    return Captured(np.array([[value]], np.float32), at_unix_s=NOW + at_s)


def test_reading_without_a_rate_holds_until_the_next() -> None:
    items = [reading(1, 0), reading(2, 4.5), reading(3, 6), reading(4, 9.5)]
    found = windows(items, signal(9, 1.0), form(None))
    assert [window.frame.ravel().tolist() for window in found] == [[1, 1, 1, 1, 2, 2, 3, 3, 3]]
    assert found[0].at_unix_s == NOW + 8


def test_time_that_goes_on_makes_windows_of_what_is_held() -> None:
    adapter = Adapter(form(None), PLUGIN, signal(5, 1.0))
    made = [list(adapter.push(item)) for item in (reading(7, 0), *(tick(form(None), NOW + s) for s in range(1, 12)))]
    assert [len(each) for each in made] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_after_a_silence_only_the_newest_window_is_made() -> None:
    found = windows([reading(1, 0), reading(2, 3000)], signal(5, 1.0), form(None))
    assert len(found) == 1
    assert NOW + 2990 < (found[0].at_unix_s or 0) < NOW + 3000


def test_long_silence_needs_no_memory_for_all_of_it() -> None:
    tracemalloc.start()
    assert len(windows([reading(1, 0), reading(2, 3000)], signal(50, 1000.0), form(None))) == 1
    assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    tracemalloc.stop()


def test_reading_does_not_hold_for_ever() -> None:
    assert not windows([reading(1, 0), reading(2, 4000), reading(2, 4002)], signal(5, 1.0), form(None))


def test_readings_whose_clock_is_set_back_begin_anew() -> None:
    found = windows([reading(1, 0), reading(2, -500), reading(3, -490)], signal(5, 1.0), form(None))
    assert [window.frame.mean() for window in found] == [2]


@pytest.mark.parametrize("rate_hz", [10.0, 25.0, None])
def test_aligned_windows_of_two_sensors_end_together(rate_hz: float | None) -> None:
    frame, source = signal(20), SourceSettings(sensor="mine", overlap=0.5)
    both_ends = []
    for start in (NOW + 0.3, NOW + 7.71):
        items = chunks(np.arange(400), [5 if rate_hz else 1] * 400, rate_hz or 3.0, start)
        both_ends.append(ends(windows(items, frame, form(rate_hz), source, aligned=True)))
    both = [at for at in both_ends[0] if min(abs(at - other) for other in both_ends[1]) <= 0.11]
    assert len(both) > 5
    assert all(abs(at - round(at)) < 0.11 for each in both_ends for at in each)


def test_aligned_windows_stay_on_the_grid_with_a_slow_clock() -> None:
    items = chunks(np.arange(60_000), [10] * 6000, 10 / 1.0005)
    found = windows(items, signal(10), form(), aligned=True)
    assert 5990 < len(found) <= 6003
    assert all(abs((each.at_unix_s or 0) - round(each.at_unix_s or 0)) < 0.16 for each in found)


@pytest.mark.parametrize(
    ("given", "value", "wanted", "result"),
    [
        ("g", 1, "m/s2", 9.80665),
        ("m/s²", 9.80665, "mg", 1000),
        ("°/s", 180, "rad/s", math.pi),
        ("rpm", 60, "deg/s", 360),
        ("°C", 20, "K", 293.15),
        ("degF", 68, "°C", 20),
        ("K", 273.15, "degF", 32),
        ("%", 45, "1", 0.45),
        ("mV", 3045, "V", 3.045),
        ("hPa", 1013.25, "Pa", 101325),
        ("int16", -32768, "full-scale", -1),
        ("", 5, "K", 5),
        ("apples", 5, "apples", 5),
    ],
)
def test_units_are_converted(given: str, value: float, wanted: str, result: float) -> None:
    way = conversion(given, wanted)
    assert way is not None
    assert value * way.factor + way.offset == pytest.approx(result)


def test_every_conversion_has_its_way_back() -> None:
    for row in UNITS.values():
        for a in row:
            for b in row:
                there, back = conversion(a, b), conversion(b, a)
                assert there is not None
                assert back is not None
                assert (7 * there.factor + there.offset) * back.factor + back.offset == pytest.approx(7)


def test_channels_are_picked_by_name_and_converted() -> None:
    frame = signal(2, channel_names=("z", "x"), units=("m/s2", "degC"))
    given = form(10.0, Channel("x", "K"), Channel("y", ""), Channel("z", "g"))
    samples = np.array([[273.15, 5, 1], [293.15, 6, -1]])
    (window,) = windows(chunks(samples, [1, 1], 10), frame, given)
    assert np.allclose(window.frame, [[9.80665, 0], [-9.80665, 20]], atol=1e-4)


def test_scale_and_offset_come_before_the_unit() -> None:
    source = SourceSettings(sensor="mine", scale=(0.1,), offset=(-40.0,), units=("degF",))
    (window,) = windows(chunks(np.array([1080, 720]), [2], 10), signal(2, units=("degC",)), form(), source)
    assert np.allclose(window.frame.ravel(), [20, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (np.zeros((3, 2), np.float32), "wrong_shape"),
        (np.zeros((3, 1), bool), "wrong_shape"),
        (np.array([[1], [np.nan]], np.float32), "bad_number"),
        (np.array([[np.inf]], np.float32), "bad_number"),
        (np.array([[1e300]]), "bad_number"),
    ],
)
def test_chunk_that_cannot_be_used_is_dropped_and_the_sensor_goes_on(chunk: np.ndarray, reason: str) -> None:
    items = [
        *chunks(np.zeros(4), [4], 10),
        Captured(chunk, at_unix_s=NOW + 0.4),
        *chunks(np.zeros(4), [4], 10, NOW + 0.4),
    ]
    found = list(adapt(iter(items), form(), PLUGIN, signal(8)))
    assert [type(item) for item in found] == [Spoiled, Captured]
    assert isinstance(found[0], Spoiled)
    assert found[0].reason == reason


def test_several_readings_at_once_need_a_rate() -> None:
    (item,) = adapt(iter([Captured(np.zeros((4, 1), np.float32), at_unix_s=NOW)]), form(None), PLUGIN, signal())
    assert isinstance(item, Spoiled)
    assert (item.reason, "add rate_hz" in item.message) == ("no_rate", True)


def test_pictures_and_arrays_pass_and_others_are_dropped() -> None:
    picture, tensor = SensorForm(kind="image"), SensorForm(kind="tensor")
    pairs: list[tuple[FrameSpec, SensorForm, Any, bool]] = [
        (FrameSpec(), picture, np.zeros((5, 6, 3), np.uint8), True),
        (FrameSpec(), picture, np.zeros((5, 6), np.uint8), True),
        (FrameSpec(), tensor, np.zeros((5, 6, 3), np.float32), False),
        (FrameSpec(), tensor, np.zeros((5, 0, 3), np.uint8), False),
        (FrameSpec(kind="tensor", shape=(1, 4), dtype="float32"), tensor, np.zeros((1, 4), np.float32), True),
        (FrameSpec(kind="tensor", shape=(1, 4), dtype="float32"), tensor, np.zeros((1, 5), np.float32), False),
    ]
    for frame, kind, array, fits in pairs:
        (item,) = adapt(iter([Captured(array)]), kind, PLUGIN, frame)
        assert isinstance(item, Captured) == fits


XYZ = signal(8, 50.0, channel_names=("acc_x", "acc_y", "acc_z"), units=("m/s2",))


def mqtt(**more: Any) -> SourceSettings:
    return SourceSettings(sensor="mqtt", topic="watch/acc", format="json", rate_hz=50.0, json_path=("$.a",), **more)


@pytest.mark.parametrize(
    ("source", "frame", "said"),
    [
        (SourceSettings(sensor="mqtt"), XYZ, "a signal of 3 channels .* got pictures from the sensor 'mqtt'"),
        (mqtt(), FrameSpec(), r"expected pictures \(224x224\), got samples"),
        (mqtt(), FrameSpec(kind="tensor", shape=(1, 3), dtype="float32"), "--signal-samples"),
        (mqtt(), XYZ, "expected 3 channels .*got 1 without names; name the sensor's channels"),
        (mqtt(channels=("acc_x", "acc_y", "temp")), XYZ, "acc_z missing"),
        (mqtt(channels=("acc_x", "acc_y", "acc_z"), units=("rad/s",)), XYZ, r"becomes m/s2 \(g, mg.*got 'rad/s'"),
        (mqtt(channels=("acc_x", "acc_y", "acc_z"), scale=(1.0, 2.0)), XYZ, "one scale for all, or 3"),
        (mqtt(channels=("acc_x", "acc_y", "acc_z")), replace(XYZ, rate_hz=1e6), "a rate near the model's"),
        (SourceSettings(sensor="mqtt"), FrameSpec(views=3), 'sensor = "fusion"'),
    ],
)
def test_sensor_that_does_not_fit_is_refused_when_it_is_added(
    source: SourceSettings, frame: FrameSpec, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        check_fit(form_of(source), source, frame, stream="watch")
    assert "stream 'watch'" in str(caught.value)


def test_sensor_that_fits_is_not_refused() -> None:
    check_fit(form_of(SourceSettings(sensor="mqtt")), SourceSettings(sensor="mqtt"), FrameSpec(), stream="s")
    source = mqtt(channels=("acc_z", "acc_y", "acc_x", "temperature"), units=("g", "g", "g", "degC"))
    check_fit(form_of(source), source, XYZ, stream="s")
    unnamed = SensorForm(kind="tensor", shape=(1, 4), dtype="float32")
    check_fit(unnamed, PLUGIN, FrameSpec(kind="tensor", shape=(1, 4), dtype="float32"), stream="s")


def test_array_of_another_shape_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"float32\[1, 4\], got float32\[1, 5\]"):
        check_fit(
            SensorForm(kind="tensor", shape=(1, 5), dtype="float32"),
            PLUGIN,
            FrameSpec(kind="tensor", shape=(1, 4), dtype="float32"),
            stream="s",
        )


def test_model_with_several_inputs_is_refused() -> None:
    inputs = [TensorSpec("image", (1, 3), "float32"), TensorSpec("sound", (1, 9), "float32")]
    check_inputs(inputs[:1], model="m", stream="s")
    with pytest.raises(SettingsError, match=r"'m' with 2: image float32\[1, 3\], sound"):
        check_inputs(inputs, model="m", stream="s")
