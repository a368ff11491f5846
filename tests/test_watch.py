"""What ``tiercut watch`` draws: on a small terminal what matters first, and nothing below its edge."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

pytest.importorskip("rich")

from rich.console import Console

from tiercut.cli.watch_state import Known
from tiercut.cli.watch_view import TURN_S, screen, trouble_in
from tiercut.plan import Tier
from tiercut.protocol.nodes import NodeStatus

EMULATED = "emulated link: 1.1 Mbps, 3 ms; emulated slowdown: 10"


def explanation(stream: str = "camera", **more: Any) -> dict[str, Any]:
    ways = ("device-only", "edge-only", "cloud-only", "best-single-cut")
    answer = {"feasible": True, "first_cut": 14, "second_cut": 98, "latency_seconds": 0.5439}
    link = {"from": "device/device-1", "to": "edge/edge-1", "mbps": 1.12, "mbps_std": 0.07, "latency_seconds": 0.0067}
    node = {"id": "edge/edge-1", "slowdown": 2.02, "queue_seconds": 0.0}
    reason = "latency 199.9 → 91.3 ms; device/device-1 → edge/edge-1: 51.5 → 3.49 Mbps, 5.29 → 5.64 ms"
    return {
        "stream": stream,
        "objective": "latency",
        "control": "auto",
        "plan": {"edge": "edge/edge-1", "cloud": None, "first_cut": 14, "second_cut": 98, "codecs": [], "epoch": 5},
        "measured_ms": 303.72,
        "predicted": {"latency_seconds": 0.0913, "stages": [{"where": "device/device-1", "seconds": 0.0164}]},
        "alternatives": dict.fromkeys(ways, answer),
        "links": [link, link],
        "nodes": [node] * 3,
        "changes": [{"epoch": epoch, "reason": reason} for epoch in range(1, 6)],
    } | more


def known(*streams: dict[str, Any], edges: int = 1) -> Known:
    site = Known("demo")
    site.explanations = {said["stream"]: said for said in streams}
    between: list[tuple[Tier, str]] = [("edge", f"edge-{n + 1}") for n in range(edges)]
    names: list[tuple[Tier, str]] = [("device", "device-1"), *between, ("cloud", "cloud-1")]
    for tier, name in names:
        link = EMULATED if tier == "device" else None
        state: Any = "offline" if name == "edge-9" else "online"
        site.nodes[tier, name] = NodeStatus(node=name, tier=tier, state=state, version="1", emulated_link=link)
    return site


def drawn(site: Known, now_s: float = 0.0, *, width: int = 80, height: int = 24) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, height=height)
    console.print(screen(site, console, now_s))
    return file.getvalue().splitlines()


def test_small_terminal_shows_plan_reason_times_alternatives_and_links() -> None:
    lines = drawn(known(explanation()))
    text = "\n".join(lines)
    assert len(lines) <= 24
    for wanted in ("plan 5: device → edge-1, cuts 14 and 98", "why  plan 5: latency 199.9 → 91.3 ms", "predicted 91.3"):
        assert wanted in text
    for wanted in ("measured  303.7 ms", "best-single-cut", "543.9", "links  device-1 → edge-1 1.12", "loads  edge-1"):
        assert wanted in text
    assert "EMULATED 1.1 Mbps, 3 ms; 10x slower" in text
    assert "device/" not in text


def test_what_is_short_is_shown_whole_and_of_other_streams_in_one_line() -> None:
    short = {"message": "the processor of edge/edge-1 is short by a factor of 1.8: 25 frames/s of 72 ms each"}
    text = " ".join(" ".join(drawn(known(explanation(short=short)))).replace("│", "").split())
    assert "the processor of edge-1 is short by a factor of 1.8: 25 frames/s of 72 ms each" in text
    others = drawn(known(explanation(), explanation("other", short=short)))
    assert any(line.startswith("other: the processor of edge-1 is short") for line in others)


def test_what_has_no_room_is_named() -> None:
    lines = drawn(known(explanation(trouble="no edge answers", warnings=["edge-1: a clock that jumps"] * 3)))
    assert len(lines) <= 24
    assert any("no edge answers" in line for line in lines)
    assert "a taller window shows: " in lines[-1]
    assert "older changes" in lines[-1]


def test_tall_terminal_shows_all_streams_whole() -> None:
    text = "\n".join(drawn(known(explanation("camera"), explanation("door")), width=140, height=70))
    for wanted in ("stream camera", "stream door", "plan 1: latency"):
        assert wanted in text
    assert "next in" not in text
    assert "taller" not in text


def test_streams_take_turns_on_a_small_terminal() -> None:
    site = known(explanation("camera"), explanation("door"), explanation("yard", trouble="edge-1 is away"))
    first, second = (drawn(site, now_s) for now_s in (2.0, TURN_S + 2))
    assert first[0] == "site demo · stream 1 of 3, next in 4 s"
    assert second[0] == "site demo · stream 2 of 3, next in 4 s"
    assert any("stream door: least latency" in line for line in second)
    assert "yard: edge-1 is away" in second
    assert max(len(first), len(second)) <= 24


def test_of_many_nodes_those_away_are_shown() -> None:
    lines = drawn(known(explanation(), edges=20))
    assert len(lines) <= 24
    assert any(line.startswith("edge edge-9") and "offline" in line for line in map(" ".join, map(str.split, lines)))
    assert "and 16 nodes more, 16 of them online" in lines


def test_site_without_streams_says_so() -> None:
    assert "no stream of site 'demo' has said anything yet (is the hub running?)" in drawn(known())


def test_explanation_has_its_trouble_and_what_is_short() -> None:
    assert trouble_in({"trouble": None, "short": None}) == []
    assert trouble_in({"trouble": "no edge", "short": {"message": "a line is short"}}) == ["no edge", "a line is short"]
