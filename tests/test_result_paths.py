"""A result is one JSON object with CloudEvents attributes on its site's bus, whoever has finished the frame."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.aio import async_test
from tests.bundles import exits_bundle
from tests.sites import Outcomes, by_hand, new_site, noise
from tiercut.bus import Delivery
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings


def cloudevent(delivery: Delivery) -> dict[str, str]:
    """The attributes of a message, checked against CloudEvents 1.0.2 and its MQTT binding, binary mode."""
    attributes = dict(delivery.properties)
    assert len(attributes) == len(delivery.properties)  # each once
    assert attributes.keys() >= {"specversion", "id", "source", "type"}  # section 3.1 of the specification
    assert all(re.fullmatch(r"[a-z0-9]+", name) for name in attributes)
    assert all(value and value.isprintable() for value in attributes.values())
    assert attributes["specversion"] == "1.0"
    assert re.fullmatch(r"/[A-Za-z0-9._/-]+", attributes["source"])  # a URI reference
    assert datetime.fromisoformat(attributes["time"]).tzinfo is not None
    # the content type is datacontenttype, and says that this is no structured event (binding, section 3)
    assert delivery.content_type == "application/json"
    assert "datacontenttype" not in attributes
    return attributes


def check(outcomes: Outcomes, *, finished_by: str) -> list[dict[str, Any]]:
    """Each result is an event of its own on the site's bus."""
    found = [each for each in outcomes.deliveries if each.topic == "tiercut/v1/home/stream/cam/result"]
    events = [cloudevent(each) for each in found]
    assert {(each["source"], each["type"]) for each in events} == {("/tiercut/home/cam", "tiercut.result.v1")}
    assert len({each["id"] for each in events}) == len(found) > 0
    said = [json.loads(each.payload) for each in found]
    assert {each["finished_by"] for each in said} == {finished_by}
    assert all(isinstance(each["labels"], list) and not each["plan"]["epoch"] < 1 for each in said)
    return said


@async_test
@pytest.mark.parametrize(("finished_by", "two_brokers"), [("d", False), ("e", False), ("c", False), ("c", True)])
async def test_every_node_that_finishes_says_the_same_on_the_sites_bus(
    bundles: Path, chain: Bundle, finished_by: str, two_brokers: bool
) -> None:
    site, end = new_site(bundles, two_brokers=two_brokers), str(chain.end)
    plan = {
        "d": by_hand(chain, edge=None, cloud=None, first_cut=end, second_cut=end, codecs=()),
        "e": by_hand(chain, cloud=None, second_cut=end, codecs=("raw",)),
        "c": by_hand(chain),
    }[finished_by]
    nodes = site.hub(plan), site.cloud(), site.edge(), site.device(noise(chain, frames=3))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=3)
    check(outcomes, finished_by=finished_by)


@async_test
async def test_frame_that_leaves_at_an_exit_says_so(bundles: Path) -> None:
    del bundles
    bundle = exits_bundle()
    site = new_site(bundle.folder.parent)
    plan = by_hand(bundle, threshold=0.0, first_cut=str(bundle.exits[0].cut), second_cut=str(bundle.exits[1].cut))
    stream = noise(bundle, frames=3, width=16, height=16)
    async with site.running(site.cloud(), site.edge(), site.device(stream), site.hub(plan)) as outcomes:
        await outcomes.until(results=3)
    assert {each["exit"] for each in check(outcomes, finished_by="d")} == {"early"}


@async_test
async def test_frame_that_the_edge_answers_says_so(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415 - only here

    Image.new("RGB", (16, 16), (90, 60, 30)).save(tmp_path / "a.png")
    site = new_site(bundles)
    stream = StreamSettings(
        name="cam", model=chain.name, sensor="images", path=(tmp_path,), frames=4, delivery="every", in_flight=1
    )
    plan = by_hand(chain, cloud=None, first_cut="0", second_cut=str(chain.end), codecs=("raw",))
    async with site.running(site.edge(cache_frames=4), site.device(stream), site.hub(plan)) as outcomes:
        await outcomes.until(results=4)
    said = check(outcomes, finished_by="e")
    assert [each.get("cached_from") for each in said] == [None, 0, 0, 0]


@async_test
async def test_dropped_frame_is_an_event_too(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    stream = noise(chain, frames=2, deadline_ms=0.001)
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(stream)) as outcomes:
        await outcomes.until(dropped=2)
    events = [cloudevent(each) for each in outcomes.deliveries if each.topic.endswith("/dropped")]
    assert {(each["source"], each["type"]) for each in events} == {("/tiercut/home/cam/dropped", "tiercut.dropped.v1")}
