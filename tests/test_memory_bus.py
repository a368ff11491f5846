"""The bus in one process: what it does when its connection breaks."""

from __future__ import annotations

import asyncio

from tests.aio import virtual_time
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.bus.memory_broker import MemoryBroker
from tiercut.clock import ManualClock
from tiercut.errors import BusError


@virtual_time
async def test_cut_bus_has_its_will_published_and_announces_itself_again(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with MemoryBus(broker) as watcher, MemoryBus(broker, will=("node", b"offline")) as bus:
        subscription = await watcher.subscribe("node")
        await bus.announce("node", b"online")
        broker.cut(bus)
        assert not bus.connected
        broker.restore(bus)
        assert [(await anext(aiter(subscription))).payload for _ in range(3)] == [b"online", b"offline", b"online"]
    assert bus.counters["reconnects"] == 1


@virtual_time
async def test_publishes_wait_for_the_connection_in_order(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with MemoryBus(broker) as receiver, MemoryBus(broker) as sender:
        subscription = await receiver.subscribe("a")
        broker.cut(sender)
        calls = [asyncio.create_task(sender.publish(Message("a", bytes([number])))) for number in range(3)]
        await asyncio.sleep(10)
        assert not any(call.done() for call in calls)
        broker.restore(sender)
        await asyncio.gather(*calls)
        assert [(await anext(aiter(subscription))).payload[0] for _ in range(3)] == [0, 1, 2]


@virtual_time
async def test_unacknowledged_messages_come_again_as_duplicates(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with MemoryBus(broker, receive_maximum=2) as receiver, MemoryBus(broker) as sender:
        subscription = await receiver.subscribe("a")
        for number in range(3):
            await sender.publish(Message("a", bytes([number])))
        first, second = [await anext(aiter(subscription)) for _ in range(2)]
        first.ack()
        broker.cut(receiver)
        second.ack()  # too late: the broker does not hear it
        broker.restore(receiver)
        got = [await anext(aiter(subscription)) for _ in range(3)]
    assert sorted((each.payload[0], each.duplicate) for each in got) == [(1, True), (2, False), (2, True)]


@virtual_time
async def test_expired_message_is_not_delivered(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with MemoryBus(broker) as receiver, MemoryBus(broker) as sender:
        subscription = await receiver.subscribe("a")
        broker.cut(receiver)
        await sender.publish(Message("a", b"old", expiry_s=5))
        await sender.publish(Message("a", b"lasting", expiry_s=50))
        await asyncio.sleep(10)
        broker.restore(receiver)
        assert (await anext(aiter(subscription))).payload == b"lasting"


@virtual_time
async def test_oldest_qos_0_message_gives_way_and_is_counted(clock: ManualClock) -> None:
    async with MemoryBus(MemoryBroker(clock=clock), qos0_queue=2) as bus:
        subscription = await bus.subscribe("a", qos=0)
        for number in range(5):
            await bus.publish(Message("a", bytes([number]), qos=0))
        assert [(await anext(aiter(subscription))).payload[0] for _ in range(2)] == [3, 4]
        assert bus.counters["dropped_qos0_queue_full"] == 3


@virtual_time
async def test_close_fails_publishes_that_wait(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with MemoryBus(broker) as bus:
        broker.cut(bus)
        call = asyncio.create_task(bus.publish(Message("a", b"")))
        await asyncio.sleep(0)
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], BusError)
