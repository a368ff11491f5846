"""``tiercut stream`` as people run it: Mosquitto, a hub, an edge with its gateway."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.mosquitto.access_rules import acl
from broker.node import Hub
from broker.settings import Settings as HubSettings
from edge_node.gateway import Gateway
from tests.aio import async_test, until
from tests.brokers import Mosquitto, retained
from tests.secured import SecureBroker, new_pki, on_bus
from tests.test_control import OverMqtt
from tests.test_registered_streams import jpeg
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli import main, stream, stream_view
from tiercut.clock import SystemClock
from tiercut.declared import encode_json, iso_time
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import StreamStatus, Trouble, encode_wanted, settings_id
from tiercut.protocol.topics import STATUS, STREAM_STATUS, WANTED
from tiercut.security.identity_list import IdentityName
from tiercut.settings import from_table

GARDEN = """
name = "garden"
model = "chain"
sensor = "mqtt"
topic = "cam/garden"
in_flight = 1
"""


@dataclass
class Bench:
    """A broker, and a person with files of streams."""

    url: str
    folder: Path
    capsys: pytest.CaptureFixture[str]

    async def say(self, *arguments: str) -> tuple[int, str]:
        """Run the command; its exit status and what it says."""
        self.capsys.readouterr()
        status = await asyncio.to_thread(main, ["stream", *arguments, "--broker", self.url])
        out, err = self.capsys.readouterr()
        return status, out + err

    async def add(self, text: str, *arguments: str) -> tuple[int, str]:
        file = self.folder / "stream.toml"
        file.write_text(text, encoding="utf-8")
        return await self.say("add", str(file), *arguments)

    async def retained(self, name: str = "garden") -> bytes:
        """The settings that a hub would find when it starts."""
        return await retained(self.url, WANTED.of(site="home", stream=name))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Any:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def bench(mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(mosquitto.url, tmp_path, capsys)


@asynccontextmanager
async def site(bench: Bench, bundles: Path, *, sensing: bool = True, **hub: Any) -> AsyncIterator[MqttBus]:
    """A hub and an edge; with ``sensing`` a sensor that publishes pictures."""
    place = OverMqtt(bundles, {}, url=bench.url)
    edge = place.edge()
    nodes: list[Any] = [
        Hub(HubSettings(**place.common("hub", **hub)), open_bus=place.opener("hub")),
        edge,
        Gateway(edge, open_bus=place.opener("e-gateway")),
    ]
    async with MqttBus(MqttSettings(url=bench.url), clock=SystemClock()) as bus, place.running(*nodes):
        publishing = asyncio.create_task(_publish(bus, jpeg())) if sensing else None
        try:
            yield bus
        finally:
            if publishing is not None:
                publishing.cancel()


async def _publish(bus: MqttBus, payload: bytes) -> None:
    while True:
        await bus.publish(Message("cam/garden", payload))
        await asyncio.sleep(0.05)


@async_test
async def test_stream_is_added_listed_shown_changed_and_removed(bench: Bench, bundles: Path) -> None:
    async with site(bench, bundles):
        assert await bench.say("list") == (0, "no streams; add one: tiercut stream add FILE.toml\n")
        assert await bench.add(GARDEN) == (0, "'garden' is running on 'e', model 'chain'\n")
        status, said = await bench.say("list")
        assert status == 0
        assert said.splitlines()[0].split() == [*stream_view._COLUMNS]
        assert said.splitlines()[1].split()[:6] == ["garden", "mqtt", "chain", "running", "e", "(edge)"]
        status, said = await bench.say("show", "garden")
        assert (status, tomllib.loads(said)) == (0, tomllib.loads(GARDEN))
        assert said.startswith("# garden: running since ")
        assert await bench.add(GARDEN + "fps = 5.0", "--replace") == (0, "'garden' is running on 'e', model 'chain'\n")
        assert json.loads(await bench.retained())["fps"] == 5.0
        assert await bench.say("remove", "garden") == (0, "'garden' is removed\n")
        assert await bench.retained() == b""
        assert await bench.say("list") == (0, "no streams; add one: tiercut stream add FILE.toml\n")


@async_test
async def test_stream_that_does_not_fit_is_refused_and_leaves_nothing(bench: Bench, bundles: Path) -> None:
    async with site(bench, bundles):
        status, said = await bench.add(GARDEN.replace("chain", "absent"))
        assert (status, "'absent'" in said, "it was not added" in said) == (2, True, True)
        assert await bench.retained() == b""
        assert (await bench.say("list"))[1].startswith("no streams")


@async_test
async def test_change_that_does_not_fit_is_taken_back(bench: Bench, bundles: Path) -> None:
    async with site(bench, bundles):
        await bench.add(GARDEN)
        before = await bench.retained()
        status, said = await bench.add(GARDEN + "min_first_cut = 999", "--replace")
        assert (status, "min_first_cut" in said, "it goes on as before" in said) == (2, True, True)
        assert await bench.retained() == before


@async_test
async def test_stream_that_is_there_is_not_changed_by_mistake(bench: Bench, bundles: Path) -> None:
    async with site(bench, bundles):
        await bench.add(GARDEN)
        status, said = await bench.add(GARDEN + "fps = 1.0")
        assert (status, "--replace" in said) == (2, True)
        assert "fps" not in json.loads(await bench.retained())


@async_test
async def test_silent_sensor_is_added_and_waited_for(
    bench: Bench, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FIRST_FRAME_S", 0.2)
    async with site(bench, bundles, sensing=False):
        status, said = await bench.add(GARDEN)
        assert (status, "'garden' is in the registry, and waits on 'e'" in said) == (0, True)


@async_test
async def test_stream_of_the_hubs_settings_can_neither_be_replaced_nor_removed(bench: Bench, bundles: Path) -> None:
    own = StreamSettings(name="garden", model="chain", sensor="mqtt", topic="cam/garden")
    async with site(bench, bundles, streams=(own,)):
        status, said = await bench.add(GARDEN, "--replace")
        assert (status, "hub's settings" in said) == (2, True)
        assert await bench.retained() == b""
        status, said = await bench.say("remove", "garden")
        assert (status, "stands in the hub's settings" in said) == (2, True)
        status, said = await bench.say("show", "garden")
        assert (status, "its settings stand in the hub's own" in said) == (0, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'name' of the file"),
        ('name = "a/#"\nmodel = "chain"', "bad stream name"),
        ('name = "+"\nmodel = "chain"', "bad stream name"),
        ('name = "a"\nmodel = "chain"\nfsp = 1', "unknown setting 'fsp'"),
        ('name = "a"\nmodel = "chain"\nfps = 0', "bad setting fps"),
        ("name = ", "expected TOML"),
    ],
)
def test_what_is_wrong_in_itself_needs_no_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "stream.toml"
    file.write_text(text)
    assert main(["stream", "add", str(file), "--broker", "mqtt://127.0.0.1:1"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", [["show", "#"], ["remove", "a/b"], ["show", "none"], ["remove", "none"]])
def test_name_that_is_none_or_nobodys_is_said(bench: Bench, command: list[str]) -> None:
    assert main(["stream", *command, "--broker", bench.url]) == 2
    assert command[1] in bench.capsys.readouterr().err


@async_test
async def test_site_without_a_hub_is_said_and_nothing_retained(bench: Bench) -> None:
    status, said = await bench.add(GARDEN)
    assert (status, "expected a hub" in said, "correct --site" in said) == (5, True, True)
    assert await bench.retained() == b""


# ---------------------------------------------------------------------- a hub that says what it is told to


@asynccontextmanager
async def played_hub(
    url: str, answer: Callable[[bytes], StreamStatus | None], *, online: bool = True
) -> AsyncIterator[None]:
    """Answers what is wanted of ``garden``."""
    names = {"site": "home", "stream": "garden"}

    def wanted(delivery: Any) -> None:
        delivery.ack()
        status = answer(delivery.payload) if delivery.payload else None
        if status is not None:
            said = bus.publish(Message(STREAM_STATUS.of(**names), encode_json(status), retain=True))
            tasks.append(asyncio.create_task(said))

    tasks: list[asyncio.Task[Any]] = []
    async with MqttBus(MqttSettings(url=url), clock=SystemClock()) as bus:
        await bus.subscribe(WANTED.of(**names), handler=wanted)
        state: Any = "online" if online else "offline"
        present = NodeStatus(node="hub", tier="hub", state=state, version="1", clock_id="")
        await bus.publish(Message(STATUS.of(site="home", tier="hub", node="hub"), encode_json(present), retain=True))
        yield
        await asyncio.gather(*tasks)


@async_test
async def test_hub_that_is_offline_is_said_and_finds_the_stream_later(bench: Bench) -> None:
    async with played_hub(bench.url, lambda _: None, online=False):
        status, said = await bench.add(GARDEN)
    assert (status, "a hub that is offline" in said, "stay retained" in said) == (5, True, True)
    assert json.loads(await bench.retained())["model"] == "chain"


@async_test
async def test_hub_that_says_nothing_is_waited_for_only_so_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWERED_S", 0.2)
    async with played_hub(bench.url, lambda _: None):
        status, said = await bench.add(GARDEN)
    assert (status, "nobody has answered" in said) == (5, True)


@async_test
async def test_change_is_not_said_to_run_before_the_hub_speaks_of_it(bench: Bench) -> None:
    wanted: list[bytes] = []

    def answer(payload: bytes) -> StreamStatus | None:
        wanted.append(payload)
        first = StreamStatus(stream="garden", state="running", settings_id=settings_id(payload))
        return first if len(wanted) == 1 else None

    async with (
        played_hub(bench.url, answer),
        MqttBus(MqttSettings(url=bench.url), clock=SystemClock()) as bus,
    ):
        assert (await bench.add(GARDEN))[0] == 0
        changing = asyncio.create_task(bench.add(GARDEN + "fps = 5.0", "--replace"))
        await until(lambda: len(wanted) == 2)
        await asyncio.sleep(stream.CHANGED_S + 0.5)
        assert not changing.done()
        refused = StreamStatus(stream="garden", state="refused", message="no", settings_id=settings_id(wanted[1]))
        topic = STREAM_STATUS.of(site="home", stream="garden")
        await bus.publish(Message(topic, encode_json(refused), retain=True))
        status, said = await changing
    assert (status, "it goes on as before" in said) == (2, True)


@async_test
async def test_sensor_that_fails_is_quoted_and_the_stream_stays(bench: Bench) -> None:
    failed = StreamStatus(stream="garden", state="failed", message="no such camera", device="d")
    async with played_hub(bench.url, lambda _: failed):
        status, said = await bench.add(GARDEN)
    assert (status, "no such camera on 'd'" in said) == (6, True)
    assert await bench.retained() != b""


@async_test
async def test_what_comes_over_the_bus_cannot_move_the_cursor(bench: Bench) -> None:
    bad = "\x1b[2J\nevil"
    trouble = (Trouble("bad_image", bad, 3, iso_time(1.7e9)),)
    status = StreamStatus(
        stream="garden", state="waiting", message=bad, model=bad, sensor=bad, device=bad, trouble=trouble
    )
    async with (
        played_hub(bench.url, lambda _: status),
        MqttBus(MqttSettings(url=bench.url), clock=SystemClock()) as bus,
    ):
        await bus.publish(Message(WANTED.of(site="home", stream="garden"), b"\x1b[2J no json", retain=True))
        while not await retained(bench.url, STREAM_STATUS.of(site="home", stream="garden")):
            pass  # the hub's answer is under way
        shown, listed = await bench.say("show", "garden"), await bench.say("list")
    for code, said in (shown, listed):
        assert (code, "\x1b" in said, "\nevil" in said) == (0, False, False)
    assert all(line.startswith("#") for line in shown[1].splitlines())


@pytest.mark.parametrize(
    "settings",
    [
        StreamSettings(name="garden", model='a "b" \\ \x7f é', path=(Path("a b"),), fps=0.5, retain_last=True),
        StreamSettings(
            name="garden",
            model="m",
            sensor="fusion",
            sources=(SourceSettings(topic="a", json_path=("$.a", "$.b")), SourceSettings(topic="b", scale=(2.0,))),
            tolerance_ms=50.0,
        ),
    ],
)
def test_shown_settings_are_a_file_that_could_be_added(settings: StreamSettings) -> None:
    text = stream_view.shown("garden", None, encode_wanted(settings))
    assert from_table(StreamSettings, tomllib.loads(text), where="x") == settings


# ---------------------------------------------------------------------- with access rules


@async_test
async def test_reader_may_look_and_not_touch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pki = new_pki(tmp_path / "pki", "t/hub/hub", "t/reader/r", "t/operator/o")
    (tmp_path / "garden.toml").write_text(GARDEN)
    garden = StreamStatus(stream="garden", state="running")
    present = NodeStatus(node="hub", tier="hub", state="online", version="1", clock_id="")
    with SecureBroker(tmp_path, pki, acl("t", pki.listed(), [])) as secure:
        async with on_bus(secure, pki, "t/hub/hub") as (hub,):
            await hub.publish(Message(STATUS.of(site="t", tier="hub", node="hub"), encode_json(present), retain=True))
            await hub.publish(Message(STREAM_STATUS.of(site="t", stream="garden"), encode_json(garden), retain=True))

            async def say(identity: str, *command: str) -> tuple[int, str]:
                folder = str(pki.files.path_of(IdentityName.parse(identity)))
                arguments = ["stream", *command, "--broker", secure.url, "--site", "t", "--identity", folder]
                status = await asyncio.to_thread(main, arguments)
                out, err = capsys.readouterr()
                return status, out + err

            assert "running" in (await say("t/reader/r", "list"))[1]
            assert "need an identity of the role operator" in (await say("t/reader/r", "show", "garden"))[1]
            status, said = await say("t/reader/r", "add", str(tmp_path / "garden.toml"), "--replace")
            assert (status, "not authorized" in said.lower()) == (5, True), said
            assert (await say("t/operator/o", "add", str(tmp_path / "garden.toml"), "--replace"))[0] == 0
