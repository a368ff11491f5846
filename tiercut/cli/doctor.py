"""``tiercut doctor``: is the site well, seen from here? Each line says ok, or what to do."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
from collections import Counter
from pathlib import Path

from tiercut.bus.settings import MqttSettings
from tiercut.cli.connect import add_connection, connection
from tiercut.doctor.examine import examine
from tiercut.doctor.findings import Finding
from tiercut.doctor.target import Target, of_settings, with_files
from tiercut.security.identity import Identity

#: Width of the column of checks.
CHECK = 21


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="check a site from this machine: broker, certificates, rights, nodes, clocks, links",
        description="Checks a site from this machine. Exit status 0 when nothing is wrong, 1 when something is.",
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="check as a node with these settings")
    parser.add_argument("--cloud-broker", metavar="URL", help="the cloud's broker, if it is a different one")
    parser.add_argument(
        "--hub", action="append", metavar="URL", help="a hub's address, https://HOST:8443 (default: TIERCUT_HUB_URL)"
    )
    parser.add_argument(
        "--wait", type=float, default=7.0, metavar="S", help="seconds to wait for nodes' statuses (default: 7)"
    )
    parser.add_argument("--json", action="store_true", help="print each line as JSON")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, and print the findings; 1 when something is wrong.

    Raises:
        SettingsError: the settings of what to check cannot be read.
    """
    return asyncio.run(_report(target(args), as_json=args.json))


def target(args: argparse.Namespace) -> Target:
    """What the flags say, beside what a settings file says.

    Raises:
        SettingsError: they do not hold together.
    """
    if args.settings is not None:
        made = of_settings(args.settings, args.identity)
    else:
        identity = None if args.identity is None else Identity.load(args.identity)
        hubs = tuple(each.strip() for each in os.environ.get("TIERCUT_HUB_URL", "").split(",") if each.strip())
        made = Target(site=args.site, bus=connection(args), identity=identity, hubs=hubs)
    if args.cloud_broker and args.cloud_broker != made.bus.url:
        cloud = with_files(args.cloud_broker, made.identity) if made.identity else MqttSettings(url=args.cloud_broker)
        made = dataclasses.replace(made, cloud=cloud)
    return dataclasses.replace(made, wait_s=args.wait, hubs=tuple(args.hub) if args.hub else made.hubs)


async def _report(chosen: Target, *, as_json: bool) -> int:
    counted: Counter[str] = Counter()
    async for finding in examine(chosen):
        counted[finding.state] += 1
        print(json.dumps(dataclasses.asdict(finding)) if as_json else _lines(finding), flush=True)
    if not as_json:
        print(f"\n{counted['ok']} ok, {counted['warning']} warnings, {counted['problem']} problems")
    return 1 if counted["problem"] else 0


def _lines(finding: Finding) -> str:
    """What was found, and below it what to do."""
    text = f"{finding.state:<8} {finding.check:<{CHECK}} {finding.says}"
    text += f"\n{'':<9}{'':<{CHECK}} → {finding.fix}" if finding.fix else ""
    return "\n".join("".join(each if each.isprintable() else "?" for each in line) for line in text.split("\n"))
