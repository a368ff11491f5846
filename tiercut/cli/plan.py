"""``tiercut plan``: the best plan of a planning problem in a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiercut.cli.plan_text import excuse, explain, explain_site
from tiercut.errors import SettingsError

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
    from tiercut.planner.site.document import is_site  # noqa: PLC0415 - the same

    document = _read(args.file)
    if is_site(document):
        return _run_site(document, args)
    problem = read_problem(document)
    answer = solve(problem)
    top = solve_top(problem, args.top) if args.top else []
    if args.json:
        more = {"top": [written(other) for other in top]} if top else {}
        print(json.dumps({**written(answer), **more}, ensure_ascii=False))
    else:
        for line in explain(problem, document.get("constraints", {}), answer, alternatives(problem), top):
            print(line)
    return 0 if answer.feasible else NO_PLAN


def _run_site(document: Mapping[str, Any], args: argparse.Namespace) -> int:
    """Plan all streams of a site and print the answer."""
    from tiercut.planner import plan_site, solve  # noqa: PLC0415 - other commands need no numpy
    from tiercut.planner.site.document import read_site, written_site  # noqa: PLC0415 - the same

    if args.top:
        raise SettingsError(
            "--top is of one stream", expected="a problem without 'streams'", came="many", fix="omit it"
        )
    site = read_site(document)
    plan = plan_site(site)
    answer = written_site(site, plan)
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        without = [stream for stream in site.streams if not plan.shares[stream.name].ways]
        for line in explain_site(site, plan, {each.name: excuse(solve(each.problem)) for each in without}):
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
