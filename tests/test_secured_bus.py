"""A secured bus on a real Mosquitto: what is refused, and what still works."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import yaml

from broker.mosquitto.access_rules import acl, write_acl
from broker.mosquitto.configuration import MAX_CONNECTIONS, MEMORY_MB, plain
from tests.aio import async_test, until
from tests.brokers import Mosquitto, program
from tests.secured import SecureBroker, claiming_to_serve, new_pki, on_bus, settings
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BrokerRefused, BrokerUnreachable, PublishRefused
from tiercut.node.identity import with_identity
from tiercut.node.program import MqttOpener
from tiercut.node.settings import NodeSettings
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.security.authority import AuthorityFolder
from tiercut.security.identity_list import IdentityName, Listed

CAM = StreamSettings(name="cam", model="m", sensor="noise", device="d")
OTHER = StreamSettings(name="other", model="m", sensor="noise", device="x")
DOOR = StreamSettings(name="door", model="m", sensor="mqtt", topic="door/bell")
IDENTITIES = ("t/device/d", "t/device/x", "t/edge/e", "t/hub/hub", "t/operator/o", "t/reader/r")
T = "tiercut/v1/t"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecureBroker, AuthorityFolder]]:
    folder = tmp_path_factory.mktemp("secured")
    pki = new_pki(folder / "pki", *IDENTITIES, bell=("door/+",))
    with SecureBroker(folder, pki, acl("t", pki.listed(), [CAM, OTHER, DOOR])) as broker:
        yield broker, pki


class Heard:
    """Topics that a subscription brought."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def __call__(self, delivery: Delivery) -> None:
        delivery.ack()
        self.topics.append(delivery.topic)


DENIED_WRITES = [
    ("t/device/d", f"{T}/edge/e/work/other"),  # another device's stream
    ("t/device/d", f"{T}/edge/e/work/door"),  # a stream of the gateway
    ("t/device/d", f"{T}/stream/other/result"),
    ("t/device/d", f"{T}/stream/other/dropped"),
    ("t/device/d", f"{T}/stream/cam/plan"),
    ("t/device/d", f"{T}/stream/cam/control"),
    ("t/device/d", f"{T}/stream/cam/wanted"),
    ("t/device/d", f"{T}/stream/cam/state"),
    ("t/device/d", f"{T}/device/x/status"),
    ("t/device/d", f"{T}/device/x/prepare"),
    ("t/device/d", f"{T}/device/d/streams"),
    ("t/device/d", "door/bell"),  # would pass for a sensor
    ("t/edge/e", f"{T}/stream/cam/plan"),
    ("t/edge/e", f"{T}/stream/cam/wanted"),
    ("t/edge/e", f"{T}/hub/hub/status"),
    ("t/hub/hub", f"{T}/edge/e/work/cam"),
    ("t/hub/hub", f"{T}/stream/cam/result"),
    ("t/operator/o", f"{T}/stream/cam/plan"),
    ("t/operator/o", f"{T}/stream/cam/result"),
    ("t/reader/r", f"{T}/stream/cam/result"),
    ("t/reader/r", f"{T}/stream/cam/wanted"),
    ("t/reader/r", f"{T}/stream/cam/control"),
    ("t/sensor/bell", f"{T}/edge/e/work/door"),
    ("t/sensor/bell", "door/bell/else"),
    ("t/bus/bus", f"{T}/stream/cam/result"),
]


@async_test
async def test_messages_outside_of_a_role_are_refused(site: tuple[SecureBroker, AuthorityFolder]) -> None:
    writers = tuple(dict.fromkeys(identity for identity, _ in DENIED_WRITES))
    taken = []
    async with on_bus(*site, *writers) as buses:
        for identity, topic in DENIED_WRITES:
            try:
                await buses[writers.index(identity)].publish(Message(topic, b"no"))
                taken.append((identity, topic))
            except PublishRefused:
                pass
    assert not taken


READS = [
    ("t/device/d", "t/hub/hub", f"{T}/stream/cam/plan", True),
    ("t/device/d", "t/hub/hub", f"{T}/device/d/prepare", True),
    ("t/device/d", "t/edge/e", f"{T}/stream/cam/result", True),
    ("t/device/d", "t/edge/e", f"{T}/edge/e/status", True),
    ("t/device/x", "t/hub/hub", f"{T}/stream/cam/plan", False),
    ("t/device/x", "t/hub/hub", f"{T}/device/d/prepare", False),
    ("t/device/x", "t/edge/e", f"{T}/stream/cam/result", False),
    ("t/device/x", "t/device/d", f"{T}/edge/e/work/cam", False),
    ("t/device/x", "t/operator/o", f"{T}/stream/cam/wanted", False),
    ("t/edge/e", "t/device/d", f"{T}/edge/e/work/cam", True),
    ("t/edge/e", "t/sensor/bell", "door/bell", True),
    ("t/edge/e", "t/operator/o", f"{T}/stream/cam/control", False),
    ("t/hub/hub", "t/operator/o", f"{T}/stream/cam/control", True),
    ("t/hub/hub", "t/operator/o", f"{T}/stream/cam/wanted", True),
    ("t/hub/hub", "t/device/d", f"{T}/edge/e/work/cam", False),
    ("t/operator/o", "t/hub/hub", f"{T}/stream/cam/state", True),
    ("t/reader/r", "t/edge/e", f"{T}/stream/door/result", True),
    ("t/reader/r", "t/device/d", f"{T}/edge/e/work/cam", False),
    ("t/sensor/bell", "t/edge/e", f"{T}/stream/door/result", False),
    ("t/sensor/bell", "t/sensor/bell", "door/bell", False),
]


@async_test
async def test_messages_reach_those_whose_role_needs_them_and_nobody_else(
    site: tuple[SecureBroker, AuthorityFolder],
) -> None:
    readers = tuple(dict.fromkeys(reader for reader, *_ in READS))
    writers = tuple(dict.fromkeys(writer for _, writer, *_ in READS))
    heard = {reader: Heard() for reader in readers}
    async with on_bus(*site, *readers) as reading, on_bus(*site, *writers) as writing:
        for reader, bus in zip(readers, reading, strict=True):
            await bus.subscribe("#", handler=heard[reader])
        for _, writer, topic, _ in READS:
            await writing[writers.index(writer)].publish(Message(topic, b"yes"))
        allowed = [(reader, topic) for reader, _, topic, wanted in READS if wanted]
        await until(lambda: all(topic in heard[reader].topics for reader, topic in allowed))
        await asyncio.sleep(0.1)  # nothing else comes
    came = [(reader, topic) for reader, _, topic, wanted in READS if not wanted and topic in heard[reader].topics]
    assert not came


@async_test
async def test_large_messages_pass_whole_in_both_directions(site: tuple[SecureBroker, AuthorityFolder]) -> None:
    async with on_bus(*site, "t/device/d", "t/edge/e") as (device, edge):
        came = aiter(await edge.subscribe(f"{T}/edge/e/work/+"))
        for size in (1, 16_384, 150_000, 5_000_000):
            payload = os.urandom(size)
            await device.publish(Message(f"{T}/edge/e/work/cam", payload))
            delivery = await anext(came)
            delivery.ack()
            assert delivery.payload == payload


# ---------------------------------------------------------------------- certificates


async def refused(wanted: MqttSettings) -> str:
    with pytest.raises((BrokerUnreachable, BrokerRefused)) as caught:
        async with MqttBus(wanted, clock=SystemClock()):
            pass
    return str(caught.value)


@async_test
async def test_client_without_a_certificate_is_refused(site: tuple[SecureBroker, AuthorityFolder]) -> None:
    broker, pki = site
    said = await refused(settings(broker, pki, "t/device/d", cert_file=None, key_file=None))
    assert "certificate" in said


@async_test
async def test_client_with_user_name_and_password_but_no_certificate_is_refused(
    site: tuple[SecureBroker, AuthorityFolder],
) -> None:
    broker, pki = site
    await refused(
        settings(broker, pki, "t/device/d", cert_file=None, key_file=None, username="t/hub/hub", password="x")
    )


@async_test
async def test_certificate_of_another_authority_is_refused(
    site: tuple[SecureBroker, AuthorityFolder], tmp_path: Path
) -> None:
    broker, pki = site
    foreign = new_pki(tmp_path / "foreign", "t/hub/hub").files.path_of(IdentityName("t", "hub", "hub"))
    files = {"cert_file": str(foreign / "cert.pem"), "key_file": str(foreign / "key.pem")}
    assert "certificate" in await refused(settings(broker, pki, "t/hub/hub", **files))


@async_test
async def test_broker_of_another_authority_is_not_trusted(
    site: tuple[SecureBroker, AuthorityFolder], tmp_path: Path
) -> None:
    broker, pki = site
    foreign = new_pki(tmp_path / "foreign", "t/hub/hub").files.path_of(IdentityName("t", "hub", "hub"))
    assert "not trusted" in await refused(settings(broker, pki, "t/hub/hub", ca_file=str(foreign / "ca.pem")))


@async_test
async def test_certificate_that_has_ended_is_refused(
    site: tuple[SecureBroker, AuthorityFolder], tmp_path: Path
) -> None:
    broker, pki = site
    shutil.copytree(pki.folder, tmp_path / "pki")
    copy = AuthorityFolder(tmp_path / "pki")
    copy.renew(IdentityName("t", "device", "d"), days=1, now=dt.datetime.now(dt.UTC) - dt.timedelta(days=1, minutes=1))
    assert "certificate" in await refused(settings(broker, copy, "t/device/d"))


@async_test
async def test_certificate_of_a_node_does_not_make_a_broker(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", "t/device/d", "t/edge/e")
    claiming_to_serve(pki, IdentityName("t", "device", "d"))
    folder = pki.files.path_of(IdentityName("t", "bus", "bus"))
    for name in ("cert.pem", "key.pem"):
        shutil.copy(pki.files.path_of(IdentityName("t", "device", "d")) / name, folder / name)
    with SecureBroker(tmp_path, pki, "") as broker:
        assert "purpose" in await refused(settings(broker, pki, "t/edge/e"))


@async_test
async def test_broker_must_be_the_one_of_the_site(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", "t/edge/e", "t/hub/hub", "other/bus/bus", "cloud/bus/cb")
    folders = {name: pki.files.path_of(IdentityName.parse(name)) for name in ("t/edge/e", "t/hub/hub", "t/bus/bus")}
    shutil.copytree(folders["t/bus/bus"] / "ca.d", folders["t/hub/hub"] / "ca.d")
    urls = "mqtts://localhost:1", "mqtts://localhost:2"
    edge = NodeSettings(site="t", node="e", broker_url=urls[0], cloud_broker_url=urls[1], identity=folders["t/edge/e"])
    opener = MqttOpener(with_identity(edge, "edge"), "edge")
    opened = [opener(url, will=("w", b"")) for url in urls]
    home, cloud = (cast("MqttBus", bus).settings for bus in opened)
    said = {}
    for who in ("t/bus/bus", "other/bus/bus", "cloud/bus/cb", "t/hub/hub"):
        with SecureBroker(tmp_path, pki, "", bus=who) as broker:
            for name, wanted in (("home", home), ("cloud", cloud)):
                try:
                    async with MqttBus(replace(wanted, url=broker.url), clock=SystemClock()):
                        said[who, name] = ""
                except BrokerUnreachable as error:
                    said[who, name] = str(error)
    assert {pair for pair, words in said.items() if not words} == {
        ("t/bus/bus", "home"), ("t/bus/bus", "cloud"), ("other/bus/bus", "cloud"), ("cloud/bus/cb", "cloud")
    }  # fmt: skip
    assert "expected one of 't/bus/+', got 'other/bus/bus'" in said["other/bus/bus", "home"]


@async_test
async def test_clock_that_is_late_is_said_to_be(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", "t/edge/e")
    pki.renew(IdentityName("t", "bus", "bus"), now=dt.datetime.now(dt.UTC) + dt.timedelta(days=3))
    with SecureBroker(tmp_path, pki, "") as broker:
        assert "set the clock of this machine" in await refused(settings(broker, pki, "t/edge/e"))


@async_test
async def test_identity_that_nobody_listed_may_do_nothing(
    site: tuple[SecureBroker, AuthorityFolder], tmp_path: Path
) -> None:
    broker, pki = site
    shutil.copytree(pki.folder, tmp_path / "pki")
    copy = AuthorityFolder(tmp_path / "pki")
    copy.ensure(Listed(IdentityName("t", "edge", "new")))
    unlisted, listed = Heard(), Heard()
    async with on_bus(broker, copy, "t/edge/new", "t/reader/r", "t/edge/e") as (new, reader, edge):
        await new.subscribe("#", handler=unlisted)
        await reader.subscribe("#", handler=listed)
        with pytest.raises(PublishRefused):
            await new.publish(Message(f"{T}/edge/new/status", b"{}"))
        for topic in (f"{T}/edge/e/status", f"{T}/stream/cam/result"):
            await edge.publish(Message(topic, b"{}"))
        await until(lambda: f"{T}/stream/cam/result" in listed.topics)
        await asyncio.sleep(0.2)
    assert not unlisted.topics


@async_test
async def test_will_outside_of_a_role_is_not_published(site: tuple[SecureBroker, AuthorityFolder]) -> None:
    heard = Heard()
    async with on_bus(*site, "t/hub/hub") as (hub,):
        await hub.subscribe(f"{T}/+/+/status", handler=heard)
        for identity in ("t/reader/r", "t/edge/e"):  # Mosquitto looks at the rules when it is due
            will = (f"{T}/edge/e/status", b"{}")
            async with MqttBus(settings(*site, identity), clock=SystemClock(), will=will) as bus:
                bus._connection.abort()  # type: ignore[union-attr]  # no goodbye
        await until(lambda: bool(heard.topics))
        await asyncio.sleep(0.1)
    assert heard.topics == [f"{T}/edge/e/status"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused_and_1_2_is_taken(site: tuple[SecureBroker, AuthorityFolder]) -> None:
    broker, pki = site
    folder = pki.files.path_of(IdentityName("t", "reader", "r"))
    for version, taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        try:
            shake_hands(broker.port, context)
            assert taken
        except ssl.SSLError:
            assert not taken


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    """A handshake."""
    with socket.create_connection(("localhost", port), timeout=5) as raw:
        context.wrap_socket(raw, server_hostname="localhost").close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_does_not_outlive_its_certificate(
    site: tuple[SecureBroker, AuthorityFolder], tmp_path: Path, version: ssl.TLSVersion
) -> None:
    broker, pki = site
    copy = AuthorityFolder(Path(shutil.copytree(pki.folder, tmp_path / "pki")))
    who = IdentityName("t", "device", "d")
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2.5)
    copy.renew(who, days=1, now=ends - dt.timedelta(days=1))
    folder = copy.files.path_of(who)
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.minimum_version = context.maximum_version = version
    session = say_hello(broker.port, context, None)
    say_hello(broker.port, context, session)  # as good as a new one
    time.sleep(max(0.0, (ends - dt.datetime.now(dt.UTC)).total_seconds()) + 1.1)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        say_hello(broker.port, context, session)


def say_hello(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Connect by MQTT 3.1.1, perhaps with a session from before; returns the one that it was given."""
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
    with (
        socket.create_connection(("localhost", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(connect)
        if not tls.recv(4).startswith(b"\x20"):
            raise ConnectionError("no answer")
        assert not tls.session_reused
        return tls.session


# ---------------------------------------------------------------------- changes while it runs


@async_test
async def test_new_stream_gives_rights_to_a_connected_client(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    with SecureBroker(tmp_path, pki, acl("t", pki.listed(), [CAM])) as broker:
        async with on_bus(broker, pki, "t/device/d", "t/edge/e") as (device, edge):
            heard = Heard()
            await edge.subscribe(f"{T}/edge/e/work/+", handler=heard)
            with pytest.raises(PublishRefused):
                await device.publish(Message(f"{T}/edge/e/work/more", b""))
            more = StreamSettings(name="more", model="m", sensor="noise", device="d")
            assert write_acl(broker.rules, acl("t", pki.listed(), [CAM, more]))
            assert not write_acl(broker.rules, acl("t", pki.listed(), [CAM, more]))
            await granted(device, f"{T}/edge/e/work/more")
            await until(lambda: bool(heard.topics))
            write_acl(broker.rules, acl("t", pki.listed(), [CAM]))
            await denied(device, f"{T}/edge/e/work/more")
            assert device.counters["reconnects"] == edge.counters["reconnects"] == 0


async def granted(bus: MqttBus, topic: str) -> None:
    """Until a message is taken."""
    while True:
        try:
            await bus.publish(Message(topic, b""))
        except PublishRefused:
            await asyncio.sleep(0.05)
        else:
            return


async def denied(bus: MqttBus, topic: str) -> None:
    """Until one is not."""
    try:
        while True:
            await bus.publish(Message(topic, b""))
            await asyncio.sleep(0.05)
    except PublishRefused:
        return


@async_test
async def test_renewed_certificate_is_used_at_the_next_connection_and_others_stay(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    with SecureBroker(tmp_path, pki, acl("t", pki.listed(), [CAM])) as broker:
        async with on_bus(broker, pki, "t/device/d", "t/edge/e") as (device, edge):
            for name in ("t/device/d", "t/bus/bus"):
                pki.renew(IdentityName.parse(name))
            new = (pki.files.path_of(IdentityName("t", "bus", "bus")) / "cert.pem").read_text()
            await until(lambda: ssl.get_server_certificate(("localhost", broker.port)) in new)
            device._connection.abort()  # type: ignore[union-attr]  # a lost connection
            device.on_lost("for the test")
            await granted(device, f"{T}/edge/e/work/cam")
            await edge.publish(Message(f"{T}/edge/e/status", b"{}"))
            assert (device.counters["reconnects"], edge.counters["reconnects"]) == (1, 0)


@async_test
async def test_new_authority_is_brought_in_step_by_step_without_restarting_a_client(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    with SecureBroker(tmp_path, pki, acl("t", pki.listed(), [CAM])) as broker:
        async with on_bus(broker, pki, "t/edge/e") as (edge,):
            old = shutil.copytree(pki.files.path_of(IdentityName("t", "reader", "r")), tmp_path / "old")
            for step in (pki.begin_rotation, pki.switch, pki.finish_rotation):
                step()
                await asyncio.sleep(1.5)  # run.sh looks each second
                await edge.publish(Message(f"{T}/edge/e/status", b"{}"))
                async with on_bus(broker, pki, "t/device/d"):
                    pass
            files = {f"{name}_file": str(old / f"{name}.pem") for name in ("cert", "key")}
            assert "certificate" in await refused(settings(broker, pki, "t/reader/r", **files))
            assert edge.counters["reconnects"] <= 1  # the broker starts again when an authority is gone


@async_test
async def test_sensor_without_certificate_may_have_a_password_on_a_port_of_its_own(tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES, bell=("door/+",))
    passwords = tmp_path / "passwords"
    command = [program("mosquitto_passwd"), "-b", "-c", str(passwords), "t/sensor/bell", "secret"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    with SecureBroker(tmp_path, pki, acl("t", pki.listed(), [DOOR]), passwords=passwords) as broker:
        ca = str(pki.files.path_of(IdentityName("t", "edge", "e")) / "ca.pem")
        url = f"mqtts://localhost:{broker.password_port}"
        sensor = MqttSettings(url=url, ca_file=ca, username="t/sensor/bell", password="secret")
        async with on_bus(broker, pki, "t/edge/e") as (edge,), MqttBus(sensor, clock=SystemClock()) as bell:
            heard = Heard()
            await edge.subscribe("door/bell", handler=heard)
            await bell.publish(Message("door/bell", b"x"))
            await until(lambda: bool(heard.topics))
            with pytest.raises(PublishRefused):
                await bell.publish(Message(f"{T}/stream/door/result", b"x"))
        for wrong in ({"password": "wrong"}, {"username": "t/hub/hub"}, {"username": None, "password": None}):
            await refused(replace(sensor, **wrong))
        await refused(replace(sensor, url=broker.url))  # where certificates are asked for, a password is none


@async_test
async def test_bus_that_is_full_refuses_and_lives_on(tmp_path: Path) -> None:
    """One device retains all that it can; the others' small messages still pass, and its own after a clearing."""
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    limit_mb = 64
    broker = SecureBroker(tmp_path, pki, acl("t", pki.listed(), [CAM]), more=[f"memory_limit {limit_mb << 20}"])
    blob = os.urandom(4_000_000)
    for _ in range(2):
        with broker:
            async with on_bus(broker, pki, "t/device/x", "t/device/d") as (filler, other):
                with pytest.raises(TimeoutError):
                    await fill(filler, [f"{T}/device/x/profile/m{number}" for number in range(2 * limit_mb // 4)], blob)
                await other.publish(Message(f"{T}/device/d/status", b"{}", retain=True))
                assert peak_mb(broker) < limit_mb + 20
    clear(tmp_path)
    with broker:
        async with on_bus(broker, pki, "t/device/x") as (cleared,):
            await fill(cleared, [f"{T}/device/x/profile/m"], blob)


def clear(folder: Path) -> None:
    """Take away what a broker that has been stopped would remember."""
    (database,) = folder.glob("data-*/mosquitto.db")
    database.unlink()


async def fill(bus: MqttBus, topics: Sequence[str], payload: bytes) -> None:
    """Until one is not taken."""
    for topic in topics:
        async with asyncio.timeout(3):
            await bus.publish(Message(topic, payload, retain=True))


def peak_mb(broker: SecureBroker) -> int:
    """The most memory that Mosquitto has had."""
    assert broker._process is not None
    own = broker._process.pid
    for child in Path(f"/proc/{own}/task/{own}/children").read_text().split():
        said = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
        if said["Name"].strip() == "mosquitto":
            return int(said["VmHWM"].split()[0]) // 1024
    raise AssertionError("Mosquitto is gone")


def test_bus_keeps_below_the_memory_of_its_container() -> None:
    compose = yaml.safe_load((Path(__file__).parent.parent / "compose.yaml").read_text(encoding="utf-8"))
    for name in ("site-bus", "cloud-bus"):
        allowed_mb = int(compose["services"][name]["mem_limit"].removesuffix("m"))
        assert allowed_mb >= MEMORY_MB + 0.1 * MAX_CONNECTIONS + 50


def test_plain_configuration_listens_on_this_machine_only(tmp_path: Path) -> None:
    lines = plain(port=1883).splitlines()
    assert [line for line in lines if line.startswith("listener")] == ["listener 1883 127.0.0.1"]
    shared = [line for line in lines if not line.startswith(("listener", "#")) and line]
    with Mosquitto(tmp_path, *shared) as broker:  # it is valid
        assert broker.url
