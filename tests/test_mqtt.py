"""The MQTT bus and its broker's bad days: absent, refusing, killed, slow, strict."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.aio import async_test, until
from tests.brokers import Mosquitto, certificates, program
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BrokerRefused, BrokerUnreachable, BusError, PacketTooLarge, SettingsError
from tiercut.launch.processes import free_port


def bus_to(broker: Mosquitto, *, will: tuple[str, bytes] | None = None, **settings: Any) -> MqttBus:
    fast = {"backoff_min_s": 0.01, "backoff_max_s": 0.05} | settings
    return MqttBus(MqttSettings(url=broker.url, **fast), clock=SystemClock(), will=will)


def url_of(port: int) -> str:
    return f"mqtt://127.0.0.1:{port}"


# --- A broker that is absent or refuses -------------------------------------------------------------------------------


@async_test
async def test_absent_broker_is_one_clear_sentence() -> None:
    port = free_port()
    with pytest.raises(BrokerUnreachable) as caught:
        async with MqttBus(MqttSettings(url=url_of(port)), clock=SystemClock()):
            pass
    assert str(caught.value) == (
        f"no broker at mqtt://127.0.0.1:{port}: expected an MQTT 5 broker that answers, got 'connection refused'; "
        f"start the broker, or correct the url; nothing listens at 127.0.0.1:{port}"
    )


@async_test
async def test_unknown_host_is_one_clear_sentence() -> None:
    with pytest.raises(BrokerUnreachable, match=r"got 'no such host: nowhere.invalid'; correct the host"):
        async with MqttBus(MqttSettings(url="mqtt://nowhere.invalid"), clock=SystemClock()):
            pass


@async_test
async def test_refusing_broker_is_one_clear_sentence(tmp_path: Path) -> None:
    sentence = "refuses us: expected CONNACK 'success', got 'not authorized'; set username"
    with Mosquitto(tmp_path, "allow_anonymous false") as broker, pytest.raises(BrokerRefused, match=sentence):
        async with bus_to(broker):
            pass


@async_test
async def test_user_and_password_open_a_refusing_broker(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    make = [program("mosquitto_passwd"), "-b", "-c", str(passwords), "me", "secret"]
    await asyncio.to_thread(subprocess.run, make, check=True)
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        async with bus_to(broker, username="me", password="secret") as bus:
            assert bus.connected
        with pytest.raises(BrokerRefused, match="got 'not authorized'"):
            async with bus_to(broker, username="me", password="guess"):
                pass


@asynccontextmanager
async def scripted_broker(answer: bytes) -> AsyncIterator[MqttSettings]:
    """Answers whatever comes with some bytes, then closes (nothing: does not answer at all)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        if answer:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield MqttSettings(url=url_of(port), connect_timeout_s=0.2)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "kind", "came"),
    [
        (b"\x20\x02\x00\x01", BrokerRefused, "'the broker speaks only MQTT 3.1.1'"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", BrokerUnreachable, "'connection closed before an answer'"),
        (b"", BrokerUnreachable, "'no answer within 0.2 s'"),
    ],
)
@async_test
async def test_what_is_no_mqtt_5_broker_is_one_clear_sentence(answer: bytes, kind: type[BusError], came: str) -> None:
    async with scripted_broker(answer) as settings:
        with pytest.raises(kind) as caught:
            async with MqttBus(settings, clock=SystemClock()):
                pass
    assert caught.value.came == came


@async_test
async def test_waiting_bus_logs_each_cause_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.WARNING, "tiercut.bus")
    broker = Mosquitto(tmp_path)
    settings = MqttSettings(url=broker.url, backoff_min_s=0.001, backoff_max_s=0.002)
    async with MqttBus(settings, clock=SystemClock(), wait=True) as bus:
        subscribing = asyncio.create_task(bus.subscribe("a"))
        await bus.announce("a", b"online")
        await until(lambda: bool(caplog.records))
        await asyncio.sleep(0.05)  # some more tries
        assert not bus.connected
        with broker:
            assert (await anext(aiter(await subscribing))).payload == b"online"
            await bus.close()
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [f"no broker at {broker.url}"]


# --- A broker that is lost and comes back -----------------------------------------------------------------------------


@async_test
async def test_nothing_unacknowledged_is_lost_when_the_broker_is_killed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with bus_to(broker) as sender, bus_to(broker, will=("node", b"offline")) as receiver:
            await receiver.announce("node", b"online")
            live = await receiver.subscribe("live")
            work = [(f"work/{number}", bytes([number]) * 200_000) for number in range(60)]
            calls = [asyncio.create_task(sender.publish(Message(*each, retain=True))) for each in work]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            broker.kill()  # it forgets all that it has acknowledged; on this thread, so that no more is sent meanwhile
            await until(lambda: not sender.connected)
            await asyncio.sleep(0.01)  # calls that were answered just before have their turn
            waiting = {number for number, call in enumerate(calls) if not call.done()}
            await asyncio.to_thread(broker.start)
            await asyncio.gather(*calls)
            kept = await sender.subscribe("work/+")
            got = set[int]()
            while len(got) < len(waiting):
                delivery = await anext(aiter(kept))
                delivery.ack()
                got.add(delivery.payload[0])
            node = await sender.subscribe("node")
            assert (await anext(aiter(node))).payload == b"online"  # announced again, and subscribed before that
            await sender.publish(Message("live", b"again"))
            assert (await anext(aiter(live))).payload == b"again"
    assert waiting
    assert got == waiting
    assert (sender.counters["reconnects"], receiver.counters["reconnects"]) == (1, 1)


@asynccontextmanager
async def breakable_way(broker: Mosquitto) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """A proxy to the broker; closing the writers breaks the connections, and the broker keeps the sessions."""
    writers: list[asyncio.StreamWriter] = []
    served = set[asyncio.Task[Any] | None]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writers.extend((writer, far_writer))
        served.add(asyncio.current_task())
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield url_of(server.sockets[0].getsockname()[1]), writers
    finally:
        server.close()
        cut(writers)
        await asyncio.gather(*filter(None, served), return_exceptions=True)


def cut(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
    writers.clear()


@async_test
async def test_session_is_resumed_after_a_broken_connection(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with breakable_way(broker) as (url, writers), bus_to(broker) as sender:
            settings = MqttSettings(url=url, backoff_min_s=0.01, backoff_max_s=0.05, receive_maximum=5)
            async with MqttBus(settings, clock=SystemClock()) as receiver:
                work = await receiver.subscribe("work")
                for number in range(20):
                    await sender.publish(Message("work", bytes([number])))
                held = [await anext(aiter(work)) for _ in range(5)]
                cut(writers)
                again = [await anext(aiter(work)) for _ in range(5)]
                for delivery in held:
                    delivery.ack()  # of the connection before: says nothing
                for delivery in again:
                    delivery.ack()
                rest: list[Delivery] = []
                while len(rest) < 15:
                    rest.append(await anext(aiter(work)))
                    rest[-1].ack()
    assert [(each.payload[0], each.duplicate) for each in again] == [(number, True) for number in range(5)]
    assert [each.payload[0] for each in rest] == list(range(5, 20))
    assert receiver.counters["reconnects"] == 1


@async_test
async def test_publish_in_flight_is_sent_again_after_a_broken_connection(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with breakable_way(broker) as (url, writers), bus_to(broker) as receiver:
            work = await receiver.subscribe("work")
            settings = MqttSettings(url=url, backoff_min_s=0.01, backoff_max_s=0.05)
            async with MqttBus(settings, clock=SystemClock()) as sender:
                calls = [asyncio.create_task(sender.publish(Message("work", bytes([n]) * 500_000))) for n in range(8)]
                calls.append(asyncio.create_task(sender.publish(Message("lossy", b"", qos=0))))
                (await anext(aiter(work))).ack()
                cut(writers)
                await asyncio.gather(*calls)
                numbers = set[int]()
                while not numbers >= set(range(1, 8)):
                    delivery = await anext(aiter(work))
                    delivery.ack()
                    numbers.add(delivery.payload[0])
    assert sender.counters["reconnects"] == 1


@async_test
async def test_restarted_process_gets_what_waited_for_it(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        mine: dict[str, Any] = {"client_id": "edge-1", "clean_start": False, "session_expiry_s": 60}
        async with bus_to(broker, **mine) as bus:
            await bus.subscribe("work")
        async with bus_to(broker) as sender:
            await sender.publish(Message("work", b"meanwhile"))
        async with bus_to(broker, **mine) as bus:
            await asyncio.sleep(0.05)  # it comes before there is a subscription
            work = await bus.subscribe("work")
            assert (await anext(aiter(work))).payload == b"meanwhile"
            assert bus.counters["dropped_no_subscription"] == 0


# --- Limits -----------------------------------------------------------------------------------------------------------


@async_test
async def test_brokers_packet_limit_is_found_out_and_kept(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "max_packet_size 20000") as broker:
        async with bus_to(broker) as bus:
            assert bus.max_payload_bytes == 20_000 - 1024
            with pytest.raises(PacketTooLarge, match="at most 18976 bytes, got 20000 bytes"):
                await bus.publish(Message("a", bytes(20_000)))
            with pytest.raises(PacketTooLarge):
                await bus.publish(Message("a", bytes(18_000), properties=[("a", "b" * 3_000)]))
            await bus.publish(Message("a", bytes(bus.max_payload_bytes)))
            assert bus.counters["reconnects"] == 0


@async_test
async def test_brokers_receive_maximum_is_kept(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "max_inflight_messages 3") as broker:
        async with bus_to(broker) as bus:
            calls = [asyncio.create_task(bus.publish(Message("a", bytes(100_000)))) for _ in range(50)]
            await asyncio.sleep(0)
            assert bus.in_flight_bytes <= 3 * 100_000
            await asyncio.gather(*calls)


@async_test
async def test_byte_budget_holds_publishes_back_in_order(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with bus_to(broker, outgoing_budget_bytes=250_000) as bus:
            subscription = await bus.subscribe("a")
            sizes = [100_000, 100_000, 100_000, 1_000_000, 10, 20]
            calls = [asyncio.create_task(bus.publish(Message("a", bytes(size)))) for size in sizes]
            await asyncio.sleep(0)
            assert bus.in_flight_bytes == 200_000
            await asyncio.gather(*calls)
            got = [len((await anext(aiter(subscription))).payload) for _ in sizes]
    assert got == sizes
    assert bus.in_flight_bytes == 0


@async_test
async def test_cancelled_publish_leaves_the_line(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with bus_to(broker, outgoing_budget_bytes=10) as bus:
            subscription = await bus.subscribe("a")
            calls = [asyncio.create_task(bus.publish(Message("a", bytes([number]) * 10))) for number in range(3)]
            await asyncio.sleep(0)
            calls[1].cancel()
            await asyncio.wait(calls)
            assert [(await anext(aiter(subscription))).payload[0] for _ in range(2)] == [0, 2]


@async_test
async def test_close_fails_publishes_that_wait() -> None:
    settings = MqttSettings(url=url_of(free_port()))
    async with MqttBus(settings, clock=SystemClock(), wait=True) as bus:
        calls = [asyncio.create_task(call) for call in (bus.publish(Message("a", b"")), bus.subscribe("a"))]
        await asyncio.sleep(0)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, BusError) and "was closed" in str(result) for result in results)


@async_test
async def test_flood_of_qos_0_messages_is_bounded_and_counted(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with bus_to(broker, qos0_queue=10) as bus:
            flood, marker = await bus.subscribe("flood", qos=0), await bus.subscribe("marker")
            for number in range(100):
                await bus.publish(Message("flood", bytes([number]), qos=0))
            await bus.publish(Message("marker", b""))
            await anext(aiter(marker))
            assert [(await anext(aiter(flood))).payload[0] for _ in range(10)] == list(range(90, 100))
            assert bus.counters["dropped_qos0_queue_full"] == 90


# --- TLS and access ---------------------------------------------------------------------------------------------------


@async_test
async def test_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    ca, cert, key = certificates(tmp_path)
    with Mosquitto(tmp_path, f"cafile {ca}", f"certfile {cert}", f"keyfile {key}", tls=True) as broker:
        async with bus_to(broker, ca_file=str(ca)) as sender, bus_to(broker, ca_file=str(ca)) as receiver:
            subscription = await receiver.subscribe("a")
            payloads = [bytes([number]) * size for number, size in enumerate((1, 16_384, 2_000_000, 100_000, 10))]
            await asyncio.gather(*(sender.publish(Message("a", payload)) for payload in payloads))
            assert [(await anext(aiter(subscription))).payload for _ in payloads] == payloads
        with pytest.raises(BrokerUnreachable, match=r"certificate not trusted.*set ca_file"):
            async with bus_to(broker):
                pass
        with pytest.raises(BrokerUnreachable, match="connection closed before an answer"):
            async with MqttBus(MqttSettings(url=url_of(broker.port)), clock=SystemClock()):
                pass


@async_test
async def test_tls_files_that_are_missing_are_a_setting_error(tmp_path: Path) -> None:
    settings = MqttSettings(url="mqtts://localhost", ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(SettingsError, match="the TLS files: expected readable PEM"):
        async with MqttBus(settings, clock=SystemClock()):
            pass


@async_test
async def test_access_rules_end_in_a_clear_sentence(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite open/#\n", encoding="utf-8")
    with Mosquitto(tmp_path, f"acl_file {rules}") as broker:
        async with bus_to(broker) as bus:
            with pytest.raises(BusError, match=r"did not take a message on 'closed/a'.*'not authorized'"):
                await bus.publish(Message("closed/a", b""))
            await bus.publish(Message("open/a", b""))
    assert bus.counters["publish_refused"] == 1


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "came"),
    [
        ("localhost:1883", "the scheme 'localhost'"),
        ("http://localhost", "the scheme 'http'"),
        ("mqtt://", "no host"),
        ("mqtt://h:99999", "Port out of range 0-65535"),
        ("mqtt://h:0", "port 0"),
        ("mqtt://h/topic", "something after the port: 'mqtt://h/topic'"),
    ],
)
def test_bad_url_is_a_setting_error(url: str, came: str) -> None:
    with pytest.raises(SettingsError) as caught:
        MqttSettings(url=url)
    assert caught.value.came == came


def test_password_in_the_url_is_used_and_never_shown() -> None:
    settings = MqttSettings(url="mqtt://me:s%40fe@h")
    assert (settings.url, settings.username, settings.password, settings.port) == ("mqtt://h", "me", "s@fe", 1883)
    assert "s@fe" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        MqttSettings(url="mqtt://me:secret@h:x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "bad", [{"receive_maximum": 0}, {"keepalive_s": 70_000}, {"password": "p"}, {"cert_file": "c"}, {"ca_file": "c"}]
)
def test_impossible_setting_names_itself(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        MqttSettings(url="mqtt://h", **bad)
