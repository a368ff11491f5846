"""Outcomes that wait for the cloud's broker, without one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.aio import async_test
from tiercut.bus import Message
from tiercut.pipeline import cloud_outcomes
from tiercut.pipeline.cloud_outcomes import CloudOutcomes, Outcome
from tiercut.protocol import events


class AwayBus:
    """Takes what is posted, and never has an answer."""

    def post(self, message: Message, taken: object) -> AwayBus:
        assert message.topic.startswith("tiercut/v1/home/stream/cam/")
        assert taken
        return self

    def cancel(self) -> None:
        """Nobody has it."""


def outcome(seq: int, kind: str, *, waits: bool) -> Outcome:
    properties = [("id", str(seq)), ("source", f"/tiercut/home/cam/{kind}"), ("type", kind)]
    return Outcome(site="home", stream="cam", seq=seq, home=Message("t", b"12345", properties=properties), waits=waits)


@pytest.mark.parametrize(
    ("kind", "waits", "home"),
    [
        (events.RESULT_TYPE, True, []),  # its frame is sent again, and none is lost
        (events.RESULT_TYPE, False, [events.DROPPED_TYPE]),
        (events.DROPPED_TYPE, True, [events.DROPPED_TYPE]),
    ],
)
@async_test
async def test_outcome_that_there_is_no_room_for_is_given_up_unless_it_is_made_again(
    kind: str, waits: bool, home: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_outcomes, "MAX_WAITING_BYTES", 8)
    bus: Any = AwayBus()
    cloud, told = CloudOutcomes(node="e", bus=lambda: bus, counters=Counter()), list[Message]()
    cloud.send(outcome(0, events.RESULT_TYPE, waits=True), told.append)
    assert (len(cloud), told) == (1, [])
    cloud.send(outcome(1, kind, waits=waits), told.append)
    assert len(cloud) == 1
    assert [dict(each.properties)["type"] for each in told] == home
