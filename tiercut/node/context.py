"""What the parts of a node share."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from msgspec import UNSET, UnsetType

from tiercut import __version__
from tiercut.bus.node_buses import NodeBuses, OpenBus
from tiercut.clock import Clock, SystemClock
from tiercut.errors import BadMessage
from tiercut.node.refusals import Refusals
from tiercut.node.settings import NodeSettings
from tiercut.protocol.nodes import NodeState, NodeStatus, StatusTier


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """A node's names, and what all of its parts use.

    Attributes:
        settings: Its settings.
        tier: Its tier, or ``hub``.
        buses: Its buses; open before any part subscribes.
        clock: Its clock.
        counters: All that it counts; its status says it.
        refusals: Counts what its brokers refuse.
        log: Its log.
        instance: Drawn again at each start: two of one name at once are two nodes.
    """

    settings: NodeSettings
    tier: StatusTier
    buses: NodeBuses
    clock: Clock
    counters: Counter[str]
    refusals: Refusals
    log: logging.Logger
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, settings: NodeSettings, tier: StatusTier, *, open_bus: OpenBus, clock: Clock | None = None) -> Self:
        """The context of a node of a tier, or of the hub.

        Args:
            settings: Its settings.
            tier: Its tier, or ``hub``.
            open_bus: How to reach a broker.
            clock: Its clock; the machine's when not given.
        """
        clock = clock or SystemClock()
        counters: Counter[str] = Counter()
        log = logging.getLogger(settings.node)
        uplink_url = settings.cloud_broker_url or settings.broker_url
        home_url = uplink_url if tier == "cloud" else settings.broker_url
        return cls(
            settings=settings,
            tier=tier,
            buses=NodeBuses(open_bus, home_url=home_url, uplink_url=uplink_url),
            clock=clock,
            counters=counters,
            refusals=Refusals(counters=counters, clock=clock, logger=log),
            log=log,
        )

    @property
    def names(self) -> Mapping[str, str]:
        """Site, tier and node: what its own topics are made of."""
        return {"site": self.settings.site, "tier": self.tier, "node": self.settings.node}

    @property
    def asked_as(self) -> Mapping[str, str]:
        """The names under which others send to it: a cloud node's under any site, as each uses its own."""
        return {name: each for name, each in self.names.items() if name != "site" or self.tier != "cloud"}

    def set_aside(self, error: BadMessage) -> None:
        """Count a message that is not valid, as ``bad.<reason>``."""
        self.counters[f"bad.{error.reason}"] += 1

    def status(
        self,
        state: NodeState,
        *,
        models: Mapping[str, str],
        load: Mapping[str, float],
        emulated: str | None = None,
        reaches_cloud: bool = True,
        power_watts: float = 0.0,
        gateway: bool = False,
        relays: bool = False,
        mixes: bool = False,
        memory_used_mb: float | UnsetType = UNSET,
    ) -> NodeStatus:
        """Its status now; an offline one is its will, which has neither load nor time."""
        online = state == "online"
        return NodeStatus(
            node=self.settings.node,
            tier=self.tier,
            state=state,
            version=__version__,
            clock_id=self.clock.id,
            models=dict(models),
            load=dict(load) if online else {},
            emulated_link=emulated,
            reaches_cloud=reaches_cloud,
            power_watts=power_watts,
            instance=self.instance,
            sent_unix_s=self.clock.unix_s() if online else 0.0,
            gateway=gateway,
            relays=relays,
            mixes=mixes,
            memory_mb=self.settings.memory_mb or UNSET,
            memory_used_mb=memory_used_mb if online else UNSET,
        )
