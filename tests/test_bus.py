"""What every bus promises, on all of them: in one process, on Mosquitto, on the embedded broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from broker.embedded.server import EmbeddedBroker
from tests.aio import async_test, until
from tests.brokers import Mosquitto
from tiercut.bus import Delivery, ManagedBus, Message, Sent, Subscription
from tiercut.bus.memory import MemoryBus
from tiercut.bus.memory_broker import MemoryBroker
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BusError, PacketTooLarge


@dataclass
class Connect:
    """Makes buses on one broker."""

    make: Callable[[tuple[str, bytes] | None, int], ManagedBus]
    ignores_receive_maximum: bool = False

    def __call__(self, *, will: tuple[str, bytes] | None = None, receive_maximum: int = 32) -> ManagedBus:
        return self.make(will, receive_maximum)


@pytest.fixture(scope="module", params=["memory", "mosquitto", "embedded"])
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    if request.param == "memory":
        memory = MemoryBroker(clock=SystemClock(), max_payload_bytes=3_000_000)
        yield Connect(lambda will, receive_maximum: MemoryBus(memory, will=will, receive_maximum=receive_maximum))
        return
    broker: Mosquitto | EmbeddedBroker
    broker = Mosquitto(tmp_path_factory.mktemp("bus")) if request.param == "mosquitto" else EmbeddedBroker()

    def on_mqtt(will: tuple[str, bytes] | None, receive_maximum: int) -> ManagedBus:
        settings = MqttSettings(url=broker.url, receive_maximum=receive_maximum, max_packet_bytes=3_001_024)
        return MqttBus(settings, clock=SystemClock(), will=will)

    with broker:
        yield Connect(on_mqtt, ignores_receive_maximum=request.param == "embedded")


@pytest.fixture
def topic() -> str:
    return f"test/{uuid.uuid4().hex}"


async def take(subscription: Subscription, number: int) -> list[Delivery]:
    deliveries = []
    async for delivery in subscription:
        delivery.ack()
        deliveries.append(delivery)
        if len(deliveries) == number:
            break
    return deliveries


@async_test
async def test_message_arrives_with_all_its_properties(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(topic)
        sent = await bus.publish(
            Message(
                topic,
                b"payload",
                properties=[("a", "1"), ("a", "2")],
                content_type="application/json",
                response_topic="answers/here",
                correlation=b"\x00\x01",
            )
        )
        (got,) = await take(subscription, 1)
    assert (got.topic, got.payload, got.retain, got.duplicate) == (topic, b"payload", False, False)
    assert tuple(got.properties) == (("a", "1"), ("a", "2"))
    assert (got.content_type, got.response_topic, got.correlation) == ("application/json", "answers/here", b"\x00\x01")
    assert sent.payload_bytes == 7
    assert sent.seconds >= 0


@async_test
async def test_post_answers_once_and_never_within_the_call(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(topic)
        answers: list[Sent | Exception] = []
        for number in range(20):
            bus.post(Message(topic, bytes([number]), qos=number % 2), answers.append)
            assert len(answers) == 0
        got = await take(subscription, 20)
        await until(lambda: len(answers) == 20)
    assert sorted(delivery.payload[0] for delivery in got) == list(range(20))
    assert all(isinstance(answer, Sent) and answer.payload_bytes == 1 for answer in answers)
    assert len(answers) == 20


@async_test
async def test_cancelled_post_is_not_answered(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        answers: list[Sent | Exception] = []
        bus.post(Message(topic, b"1"), answers.append).cancel()
        await bus.publish(Message(topic, b"2"))
        assert answers == []
        assert bus.counters["reconnects"] == 0


@async_test
async def test_fault_in_an_answer_is_logged_and_the_bus_goes_on(
    connect: Connect, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Sent | Exception) -> None:
        raise ValueError

    async with connect() as bus:
        bus.post(Message(topic, b""), fail)
        await bus.publish(Message(topic, b""))
    assert [record.getMessage() for record in caplog.records] == ["the answer to a message was not handled"]


@async_test
async def test_post_refuses_what_publish_refuses(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        with pytest.raises(PacketTooLarge):
            bus.post(Message(topic, bytes(bus.max_payload_bytes + 1)), print)
        for bad in (Message("a/+", b""), Message("", b""), Message(topic, b"", qos=2)):
            with pytest.raises(ValueError, match=r"topic|QoS"):
                bus.post(bad, print)
        with pytest.raises(UnicodeEncodeError):
            bus.post(Message(topic, b"", properties=[("a", "\udcff")]), print)
    with pytest.raises(BusError, match="was closed"):
        bus.post(Message(topic, b""), print)


@async_test
async def test_messages_arrive_in_the_order_of_the_calls(connect: Connect, topic: str) -> None:
    async with connect() as sender, connect(receive_maximum=7) as receiver:
        subscription = await receiver.subscribe(topic)
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(sender.publish(Message(topic, str(number).encode())))
        got = await take(subscription, 200)
    assert [int(delivery.payload) for delivery in got] == list(range(200))


@async_test
async def test_large_payload_arrives_whole(connect: Connect, topic: str) -> None:
    payload = bytes(range(256)) * 7_900  # 2 MB
    async with connect() as sender, connect() as receiver:
        subscription = await receiver.subscribe(topic)
        await sender.publish(Message(topic, payload))
        (got,) = await take(subscription, 1)
    assert got.payload == payload


@async_test
async def test_overlapping_subscriptions_get_a_message_once_each(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        filters = [f"{topic}/+", f"{topic}/#", f"{topic}/a", f"{topic}/a"]
        subscriptions = [await bus.subscribe(each) for each in filters]
        for payload in (b"1", b"2"):
            await bus.publish(Message(f"{topic}/a", payload))
        got = [[delivery.payload for delivery in await take(each, 2)] for each in subscriptions]
    assert got == [[b"1", b"2"]] * 4


@async_test
async def test_subscription_gets_only_what_its_filter_matches(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(f"{topic}/+/work")
        for name in ("a", "a/work", "a/b/work", "c/work"):
            await bus.publish(Message(f"{topic}/{name}", name.encode()))
        got = await take(subscription, 2)
    assert [delivery.payload for delivery in got] == [b"a/work", b"c/work"]


@async_test
async def test_retained_message_awaits_later_subscribers_until_cleared(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        await bus.publish(Message(f"{topic}/1", b"state", retain=True))
        await bus.publish(Message(f"{topic}/2", b"gone", retain=True))
        await bus.publish(Message(f"{topic}/2", b"", retain=True))
        subscription = await bus.subscribe(f"{topic}/#")
        await bus.publish(Message(f"{topic}/3", b"live"))
        got = await take(subscription, 2)
    assert sorted((delivery.payload, delivery.retain) for delivery in got) == [(b"live", False), (b"state", True)]


@async_test
async def test_close_takes_the_announcement_back(connect: Connect, topic: str) -> None:
    async with connect() as watcher:
        subscription = await watcher.subscribe(f"{topic}/+")
        async with connect(will=(f"{topic}/a", b"offline")) as bus:
            await bus.announce(f"{topic}/a", b"online")
        other = connect(will=(f"{topic}/b", b"offline"))
        async with other:
            await other.close(goodbye=(f"{topic}/b", b"finished"))
        got = await take(subscription, 3)
    assert [(each.topic[-1], each.payload) for each in got] == [("a", b"online"), ("a", b"offline"), ("b", b"finished")]


@async_test
async def test_work_may_be_acknowledged_in_any_order(connect: Connect, topic: str) -> None:
    async with connect() as sender, connect() as receiver:
        subscription = await receiver.subscribe(topic)
        for _ in range(3):
            for number in range(20):
                await sender.publish(Message(topic, str(number).encode()))
            got = [await anext(aiter(subscription)) for _ in range(20)]
            for delivery in reversed(got):
                delivery.ack()
                delivery.ack()
            assert [int(delivery.payload) for delivery in got] == list(range(20))
        assert receiver.counters["reconnects"] == 0


@async_test
async def test_unacknowledged_messages_hold_back_the_next_ones(connect: Connect, topic: str) -> None:
    if connect.ignores_receive_maximum:
        return  # see test_embedded.py
    async with connect() as sender, connect(receive_maximum=2) as receiver:
        subscription = await receiver.subscribe(f"{topic}/work")
        markers = await receiver.subscribe(f"{topic}/marker", qos=0)
        for number in range(4):
            await sender.publish(Message(f"{topic}/work", str(number).encode()))
        first, second = [await anext(aiter(subscription)) for _ in range(2)]
        third = asyncio.create_task(take(subscription, 1))
        await sender.publish(Message(f"{topic}/marker", b"", qos=0))
        await take(markers, 1)
        assert not third.done()
        second.ack()  # held back until the first one is done
        first.ack()
        assert [each.payload for each in await third] == [b"2"]
        assert (await anext(aiter(subscription))).payload == b"3"


@async_test
async def test_qos_0_message_arrives(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(topic, qos=0)
        assert (await bus.publish(Message(topic, b"now", qos=0))).payload_bytes == 3
        assert [delivery.payload for delivery in await take(subscription, 1)] == [b"now"]


@async_test
async def test_payload_over_the_limit_is_refused_before_it_is_sent(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        assert bus.max_payload_bytes == 3_000_000
        with pytest.raises(PacketTooLarge, match=r"at most 3000000 bytes, got 3000001 bytes; send it in pieces"):
            await bus.publish(Message(topic, bytes(3_000_001)))
        await bus.publish(Message(topic, b"still here"))


@async_test
async def test_closed_subscription_ends_after_what_has_arrived(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(topic)
        markers = await bus.subscribe(f"{topic}/marker")
        await bus.publish(Message(topic, b"in time"))
        await bus.publish(Message(f"{topic}/marker", b""))
        await take(markers, 1)
        await subscription.close()
        await bus.publish(Message(topic, b"too late"))
        assert [delivery.payload async for delivery in subscription] == [b"in time"]


@async_test
async def test_closed_bus_ends_subscriptions_and_refuses_publishes(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        subscription = await bus.subscribe(topic)
    assert [delivery async for delivery in subscription] == []
    with pytest.raises(BusError, match="was closed"):
        await bus.publish(Message(topic, b""))
    with pytest.raises(BusError, match="was closed"):
        await bus.subscribe(topic)
    await bus.close()


@async_test
async def test_wildcard_in_a_topic_is_an_error_of_the_caller(connect: Connect, topic: str) -> None:
    async with connect() as bus:
        for bad in ("", f"{topic}/+", f"{topic}/#"):
            with pytest.raises(ValueError, match="a topic has"):
                await bus.publish(Message(bad, b""))
        for bad in ("", f"{topic}/#/a", f"{topic}/a+"):
            with pytest.raises(ValueError, match="topic filter"):
                await bus.subscribe(bad)
