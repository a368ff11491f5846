"""A change of plans on its way: nodes get ready for it, then it is published, or given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tiercut.coordinator.actions import Action, Prepare, PublishPlan
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import Pending, PlannedStream
from tiercut.coordinator.way import route
from tiercut.plan import Plan
from tiercut.protocol.nodes import PrepareSegment

#: How long nodes may take to load a segment before a change is given up.
READY_S = 10.0
#: Changes of several streams that were decided together wait for each other until then at most.
TOGETHER_S = 2.0
#: After a change that was given up, the same stream is left alone for this long.
PAUSE_S = 5.0


class Changes:
    """Changes of the streams of one site.

    Args:
        site: Its name.
        view: Its nodes.
    """

    def __init__(self, site: str, view: SiteView) -> None:
        self._site = site
        self._view = view

    def begin(
        self, stream: PlannedStream, mix: Mix, reason: str, now_s: float, *, together: bool = False
    ) -> list[Action]:
        """Ask the nodes of a mix to get ready for it, under the next epoch; at once where they are ready.

        Only shares and rates are new where the stream follows the same plans already.

        Args:
            stream: Whose.
            mix: What it is to follow.
            reason: Why, for people.
            now_s: When.
            together: Other streams change at the same time: new plans of some beside old ones of others would ask more
                of something than it has.
        """
        mix = mix.numbered(1 if stream.plan is None else stream.plan.epoch + 1)
        together_s = now_s + TOGETHER_S if together else None
        if mix.same_plans(stream.mix):
            if together:
                stream.pending = Pending(mix, reason, Counter(), now_s + READY_S, together_s)
                return []
            stream.follows(mix)
            return [self._published(stream, mix, reason)]
        asked = list(dict.fromkeys(each for plan, _ in mix.plans for each in self._asked(stream, plan)))
        waiting = Counter((each.tier, each.node) for each in asked)
        stream.pending = Pending(mix, reason, waiting, now_s + READY_S, together_s)
        return [*asked]

    def adopt_ready(self, streams: Iterable[PlannedStream], now_s: float) -> list[Action]:
        """Publish changes whose nodes are ready; those of several streams together, or after a while by themselves."""
        pending = [(stream, stream.pending) for stream in streams if stream.pending is not None]
        others = any(each.waiting and each.together_s is not None and now_s < each.together_s for _, each in pending)
        return [
            action
            for stream, each in pending
            if not each.waiting and (each.together_s is None or now_s >= each.together_s or not others)
            for action in self._adopt(stream, each)
        ]

    def _adopt(self, stream: PlannedStream, pending: Pending) -> list[Action]:
        mix = pending.mix
        if mix.same_plans(stream.mix):
            stream.follows(mix)
            stream.pending = None
        else:
            stream.adopted(mix, pending.reason)
            stream.explained_s = float("-inf")
        return [self._published(stream, mix, pending.reason)]

    @staticmethod
    def _published(stream: PlannedStream, mix: Mix, reason: str) -> PublishPlan:
        goal = stream.goal
        return PublishPlan(mix.message(stream=goal.name, model=goal.model, model_name=goal.model_name, reason=reason))

    @staticmethod
    def give_up(stream: PlannedStream, why: str, now_s: float) -> None:
        """The last plan stays."""
        stream.pending = None
        stream.paused_until_s = now_s + PAUSE_S
        stream.given_up = f"the last plan stays: {why}"
        stream.explained_s = float("-inf")

    def _asked(self, stream: PlannedStream, plan: Plan) -> list[Prepare]:
        goal = stream.goal
        end = goal.end_of(plan.exit)
        assert end is not None  # noqa: S101 - a plan of the planner's, or one that was found possible
        asked: list[Prepare] = []
        start = 0
        for tier, name in route(plan):
            stop = plan.segment_end(tier, end)
            message = PrepareSegment(
                site=self._site,
                stream=goal.name,
                epoch=plan.epoch,
                model=goal.model,
                start=start,
                stop=stop,
                variant=plan.exit,
                leaves_early=plan.threshold is not None,
                codec=plan.codecs[0] if tier == "device" and plan.codecs else "",
            )
            asked.append(Prepare(tier, name, self._view.nodes[tier, name].site, message))
            start = stop
        return asked
