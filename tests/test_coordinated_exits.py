"""The coordinator with exits, deadlines and measured codecs: a whole site on buses in memory, with a real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.coordination.goals import goal_of
from tests.aio import async_test, until
from tests.bundles import exits_bundle
from tests.sites import new_site, noise
from tests.test_coordinated import explanation, hub
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_write import rewrite
from tiercut.model.variants import Leaving
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.codec_table_file import write_table
from tiercut.profiling.machine import this_machine
from tiercut.protocol.stream_settings import StreamSettings as Planned


@pytest.fixture
def measured(tmp_path: Path) -> Bundle:
    """The model with exits whose accuracy is known."""
    bundle = exits_bundle()
    early, late = bundle.exits
    exits = (replace(early, accuracy=0.7), replace(late, accuracy=0.8))
    leaving = (Leaving(threshold=0.5, shares={"early": 0.5, "late": 0.25, "full": 0.25}, accuracy=0.85),)
    contents = replace(bundle.contents, accuracy=0.9, exits=exits, leaving=leaving)
    return rewrite(bundle, tmp_path / "bundles" / "exits", contents)


def table_of(bundle: Bundle, *rows: CodecRow) -> CodecTable:
    return CodecTable(
        model=bundle.model,
        model_name=bundle.name,
        rows=rows,
        frames=100,
        reference="labels",
        accuracy=0.9,
        date="2026-11-21",
        machine=this_machine(1),
    )


@async_test
async def test_deadline_that_can_be_met_is_met_and_counted(measured: Bundle) -> None:
    site = new_site(measured.folder.parent)
    device = site.device(noise(measured, width=16, height=16, frames=None, fps=50, delivery="latest"))
    goal = hub(site, measured, objective="accuracy", deadline_ms=2000.0)
    async with site.running(site.cloud(), site.edge(), device, goal) as outcomes:
        await outcomes.until(results=20)
        await until(lambda: (explanation(outcomes).get("deadline") or {}).get("frames", 0) > 5)
    assert {result["exit"] for result in outcomes.results} == {"full"}
    assert all(result["deadline_met"] for result in outcomes.results)
    deadline = explanation(outcomes)["deadline"]
    assert (deadline["ms"], deadline["met_share"]) == (2000.0, 1.0)


@async_test
async def test_deadline_that_nothing_meets_gives_late_results_and_says_so(measured: Bundle) -> None:
    site = new_site(measured.folder.parent)
    device = site.device(noise(measured, width=16, height=16, frames=None, fps=50, delivery="latest"))
    goal = hub(site, measured, objective="accuracy", deadline_ms=0.001)
    async with site.running(site.cloud(), site.edge(), device, goal) as outcomes:
        await outcomes.until(results=5)
        await until(lambda: "no plan meets the deadline" in str(explanation(outcomes).get("trouble")))
    assert not any(result["deadline_met"] for result in outcomes.results)
    assert not [each for each in outcomes.dropped if each["reason"] in {"past_deadline", "too_late"}]


@async_test
async def test_frames_leave_at_the_threshold_of_the_hubs_settings(measured: Bundle) -> None:
    site = new_site(measured.folder.parent)
    device = site.device(noise(measured, width=16, height=16, frames=None, fps=50, delivery="latest"))
    goal = hub(site, measured, exit_threshold=0.0, max_accuracy_drop=1.0)
    async with site.running(site.cloud(), site.edge(), device, goal) as outcomes:
        await outcomes.until(results=10)
        await until(lambda: explanation(outcomes).get("exits", {}).get("early") == 1.0)
    assert {result["exit"] for result in outcomes.results} == {"early"}


def row(codec: str, cut: int, size: int, drop: float) -> CodecRow:
    return CodecRow(codec=codec, cut=cut, bytes=size, encode_seconds=1e-5, decode_seconds=1e-5, accuracy_drop=drop)


@async_test
async def test_only_codecs_that_cost_no_more_than_allowed_are_planned(measured: Bundle) -> None:
    write_table(measured, table_of(measured, row("int4+zstd", 1, 20, 0.2), row("int8+zstd", 1, 40, 0.005)))
    site = new_site(measured.folder.parent)
    device = site.device(noise(measured, width=16, height=16, frames=None, fps=50, delivery="latest"))
    goal = hub(site, measured, min_first_cut=1, max_accuracy_drop=0.01)
    async with site.running(site.cloud(), site.edge(), device, goal) as outcomes:
        await until(lambda: "predicted" in explanation(outcomes))
    codecs = {c for answer in explanation(outcomes)["alternatives"].values() for c in answer.get("codecs", ())}
    assert codecs <= {"raw", "int8+zstd@1"}
    (wanted,) = goal.settings.streams
    assert goal_of(wanted, measured).table is not None


def test_table_of_another_model_stops_the_hub_with_a_sentence(measured: Bundle) -> None:
    write_table(measured, table_of(measured, row("int8+zstd", 1, 40, 0.0)))
    path = measured.folder / "codecs.json"
    path.write_text(path.read_text().replace(measured.model, "cd" * 32))
    with pytest.raises(BundleError, match="belongs to another model"):
        goal_of(Planned(name="cam", model=measured.name, device="d"), measured)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("exit_threshold", 1.5), ("max_accuracy_drop", -0.1), ("deadline_ms", 0.0), ("min_noise", -1.0)],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=setting):
        Planned(name="cam", model="m", device="d", **{setting: value})


def test_threshold_for_a_model_without_measured_exits_is_refused() -> None:
    with pytest.raises(SettingsError, match="exits train"):
        goal_of(Planned(name="cam", model="exits", device="d", exit_threshold=0.9), exits_bundle())


def test_exits_of_unknown_accuracy_are_not_planned() -> None:
    goal = goal_of(Planned(name="cam", model="exits", device="d"), exits_bundle())
    assert (goal.variants, goal.accuracy) == ((), 1.0)


def test_exits_may_be_left_out_of_plans(measured: Bundle) -> None:
    plain = goal_of(Planned(name="cam", model="exits", device="d", exits="none"), measured)
    assert plain.variants == ()
    assert [each.name for each in goal_of(Planned(name="cam", model="exits", device="d"), measured).variants] == [
        "early",
        "late",
    ]
