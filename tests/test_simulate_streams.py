"""Several streams in one simulated site: they share nodes and lines, and each frame still has one outcome."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.test_simulate import document, small
from tiercut.errors import SettingsError
from tiercut.simulate import Replay, Scenario, simulate
from tiercut.simulate.report import report, table
from tiercut.simulate.run import FOR_ONE, POLICIES
from tiercut.simulate.scenario import scenario_of


def cameras(count: int, **changes: Any) -> Scenario:
    """So many devices with a stream each, two edges of which one is faster, one cloud behind an uplink of 3 Mbps."""
    names = [f"cam{k}" for k in range(count)]
    edges = [{"id": "e", "tier": "edge", "times": 0.3}, {"id": "f", "tier": "edge", "times": 0.35}]
    fields: dict[str, Any] = {
        "nodes": [
            *({"id": f"d-{name}", "tier": "device"} for name in names),
            *edges,
            {"id": "c", "tier": "cloud", "times": 0.05},
        ],
        "lines": [{"name": "uplink", "mbps": 3}],
        "links": [
            {"from": "device", "to": "edge", "mbps": 100, "latency_seconds": 0.002},
            {"from": "edge", "to": "cloud", "line": "uplink", "latency_seconds": 0.02},
        ],
        "streams": [{"name": name, "device": f"d-{name}"} for name in names],
    }
    return scenario_of(document(**fields) | changes, folder=Path())


def mean_s(replay: Replay, stream: str) -> float:
    taken = [flight.latency_s for flight in replay.flights if flight.stream == stream and flight.latency_s is not None]
    return sum(taken) / len(taken)


def test_every_frame_of_every_stream_has_one_outcome() -> None:
    for replay in simulate(cameras(3)):
        assert len(replay.flights) == 3 * 40
        assert None not in {flight.outcome for flight in replay.flights}, replay.policy
        assert {flight.stream for flight in replay.flights} == {"cam0", "cam1", "cam2"}


def test_one_stream_that_is_named_is_as_one_that_is_not() -> None:
    named = small(noise=0, streams=[{"name": "cam", "device": "d"}])
    for one, other in zip(simulate(named), simulate(small(noise=0)), strict=True):
        assert one.policy == other.policy
        if one.policy != "random":
            assert one.latencies_s == other.latencies_s, one.policy


def test_streams_wait_for_each_other_at_a_node_that_they_share() -> None:
    alone, together = (simulate(cameras(count, noise=0), ["edge-only"])[0] for count in (1, 6))
    assert mean_s(together, "cam0") > 1.2 * mean_s(alone, "cam0")


def test_newest_frame_replaces_those_of_its_own_stream_only() -> None:
    (replay,) = simulate(cameras(4, noise=0), ["device-only"])
    shares = [
        sum(flight.outcome == "result" for flight in replay.flights if flight.stream == f"cam{k}") for k in range(4)
    ]
    assert max(shares) - min(shares) <= 1


def two_cameras(**uplink: Any) -> Scenario:
    """Two devices with a raw frame of 15 kB twice a second each, straight to the cloud."""
    links = [
        {"from": "device", "to": "edge", "mbps": 0.1},
        {"from": "edge", "to": "cloud", "mbps": 0.1},
        {"from": "device", "to": "cloud", "latency_seconds": 0.02, **uplink},
    ]
    return cameras(2, links=links, lines=[{"name": "uplink", "mbps": 0.4}], noise=0)


def test_links_of_one_line_send_one_message_at_a_time() -> None:
    """A frame is 0.3 s on the wire: each link alone carries two a second, the line of both does not carry four."""
    shared, separate = (
        simulate(two_cameras(**uplink), ["cloud-only"])[0] for uplink in ({"line": "uplink"}, {"mbps": 0.4})
    )
    assert separate.outcomes() == {"result": 80}
    assert max(separate.latencies_s) < 0.5
    assert statistics.median(shared.latencies_s) > 0.5


def test_coordinator_spreads_streams_where_each_alone_would_take_the_same_edge() -> None:
    found = {
        replay.policy: replay
        for replay in simulate(cameras(6, lines=[{"name": "uplink", "mbps": 0.2}]), ["static", "tiercut"])
    }
    assert {flight.plan.edge for flight in found["static"].flights if flight.plan} == {"e"}
    assert {"e", "f"} <= {flight.plan.edge for flight in found["tiercut"].flights if flight.plan}
    assert found["tiercut"].cost_s(10) < found["static"].cost_s(10)


def test_yardsticks_of_one_stream_are_left_out_and_refused_by_name() -> None:
    assert {replay.policy for replay in simulate(cameras(2))} == set(POLICIES) - FOR_ONE
    with pytest.raises(SettingsError, match="oracle"):
        simulate(cameras(2), ["oracle"])


def test_stream_has_its_own_rate_deadline_and_cut() -> None:
    own = {"name": "fast", "device": "d", "frames_per_second": 4, "min_first_cut": 2, "deadline_seconds": 0.4}
    scenario = small(streams=[own, {"name": "slow", "device": "d", "frames_per_second": 1}])
    (replay,) = simulate(scenario, ["tiercut"])
    fast = [flight for flight in replay.flights if flight.stream == "fast"]
    assert (len(fast), len(replay.flights)) == (80, 100)
    assert all(flight.plan.first_cut >= 2 for flight in fast if flight.plan)
    assert all(flight.latency_s <= 0.4 for flight in fast if flight.latency_s is not None)


def test_report_has_the_figures_of_each_stream() -> None:
    scenario = cameras(2)
    replays = simulate(scenario, ["edge-only"])
    (figures,) = report(replays, scenario)["policies"]
    assert figures["streams"]["cam1"]["frames"] == 40
    assert figures["streams"]["cam1"]["cost_ms"] > 0
    assert "4 frames/s of 2 streams" in "\n".join(table(replays, scenario))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"streams": [{"name": "x", "device": "nobody"}]}, r"streams\[0\].device"),
        ({"streams": [{"name": "x", "device": "d-cam0"}] * 2}, r"streams\[1\].name"),
        ({"streams": [{"name": "a/b", "device": "d-cam0"}]}, r"streams\[0\].name"),
        ({"streams": [{"name": "x", "device": "d-cam0", "objective": "fun"}]}, r"streams\[0\].objective"),
        ({"streams": []}, "nodes"),
        ({"lines": []}, "line"),
        ({"lines": [{"name": "uplink", "mbps": "fast"}]}, "lines.uplink.mbps"),
        ({"lines": [{"name": "uplink", "mbps": 3}] * 2}, r"lines\[1\].name"),
        ({"links": [{"from": "device", "to": "edge", "line": "uplink", "mbps": 3}]}, r"links\[0\].mbps"),
    ],
)
def test_wrong_streams_and_lines_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        cameras(2, **changes)
