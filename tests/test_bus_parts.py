"""The bus' parts without a network: acknowledgements, the line of what is to be sent, filters."""

from __future__ import annotations

import asyncio

import pytest

from tests.aio import async_test
from tiercut.bus.acks import AckOrder
from tiercut.bus.outbox import Message, Outbox
from tiercut.bus.routes import filters_overlap


def message(size: int, *, qos: int = 1, announcement: bool = False) -> Message:
    taken = asyncio.get_running_loop().create_future()
    return Message("a", bytes(size), qos, False, None, 0, taken, announcement)


def test_acknowledgements_go_out_in_the_order_of_reception() -> None:
    sent: list[int] = []
    acks = AckOrder(sent.append, patience=9)
    (first,), (second,), (third,) = (acks.take(packet_id, 1) for packet_id in (7, 3, 9))
    second()
    third()
    assert sent == []
    first()
    first()
    assert sent == [7, 3, 9]


def test_head_that_holds_back_finished_messages_is_acknowledged_when_credit_runs_low() -> None:
    sent: list[int] = []
    acks = AckOrder(sent.append, patience=3)
    for packet_id in (1, 2):
        acks.take(packet_id, 1)
    later = acks.take(3, 1)
    assert sent == []  # nothing behind the head is finished: the broker is to wait
    later[0]()
    assert sent == [1]
    assert acks.early == 1


def test_message_is_acknowledged_when_all_its_subscriptions_have() -> None:
    sent: list[int] = []
    acks = AckOrder(sent.append, patience=9)
    one, other = acks.take(1, 2)
    one()
    one()
    assert sent == []
    other()
    acks.take(2, 0)  # nobody wants it
    assert sent == [1, 2]


def test_acknowledgement_of_a_lost_connection_says_nothing() -> None:
    sent: list[int] = []
    acks = AckOrder(sent.append, patience=9)
    (old,) = acks.take(1, 1)
    acks.forget()
    (new,) = acks.take(1, 1)
    old()
    assert sent == []
    new()
    assert sent == [1]


@async_test
async def test_line_waits_for_credit_and_qos_0_needs_none() -> None:
    outbox = Outbox(budget_bytes=100)
    outbox.credit = 1
    first, second, unreliable = message(1), message(1), message(1, qos=0)
    for each in (unreliable, first, second):
        outbox.add(each)
    for packet_id, expected in enumerate((unreliable, first)):
        assert outbox.next() is expected
        outbox.sent(packet_id, expected)
    assert outbox.next() is None
    assert outbox.acked(1) is first
    assert outbox.next() is second


@async_test
async def test_lost_messages_go_back_in_front_without_announcements() -> None:
    outbox = Outbox(budget_bytes=100)
    messages = [message(1), message(1, announcement=True), message(1)]
    for packet_id, each in enumerate(messages):
        outbox.sent(packet_id, each)
    waiting = message(1)
    outbox.add(waiting)
    outbox.requeue(0.0, unacked=True)
    assert (outbox.unacked, outbox.under_way_bytes) == (0, 0)
    assert [outbox.next() for _ in range(4)] == [messages[0], messages[2], waiting, None]
    assert messages[1].taken.done()


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
