"""A whole site with TLS and access rules: hub, device, edge and cloud, on two brokers."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from broker.mosquitto.access_rules import acl, cloud_acl
from tests.aio import async_test
from tests.mixing import mix
from tests.secured import SecureBroker, new_pki, on_bus
from tiercut.bus import Delivery, Message
from tiercut.declared import encode_json
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN, RESULT, WANTED
from tiercut.security.authority import AuthorityFolder
from tiercut.security.identity_list import IdentityName

IDENTITIES = ("t/device/d", "t/edge/e", "t/hub/hub", "t/operator/o", "t/reader/r", "cloud/cloud/c", "cloud/bus/cb")
#: Each message that the rules refuse is logged, those of QoS 0 as well, which nobody is told of.
VERBOSE = ("log_type debug",)


def programs(
    pki: AuthorityFolder, site: SecureBroker, cloud: SecureBroker, bundle: Bundle, **hub: Any
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Settings of a hub and one node per tier."""
    common = {
        "site": "t",
        "broker_url": site.url,
        "cloud_broker_url": cloud.url,
        "bundles": str(bundle.folder.parent),
        "status_every_s": 0.3,
    }

    def of(identity: str, **more: Any) -> dict[str, Any]:
        return common | {"identity": str(pki.files.path_of(IdentityName.parse(identity)))} | more

    source = {"name": "cam", "model": bundle.name, "sensor": "noise", "fps": 30.0}
    return {
        "hub": ("broker", of("t/hub/hub", **hub)),
        "c": ("cloud_node", of("cloud/cloud/c", site="cloud")),
        "e": ("edge_node", of("t/edge/e")),
        "d": ("iot_node", of("t/device/d", cloud_broker_url="", streams=[source])),
    }


def plan(bundle: Bundle) -> dict[str, Any]:
    """Three tiers."""
    route = {"device": "d", "edge": "e", "cloud": "c", "first_cut": "30%", "second_cut": "60%"}
    return {"stream": "cam", "model": bundle.name, "codecs": ["fp16", "int8+zstd"], **route}


@asynccontextmanager
async def results_of(site: SecureBroker, pki: AuthorityFolder) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Results, as a reader sees them."""

    async def read(deliveries: AsyncIterator[Delivery]) -> AsyncIterator[dict[str, Any]]:
        async for delivery in deliveries:
            delivery.ack()
            yield json.loads(delivery.payload)

    async with on_bus(site, pki, "t/reader/r") as (bus,):
        yield read(aiter(await bus.subscribe(RESULT.filter(site="t"))))


async def until_finished_by(results: AsyncIterator[dict[str, Any]], node: str, *, times: int) -> None:
    """Until a node has finished so many frames."""
    while times:
        times -= (await anext(results))["finished_by"] == node


@async_test
async def test_site_with_tls_works_and_no_node_is_refused_anything(chain: Bundle, tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    cam = StreamSettings(name="cam", model=chain.name, sensor="noise", device="d")
    rules = acl("t", pki.listed(), [cam])
    site = SecureBroker(tmp_path, pki, rules, more=VERBOSE)
    cloud = SecureBroker(tmp_path, pki, cloud_acl(pki.listed()), bus="cloud/bus/cb", more=VERBOSE)
    with site, cloud:
        wanted = programs(pki, site, cloud, chain, plans=[plan(chain)])
        async with Processes(tmp_path, wanted) as running, results_of(site, pki) as results:
            for name in wanted:
                await running.start(name)
            await until_finished_by(results, "c", times=40)
            ended = {name: await running.stop(name) for name in reversed(wanted)}
    assert ended == dict.fromkeys(wanted, 0)
    denied = [line for broker in (site, cloud) for line in broker.log.read_text().splitlines() if "Denied" in line]
    assert not denied


@async_test
async def test_frames_of_several_plans_whose_results_the_cloud_waits_for_are_refused_nothing(
    chain: Bundle, tmp_path: Path
) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    cam = StreamSettings(name="cam", model=chain.name, sensor="noise", device="d")
    site = SecureBroker(tmp_path, pki, acl("t", pki.listed(), [cam]), more=VERBOSE)
    cloud = SecureBroker(tmp_path, pki, cloud_acl(pki.listed()), bus="cloud/bus/cb", more=VERBOSE)
    with site, cloud:
        wanted = programs(pki, site, cloud, chain)
        del wanted["hub"]
        wanted["d"][1]["streams"][0] |= {"results_to": "cloud", "delivery": "every"}
        async with (
            Processes(tmp_path, wanted) as running,
            on_bus(site, pki, "t/hub/hub") as (hub,),
            results_of(cloud, pki) as in_cloud,
            results_of(site, pki) as at_site,
        ):
            several = mix(chain, {"device": 0.4, "edge": 0.3, "all": 0.3})
            await hub.publish(Message(PLAN.of(site="t", stream="cam"), encode_json(several), retain=True))
            for name in wanted:
                await running.start(name)
            finished_by = Counter[str]()
            while min(finished_by[name] for name in wanted) < 10:
                finished_by[(await anext(in_cloud))["finished_by"]] += 1
            seqs = [(await anext(at_site))["seq"] for _ in range(finished_by.total() - 10)]
            ended = {name: await running.stop(name) for name in reversed(wanted)}
    assert seqs == list(range(len(seqs)))
    assert ended == dict.fromkeys(wanted, 0)
    denied = [line for broker in (site, cloud) for line in broker.log.read_text().splitlines() if "Denied" in line]
    assert not denied


def picture() -> bytes:
    """What a sensor sends."""
    made = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(made, "JPEG")
    return made.getvalue()


@pytest.mark.slow
@async_test
async def test_stream_added_while_it_runs_gets_rights_and_gives_results(chain: Bundle, tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES, bell=("door/+",))
    site = SecureBroker(tmp_path, pki, acl("t", pki.listed(), []), more=VERBOSE)
    cloud = SecureBroker(tmp_path, pki, cloud_acl(pki.listed()), bus="cloud/bus/cb", more=VERBOSE)
    with site, cloud:
        wanted = programs(pki, site, cloud, chain, acl_file=str(site.rules))
        del wanted["d"]
        async with (
            Processes(tmp_path, wanted) as running,
            results_of(site, pki) as results,
            on_bus(site, pki, "t/operator/o", "t/sensor/bell") as (operator, sensor),
        ):
            for name in wanted:
                await running.start(name)
            settings = {"model": chain.name, "sensor": "mqtt", "topic": "door/bell"}
            await operator.publish(
                Message(WANTED.of(site="t", stream="door"), json.dumps(settings).encode(), retain=True)
            )
            heard = asyncio.create_task(until_finished(results, "door"))
            while not heard.done():
                await sensor.publish(Message("door/bell", picture()))
                await asyncio.sleep(0.1)
            await heard
    denied = [line for broker in (site, cloud) for line in broker.log.read_text().splitlines() if "Denied" in line]
    assert not denied


async def until_finished(results: AsyncIterator[dict[str, Any]], stream: str) -> None:
    """The first result of a stream."""
    while (await anext(results))["stream"] != stream:
        pass


@pytest.mark.slow
@async_test
async def test_certificates_and_authority_change_under_a_running_site(chain: Bundle, tmp_path: Path) -> None:
    pki = new_pki(tmp_path / "pki", *IDENTITIES)
    cam = StreamSettings(name="cam", model=chain.name, sensor="noise", device="d")
    site = SecureBroker(tmp_path, pki, acl("t", pki.listed(), [cam]))
    cloud = SecureBroker(tmp_path, pki, cloud_acl(pki.listed()), bus="cloud/bus/cb")
    with site, cloud:
        wanted = programs(pki, site, cloud, chain, plans=[plan(chain)])
        async with Processes(tmp_path, wanted) as running, results_of(site, pki) as results:
            for name in wanted:
                await running.start(name)
            await until_finished_by(results, "c", times=10)
            pids = {name: running.pid(name) for name in wanted}
            pki.renew(IdentityName("t", "edge", "e"))
            for step in (pki.begin_rotation, pki.switch, pki.finish_rotation):
                step()
                await asyncio.sleep(2)  # run.sh looks each second
                await until_finished_by(results, "c", times=10)
            assert {name: running.pid(name) for name in wanted} == pids
