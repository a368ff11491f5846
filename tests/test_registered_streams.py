"""Streams added while a site runs: sensors that publish by themselves, read by gateways, whatever they send."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.node import Hub
from broker.settings import Settings as HubSettings
from edge_node.gateway import Gateway
from tests.aio import async_test
from tests.sites import SITE_URL, Outcomes, Site, new_site, noise
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import NodeStatus, StreamControl
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport
from tiercut.protocol.topics import CONTROL, RESULT, SOURCE, STATUS, STREAM_STATUS, STREAMS, WANTED

TOPIC = "frigate/garden/person/snapshot"
GARDEN = {"model": "chain", "sensor": "mqtt", "topic": TOPIC, "in_flight": 1}


def jpeg(shade: int = 90, size: int = 48) -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.full((size, size + 16, 3), shade, np.uint8)).save(made, "JPEG")
    return made.getvalue()


def gateway(site: Site, name: str = "e") -> list[Any]:
    """An edge with its gateway."""
    edge = site.edge() if name == "e" else site.another_edge(name)
    return [edge, Gateway(edge, open_bus=site.opener(f"{name}-gateway"))]


def hub(site: Site, **more: Any) -> Hub:
    return Hub(HubSettings(**site.common("hub", **more)), open_bus=site.opener("hub"))


class Person:
    """Somebody at the site's bus."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.retained: dict[str, bytes] = {}

    async def listen(self) -> None:
        def heard(delivery: Any) -> None:
            delivery.ack()
            self.retained[delivery.topic] = delivery.payload

        await self.bus.subscribe("tiercut/v1/home/stream/+/state", handler=heard)
        await self.bus.subscribe("tiercut/v1/home/stream/+/source", handler=heard)
        await self.bus.subscribe("tiercut/v1/home/device/+/streams", handler=heard)

    async def wants(self, name: str, settings: dict[str, Any] | bytes | None) -> None:
        payload = (
            b"" if settings is None else settings if isinstance(settings, bytes) else json.dumps(settings).encode()
        )
        await self.bus.publish(Message(WANTED.of(site="home", stream=name), payload, retain=True))

    def status(self, name: str) -> dict[str, Any]:
        payload = self.retained.get(STREAM_STATUS.of(site="home", stream=name), b"")
        return dict(json.loads(payload)) if payload else {}

    def assigned(self, node: str) -> list[str]:
        payload = self.retained.get(STREAMS.of(site="home", tier="device", node=node), b"")
        return [each["settings"]["name"] for each in json.loads(payload)["streams"]] if payload else []

    async def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Wait for a status."""
        await until(lambda: all(self.status(name).get(key) == value for key, value in wanted.items()))
        return self.status(name)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what is retained has no event
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(site: Site, *nodes: Any) -> Any:
    async with MemoryBus(site.brokers[SITE_URL]) as bus, site.running(*nodes) as outcomes:
        person = Person(bus)
        await person.listen()
        yield person, outcomes


async def send(person: Person, outcomes: Outcomes, payload: bytes, *, results: int) -> None:
    """Publish again and again until so many results have come."""
    while len(outcomes.results) < results:
        await person.bus.publish(Message(TOPIC, payload))
        await asyncio.sleep(0.02)


@async_test
async def test_jpeg_of_a_strange_sensor_becomes_results_with_a_few_settings(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await person.until("garden", device="e", gateway=True)
        await send(person, outcomes, jpeg(), results=3)
        status = await person.until("garden", state="running")
    assert {result["stream"] for result in outcomes.results} == {"garden"}
    assert outcomes.results[0]["plan"]["device"] == "e"
    assert status["frames"]["captured"] > 0
    assert chain.labels is not None
    assert outcomes.results[0]["labels"][0]["label"] in chain.labels


@async_test
async def test_removed_stream_leaves_nothing_behind(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await until(lambda: person.assigned("e") == ["garden"])
        await send(person, outcomes, jpeg(), results=1)
        await person.wants("garden", None)
        await until(lambda: not person.assigned("e") and not person.status("garden"))
        await until(lambda: not person.retained[SOURCE.of(site="home", stream="garden")])
        before = len(outcomes.results)
        await person.bus.publish(Message(TOPIC, jpeg()))
        await asyncio.sleep(0.3)
        assert len(outcomes.results) <= before + 1  # one may have been under way
    assert site.brokers[SITE_URL].retained("tiercut/v1/home/stream/garden/#") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (b"{", "JSON"),
        (b"[1]", "a JSON object"),
        ({**GARDEN, "name": "other"}, "another name"),
        ({**GARDEN, "modell": "x"}, "modell"),
        ({**GARDEN, "model": "no-such"}, "no-such"),
        ({"model": "chain", "sensor": "mqtt"}, "topic"),
        ({**GARDEN, "topic": "tiercut/v1/home/stream/cam/result"}, "topic of a sensor"),
        ({**GARDEN, "topic": "#"}, "topic of a sensor"),
        ({**GARDEN, "topic": "a/b#"}, "an MQTT topic"),
        ({**GARDEN, "format": "json", "json_path": ["$.x"]}, "pictures"),
        ({**GARDEN, "format": "json", "json_path": ["$["]}, "json_path"),
        ({"model": "chain", "sensor": "camera"}, "device"),
        ({**GARDEN, "min_first_cut": 99}, "min_first_cut"),
        ({"model": "chain", "sensor": "fusion", "sources": [{"sensor": "mqtt", "topic": "a"}]}, "two sources"),
    ],
)
def test_stream_that_cannot_be_is_refused_with_a_sentence(
    bundles: Path, settings: dict[str, Any] | bytes, words: str
) -> None:
    @async_test
    async def run() -> None:
        site = new_site(bundles)
        async with running(site, hub(site), *gateway(site)) as (person, _):
            await person.wants("bad", settings)
            status = await person.until("bad", state="refused")
            assert words in status["message"]
            assert person.assigned("e") == []

    run()


@async_test
async def test_payload_that_is_no_picture_is_counted_and_said(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await person.until("garden", device="e")
        await send(person, outcomes, jpeg(), results=1)
        for payload in (b"", b"hello", jpeg()[:200]):
            await person.bus.publish(Message(TOPIC, payload))
            await asyncio.sleep(0.1)
        await until(lambda: any(each["reason"] == "bad_image" for each in person.status("garden").get("trouble", ())))
        before = len(outcomes.results)
        await send(person, outcomes, jpeg(), results=before + 2)
        status = person.status("garden")
    (trouble,) = (each for each in status["trouble"] if each["reason"] == "bad_image")
    assert trouble["count"] == status["frames"]["dropped.bad_image"] >= 1
    assert "expected" in trouble["message"]
    assert status["state"] == "running"


@async_test
async def test_sensor_that_is_too_fast_is_dropped_counted_and_said(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site), site.device(noise(chain, frames=1))) as (person, outcomes):
        await person.wants("garden", {**GARDEN, "fps": 5})
        await person.until("garden", device="e")
        for _ in range(300):
            await person.bus.publish(Message(TOPIC, jpeg()))
        await until(lambda: person.status("garden").get("frames", {}).get("dropped.sensor_ahead", 0) > 100)
        reasons = {each["reason"] for each in person.status("garden")["trouble"]}
    assert "sensor_ahead" in reasons
    assert outcomes is not None


@async_test
async def test_stream_moves_to_another_gateway_when_its_own_is_gone(bundles: Path) -> None:
    site = new_site(bundles)
    first, second = gateway(site), gateway(site, "f")
    async with running(site, hub(site), *first, *second) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await person.until("garden", device="e")
        await send(person, outcomes, jpeg(), results=2)
        site.brokers[SITE_URL].cut(site.buses["e-gateway", SITE_URL])
        await person.until("garden", device="f")
        before = len(outcomes.results)
        while outcomes.results[-1]["plan"]["device"] != "f":
            before += 1
            await send(person, outcomes, jpeg(), results=before)
        site.brokers[SITE_URL].restore(site.buses["e-gateway", SITE_URL])


@async_test
async def test_hub_that_starts_again_keeps_streams_where_they_are(bundles: Path) -> None:
    site = new_site(bundles)
    nodes = [*gateway(site), *gateway(site, "f")]
    async with running(site, *nodes) as (person, outcomes):
        async with site.running(hub(site)):
            for name in ("one", "two", "three"):
                await person.wants(name, {**GARDEN, "topic": f"cam/{name}"})
            await until(lambda: len(person.assigned("e")) + len(person.assigned("f")) == 3)
            before = person.assigned("e"), person.assigned("f")
        async with site.running(hub(site)):
            await asyncio.sleep(1.0)
            assert (person.assigned("e"), person.assigned("f")) == before
        assert sorted(map(len, before)) == [1, 2]
    assert outcomes is not None


@async_test
async def test_name_of_a_stream_in_the_hubs_settings_cannot_be_taken(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    one = hub(site, streams=(StreamSettings(name="cam", model="chain", device="d"),))
    async with running(site, one, *gateway(site), site.device(noise(chain, frames=None, fps=20))) as (person, outcomes):
        await outcomes.until(results=2)
        await person.wants("cam", GARDEN)
        await until(
            lambda: [each for each in person.status("cam").get("trouble", ()) if each["reason"] == "name_taken"]
        )
        before = len(outcomes.results)
        await outcomes.until(results=before + 2)
    assert outcomes.results[-1]["plan"]["device"] == "d"


@async_test
async def test_device_reads_a_sensor_that_the_hub_assigns_to_it(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), site.device()) as (person, outcomes):
        await person.wants(
            "noisy", {"model": "chain", "sensor": "noise", "device": "d", "frames": 5, "delivery": "every"}
        )
        await outcomes.until(results=5)
        await person.until("noisy", state="ended")
    assert outcomes.seqs("noisy") == list(range(5))


@async_test
async def test_fused_cameras_go_on_when_one_is_missing(bundles: Path, views: Bundle) -> None:
    site = new_site(bundles)
    sources = [{"sensor": "mqtt", "topic": f"cam/{name}"} for name in ("left", "right")]
    wanted = {"model": views.name, "sensor": "fusion", "sources": sources, "tolerance_ms": 150, "delivery": "latest"}
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("both", wanted)
        await person.until("both", device="e")
        while len(outcomes.results) < 3:
            await asyncio.gather(
                person.bus.publish(Message("cam/left", jpeg(10))), person.bus.publish(Message("cam/right", jpeg(200)))
            )
            await asyncio.sleep(0.05)
        before = len(outcomes.results)
        while not any(result["label"] == "without right" for result in outcomes.results[before:]):
            await person.bus.publish(Message("cam/left", jpeg(10)))
            await asyncio.sleep(0.05)
    assert outcomes.results[before - 1]["label"] is None


@async_test
async def test_device_refuses_what_its_owner_does_not_allow(bundles: Path) -> None:
    site = new_site(bundles)
    device = site.device(assigned_sensors=("camera",))
    async with running(site, hub(site), device) as (person, _):
        await person.wants("noisy", {"model": "chain", "sensor": "noise", "device": "d"})
        status = await person.until("noisy", state="failed")
    assert "assigned_sensors" in status["message"]


@async_test
async def test_owners_floor_holds_for_streams_of_the_hub(bundles: Path) -> None:
    site = new_site(bundles)
    device = site.device(assigned_min_first_cut=1)
    async with running(site, hub(site), site.cloud(), site.edge(), device) as (person, outcomes):
        await person.wants("noisy", {"model": "chain", "sensor": "noise", "device": "d", "fps": 20})
        await until(lambda: "noisy" in device.streams)
        assert device.streams["noisy"].settings.min_first_cut == 1
        await asyncio.sleep(1.0)
    assert all(result["plan"]["first_cut"] >= 1 for result in outcomes.results)


@async_test
async def test_broker_that_has_forgotten_everything_is_told_again(bundles: Path) -> None:
    site = new_site(bundles)
    broker = site.brokers[SITE_URL]
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await send(person, outcomes, jpeg(), results=1)
        broker.cut(site.buses["hub", SITE_URL])
        broker._retained.clear()
        await asyncio.sleep(0.5)
        broker.restore(site.buses["hub", SITE_URL])
        await until(lambda: {"wanted", "state", "plan"} <= left_of(site, "garden"))
        before = len(outcomes.results)
        await send(person, outcomes, jpeg(), results=before + 2)


@async_test
async def test_nobody_speaks_for_another_to_the_hub(bundles: Path) -> None:
    site = new_site(bundles)
    one = hub(site)
    async with running(site, one, *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await send(person, outcomes, jpeg(), results=1)
        evil = SourceReport(stream="garden", node="e", state="failed", message="EVIL")
        gone = NodeStatus(node="e", tier="device", state="offline", version="1")
        topics = {
            SOURCE.of(site="home", stream="mine"): encode_json(evil),
            STATUS.of(site="home", tier="device", node="x"): encode_json(gone),
            RESULT.of(site="home", stream="garden"): json.dumps(outcomes.results[0] | {"stream": "mine"}).encode(),
        }
        for topic, payload in topics.items():
            await person.bus.publish(Message(topic, payload))
        await until(lambda: one.counters["bad.wrong_topic"] >= len(topics))
        before = len(outcomes.results)
        await send(person, outcomes, jpeg(), results=before + 2)
        await person.until("garden", state="running")


def left_of(site: Site, stream: str) -> set[str]:
    """What is retained of a stream."""
    kept = site.brokers[SITE_URL].retained(f"tiercut/v1/home/stream/{stream}/#")
    return {message.topic.rpartition("/")[2] for message in kept}


@async_test
async def test_stream_removed_while_the_hub_is_away_leaves_no_ghost(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, *gateway(site)) as (person, outcomes):
        async with site.running(hub(site)):
            await person.wants("garden", GARDEN)
            await send(person, outcomes, jpeg(), results=1)
            await until(lambda: {"state", "plan", "explain"} <= left_of(site, "garden"))
        await person.wants("garden", None)
        async with site.running(hub(site)):
            await until(lambda: not left_of(site, "garden") and not person.assigned("e"))


@async_test
async def test_broker_with_the_memory_of_a_minute_ago_is_brought_up_to_date(bundles: Path) -> None:
    site = new_site(bundles)
    broker = site.brokers[SITE_URL]
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("old", {**GARDEN, "topic": "cam/old"})
        await until(lambda: person.assigned("e") == ["old"])
        before = dict(broker._retained)
        await person.wants("garden", GARDEN)
        await send(person, outcomes, jpeg(), results=1)
        for name in ("hub", "e-gateway"):
            broker.cut(site.buses[name, SITE_URL])
        broker._retained = before
        broker.restore(site.buses["e-gateway", SITE_URL])
        await asyncio.sleep(0.2)
        broker.restore(site.buses["hub", SITE_URL])
        await until(lambda: {"wanted", "plan", "state"} <= left_of(site, "garden"))
        await until(lambda: sorted(person.assigned("e")) == ["garden", "old"])


@async_test
async def test_what_was_said_of_a_removed_stream_does_not_hold_for_the_next_one(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await send(person, outcomes, jpeg(), results=1)
        control = encode_json(StreamControl(mode="freeze"))
        await person.bus.publish(Message(CONTROL.of(site="home", stream="garden"), control, retain=True))
        await asyncio.sleep(0.3)
        await person.wants("garden", None)
        await until(lambda: not left_of(site, "garden"))


@async_test
async def test_frozen_plan_follows_its_sensor_to_another_gateway(bundles: Path) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site), *gateway(site, "f")) as (person, outcomes):
        await person.wants("garden", GARDEN)
        await send(person, outcomes, jpeg(), results=2)
        control = encode_json(StreamControl(mode="freeze"))
        await person.bus.publish(Message(CONTROL.of(site="home", stream="garden"), control, retain=True))
        await asyncio.sleep(0.5)
        site.brokers[SITE_URL].cut(site.buses["e-gateway", SITE_URL])
        await person.until("garden", device="f")
        while outcomes.results[-1]["plan"]["device"] != "f":
            await send(person, outcomes, jpeg(), results=len(outcomes.results) + 1)
        site.brokers[SITE_URL].restore(site.buses["e-gateway", SITE_URL])
