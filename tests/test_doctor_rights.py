"""``tiercut doctor`` and the access rules of a real broker: right ones, too narrow ones, too wide ones."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mosquitto.access_rules import acl
from tests.aio import async_test
from tests.brokers import Mosquitto, program
from tests.secured import SecureBroker, new_pki, settings
from tests.test_doctor import HUB, found, plain, say, saying
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.doctor.target import Target
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import WANTED
from tiercut.security.authority import AuthorityFolder
from tiercut.security.identity import Identity
from tiercut.security.identity_list import IdentityName

CAM = StreamSettings(name="cam", model="m", sensor="noise", device="d")
ROLES = ("device", "edge", "hub", "operator", "reader")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> AuthorityFolder:
    folder = tmp_path_factory.mktemp("doctor")
    return new_pki(folder / "pki", *(f"t/{role}/{role[0]}" for role in ROLES), bell=("door/+",))


@pytest.fixture
def secured(keys: AuthorityFolder, tmp_path: Path) -> Iterator[SecureBroker]:
    with SecureBroker(tmp_path, keys, acl("t", keys.listed(), [CAM])) as broker:
        yield broker


def as_one(broker: SecureBroker, keys: AuthorityFolder, name: str) -> Target:
    identity = Identity.load(keys.files.path_of(IdentityName.parse(name)))
    return Target(site="t", bus=settings(broker, keys, name), identity=identity, wait_s=0.5)


async def retained(broker: SecureBroker, keys: AuthorityFolder) -> None:
    """What others could read: a registered stream."""
    async with MqttBus(settings(broker, keys, "t/operator/o"), clock=SystemClock()) as bus:
        await bus.publish(Message(WANTED.of(site="t", stream="cam"), b"{}", retain=True))


@pytest.mark.parametrize("name", [*(f"t/{role}/{role[0]}" for role in ROLES), "t/sensor/bell"])
def test_every_role_has_its_rights_by_the_rules_of_a_site(
    keys: AuthorityFolder, secured: SecureBroker, name: str
) -> None:
    @async_test
    async def look() -> None:
        await retained(secured, keys)
        findings = await found(as_one(secured, keys, name))
        assert ("rights", "problem") not in findings, findings["rights", "problem"]
        assert findings["rights", "ok"]
        assert {each.says for each in findings["broker: certificate", "ok"]} == {"the broker's is valid for 397 days"}
        assert findings["certificate cert.pem", "ok"]
        if name == "t/sensor/bell":  # may read nothing, and so cannot miss anybody
            assert "problem" not in {state for _, state in findings}

    look()


def test_node_that_is_gone_for_good_is_forgotten_by_the_command_that_is_shown(
    keys: AuthorityFolder, secured: SecureBroker
) -> None:
    @async_test
    async def look() -> None:
        async with MqttBus(settings(secured, keys, "t/device/d"), clock=SystemClock()) as bus:
            await say(bus, "d", "device", state="offline")
        (finding,) = (await found(as_one(secured, keys, "t/reader/r")))["nodes", "warning"]
        command = finding.fix.partition("in its identity's folder ")[2].partition(",")[0].split()
        folder = keys.files.path_of(IdentityName.parse("t/device/d"))
        await asyncio.to_thread(subprocess.run, [program(command[0]), *command[1:]], check=True, cwd=folder)
        findings = await found(as_one(secured, keys, "t/reader/r"))
        assert ("nodes", "warning") not in findings

    look()


def test_rules_that_are_too_narrow_are_told(keys: AuthorityFolder, tmp_path: Path) -> None:
    rules = acl("t", keys.listed(), [CAM]).replace("topic read tiercut/v1/t/operator/o/clock\n", "")
    rules = rules.replace("topic write tiercut/v1/t/stream/+/wanted\n", "")

    @async_test
    async def look() -> None:
        with SecureBroker(tmp_path, keys, rules) as broker:
            said = [each.says for each in (await found(as_one(broker, keys, "t/operator/o")))["rights", "problem"]]
        assert any("may not publish on tiercut/v1/t/stream/doctor-nobody/wanted" in each for each in said)
        assert any("does not come back" in each for each in said)

    look()


def test_rules_that_are_too_wide_are_told(keys: AuthorityFolder, tmp_path: Path) -> None:
    everybody = "".join(f"user t/{role}/{role[0]}\ntopic readwrite #\n\n" for role in ROLES)

    @async_test
    async def look() -> None:
        with SecureBroker(tmp_path, keys, everybody) as broker:
            await retained(broker, keys)
            said = [each.says for each in (await found(as_one(broker, keys, "t/device/d")))["rights", "problem"]]
        assert any("may publish on tiercut/v1/t/stream/doctor-nobody/plan" in each for each in said)
        assert any("can read tiercut/v1/t/stream/cam/wanted, and must not" in each for each in said)

    look()


@pytest.mark.parametrize("name", [f"t/{role}/{role[0]}" for role in ROLES])
def test_looking_reaches_nobody_and_leaves_nothing(keys: AuthorityFolder, tmp_path: Path, name: str) -> None:
    heard: list[Delivery] = []

    def listen(delivery: Delivery) -> None:
        delivery.ack()
        heard.append(delivery)

    @async_test
    async def look() -> None:
        with Mosquitto(tmp_path) as broker:
            identity = Identity.load(keys.files.path_of(IdentityName.parse(name)))
            async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus, saying(bus, HUB):
                await bus.subscribe("#", handler=listen)
                await found(plain(broker.url, identity=identity))
                await asyncio.sleep(0.1)

    look()
    others = [each.topic for each in heard if not each.topic.endswith("/hub/hub/status")]
    own = f"{name.rpartition('/')[0].removeprefix('t/')}/{name[-1]}/clock"
    assert others
    assert not [each for each in others if "doctor-nobody" not in each and not each.endswith(own)]
