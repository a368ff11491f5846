"""Who is there: the other nodes' retained status messages."""

from __future__ import annotations

from tiercut.messages import NodeStatus

#: Nodes remembered; more than a site has, fewer than would fill a device's memory.
MAX_PEERS = 10_000


class Peers:
    """The last status heard of each node."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], NodeStatus] = {}

    def heard(self, status: NodeStatus) -> NodeStatus | None:
        """Take in a status; returns the one before it."""
        key = (status.tier, status.node)
        before = self._last.get(key)
        if before is not None or len(self._last) < MAX_PEERS:
            self._last[key] = status
        return before

    def online(self, tier: str, node: str) -> bool:
        """Whether a node's last word was that it is online."""
        status = self._last.get((tier, node))
        return status is not None and status.state == "online"

    def any(self, tier: str) -> bool:
        """Whether any node of a tier was ever heard of."""
        return any(known == tier for known, _ in self._last)
