"""``tiercut watch``: each stream live, its plan, and why it has that and no other."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from tiercut.bus.mqtt import MqttBus
from tiercut.cli.connect import add_connection, connection
from tiercut.cli.watch_results import line
from tiercut.cli.watch_state import Known
from tiercut.clock import SystemClock
from tiercut.errors import SettingsError
from tiercut.protocol.topics import CAPACITY, EXPLAIN, RESULT, STATUS
from tiercut.settings import check_names

REFRESH_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut watch``."""
    parser = subparsers.add_parser(
        "watch",
        help="show each stream live: plan, why, predicted and measured times",
        description="Shows what the coordinator knows and has decided, from the site's bus.",
    )
    parser.add_argument(
        "--results",
        action="store_true",
        help="print a line for each result instead; those of streams with results_to = cloud are at the cloud's "
        "broker, too (--broker)",
    )
    parser.add_argument("--json", action="store_true", help="print each explanation, or result, as a line of JSON")
    parser.add_argument("--stream", action="append", metavar="NAME", help="only this stream; repeatable")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show until Ctrl-C.

    Raises:
        BusError: the broker cannot be reached.
        SettingsError: a name or the connection's settings are not right.
    """
    for name in args.stream or ():
        check_names(argparse.Namespace(stream=name), "stream")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_lines(args) if args.json or args.results else _live(args))
    return 0


async def _lines(args: argparse.Namespace) -> None:
    topic, wanted = (RESULT if args.results else EXPLAIN), args.stream
    async with MqttBus(connection(args), clock=SystemClock()) as bus:
        subscription = await bus.subscribe(topic.filter(site=args.site))
        if args.results and not args.json and sys.stdout.isatty():
            print(f"results of site '{args.site}', as they come; Ctrl-C ends", file=sys.stderr)
        async for delivery in subscription:
            delivery.ack()
            names = topic.parse(delivery.topic)
            if names is None or (wanted and names["stream"] not in wanted):
                continue
            print(delivery.payload.decode(errors="replace") if args.json else line(delivery.payload), flush=True)


async def _live(args: argparse.Namespace) -> None:
    try:
        from rich.live import Live  # noqa: PLC0415 - only this command and the demo draw

        from tiercut.cli.watch_view import screen  # noqa: PLC0415 - needs rich
    except ImportError as error:
        raise SettingsError(
            "watch cannot draw", expected="rich", came=str(error), fix="pip install tiercut[watch], or use --json"
        ) from error
    known, clock = Known(args.site, args.stream), SystemClock()
    async with MqttBus(connection(args), clock=clock) as bus:
        for topic in (EXPLAIN, RESULT, STATUS, CAPACITY):
            await bus.subscribe(topic.filter(site=args.site), handler=known.heard)
        await bus.subscribe(STATUS.filter(tier="cloud"), handler=known.heard)
        with Live(refresh_per_second=4, screen=True) as live:
            while True:
                live.update(screen(known, live.console, clock.monotonic_s()))
                await asyncio.sleep(REFRESH_S)
