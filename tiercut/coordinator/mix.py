"""All plans that a stream's frames follow at the same time: one in most sites, several where a site is full."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET, structs

from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.way import route
from tiercut.plan import Plan
from tiercut.protocol.nodes import MIN_FPS, OtherPlan, StreamPlan

#: Shares of a stream's frames, and the room for them, that differ by less than this part are the same.
SAME_SHARE, SAME_RATE = 0.10, 0.08


@dataclass(frozen=True, slots=True)
class Mix:
    """Plans of one epoch.

    Attributes:
        plans: Each with the share of the frames that follow it, that of most frames first.
        frames_per_second: How many frames the site has room for; ``None`` for all that the sensor gives.
    """

    plans: tuple[tuple[Plan, float], ...]
    frames_per_second: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Mix:
        """One plan for all frames."""
        return cls(((plan, 1.0),))

    @classmethod
    def heard(cls, message: StreamPlan) -> Mix:
        """As it was published."""
        fps = message.frames_per_second
        return cls(message.mix, None if fps is UNSET else fps)

    @property
    def first(self) -> Plan:
        """The plan of most frames."""
        return self.plans[0][0]

    @property
    def plain(self) -> bool:
        """One plan, for all frames that the sensor gives."""
        return len(self.plans) == 1 and self.frames_per_second is None

    @property
    def nodes(self) -> set[NodeKey]:
        """All nodes that take part."""
        return {key for plan, _ in self.plans for key in route(plan)}

    def numbered(self, epoch: int) -> Mix:
        """The same under another epoch."""
        plans = tuple((structs.replace(plan, epoch=epoch), share) for plan, share in self.plans)
        return Mix(plans, self.frames_per_second)

    def has(self, plan: Plan) -> bool:
        """Whether some of its frames follow a plan, whatever its epoch."""
        return any(essence(plan) == essence(each) for each, _ in self.plans)

    def same_plans(self, other: Mix | None) -> bool:
        """Whether another has the same plans, in whichever shares."""
        return other is not None and self.essences == other.essences

    def alike(self, other: Mix | None) -> bool:
        """Whether another has the same plans in about the same shares, and about as much room."""
        if other is None or not self.same_plans(other) or not _near(self.frames_per_second, other.frames_per_second):
            return False
        shares = {str(essence(plan)): share for plan, share in other.plans}
        return all(abs(shares[str(essence(plan))] - share) < SAME_SHARE for plan, share in self.plans)

    def message(self, *, stream: str, model: str, model_name: str, reason: str) -> StreamPlan:
        """What is published."""
        others = tuple(OtherPlan(plan=plan, share=share) for plan, share in self.plans[1:])
        return StreamPlan(
            stream=stream,
            model=model,
            model_name=model_name,
            plan=self.first,
            others=others or UNSET,
            frames_per_second=UNSET if self.frames_per_second is None else max(self.frames_per_second, MIN_FPS),
            reason=reason,
        )

    @property
    def essences(self) -> set[str]:
        """What tells its plans from others, whatever their epoch."""
        return {str(essence(plan)) for plan, _ in self.plans}


def essence(plan: Plan) -> Plan:
    """A plan without its epoch, and without what the rest of the way takes at least."""
    deadline = None if plan.deadline is None else structs.replace(plan.deadline, rest_s=(), in_flight=None)
    return structs.replace(plan, epoch=0, deadline=deadline)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_RATE * max(one, other)
