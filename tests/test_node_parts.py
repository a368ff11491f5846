"""How a node is put together: its buses, its names, and the order in which its parts start."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cloud_node.settings import Settings as CloudSettings
from edge_node.settings import Settings as EdgeSettings
from tests.aio import async_test, until
from tests.sites import CLOUD_URL, SITE_URL, new_site
from tiercut.bus.memory import MemoryBus
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.settings import NodeSettings
from tiercut.protocol.nodes import StatusTier
from tiercut.protocol.topics import STATUS

WILL = ("tiercut/v1/home/edge/e/status", b"offline")


def context(bundles: Path, settings: NodeSettings, tier: StatusTier) -> NodeContext:
    return NodeContext.of(settings, tier, open_bus=new_site(bundles).opener("e"))


@pytest.mark.parametrize(("tier", "home", "uplink"), [("edge", SITE_URL, CLOUD_URL), ("cloud", CLOUD_URL, CLOUD_URL)])
@async_test
async def test_home_is_the_broker_of_the_tier_and_one_broker_is_opened_once(
    bundles: Path, tier: StatusTier, home: str, uplink: str
) -> None:
    site = new_site(bundles, two_brokers=True)
    buses = NodeContext.of(NodeSettings(**site.common("e")), tier, open_bus=site.opener("e")).buses
    async with AsyncExitStack() as stack:
        await buses.open(stack, will=WILL)
        assert (buses.home, buses.uplink) == (site.buses["e", home], site.buses["e", uplink])
        assert len(list(buses)) == len({home, uplink})
        await buses.close()


def test_cloud_node_is_asked_under_the_name_of_any_site(bundles: Path) -> None:
    edge = context(bundles, EdgeSettings(site="home", node="e"), "edge")
    cloud = context(bundles, CloudSettings(site="cloud", node="c"), "cloud")
    assert edge.asked_as == edge.names == {"site": "home", "tier": "edge", "node": "e"}
    assert cloud.asked_as == {"tier": "cloud", "node": "c"}


def test_will_says_neither_load_nor_time(bundles: Path) -> None:
    edge = context(bundles, EdgeSettings(site="home", node="e"), "edge")
    online, offline = (edge.status(state, models={}, load={"busy": 0.5}) for state in ("online", "offline"))
    assert (online.load, offline.load, offline.sent_unix_s) == ({"busy": 0.5}, {}, 0.0)
    assert online.instance == offline.instance


class Late(Part):
    """Says whether the node is online already when its parts subscribe, and when their tasks start."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.states: list[str] = []

    async def subscribe(self) -> None:
        await self.bus.subscribe(STATUS.filter(tier="edge"), handler=lambda each: self.hear(each.payload))
        self.states.append("subscribed")

    def hear(self, payload: bytes) -> None:
        self.states.append(json.loads(payload)["state"])

    def tasks(self) -> Tasks:
        return [("late", self.start)]

    async def start(self) -> None:
        self.states.append("started")


@async_test
async def test_node_is_online_when_all_parts_have_subscribed(bundles: Path) -> None:
    site = new_site(bundles)
    edge = site.edge()
    async with MemoryBus(site.brokers[SITE_URL]) as bus:
        edge.parts.append(late := Late(bus))
        async with site.running(edge):
            await until(lambda: {"online", "started"} <= set(late.states))
    assert late.states[0] == "subscribed"
    assert sorted(late.states[1:3]) == ["online", "started"]
    assert late.states[-1] == "offline"
