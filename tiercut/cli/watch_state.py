"""The last messages about a site's streams and nodes, as ``tiercut watch`` shows them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from tiercut.declared import decode_json
from tiercut.errors import BadMessage
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.topics import CAPACITY, EXPLAIN, RESULT, STATUS


class Known:
    """The last word on each stream and node.

    Args:
        streams: Those to be shown; all where none is named.

    Attributes:
        site: The site.
        explanations: Stream → its explanation.
        results: Stream → its last result.
        nodes: (tier, node) → its last status.
        capacity: What the site gives as a whole; ``None`` before the hub has said.
    """

    def __init__(self, site: str, streams: Sequence[str] | None = None) -> None:
        self.site = site
        self._wanted = frozenset(streams or ())
        self.explanations: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.nodes: dict[tuple[str, str], NodeStatus] = {}
        self.capacity: SiteCapacity | None = None

    def heard(self, delivery: Any) -> None:
        """Take in a message; what cannot be read is ignored."""
        delivery.ack()
        with contextlib.suppress(BadMessage, ValueError):
            if (names := EXPLAIN.parse(delivery.topic)) and self._shows(names["stream"]):
                self.explanations[names["stream"]] = json.loads(delivery.payload)
            elif names := RESULT.parse(delivery.topic):
                self.results[names["stream"]] = json.loads(delivery.payload)
            elif CAPACITY.parse(delivery.topic):
                self.capacity = decode_json(SiteCapacity, delivery.payload)
            elif STATUS.parse(delivery.topic):
                status = decode_json(NodeStatus, delivery.payload)
                self.nodes[status.tier, status.node] = status

    def _shows(self, stream: str) -> bool:
        return not self._wanted or stream in self._wanted
