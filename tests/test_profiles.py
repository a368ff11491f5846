"""What a profile says between the cuts it measured, how it is kept, and what a planner gets of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import bundle_of
from tests.profiles import MACHINE, profile_of
from tiercut.errors import SettingsError
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.profiling.cut_sampling import candidate_cuts, cuts_to_measure, fill_between, never_decreasing
from tiercut.profiling.machine import Machine, machine_id, this_machine
from tiercut.profiling.profile import CodecPoint, Profile, block_seconds, check_profile_fits, codec_rows
from tiercut.profiling.store import ProfileStore, from_document, read_profile, to_document

POINTS = (
    CodecPoint(codec="int8", cut=1, bytes=500, encode_seconds=2e-6, decode_seconds=1e-6),
    CodecPoint(codec="raw+zstd", cut=1, bytes=2100, encode_seconds=1e-6, decode_seconds=1e-6, lossless=True),
    CodecPoint(codec="int8", cut=2, bytes=750, encode_seconds=3e-6, decode_seconds=3e-6),
)
PROFILE = profile_of((0.0, 0.002, 0.006, 0.01), codecs=POINTS)


def cut(index: int, macs: int, size: int = 100) -> CutPoint:
    return CutPoint(
        index=index, after=None, tensors=(TensorSpec("t", (size,), "float32"),), macs=macs, parameters=0, dominated=True
    )


def test_blocks_add_up_to_the_whole() -> None:
    assert block_seconds(PROFILE) == pytest.approx((0.002, 0.004, 0.004))
    assert sum(block_seconds(PROFILE)) == pytest.approx(PROFILE.seconds(0, PROFILE.end))


def test_codec_rows_hold_one_cut_each() -> None:
    rows = codec_rows(PROFILE, accuracy_drop={"int8": 0.01})
    assert [(row.name, row.cuts) for row in rows] == [("int8", (1, 1)), ("int8", (2, 2))]
    assert rows[0].ratio == pytest.approx(2000 / 500)
    assert rows[0].encode_seconds_per_mb * 2000 / 1e6 == pytest.approx(2e-6)
    assert rows[0].accuracy_drop == 0.01


def test_codec_that_shrinks_nothing_is_left_out() -> None:
    assert "raw+zstd" not in {row.name for row in codec_rows(PROFILE)}


def test_codec_rows_take_the_time_to_decode_from_the_receiver() -> None:
    slow = tuple(dataclasses.replace(point, decode_seconds=1.0) for point in POINTS)
    rows = codec_rows(PROFILE, cuts=[2], receiver=profile_of(PROFILE.cut_seconds, codecs=slow))
    assert [row.cuts for row in rows] == [(2, 2)]
    assert rows[0].decode_seconds_per_mb * 3000 / 1e6 == pytest.approx(1.0)
    assert rows[0].encode_seconds_per_mb * 3000 / 1e6 == pytest.approx(3e-6)


def test_seconds_never_decrease_and_stay_closest() -> None:
    assert never_decreasing([1, 3, 2, 4]) == (1, 2.5, 2.5, 4)
    assert never_decreasing([3, 2, 1]) == (2, 2, 2)
    assert never_decreasing([]) == ()


def test_between_measured_cuts_time_goes_with_macs() -> None:
    cuts = [cut(0, 0), cut(1, 10), cut(2, 10), cut(3, 40), cut(4, 40)]
    assert fill_between(cuts, {2: 1.0, 4: 5.0}) == pytest.approx((0.0, 1.0, 1.0, 5.0, 5.0))
    assert fill_between(cuts, {4: 4.0}) == pytest.approx((0.0, 1.0, 1.0, 4.0, 4.0))


def test_between_cuts_without_macs_time_goes_with_nodes() -> None:
    assert fill_between([cut(k, 0) for k in range(5)], {4: 4.0}) == pytest.approx((0.0, 1.0, 2.0, 3.0, 4.0))


@pytest.mark.parametrize("architecture", ["chain", "residual", "attention", "multi_input"])
def test_cuts_worth_choosing_are_measured(architecture: str) -> None:
    cuts = bundle_of(architecture).cuts
    measured = cuts_to_measure(cuts, most=4)
    assert set(candidate_cuts(cuts)) - {0} <= set(measured)
    assert measured[-1] == len(cuts) - 1
    assert 0 not in measured


def test_no_cut_between_a_convolution_and_its_activation_is_measured() -> None:
    cuts = [cut(k, 100 * ((k + 1) // 2)) for k in range(41)]  # convolution, activation, convolution, …
    measured = cuts_to_measure(cuts)
    assert measured == tuple(range(2, 41, 2))
    assert len(cuts_to_measure(cuts, most=8)) <= 8


def test_profile_survives_its_file(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles")
    path = store.save(PROFILE)
    assert store.load(PROFILE.model, MACHINE.id) == PROFILE
    assert [file.name for file in path.parent.iterdir()] == [f"{MACHINE.id}.json"]
    assert store.load("00" * 32, MACHINE.id) is None


def test_profile_replaces_the_older_one(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.save(PROFILE)
    store.save(PROFILE.scaled(2))
    loaded = store.load(PROFILE.model, MACHINE.id)
    assert loaded is not None
    assert loaded.cut_seconds[-1] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "tiercut-profile/2"}, "'format': 'tiercut-profile/1'"),
        ({"cut_seconds": [0.1, 0.2, 0.3, 0.4]}, "begin with 0"),
        ({"cut_seconds": [0, 3, 2, 4]}, "never decrease"),
        ({"cut_seconds": [0, 1, 2, float("nan")]}, "finite"),
        ({"cut_seconds": 3}, "'cut_seconds' as a list"),
        ({"cut_bytes": [1, 2]}, "4 cut_bytes"),
        ({"source": "guessed"}, "'source' as one of measured, predicted"),
        ({"machine": None}, "expected 'machine', got None"),
        ({"measured_cuts": [9]}, "cuts of 0 to 3"),
        ({"spread": True}, "'spread' as a number, got True"),
        ({"cut_bytes": [1, 2, 3, 4.5]}, r"'cut_bytes\[3\]' as a whole number, got 4.5"),
        ({"codecs": [{"codec": "int8"}]}, r"'codecs\[0\]\.cut'"),
    ],
)
def test_damaged_profile_is_refused_and_the_field_named(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(to_document(PROFILE) | change))
    with pytest.raises(SettingsError, match=expected):
        read_profile(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(SettingsError, match="run 'tiercut profile BUNDLE' again"):
        read_profile(tmp_path / "p.json")


def test_missing_field_is_named() -> None:
    document = to_document(PROFILE)
    del document["cut_bytes"]
    with pytest.raises(SettingsError, match="expected 'cut_bytes', got None"):
        from_document(document)


def test_store_refuses_names_that_lead_out_of_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="64 hex digits"):
        ProfileStore(tmp_path).load("../" * 20, MACHINE.id)
    with pytest.raises(SettingsError, match="a machine's id"):
        ProfileStore(tmp_path).load("00" * 32, "../../etc/passwd")


def test_profile_under_another_model_is_refused(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    other = store.path("00" * 32, MACHINE.id)
    other.parent.mkdir()
    store.save(PROFILE).rename(other)
    with pytest.raises(SettingsError, match="model abab"):
        store.load("00" * 32, MACHINE.id)


def test_profile_of_another_bundle_does_not_fit() -> None:
    bundle = bundle_of("chain")
    with pytest.raises(SettingsError, match="is of another model"):
        check_profile_fits(PROFILE, bundle.model, bundle.cuts)


def test_segment_outside_of_the_profile_is_refused() -> None:
    with pytest.raises(SettingsError, match="0 <= a <= b <= 3"):
        PROFILE.seconds(2, 4)


def test_machine_has_a_stable_id_that_threads_change() -> None:
    assert machine_id() == machine_id()
    assert machine_id(1) != machine_id(2)
    assert MACHINE.id.startswith("test-cpu-1-0-2c-t1-")
    assert dataclasses.replace(MACHINE, runtime="1.1").id != MACHINE.id


def test_container_quota_bounds_the_cores(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nModel\t\t: Raspberry Pi 4 Model B\n")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    machine = this_machine(root=tmp_path)
    assert (machine.cpu, machine.cores) == ("Raspberry Pi 4 Model B", 0.5)


def test_machine_without_threads_is_refused() -> None:
    with pytest.raises(SettingsError, match="threads >= 1"):
        Machine(cpu="x", cores=1, arch="x", runtime="1", threads=0)


def test_prediction_says_that_it_is_one() -> None:
    predicted: Profile = profile_of((0.0, 1.0), source="predicted")
    assert from_document(to_document(predicted)).source == "predicted"
