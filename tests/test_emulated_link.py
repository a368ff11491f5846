"""The emulated link: first as arithmetic, then in front of a bus on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from tests.aio import virtual_time
from tiercut.bus import Message, Sent
from tiercut.bus.emulated_link import EmulatedBus
from tiercut.bus.link_model import Link, LinkSettings
from tiercut.bus.memory import MemoryBus
from tiercut.bus.memory_broker import MemoryBroker
from tiercut.clock import ManualClock
from tiercut.errors import BusError, SettingsError


def test_message_takes_its_bits_over_the_rate_and_the_delay() -> None:
    link = Link(LinkSettings(rate_mbps=8.0, delay_s=0.020))
    assert link.departure(10.0, 1_000_000) == pytest.approx((11.0, 11.020))


def test_messages_are_sent_one_after_the_other_and_travel_together() -> None:
    link = Link(LinkSettings(rate_mbps=8.0, delay_s=5.0))
    assert [link.departure(0.0, 1_000_000) for _ in range(3)] == [(1, 6), (2, 7), (3, 8)]
    assert link.departure(100.0, 1_000_000) == pytest.approx((101, 106))  # idle in between


def test_unlimited_rate_leaves_the_delay_alone() -> None:
    assert Link(LinkSettings(delay_s=0.5)).departure(1.0, 10**9) == (1.0, 1.5)


def test_narrowed_link_applies_to_the_next_message_and_keeps_the_order() -> None:
    link = Link(LinkSettings(rate_mbps=8.0, delay_s=1.0))
    assert link.departure(0.0, 1_000_000) == (1.0, 2.0)
    link.settings = LinkSettings(rate_mbps=0.8)
    assert link.departure(0.0, 10_000) == pytest.approx((1.1, 2.0))  # not before the first one
    assert link.departure(0.0, 1_000_000) == pytest.approx((11.1, 11.1))


def test_loss_lowers_the_rate_as_mathis_says_and_adds_round_trips() -> None:
    settings = LinkSettings(rate_mbps=100.0, delay_s=0.050, loss=0.01)
    assert settings.bytes_per_s == pytest.approx(1.2247 * 1448 / (0.100 * 0.1), rel=1e-3)
    link = Link(settings, seed=1)
    late_s = []
    for number in range(2_000):
        sent_s, arrives_s = link.departure(number * 100.0, 100_000)  # 70 segments: half of them lose at least one
        late_s.append(arrives_s - sent_s)
    assert sorted({round(late, 6) for late in late_s}) == [0.05, 0.15]
    assert sum(late > 0.1 for late in late_s) / len(late_s) == pytest.approx(1 - 0.99**70, abs=0.03)


def test_small_message_that_is_lost_waits_for_a_timeout() -> None:
    link = Link(LinkSettings(delay_s=0.01, loss=0.5), seed=1)
    late_s = {round(arrives_s - sent_s, 6) for sent_s, arrives_s in (link.departure(n * 10.0, 100) for n in range(50))}
    assert late_s == {0.01, 0.21}


@pytest.mark.parametrize("bad", [{"rate_mbps": 0.0}, {"rate_mbps": -1.0}, {"delay_s": -0.1}, {"loss": 1.0}])
def test_impossible_link_is_a_setting_error(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=f"the link's {next(iter(bad))}: expected"):
        LinkSettings(**bad)


def test_link_says_what_it_is() -> None:
    assert str(LinkSettings(rate_mbps=5.85, delay_s=0.02)) == "emulated link: 5.85 Mbps, 20 ms"
    assert str(LinkSettings(loss=0.01)) == "emulated link: unlimited rate, 0 ms, 1 % loss"


async def publish_all(bus: EmulatedBus, topic: str, *sizes: int) -> list[Sent]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bus.publish(Message(topic, bytes(size)))) for size in sizes]
    return [task.result() for task in tasks]


@virtual_time
async def test_publish_takes_the_links_time_and_the_way_of_the_acknowledgement(clock: ManualClock) -> None:
    broker = MemoryBroker(clock=clock)
    async with EmulatedBus(MemoryBus(broker), LinkSettings(rate_mbps=8.0, delay_s=2.0), clock=clock) as bus:
        subscription = await bus.subscribe("a")
        sent = await publish_all(bus, "a", 1_000_000, 1_000_000)
        received = [await anext(aiter(subscription)) for _ in range(2)]
    assert [each.seconds for each in sent] == pytest.approx([5.0, 6.0])
    assert [each.received_s for each in received] == pytest.approx([3.0, 4.0])


@virtual_time
async def test_other_topics_bypass_the_link(clock: ManualClock) -> None:
    slow = LinkSettings(rate_mbps=0.008)
    async with EmulatedBus(
        MemoryBus(MemoryBroker(clock=clock)), slow, clock=clock, applies_to=lambda topic: topic.startswith("far/")
    ) as bus:
        far = asyncio.create_task(bus.publish(Message("far/a", bytes(1000))))
        assert (await bus.publish(Message("near/a", bytes(10**6)))).seconds == 0.0
        assert (await far).seconds == pytest.approx(1.0)
        assert bus.emulated == "emulated link: 0.008 Mbps, 0 ms"


@virtual_time
async def test_messages_keep_their_order_when_the_link_changes_under_way(clock: ManualClock) -> None:
    async with EmulatedBus(MemoryBus(MemoryBroker(clock=clock)), LinkSettings(delay_s=5.0), clock=clock) as bus:
        subscription = await bus.subscribe("a")
        slow = [asyncio.create_task(bus.publish(Message("a", bytes([number])))) for number in range(3)]
        await asyncio.sleep(0.1)
        bus.link.settings = LinkSettings()
        slow[1].cancel()
        fast = [asyncio.create_task(bus.publish(Message("a", bytes([number])))) for number in range(3, 6)]
        await asyncio.wait([*slow, *fast])
        assert [(await anext(aiter(subscription))).payload[0] for _ in range(5)] == [0, 2, 3, 4, 5]


@virtual_time
async def test_posts_are_answered_over_the_link_and_a_withdrawn_one_makes_room(clock: ManualClock) -> None:
    settings = LinkSettings(rate_mbps=8.0, delay_s=1.0)
    answers: list[tuple[float, Sent | Exception]] = []
    async with EmulatedBus(MemoryBus(MemoryBroker(clock=clock)), settings, clock=clock, budget_bytes=1_500_000) as bus:
        subscription = await bus.subscribe("a")
        posts = [
            bus.post(Message("a", bytes([number]) * 1_000_000), lambda answer: answers.append((clock.now_s, answer)))
            for number in range(4)
        ]
        assert answers == []
        posts[1].cancel()  # it waits for room
        await asyncio.sleep(2.5)  # the first has arrived, and its answer is on the way back
        posts[0].cancel()
        await asyncio.sleep(100)
        got = [(await anext(aiter(subscription))).payload[0] for _ in range(3)]
    assert got == [0, 2, 3]
    assert [at_s for at_s, _ in answers] == pytest.approx([2.5 + 3.0, 5.5 + 3.0])
    assert all(isinstance(answer, Sent) for _, answer in answers)


@virtual_time
async def test_budget_holds_callers_back_before_the_link(clock: ManualClock) -> None:
    settings = LinkSettings(rate_mbps=8.0)
    async with EmulatedBus(MemoryBus(MemoryBroker(clock=clock)), settings, clock=clock, budget_bytes=1_500_000) as bus:
        sent = await publish_all(bus, "a", 1_000_000, 1_000_000, 2_000_000)
    assert [each.seconds for each in sent] == pytest.approx([1.0, 1.0, 2.0])  # each had the link to itself


@virtual_time
async def test_close_does_not_wait_for_what_is_on_the_link(clock: ManualClock) -> None:
    bus = EmulatedBus(MemoryBus(MemoryBroker(clock=clock)), LinkSettings(delay_s=1000.0), clock=clock, budget_bytes=1)
    async with bus:
        calls = [asyncio.create_task(bus.publish(Message("a", bytes(10)))) for _ in range(2)]
        await asyncio.sleep(1.0)
    assert all(isinstance(each, BusError) for each in await asyncio.gather(*calls, return_exceptions=True))
    assert clock.now_s == pytest.approx(1.0)
