"""``tiercut plan``: the best plan of a planning problem in a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiercut.errors import SettingsError

if TYPE_CHECKING:
    from tiercut.planner import Answer, Choice, Problem

NO_PLAN = 3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "plan",
        help="choose cuts, nodes and codecs for a planning problem",
        description="Find the best plan of a planning problem (docs/planning.md), and compare it.",
        epilog="exit status: 0 with a plan, 3 if no plan satisfies the constraints, 2 if the file is not valid",
    )
    parser.add_argument("file", help="the problem, JSON; - for standard input")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--top", type=_count, metavar="K", help="include the best K plans")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Solve it and print the answer.

    Raises:
        SettingsError: the file cannot be read or is not a valid problem.
    """
    from tiercut.planner import solve, solve_top  # noqa: PLC0415 - other commands need no numpy
    from tiercut.planner.alternatives import alternatives  # noqa: PLC0415 - the same
    from tiercut.planner.document import read_problem, written  # noqa: PLC0415 - the same

    document = _read(args.file)
    problem = read_problem(document)
    answer = solve(problem)
    top = solve_top(problem, args.top) if args.top else []
    if args.json:
        more = {"top": [written(other) for other in top]} if top else {}
        print(json.dumps({**written(answer), **more}, ensure_ascii=False))
    else:
        for line in _explain(problem, document.get("constraints", {}), answer, alternatives(problem), top):
            print(line)
    return 0 if answer.feasible else NO_PLAN


def _read(name: str) -> dict[str, Any]:
    """The problem in a file: alone, or under ``problem`` beside its known answer."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"cannot read the planning problem '{name}'",
            expected="a file with one JSON object",
            came=str(error),
            fix="see docs/planning.md for the form",
        ) from error
    if isinstance(document, dict) and "format" not in document and isinstance(document.get("problem"), dict):
        document = document["problem"]
    return document  # type: ignore[no-any-return]  # whatever it is: the planner says what is wrong with it


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"expected a whole number, at least 1, got '{text}'"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _explain(
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
        yield _excuse(answer)
    if answer.choice is None:
        return
    width = max(len("variant"), *(len(variant.name) for variant in problem.variants))
    yield ""
    yield f"  {_route(answer, answer.choice)}"
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


def _excuse(answer: Answer) -> str:
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


def _route(answer: Answer, choice: Choice) -> str:
    """Nodes with their segments, and the codec on each hop between them."""
    first, second = choice.first_cut, choice.second_cut
    drawn = []
    for name, start, end, idle in (
        (answer.device, 0, first, "sends"),
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
    return f"{title:<18}{figures}   {choice.variant:<{width}}   {_route(answer, choice)}{missed}"
