"""The MQTT bus, packet by packet: what it writes when, what it takes, and what it makes of bytes that are wrong."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import time
from pathlib import Path
from typing import Any

import mqtt5
import pytest
from paho.mqtt.client import topic_matches_sub

from tests.aio import async_test, until
from tests.brokers import Mosquitto
from tests.mqtt_peer import Peer, connected, played_broker
from tests.test_acks import Call
from tiercut.bus import Delivery, Message, Sent, open_socket
from tiercut.bus.keepalive import KeepAlive
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.routes import topic_matches
from tiercut.bus.settings import MqttSettings
from tiercut.bus.stream import PacketReader, PartWriter
from tiercut.bus.timestamps import age_s
from tiercut.bus.wire import Malformed
from tiercut.clock import ManualClock, SystemClock

Q1 = mqtt5.QoS.AT_LEAST_ONCE


def published(
    topic: bytes, packet_id: int, *, properties: bytes = b"", payload: bytes = b"", first: int = 0x32
) -> bytes:
    """A PUBLISH that may be wrong."""
    body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
    body += bytes([len(properties)]) + properties + payload
    assert len(body) < 128
    return bytes([first, len(body)]) + body


# --- Bytes that are wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "counter"),
    [
        (published(b"a/\xed\xa0\x80", 7), "dropped_bad_topic"),
        (published(b"a/\xff", 7), "dropped_bad_topic"),
        (published(b"a/\0", 7), "dropped_bad_topic"),
        (published(b"a/+", 7), "dropped_bad_topic"),
        (published(b"", 7, properties=b"\x23\x00\x01"), "dropped_bad_topic"),  # a topic alias
        (published(b"a/b", 7, properties=b"\x08\x00\x03b/#"), "dropped_bad_topic"),  # a response topic
        (published(b"a/b", 7, properties=b"\x26\x00\x01k\x00\x03\xed\xa0\x80"), "dropped_bad_properties"),
        (published(b"a/b", 7, properties=b"\x03\x00\x01\xff"), "dropped_bad_properties"),
        (published(b"a/b", 7, properties=b"\x02\x00\x00\x00\xff\x09\x00\x01\xff\x26\xff"), "dropped_bad_properties"),
        (published(b"a/b", 7, properties=b"\x26\x00\x01k\x00\x09v", payload=b"\xff" * 9), "dropped_bad_properties"),
        (published(b"a/b", 7, properties=b"\x26\x00\x01k\x00\x99v"), "dropped_bad_properties"),
        (published(b"a/b", 7, properties=b"\x11\x00\x00\x00\x01"), "dropped_bad_properties"),  # not of PUBLISH
        (published(b"a/b", 7, properties=b"\x0b\x00"), "dropped_bad_properties"),  # subscription identifier 0
        (published(b"a/b", 7, properties=b"\x77\xff"), "dropped_bad_properties"),
    ],
)
@async_test
async def test_message_that_cannot_be_read_costs_itself_alone(
    bad: bytes, counter: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with connected() as (bus, _, peer):
        subscribing = asyncio.create_task(bus.subscribe("a/#"))
        await peer.grant()
        subscription = await subscribing
        peer.send(bad, published(b"a/good", 8))
        good = await anext(aiter(subscription))
        good.ack()
        assert [(await peer.take(mqtt5.PubAckPacket)).packet_id for _ in range(2)] == [7, 8]
        assert (good.topic, bus.counters[counter], bus.counters["reconnects"]) == ("a/good", 1, 0)
    assert "panicked" not in capfd.readouterr().err


@async_test
async def test_binary_properties_and_other_alphabets_arrive() -> None:
    correlation, topic = b"\xed\xa0\x80\xff", "a/вода"
    properties = b"\x09\x00\x04" + correlation + b"\x02\x00\x00\x00\xff\x01\x01\x26\x00\x02\xc3\xa4\x00\x01v"
    async with connected() as (bus, _, peer):
        subscribing = asyncio.create_task(bus.subscribe("a/#"))
        await peer.grant()
        peer.send(published(topic.encode(), 200, properties=properties))
        got = await anext(aiter(await subscribing))
    assert (got.topic, got.correlation, tuple(got.properties)) == (topic, correlation, (("ä", "v"),))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (published(b"a", 0), 0x81),
        (published(b"a", 1, first=0x34), 0x81),  # QoS 2
        (b"\x32\x03\x00\x09a", 0x81),
        (b"\x32\xff\xff\xff\xff\x7f", 0x81),
        (b"\x32\x80\x80\x80\x10", 0x95),  # 32 MiB
        (b"\x40\x01\x00", 0x81),
        (b"\x00\x00", 0x81),
        (mqtt5.ConnAckPacket().write(), 0x81),
        (b"\x90\x06\x00\x01\x03\x1f\x00\xff", 0x81),
    ],
)
@async_test
async def test_what_is_no_mqtt_ends_the_connection_and_another_one_is_made(bad: bytes, code: int) -> None:
    async with connected(max_incoming_bytes=1024 * 1024) as (bus, peers, peer):
        peer.send(bad)
        assert int((await peer.take(mqtt5.DisconnectPacket)).reason_code) == code
        await (await peers.next()).accept()
        await until(lambda: bus.counters["reconnects"] == 1)


@async_test
async def test_broker_that_says_goodbye_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (bus, _, peer):
        peer.send(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER))
        await until(lambda: not bus.connected)
    assert any("the broker said session taken over" in record.getMessage() for record in caplog.records)


# --- Messages in flight, and connections that break -------------------------------------------------------------------


async def in_flight(bus: MqttBus, peer: Peer, count: int) -> tuple[list[asyncio.Task[Sent]], list[int]]:
    """Publish messages 0, 1, … that the broker has and does not answer; the tasks, and the packet identifiers."""
    tasks = [asyncio.create_task(bus.publish(Message("a", bytes([number])))) for number in range(count)]
    return tasks, [(await peer.take(mqtt5.PublishPacket)).packet_id or 0 for _ in tasks]


@async_test
async def test_unacknowledged_messages_come_again_in_order_with_dup_and_their_identifiers() -> None:
    async with connected() as (bus, peers, peer):
        tasks, ids = await in_flight(bus, peer, 4)
        peer.send(mqtt5.PubAckPacket(ids[1]))
        await tasks[1]
        peer.cut()
        again = await peers.next()
        await again.accept(session_present=True, receive_max=2)
        waiting = asyncio.create_task(bus.publish(Message("a", b"\x09")))
        got = [await again.take(mqtt5.PublishPacket) for _ in range(2)]
        for number in range(2):  # one more for each that is acknowledged
            again.send(mqtt5.PubAckPacket(got[number].packet_id or 0))
            got.append(await again.take(mqtt5.PublishPacket))
        for packet in got[2:]:
            again.send(mqtt5.PubAckPacket(packet.packet_id or 0))
        await asyncio.gather(*tasks, waiting)
    assert [(each.payload[0], each.duplicate) for each in got] == [(0, True), (2, True), (3, True), (9, False)]
    assert [each.packet_id for each in got[:3]] == [ids[0], ids[2], ids[3]]
    assert got[3].packet_id not in ids


@async_test
async def test_new_session_gets_them_as_new_messages() -> None:
    async with connected() as (bus, peers, peer):
        tasks, _ = await in_flight(bus, peer, 3)
        peer.cut()
        again = await peers.next()
        await again.accept()
        got = [await again.take(mqtt5.PublishPacket) for _ in tasks]
        again.send(*(mqtt5.PubAckPacket(packet.packet_id or 0) for packet in got))
        await asyncio.gather(*tasks)
    assert [(each.payload[0], each.duplicate) for each in got] == [(0, False), (1, False), (2, False)]
    assert bus.in_flight_bytes == 0


def test_identifiers_are_not_given_twice_until_they_are_free() -> None:
    ids = PacketIds()
    taken = [ids.take() for _ in range(65_535)]
    assert sorted(taken) == list(range(1, 65_536))
    ids.free(40_000)
    ids.free(3)
    assert [ids.take(), ids.take()] == [3, 40_000]


@async_test
async def test_close_says_goodbye_in_two_bytes_or_asks_for_the_will() -> None:
    for will, last in ((None, b"\xe0\x00"), (("a", b"gone"), b"\xe0\x01\x04")):
        async with played_broker() as (bus, peers):
            bus._will = will
            entering = asyncio.create_task(bus.__aenter__())
            peer = await peers.next()
            await peer.accept()
            await entering
            closing = asyncio.create_task(bus.close())
            if will:
                said = await peer.take(mqtt5.PublishPacket)
                assert (said.topic, said.payload, said.retain) == ("a", b"gone", True)  # and it is never answered
            assert await peer.take_bytes() == last
            assert await peer.take_bytes() == b""
            await closing


# --- What is written together -----------------------------------------------------------------------------------------


class CountingSocket:
    """Counts the calls that send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.calls: list[int] = []

    def send(self, data: Any) -> int:
        self.calls.append(1)
        return self._sock.send(data)

    def sendmsg(self, parts: Any) -> int:
        self.calls.append(len(parts))
        return self._sock.sendmsg(parts)


def counted(bus: MqttBus) -> CountingSocket:
    """The bus's socket, counted from now on."""
    writer = bus._connection._transport._writer  # type: ignore[union-attr]
    writer._sock = CountingSocket(writer._sock)
    return writer._sock


@async_test
async def test_acknowledgements_of_a_turn_go_out_with_the_message_that_follows() -> None:
    async with connected() as (bus, _, peer):

        def forward(delivery: Delivery) -> None:
            delivery.ack()
            if delivery.payload == b"3":
                bus.post(Message("b", bytes(100_000)), lambda _: None)

        subscribing = asyncio.create_task(bus.subscribe("a", handler=forward))
        await peer.grant()
        await subscribing
        sock = counted(bus)
        peer.send(*(published(b"a", number, payload=b"%d" % number) for number in (1, 2, 3)))
        assert [(await peer.take(mqtt5.PubAckPacket)).packet_id for _ in range(3)] == [1, 2, 3]
        assert len((await peer.take(mqtt5.PublishPacket)).payload) == 100_000
        assert sock.calls == [5]  # three PUBACKs, a head, and the payload where it was
        peer.send(published(b"a", 4))
        await peer.take(mqtt5.PubAckPacket)
        assert sock.calls == [5, 1]


@async_test
async def test_large_messages_pass_small_socket_buffers_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(sock: socket.socket) -> None:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 32 * 1024)

    monkeypatch.setattr(open_socket, "tune", small)
    payloads = [random.Random(size).randbytes(size) for size in (2_000_000, 10, 300_000, 1)]  # noqa: S311
    with Mosquitto(tmp_path) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
            subscription = await bus.subscribe("a")
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    group.create_task(bus.publish(Message("a", payload)))
            got = []
            for _ in payloads:
                got.append(await anext(aiter(subscription)))
                got[-1].ack()
    assert [delivery.payload for delivery in got] == payloads


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when bytes came")
@async_test
async def test_message_that_comes_while_the_loop_is_busy_has_come_before_it_is_read(tmp_path: Path) -> None:
    heard: list[tuple[Delivery, float]] = []
    with Mosquitto(tmp_path, "set_tcp_nodelay true") as broker:
        one, other = (MqttSettings(url=broker.url, client_id=name) for name in ("one", "other"))
        async with MqttBus(one, clock=SystemClock()) as bus, MqttBus(other, clock=SystemClock()) as sender:
            await bus.subscribe("busy", handler=lambda each: heard.append((each, time.monotonic())))
            sender.post(Message("busy", b"x" * 10), lambda _: None)
            before_s = time.monotonic()
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be busy
            await until(lambda: bool(heard))
    delivery, read_s = heard[0]
    assert delivery.received_s < before_s + 0.1
    assert read_s >= before_s + 0.2


def test_age_of_bytes_is_unknown_where_the_wall_clock_was_set_meanwhile() -> None:
    assert age_s(time.time() - 0.5) == pytest.approx(0.5, abs=0.2)
    assert [age_s(each) for each in (None, time.time() + 10, time.time() - 10)] == [0.0, 0.0, 0.0]


def test_reader_cuts_the_same_packets_however_they_come() -> None:
    chance = random.Random(3)  # noqa: S311 - repeatable
    sizes = [chance.choice([0, 1, 126, 127, 128, 16_383, 16_384, 200_000, 3_000_000]) for _ in range(60)]
    packets = [mqtt5.PublishPacket("a", chance.randbytes(size)).write() for size in sizes]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        reader, writer, got = PacketReader(4_000_000), PartWriter(theirs), list[bytes]()
        for packet in packets:
            for at in range(0, len(packet), piece := chance.choice([1 << 20, 70_000, 5_000])):
                writer.add(packet[at : at + piece])
        while len(got) < len(packets):
            writer.flush()
            reader.receive(ours)
            while (found := reader.next()) is not None:
                got.append(bytes(found))
    assert got == packets
    assert writer.flush()


def test_reader_refuses_a_packet_over_the_limit_before_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"\x30\x80\x80\x04rest")
        reader = PacketReader(65_535)
        reader.receive(ours)
        with pytest.raises(Malformed, match="a packet of 65540 bytes, over max_incoming_bytes = 65535"):
            reader.next()


# --- Keep-alive -------------------------------------------------------------------------------------------------------


class Line:
    """A line in time that is set by hand, kept alive for 10 s at a time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.read_s = self.wrote_s = 0.0
        self.said: list[tuple[float, str]] = []
        self.calls: list[Call] = []
        self.alive = KeepAlive(
            self._ping,
            lambda: self.said.append((self.clock.now_s, "dead")),
            monotonic_s=self.clock.monotonic_s,
            call_later=self._call_later,
        )
        self.alive.start(self, 10)

    def _ping(self) -> None:
        self.said.append((self.clock.now_s, "ping"))
        self.wrote_s = self.clock.now_s

    def _call_later(self, seconds: float, call: Any) -> Call:
        self.calls.append(Call(self.clock.now_s + seconds, call))
        return self.calls[-1]

    def advance(self, to_s: float) -> None:
        while due := [call for call in self.calls if call.due_s <= to_s and not call.cancelled]:
            self.calls.remove(due[0])
            self.clock.now_s = due[0].due_s
            due[0].call()
        self.clock.now_s = to_s


def test_silent_broker_is_asked_once_and_then_given_up() -> None:
    line = Line()
    line.advance(100)
    assert line.said == [(10.0, "ping"), (20.0, "dead")]


def test_busy_line_is_not_asked_and_one_that_only_hears_is() -> None:
    line = Line()
    for second in range(1, 30):
        line.advance(second)
        line.read_s = line.wrote_s = float(second)
    assert line.said == []
    for second in range(30, 50):
        line.advance(second)
        line.read_s = float(second)  # we say nothing, and the broker would give us up
    assert [what for _, what in line.said] == ["ping", "ping"]


def test_anything_that_comes_is_a_sign_of_life() -> None:
    line = Line()
    line.advance(12)
    line.read_s = line.wrote_s = 12.0
    line.advance(21)
    assert line.said == [(10.0, "ping")]
    line.alive.stop()
    line.advance(100)
    assert line.said == [(10.0, "ping")]


@async_test
async def test_brokers_keep_alive_counts_and_a_silent_one_is_left() -> None:
    async with connected(answer={"server_keep_alive": 1}, keepalive_s=3600) as (bus, peers, peer):
        assert await peer.take_bytes() == b"\xc0\x00"
        await peers.next()
        assert not bus.connected


# --- Filters ----------------------------------------------------------------------------------------------------------


def test_filters_match_as_another_client_has_it() -> None:
    parts = ["", "a", "b", "$SYS"]
    topics = [*parts[1:], *(f"{a}/{b}" for a in parts for b in parts), "a/b/a", "a//b", "/a/b", "$SYS/a/b"]
    filters = [
        "#",
        "+",
        "+/+",
        "+/#",
        "a/#",
        "a/+",
        "+/b",
        "a/+/a",
        "/+",
        "$SYS/#",
        "$SYS/+",
        "a",
        "a/b",
        "a//b",
        "+/b/#",
    ]
    for topic in topics:
        for each in filters:
            assert topic_matches(each, topic) == topic_matches_sub(each, topic), (each, topic)
