"""The embedded broker: started, reached, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from broker.embedded.server import EmbeddedBroker
from tests.aio import async_test
from tests.brokers import program
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BusError, SettingsError
from tiercut.launch.processes import free_port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_port_is_free_again_after_the_block() -> None:
    with EmbeddedBroker() as broker:
        assert broker.running
        assert listens(broker.port)
    assert not broker.running
    assert not listens(broker.port)
    with EmbeddedBroker(broker.port) as again:
        assert again.url == f"mqtt://127.0.0.1:{broker.port}"


def test_taken_port_is_one_clear_sentence() -> None:
    with EmbeddedBroker() as broker, pytest.raises(BusError) as caught:
        EmbeddedBroker(broker.port).start()
    assert str(caught.value) == (
        f"cannot start the embedded broker at 127.0.0.1:{broker.port}: expected a free port, got another program "
        "listening there; choose another port (0 picks a free one), or use the broker that is there"
    )


def test_foreign_address_is_one_clear_sentence() -> None:
    with pytest.raises(BusError, match="cannot assign requested address"):
        EmbeddedBroker(host="192.0.2.1").start()


def test_broker_can_be_made_for_a_url() -> None:
    assert EmbeddedBroker.at("mqtt://127.0.0.1:1999").port == 1999
    with pytest.raises(SettingsError, match="expected mqtt://, got mqtts://h"):
        EmbeddedBroker.at("mqtts://h")


def test_password_in_a_url_is_masked_where_it_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        EmbeddedBroker.at("mqtts://user:hunter2@h")
    assert "hunter2" not in str(caught.value)
    assert "mqtts://user:" in str(caught.value)


@async_test
async def test_name_of_a_host_is_resolved() -> None:
    port = free_port()
    with EmbeddedBroker.at(f"mqtt://localhost:{port}") as broker:
        assert broker.url == f"mqtt://localhost:{port}"
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            await bus.publish(Message("a", b"hi"))


def test_unknown_host_is_one_clear_sentence() -> None:
    with pytest.raises(BusError, match="expected an IPv4 address, or a name that has one"):
        EmbeddedBroker.at("mqtt://no-such-host.invalid").start()


@async_test
async def test_broker_that_ends_by_itself_is_noticed() -> None:
    with EmbeddedBroker() as broker:
        watch = asyncio.create_task(broker.watch())
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BusError, match="ended by itself: expected a running broker, got an end with status -9"):
            await watch


@async_test
async def test_broker_that_is_stopped_is_no_error() -> None:
    with EmbeddedBroker() as broker:
        watch = asyncio.create_task(broker.watch())
        await asyncio.sleep(0)
    await watch


@pytest.mark.parametrize("version", ["5", "311"])
def test_mosquitto_sub_sees_what_is_published(version: str) -> None:
    with EmbeddedBroker(port_v311=0) as broker:
        port = str(broker.port if version == "5" else broker.port_v311)
        for_both = ["-h", "127.0.0.1", "-t", "site/result"]
        subprocess.run(
            [program("mosquitto_pub"), "-V", "5", "-p", str(broker.port), *for_both, "-r", "-m", "hi"], check=True
        )
        seen = subprocess.run(
            [program("mosquitto_sub"), "-V", version, "-p", port, *for_both, "-C", "1", "-W", "5"],
            capture_output=True,
            check=True,
        )
    assert seen.stdout == b"hi\n"


def test_broker_ends_with_a_parent_that_was_killed() -> None:
    code = (
        "from broker.embedded.server import EmbeddedBroker\n"
        "broker = EmbeddedBroker(); broker.start()\n"
        "print(broker.port, flush=True); input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert listens(port)
        parent.kill()
        parent.wait()
    until_s = time.monotonic() + 5
    while listens(port) and time.monotonic() < until_s:
        time.sleep(0.01)  # there is no event for the end of a grandchild
    assert not listens(port)


@async_test
async def test_client_waits_until_the_broker_is_started() -> None:
    port = free_port()
    settings = MqttSettings(url=f"mqtt://127.0.0.1:{port}", backoff_min_s=0.01, backoff_max_s=0.02)
    async with MqttBus(settings, clock=SystemClock(), wait=True) as bus:
        assert not bus.connected
        call = asyncio.create_task(bus.publish(Message("a", b"early")))
        broker = EmbeddedBroker(port)
        await asyncio.to_thread(broker.start)
        try:
            assert (await call).payload_bytes == 5
        finally:
            broker.stop()


@async_test
async def test_largest_payload_passes() -> None:
    with EmbeddedBroker() as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            subscription = await bus.subscribe("a")
            await bus.publish(Message("a", bytes(bus.max_payload_bytes)))
            assert len((await anext(aiter(subscription))).payload) == bus.max_payload_bytes


@async_test
async def test_unacknowledged_messages_stay_bounded_though_the_receive_maximum_is_ignored() -> None:
    with EmbeddedBroker() as broker:
        settings = MqttSettings(url=broker.url, receive_maximum=4)
        async with (
            MqttBus(settings, clock=SystemClock()) as receiver,
            MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as sender,
        ):
            work = await receiver.subscribe("work")
            for number in range(150):
                await sender.publish(Message("work", bytes([number])))
            held = [await anext(aiter(work)) for _ in range(100)]
            # Until it acknowledges one of the 100, rumqttd tells this client nothing, not even a PUBACK.
            publishing = asyncio.create_task(receiver.publish(Message("other", b"")))
            await sender.publish(Message("other", b""))
            assert not publishing.done()
            for delivery in held:
                delivery.ack()
            await publishing
            rest = [await anext(aiter(work)) for _ in range(50)]
            assert [each.payload[0] for each in (*held, *rest)] == list(range(150))
