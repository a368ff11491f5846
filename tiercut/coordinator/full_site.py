"""A full site's streams in the coordinator: planned as one where that is called for, and what is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from tiercut.coordinator.actions import Action, TellCapacity
from tiercut.coordinator.changes import READY_S, Changes
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.problem import as_choice
from tiercut.coordinator.site.besides import Besides
from tiercut.coordinator.site.capacity import Yardsticks, capacity, measured_fps, shortage_of
from tiercut.coordinator.site.planning import SitePlanning
from tiercut.coordinator.site.problem import Member, elsewhere, may_share, planned_busy, site_problem
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import FAILURES, SHUN_S, PlannedStream
from tiercut.errors import SettingsError
from tiercut.plan import node_id
from tiercut.planner import Answer, Choice, Problem, evaluate

#: How often the site's capacity is told: while it is full, and while it is not.
TELL_S, TELL_CALM_S = 1.0, 5.0
#: Where another node of a full site is gone, nobody waits longer than this for one that is to get ready.
SOON_READY_S = 2.0

#: A stream's problem as if it were alone; ``None`` while there is none.
ProblemOf = Callable[[PlannedStream, float], Problem | None]


class FullSite:
    """Plans the streams of a site as one, while it is full.

    Args:
        view: What is known of the site.
        changes: Carries changes of plans out.
        as_one: Whether to; else every stream is always planned by itself.
    """

    def __init__(self, view: SiteView, changes: Changes, *, as_one: bool) -> None:
        self._view = view
        self._changes = changes
        self._as_one = as_one
        self._planning = SitePlanning(view)
        self._yardsticks: Yardsticks | None = None
        self._besides = Besides()
        self._told_s = self._looked_s = float("-inf")

    @property
    def active(self) -> bool:
        """Streams are planned as one."""
        return self._planning.active

    def has(self, stream: PlannedStream) -> bool:
        """Whether a stream is one of those that are planned as one: its first plan, at least, it gets by itself."""
        return stream.mix is not None and self._planning.has(stream.goal.name)

    def give_up(self, now_s: float) -> None:
        """Something is wrong with the site's figures: streams are planned one by one from now on."""
        self._planning.leave(now_s)

    def plan(
        self, streams: Collection[PlannedStream], problem_of: ProblemOf, now_s: float, *, lively: bool
    ) -> list[Action]:
        """Look at all streams together, where the site is full; what follows from that.

        Args:
            streams: All of the site.
            problem_of: Makes their problems.
            now_s: When.
            lively: Something has changed of late.
        """
        shared = [each for each in streams if self._as_one and may_share(each, now_s)]
        gone = self.active and any(self._planning.gone(each) for each in shared)
        step = any(each.step is not None for each in shared)
        if gone:
            self._hurry(shared, now_s)
        if any(each.pending for each in shared):
            self._besides.plans_changed(now_s)
            return []
        if not self._planning.due(now_s, step=step or gone):
            return []
        if not self.active:
            known = [
                Member(each, each.problem) for each in shared if each.problem is not None and each.plan is not None
            ]
            if not self._planning.is_full(known, now_s):
                return []
        elif self._view.doubts(now_s) and not gone:
            return []  # the effect of the last change is known in a moment
        members = [Member(each, problem) for each in shared if (problem := problem_of(each, now_s)) is not None]
        if not members:
            self._planning.rest()
            return []
        self._looked_s = now_s
        background = self._taken_besides(streams, members, now_s)
        names = {member.stream.goal.name for member in members}
        besides = [each for each in streams if each.goal.name not in names]
        changes = self._planning.look(members, now_s, taken=background, step=step and lively, besides=besides)
        if changes:
            self._besides.plans_changed(now_s)
        return self._begin(members, changes, now_s, gone=gone)

    def _begin(
        self, members: list[Member], changes: Mapping[str, tuple[Mix, str]], now_s: float, *, gone: bool
    ) -> list[Action]:
        """Begin what streams are to change, together but where a node is gone."""
        actions: list[Action] = []
        together = len(changes) > 1 and not gone
        for stream in (member.stream for member in members):
            found, happened = changes.get(stream.goal.name), stream.step
            stream.step = None
            if found is not None and (gone or now_s >= stream.paused_until_s):
                mix, reason = found
                said = reason if happened is None else f"{reason}; {happened}"
                actions += self._changes.begin(stream, mix, said, now_s, together=together)
        return actions

    def look_at(self, stream: PlannedStream, problem: Problem, now_s: float) -> Answer | None:
        """A stream that is planned with all others: whether its plans work, and what it is short of.

        Returns:
            What its first plan takes, by today's figures; ``None`` where it has none that is possible.
        """
        stream.trouble = stream.judged = None
        stream.retained = stream.late = False
        stream.kept.planned_with_others()
        stream.punctuality.overhead_s = stream.overhead_s or 0.0
        self._fails(stream, now_s)
        answered = self._planning.answered
        stream.short = None if answered is None or stream.plan is None else shortage_of(stream.goal.name, answered)
        answers = {} if stream.mix is None else _answers(problem, (as_choice(plan) for plan, _ in stream.mix.plans))
        stream.predicted_s = {
            choice: answer.latency_seconds - answer.back_seconds for choice, answer in answers.items()
        }
        return None if stream.plan is None else answers.get(as_choice(stream.plan))

    def tell(self, streams: Collection[PlannedStream], now_s: float) -> list[Action]:
        """What is said of the site as a whole."""
        answered = self._planning.answered
        if not streams or now_s - self._told_s < (TELL_CALM_S if answered is None else TELL_S):
            return []
        self._told_s = now_s
        measured = measured_fps(streams, now_s)
        if answered is not None:
            self._yardsticks = Yardsticks.of(answered, self._yardsticks, measured, now_s)
        else:
            members = [
                Member(each, each.problem) for each in streams if each.problem is not None and may_share(each, now_s)
            ]
            if any(member.stream.rate(now_s) for member in members):
                problem = site_problem(members, self._view, now_s, taken={})
                self._yardsticks = Yardsticks.calm(problem, self._yardsticks, measured, now_s)
        lines = self._view.lines
        found = [lines.said(line, now_s) for line in lines.found]
        return [TellCapacity(capacity(list(streams), answered, self._yardsticks, now_s, found_lines=found))]

    def refused(self, stream: PlannedStream, keys: Iterable[NodeKey], now_s: float) -> None:
        """Nodes do not get ready for a stream's plans: others do not wait until they are asked again."""
        if self.has(stream):
            stream.shunned.update(dict.fromkeys(keys, now_s + SHUN_S))

    def _hurry(self, streams: Iterable[PlannedStream], now_s: float) -> None:
        """A node is gone: changes that need one that is gone too, or that does not answer, are waited for no longer."""
        for stream in streams:
            pending = stream.pending
            if pending is None:
                continue
            if READY_S - (pending.until_s - now_s) > SOON_READY_S:
                self.refused(stream, pending.waiting, now_s)
                stream.pending = None
            elif any(self._view.gone(plan) for plan, _ in pending.mix.plans):
                stream.pending = None

    @staticmethod
    def _fails(stream: PlannedStream, now_s: float) -> None:
        """Leave nodes alone that said that they were ready, and fail."""
        failing = set(stream.failing)
        why = ""
        if stream.trial is not None and stream.trial.failures >= FAILURES:
            failing, why = failing | stream.trial.culprits, f" ({stream.trial.why})"
            stream.trial = None
            stream.failed.update(dict.fromkeys(failing, FAILURES))
        if any(not stream.is_shunned(key, now_s) for key in failing):
            stream.shunned.update(dict.fromkeys(failing, now_s + SHUN_S))
            names = ", ".join(sorted(node_id(*key) for key in failing))
            stream.step = stream.given_up = f"{names} said ready and failed{why}"

    def _taken_besides(self, streams: Iterable[PlannedStream], members: list[Member], now_s: float) -> dict[str, float]:
        """What streams planned by themselves take, what nodes do besides, and cloud nodes for other sites."""
        known = self._planning.answered
        without = set() if known is None else {name for name, share in known.best.shares.items() if not share.ways}
        names = {member.stream.goal.name for member in members} - without
        taken: Counter[str] = Counter()
        for stream in streams:
            if stream.goal.name not in names:
                taken.update(stream.taken)
        online = [node for node in self._view.nodes.values() if node.online and not node.gateway]
        clouds = {node.id: node.busy for node in online if node.tier == "cloud"}
        settled = [node for node in online if node.busy_since_s >= self._besides.changed_s]
        others = {node.id: node.busy for node in settled if node.tier != "cloud"}
        if self.active:
            planned = Counter(planned_busy(members, self._view.lines, now_s))
            planned.update(taken)
            self._besides.observe(others, planned, now_s)
        else:
            self._besides.forget()
        taken.update(elsewhere(members, now_s, clouds))
        taken.update(self._besides.parts)
        taken.update(self._view.lines.draining(now_s))
        return dict(taken)


def _answers(problem: Problem, choices: Iterable[Choice]) -> dict[Choice, Answer]:
    """What each plan takes, of those that are possible."""
    found: dict[Choice, Answer] = {}
    for choice in choices:
        try:
            found[choice] = evaluate(problem, choice)
        except SettingsError:  # a node is gone: it is about to change
            continue
    return found
