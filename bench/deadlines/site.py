"""A site of real processes on emulated links: a device before an edge before a cloud node, and a hub now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from bench.deadlines.frames import Frames
from bench.site import mosquitto
from bench.testbed.watch import Watch
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.errors import BusError
from tiercut.launch.processes import Processes, ProgramSettings
from tiercut.model.bundle import Bundle
from tiercut.plan import Plan, Tier
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.topics import PLAN

SITE, STREAM, HUB = "deadlines", "camera", "hub"
NODES: dict[Tier, str] = {"device": "d", "edge": "e", "cloud": "c"}
PROGRAMS: dict[Tier, str] = {"device": "iot_node", "edge": "edge_node", "cloud": "cloud_node"}
ONLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is declared of the site.

    Attributes:
        slowdown: Tier → how many times as long as this machine its node takes for a segment.
        fps: Frames per second.
        delay_ms: One-way delay of each hop.
    """

    slowdown: Mapping[Tier, float]
    fps: float
    delay_ms: float = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle with its profile on this machine.

    Attributes:
        bundle: The model.
        profile: Measured on the frames, one thread.
        bundles: A folder with the bundle alone.
    """

    bundle: Bundle
    profile: Profile
    bundles: Path

    def on(self, tier: Tier, setup: Setup) -> Profile:
        """The profile that a tier's node would have measured."""
        return self.profile.scaled(setup.slowdown[tier])


def prepare(folder: Path, bundle: Bundle, frames: Frames, *, seconds: float) -> Prepared:
    """Measure a bundle on this machine."""
    bundles = folder / "bundles"
    bundles.mkdir()
    (bundles / bundle.name).symlink_to(bundle.folder.resolve(), target_is_directory=True)
    return Prepared(bundle, measure_profile(bundle, frames.pixels, Options(seconds=seconds)), bundles)


@dataclass(slots=True)
class Live:
    """A running site and its watcher.

    Attributes:
        prepared: The model.
        setup: What is declared.
        mbps: Rate of each hop.
        programs: The processes; a hub may be started among them.
        watch: What was seen on the bus.
        home: The bus.
    """

    prepared: Prepared
    setup: Setup
    mbps: float
    programs: Processes
    hub: dict[str, Any]
    watch: Watch
    home: MqttBus
    _epoch: int = 1_000_000  # far from those of a hub that starts afresh

    @property
    def period_s(self) -> float:
        """Between two frames."""
        return 1 / self.setup.fps

    async def start(self, name: str) -> None:
        """Start a node and wait until it says that it is online.

        Raises:
            BusError: it does not.
        """
        await self.programs.start(name)
        if not await self.watch.until(lambda: name in self.watch.online, timeout_s=ONLINE_S):
            raise BusError(
                f"the site's '{name}' does not start",
                expected=f"online within {ONLINE_S:.0f} s",
                came="nothing",
                fix=f"see its log:\n{self.programs.tail(name)}",
            )

    async def follow(self, plan: Plan) -> int:
        """Publish a plan in the hub's place; returns its epoch. Nodes load its segments with its first frame."""
        self._epoch += 1
        bundle = self.prepared.bundle
        message = StreamPlan(
            stream=STREAM,
            model=bundle.model,
            model_name=bundle.name,
            plan=structs.replace(plan, epoch=self._epoch),
            reason="given by hand",
        )
        await self.home.publish(Message(PLAN.of(site=SITE, stream=STREAM), encode_json(message), retain=True))
        return self._epoch

    @asynccontextmanager
    async def coordinated(self, **goal: Any) -> AsyncIterator[None]:
        """A hub that knows nothing yet plans the stream with this goal."""
        await self.home.publish(Message(PLAN.of(site=SITE, stream=STREAM), b"", retain=True))
        stream = {"name": STREAM, "model": self.prepared.bundle.name, "device": NODES["device"], **goal}
        self.hub["streams"] = [stream]
        await self.programs.start(HUB)
        try:
            yield
        finally:
            await self.programs.stop(HUB)

    async def next_outcome(self) -> int:
        """Number of the newest frame that has an outcome, as soon as another one has.

        Raises:
            BusError: none comes.
        """
        watch = self.watch
        results, dropped = len(watch.results), len(watch.dropped)

        def newest() -> int:
            done = [seen.seq for seen in watch.results[results:]]
            return max([*done, *(int(each["seq"]) for each in watch.dropped[dropped:])], default=-1)

        if not await watch.until(lambda: newest() >= 0, timeout_s=ONLINE_S):
            raise BusError(
                "no frame comes through",
                expected=f"a result or a drop reason within {ONLINE_S:.0f} s",
                came="nothing",
                fix=f"see the programs' logs:\n{self.programs.tails()}",
            )
        return newest()


@asynccontextmanager
async def running(prepared: Prepared, frames: Frames, setup: Setup, mbps: float, folder: Path) -> AsyncIterator[Live]:
    """The site with its nodes, without a hub and a plan."""
    with mosquitto(folder) as port:
        url = f"mqtt://127.0.0.1:{port}"
        hub: dict[str, Any] = {**_common(prepared, url), "node": HUB}
        programs: dict[str, tuple[str, ProgramSettings]] = {HUB: ("broker", hub)}
        for tier, node in NODES.items():
            own = {"node": node, "profiles": str(_profiles(prepared, setup, tier, folder))}
            programs[node] = PROGRAMS[tier], _common(prepared, url) | own | _node(tier, prepared, frames, setup, mbps)
        watch, clock = Watch(), SystemClock()
        async with (
            Processes(folder, programs) as processes,
            MqttBus(MqttSettings(url=url), clock=clock, wait=True) as home,
            MqttBus(MqttSettings(url=url), clock=clock, wait=True) as uplink,
        ):
            await watch.listen(home, uplink, site=SITE, stream=STREAM)
            live = Live(prepared, setup, mbps, processes, hub, watch, home)
            await asyncio.gather(*(live.start(node) for node in reversed(NODES.values())))
            yield live


def _profiles(prepared: Prepared, setup: Setup, tier: Tier, folder: Path) -> Path:
    """A store with what a node of this tier would have measured of itself."""
    store = ProfileStore(folder / f"profiles-{tier}")
    store.save(prepared.on(tier, setup))
    return store.folder


def _common(prepared: Prepared, url: str) -> dict[str, Any]:
    return {"site": SITE, "broker_url": url, "bundles": str(prepared.bundles), "threads": 1, "status_every_s": 1.0}


def _node(tier: Tier, prepared: Prepared, frames: Frames, setup: Setup, mbps: float) -> dict[str, Any]:
    own: dict[str, Any] = {"emulated_slowdown": setup.slowdown[tier], "emulated_profile": True}
    if tier == "cloud":
        return own | {"site": "cloud"}
    own |= {"emulated_mbps": mbps, "emulated_delay_ms": setup.delay_ms}
    if tier == "edge":
        return own
    stream = {
        "name": STREAM,
        "model": prepared.bundle.name,
        "sensor": "images",
        "path": [str(frames.folder)],
        "fps": setup.fps,
        "delivery": "latest",
        "in_flight": 1,
    }
    return own | {"direct_to_cloud": False, "streams": [stream]}


async def seconds_pass(until_s: float) -> None:
    """Wait for a time of the monotonic clock."""
    await asyncio.sleep(max(0.0, until_s - time.monotonic()))


def tiers_of(slowdowns: Sequence[float]) -> dict[Tier, float]:
    """Slowdowns of device, edge and cloud, by tier."""
    return dict(zip(NODES, slowdowns, strict=True))
