"""Signals that sensors publish by themselves, through a whole site: windows, units, and what is wrong."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiercut
from iot_node.source import Source, open_source
from tests.aio import async_test
from tests.sites import Outcomes, new_site
from tests.test_registered_streams import Person, gateway, hub, running, until
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBroker, MemoryBus
from tiercut.clock import ManualClock
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.sensing.sensor_format import Captured
from tiercut.settings import from_table

TOPIC = "watch/acc"
WATCH = {
    "model": "shaking",
    "sensor": "mqtt",
    "topic": TOPIC,
    "format": "json",
    "json_path": ["$.samples"],
    "channels": ["t", "z", "y", "x"],
    "units": ["degC", "g", "g", "g"],
    "rate_hz": 100.0,
    "overlap": 0.5,
    "delivery": "every",
}


class Spread(nn.Module):
    """How much each channel differs from its mean in a window, and the mean of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv1d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3)[:, :, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.same(x)
        return torch.cat([x.amax(2) - x.amin(2), x.mean(2)[:, 2:]], 1)


@pytest.fixture(scope="module")
def shaking(bundles: Path) -> Bundle:
    frame = FrameSpec(
        kind="signal", samples=32, rate_hz=50.0, channel_names=("x", "y", "z"), units=("m/s2",), layout="channels_first"
    )
    return tiercut.export(Spread().eval(), None, bundles / "shaking", preprocess=frame)


async def shake(person: Person, outcomes: Outcomes, *, results: int) -> None:
    """Publish a second of x shaking at 5 Hz and 1 g each way, z at rest at 1 g, in chunks of a tenth."""
    k = 0
    while len(outcomes.results) < results:
        times = (k * 10 + np.arange(10)) / 100
        samples = [[21.0, 1.0, 0.0, math.sin(math.tau * 5 * t)] for t in times]
        await person.bus.publish(Message(TOPIC, json.dumps({"samples": samples}).encode()))
        await asyncio.sleep(0.1)
        k += 1


@async_test
async def test_acceleration_in_json_becomes_results_in_the_models_rate_order_and_units(
    bundles: Path, shaking: Bundle
) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        await person.wants("watch", {**WATCH, "model": shaking.name})
        await person.until("watch", device="e")
        await shake(person, outcomes, results=4)
    (output,) = outcomes.results[-1]["outputs"]
    assert output["values"] == pytest.approx([2 * math.sin(math.tau / 5) * 9.80665, 0, 0, 9.80665], abs=0.02)


@async_test
async def test_signal_that_does_not_fit_is_refused_and_a_broken_message_is_only_counted(
    bundles: Path, shaking: Bundle
) -> None:
    site = new_site(bundles)
    async with running(site, hub(site), *gateway(site)) as (person, outcomes):
        wrong: dict[str, Any] = {**WATCH, "model": shaking.name, "units": ["degC", "rad/s", "g", "g"]}
        await person.wants("wrong", wrong)
        refused = await person.until("wrong", state="refused")
        await person.wants("watch", WATCH)
        await person.until("watch", device="e")
        await shake(person, outcomes, results=1)
        await person.bus.publish(Message(TOPIC, b'{"sample": 1}'))
        await until(lambda: person.status("watch").get("frames", {}).get("dropped.no_such_path"))
        await shake(person, outcomes, results=len(outcomes.results) + 1)
    assert "'rad/s'" in refused["message"]
    assert {result["stream"] for result in outcomes.results} == {"watch"}


async def heard_for_ten_seconds(shaking: Bundle, clock: ManualClock, **more: Any) -> Source:
    """A source that nobody has read while a tenth of a second came ten times a second."""
    stream = from_table(StreamSettings, {"name": "watch", **WATCH, **more}, where="the stream")
    source = open_source(stream, shaking, clock=clock)
    async with MemoryBus(MemoryBroker(clock=clock, max_payload_bytes=10**6)) as bus:
        await source.connect(bus)
        for _ in range(100):
            clock.advance(0.1)
            await bus.publish(Message(TOPIC, json.dumps({"samples": [[21.0, 1.0, 0.0, 0.0]] * 10}).encode()))
            await asyncio.sleep(0)
        await source.disconnect()
    return source


@pytest.mark.parametrize(
    ("more", "min_s", "max_s"),
    [
        ({"delivery": "every"}, 9.0, 10.0),
        ({"delivery": "latest"}, 0.0, 1.7),
        ({"delivery": "latest", "deadline_ms": 500.0}, 0.0, 0.6),
    ],
)
def test_newest_window_wins_when_a_stream_falls_behind(
    shaking: Bundle, more: dict[str, Any], min_s: float, max_s: float
) -> None:
    @async_test
    async def run() -> None:
        clock = ManualClock()
        source = await heard_for_ten_seconds(shaking, clock, **more)
        window = source.next()
        assert isinstance(window, Captured)
        assert window.at_unix_s is not None
        assert min_s < clock.unix_s() - window.at_unix_s < max_s
        assert (source.take_lost()["sensor_ahead"] > 20) == (more["delivery"] == "latest")

    run()
