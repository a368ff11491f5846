"""What the statuses of a site's nodes show together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiercut import __version__
from tiercut.bus.settings import MqttSettings
from tiercut.doctor.findings import Finding, good, problem, warning
from tiercut.doctor.target import Target
from tiercut.protocol.nodes import NodeStatus

#: Nodes publish their status every 5 s by default: a shorter wait tells nothing about silent ones.
SPEAKS_S = 6.0
#: Wall clocks may differ by this much: certificates, logs and times of capture are compared by them.
CLOCK_S = 2.0

#: Roles that may not read statuses.
_BLIND = frozenset({"sensor", "bus"})

Key = tuple[str, str]


@dataclass(slots=True)
class Seen:
    """A node, by its statuses.

    Attributes:
        status: Its last status.
        topic: Where it has said so.
        ahead_s: Its wall clock less ours, of the status that came quickest; ``None`` while it has only been heard of
            by what the broker had kept.
    """

    status: NodeStatus
    topic: str
    ahead_s: float | None = None

    @property
    def silent(self) -> bool:
        """It is online, and has published nothing since we subscribed."""
        return self.ahead_s is None and self.status.state == "online"

    def heard(self, status: NodeStatus, now_unix_s: float, *, kept: bool) -> None:
        """Its next status; ``kept`` by the broker, it may be old."""
        self.status = status
        if not kept and status.state == "online" and status.sent_unix_s:
            ahead_s = status.sent_unix_s - now_unix_s
            self.ahead_s = ahead_s if self.ahead_s is None else max(self.ahead_s, ahead_s)  # the least delay


def presence(nodes: Mapping[Key, Seen], target: Target) -> list[Finding]:
    """Which nodes are online, as far as we may know."""
    role = None if target.identity is None else target.identity.role
    if role in _BLIND:
        return [good("nodes", f"not checked: role {role} may not read their statuses")]
    if not nodes:
        fix = "start the site's nodes; with access rules, check that this identity may read their statuses"
        return [problem("nodes", "no node has published a status", fix)]
    findings = []
    for (tier, node), seen in sorted(nodes.items()):
        if seen.status.state == "online":
            continue
        bus = target.cloud if tier == "cloud" and target.cloud is not None else target.bus
        fix = f"start it; if it is gone for good: {_forget(bus, seen.topic)}"
        make = problem if tier == "hub" else warning
        findings.append(make("nodes", f"{tier}/{node} is offline", fix))
    online = [f"{tier}/{node}" for (tier, node), seen in sorted(nodes.items()) if seen.status.state == "online"]
    if online:
        findings.insert(0, good("nodes", f"{len(online)} online: {', '.join(online)}"))
    if role != "cloud" and not any(tier == "hub" for tier, _ in nodes):  # hubs are not on the cloud's bus
        findings.append(problem("nodes", "no hub has published a status: no stream gets a plan", "start the hub"))
    return findings


def _forget(bus: MqttSettings, topic: str) -> str:
    """How to clear a retained status: only the node itself may."""
    command = f"mosquitto_pub -h {bus.host} -p {bus.port}"
    if not bus.tls:
        return f"{command} -r -n -t {topic}"
    files = "--cafile ca.pem --cert cert.pem --key key.pem"
    return f"in its identity's folder {command} {files} -r -n -t {topic}, and then tiercut certs remove"


def versions(nodes: Mapping[Key, Seen]) -> list[Finding]:
    """Whether their versions understand each other."""
    by: dict[str, list[str]] = {}
    for name, seen in _online(nodes):
        by.setdefault(seen.status.version, []).append(name)
    if not by:
        return []
    ours = __version__.split(".")[:2]
    findings = [
        (warning if version.split(".")[:2] == ours else problem)(
            "versions",
            f"{', '.join(names)}: tiercut {version}, here {__version__}",
            "install the same version everywhere",
        )
        for version, names in sorted(by.items())
        if version != __version__
    ]
    return findings or [good("versions", f"tiercut {__version__} everywhere")]


def models(nodes: Mapping[Key, Seen]) -> list[Finding]:
    """Whether a model's name means the same everywhere."""
    holders: dict[str, dict[str, list[str]]] = {}
    for name, seen in _online(nodes):
        for model, identity in seen.status.models.items():
            holders.setdefault(model, {}).setdefault(identity, []).append(name)
    findings = []
    for model, by in sorted(holders.items()):
        if len(by) == 1:
            (names,) = by.values()
            findings.append(good("models", f"'{model}' is the same on {', '.join(names)}"))
            continue
        shown = "; ".join(f"{identity[:12]}… on {', '.join(names)}" for identity, names in sorted(by.items()))
        fix = "keep one of them: remove the other's folder, and the node fetches it from the hub or gets a copy"
        findings.append(problem("models", f"there are {len(by)} models of the name '{model}': {shown}", fix))
    return findings


def wall_clocks(nodes: Mapping[Key, Seen], wait_s: float) -> list[Finding]:
    """Whether their wall clocks agree with ours, by their statuses within ``wait_s``."""
    findings, well = [], []
    for name, seen in _online(nodes):
        if seen.ahead_s is None and wait_s < SPEAKS_S:
            says = f"{name} not looked at: nodes publish every 5 s, and --wait is {wait_s:g}"
            findings.append(good("wall clocks", says))
        elif seen.ahead_s is None:
            says = f"{name} has sent no new status, so its clock is unknown"
            findings.append(warning("wall clocks", says, "check that it still runs, or try again with --wait 15"))
        elif abs(seen.ahead_s) > CLOCK_S:
            side = "ahead of" if seen.ahead_s > 0 else "behind"
            says = f"the clock of {name} is {abs(seen.ahead_s):.1f} s {side} ours"
            findings.append(problem("wall clocks", says, "set one of them: let both use an NTP service"))
        else:
            well.append(name)
    if well:
        findings.insert(0, good("wall clocks", f"within {CLOCK_S:g} s of ours: {', '.join(well)}"))
    return findings


def _online(nodes: Mapping[Key, Seen]) -> list[tuple[str, Seen]]:
    return [(f"{tier}/{node}", seen) for (tier, node), seen in sorted(nodes.items()) if seen.status.state == "online"]
