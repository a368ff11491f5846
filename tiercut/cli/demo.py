"""``tiercut demo``: the whole pipeline on this machine, on real photographs, in one command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import tempfile
from pathlib import Path

from tiercut.bundle import Bundle
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.demo_site import HUB, NODES, DemoSite
from tiercut.cli.demo_view import About, JsonLines, LiveTable, View
from tiercut.cli.processes import Processes
from tiercut.clock import SystemClock
from tiercut.cut_names import resolve_cut
from tiercut.errors import BundleError, BusError
from tiercut.topics import RESULT

RESULT_TIMEOUT_S = 60.0
BROKER_POLL_S = 0.05


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="run all three tiers on this machine, on photographs",
        description="Starts a broker and one node per tier as processes, cuts EfficientNet-Lite0 twice, streams "
        "scikit-image's photographs through it and shows the results as they come.",
    )
    parser.add_argument("--first", default="20%", metavar="K", help="first cut: a number, or a share of the work")
    parser.add_argument("--second", default="60%", metavar="K", help="second cut: a number, or a share of the work")
    parser.add_argument(
        "--codec", default="int8+zstd", metavar="NAME", help="codec of both hops (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N results")
    parser.add_argument("--fps", type=float, default=5.0, metavar="F", help="photographs per second (default: 5)")
    parser.add_argument("--mbps", type=float, metavar="R", help="emulate a link of R Mbit/s from device and edge")
    parser.add_argument("--delay-ms", type=float, default=0.0, metavar="D", help="emulate a delay of D ms on them")
    parser.add_argument("--json", action="store_true", help="print each result as a line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the model, start the site, show results until Ctrl-C or ``--frames``."""
    view: View = JsonLines() if args.json else LiveTable()
    return asyncio.run(_demo(args, view))


def cache_folder() -> Path:
    """Where prepared models are kept (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tiercut" / "bundles"


def prepare_bundle(folder: Path) -> Bundle:
    """EfficientNet-Lite0 with its ImageNet weights, from the cache or exported now.

    Raises:
        ExportError: the demo's packages are not installed.
    """
    target = folder / "efficientnet-lite0"
    with contextlib.suppress(BundleError):  # not there, or from another version: made again
        return Bundle.load(target)
    from tiercut.zoo import efficientnet_lite0  # noqa: PLC0415 - needs torch, and only the first time

    target.parent.mkdir(parents=True, exist_ok=True)
    return efficientnet_lite0.export(target)


async def _demo(args: argparse.Namespace, view: View) -> int:
    with view, tempfile.TemporaryDirectory(prefix="tiercut-demo-") as scratch:
        view.step("preparing EfficientNet-Lite0 (the first time this takes half a minute)")
        bundle = await asyncio.to_thread(prepare_bundle, cache_folder())
        first, second = resolve_cut(bundle, args.first), resolve_cut(bundle, args.second)
        site = DemoSite(
            bundles=cache_folder(),
            model=bundle.name,
            first=first,
            second=second,
            codec=args.codec,
            fps=args.fps,
            mbps=args.mbps,
            delay_ms=args.delay_ms,
        )
        view.step("starting broker, device, edge and cloud")
        async with site.processes(Path(scratch)) as processes:
            await processes.start(HUB)
            await _show(site, processes, view, args.frames, about=_about(site, bundle))
    return 0


def _about(site: DemoSite, bundle: Bundle) -> About:
    return About(
        model=bundle.name,
        cuts=(site.first, site.second, bundle.end),
        codec=site.codec,
        link=site.emulated,
        hint=f"mosquitto_sub -p {site.port} -V 5 -t {shlex.quote(RESULT.filter(site=site.name))}",
    )


async def _show(site: DemoSite, processes: Processes, view: View, frames: int | None, *, about: About) -> None:
    """Show results until enough have come; a program that ends by itself is an error."""
    results = asyncio.create_task(_results(site, processes, view, frames, about), name="results")
    watch = asyncio.create_task(processes.watch(), name="watch")
    done, pending = await asyncio.wait({results, watch}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _answers(site: DemoSite) -> None:
    """Wait until the broker takes connections; a hub that ended is `Processes.watch`'s matter."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.close()
            return
        await asyncio.sleep(BROKER_POLL_S)


async def _results(site: DemoSite, processes: Processes, view: View, frames: int | None, about: About) -> None:
    """Subscribe first and start the nodes then, so that the first frame is seen too."""
    await _answers(site)
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus:
        arriving = aiter(await bus.subscribe(RESULT.filter(site=site.name)))
        for name in NODES:
            await processes.start(name)
        view.about(about)
        count = 0
        while count != frames:
            try:
                async with asyncio.timeout(RESULT_TIMEOUT_S):
                    delivery = await anext(arriving)
            except TimeoutError as error:
                raise BusError(
                    "the demo shows nothing",
                    expected=f"a result within {RESULT_TIMEOUT_S:.0f} s",
                    came="none",
                    fix=f"see what the nodes say:\n{processes.tails()}",
                ) from error
            delivery.ack()
            view.result(delivery.payload)
            count += 1
