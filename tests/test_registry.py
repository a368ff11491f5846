"""The registry's decisions: who reads which sensor, what is refused, what is said; without buses."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET, structs

from broker.registry.actions import Action, Assign, PlanStream, Remove, SayStatus, Unplan
from broker.registry.core import Registry
from broker.registry.events import (
    AssignmentFailed,
    AssignmentHeard,
    EdgeHeard,
    Event,
    ModelsFound,
    PlanTroubles,
    ReaderHeard,
    ReportHeard,
    StatusForgotten,
    StreamFixed,
    StreamWanted,
    Tick,
)
from broker.registry.placement import AWAY_S, BALANCE_S
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import NodeState, NodeStatus
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport, StreamStatus, decode_assigned, encode_assigned


class World:
    """A registry, its clock, and what it has said."""

    def __init__(self, bundle: Bundle, **more: Any) -> None:
        self.models: dict[str, Bundle] = {bundle.name: bundle}
        self.model = bundle.model
        self.events: list[Event] = []
        self.actions: list[Sequence[Action]] = []
        self.registry = Registry(log=self.events, **more)
        self.handle(ModelsFound(self.models.copy()))
        self.now_s = 100.0
        self.assigned: dict[str, list[str]] = {}
        self.status: dict[str, StreamStatus] = {}
        self.planned: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.unplanned: list[str] = []
        self.said = 0

    def handle(self, event: Event) -> Sequence[Action]:
        actions = self.registry.handle(event)
        self.actions.append(actions)
        self.registry.validate_state()
        return actions

    def wants(self, name: str, **more: Any) -> None:
        settings = {"model": "chain", "sensor": "mqtt", "topic": f"cam/{name}", **more}
        self.handle(StreamWanted(name, json.dumps(settings).encode()))

    def node(self, name: str, state: Any = "online", *, gateway: bool = True) -> None:
        status = NodeStatus(node=name, tier="device", state=state, version="1", gateway=gateway)
        if gateway:
            self.handle(EdgeHeard(name))
        self.handle(ReaderHeard(status, self.now_s))

    def report(self, stream: str, node: str, state: Any = "running", **more: Any) -> None:
        said = {"model": self.model} | more
        self.handle(ReportHeard(SourceReport(stream=stream, node=node, state=state, **said)))

    def tick(self, after_s: float = 0.25) -> None:
        self.now_s += after_s
        self.handle(ModelsFound(self.models.copy()))
        for action in self.handle(Tick(self.now_s, 1e9 + self.now_s)):
            match action:
                case Assign(node, streams):
                    self.assigned[node] = [each.settings.name for each in streams]
                case SayStatus(status):
                    self.status[status.stream] = status
                    self.said += 1
                case PlanStream(goal):
                    self.planned.append((goal.name, goal.device))
                case Unplan(stream):
                    self.unplanned.append(stream)
                case Remove(stream):
                    self.removed.append(stream)

    def loads(self) -> list[int]:
        return sorted(map(len, self.assigned.values()))


@pytest.fixture
def world(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world; after each test its log is replayed, with what the test has patched."""
    del monkeypatch
    by_hand = frozenset({"manual"})
    made = World(chain, by_hand=by_hand)
    yield made
    again = Registry(by_hand)
    assert [again.handle(event) for event in made.events] == made.actions
    assert again.state == made.registry.state


def test_streams_wait_for_a_gateway_and_say_so(world: World) -> None:
    world.wants("garden")
    world.tick()
    assert (world.status["garden"].state, world.status["garden"].device) == ("waiting", None)
    assert "start one" in world.status["garden"].message


def test_streams_are_spread_over_gateways(world: World) -> None:
    world.node("e")
    world.node("f")
    for name in "abcd":
        world.wants(name)
    world.tick()
    assert world.loads() == [2, 2]


def test_new_gateway_takes_streams_one_after_the_other(world: World) -> None:
    world.node("e")
    for name in "abcd":
        world.wants(name)
    world.tick()
    world.node("f")
    world.tick()
    assert world.loads() == [1, 3]
    world.tick(BALANCE_S)
    world.tick(BALANCE_S)
    assert world.loads() == [2, 2]


def test_device_that_is_no_gateway_is_given_nothing(world: World) -> None:
    world.node("d", gateway=False)
    world.wants("garden")
    world.tick()
    assert world.assigned.get("d", []) == []


def test_streams_of_a_lost_gateway_move_after_a_moment(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.node("f")
    world.node("e", "offline")
    world.tick()
    assert world.assigned == {"e": ["garden"]}  # it may be back at once
    world.tick(AWAY_S)
    assert world.assigned == {"e": [], "f": ["garden"]}


def test_stream_is_planned_when_its_sensor_is_open_and_again_when_it_moves(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    assert world.planned == []
    world.report("garden", "e", "silent")
    world.tick()
    world.tick()
    assert world.planned == [("garden", "e")]
    world.node("f")
    world.node("e", "offline")
    world.tick(AWAY_S)
    world.report("garden", "f")
    world.tick()
    assert world.planned == [("garden", "e"), ("garden", "f")]


def test_report_of_the_node_before_does_not_count(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "old")
    world.tick()
    assert world.status["garden"].state == "waiting"


def test_stream_whose_model_comes_later_runs_then(world: World, chain: Bundle) -> None:
    world.models.clear()
    world.node("e")
    world.wants("garden")
    world.tick()
    assert world.status["garden"].state == "refused"
    world.models[chain.name] = chain
    world.tick(3.0)
    assert world.assigned == {"e": ["garden"]}


def test_stream_with_a_plan_by_hand_cannot_be_added(world: World) -> None:
    world.node("e")
    world.wants("manual")
    world.tick()
    assert world.status["manual"].state == "refused"
    with pytest.raises(SettingsError, match="two streams 'manual'"):
        world.registry.check(StreamSettings(name="manual", model="chain", sensor="mqtt", topic="a"))


def test_removed_stream_is_taken_back_everywhere(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.handle(StreamWanted("garden", b""))
    world.tick()
    assert (world.assigned, world.removed) == ({"e": []}, ["garden"])


def test_two_devices_that_read_a_sensor_for_one_stream_are_told_of(world: World) -> None:
    world.handle(StreamFixed(StreamSettings(name="cam", model="chain", device="door")))
    world.node("door", gateway=False)
    world.node("window", gateway=False)
    world.tick()
    world.report("cam", "door")
    world.report("cam", "window")
    world.tick(3.0)
    (trouble,) = world.status["cam"].trouble
    assert trouble.reason == "two_streams"
    assert "window" in trouble.message


def test_counters_are_said_now_and_then_and_states_at_once(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "e", frames={"captured": 1})
    world.tick()
    said = world.said
    for count in range(2, 6):
        world.report("garden", "e", frames={"captured": count})
        world.tick()
    assert world.said == said
    world.report("garden", "e", "failed", message="the cable is out")
    world.tick()
    assert (world.said, world.status["garden"].message) == (said + 1, "the cable is out")


def test_new_hub_leaves_streams_where_they_are(world: World, chain: Bundle) -> None:
    settings = StreamSettings(name="garden", model="chain", sensor="mqtt", topic="cam/garden")
    world.wants("garden")
    world.handle(AssignmentHeard("f", (Assignment(settings, chain.model),)))
    world.node("e")
    world.node("f")
    world.tick()
    assert world.assigned == {}  # nothing is said anew
    assert world.status["garden"].device == "f"


@pytest.mark.parametrize(
    "bad", [{"model": "5a"}, {"settings": None, "model": "5a"}, {"settings": {"name": "+", "model": 7}, "model": "5a"}]
)
def test_entry_that_cannot_be_read_stops_no_others(chain: Bundle, bad: dict[str, Any]) -> None:
    good = {"settings": {"name": "s", "model": "m", "sensor": "noise"}, "model": chain.model}
    read, unreadable = decode_assigned(json.dumps({"streams": [bad, good]}).encode())
    assert [each.settings.name for each in read] == ["s"]
    assert unreadable == {}


def test_assignments_survive_the_wire(chain: Bundle) -> None:
    settings = StreamSettings(
        name="s", model="m", sensor="mqtt", topic="a/+", format="json", json_path=("$.x",), rate_hz=5, deadline_ms=30
    )
    assigned = (Assignment(settings, chain.model),)
    assert decode_assigned(encode_assigned(assigned)) == (assigned, {})


def test_streams_that_name_their_edge_are_never_moved(world: World) -> None:
    world.node("e")
    world.node("f")
    for name in "abc":
        world.wants(name, device="f")
    for _ in range(4):
        world.tick(BALANCE_S)
    assert world.assigned == {"f": ["a", "b", "c"]}


def test_gateway_that_is_full_gets_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.registry.placement.MAX_STREAMS", 2)
    world.node("e")
    for name in "abc":
        world.wants(name)
    world.tick()
    assert world.loads() == [2]
    assert "full" in world.status["c"].message


def test_replaced_stream_starts_from_nothing(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "e", frames={"captured": 9})
    world.tick()
    world.wants("garden", topic="cam/other")
    world.tick(3.0)
    assert (world.status["garden"].state, world.status["garden"].frames) == ("waiting", {})
    assert world.planned == [("garden", "e")]


def test_same_settings_once_more_change_nothing(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "e")
    world.tick()
    said = world.said
    world.wants("garden")
    world.tick(3.0)
    assert (world.said, world.planned) == (said, [("garden", "e")])


def test_status_says_of_which_settings_it_speaks(world: World) -> None:
    world.wants("cam")
    world.tick()
    first = world.status["cam"]
    world.wants("cam", fps=5.0)
    world.tick()
    assert world.status["cam"].settings_id not in {first.settings_id, "", UNSET}
    assert structs.replace(world.status["cam"], settings_id=first.settings_id) == first


def test_refused_replacement_ends_what_ran(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.wants("garden", model="no-such")
    world.tick()
    assert (world.assigned, world.unplanned) == ({"e": []}, ["garden"])
    assert world.status["garden"].state == "refused"


def test_node_that_reads_another_model_under_the_name_is_told_of(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "e", model="5a" * 32)
    world.tick()
    assert world.planned == []
    assert (world.status["garden"].state, "another model" in world.status["garden"].message) == ("failed", True)


def test_stream_takes_up_a_new_version_of_its_model(world: World, residual: Bundle) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    world.report("garden", "e")
    world.tick()
    world.models["chain"] = residual
    world.tick(3.0)
    assert world.status["garden"].state == "failed"  # until its node has that model
    world.report("garden", "e", model=residual.model)
    world.tick()
    assert world.planned == [("garden", "e")] * 2


def test_fault_in_one_stream_stops_no_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: StreamSettings, *_: Any, **__: Any) -> None:
        if settings.name == "bad":
            raise ZeroDivisionError

    monkeypatch.setattr("broker.registry.fitting.check_stream", broken)
    world.node("e")
    world.wants("bad")
    world.wants("good")
    world.tick()
    assert world.assigned == {"e": ["good"]}
    assert "a fault in the hub" in world.status["bad"].message


def test_device_that_calls_itself_a_gateway_gets_no_sensors(world: World) -> None:
    status = NodeStatus(node="liar", tier="device", state="online", version="1", gateway=True)
    world.handle(ReaderHeard(status, world.now_s))
    world.wants("garden")
    world.tick()
    assert (world.assigned, world.status["garden"].device) == ({}, None)


def chance_of(chain: Bundle, residual: Bundle, roll: random.Random, now_s: float) -> Event:
    """Any event, of few streams and nodes, so that they meet."""
    stream, node = roll.choice(("a", "b", "manual", "cam")), roll.choice("efg")
    by_name = {"sensor": "mqtt", "topic": f"cam/{stream}"}
    settings = StreamSettings(name=stream, model="chain", device=roll.choice(("", node)), **by_name)  # type: ignore[arg-type]
    wanted = {"model": roll.choice(("chain", "none")), "device": settings.device} | by_name
    state: NodeState = roll.choice(("online", "offline"))
    status = NodeStatus(node=node, tier="device", state=state, version="1", gateway=roll.random() < 0.8)
    model = roll.choice((chain.model, residual.model))
    said = SourceReport(stream=stream, node=node, state=roll.choice(("running", "failed", "silent")), model=model)
    events: list[Event] = [
        StreamWanted(stream, roll.choice((json.dumps(wanted).encode(), b"", b"{"))),
        ReaderHeard(status, now_s),
        EdgeHeard(node),
        ReportHeard(said),
        AssignmentHeard(node, (Assignment(settings, chain.model),)),
        AssignmentFailed(node),
        StatusForgotten(stream),
        PlanTroubles({stream: "no way to the cloud"}),
        ModelsFound(roll.choice(({}, {"chain": chain}, {"chain": residual}))),
    ]
    return roll.choice([*events, *[Tick(now_s, 1e9 + now_s)] * 4])


@pytest.mark.parametrize("seed", range(8))
def test_state_is_valid_after_any_events_and_they_replay(world: World, residual: Bundle, seed: int) -> None:
    roll = random.Random(seed)  # noqa: S311 - for a test
    chain = world.models["chain"]
    world.handle(StreamFixed(StreamSettings(name="cam", model="chain", device="e")))
    for _ in range(300):
        world.now_s += roll.random()
        world.handle(chance_of(chain, residual, roll, world.now_s))


def test_invalid_state_is_told_of(world: World) -> None:
    world.handle(StreamFixed(StreamSettings(name="cam", model="chain", device="e")))
    wrong = world.registry.state
    wrong.entries["cam"].node = "nobody"
    wrong.entries["other"] = replace(wrong.entries["cam"], settings=None)
    with pytest.raises(AssertionError) as told:
        wrong.validate()
    assert str(told.value).split("; ") == [
        "stream 'other': not true that its name is its key",
        "stream 'other': not true that one that cannot be read is refused",
    ]


def test_nobody_changes_the_registry_by_what_it_gave(world: World) -> None:
    world.wants("garden")
    world.registry.state.entries.clear()
    assert world.registry.names == ("garden",)


def test_status_that_the_broker_forgot_and_work_that_it_refused_are_said_again(world: World) -> None:
    world.node("e")
    world.wants("garden")
    world.tick()
    said = world.said
    world.assigned.clear()
    world.handle(StatusForgotten("garden"))
    world.handle(AssignmentFailed("e"))
    world.tick()
    assert (world.said, world.assigned) == (said + 1, {"e": ["garden"]})


def test_trouble_with_its_plan_is_in_a_streams_status(world: World) -> None:
    world.wants("garden")
    world.handle(PlanTroubles({"garden": "no edge has the model"}))
    world.tick()
    assert [(each.reason, each.message) for each in world.status["garden"].trouble] == [
        ("plan", "no edge has the model")
    ]
