"""``tiercut simulate``: what each policy makes of the same changing links and nodes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tiercut.errors import SettingsError
from tiercut.simulate import load_scenario, simulate
from tiercut.simulate.picture import draw
from tiercut.simulate.report import report, table
from tiercut.simulate.run import POLICIES


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "simulate",
        help="replay changing links and load in virtual time",
        description="Replay a scenario's traces of bandwidth, delay and load in virtual time with several policies, "
        "the live coordinator among them. The same scenario and seed give the same figures.",
    )
    parser.add_argument("scenario", type=Path, help="file of the scenario, TOML or JSON")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write NAME.json and the picture NAME.png there")
    parser.add_argument("--policies", metavar="A,B", help=f"only these of {', '.join(POLICIES)}")
    parser.add_argument("--seed", type=int, help="in place of the scenario's own")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay, print, write.

    Raises:
        SettingsError: the scenario is not valid, a policy is unknown, or the files cannot be written.
    """
    scenario = load_scenario(args.scenario, seed=args.seed)
    names = None if args.policies is None else [name.strip() for name in args.policies.split(",")]
    replays = simulate(scenario, names)
    document = report(replays, scenario)
    if args.json:
        print(json.dumps(document))
    else:
        print("\n".join(table(replays, scenario)))
    if args.out is not None:
        path = args.out / f"{scenario.name}.json"
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"cannot write '{path}'",
                expected="a folder that can be written",
                came=(error.strerror or str(error)).lower(),
                fix="choose another with --out",
            ) from error
        draw(replays, scenario, path.with_suffix(".png"))
    return 0
