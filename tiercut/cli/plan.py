"""``tiercut plan``: the best plan of a planning problem in a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tiercut.errors import SettingsError

NO_PLAN = 3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "plan",
        help="choose cuts, nodes and codecs for a planning problem",
        description="Find the best plan of a planning problem, version 1 (docs/planning.md), and say what it beats.",
        epilog="exit status: 0 with a plan, 3 if no plan satisfies the constraints, 2 if the file is not valid",
    )
    parser.add_argument("file", help="the problem, JSON; - for standard input")
    parser.add_argument("--json", action="store_true", help="print the answer for a program")
    parser.add_argument("--top", type=_count, metavar="K", help="the best K plans as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Solve it and print the answer.

    Raises:
        SettingsError: the file cannot be read or is not a valid problem.
    """
    from tiercut.planner import alternatives, solve, solve_top  # noqa: PLC0415 - other commands need no numpy

    problem = _read(args.file)
    answer = solve(problem)
    top = solve_top(problem, args.top) if args.top else []
    if args.json:
        print(json.dumps({**answer, **({"top": top} if top else {})}, ensure_ascii=False))
    else:
        for line in _explain(problem, answer, alternatives(problem), top):
            print(line)
    return 0 if answer["feasible"] else NO_PLAN


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
    problem: dict[str, Any],
    answer: dict[str, Any],
    others: dict[str, dict[str, Any]],
    top: Sequence[dict[str, Any]],
) -> Iterable[str]:
    """The answer for a person to read."""
    limits = ", ".join(
        f"{name} {value:g}" for name, value in problem.get("constraints", {}).items() if value is not None
    )
    yield f"{problem['model'].get('name', 'model')}   objective {problem['objective']}   {limits or 'no constraints'}"
    if not answer["feasible"]:
        yield _excuse(answer)
    if answer["variant"] is None:
        return
    width = max(len(variant["name"]) for variant in problem["model"]["variants"])
    yield ""
    yield f"  {_route(answer)}"
    yield f"  {_accuracy(problem, answer)}"
    yield ""
    yield from _stages(answer)
    yield ""
    yield f"{'':<18}{'latency':>12}{'longest':>12}{'energy':>12}{'accuracy':>10}   {'variant':<{max(7, width)}}   plan"
    yield _row("this plan", answer, width)
    for kind, other in others.items():
        yield _row(kind.replace("-", " "), other, width)
    if top:
        yield ""
        for rank, other in enumerate(top, start=1):
            yield _row(f"rank {rank}", other, width)


def _excuse(answer: dict[str, Any]) -> str:
    """Why there is no plan, and what the one that is shown is."""
    if answer["variant"] is None:
        return "no plan satisfies the constraints; no node that can be reached runs the model"
    missed = answer["violates"]
    if [item["constraint"] for item in missed] == ["deadline_seconds"]:
        over = 1e3 * (missed[0]["value"] - missed[0]["limit"])
        limit = f"{1e3 * missed[0]['limit']:.4g} ms"
        return f"nothing meets the deadline of {limit}: this is the fastest plan, {over:.2f} ms over"
    named = (f"{item['constraint']} {item['value']:.4g} against {item['limit']:g}" for item in missed)
    return f"no plan satisfies the constraints; the nearest misses {', '.join(named)}"


def _accuracy(problem: dict[str, Any], answer: dict[str, Any]) -> str:
    """The variant (the whole network, or up to an exit), its accuracy, and what the codecs take of it."""
    (own,) = (each.get("accuracy", 1.0) for each in problem["model"]["variants"] if each["name"] == answer["variant"])
    drops = {codec["name"]: codec.get("accuracy_drop", 0.0) for codec in problem.get("codecs", [])}
    lost = [f" - {drops[name]:.4f} ({name})" for name in answer["codecs"] if drops.get(name)]
    sum_ = f" = {own:.4f}{''.join(lost)}" if lost else ""
    return f"variant {answer['variant']}   accuracy {answer['accuracy']:.4f}{sum_}"


def _route(answer: dict[str, Any]) -> str:
    """Nodes with their segments, and the codec on each hop between them."""
    cuts = {"device": (0, answer["first_cut"]), "edge": (answer["first_cut"], answer["second_cut"])}
    drawn = []
    for tier in ("device", "edge", "cloud"):
        if answer[tier] is not None:
            start, end = cuts.get(tier, (answer["second_cut"], "end"))
            segment = "relays" if tier == "edge" and start == end else "sends" if start == end else f"[{start}, {end})"
            drawn.append(f"{answer[tier]} {segment}")
    hops = [f" ──{codec}──▶ " for codec in answer["codecs"]]
    return "".join(part for pair in zip(drawn, [*hops, ""], strict=True) for part in pair)


def _stages(answer: dict[str, Any]) -> Iterable[str]:
    """Milliseconds of each stage, with a bar of its part."""
    width = max((len(stage["where"]) for stage in answer["stages"]), default=0)
    for stage in answer["stages"]:
        part = stage["seconds"] / answer["latency_seconds"] if answer["latency_seconds"] else 0.0
        milliseconds = f"{1e3 * stage['seconds']:>10.2f} ms"
        yield f"  {stage['kind']:<9} {stage['where']:<{width}} {milliseconds}  {'█' * round(30 * part)}"


def _row(title: str, answer: dict[str, Any], width: int) -> str:
    if answer["variant"] is None:
        return f"{title:<18}{'not possible':>12}"
    figures = (
        f"{1e3 * answer['latency_seconds']:>9.2f} ms{1e3 * answer['bottleneck_seconds']:>9.2f} ms"
        f"{answer['energy_joules']:>10.4g} J{answer['accuracy']:>10.4f}"
    )
    missed = "" if answer["feasible"] else f"   (misses {', '.join(item['constraint'] for item in answer['violates'])})"
    return f"{title:<18}{figures}   {answer['variant']:<{max(7, width)}}   {_route(answer)}{missed}"
