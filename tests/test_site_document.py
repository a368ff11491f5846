"""Problems of many streams as JSON has them: read, answered, refused, and shown by ``tiercut plan``."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import tiercut
from tiercut.cli import main
from tiercut.errors import SettingsError
from tiercut.planner import solve
from tiercut.planner.document import read_problem
from tiercut.planner.site.document import read_site, solve_site

EXAMPLE = Path(__file__).parent / "data" / "plan_site" / "three-cameras-share-an-uplink.json"
Keys = tuple[str | int, ...]


def example() -> dict[str, Any]:
    problem: dict[str, Any] = json.loads(EXAMPLE.read_text())["problem"]
    return problem


def changed(where: Keys, value: object) -> dict[str, Any]:
    problem = copy.deepcopy(example())
    at: Any = problem
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    return problem


def test_example_has_its_answer() -> None:
    wanted, answer = json.loads(EXAMPLE.read_text())["answer"], solve_site(example())
    assert answer["feasible"] == wanted["feasible"]
    assert answer["frames_per_second"] == pytest.approx(wanted["frames_per_second"], rel=1e-5)
    for stream, other in zip(answer["streams"], wanted["streams"], strict=True):
        assert stream["name"] == other["name"]
        assert stream["frames_per_second"] == pytest.approx(other["frames_per_second"], rel=1e-5)
        assert sum(way["frames_per_second"] for way in stream["ways"]) == pytest.approx(stream["frames_per_second"])
    assert max(answer["load"].values()) <= 0.85 + 1e-6


def test_stream_that_has_not_all_says_what_is_short() -> None:
    front, yard, gate = solve_site(example())["streams"]
    assert {"edge", "uplink"} <= set(yard["short"])
    assert front["short"] == gate["short"] == []


def test_stream_takes_its_own_device_limits_codecs_and_destination() -> None:
    problem = example()
    problem["streams"][1]["codecs"] = []
    front, yard, gate = (stream.problem for stream in read_site(problem).streams)
    assert (front.device.id, yard.device.id) == ("cam-1", "cam-2")
    assert {node.id for node in front.nodes} == {"cam-1", "edge", "cloud"}
    assert (yard.min_first_cut, yard.deadline_seconds) == (1, 0.3)
    assert ([codec.name for codec in front.codecs], [codec.name for codec in yard.codecs]) == (
        ["raw", "int8+zstd"],
        ["raw"],
    )
    assert front.way_back is None
    assert gate.way_back is not None
    assert gate.way_back.seconds == {"cam-3": 0.0, "edge": 0.001, "cloud": pytest.approx(0.02)}


def test_streams_may_have_several_models() -> None:
    problem = example()
    small = {"name": "small", "variants": [{"name": "tiny", "cut_bytes": [60000, 100]}]}
    problem["models"] = [problem.pop("model"), small]
    for node in problem["nodes"]:
        node["block_seconds"]["tiny"] = [0.01]
    for stream, model in zip(problem["streams"], ("detector", "small", "small"), strict=True):
        stream |= {"model": model, "constraints": {}}
    streams = solve_site(problem)["streams"]
    assert [{way["variant"] for way in stream["ways"]} for stream in streams] == [{"full"}, {"tiny"}, {"tiny"}]


def in_batches(frames: int, seconds: list[float]) -> dict[str, Any]:
    """The example whose cloud node computes several frames at once."""
    problem = example()
    cloud = next(node for node in problem["nodes"] if node["id"] == "cloud")
    cloud |= {"batch": frames, "batch_block_seconds": {"full": seconds}}
    return problem


def test_node_that_computes_frames_together_has_room_for_more_and_takes_longer() -> None:
    problem = example()
    problem["lines"], problem["links"] = [], [each | {"mbps": 1000} for each in problem["links"]]
    for stream in problem["streams"]:
        stream |= {"frames_per_second": None, "constraints": {"min_first_cut": 0}}
    for node in problem["nodes"]:
        if node["tier"] == "device":
            node["memory_mb"] = 0
        if node["id"] == "edge":
            node["block_seconds"] = {}
    cloud = next(node for node in problem["nodes"] if node["id"] == "cloud")
    single_s = sum(cloud["block_seconds"]["full"])
    answer = solve_site(problem)
    cloud |= {"batch": 4, "batch_block_seconds": {"full": [2 * each for each in cloud["block_seconds"]["full"]]}}
    batched = solve_site(problem)
    assert batched["frames_per_second"] == pytest.approx(2 * answer["frames_per_second"], rel=1e-4)
    (way, *_), (other, *_) = batched["streams"][0]["ways"], answer["streams"][0]["ways"]
    assert way["latency_seconds"] - other["latency_seconds"] == pytest.approx(single_s)


def test_batch_that_is_later_than_the_deadline_is_not_used() -> None:
    problem = in_batches(8, [1.0, 1.0, 1.0])
    for stream in problem["streams"]:
        stream["constraints"] = {"deadline_seconds": 0.9}
    answer = solve_site(problem)
    assert answer["feasible"]
    assert all(way["cloud"] is None for stream in answer["streams"] for way in stream["ways"])


def test_one_stream_alone_has_no_batches() -> None:
    problem = in_batches(2, [0.1, 0.1, 0.1])
    for name in ("streams", "lines", "taken", "filled"):
        problem.pop(name, None)
    problem["nodes"] = [node for node in problem["nodes"] if node["id"] not in {"cam-2", "cam-3"}]
    with pytest.raises(SettingsError, match=r"batch'.*'streams' beside it"):
        read_problem(problem | {"objective": "latency"})


def test_stream_without_a_plan_says_what_no_memory_holds() -> None:
    problem = example()
    for node in problem["nodes"]:
        node["memory_mb"] = 8
    answer = solve_site(problem)
    assert answer["feasible"] is False
    assert all(stream["ways"] == [] for stream in answer["streams"])
    assert {each["constraint"] for each in answer["streams"][0]["violates"]} == {"memory_mb"}


def test_one_stream_alone_gets_at_least_what_its_best_single_plan_gives() -> None:
    problem = example()
    problem["streams"] = [problem["streams"][0] | {"frames_per_second": None}]
    problem["lines"] = []
    site = read_site(problem)
    single = site.filled / solve(site.streams[0].problem).longest_stage_seconds
    assert solve_site(problem)["frames_per_second"] > 1.5 * single


WRONG: list[tuple[Keys, Any, str]] = [
    (("streams",), [], "'streams'.*at least one"),
    (("streams", 0, "device"), "cam-9", "'streams.0..device'.*cam-1, cam-2, cam-3"),
    (("streams", 0, "device"), "edge", "'streams.0..device'.*cam-1, cam-2, cam-3"),
    (("streams", 0, "model"), "other", "'streams.0..model'.*detector"),
    (("streams", 1, "name"), "front", "'streams.1..name'.*no other has"),
    (("streams", 0, "frames_per_second"), -1, "'streams.0..frames_per_second'.*greater than 0"),
    (("streams", 0, "frames_per_second"), 0, "'streams.0..frames_per_second'.*greater than 0"),
    (("streams", 0, "weight"), 0, "'streams.0..weight'.*0.001 to 1000"),
    (("streams", 0, "weight"), 1e12, "'streams.0..weight'.*0.001 to 1000"),
    (("streams", 0, "codecs"), ["jpeg"], "'streams.0..codecs.0.'.*raw, int8"),
    (("streams", 0, "destination"), "home", "'streams.0..destination'.*device, site, cloud"),
    (("streams", 0, "constraints"), {"deadline": 1}, "'streams.0..constraints.deadline'.*deadline_seconds"),
    (("streams", 0, "frames_per_seconds"), 3, "'streams.0..frames_per_seconds'.*'frames_per_second'"),
    (("lines", 0, "mbps"), -1, "'lines.0..mbps'.*at least 0"),
    (("lines", 0, "links"), [["cam-1", "cam-2"]], "'lines.0..links.0.'.*cam-1 to edge"),
    (("lines", 0, "links"), [], "'lines.0..links'.*at least one link"),
    (("lines", 0, "links"), [["cam-1"]], r"'lines.0..links.0.'.*\[from, to\]"),
    (("lines", 0, "links"), [["cam-1", "cloud", "edge"]], r"'lines.0..links.0.'.*\[from, to\]"),
    (("lines", 0, "links"), [["cam-1", 3]], r"'lines.0..links.0.'.*\[from, to\]"),
    (("lines", 0, "links"), [["cam-1", {"a": 1}]], r"'lines.0..links.0.'.*\[from, to\]"),
    (("lines", 0, "links"), "uplink", "'lines.0..links'.*a list"),
    (("streams", 0, "codecs"), [3], "'streams.0..codecs.0.'.*a text"),
    (("nodes",), [], "'nodes'.*at least one"),
    (("lines", 0, "name"), "edge", "shared line 'edge'.*name of its own"),
    (("taken",), {"edge": 2}, "'taken"),
    (("taken",), {"uplnk": 0.5}, "'taken.uplnk'.*cam-1 -> edge.*uplink"),
    (("taken",), {"edge -> cam-1": 0.5}, "'taken.edge -> cam-1'.*a node, a link or a line"),
    (("filled",), 1.5, "'filled'.*at most 1"),
    (("models",), [], "'models'.*either 'model' or 'models'"),
    (("objective",), "latency", "'objective'.*fair rates"),
    (("constraints",), {}, "'constraints'.*each stream's own"),
    (("nodes", 0, "batch"), 4, "nodes.0..batch_block_seconds'.*both"),
    (("nodes", 0, "batch"), 0, "'nodes.0..batch'.*1 to 4096"),
    (("nodes", 0, "batch_block_seconds"), {"full": [1, 1, 1]}, "nodes.0..batch'.*both"),
    (("nodes", 0, "batches"), 4, "'nodes.0..batches'.*'batch'"),
    (("nodes", 0, "memory_mb"), -4, "memory_mb'.*at least 0"),
    (("model", "variants", 0, "block_weights_mb"), [1], "block_weights_mb'.*3 numbers"),
    (("model", "variants", 0, "block_weight_mb"), [1], "'block_weights_mb'"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG)
def test_wrong_field_is_named_with_what_was_expected(where: Keys, value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        solve_site(changed(where, value))


@pytest.mark.parametrize("name", ["edge", "cam-1 -> edge", "uplink"])
def test_nodes_links_and_lines_may_be_taken(name: str) -> None:
    free, taken = solve_site(example())["load"], solve_site(changed(("taken",), {name: 0.5}))["load"]
    assert taken[name] >= 0.5
    assert free[name] <= 0.85 + 1e-6


@pytest.mark.parametrize(("name", "value"), [("lines", []), ("taken", {}), ("filled", 0.5), ("models", [])])
def test_part_of_a_site_without_streams_says_what_is_missing(name: str, value: object) -> None:
    problem = json.loads((EXAMPLE.parent.parent / "plan" / "no-node-holds-it-alone.json").read_text())["problem"]
    with pytest.raises(SettingsError, match=f"'{name}'.*'streams' beside it.*add 'streams'"):
        tiercut.solve(problem | {name: value})


def test_function_for_one_stream_says_so() -> None:
    with pytest.raises(SettingsError, match=r"'streams'.*one stream"):
        tiercut.solve(example())


def test_person_sees_ways_and_what_is_busy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLE)]) == 0
    shown = capsys.readouterr().out
    assert "3 streams   51.63 frames/s in all" in shown
    assert "yard   16.63 of 30 frames/s   short: edge, uplink" in shown
    assert "uplink           85.0%" in shown
    assert main(["plan", str(EXAMPLE), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["streams"]) == 3
    assert main(["plan", str(EXAMPLE), "--top", "2"]) == 2


def test_exit_status_3_where_a_stream_has_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = example()
    problem["nodes"][1] |= {"memory_mb": 1}
    path = tmp_path / "site.json"
    path.write_text(json.dumps(problem))
    assert main(["plan", str(path)]) == 3
    shown = capsys.readouterr().out
    assert "yard   0 of 30 frames/s" in shown
    assert "no plan" in shown
