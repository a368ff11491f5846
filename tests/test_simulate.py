"""The simulator: the same figures every time, every frame accounted for, and nobody who knows the future."""

from __future__ import annotations

import argparse
import builtins
import importlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiercut.cli import simulate as command
from tiercut.errors import SettingsError
from tiercut.simulate import Replay, Scenario, load_scenario, simulate
from tiercut.simulate.flights import Flight
from tiercut.simulate.picture import draw
from tiercut.simulate.report import report, table
from tiercut.simulate.run import POLICIES
from tiercut.simulate.scenario import scenario_of
from tiercut.simulate.traces import Trace, constant, cut_out, trace_of
from tiercut.simulate.world import World, noticed

SCENARIOS = Path(__file__).parent.parent / "examples" / "scenarios"
LIVE = ("neurosurgeon", "edgent", "random", "tiercut", "myopic")


def document(**changes: Any) -> dict[str, Any]:
    """One device, one edge, one cloud; the edge's uplink falls from 50 to 1 Mbps after 10 of 20 seconds."""
    return {
        "format": "tiercut-scenario/1",
        "name": "small",
        "duration_seconds": 20,
        "frames_per_second": 2,
        "seed": 3,
        "profile": {"synthetic": {"seed": 1, "blocks": 8, "device_seconds": 0.6}},
        "nodes": [
            {"id": "d", "tier": "device"},
            {"id": "e", "tier": "edge", "times": 0.4},
            {"id": "c", "tier": "cloud", "times": 0.05},
        ],
        "links": [
            {"from": "d", "to": "e", "mbps": 40, "latency_seconds": 0.003},
            {"from": "e", "to": "c", "mbps": steps([0, 50], [10, 1]), "latency_seconds": 0.02},
        ],
    } | changes


def steps(*points: list[float]) -> dict[str, Any]:
    return {"kind": "steps", "points": list(points)}


def uplink(mbps: object) -> list[dict[str, Any]]:
    first, second = document()["links"]
    return [first, second | {"mbps": mbps}]


def small(**changes: Any) -> Scenario:
    return scenario_of(document(**changes), folder=Path())


def decisions(replay: Replay, until_s: float) -> list[Any]:
    return [(flight.seq, flight.plan) for flight in replay.flights if flight.captured_s < until_s]


def costs(scenario: Scenario) -> dict[str, float]:
    return {replay.policy: replay.cost_s(scenario.timeout_s) for replay in simulate(scenario)}


# ---------------------------------------------------------------------- the whole


def test_same_scenario_and_seed_give_the_same_figures_bit_for_bit() -> None:
    first, second = (json.dumps(report(simulate(small()), small())) for _ in range(2))
    assert first == second


def test_another_seed_gives_other_frames() -> None:
    (one,), (other,) = (simulate(small(seed=seed), ["static"]) for seed in (1, 2))
    assert one.latencies_s != other.latencies_s


@pytest.mark.parametrize("name", ["step", "4g", "outage", "busy-cloud"])
def test_oracle_is_never_worse_on_average_than_any_policy(name: str) -> None:
    found = costs(replace(load_scenario(SCENARIOS / f"{name}.toml"), duration_s=45.0))
    assert found["oracle"] <= min(found.values())


def test_tiercut_is_as_good_as_the_best_fixed_plan_where_a_link_steps_down() -> None:
    found = costs(small())
    assert found["tiercut"] <= 1.05 * found["static"]


def test_policies_do_not_know_the_future_of_a_trace() -> None:
    futures = [small(links=uplink(steps([0, 50], [10, after]))) for after in (0.5, 200)]
    for name in LIVE:
        (one,), (other,) = (simulate(scenario, [name]) for scenario in futures)
        assert decisions(one, 10.0) == decisions(other, 10.0), name


def test_decisions_differ_once_the_future_has_come() -> None:
    futures = [small(links=uplink(steps([0, 50], [10, after]))) for after in (0.5, 200)]
    (one,), (other,) = (simulate(scenario, ["myopic"]) for scenario in futures)
    assert decisions(one, 20.0) != decisions(other, 20.0)


def test_every_frame_has_an_outcome_through_an_outage() -> None:
    outage = {"kind": "outage", "of": 50, "during": [[5, 12]]}
    for replay in simulate(small(links=uplink(outage), timeout_seconds=4)):
        assert [flight.seq for flight in replay.flights] == list(range(40))
        assert None not in {flight.outcome for flight in replay.flights}, replay.policy
        assert all(flight.done_s - flight.captured_s <= 4 + 1e-9 for flight in replay.flights)


def test_tiercut_leaves_a_cloud_that_is_gone_and_comes_back() -> None:
    outage = {"kind": "outage", "of": 50, "during": [[5, 12]]}
    (replay,) = simulate(small(links=uplink(outage), duration_seconds=25), ["tiercut"])
    clouds = {int(flight.captured_s): flight.plan and flight.plan.cloud for flight in replay.flights}
    assert (clouds[4], clouds[10], clouds[20]) == ("c", None, "c")


def test_frame_goes_on_alone_once_the_outage_is_noticed() -> None:
    outage = {"kind": "outage", "of": 50, "during": [[5, 12]]}
    (replay,) = simulate(small(links=uplink(outage)), ["cloud-only"])
    alone = [flight for flight in replay.flights if flight.fallback]
    assert alone
    assert {flight.where for flight in alone} <= {"d", "e"}
    assert min(flight.done_s for flight in alone) >= 6.5


def test_policy_without_nodes_is_left_out_and_refused_by_name() -> None:
    device = document()["nodes"][0]
    alone = small(nodes=[device], links=[])
    assert "edge-only" not in {replay.policy for replay in simulate(alone)}
    with pytest.raises(SettingsError, match="edge-only"):
        simulate(alone, ["edge-only"])


# ---------------------------------------------------------------------- the world


def test_latency_is_what_the_plan_says_where_nothing_waits() -> None:
    scenario = small(noise=0, frames_per_second=0.5, links=uplink(50))
    (replay,) = simulate(scenario, ["static"])
    plan = replay.flights[0].plan
    assert plan is not None
    predicted = sum(stage.seconds for stage in replay.flights[0].stages)
    assert replay.latencies_s == pytest.approx([predicted] * len(replay.flights), abs=1e-5)


def test_frames_wait_for_each_other_and_the_newest_wins() -> None:
    (replay,) = simulate(small(noise=0), ["device-only"])
    assert replay.outcomes()["newer_frame"] > 0
    ends = [flight.done_s for flight in replay.flights if flight.outcome == "result"]
    assert all(b - a >= 0.6 - 1e-9 for a, b in itertools.pairwise(ends))


def test_message_on_a_link_follows_the_rate_as_it_changes() -> None:
    trace = Trace((0.0, 1.0, 2.0), (8.0, 0.0, 2.0))
    assert trace.until_sum(0.0, 4.0) == 0.5
    assert trace.until_sum(0.5, 5.0) == pytest.approx(2.5)
    assert constant(0.0).until_sum(0.0, 1.0) == float("inf")


def test_short_outage_is_not_noticed_and_a_long_one_late() -> None:
    assert noticed(((5.0, 5.5), (8.0, 12.0)), 1.5) == ((9.5, 13.5),)


def test_frame_past_its_deadline_is_dropped_with_that_reason() -> None:
    (replay,) = simulate(small(deadline_seconds=0.3), ["device-only"])
    assert set(replay.outcomes()) <= {"past_deadline", "newer_frame"}


def test_stages_are_those_that_the_coordinator_reads() -> None:
    scenario = small()
    policy = POLICIES["static"](scenario)
    assert policy is not None
    flights: list[Flight] = World(scenario, policy).run()
    kinds = {stage.kind for flight in flights for stage in flight.stages}
    assert kinds <= {"queue", "decode", "compute", "encode", "wire"}


# ---------------------------------------------------------------------- what may be given away

EXITS = [{"name": "early", "cut": 3, "accuracy": 0.8, "head_seconds": 0.01}]


def exits_of(scenario: Scenario, policy: str) -> set[str]:
    (replay,) = simulate(scenario, [policy])
    return {flight.plan.exit for flight in replay.flights[4:] if flight.plan is not None}


@pytest.mark.parametrize("policy", ["tiercut", "edgent", "static", "edge-only", "oracle", "best-fixed"])
def test_exit_is_taken_where_a_deadline_asks_for_it_and_accuracy_allows(policy: str) -> None:
    edge = {"from": "e", "to": "c", "mbps": 0.2, "latency_seconds": 0.02}
    slow = {"links": [document()["links"][0], edge], "exits": EXITS, "deadline_seconds": 0.2}
    assert exits_of(small(**slow, max_accuracy_drop=0.3), policy) == {"early"}
    assert exits_of(small(**slow), policy) <= {"full"}


def test_edgent_takes_the_most_accurate_exit_that_meets_the_deadline() -> None:
    relaxed = small(exits=EXITS, deadline_seconds=2, max_accuracy_drop=0.3)
    assert exits_of(relaxed, "edgent") == {"full"}
    assert exits_of(small(exits=EXITS, max_accuracy_drop=0.3), "edgent") == {"full"}


def test_exit_takes_the_blocks_before_it_and_its_head() -> None:
    scenario = small(exits=EXITS, max_accuracy_drop=0.3, noise=0, links=uplink(50), frames_per_second=0.5)
    (replay,) = simulate(scenario, ["device-only"])
    profile = scenario.site.nodes[0].profile
    assert replay.latencies_s == pytest.approx([profile.cut_seconds[3] + 0.01] * len(replay.flights))


def test_result_after_the_deadline_is_of_no_use_whoever_planned_it() -> None:
    for replay in simulate(small(deadline_seconds=0.25), ["tiercut", "neurosurgeon", "edge-only"]):
        assert all(latency <= 0.25 for latency in replay.latencies_s), replay.policy


def test_result_after_a_deadline_that_no_plan_meets_is_of_no_use_either() -> None:
    (replay,) = simulate(small(deadline_seconds=0.02), ["tiercut"])
    assert replay.outcomes()["past_deadline"] > 0
    assert replay.latencies_s == []


@pytest.mark.parametrize("policy", ["tiercut", "edgent", "neurosurgeon", "static", "oracle"])
def test_codec_that_costs_too_much_is_not_used(policy: str) -> None:
    drops = [{"name": name, "accuracy_drop": 0.02} for name in ("int8+zstd", "jpeg")]
    for limit, allowed in ((0.01, {"raw"}), (0.05, {"raw", "int8+zstd", "jpeg"})):
        (replay,) = simulate(small(codecs=drops, max_accuracy_drop=limit), [policy])
        used = {codec for flight in replay.flights if flight.plan for codec in flight.plan.codecs}
        assert used <= allowed
        assert (used == {"raw"}) == (limit == 0.01)


def test_report_says_how_accurate_results_are() -> None:
    drops = [{"name": "int8+zstd", "accuracy_drop": 0.05}]
    scenario = small(exits=EXITS, deadline_seconds=0.15, max_accuracy_drop=0.3, codecs=drops)
    (figures,) = report(simulate(scenario, ["edge-only"]), scenario)["policies"]
    assert 0.75 <= figures["accuracy"] <= 0.8
    assert "accuracy" in "\n".join(table(simulate(scenario, ["edge-only"]), scenario))
    assert report(simulate(small(), ["static"]), small())["policies"][0]["accuracy"] is None


# ---------------------------------------------------------------------- traces


def test_product_multiplies_traces_each_drawn_by_itself() -> None:
    fluctuating = {"kind": "fluctuating", "median": 5}
    spec = {"kind": "product", "of": [steps([0, 2], [3, 0]), steps([0, 5], [1, 7])]}
    assert trace_of(spec, "x", seed="1", duration_s=9, folder=Path()) == Trace((0, 1, 3), (10, 14, 0))
    twice = trace_of({"kind": "product", "of": [fluctuating] * 2}, "x", seed="1", duration_s=9, folder=Path())
    once = trace_of({"kind": "product", "of": [fluctuating]}, "x", seed="1", duration_s=9, folder=Path())
    assert twice.values != tuple(value**2 for value in once.values)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "fluctuating", "median": 5, "sigma": 0.7},
        {"kind": "markov", "values": [1, 8], "stay": [4, 2]},
        {"kind": "ramp", "points": [[0, 10], [30, 1]]},
    ],
)
def test_longer_trace_of_one_seed_begins_with_the_shorter_one(spec: dict[str, Any]) -> None:
    short, long = (trace_of(spec, "x", seed="7", duration_s=until, folder=Path()) for until in (30, 60))
    assert long.values[: len(short.values)] == short.values
    assert trace_of(spec, "x", seed="7", duration_s=30, folder=Path()) == short


def test_fluctuating_trace_has_the_median_and_stays_in_bounds() -> None:
    spec = {"kind": "fluctuating", "median": 5, "sigma": 0.7, "relax": 3, "least": 1, "most": 20}
    values = sorted(trace_of(spec, "x", seed="1", duration_s=5000, folder=Path()).values)
    assert values[len(values) // 2] == pytest.approx(5, rel=0.1)
    assert (values[0], values[-1]) == (1, 20)


def test_outage_is_zero_and_the_rest_stays() -> None:
    trace = cut_out(Trace((0.0, 10.0), (5.0, 7.0)), [(8.0, 12.0)])
    assert [trace.at(time) for time in (0, 7.9, 8, 11.9, 12)] == [5, 5, 0, 0, 7]
    assert trace.zeros() == ((8.0, 12.0),)
    assert trace.mean(16.0) == pytest.approx((8 * 5 + 4 * 7) / 16)


def test_recorded_trace_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "up.csv").write_text("seconds,mbps\n0,5\n2.5,9\n", encoding="utf-8")
    trace = trace_of({"kind": "file", "path": "up.csv"}, "x", seed="", duration_s=9, folder=tmp_path)
    assert trace == Trace((0.0, 2.5), (5.0, 9.0))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"format": "other"}, "format"),
        ({"fps": 3}, "fps"),
        ({"frames_per_second": 0}, "frames_per_second"),
        ({"links": uplink({"kind": "wave"})}, "links.e.c.mbps"),
        ({"links": uplink(steps([5, 1]))}, "trace"),
        ({"links": document()["links"][:1]}, "links"),
        ({"nodes": document()["nodes"][1:], "links": document()["links"][1:]}, "nodes"),
        ({"objective": "beauty"}, "objective"),
        ({"max_accuracy_drop": 2}, "max_accuracy_drop"),
        ({"exits": [*EXITS, *EXITS]}, r"exits\[1\].name"),
        ({"exits": [EXITS[0] | {"name": "full"}]}, r"exits\[0\].name"),
        ({"exits": [EXITS[0] | {"cut": 8}]}, r"exits\[0\].cut"),
        ({"exits": [EXITS[0] | {"accuracy": 1.2}]}, r"exits\[0\].accuracy"),
        ({"codecs": [{"name": "webp", "accuracy_drop": 0.1}]}, r"codecs\[0\].name"),
        ({"codecs": [{"name": "jpeg", "accuracy_drop": -0.1}]}, r"codecs\[0\].accuracy_drop"),
        ({"links": uplink({"kind": "product", "of": []})}, "links.e.c.mbps.of"),
        ({"links": uplink({"kind": "product", "of": ["x"]})}, r"links.e.c.mbps.of\[0\]"),
        ({"links": uplink({"kind": []})}, "links.e.c.mbps.*kind = one of"),
        ({"links": uplink({"kind": {}})}, "links.e.c.mbps.*kind = one of"),
        ({"links": uplink({"kind": "fluctuating", "median": 5, "every": 1e-320})}, "links.e.c.mbps.every"),
        ({"links": uplink(steps([0, 5]) | {"kind": "ramp", "every": 1e-9})}, "links.e.c.mbps.every"),
        ({"links": uplink(10**400)}, "links.e.c.mbps"),
        ({"profile": {"synthetic": {"blocks": 10**9}}}, "profile.synthetic.blocks.*2 to 1000"),
        ({"format": "tiercut-scenario/2"}, "format.*expected 'tiercut-scenario/1'"),
    ],
)
def test_wrong_scenario_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        small(**changes)


def test_line_is_no_scenario_and_the_message_says_how_to_try_it() -> None:
    with pytest.raises(SettingsError, match=r"'tiercut-scenario/1'.*this is a line.*bench.lines --only dsl"):
        load_scenario(SCENARIOS / "lines" / "dsl.toml")


# ---------------------------------------------------------------------- what people see


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["simulate", *arguments])
    return int(args.run(args))


def test_command_writes_table_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    scenario = tmp_path / "s.json"
    scenario.write_text(json.dumps(document()), encoding="utf-8")
    assert run_command(str(scenario), "--out", str(tmp_path / "o"), "--policies", "static,tiercut,oracle") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[4:7]] == ["static", "tiercut", "oracle"]
    written = json.loads((tmp_path / "o/small.json").read_text(encoding="utf-8"))
    assert [len(policy["flights"]) for policy in written["policies"]] == [40, 40, 40]
    assert (tmp_path / "o/small.png").read_bytes().startswith(b"\x89PNG")


def test_picture_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise builtins.ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(SettingsError, match="pip install matplotlib"):
        draw(simulate(small(), ["static"]), small(), tmp_path / "x.png")


def test_table_fits_a_terminal() -> None:
    assert all(len(line) <= 100 for line in table(simulate(small(), ["static", "oracle"]), small()))


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_scenario_can_be_read_and_something_moves(path: Path) -> None:
    scenario = load_scenario(path)
    traces = [link.mbps for link in scenario.links.values()] + list(scenario.slowdowns.values())
    assert scenario.name == path.stem
    assert any(len(trace.values) > 1 for trace in traces)
