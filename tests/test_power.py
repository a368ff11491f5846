"""Watts from the machine's energy counters, on a made-up sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiercut.node.power import EnergyCounter, PowerMeter


def domain(root: Path, name: str, energy_uj: int, max_uj: int = 10_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy_uj}\n", encoding="ascii")
    (folder / "max_energy_range_uj").write_text(f"{max_uj}\n", encoding="ascii")
    return folder


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        domain(tmp_path, name, 1_000_000)
    counter = EnergyCounter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        domain(tmp_path, name, 3_000_000)
    assert counter.joules() == pytest.approx(4.0)


def test_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", 9_000_000)
    counter = EnergyCounter(tmp_path)
    domain(tmp_path, "intel-rapl:0", 500_000)
    assert counter.joules() == pytest.approx(1.5)


def test_machine_without_counters_has_none(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    assert not EnergyCounter(tmp_path).exists
    assert EnergyCounter(tmp_path / "nothing").joules() == 0.0


def test_what_computing_adds_is_told_from_what_is_drawn_anyway() -> None:
    meter = PowerMeter()
    meter.period(60.0, 2.0, 0.5)
    assert meter.active_watts is None  # what it draws when idle is not known yet
    for _ in range(20):
        meter.period(20.0, 2.0, 0.0)
        meter.period(20.0 + 2.0 * 0.5 * 15.0, 2.0, 0.5)
    assert meter.active_watts == pytest.approx(15.0)
