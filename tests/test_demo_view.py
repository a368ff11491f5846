"""What the demo draws: a site's sentence, a row per camera, its last changes of plans, on terminals of all sizes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from msgspec import structs

pytest.importorskip("rich")

from rich.console import Console

from tiercut.cli.demo_full import cameras_of
from tiercut.cli.demo_full_view import screen, story_words
from tiercut.cli.demo_seen import CameraSeen, Seen, way_words
from tiercut.cli.demo_table import fitted
from tiercut.cli.demo_view import About, JsonLines, plan_words
from tiercut.plan import Plan
from tiercut.protocol.capacity import SiteCapacity, StreamRoom
from tiercut.protocol.nodes import OtherPlan, StreamPlan

HINT = "mosquitto_sub -p 52681 -V 5 -t tiercut/v1/demo/stream/+/result"
NOTICE = "EMULATED: a frame takes a camera 380 ms, the edge 110 ms, the cloud 40 ms"
ABOUT = About(words="net on 6 cameras, an edge and a cloud node", emulated=NOTICE, hint=HINT)
MESSAGE = "this site: 31.2 frames/s, edge alone: 8.6, cloud alone: 8.6, devices alone: 15, bound: 33.9"
SHORT = "the processor of edge/edge-1 is short: 6 streams ask for 36 frames/s, the site has room for 32"
END = 98
NOW_S = 1000.0


def plan(camera: str, first: int, second: int, *, edge: bool = False, cloud: bool = False) -> Plan:
    hops = ("int8+zstd",) * (edge + cloud)
    return Plan(
        epoch=3,
        first_cut=first,
        second_cut=second,
        device=camera,
        edge="edge-1" if edge else None,
        cloud="cloud-1" if cloud else None,
        codecs=hops,
    )


def plans(camera: str, *, reason: str = "the site is full") -> StreamPlan:
    """62 % on the edge, 38 % on the camera."""
    return StreamPlan(
        stream=camera,
        model="a" * 64,
        model_name="net",
        plan=plan(camera, 0, END, edge=True),
        others=(OtherPlan(plan=plan(camera, END, END), share=0.38),),
        frames_per_second=5.2,
        reason=reason,
    )


def result(stream: str, seq: int = 0, latency_ms: float | None = 286.166) -> dict[str, Any]:
    return {
        "stream": stream,
        "seq": seq,
        "label": "motorcycle_left.jpg",
        "labels": [{"class": 670, "label": "motor scooter", "score": 0.47}],
        "plan": {"first_cut": 14, "second_cut": 98, "device": stream, "edge": "edge-1", "cloud": None},
        "stages": [{"where": stream, "kind": "compute", "ms": 137.04}, {"where": "edge-1", "kind": "wire", "ms": 9}],
        "latency_ms": latency_ms,
    }


def capacity(names: tuple[str, ...]) -> SiteCapacity:
    room = StreamRoom(asked=6, room=5.3, measured=5.2, ways=2)
    devices = {f"device/{name}": 0.95 for name in names}
    return SiteCapacity(
        message=MESSAGE,
        measured=31.2,
        planned=32.1,
        bound=33.9,
        edges_alone=8.6,
        cloud_alone=8.6,
        devices_alone=15,
        as_one=True,
        load={"edge/edge-1": 0.95, "edge/edge-1 -> cloud/cloud-1": 0.9, "cloud/cloud-1": 0.1, **devices},
        short=[f"{SHORT}, 5.{index} of them for '{name}'" for index, name in enumerate(names)],
        streams=dict.fromkeys(names, room),
    )


def site(cameras: int = 6) -> Seen:
    names = cameras_of(cameras)
    seen = Seen({name: CameraSeen() for name in names}, began_s=NOW_S - 47)
    for name in names:
        seen.plan(plans(name), NOW_S - 30)
        for index in range(40):  # 5 a second
            seen.result(json.dumps(result(name, index, 400.0 + index)).encode(), NOW_S - 8 + (index + 1) / 5)
    seen.capacity = capacity(names)
    return seen


def drawn(seen: Seen, width: int, height: int) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    console.print(screen(console, ABOUT, seen, 6.0, NOW_S))
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_site_fits_a_terminal_with_a_row_for_each_camera(width: int, height: int) -> None:
    lines = drawn(site(), width, height)
    text = " ".join(" ".join(lines).split())
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    for wanted in (NOTICE, MESSAGE, SHORT.replace("edge/", ""), "47 s: the uplink has narrowed", HINT):
        assert wanted in text
    assert sum(line.startswith("camera-") for line in lines) == 6


def test_row_of_a_camera_says_how_many_frames_where_and_how_late() -> None:
    row = next(line for line in drawn(site(), 120, 40) if line.startswith("camera-2"))
    words = "camera-2 5.0 6 5.3 62 % edge-1, 38 % camera-2 427 motorcycle_left.jpg motor scooter 0.47"
    assert " ".join(row.split()) == words
    row = next(line for line in drawn(site(), 80, 24) if line.startswith("camera-2"))
    assert " ".join(row.split()).startswith("camera-2 5.0 6 5.3 62 % edge, 38 % camera 427 motor sc")


def test_sixteen_cameras_have_their_rows_on_a_small_terminal() -> None:
    lines = drawn(site(16), 80, 24)
    assert sum(line.startswith("camera-") for line in lines) == 16
    assert len(lines) < 24
    assert MESSAGE in " ".join(" ".join(lines).split())


def test_camera_that_falls_silent_is_at_nothing_five_seconds_later() -> None:
    seen = site()
    assert seen.per_second("camera-1", NOW_S) == pytest.approx(5.0)
    assert seen.per_second("camera-1", NOW_S + 2.5) == pytest.approx(2.4, abs=0.3)
    assert seen.per_second("camera-1", NOW_S + 5.1) == 0
    assert seen.latency_ms("camera-1") is None


def test_one_reason_for_all_cameras_is_one_change() -> None:
    seen = site()
    assert [(change.who, change.reason) for change in seen.changes] == [("6 cameras", "the site is full")]
    seen.plan(plans("camera-2", reason="edge/edge-1 is gone"), NOW_S - 1)
    seen.plan(plans("camera-3"), NOW_S)  # as before, but much later
    assert [change.who for change in seen.changes] == ["6 cameras", "camera-2", "camera-3"]
    lines = drawn(seen, 120, 40)
    assert " 46 s  camera-2: edge-1 is gone" in lines
    assert lines.index(" 46 s  camera-2: edge-1 is gone") < lines.index(" 17 s  6 cameras: the site is full")


def test_all_cameras_and_their_links_are_one_part_of_the_site() -> None:
    assert site().busy() == [("edge-1", 0.95), ("cameras", 0.95), ("edge-1 → cloud-1", 0.9)]


def test_what_is_wrong_with_a_camera_is_shown() -> None:
    seen = site()
    seen.cameras["camera-4"].trouble = ["no node has device/camera-4's model"]
    assert "camera-4: no node has camera-4's model" in drawn(seen, 80, 24)


def test_results_of_other_streams_are_no_cameras() -> None:
    seen = site()
    seen.result(json.dumps(result("gate")).encode(), NOW_S)
    seen.plan(plans("gate"), NOW_S)
    assert "gate" not in " ".join(drawn(seen, 120, 40))


def test_ways_name_who_computes() -> None:
    cut, relayed = plan("camera-1", 14, 65, edge=True, cloud=True), plan("camera-1", 0, 0, edge=True, cloud=True)
    assert way_words([(cut, 1.0)], whole_names=True) == "camera-1 → edge-1 → cloud-1"
    assert (
        way_words([(relayed, 0.7), (plan("camera-1", END, END), 0.3)], whole_names=False) == "70 % cloud, 30 % camera"
    )
    other = structs.replace(relayed, codecs=("jpeg", "jpeg"))
    assert way_words([(relayed, 0.7), (other, 0.3)], whole_names=True) == "cloud-1"


def test_story_says_what_is_true_now() -> None:
    assert story_words(0.0) == "0 s: the uplink carries 1.2 Mbit/s; the story goes on at 30 s"
    assert story_words(59.9).startswith("60 s: the uplink has narrowed to 0.4 Mbit/s")
    assert story_words(500.0) == "500 s: the edge is as slow as at first"


def test_plan_is_said_with_all_its_ways_and_room() -> None:
    assert plan_words(plans("camera-1", reason="edge/edge-1 is busy")) == (
        "camera-1, plan 3: 62% device → edge, cuts 0 and 98, int8+zstd, 38% device, cuts 98 and 98, nothing is sent, "
        "5.2 frames/s: edge-1 is busy"
    )


def test_json_lines_say_what_is_short_once_and_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    view, said = JsonLines(), capacity(("camera-1", "camera-2"))
    for each in (said, said, structs.replace(said, short=[])):
        view.capacity(each)
    for trouble in ((), ("edge/e is 1.8 times too slow",), ("edge/e is 2.1 times too slow",), (), ()):
        view.trouble("camera-1", trouble)
    short = SHORT.replace("edge/", "")
    over = "camera-1: all is well again"
    wanted = [MESSAGE, short, MESSAGE, MESSAGE, "all is well again", "camera-1: e is 1.8 times too slow", over]
    assert capsys.readouterr().err.splitlines() == wanted


def drawn_by_hand(width: int, height: int) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    about = About(words="net · device [0, 14) → edge [14, 98)", emulated="EMULATED links: 20 Mbit/s", hint=HINT)
    console.print(fitted(console, about, [result("camera", seq) for seq in range(100)]))
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return lines


def test_results_of_cuts_by_hand_fit_a_small_terminal() -> None:
    lines = drawn_by_hand(80, 24)
    assert len(lines) == 23
    assert f"from outside: {HINT}" in [line.rstrip() for line in lines]
    assert lines[-1].startswith(" 99 14, 98 ")
    assert lines[-1].rstrip().endswith(" 286.2")


def test_results_of_cuts_by_hand_fill_a_tall_terminal_and_one_is_left_on_a_tiny_one() -> None:
    lines = drawn_by_hand(140, 50)
    assert len(lines) == 49
    assert sum("motorcycle_left.jpg" in line for line in lines) > 40
    assert drawn_by_hand(80, 6)[-1].rstrip().endswith(" 286.2")
