"""What devices and edges do besides the work that plans count: handing frames over, coding raw tensors, frames in vain.

It shows in the part of their time that they are busy, as they say themselves, beyond what the streams' plans should
take. On a full site there is no room for it unless it is left: frames would come late instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

#: What plans take is known once they have run unchanged for so long; the difference is a mean over about so long.
SETTLED_S, MEAN_S = 3.0, 6.0
#: No more than this part of a node's time is left for it.
MOST = 0.25


@dataclass(slots=True)
class Besides:
    """Of one site's nodes.

    Attributes:
        changed_s: When plans changed last.
    """

    changed_s: float = -math.inf
    _parts: dict[str, float] = field(default_factory=dict)
    _observed_s: float = -math.inf

    def plans_changed(self, now_s: float) -> None:
        """Plans, shares or rates are others."""
        self.changed_s = now_s

    def observe(self, busy: Mapping[str, float], planned: Mapping[str, float], now_s: float) -> None:
        """Take what nodes say.

        Args:
            busy: Part of its time that each was busy since plans changed, by its id; what is not known stays.
            planned: The same as planned.
            now_s: When.
        """
        if now_s - self.changed_s < SETTLED_S:
            return
        weight = 1 - math.exp(-min(now_s - self._observed_s, SETTLED_S) / MEAN_S)
        self._observed_s = now_s
        self._parts |= {
            node: min(
                MOST, (1 - weight) * self._parts.get(node, 0.0) + weight * max(0.0, part - planned.get(node, 0.0))
            )
            for node, part in busy.items()
        }

    def forget(self) -> None:
        """Streams are planned one by one."""
        self._parts = {}

    @property
    def parts(self) -> dict[str, float]:
        """Part of its time that each node needs."""
        return {node: part for node, part in self._parts.items() if part > 0}
