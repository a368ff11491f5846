"""What ``tiercut plan`` says for a person to read: the plan of one stream, or those of a whole site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiercut.planner import Answer, Choice, Problem, SitePlan, SiteProblem


def explain(
    problem: Problem,
    constraints: Mapping[str, float | None],
    answer: Answer,
    others: Mapping[str, Answer],
    top: Sequence[Answer],
) -> Iterable[str]:
    """The answer for a person to read; constraints are said as the file says them."""
    limits = ", ".join(f"{name} {value:g}" for name, value in constraints.items() if value is not None)
    yield f"{problem.name}   objective {problem.objective.name}   {limits or 'no constraints'}"
    if not answer.feasible:
        yield excuse(answer)
    if answer.choice is None:
        return
    width = max(len("variant"), *(len(variant.name) for variant in problem.variants))
    yield ""
    yield f"  {route_of(answer.device, answer.choice)}"
    yield f"  {_accuracy(problem, answer, answer.choice)}"
    yield ""
    yield from _stages(answer)
    yield ""
    yield f"{'':<18}{'latency':>12}{'longest':>12}{'energy':>12}{'accuracy':>10}   {'variant':<{width}}   plan"
    yield _row("this plan", answer, width)
    for kind, other in others.items():
        yield _row(kind.replace("-", " "), other, width)
    if top:
        yield ""
        for rank, other in enumerate(top, start=1):
            yield _row(f"rank {rank}", other, width)


def excuse(answer: Answer) -> str:
    """Why there is no plan, and what the one that is shown is."""
    if answer.choice is None and answer.too_large:
        return answer.no_memory
    if answer.choice is None:
        return "no plan satisfies the constraints; no node that can be reached runs the model"
    missed = answer.violates
    if [each.constraint for each in missed] == ["deadline_seconds"]:
        limit = float(missed[0].limit)
        over = 1e3 * (answer.latency_seconds - limit)
        return f"nothing meets the deadline of {1e3 * limit:.4g} ms: this is the fastest plan, {over:.2f} ms over"
    named = (f"{each.constraint} {each.value:.4g} against {each.limit:g}" for each in missed)
    return f"no plan satisfies the constraints; the nearest misses {', '.join(named)}"


def _accuracy(problem: Problem, answer: Answer, choice: Choice) -> str:
    """The variant (the whole network, or up to an exit), its accuracy, and what the codecs take of it."""
    (own,) = (each.accuracy for each in problem.variants if each.name == choice.variant)
    drops = {codec.name: codec.accuracy_drop for codec in problem.codecs}
    lost = [f" - {drops[name]:.4f} ({name})" for name in choice.codecs if drops[name]]
    sum_ = f" = {own:.4f}{''.join(lost)}" if lost else ""
    return f"variant {choice.variant}   accuracy {answer.accuracy:.4f}{sum_}"


def route_of(device: str, choice: Choice) -> str:
    """Nodes with their segments, and the codec on each hop between them."""
    first, second = choice.first_cut, choice.second_cut
    drawn = []
    for name, start, end, idle in (
        (device, 0, first, "sends"),
        (choice.edge, first, second, "relays"),
        (choice.cloud, second, "end", ""),
    ):
        if name is not None:
            drawn.append(f"{name} {idle}" if start == end else f"{name} [{start}, {end})")
    hops = [f" ──{codec}──▶ " for codec in choice.codecs]
    return "".join(part for pair in zip(drawn, [*hops, ""], strict=True) for part in pair)


def _stages(answer: Answer) -> Iterable[str]:
    """Milliseconds of each stage, with a bar of its part."""
    width = max((len(stage.where) for stage in answer.stages), default=0)
    for stage in answer.stages:
        part = stage.seconds / answer.latency_seconds if answer.latency_seconds else 0.0
        milliseconds = f"{1e3 * stage.seconds:>10.2f} ms"
        yield f"  {stage.kind:<9} {stage.where:<{width}} {milliseconds}  {'█' * round(30 * part)}"


def _row(title: str, answer: Answer, width: int) -> str:
    choice = answer.choice
    if choice is None:
        return f"{title:<18}{'not possible':>12}"
    figures = (
        f"{1e3 * answer.latency_seconds:>9.2f} ms{1e3 * answer.longest_stage_seconds:>9.2f} ms"
        f"{answer.energy_joules:>10.4g} J{answer.accuracy:>10.4f}"
    )
    missed = "" if answer.feasible else f"   (misses {', '.join(each.constraint for each in answer.violates)})"
    return f"{title:<18}{figures}   {choice.variant:<{width}}   {route_of(answer.device, choice)}{missed}"


def explain_site(site: SiteProblem, plan: SitePlan, no_plan: Mapping[str, str]) -> Iterable[str]:
    """The plan of a site, stream by stream, and what is busy.

    Args:
        site: What was asked.
        plan: What it gets.
        no_plan: By stream name, why it has none.
    """
    bound = f"no plan gives more than {plan.bound_frames_per_second:.4g} that is as fair"
    yield f"{len(site.streams)} streams   {plan.frames_per_second:.4g} frames/s in all   {bound}"
    for stream in site.streams:
        share = plan.shares[stream.name]
        asked = share.asked_frames_per_second
        of = "" if asked == float("inf") else f" of {asked:.4g}"
        short = f"   short: {', '.join(share.short)}" if share.short else ""
        yield ""
        yield f"{stream.name}   {share.frames_per_second:.4g}{of} frames/s{short}"
        if not share.ways:
            yield f"  {no_plan[stream.name]}"
        for way in share.ways:
            figures = f"{way.frames_per_second:>9.4g} frames/s{1e3 * way.latency_seconds:>10.2f} ms"
            yield f"{figures}   {way.choice.variant}   {route_of(stream.problem.device.id, way.choice)}"
    yield ""
    yield "busy"
    width = max((len(where) for where in plan.load), default=0)
    for where, part in sorted(plan.load.items(), key=lambda each: -each[1]):
        yield f"  {where:<{width}} {part:>7.1%}  {'█' * round(30 * min(1.0, part))}"
