"""``tiercut doctor`` before real brokers, real nodes and real access rules."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_node.node import EdgeNode
from edge_node.settings import Settings as EdgeSettings
from tests.aio import async_test, until
from tests.brokers import Mosquitto, certificates, program, retained
from tiercut import __version__, cli
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.doctor import add_parser
from tiercut.cli.doctor import target as command_target
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.doctor.certificates import lifetime
from tiercut.doctor.examine import examine
from tiercut.doctor.findings import Finding
from tiercut.doctor.target import Target, of_settings
from tiercut.launch.processes import free_port
from tiercut.protocol.nodes import NodeStatus, StatusTier
from tiercut.protocol.streams import StreamState, StreamStatus
from tiercut.protocol.topics import STATUS, STREAM_STATUS
from tiercut.security.certificates import Authority


async def found(target: Target) -> dict[tuple[str, str], list[Finding]]:
    """Findings by check and state."""
    made: dict[tuple[str, str], list[Finding]] = {}
    async for finding in examine(target):
        made.setdefault((finding.check, finding.state), []).append(finding)
    return made


def plain(url: str, **more: Any) -> Target:
    return Target(site="t", bus=MqttSettings(url=url), **{"wait_s": 2.0, **more})


def words(findings: dict[tuple[str, str], list[Finding]], *states: str) -> list[str]:
    return [each.says for (_, state), some in findings.items() if state in states for each in some]


class FarClock(SystemClock):
    """A machine of its own, whose calendar is wrong."""

    def __init__(self, off_s: float) -> None:
        self.id = "far"
        self._off_s = off_s

    def monotonic_s(self) -> float:
        return SystemClock.monotonic_s() + 1000.0

    def unix_s(self) -> float:
        return SystemClock.unix_s() + self._off_s


@asynccontextmanager
async def node(url: str, bundles: Path, clock: SystemClock) -> AsyncIterator[None]:
    """An edge on a bus."""
    own = EdgeSettings(site="t", node="e", broker_url=url, bundles=bundles, status_every_s=0.2)

    def open_bus(url: str, *, will: tuple[str, bytes]) -> MqttBus:
        return MqttBus(MqttSettings(url=url), clock=clock, will=will, wait=True)

    stop = asyncio.Event()
    running = asyncio.create_task(EdgeNode(own, open_bus=open_bus, clock=clock).run(stop))
    try:
        while not await retained(url, STATUS.of(site="t", tier="edge", node="e")):
            pass  # it is on its way
        yield
    finally:
        stop.set()
        await running


async def say(bus: MqttBus, name: str, tier: StatusTier, **more: Any) -> None:
    """A node's status, as its node says it."""
    said: dict[str, Any] = {"state": "online", "version": __version__, "sent_unix_s": time.time()} | more
    status = NodeStatus(node=name, tier=tier, **said)
    await bus.publish(Message(STATUS.of(site="t", tier=tier, node=name), encode_json(status), retain=True))


@asynccontextmanager
async def saying(bus: MqttBus, *statuses: tuple[str, Any, dict[str, Any]]) -> AsyncIterator[None]:
    """Nodes that go on saying how they are."""

    async def go_on() -> None:
        while True:
            for name, tier, more in statuses:
                await say(bus, name, tier, **more)
            await asyncio.sleep(0.1)

    speaking = asyncio.create_task(go_on())
    try:
        yield
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


HUB: tuple[str, str, dict[str, Any]] = ("hub", "hub", {})


@async_test
async def test_site_that_is_well_has_nothing_to_do(tmp_path: Path, bundles: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        own = MqttSettings(url=broker.url)
        async with MqttBus(own, clock=SystemClock()) as bus, saying(bus, HUB), node(broker.url, bundles, FarClock(0.0)):
            findings = await found(plain(broker.url))
    assert not words(findings, "problem", "warning")
    shown = words(findings, "ok")
    for wanted in ("version 5", "hub/hub", "edge/e is known to ±", "to edge/e: ", f"tiercut {__version__} everywhere"):
        assert any(wanted in each for each in shown), wanted


@async_test
async def test_each_step_to_the_broker_fails_by_its_own_name(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        for url, check in (
            ("mqtt://no-such-host.invalid:1883", "broker: host"),
            (f"mqtt://127.0.0.1:{free_port()}", "broker: TCP"),
            (broker.url.replace("mqtt:", "mqtts:"), "broker: TLS"),
        ):
            findings = await found(plain(url))
            assert [key for key in findings if key[1] == "problem"] == [(check, "problem")]
            assert findings[check, "problem"][0].fix


@async_test
async def test_something_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercut.doctor.reach.STEP_S", 0.3)
    stop = asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for scheme, check in (("mqtt", "broker: MQTT"), ("mqtts", "broker: TLS")):
        findings = await found(plain(f"{scheme}://127.0.0.1:{port}"))
        assert (check, "problem") in findings
    stop.set()
    server.close()
    await until(lambda: len(asyncio.all_tasks()) == 1)


@async_test
async def test_broker_of_another_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, cert, key = certificates(tmp_path)
    other_ca, _, _ = certificates(tmp_path / "other")
    with Mosquitto(tmp_path, f"certfile {cert}", f"keyfile {key}", tls=True) as broker:
        findings = await found(Target(site="t", bus=MqttSettings(url=broker.url, ca_file=str(other_ca)), wait_s=1.0))
    (finding,) = findings["broker: TLS", "problem"]
    assert "not trusted" in finding.says
    assert "certificate ca.pem" in {check for check, _ in findings}


@async_test
async def test_nodes_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            nodes = (
                HUB,
                ("a", "edge", {"models": {"cat": "a" * 64, "dog": "c" * 64}}),
                ("b", "edge", {"models": {"cat": "b" * 64, "dog": "c" * 64}, "version": "9.0.0"}),
            )
            await say(bus, "gone", "device", state="offline")
            async with saying(bus, *nodes):
                findings = await found(plain(broker.url))
    (models,) = findings["models", "problem"]
    assert "2 models of the name 'cat': aaaaaaaaaaaa… on edge/a; bbbbbbbbbbbb… on edge/b" in models.says
    assert [each.says for each in findings["models", "ok"]] == ["'dog' is the same on edge/a, edge/b"]
    assert [each.says for each in findings["nodes", "warning"]] == ["device/gone is offline"]
    assert "edge/b: tiercut 9.0.0" in findings["versions", "problem"][0].says


@async_test
async def test_streams_that_do_not_run_are_told_with_the_hubs_reason(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus, saying(bus, HUB):
            states: dict[str, StreamState] = {"cam": "running", "door": "waiting", "yard": "refused"}
            for name, state in states.items():
                status = StreamStatus(stream=name, state=state, message=f"why {name}")
                topic = STREAM_STATUS.of(site="t", stream=name)
                await bus.publish(Message(topic, encode_json(status), retain=True))
            findings = await found(plain(broker.url))
    assert [each.says for each in findings["streams", "ok"]] == ["running: cam"]
    assert [each.says for each in findings["streams", "warning"]] == ["'door' is waiting: why door"]
    assert [each.says for each in findings["streams", "problem"]] == ["'yard' is refused: why yard"]


@async_test
async def test_node_that_is_gone_for_good_is_forgotten_by_the_command_that_is_shown(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus, saying(bus, HUB):
            await say(bus, "gone", "device", state="offline")
            (finding,) = (await found(plain(broker.url)))["nodes", "warning"]
            command = finding.fix.partition("gone for good: ")[2].split()
            await asyncio.to_thread(subprocess.run, [program(command[0]), *command[1:]], check=True)
            assert ("nodes", "warning") not in await found(plain(broker.url))


@async_test
async def test_who_waits_less_than_nodes_are_silent_is_not_alarmed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            await say(bus, "hub", "hub")
            await say(bus, "quiet", "device")
            findings = await found(plain(broker.url, wait_s=1.0))
    assert not words(findings, "problem", "warning")
    assert any("device/quiet not looked at" in each for each in words(findings, "ok"))


@async_test
async def test_clock_that_is_off_and_node_that_is_silent_are_told(tmp_path: Path, bundles: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            await say(bus, "silent", "cloud", clock_id="x")
            async with saying(bus, HUB), node(broker.url, bundles, FarClock(-3600.0)):
                findings = await found(plain(broker.url, wait_s=6.0))
    off = [each.says for each in findings["wall clocks", "problem"]]
    assert any(each.startswith("the clock of edge/e is 3600.0 s behind ours") for each in off)
    assert any("cloud/silent" in each.says for each in findings["wall clocks", "warning"])
    assert any("cloud/silent does not answer" in each.says for each in findings["clocks", "warning"])


# ---------------------------------------------------------------------- certificates, settings, the command


@pytest.mark.parametrize(
    ("days", "state", "says"),
    [(100, "ok", "for 99 days"), (10, "warning", "ends in 9 days"), (-1, "problem", "has ended on")],
)
def test_certificates_are_renewed_in_time(days: int, state: str, says: str) -> None:
    made = Authority.new("t", days=200).certificate
    now = made.not_valid_after_utc - dt.timedelta(days=days) + dt.timedelta(hours=12)
    finding = lifetime("certificate", "ours", made, now, fix="renew it")
    assert finding.state == state
    assert says in finding.says.replace("for 100 days", "for 99 days").replace("in 10 days", "in 9 days")


def test_settings_of_a_node_say_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    lines = ['site = "t"', 'node = "e"', 'broker_url = "mqtt://127.0.0.1:1"', 'cloud_broker_url = "mqtt://10.9.9.9:1"']
    file.write_text("\n".join([*lines, "cache_frames = 4", 'hub_url = ["https://hub:8443"]']), encoding="utf-8")
    target = of_settings(file)
    assert (target.site, target.bus.url, target.hubs) == ("t", "mqtt://127.0.0.1:1", ("https://hub:8443",))
    assert target.cloud is not None
    assert target.cloud.url == "mqtt://10.9.9.9:1"


def test_environment_wins_over_the_settings_file_as_it_does_for_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('site = "t"\nbroker_url = "mqtt://127.0.0.1:1"\ncache_frames = 4\n', encoding="utf-8")
    monkeypatch.setenv("TIERCUT_BROKER_URL", "mqtt://127.0.0.1:2")
    monkeypatch.setenv("TIERCUT_HUB_URL", "https://a:8443,https://b:8443")
    target = of_settings(file)
    assert (target.site, target.bus.url) == ("t", "mqtt://127.0.0.1:2")
    assert target.hubs == ("https://a:8443", "https://b:8443")


def test_hubs_of_the_environment_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERCUT_HUB_URL", "https://a:8443, https://b:8443")
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    assert command_target(parser.parse_args(["doctor"])).hubs == ("https://a:8443", "https://b:8443")
    assert command_target(parser.parse_args(["doctor", "--hub", "https://c:8443"])).hubs == ("https://c:8443",)


def test_command_ends_with_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    assert cli.main(["doctor", "--broker", url, "--hub", f"https://127.0.0.1:{free_port()}", "--json"]) == 1
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [each["state"] for each in lines] == ["ok", "problem", "problem"]
    assert all(each["fix"] for each in lines if each["state"] == "problem")
    assert cli.main(["doctor", "--broker", url]) == 1
    assert "→ start the broker, or correct the port" in capsys.readouterr().out
