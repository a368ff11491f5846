"""What one plan costs, as the planning problem defines it: the one place where a plan's stages are added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiercut.planner.answer import MEMORY, Answer, Choice, Stage, Violation
from tiercut.planner.memory import fits, needed_mb
from tiercut.planner.problem import Codec, Link, Node, Problem

#: Two values are equal when they differ by no more than ``TIE_ABSOLUTE + TIE_RELATIVE * value``: far more than sums in
#: another order differ by (1e-14), far less than anything that can be measured.
TIE_RELATIVE = 1e-9
TIE_ABSOLUTE = 1e-12


@dataclass(frozen=True, slots=True)
class PlanIndex:
    """A plan by positions in the problem's lists: what the search finds."""

    variant: int
    edge: int | None
    cloud: int | None
    codecs: tuple[int, ...]
    first_cut: int
    second_cut: int

    def choice(self, problem: Problem) -> Choice:
        """The same by names."""
        return Choice(
            variant=problem.variants[self.variant].name,
            edge=None if self.edge is None else problem.edges[self.edge].id,
            cloud=None if self.cloud is None else problem.clouds[self.cloud].id,
            first_cut=self.first_cut,
            second_cut=self.second_cut,
            codecs=tuple(problem.codecs[index].name for index in self.codecs),
        )

    def route(self, problem: Problem) -> list[tuple[Node, int, int]]:
        """The nodes that take part, each with the first and last cut of its segment."""
        route = [(problem.device, 0, self.first_cut)]
        if self.edge is not None:
            route.append((problem.edges[self.edge], self.first_cut, self.second_cut))
        if self.cloud is not None:
            route.append((problem.clouds[self.cloud], self.second_cut, problem.variants[self.variant].blocks))
        return route


def slack(value: float) -> float:
    """How much greater than ``value`` another may be and still count as equal."""
    return TIE_ABSOLUTE + TIE_RELATIVE * abs(value)


def usable(codec: Codec, cut: int, blocks: int) -> bool:
    """Whether a codec may be used where a variant of that many blocks is cut."""
    if codec.name == "raw":
        return True
    first, last = codec.cuts or (1, blocks - 1)
    return first <= cut <= last


def price(problem: Problem, plan: PlanIndex) -> Answer:
    """What one plan costs, with what it violates.

    The plan must be possible (`best.evaluate` checks one from elsewhere).
    """
    variant = problem.variants[plan.variant]
    codecs = [problem.codecs[index] for index in plan.codecs]
    stages = stages_of(problem, plan)
    latency_seconds = sum(stage.seconds for stage in stages)
    accuracy = variant.accuracy - sum(codec.accuracy_drop for codec in codecs)
    return Answer(
        device=problem.device.id,
        choice=plan.choice(problem),
        latency_seconds=latency_seconds,
        accuracy=accuracy,
        energy_joules=_energy(problem.device, stages),
        longest_stage_seconds=max((stage.seconds for stage in stages if stage.kind != "return"), default=0.0),
        stages=stages,
        violates=(
            *_violations(problem, plan.first_cut, codecs, latency_seconds, accuracy),
            *too_large(problem, plan),
        ),
    )


def no_answer(problem: Problem) -> Answer:
    """The answer when no plan is possible at all, whatever is given up."""
    nothing = Violation("nodes and links", "a way through the network", None)
    return Answer(device=problem.device.id, choice=None, violates=(nothing,))


def too_large(problem: Problem, plan: PlanIndex) -> Iterable[Violation]:
    """The nodes whose memory a plan does not fit."""
    variant = problem.variants[plan.variant]
    for node, start, end in plan.route(problem):
        if not fits(node, variant, start, end):
            yield Violation(MEMORY, node.free_mb or 0.0, needed_mb(variant, start, end), node.id)


def _violations(
    problem: Problem, first_cut: int, codecs: Sequence[Codec], latency_seconds: float, accuracy: float
) -> Iterable[Violation]:
    if first_cut < problem.min_first_cut:
        yield Violation("min_first_cut", problem.min_first_cut, first_cut)
    least = problem.min_noise
    if least is not None and codecs and codecs[0].noise < least - slack(least):
        yield Violation("min_noise", least, codecs[0].noise)
    deadline = problem.deadline_seconds
    if deadline is not None and latency_seconds > deadline + slack(deadline):
        yield Violation("deadline_seconds", deadline, latency_seconds)
    limit = problem.max_accuracy_drop
    drop = problem.best_accuracy - accuracy
    if limit is not None and drop > limit + slack(1.0):
        yield Violation("max_accuracy_drop", limit, drop)


def stages_of(problem: Problem, plan: PlanIndex) -> tuple[Stage, ...]:
    """The stages of a plan, in order."""
    return tuple(_stages(problem, plan))


def _stages(problem: Problem, plan: PlanIndex) -> Iterable[Stage]:
    variant, route = problem.variants[plan.variant], plan.route(problem)
    for hop, (node, start, end) in enumerate(route):
        if end > start:
            busy = node.slowdown * sum(node.block_seconds[variant.name][start:end].tolist())
            yield Stage("compute", node.id, busy + node.queue_seconds, busy / node.frames_of(variant.name))
        if hop < len(plan.codecs):
            receiver, codec = route[hop + 1][0], problem.codecs[plan.codecs[hop]]
            yield _transfer(node, receiver, problem.links[node.id, receiver.id], codec, float(variant.cut_bytes[end]))
    last = route[-1][0].id
    back_seconds = problem.back_seconds(last)
    if problem.way_back is not None and back_seconds > 0:
        waits = problem.device.id if problem.way_back.destination == "device" else problem.way_back.destination
        yield Stage("return", f"{last} -> {waits}", back_seconds, busy_seconds=0.0)


def _transfer(sender: Node, receiver: Node, link: Link, codec: Codec, size_bytes: float) -> Stage:
    """The stage that carries a number of bytes (before the codec) over a link."""
    sent_bytes = size_bytes / codec.ratio
    transmit = sent_bytes * 8 / (link.mbps * 1e6)
    coding = size_bytes / 1e6 * (codec.encode_seconds_per_mb + codec.decode_seconds_per_mb)
    seconds = link.latency_seconds + transmit + coding
    where = f"{sender.id} -> {receiver.id}"
    return Stage("transfer", where, seconds, transmit, link.watts, receiver.tier, sent_bytes)


def _energy(device: Node, stages: Sequence[Stage]) -> float:
    """The device's joules: computing, and sending the first hop."""
    computing = sum(stage.seconds for stage in stages if stage.kind == "compute" and stage.where == device.id)
    sending = next((stage for stage in stages if stage.kind == "transfer"), None)
    return computing * device.power_watts + (sending.busy_seconds * sending.watts if sending else 0.0)
