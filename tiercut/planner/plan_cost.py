"""What one plan costs, as the planning problem defines it: the one place where a plan's stages are added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tiercut.planner.problem import Codec, Link, Node, Problem, Variant

#: Two values are equal when they differ by no more than ``TIE_ABSOLUTE + TIE_RELATIVE * value``: far more than sums in
#: another order differ by (1e-14), far less than anything that can be measured.
TIE_RELATIVE = 1e-9
TIE_ABSOLUTE = 1e-12


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan by positions in the problem's lists: what the search finds."""

    variant: int
    edge: int | None
    cloud: int | None
    codecs: tuple[int, ...]
    first_cut: int
    second_cut: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a plan.

    Attributes:
        kind: ``compute`` or ``transfer``.
        where: Node id, or both with an arrow.
        seconds: What a frame takes.
        busy_seconds: Those of them that node or line can do nothing else: without queue, latency and coding.
        watts: What the sender draws while it transmits.
    """

    kind: str
    where: str
    seconds: float
    busy_seconds: float
    watts: float = 0.0


def slack(value: float) -> float:
    """How much greater than ``value`` another may be and still count as equal."""
    return TIE_ABSOLUTE + TIE_RELATIVE * abs(value)


def usable(codec: Codec, cut: int, blocks: int) -> bool:
    """Whether a codec may be used where a variant of so many blocks is cut."""
    if codec.name == "raw":
        return True
    first, last = codec.cuts or (1, blocks - 1)
    return first <= cut <= last


def score(problem: Problem, choice: Choice) -> dict[str, Any]:
    """The answer for one plan, ``feasible`` or with what it ``violates``.

    The plan must be possible (`best.evaluate` checks one from elsewhere).
    """
    variant = problem.variants[choice.variant]
    codecs = [problem.codecs[index] for index in choice.codecs]
    stages = stages_of(problem, choice)
    answer: dict[str, Any] = {
        "feasible": True,
        "variant": variant.name,
        "device": problem.device.id,
        "edge": None if choice.edge is None else problem.edges[choice.edge].id,
        "cloud": None if choice.cloud is None else problem.clouds[choice.cloud].id,
        "first_cut": choice.first_cut,
        "second_cut": choice.second_cut,
        "codecs": [codec.name for codec in codecs],
        "latency_seconds": sum(stage.seconds for stage in stages),
        "accuracy": variant.accuracy - sum(codec.accuracy_drop for codec in codecs),
        "energy_joules": _energy(problem.device, stages),
        "bottleneck_seconds": max((stage.seconds for stage in stages), default=0.0),
        "stages": [{"kind": stage.kind, "where": stage.where, "seconds": stage.seconds} for stage in stages],
    }
    violated = list(violations(problem, answer, codecs))
    return {**answer, "feasible": False, "violates": violated} if violated else answer


def no_answer(problem: Problem) -> dict[str, Any]:
    """The answer when no plan is possible at all, whatever is given up."""
    numbers = ("first_cut", "second_cut", "latency_seconds", "accuracy", "energy_joules", "bottleneck_seconds")
    return {
        "feasible": False,
        "variant": None,
        "device": problem.device.id,
        "edge": None,
        "cloud": None,
        "codecs": [],
        **dict.fromkeys(numbers),
        "stages": [],
        "violates": [{"constraint": "nodes and links", "limit": "a way through the network", "value": None}],
    }


def violations(problem: Problem, answer: dict[str, Any], codecs: Sequence[Codec]) -> Iterable[dict[str, Any]]:
    """What a plan with these codecs violates: the constraint, its limit, and the plan's value."""
    if answer["first_cut"] < problem.min_first_cut:
        yield {"constraint": "min_first_cut", "limit": problem.min_first_cut, "value": answer["first_cut"]}
    least = problem.min_noise
    if least is not None and codecs and codecs[0].noise < least - slack(least):
        yield {"constraint": "min_noise", "limit": least, "value": codecs[0].noise}
    deadline = problem.deadline_seconds
    if deadline is not None and answer["latency_seconds"] > deadline + slack(deadline):
        yield {"constraint": "deadline_seconds", "limit": deadline, "value": answer["latency_seconds"]}
    limit = problem.max_accuracy_drop
    drop = problem.best_accuracy - answer["accuracy"]
    if limit is not None and drop > limit + slack(1.0):
        yield {"constraint": "max_accuracy_drop", "limit": limit, "value": drop}


def stages_of(problem: Problem, choice: Choice) -> tuple[Stage, ...]:
    """The stages of a plan, in order."""
    codecs = [problem.codecs[index] for index in choice.codecs]
    return tuple(_stages(problem, problem.variants[choice.variant], choice, codecs))


def _stages(problem: Problem, variant: Variant, choice: Choice, codecs: Sequence[Codec]) -> Iterable[Stage]:
    route: list[tuple[Node, int, int]] = [(problem.device, 0, choice.first_cut)]
    if choice.edge is not None:
        route.append((problem.edges[choice.edge], choice.first_cut, choice.second_cut))
    if choice.cloud is not None:
        route.append((problem.clouds[choice.cloud], choice.second_cut, variant.blocks))
    for hop, (node, start, end) in enumerate(route):
        if end > start:
            busy = node.slowdown * sum(node.block_seconds[variant.name][start:end].tolist())
            yield Stage("compute", node.id, busy + node.queue_seconds, busy)
        if hop < len(codecs):
            receiver = route[hop + 1][0]
            yield transfer(node, receiver, problem.links[node.id, receiver.id], codecs[hop], variant.cut_bytes[end])


def transfer(sender: Node, receiver: Node, link: Link, codec: Codec, size_bytes: float) -> Stage:
    """The stage that carries so many bytes (before the codec) over a link."""
    transmit = float(size_bytes) / codec.ratio * 8 / (link.mbps * 1e6)
    coding = float(size_bytes) / 1e6 * (codec.encode_seconds_per_mb + codec.decode_seconds_per_mb)
    seconds = link.latency_seconds + transmit + coding
    return Stage("transfer", f"{sender.id} -> {receiver.id}", seconds, transmit, link.watts)


def _energy(device: Node, stages: Sequence[Stage]) -> float:
    """The device's joules: computing, and sending the first hop."""
    computing = sum(stage.seconds for stage in stages if stage.kind == "compute" and stage.where == device.id)
    sending = next((stage for stage in stages if stage.kind == "transfer"), None)
    return computing * device.power_watts + (sending.busy_seconds * sending.watts if sending else 0.0)
