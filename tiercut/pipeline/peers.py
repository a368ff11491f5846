"""The other nodes, by their retained status messages."""

from __future__ import annotations

from tiercut.protocol.nodes import NodeStatus

#: Nodes kept: more than a site has, fewer than would fill a device's memory.
MAX_PEERS = 10_000


class Peers:
    """The last status heard of each node.

    A node of another site is another node, even with the same name. Frames are addressed by tier and name, though: only
    cloud nodes are heard of in several sites, and whichever of one name is online takes the frames sent to it.

    Attributes:
        relays: Edges that put outcomes on the cloud's bus, which is another than the site's: by name, whether online.
    """

    def __init__(self) -> None:
        #: (site, tier, node) → its last status
        self._last: dict[tuple[str, str, str], NodeStatus] = {}
        #: (tier, node) → sites where it is online; each set is replaced and never changed, as threads read it
        self._online: dict[tuple[str, str], frozenset[str]] = {}
        self.relays: dict[str, bool] = {}

    def heard(self, status: NodeStatus, *, site: str) -> NodeStatus | None:
        """Take in a status; returns the one before it."""
        key, name = (site, status.tier, status.node), (status.tier, status.node)
        before = self._last.get(key)
        if before is not None or len(self._last) < MAX_PEERS:
            self._last[key] = status
            others = self._online.get(name, frozenset()) - {site}
            self._online[name] = others | {site} if status.state == "online" else others
            if status.relays:
                self.relays[status.node] = status.state == "online"
            elif status.tier == "edge":
                self.relays.pop(status.node, None)
        return before

    def online(self, tier: str, node: str) -> bool:
        """Whether the last word of a node, in any site, was that it is online."""
        return bool(self._online.get((tier, node)))

    def gone(self, tier: str, node: str) -> bool:
        """Whether a node was heard of and is online in no site."""
        online = self._online.get((tier, node))
        return online is not None and not online

    def clocks(self, site: str, tier: str, node: str) -> frozenset[str]:
        """The monotonic clocks that a node says it has; of cloud nodes in any site, as they are addressed by name."""
        if tier == "cloud":
            said = [each for (_, *key), each in list(self._last.items()) if key == [tier, node]]
        else:
            said = [each for each in [self._last.get((site, tier, node))] if each is not None]
        return frozenset(each.clock_id for each in said if each.clock_id)

    def any(self, tier: str) -> bool:
        """Whether any node of a tier was ever heard of."""
        return any(known == tier for known, _ in self._online)
