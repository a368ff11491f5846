"""Early exits, input sizes and deadlines on a whole site in one process."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.aio import async_test, until
from tests.bundles import exits_bundle
from tests.given_sensors import frames_of
from tests.sites import Site, by_hand, new_site, noise
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import confidence
from tiercut.plan import Deadline, Plan
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN


@pytest.fixture
def bundle() -> Bundle:
    return exits_bundle()


@pytest.fixture
def site(bundle: Bundle) -> Site:
    return new_site(bundle.folder.parent)


def grey(bundle: Bundle, **more: Any) -> StreamSettings:
    return noise(bundle, width=16, height=16, **more)


async def run_site(site: Site, stream: StreamSettings, **plan: Any) -> list[dict[str, Any]]:
    bundle = exits_bundle()
    nodes = site.cloud(), site.edge(), site.device(stream), site.hub(by_hand(bundle, **plan))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=stream.frames or 0)
    return outcomes.results


def expected(bundle: Bundle, seq: int, variant: str) -> np.ndarray[Any, Any]:
    frames = frames_of(grey(bundle))
    frame = [next(frames).frame for _ in range(seq + 1)][-1]
    outputs = bundle.segment(0, bundle.variant(variant).end, variant=variant)(bundle.to_inputs(frame, variant))
    return next(iter(outputs.values()))


@async_test
@pytest.mark.parametrize(("variant", "cuts"), [("early", ("1", "3")), ("late", ("2", "4")), ("full@8", ("1", "5"))])
async def test_plan_with_a_variant_gives_what_the_variant_gives(
    site: Site, bundle: Bundle, variant: str, cuts: tuple[str, str]
) -> None:
    end = bundle.variant(variant).end
    first, second = (min(int(cut), end - 1) for cut in cuts)
    results = await run_site(
        site, grey(bundle, frames=4), exit=variant, first_cut=str(first), second_cut=str(second), cloud="c"
    )
    assert [result["exit"] for result in results] == [variant] * 4
    assert all(result["finished_by"] == "c" for result in results)
    for result in results:
        best = int(expected(bundle, result["seq"], variant).argmax())
        assert result["labels"][0]["class"] == best


@async_test
@pytest.mark.parametrize(("threshold", "exits"), [(0.0, {"early"}), (1.0, {"full"})])
async def test_frames_leave_where_an_exit_is_sure_enough(
    site: Site, bundle: Bundle, threshold: float, exits: set[str]
) -> None:
    cuts = {"first_cut": str(bundle.exits[0].cut), "second_cut": str(bundle.exits[1].cut)}
    results = await run_site(site, grey(bundle, frames=5), threshold=threshold, **cuts)
    assert {result["exit"] for result in results} == exits
    assert {result["finished_by"] for result in results} == ({"d"} if exits == {"early"} else {"c"})


@async_test
async def test_each_frame_leaves_at_the_first_exit_that_is_sure(site: Site, bundle: Bundle) -> None:
    sure = {n: [confidence(expected(bundle, seq, n)) for seq in range(8)] for n in ("early", "late")}
    threshold = float(np.median(sure["early"]))
    results = await run_site(site, grey(bundle, frames=8), threshold=threshold)
    for result in results:
        seq = result["seq"]
        wanted = next((name for name in ("early", "late") if sure[name][seq] >= threshold), "full")
        assert result["exit"] == wanted
        if wanted != "full":
            assert result["confidence"] == pytest.approx(sure[wanted][seq], abs=1e-4)
    assert len({result["exit"] for result in results}) > 1


@async_test
async def test_fallback_runs_through_the_exits_that_are_left(site: Site, bundle: Bundle) -> None:
    hub = site.hub(by_hand(bundle, threshold=1.0))
    async with site.running(site.device(grey(bundle, frames=3)), hub) as outcomes:
        await outcomes.until(results=3)
    assert {(result["exit"], result["finished_by"]) for result in outcomes.results} == {("full", "d")}
    assert all(result["fallback"] for result in outcomes.results)


async def publish(site: Site, bundle: Bundle, plan: Plan) -> None:
    message = StreamPlan(stream="cam", model=bundle.model, model_name=bundle.name, plan=plan)
    async with MemoryBus(site.brokers["mqtt://site"]) as bus:
        await bus.publish(Message(PLAN.of(site="home", stream="cam"), encode_json(message), retain=True))


@async_test
@pytest.mark.parametrize("drop", [True, False])
async def test_deadline_of_a_plan_drops_what_cannot_make_it_or_says_that_it_is_late(
    site: Site, bundle: Bundle, *, drop: bool
) -> None:
    rest_s = (10.0,) if drop else ()
    plan = Plan(
        epoch=1,
        first_cut=bundle.end,
        second_cut=bundle.end,
        device="d",
        deadline=Deadline(seconds=1e-6, drop=drop, rest_s=rest_s),
    )
    await publish(site, bundle, plan)
    async with site.running(site.device(grey(bundle, frames=3, delivery="latest", fps=50))) as outcomes:
        await outcomes.until(results=0 if drop else 1, dropped=1 if drop else 0)
    if drop:
        assert {each["reason"] for each in outcomes.dropped} <= {"past_deadline", "too_late"}
        assert not outcomes.results
    else:
        assert outcomes.results[0]["deadline_met"] is False
        assert not outcomes.dropped


@async_test
async def test_device_refuses_a_variant_that_its_bundle_does_not_have(
    site: Site, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    plan = Plan(epoch=1, first_cut=1, second_cut=1, device="d", exit="middle", cloud="c", codecs=("raw",))
    await publish(site, bundle, plan)
    device = site.device(grey(bundle, frames=1))
    async with site.running(device):
        await until(lambda: device.counters["plans_refused"] == 1)
    assert any("no variant 'middle'" in str(getattr(record, "reason", "")) for record in caplog.records)


@async_test
@pytest.mark.parametrize("in_flight", [2, None])
async def test_with_a_deadline_no_more_frames_are_under_way_than_do_not_wait_for_each_other(
    site: Site, bundle: Bundle, in_flight: int | None
) -> None:
    plan = Plan(
        epoch=1,
        first_cut=0,
        second_cut=0,
        device="d",
        cloud="c",
        codecs=("raw",),
        deadline=Deadline(seconds=10.0, in_flight=in_flight),
    )
    await publish(site, bundle, plan)
    device = site.device(grey(bundle, frames=60))
    async with site.running(site.cloud(emulated_slowdown=60), device) as outcomes:
        seen = set()
        while len(outcomes.results) < 10:
            seen.add(len(device.streams["cam"]._flights.window))
            await asyncio.sleep(0.001)
    assert (max(seen) > 2) == (in_flight is None)
