"""``tiercut watch``: each stream live, its plan, and why it has that and no other."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from typing import Any

from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BadMessage, SettingsError
from tiercut.jsonwire import decode_node_status
from tiercut.talk import NodeStatus
from tiercut.topics import EXPLAIN, RESULT, STATUS

REFRESH_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut watch``."""
    parser = subparsers.add_parser(
        "watch",
        help="show each stream live: plan, why, predicted and measured times",
        description="Shows what the coordinator knows and has decided, from the site's bus.",
    )
    parser.add_argument("--broker", default="mqtt://127.0.0.1:1883", metavar="URL", help="the site's broker")
    parser.add_argument("--site", default="home", metavar="NAME", help="name of the site (default: home)")
    parser.add_argument("--json", action="store_true", help="print each explanation as a line of JSON")
    parser.add_argument("--results", action="store_true", help="print each result as a line of JSON instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_lines(args) if args.json or args.results else _live(args))
    return 0


async def _lines(args: argparse.Namespace) -> None:
    topic = RESULT if args.results else EXPLAIN
    async with MqttBus(MqttSettings(url=args.broker), clock=SystemClock()) as bus:
        async for delivery in await bus.subscribe(topic.filter(site=args.site)):
            delivery.ack()
            print(delivery.payload.decode(errors="replace"), flush=True)


async def _live(args: argparse.Namespace) -> None:
    try:
        from rich.live import Live  # noqa: PLC0415 - only this command and the demo draw

        from tiercut.cli.watch_view import screen  # noqa: PLC0415 - needs rich
    except ImportError as error:
        raise SettingsError(
            "watch cannot draw", expected="rich", came=str(error), fix="pip install tiercut[watch], or use --json"
        ) from error
    known, clock = Known(args.site), SystemClock()
    async with MqttBus(MqttSettings(url=args.broker), clock=clock) as bus:
        for topic in (EXPLAIN, RESULT, STATUS):
            await bus.subscribe(topic.filter(site=args.site), handler=known.heard)
        await bus.subscribe(STATUS.filter(tier="cloud"), handler=known.heard)
        with Live(refresh_per_second=4, screen=True) as live:
            while True:
                live.update(screen(known, live.console, clock.monotonic_s()))
                await asyncio.sleep(REFRESH_S)


class Known:
    """The last word on each stream and node.

    Attributes:
        site: The site.
        explanations: Stream → its explanation.
        results: Stream → its last result.
        nodes: (tier, node) → its last status.
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self.explanations: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.nodes: dict[tuple[str, str], NodeStatus] = {}

    def heard(self, delivery: Any) -> None:
        """Take in a message; what cannot be read is left out."""
        delivery.ack()
        with contextlib.suppress(BadMessage, ValueError):
            if names := EXPLAIN.parse(delivery.topic):
                self.explanations[names["stream"]] = json.loads(delivery.payload)
            elif names := RESULT.parse(delivery.topic):
                self.results[names["stream"]] = json.loads(delivery.payload)
            elif STATUS.parse(delivery.topic):
                status = decode_node_status(delivery.payload)
                self.nodes[status.tier, status.node] = status
