"""Acknowledgements: their order, what is stuck, and what a killed reader loses."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.aio import async_test, until
from tests.brokers import Mosquitto, program
from tiercut.bus import Delivery, Message
from tiercut.bus.acks import AckOrder
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import ManualClock, SystemClock

Ack = Callable[[], None]


@dataclass(eq=False)
class Call:
    due_s: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Reader:
    """An `AckOrder` in time that is set by hand; stuck is who has been the oldest for 5 s."""

    credit: int = 8
    clock: ManualClock = field(default_factory=ManualClock)
    counters: Counter[str] = field(default_factory=Counter)
    sent: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = AckOrder(
            self.sent.append,
            credit=self.credit,
            counters=self.counters,
            monotonic_s=self.clock.monotonic_s,
            stuck_s=5.0,
            call_later=self._call_later,
        )

    def _call_later(self, seconds: float, call: Callable[[], None]) -> Call:
        self.calls.append(Call(self.clock.now_s + seconds, call))
        return self.calls[-1]

    def take(self, *packet_ids: int) -> list[Ack]:
        """One message each."""
        return [self.order.take(packet_id, 1)[0] for packet_id in packet_ids]

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due is called."""
        end_s = self.clock.now_s + seconds
        while due := [call for call in self.calls if call.due_s <= end_s and not call.cancelled]:
            first = min(due, key=lambda call: call.due_s)
            self.calls.remove(first)
            self.clock.now_s = max(self.clock.now_s, first.due_s)
            first.call()
        self.clock.now_s = end_s

    @property
    def in_memory(self) -> int:
        """Messages that are not done, or whose acknowledgement waits."""
        return len(self.order) + self.order.early_unfinished


def test_acknowledgements_go_out_in_the_order_of_reception() -> None:
    reader = Reader()
    first, second, third = reader.take(7, 3, 9)
    second()
    third()
    assert reader.sent == []
    first()
    first()
    assert reader.sent == [7, 3, 9]


def test_message_is_acknowledged_when_all_its_subscriptions_have() -> None:
    reader = Reader()
    one, other = reader.order.take(1, 2)
    one()
    one()
    assert reader.sent == []
    other()
    reader.order.take(2, 0)  # nobody wants it
    assert reader.sent == [1, 2]


def test_acknowledgement_of_a_lost_connection_says_nothing() -> None:
    reader = Reader()
    (old,) = reader.take(1)
    reader.order.forget()
    (new,) = reader.take(1)
    old()
    assert reader.sent == []
    new()
    assert reader.sent == [1]


def test_head_that_holds_back_finished_messages_is_let_go_after_its_time_and_not_before() -> None:
    reader = Reader()
    reader.advance(3.0)
    _, *others = reader.take(1, 2, 3, 4)
    for ack in others:
        ack()
    reader.advance(4.99)
    assert reader.sent == []
    reader.advance(0.01)
    assert reader.sent == [1, 2, 3, 4]
    assert (reader.counters["acknowledged_early"], reader.order.early_unfinished) == (1, 1)


def test_head_that_waits_behind_another_begins_its_time_when_that_is_done() -> None:
    reader = Reader()
    first, _, third, _ = reader.take(1, 2, 3, 4)
    third()
    reader.advance(4.0)
    first()
    assert reader.sent == [1]
    _, last = reader.take(5, 6)
    last()
    reader.advance(4.9)
    assert reader.sent == [1]
    reader.advance(0.1)
    assert reader.sent == [1, 2, 3]


def test_those_that_are_stuck_together_are_let_go_one_after_the_other() -> None:
    reader = Reader(credit=16)
    _, _, _, *others = reader.take(*range(20))
    others[0]()
    reader.advance(5.2)
    assert reader.sent == [0]
    reader.advance(0.1)
    assert reader.sent == [0, 1]
    reader.advance(0.2)
    assert reader.sent == [0, 1, 2, 3]
    others[1]()  # 4 is done, and what came before it moved: the next one has its whole time
    others[3]()
    reader.advance(4.9)
    assert reader.sent == [0, 1, 2, 3, 4]


def test_one_that_is_done_after_it_was_let_go_gives_the_next_ones_their_whole_time() -> None:
    reader = Reader()
    first, _, _, last = reader.take(1, 2, 3, 4)
    last()
    reader.take(5)
    reader.advance(5.0)
    assert reader.sent == [1]
    first()
    reader.advance(4.9)
    assert reader.sent == [1]
    reader.advance(0.1)
    assert reader.sent == [1, 2]


def test_one_that_is_done_is_not_let_go_though_sending_takes_long() -> None:
    reader = Reader()

    def send(packet_id: int) -> None:
        reader.sent.append(packet_id)
        reader.clock.advance(1.0)
        reader.order.take(packet_id + 100, 1)  # on a bus in memory, sending makes the next message arrive

    reader.order._send = send
    _, *others = reader.take(*range(8))
    for ack in others[:4]:
        ack()
    reader.advance(5.0)
    assert reader.sent == [0, 1, 2, 3, 4]
    assert reader.order.early_unfinished == 1


def test_head_is_kept_while_there_is_credit_or_nothing_behind_it_is_finished() -> None:
    reader = Reader()
    _, second, _ = reader.take(1, 2, 3)
    second()  # three wait, and the broker may send five more
    reader.advance(60.0)
    assert reader.sent == []
    reader = Reader()
    reader.take(*range(8))
    reader.advance(60.0)
    assert reader.sent == []
    assert not reader.calls


def test_reader_with_little_credit_gets_strict_order() -> None:
    reader = Reader(credit=7)
    _, *others = reader.take(*range(7))
    for ack in others:
        ack()
    reader.advance(60.0)
    assert reader.sent == []


def test_no_more_than_half_the_credit_is_let_go_until_one_of_them_is_done() -> None:
    reader = Reader()
    stuck = reader.take(*range(4))
    for packet_id in range(4, 12):
        reader.take(packet_id)[0]()
        reader.advance(10.0)
    assert reader.sent == list(range(12))
    assert reader.order.early_unfinished == 4
    _, *others = reader.take(*range(12, 20))
    for ack in others:
        ack()
    reader.advance(60.0)
    assert len(reader.sent) == 12
    assert not reader.calls  # nothing to wait for but those that are stuck
    stuck[2]()
    reader.advance(5.0)
    assert reader.sent == list(range(20))
    assert (reader.counters["acknowledged_early"], reader.order.early_unfinished) == (5, 4)


def test_nothing_is_sent_after_the_connection_is_lost() -> None:
    reader = Reader()
    _, *others = reader.take(1, 2, 3, 4)
    for ack in others:
        ack()
    assert len(reader.calls) == 1
    reader.order.forget()
    assert reader.calls[0].cancelled
    reader.advance(60.0)
    assert (reader.sent, reader.order.early_unfinished) == ([], 0)


def test_what_was_let_go_counts_beyond_its_connection_until_it_is_done() -> None:
    reader = Reader()
    stuck, *others = reader.take(1, 2, 3, 4)
    others[0]()
    reader.advance(5.0)
    assert reader.sent == [1, 2]
    reader.order.forget()
    assert reader.order.early_unfinished == 1
    stuck()
    assert reader.order.early_unfinished == 0
    assert reader.sent == [1, 2]


@pytest.mark.parametrize(("stuck_every", "stuck", "let_go"), [(1000, 0, 0), (20, 20, 18), (5, 80, 32)])
def test_slow_reader_of_two_streams_holds_a_bounded_number(stuck_every: int, stuck: int, let_go: int) -> None:
    """400 messages, three of one stream for each of the other; the reader takes turns, 0.1 s each."""
    reader = Reader(credit=64)
    queued, lanes, finished = deque(range(400)), (deque[tuple[int, Ack]](), deque[tuple[int, Ack]]()), set[int]()
    for turn in range(6000):
        while queued and len(reader.order) < reader.credit:
            number = queued.popleft()
            (ack,) = reader.take(number)
            if (number + 1) % stuck_every:
                lanes[number % 4 == 3].append((number, ack))
        assert reader.in_memory <= 64 + 32
        assert len(set(reader.sent) - finished) == reader.order.early_unfinished <= 32  # what a kill would lose
        if lane := lanes[turn % 2] or lanes[not turn % 2]:
            number, ack = lane.popleft()
            finished.add(number)
            ack()
        reader.advance(0.1)
    assert reader.sent == sorted(reader.sent)
    assert reader.counters["acknowledged_early"] == reader.order.early_unfinished == let_go
    assert (len(finished) == 400 - stuck) is (stuck <= 32)  # more than half the credit of stuck ones do stop the rest


def keeps_to_the_receive_maximum() -> bool:
    """Mosquitto 2.0.11 lets as many messages follow each PUBACK, so that only its queue bounds what is under way."""
    shown = subprocess.run([program("mosquitto"), "-h"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"mosquitto version (\d+)\.(\d+)\.(\d+)", shown)
    assert version, shown[:80]
    return tuple(map(int, version.groups())) >= (2, 0, 21)  # of those between nothing is measured


@pytest.mark.parametrize(("stuck_every", "stuck_s"), [(1000, 5.0), (20, 0.02), (4, 0.02)])
@async_test
async def test_killed_reader_loses_only_what_was_acknowledged_early(
    stuck_every: int, stuck_s: float, tmp_path: Path
) -> None:
    lanes, came, finished, most = (deque[Delivery](), deque[Delivery]()), 0, set[int](), 0

    def hold(delivery: Delivery) -> None:
        nonlocal came, most
        came += 1
        most = max(most, came - len(finished))
        number = int(delivery.payload)
        if (number + 1) % stuck_every:
            lanes[number % 4 == 3].append(delivery)

    def finish(delivery: Delivery) -> None:
        finished.add(int(delivery.payload))
        delivery.ack()

    with Mosquitto(tmp_path) as broker:
        settings = MqttSettings(url=broker.url, client_id="e", clean_start=False, receive_maximum=64, stuck_s=stuck_s)
        async with MqttBus(settings, clock=SystemClock()) as edge:
            await edge.subscribe("work", handler=hold)
            async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as sender:
                await asyncio.gather(*(sender.publish(Message("work", str(number).encode())) for number in range(400)))
            for turn in range(150):
                if lane := lanes[turn % 2] or lanes[not turn % 2]:
                    finish(lane.popleft())
                await asyncio.sleep(0.002)
            lost = edge.early_unfinished
        async with MqttBus(settings, clock=SystemClock()) as edge:  # the session goes on with what was not acknowledged
            await edge.subscribe("work", handler=finish)
            await until(lambda: len(finished) >= 400 - lost)
    assert len(finished) == 400 - lost
    assert lost <= 32
    assert bool(lost) is (stuck_every < 400)
    if keeps_to_the_receive_maximum():
        assert most <= 64 + 32
