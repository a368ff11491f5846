"""What strangers, faults and odd input do to a node: they are counted, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import iot_node.source
import tiercut.node.frame_pipeline
from edge_node.node import EdgeNode
from edge_node.settings import Settings as EdgeSettings
from tests.aio import async_test
from tests.given_sensors import Given, first_frame, frames_of
from tests.sites import CLOUD_URL, SITE_URL, Site, by_hand, new_site, noise
from tiercut.bus import Delivery, Message
from tiercut.bus.memory import MemoryBus
from tiercut.codecs.encode import encode_tensor
from tiercut.declared import encode_json
from tiercut.limits import MAX_STAGES
from tiercut.model.bundle import Bundle
from tiercut.plan import Plan
from tiercut.protocol.chunks import split
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN, WORK
from tiercut.sensors import Captured, Sensor, open_sensor


def to_edge(stream: str = "stranger") -> str:
    """Topic of frames of a stream for the edge ``e``."""
    return WORK.of(site="home", tier="edge", node="e", stream=stream)


def frame_for_edge(chain: Bundle, seq: int = 0, stream: str = "stranger", **more: Any) -> Work:
    """An honest frame at cut 0 for the edge ``e``, which runs all of the model."""
    settings = StreamSettings(name="s", model="chain", sensor="noise")
    inputs = chain.to_inputs(first_frame(settings))
    fields: dict[str, Any] = {
        "site": "home",
        "stream": stream,
        "seq": seq,
        "model": chain.model,
        "plan": Plan(epoch=1, first_cut=0, second_cut=chain.end, device="x", edge="e", codecs=("raw",)),
        "delivery": "every",
        "cut": 0,
        "tensors": tuple(encode_tensor(name, array, "raw") for name, array in inputs.items()),
        "captured_unix_s": 1.0,
        "captured": ClockStamp("far", 1.0),
        "sent": ClockStamp("far", 1.0),
        **more,
    }
    return Work(**fields)


def impatient_edge(site: Site, **more: Any) -> EdgeNode:
    """The edge ``e``, for which a message is stuck after a moment."""

    def open_bus(url: str, *, will: tuple[str, bytes]) -> MemoryBus:
        site.buses["e", url] = MemoryBus(site.brokers[url], will=will, receive_maximum=64, stuck_s=0.5)
        return site.buses["e", url]

    return EdgeNode(EdgeSettings(**site.common("e", **more)), open_bus=open_bus)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what a node knows has no event
        await asyncio.sleep(0.01)


@async_test
async def test_mutated_frames_are_all_acknowledged_and_good_ones_still_pass(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    edge = site.edge()
    chance = random.Random(5)  # noqa: S311 - repeatable
    good = encode_work(frame_for_edge(chain))
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as stranger:
        for _ in range(600):
            bad = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                bad[chance.randrange(len(bad))] = chance.randrange(256)
            await stranger.publish(Message(to_edge(), bytes(bad[: chance.randint(1, len(bad))])))
        for seq in range(100):
            await stranger.publish(Message(to_edge("honest"), encode_work(frame_for_edge(chain, seq, "honest"))))
        await until(lambda: len(outcomes.seqs("honest")) == 100)
        await until(lambda: not site.buses["e", SITE_URL]._unacked)
    assert outcomes.seqs("honest") == list(range(100))


@pytest.mark.parametrize("stages", [MAX_STAGES, MAX_STAGES - 1])
def test_frame_with_too_many_stages_is_set_aside(bundles: Path, chain: Bundle, stages: int) -> None:
    edge = new_site(bundles).edge()
    acked: list[int] = []
    many = tuple(Stage("x", "queue", 0.0) for _ in range(stages))
    work = frame_for_edge(chain, stages=many, sent=ClockStamp(edge.context.clock.id, edge.context.clock.monotonic_s()))
    edge.frames.receive(Delivery(to_edge(), encode_work(work), 0.0, ack=lambda: acked.append(1)))
    assert edge.counters["bad.too_many"] == 1
    assert acked


@async_test
async def test_chunk_whose_message_never_ends_does_not_stop_the_others(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    first, *_ = split(encode_work(frame_for_edge(chain, stream="half")), 300)
    async with site.running(impatient_edge(site)) as outcomes, MemoryBus(site.brokers[SITE_URL]) as stranger:
        await stranger.publish(Message(to_edge(), first))
        for seq in range(200):
            await stranger.publish(Message(to_edge("honest"), encode_work(frame_for_edge(chain, seq, "honest"))))
        await until(lambda: len(outcomes.seqs("honest")) == 200)


async def send_to_edge(site: Site, chain: Bundle, *, waiting: int, honest: int) -> None:
    """Frames that wait for a cloud that is lost, then others for the edge alone."""
    to_cloud = Plan(epoch=1, first_cut=0, second_cut=1, device="x", edge="e", cloud="c", codecs=("raw", "raw"))
    async with MemoryBus(site.brokers[SITE_URL]) as stranger:
        site.brokers[CLOUD_URL].cut(site.buses["e", CLOUD_URL])
        for seq in range(waiting):
            await stranger.publish(
                Message(to_edge("waits"), encode_work(frame_for_edge(chain, seq, "waits", plan=to_cloud)))
            )
        for seq in range(honest):
            await stranger.publish(Message(to_edge("honest"), encode_work(frame_for_edge(chain, seq, "honest"))))


@async_test
async def test_frames_that_wait_for_a_lost_cloud_do_not_stop_other_streams(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = impatient_edge(site, fall_back=False)
    async with site.running(edge) as outcomes:
        await send_to_edge(site, chain, waiting=10, honest=200)
        await until(lambda: len(outcomes.seqs("honest")) == 200)
        await until(lambda: edge.load.figures()["acknowledged_early_unfinished"] == 10)
        site.brokers[CLOUD_URL].restore(site.buses["e", CLOUD_URL])
        await until(lambda: edge.load.figures()["acknowledged_early_unfinished"] == 0)
    assert edge.load.figures()["acknowledged_early"] == 10


@async_test
async def test_more_waiting_frames_than_half_the_credit_stop_other_streams_until_the_cloud_is_back(
    bundles: Path, chain: Bundle
) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = impatient_edge(site, fall_back=False)
    async with site.running(edge) as outcomes:
        await send_to_edge(site, chain, waiting=40, honest=200)
        await until(lambda: edge.load.figures()["acknowledged_early_unfinished"] == 32)
        await asyncio.sleep(0.5)
        stopped = len(outcomes.seqs("honest"))
        site.brokers[CLOUD_URL].restore(site.buses["e", CLOUD_URL])
        await until(lambda: len(outcomes.seqs("honest")) == 200 and edge.counters["frames_forwarded"] == 40)
    assert 0 < stopped < 200
    assert edge.load.figures()["acknowledged_early_unfinished"] == 0


@async_test
async def test_stopped_node_says_what_the_broker_keeps_and_what_is_lost(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tiercut.node.frame_pipeline, "DRAIN_S", 0.05)
    site = new_site(bundles, two_brokers=True)
    edge = impatient_edge(site, fall_back=False)
    async with site.running(edge):
        await send_to_edge(site, chain, waiting=40, honest=60)
        await until(lambda: edge.load.figures()["acknowledged_early_unfinished"] == 32)
    (said,) = [vars(record) for record in caplog.records if record.message == "frames not finished"]
    assert (said["kept_by_broker"], said["lost"]) == (8, 32)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_cut": 5000, "second_cut": 5000},
        {"device": "another"},
    ],
)
def test_device_survives_a_plan_that_makes_no_sense(bundles: Path, chain: Bundle, wrong: dict[str, Any]) -> None:
    @async_test
    async def run() -> None:
        site = new_site(bundles)
        device = site.device(noise(chain, frames=None, fps=50))
        fields = {"epoch": 2, "first_cut": 1, "second_cut": 1, "device": "d", "edge": "e", "cloud": "c", **wrong}
        plan = Plan(**fields, codecs=("raw", "raw"))
        message = encode_json(StreamPlan(stream="cam", model=chain.model, model_name="x", plan=plan))
        nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), device
        async with site.running(*nodes) as outcomes, MemoryBus(site.brokers[SITE_URL]) as stranger:
            await outcomes.until(results=1)
            await stranger.publish(Message(PLAN.of(site="home", stream="cam"), message))
            await until(lambda: device.counters["plans_refused"])
            await outcomes.until(results=len(outcomes.results) + 5)

    run()


@async_test
async def test_sensor_that_raises_anything_ends_its_stream_alone(
    bundles: Path, chain: Bundle, residual: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: StreamSettings, **more: Any) -> Sensor:
        if settings.name == "cam":
            raise_later = iter([1, 0])
            return Given(Captured(first_frame(settings), str(1 // each)) for each in raise_later)
        return open_sensor(settings, **more)

    monkeypatch.setattr(iot_node.source, "open_sensor", broken)
    site = new_site(bundles)
    device = site.device(noise(chain), noise(residual, "door"))
    hub = site.hub(by_hand(chain), by_hand(residual, "door"))
    async with site.running(hub, site.cloud(), site.edge(), device) as outcomes:
        await until(lambda: len(outcomes.seqs("door")) == 10)
    assert device.counters["sensors_failed"] == 1


@async_test
async def test_label_that_utf8_cannot_say_is_made_printable(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(settings: StreamSettings, **_: Any) -> Sensor:
        return Given(replace(captured, label="a\udcff.png") for captured in frames_of(settings))

    monkeypatch.setattr(iot_node.source, "open_sensor", odd)
    site = new_site(bundles)
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain))) as outcomes:
        await outcomes.until(results=10)
    assert {result["label"] for result in outcomes.results} == {"a?.png"}


@async_test
async def test_frames_are_not_sent_again_while_they_wait_for_their_own_broker(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=50, timeout_s=0.2))
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=5)
        site.brokers[SITE_URL].cut(site.buses["d", SITE_URL])
        before = device.counters["frames_resent"]  # some may have been slow
        await asyncio.sleep(2.5)
        resent = device.counters["frames_resent"] - before
        site.brokers[SITE_URL].restore(site.buses["d", SITE_URL])
        await outcomes.until(results=len(outcomes.results) + 10)
    assert resent <= 6  # at most those that had left the device
