"""One node as the coordinator sees it, and what is odd about it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import UNSET

from tiercut import __version__
from tiercut.estimate.nodes import LoadEstimator
from tiercut.plan import Tier, node_id
from tiercut.profiling.profile import Profile
from tiercut.protocol.nodes import NodeStatus

#: A status from further in the future than this is a warning.
AHEAD_S = 10.0
#: Programs that are kept in mind per name, to tell a restart from two nodes with one name.
_INSTANCES = 4
#: Two nodes with one name stay a warning for this long after the last sign of them.
_TWICE_S = 60.0
#: A program that takes this much more than its models may is a warning: frames on their way take some too.
MEMORY_SLACK = 1.25

#: A node: names are unique within a tier only.
NodeKey = tuple[Tier, str]


@dataclass(slots=True)
class NodeView:
    """One node as the coordinator sees it.

    Attributes:
        tier: Its tier.
        node: Its name.
        site: Site of its topics.
        online: Its last word.
        models: Identities of the models it has, by name.
        profiles: Model identity → profile.
        load: Live correction of the profiles.
        busy: Part of its threads' time that was used lately, as it says.
        busy_since_s: Since when it was: its status is about the time since the one before.
        waiting: Frames that wait there, as it says.
        power_watts: Drawn while computing.
        reaches_cloud: It can send to cloud nodes itself.
        gateway: It is a device inside an edge.
        mixes: It follows several plans of one stream at once, and keeps to a rate; one of an older version does not.
        memory_mb: What models may take there; ``None`` without a limit.
        warnings: What is odd about it, by kind, for people.
    """

    tier: Tier
    node: str
    site: str
    online: bool = True
    models: Mapping[str, str] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    load: LoadEstimator = field(default_factory=LoadEstimator)
    busy: float = 0.0
    busy_since_s: float = float("-inf")
    waiting: float = 0.0
    power_watts: float = 0.0
    reaches_cloud: bool = True
    gateway: bool = False
    mixes: bool = True
    memory_mb: float | None = None
    warnings: dict[str, str] = field(default_factory=dict)
    _instances: deque[str] = field(default_factory=lambda: deque(maxlen=_INSTANCES))
    _twice_until_s: float = float("-inf")
    _heard_s: float = float("-inf")

    @property
    def key(self) -> NodeKey:
        """Tier and name."""
        return self.tier, self.node

    @property
    def id(self) -> str:
        """The same as one text: its id in planning problems."""
        return node_id(self.tier, self.node)

    def heard(self, status: NodeStatus, now_s: float, unix_s: float) -> None:
        """Its status; what is odd about it becomes a warning.

        Args:
            status: What it said.
            now_s: When, on the hub's monotonic clock.
            unix_s: When, on the hub's wall clock.
        """
        self.online = status.state == "online"
        if not self.online:
            return
        self.models = status.models
        self.power_watts = status.power_watts
        self.reaches_cloud, self.gateway = status.reaches_cloud, status.gateway
        self._check_mixes(follows=status.mixes or self.tier != "device")
        self.busy, self.waiting = status.load.get("busy", 0.0), status.load.get("waiting", 0.0)
        self.busy_since_s, self._heard_s = self._heard_s, now_s
        if "pace" in status.load:
            self.load.paced(now_s, status.load["pace"])
        self.memory_mb = None if status.memory_mb is UNSET else status.memory_mb
        self._check_memory(0.0 if status.memory_used_mb is UNSET else status.memory_used_mb)
        self._check_version(status.version)
        self._check_time(status.sent_unix_s - unix_s)
        self._check_instance(status.instance, now_s)

    def _check_version(self, version: str) -> None:
        if _release(version) == _release(__version__):
            self.warnings.pop("version", None)
            return
        self.warnings["version"] = (
            f"{self.id} runs tiercut {version[:20]}, the hub {__version__}: install the same version on both"
        )

    def _check_mixes(self, *, follows: bool) -> None:
        self.mixes = follows
        if follows:
            self.warnings.pop("mixes", None)
            return
        self.warnings["mixes"] = (
            f"{self.id} follows one plan at a time and keeps to no rate, so its streams are planned by themselves even "
            "where the site is full: install the hub's version there"
        )

    def _check_memory(self, used_mb: float) -> None:
        """What its models take is said by its profiles; that it takes more shows in the program's own size."""
        if self.memory_mb is None or used_mb <= MEMORY_SLACK * self.memory_mb:
            self.warnings.pop("memory", None)
            return
        self.warnings["memory"] = (
            f"{self.id} has grown by {used_mb:.0f} MB, its memory_mb is {self.memory_mb:g}: models need more than its "
            "profiles say; run 'tiercut profile' there, or change memory_mb"
        )

    def _check_time(self, ahead_s: float) -> None:
        if ahead_s <= AHEAD_S:
            self.warnings.pop("time", None)
            return
        self.warnings["time"] = (
            f"{self.id} sends status from the future: its wall clock is {ahead_s:.0f} s ahead; set the clocks"
        )

    def _check_instance(self, instance: str, now_s: float) -> None:
        """One that comes back after another has used its name has not been restarted."""
        known = self._instances
        if instance and (not known or known[-1] != instance):
            if instance in known:
                self._twice_until_s = now_s + _TWICE_S
                known.remove(instance)
            known.append(instance)
        if now_s < self._twice_until_s:
            self.warnings["twice"] = f"two programs are both called {self.id}: give one of them another name"
        else:
            self.warnings.pop("twice", None)


def _release(version: str) -> list[str]:
    """What must be equal for two programs to understand each other: the first two numbers."""
    return version.split(".")[:2]
