"""The bus' parts without a network: an inbox, the line of what is to be sent, filters."""

from __future__ import annotations

import functools

import pytest

from tests.aio import async_test
from tiercut.bus import Delivery, Message
from tiercut.bus.inbox import Inbox
from tiercut.bus.outbox import Outbox, Queued
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.routes import filters_overlap


def message(size: int, *, qos: int = 1, announcement: bool = False) -> Queued:
    return Queued(Message("a", bytes(size), qos=qos), lambda _: None, announcement=announcement)


@async_test
async def test_line_waits_for_credit_and_qos_0_needs_none() -> None:
    outbox = Outbox(budget_bytes=100, packet_ids=PacketIds())
    outbox.credit = 1
    first, second, unreliable = message(1), message(1), message(1, qos=0)
    outbox.waiting.extend((unreliable, first, second))
    assert [outbox.next() for _ in range(3)] == [unreliable, first, None]
    assert outbox.acked(first.packet_id) is first
    assert outbox.next() is second


@async_test
async def test_lost_messages_go_back_in_front_without_announcements() -> None:
    outbox = Outbox(budget_bytes=100, packet_ids=PacketIds())
    messages = [message(1), message(1, announcement=True), message(1)]
    outbox.waiting.extend(messages)
    assert [outbox.next() for _ in messages] == messages
    waiting = message(1)
    outbox.waiting.append(waiting)
    outbox.renew(resumed=False)
    assert outbox.in_flight_bytes == 0
    assert [outbox.next() for _ in range(4)] == [messages[0], messages[2], waiting, None]
    assert messages[1].done


@async_test
async def test_handler_that_raises_is_logged_now_and_then_and_its_messages_are_acknowledged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Delivery) -> None:
        raise ValueError

    async def unsubscribe(_: Inbox) -> None: ...

    acked: list[float] = []
    inbox = Inbox("a", qos0_limit=1, unsubscribe=unsubscribe, dropped=lambda: None, handler=fail)
    for at_s in (0.0, 1.0, 9.9, 10.0):
        inbox.put(Delivery("a", b"", at_s, ack=functools.partial(acked.append, at_s)), qos0=False)
    assert acked == [0.0, 1.0, 9.9, 10.0]
    assert [vars(record)["so_far"] for record in caplog.records] == [1, 4]


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a/+", "a/b", True),
        ("a/+", "+/b", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("a/+", "a", False),
        ("a/b", "a/b/c", False),
        ("a/+/c", "a/b/d", False),
        ("a/+/#", "a", False),
    ],
)
def test_overlap_of_filters(one: str, other: str, overlap: bool) -> None:
    assert filters_overlap(one, other) is overlap
    assert filters_overlap(other, one) is overlap
