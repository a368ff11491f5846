"""All checks of a site, in the order in which they depend on each other."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from tiercut.bus import Bus, Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import Clock, SystemClock
from tiercut.declared import decode_json
from tiercut.doctor import certificates, hub, nodes, reach, rights
from tiercut.doctor.findings import Finding, failed, good
from tiercut.doctor.links import Links
from tiercut.doctor.nodes import Key, Seen
from tiercut.doctor.streams import streams
from tiercut.doctor.target import Target
from tiercut.errors import BadMessage, BusError, TiercutError
from tiercut.plan import TIERS, Tier
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.streams import StreamStatus
from tiercut.protocol.topics import CLOCK, STATUS, STREAM_STATUS

#: What the broker keeps comes right after a subscription.
RETAINED_S = 1.0
POLL_S = 0.1
#: role → tiers whose nodes answer it: those that its frames go to (hubs have no clock topic)
_ASKED: dict[str | None, tuple[Tier, ...]] = {"device": ("edge", "cloud"), "edge": ("edge", "cloud")}


async def examine(target: Target, *, clock: Clock | None = None) -> AsyncIterator[Finding]:
    """Check a site; findings come one by one, and it ends even if nothing answers."""
    doctor = _Doctor(target, clock or SystemClock())
    now = dt.datetime.now(dt.UTC)
    for finding in certificates.of_files(target.bus.cert_file, target.bus.ca_file, now):
        yield finding
    async for finding in doctor.broker(target.bus, "broker", home=True):
        yield finding
    if target.cloud is not None:
        async for finding in doctor.broker(target.cloud, "cloud's broker", home=False):
            yield finding
    for url in target.hubs:
        yield await hub.health(url, target.identity)
    if doctor.listened:
        seen = doctor.seen
        for finding in (*nodes.presence(seen, target), *nodes.versions(seen), *nodes.models(seen)):
            yield finding
        for finding in (*nodes.wall_clocks(seen, target.wait_s), *streams(doctor.streams)):
            yield finding


@dataclass(slots=True)
class _Doctor:
    """One look at a site.

    Attributes:
        seen: Nodes that have been heard of.
        streams: Streams that the hub has published a status of.
        listened: A bus could be listened to.
    """

    target: Target
    clock: Clock
    seen: dict[Key, Seen] = field(default_factory=dict)
    streams: dict[str, StreamStatus] = field(default_factory=dict)
    listened: bool = False

    async def broker(self, settings: MqttSettings, name: str, *, home: bool) -> AsyncIterator[Finding]:
        """A broker: the way to it, what it is like, what it lets us do, and the nodes on it."""
        way = reach.Way()
        async for finding in reach.way_to(settings, name, way):
            yield finding
        if way.certificate is not None:
            fix = "renew it (tiercut certs renew), and give it to the broker"
            now = dt.datetime.now(dt.UTC)
            yield certificates.lifetime(f"{name}: certificate", "the broker's", way.certificate, now, fix=fix)
        if not way.open:
            return
        bus = MqttBus(replace(settings, connect_timeout_s=reach.STEP_S), clock=self.clock)
        try:
            async with asyncio.timeout(2 * reach.STEP_S):
                await bus.__aenter__()
        except (TimeoutError, TiercutError) as error:
            said = (
                error
                if isinstance(error, TiercutError)
                else BusError("the broker", expected="an answer", came="none in time", fix="check the broker's log")
            )
            yield failed(f"{name}: MQTT", said)
            return
        try:
            yield good(f"{name}: MQTT", "version 5")
            yield reach.packets(f"{name}: packets", bus.max_payload_bytes)
            async for finding in self._on(bus, settings, home=home):
                yield finding
        finally:
            await bus.close()

    async def _on(self, bus: MqttBus, settings: MqttSettings, *, home: bool) -> AsyncIterator[Finding]:
        mine: set[Key] = set()
        try:
            async with asyncio.timeout(reach.STEP_S):
                await self._listen(bus, mine, home=home)
        except (BusError, TimeoutError) as error:
            yield failed("nodes", error if isinstance(error, TiercutError) else _silent())
            return
        self.listened = True
        await asyncio.sleep(RETAINED_S)
        tiers = _ASKED.get(None if self.target.identity is None else self.target.identity.role, TIERS)
        online = [seen.status for key, seen in sorted(self.seen.items()) if key in mine and key[0] in tiers]
        online = [status for status in online if status.state == "online"]
        own_topic = self._own_clock()
        identity = self.target.identity
        if home and identity is None:
            yield rights.without_identity(settings.host)
        elif home and identity is not None:
            for finding in await rights.rights(bus, identity.name, own_clock=own_topic, clock=self.clock):
                yield finding
        if own_topic is None:
            yield good("link", "not measured: only an operator's identity may ask all nodes")
        else:
            links = Links(bus, site=self.target.site, own_topic=own_topic, clock=self.clock)
            async for finding in links.measure(online):
                yield finding
        await self._until_all_have_spoken(mine)

    async def _listen(self, bus: Bus, mine: set[Key], *, home: bool) -> None:
        def hear(delivery: Delivery) -> None:
            delivery.ack()
            names = STATUS.parse(delivery.topic)
            if names is None or not delivery.payload:
                return
            with contextlib.suppress(BadMessage):
                status = decode_json(NodeStatus, delivery.payload)
                key = names["tier"], names["node"]
                mine.add(key)
                seen = self.seen.setdefault(key, Seen(status, delivery.topic))
                seen.heard(status, self.clock.unix_s(), kept=delivery.retain)

        def hear_of_stream(delivery: Delivery) -> None:
            delivery.ack()
            names = STREAM_STATUS.parse(delivery.topic)
            if names is not None and delivery.payload:
                with contextlib.suppress(BadMessage):
                    self.streams[names["stream"]] = decode_json(StreamStatus, delivery.payload)

        if home:
            await bus.subscribe(STATUS.filter(site=self.target.site), handler=hear)
            await bus.subscribe(STREAM_STATUS.filter(site=self.target.site), handler=hear_of_stream)
        await bus.subscribe(STATUS.filter(tier="cloud"), handler=hear)

    def _own_clock(self) -> str | None:
        """The clock topic where answers come, and do not mislead a node that has our identity."""
        identity, site = self.target.identity, self.target.site
        if identity is None:
            return CLOCK.of(site=site, tier="operator", node=f"doctor-{secrets.token_hex(4)}")
        if identity.role == "operator":
            return CLOCK.of(site=site, tier="operator", node=identity.node)
        if identity.role in {"device", "edge"}:
            own = self.seen.get((identity.role, identity.node))
            if own is None or own.status.state == "offline" or own.status.clock_id == self.clock.id:
                return CLOCK.of(site=site, tier=identity.role, node=identity.node)
        return None

    async def _until_all_have_spoken(self, mine: set[Key]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.target.wait_s):
                while any(self.seen[key].silent for key in mine):  # noqa: ASYNC110 - statuses come as they come
                    await asyncio.sleep(POLL_S)


def _silent() -> BusError:
    return BusError(
        "the broker", expected="an answer to a subscription", came="none in time", fix="check the broker's log"
    )
