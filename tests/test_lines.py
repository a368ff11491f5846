"""Lines as they are found in the world: each does what it claims; and the bench that replays them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import lines as bench
from tiercut.errors import SettingsError
from tiercut.simulate.lines import measured, read_line
from tiercut.simulate.traces import Trace

FOLDER = Path(__file__).parent.parent / "examples" / "scenarios" / "lines"
FILES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_line_does_what_it_claims(path: Path) -> None:
    line, seconds = read_line(path), 1500.0
    drawn = [measured(line.trace(seed, seconds), seconds) for seed in (1, 2, 3, 4)]
    mean, variation, relax_s, down = (
        sum(getattr(each, name) for each in drawn) / len(drawn)
        for name in ("mean_mbps", "variation", "relax_seconds", "down_share")
    )
    assert line.name == path.stem
    assert mean == pytest.approx(line.figures.mean_mbps, rel=0.15)
    assert variation == pytest.approx(line.figures.variation, rel=0.2)
    assert line.figures.relax_seconds / 2 <= relax_s <= 2 * line.figures.relax_seconds
    assert down == pytest.approx(line.figures.down_share, abs=0.05)


def test_there_are_lines_of_every_group_and_each_says_where_it_is_from() -> None:
    lines = [read_line(path) for path in FILES]
    assert {line.group for line in lines} == {"3G", "LTE", "5G driving", "5G walking", "Wi-Fi", "fixed"}
    assert len(lines) >= 10
    assert all(len(line.source) > 60 for line in lines)
    assert all(path.stat().st_size < 20_000 for path in FILES)


def test_line_is_the_same_every_time_and_another_with_another_seed() -> None:
    line = read_line(FOLDER / "5g-walking.toml")
    assert line.trace(1, 60) == line.trace(1, 60)
    assert line.trace(1, 60) != line.trace(2, 60)


def test_figures_are_of_the_mean_of_each_second() -> None:
    figures = measured(Trace((0.0, 0.5, 1.0), (4.0, 0.0, 6.0)), 11.0)
    assert figures.mean_mbps == pytest.approx((2 + 9 * 6) / 10)
    assert figures.down_share == 0


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('format = "tiercut-line/1"', 'format = "other"', "format"),
        ("mean_mbps", "mean_mbit", "figures"),
        ('kind = "product"', 'kind = "wave"', "mbps"),
        ("of = [", "of = []\nnone = [", "none"),
    ],
)
def test_wrong_line_names_the_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text((FOLDER / "cable.toml").read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError, match=field):
        read_line(path).trace(1, 10)


def test_line_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml"):
        read_line(tmp_path / "none.toml")


# ---------------------------------------------------------------------- the bench


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lines", *arguments])
    return bench.main()


def test_bench_counts_against_the_oracle_and_the_best_fixed_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "KEPT", tmp_path / "kept")
    assert run(monkeypatch, "--only", "cable", "--seconds", "10", "--policies", "tiercut,edge-only", "--all") == 0
    printed = capsys.readouterr().out
    assert "cable, before the edge, vgg19" in printed
    assert len(list((tmp_path / "kept").glob("*-oracle"))) == 4
    for kept in (tmp_path / "kept").glob("*-oracle"):
        kept.write_text("1.0", encoding="utf-8")
    assert run(monkeypatch, "--only", "cable", "--seconds", "10", "--policies", "edge-only") == 0
    figures = next(line for line in capsys.readouterr().out.splitlines() if "edge-only" in line)
    assert float(figures.split()[2]) > 100  # nothing was replayed again


def test_bench_rows_are_geometric_means() -> None:
    one, other = bench.cases(["cable"], 10, 1)[:2]
    found = [
        (one, {"x": 2.0, bench.ORACLE: 1.0, bench.BEST_FIXED: 2.0}),
        (other, {"x": 8.0, bench.ORACLE: 1.0, bench.BEST_FIXED: 4.0}),
    ]
    (row,) = bench.rows(found, ["x"])
    assert row.mean == pytest.approx(4)
    assert (row.worst, row.behind, row.farthest) == (8.0, 1, 2.0)
    assert row.where == other.title


def test_bench_draws_the_line_once_for_all_hops_of_a_place() -> None:
    case = next(each for each in bench.cases(["lte-car"], 10, 1) if (each.place, each.profile) == ("uplink", "mobile"))
    links = case.scenario().links
    assert links["edge", "cloud"].mbps == links["device", "cloud"].mbps
    assert len(set(links["edge", "cloud"].mbps.values)) > 1
    assert len(set(links["device", "edge"].mbps.values)) == 1


def test_bench_refuses_a_line_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--only", "pigeon") == 2
    assert "pigeon" in capsys.readouterr().err
