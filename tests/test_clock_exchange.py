"""Questions for clocks: only what was asked for counts, once, and from the node that was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from tests.aio import async_test, until
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.bus.memory_broker import MemoryBroker
from tiercut.clock import SystemClock
from tiercut.clocks.exchange import ClockExchange
from tiercut.clocks.offsets import ClockOffsets
from tiercut.declared import decode_json, encode_json
from tiercut.pipeline.peers import Peers
from tiercut.protocol.nodes import ClockProbe, NodeStatus, StatusTier
from tiercut.protocol.topics import CLOCK, ECHO

OWN, FAR = (CLOCK.of(site="t", tier="edge", node=node) for node in ("e", "far"))
FAR_NAMES = {"site": "t", "tier": "edge", "node": "far"}


class Asker:
    """A service on a bus of its own, and a bus for everybody else."""

    def __init__(self, others: MemoryBus, bus: MemoryBus, clocks: Collection[str]) -> None:
        self.others, self.bus = others, bus
        self.clock = SystemClock()
        self.offsets = ClockOffsets(self.clock.id)
        self.counters: Counter[str] = Counter()
        self.service = ClockExchange(
            own_topic=OWN,
            clock=self.clock,
            offsets=self.offsets,
            clocks_of=lambda *names: clocks if names == ("t", "edge", "far") else (),
            counters=self.counters,
        )

    async def answer(self, probe: ClockProbe, *, retain: bool = False) -> None:
        await self.others.publish(Message(OWN, encode_json(probe), qos=0, retain=retain))

    def offset_s(self, clock_id: str = "far") -> float | None:
        offset = self.offsets.offset(clock_id, self.clock.monotonic_s())
        return None if offset is None else offset.seconds


@asynccontextmanager
async def asker(*clocks: str) -> AsyncIterator[Asker]:
    broker = MemoryBroker(clock=SystemClock())
    async with MemoryBus(broker) as others, MemoryBus(broker) as bus:
        made = Asker(others, bus, clocks)
        listening = asyncio.create_task(made.service.listen(bus, aiter(await bus.subscribe(OWN))))
        yield made
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def true_answer(question: ClockProbe, ahead_s: float = 1000.0) -> ClockProbe:
    now_s = SystemClock().monotonic_s() + ahead_s
    return ClockProbe(clock_id="far", asked_s=question.asked_s, heard_s=now_s, answered_s=now_s)


@async_test
async def test_answer_that_nobody_asked_for_teaches_nothing() -> None:
    async with asker() as own:
        now_s = own.clock.monotonic_s()
        for asked_s in (now_s, 0.0):
            await own.answer(ClockProbe(clock_id="far", asked_s=asked_s, heard_s=now_s + 4000, answered_s=now_s + 4000))
        await until(lambda: own.counters["bad.clock_unasked"] == 2)
        assert own.offset_s() is None


@async_test
async def test_each_question_has_one_answer_and_a_number_that_says_nothing() -> None:
    async with asker("far") as own:
        asked = aiter(await own.others.subscribe(FAR))
        numbers = []
        for _ in range(3):
            await own.service.ask(own.bus, FAR)
            question = decode_json(ClockProbe, (await anext(asked)).payload)
            numbers.append(question.asked_s)
            await own.answer(true_answer(question))
            await own.answer(true_answer(question, ahead_s=9000.0))
        await until(lambda: own.counters["bad.clock_unasked"] == 3)
        assert own.offset_s() == pytest.approx(-1000.0, abs=1.0)
        assert len(set(numbers)) == 3
        assert not any(abs(each - own.clock.monotonic_s()) < 1e-3 for each in numbers)


@async_test
async def test_node_that_was_asked_answers_for_its_own_clock_only() -> None:
    async with asker("far") as own:
        asked = aiter(await own.others.subscribe(FAR))
        await own.service.ask(own.bus, FAR)
        question = decode_json(ClockProbe, (await anext(asked)).payload)
        await own.answer(structs.replace(true_answer(question), clock_id="somebody else's"))
        await until(lambda: own.counters["bad.clock_of_another"] == 1)
        assert own.offset_s("somebody else's") is None


@async_test
async def test_deeply_nested_messages_end_no_exchange() -> None:
    async with asker("far") as own:
        asked = aiter(await own.others.subscribe(FAR))
        for levels in (450, 600, 900, 990, 5000):
            await own.others.publish(Message(OWN, b'{"x":' + b"[" * levels + b"]" * levels + b"}"))
        await own.others.publish(Message(OWN, encode_json(ClockProbe(clock_id="x", asked_s=1.0)), response_topic=FAR))
        assert decode_json(ClockProbe, (await anext(asked)).payload).asked_s == 1.0


@async_test
async def test_retained_message_is_neither_question_nor_answer() -> None:
    broker = MemoryBroker(clock=SystemClock())
    async with MemoryBus(broker) as others, MemoryBus(broker) as bus:
        question = encode_json(ClockProbe(clock_id="x", asked_s=1.0))
        await others.publish(Message(OWN, question, retain=True, response_topic=FAR))
        answers = aiter(await others.subscribe(FAR))
        own = Asker(others, bus, ())
        listening = asyncio.create_task(own.service.listen(bus, aiter(await bus.subscribe(OWN))))
        await until(lambda: own.counters["bad.clock_retained"] == 1)
        await others.publish(Message(OWN, question, response_topic=FAR))
        assert decode_json(ClockProbe, (await anext(answers)).payload).heard_s is not None
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(answers)


@async_test
async def test_measurement_is_not_ended_by_a_stranger() -> None:
    async with asker("far") as own:
        asked = aiter(await own.others.subscribe(FAR))
        await own.service.ask(own.bus, FAR)
        await own.answer(true_answer(decode_json(ClockProbe, (await anext(asked)).payload)))
        await until(lambda: own.offset_s() is not None)
        echoes = aiter(await own.others.subscribe(ECHO.of(**FAR_NAMES)))
        probing = asyncio.create_task(own.service.probe(own.bus, FAR_NAMES, 300))
        question = decode_json(ClockProbe, (await anext(echoes)).payload)
        forged = structs.replace(true_answer(question), asked_s=own.clock.monotonic_s())
        await own.answer(forged)
        await until(lambda: own.counters["bad.clock_unasked"] == 1)
        assert not probing.done()
        await own.answer(true_answer(question))
        took = await probing
        assert took is not None
        assert took[0] == 300
        assert 0 <= took[1] < 1


@async_test
async def test_questions_that_are_never_answered_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercut.clocks.exchange.MAX_OPEN", 4)
    async with asker() as own:
        for _ in range(20):
            await own.service.ask(own.bus, FAR)
        assert len(own.service._open) == 4


def test_clock_of_a_node_is_known_by_its_status() -> None:
    peers = Peers()
    said: list[tuple[str, StatusTier, str]] = [("t", "edge", "a"), ("u", "edge", "b"), ("cloud", "cloud", "c")]
    for site, tier, clock_id in said:
        status = NodeStatus(node="n", tier=tier, state="online", version="1", clock_id=clock_id)
        peers.heard(status, site=site)
    assert peers.clocks("t", "edge", "n") == {"a"}
    assert peers.clocks("t", "cloud", "n") == {"c"}, "cloud nodes are asked under any site's name"
    assert peers.clocks("t", "edge", "nobody") == frozenset()
