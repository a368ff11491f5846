"""``tiercut control`` as people run it: Mosquitto, a hub that coordinates, and a node per tier."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.aio import async_test, until
from tests.brokers import Mosquitto, retained
from tests.coordinating import Told
from tests.sites import Site, new_site, noise
from tests.test_coordinated import hub
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli import control, main
from tiercut.clock import SystemClock
from tiercut.coordinator.events import ControlHeard
from tiercut.declared import decode_json, encode_json
from tiercut.model.bundle import Bundle
from tiercut.plan import Plan
from tiercut.protocol.nodes import StreamControl, StreamPlan
from tiercut.protocol.topics import CONTROL, EXPLAIN, PLAN

CAM = {"site": "home", "stream": "cam"}
FREEZE = encode_json(StreamControl(mode="freeze"))


@dataclass(kw_only=True)
class OverMqtt(Site):
    """A site on a real broker."""

    url: str

    def common(self, node: str, **more: Any) -> dict[str, Any]:
        return super().common(node, **{"broker_url": self.url, "cloud_broker_url": self.url, **more})

    def listener(self, url: str) -> MqttBus:  # noqa: ARG002 - there is one broker
        return MqttBus(MqttSettings(url=self.url), clock=SystemClock())

    def opener(self, node: str) -> Any:  # noqa: ARG002 - buses in memory are kept by it
        def open_bus(url: str, *, will: tuple[str, bytes]) -> MqttBus:
            return MqttBus(MqttSettings(url=url), clock=SystemClock(), will=will)

        return open_bus


@dataclass
class Bench:
    """A broker, and what is retained and said of the stream ``cam`` on it."""

    url: str
    bus: MqttBus
    capsys: pytest.CaptureFixture[str]
    controls: list[bytes] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    explained: list[dict[str, Any]] = field(default_factory=list)

    def heard(self, delivery: Delivery) -> None:
        delivery.ack()
        kind = delivery.topic.rpartition("/")[2]
        if kind == "control":
            self.controls.append(bytes(delivery.payload))
        elif kind == "plan":
            self.plans.append(json.loads(delivery.payload)["plan"])
        elif kind == "explain":
            self.explained.append(json.loads(delivery.payload))

    async def say(self, *arguments: str) -> tuple[int, str]:
        """Run the command; its exit status and what it says."""
        self.capsys.readouterr()
        status = await asyncio.to_thread(main, ["control", "cam", *arguments, "--broker", self.url])
        out, err = self.capsys.readouterr()
        return status, out + err

    async def retained(self) -> bytes:
        """The control that a hub would find when it starts."""
        return await retained(self.url, CONTROL.of(**CAM))

    async def follows(self, **wanted: Any) -> dict[str, Any]:
        """The stream's plan, once it has these fields: it comes here on a connection of its own."""
        await until(lambda: bool(self.plans) and self.plans[-1] == self.plans[-1] | wanted)
        return self.plans[-1]


@asynccontextmanager
async def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Bench]:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            made = Bench(broker.url, bus, capsys)
            await bus.subscribe("tiercut/v1/home/stream/cam/#", handler=made.heard)
            yield made


@asynccontextmanager
async def site(made: Bench, bundle: Bundle, **device: Any) -> AsyncIterator[None]:
    """Nodes and hub at work, the first plan made."""
    base = new_site(bundle.folder.parent)
    over = OverMqtt(bundles=base.bundles, brokers=base.brokers, url=made.url)
    nodes = over.cloud(), over.edge(), over.device(noise(bundle, frames=None, fps=20, **device)), hub(over, bundle)
    async with over.running(*nodes):
        await until(lambda: bool(made.plans and made.explained))
        yield


def by_hand(first: int, second: int, *more: str, edge: str = "e", codecs: str = "raw,raw") -> tuple[str, ...]:
    cuts = ("plan", "--first-cut", str(first), "--second-cut", str(second))
    return *cuts, "--edge", edge, "--cloud", "c", "--codecs", codecs, *more


# ---------------------------------------------------------------------- with a hub


@async_test
async def test_plan_by_hand_is_followed_until_auto(
    chain: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, capsys) as made, site(made, chain):
        status, said = await made.say(*by_hand(1, 2))
        assert status == 0, said
        now = await made.follows(first_cut=1, second_cut=2, edge="e")
        assert f"'cam' follows plan {now['epoch']}, given by hand" in said
        assert (await made.say(*by_hand(1, 2)))[0] == 0  # once more: it is followed already
        status, said = await made.say("auto")
        assert (status, "the coordinator chooses the plan of 'cam' again" in said) == (0, True)
        assert decode_json(StreamControl, await made.retained()).mode == "auto"


@async_test
async def test_frozen_stream_is_said_to_keep_its_plan(
    chain: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, capsys) as made, site(made, chain):
        status, said = await made.say("freeze")
        assert (status, "'cam' keeps plan" in said) == (0, True)
        await until(lambda: made.explained[-1]["control"] == "freeze")
        await until(lambda: f"'cam' keeps plan {made.plans[-1]['epoch']} until" in said)
        assert decode_json(StreamControl, await made.retained()).mode == "freeze"


@async_test
async def test_refused_plan_is_said_so_and_what_was_retained_before_holds(
    chain: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, capsys) as made, site(made, chain):
        status, said = await made.say(*by_hand(1, 2, edge="nosuch"))
        assert (status, "the plan was not taken" in said, "'auto', as before" in said) == (2, True, True)
        assert await made.retained() == b""
        assert (await made.say(*by_hand(1, 2)))[0] == 0  # the trouble of the last one is not its
        good, plan = await made.retained(), await made.follows(first_cut=1, second_cut=2)
        status, said = await made.say(*by_hand(1, 9999))
        assert (status, "given by hand is not possible" in said, "'plan', as before" in said) == (2, True, True)
        assert (await made.retained(), made.plans[-1]) == (good, plan)
        assert (await made.say(*by_hand(1, 3)))[0] == 0  # nor is the plan of the last one its
        await made.follows(second_cut=3)


@async_test
async def test_plan_that_a_node_refuses_is_taken_back(
    chain: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, capsys) as made, site(made, chain, min_first_cut=1):
        status, said = await made.say(*by_hand(0, 2))
        assert (status, "min_first_cut" in said) == (2, True)
        assert await made.retained() == b""


# ---------------------------------------------------------------------- without one


async def retain_plan(made: Bench) -> None:
    plan = Plan(epoch=3, first_cut=1, second_cut=2, device="d", edge="e", cloud="c", codecs=("raw", "raw"))
    message = StreamPlan(stream="cam", model="ab" * 32, model_name="m", plan=plan)
    await made.bus.publish(Message(PLAN.of(**CAM), encode_json(message), retain=True))


@async_test
async def test_unknown_stream_is_told_and_nothing_is_retained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "KNOWN_S", 0.2)
    async with bench(tmp_path, capsys) as made:
        status, said = await made.say("freeze")
        assert (status, "the stream 'cam' has no plan" in said) == (2, True)
        assert not made.controls


@async_test
async def test_without_a_hub_nobody_answers_and_the_wish_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWERED_S", 0.3)
    async with bench(tmp_path, capsys) as made:
        await retain_plan(made)
        stale = {"control": "freeze", "control_id": "of another", "control_trouble": None, "trouble": "old"}
        await made.bus.publish(Message(EXPLAIN.of(**CAM), json.dumps(stale).encode(), retain=True))
        status, said = await made.say("freeze")
        assert (status, "nobody has answered" in said, "stays retained" in said) == (2, True, True)
        assert decode_json(StreamControl, await made.retained()).mode == "freeze"


@async_test
async def test_wish_of_somebody_else_meanwhile_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, capsys) as made:
        await retain_plan(made)
        saying = asyncio.create_task(made.say(*by_hand(0, 2)))
        await until(lambda: bool(made.controls))
        await made.bus.publish(Message(CONTROL.of(**CAM), FREEZE, retain=True))
        status, said = await saying
        assert (status, "somebody else has spoken" in said) == (2, True)
        assert await made.retained() == FREEZE


async def fake_hub(made: Bench, answer: Callable[[str], list[dict[str, Any]]]) -> None:
    """Answers the first control with these explanations."""
    await until(lambda: len(made.controls) > 1)
    for said in answer(decode_json(StreamControl, made.controls[-1]).id):
        await made.bus.publish(Message(EXPLAIN.of(**CAM), json.dumps(said).encode(), retain=True))


@pytest.mark.parametrize("tried", [False, True])
@async_test
async def test_trouble_is_a_refusal_only_after_the_plan_was_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tried: bool
) -> None:
    if not tried:  # nothing says so: the time is over
        monkeypatch.setattr(control, "DONE_S", 0.3)
    async with bench(tmp_path, capsys) as made:
        await retain_plan(made)
        await made.bus.publish(Message(CONTROL.of(**CAM), FREEZE, retain=True))

        def answer(identity: str) -> list[dict[str, Any]]:
            echo = {"control": "plan", "control_id": identity, "under_way": None, "trouble": "edge/e refuses"}
            return [echo | {"under_way": "given by hand"}, echo] if tried else [echo]

        answering = asyncio.create_task(fake_hub(made, answer))
        status, said = await made.say(*by_hand(0, 2))
        await answering
        assert (status, ("edge/e refuses" if tried else "no answer of its nodes") in said) == (2, True)
        assert await made.retained() == FREEZE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (by_hand(1, 2, codecs="raw,no codec"), "got 'no codec'"),
        (by_hand(1, 2, edge="a/b"), "got 'a/b'"),
        (by_hand(1, 2, codecs="raw"), "one codec per hop"),
        (by_hand(3, 2), "first_cut <= second_cut"),
        (by_hand(1, 2**60), "of 0 to"),
        (("plan", "--first-cut", "1"), "needs its cuts"),
        (("auto", "--codecs", "raw"), "'auto' takes no plan"),
        (("freeze", "--edge", "e"), "'freeze' takes no plan"),
    ],
)
def test_what_is_wrong_in_itself_is_not_said_to_anybody(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["control", "cam", *arguments, "--broker", "mqtt://127.0.0.1:1"]) == 2
    assert words in capsys.readouterr().err


# ---------------------------------------------------------------------- the coordinator


@pytest.mark.parametrize(("wrong", "words"), [({"exit": "early"}, "no variant 'early'"), ({"device": "z"}, "not 'z'")])
def test_variant_or_device_that_the_stream_does_not_have_is_refused(wrong: dict[str, str], words: str) -> None:
    told = Told().site()
    first = told.plans["cam"]
    said: dict[str, Any] = {"epoch": 0, "first_cut": 2, "second_cut": 4, "device": "d", "edge": "f", "codecs": ("raw",)}
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="plan", plan=Plan(**(said | wrong)), id="x")))
    told.passes(1)
    assert words in told.said("control_trouble")
    assert told.said("control_id") == "x"
    assert told.plans["cam"] == first
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="plan", plan=Plan(**said), id="y")))
    told.passes(1)
    assert (told.said("control_id"), told.said("control_trouble")) == ("y", "None")
    assert told.plans["cam"].edge == "f"


def test_identity_of_a_control_comes_back_and_need_not_be_there() -> None:
    control = StreamControl(mode="freeze", id="ab12")
    assert decode_json(StreamControl, encode_json(control)) == control
    assert decode_json(StreamControl, b'{"mode":"freeze"}').id == ""
