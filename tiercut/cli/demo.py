"""``tiercut demo``: the whole pipeline on this machine, on real photographs, in one command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import shlex
import signal
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tiercut.bus import Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.demo_site import CLOUD, DEVICE, EDGE, HUB, DemoSite, photographs
from tiercut.cli.demo_view import About, JsonLines, LiveTable, View, trouble_in
from tiercut.clock import SystemClock
from tiercut.codecs.table import CODECS
from tiercut.declared import decode_json
from tiercut.errors import BundleError, BusError, SettingsError
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut
from tiercut.profiling.machine import this_machine
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.store import ProfileStore
from tiercut.protocol.nodes import NodeStatus, StreamPlan
from tiercut.protocol.topics import EXPLAIN, PLAN, RESULT, STATUS

RESULT_TIMEOUT_S = 60.0
#: Seconds spent on measuring this machine.
PROFILE_S = 4.0
#: Share of the work that stays on the device where the coordinator chooses, so that no photograph leaves it.
KEPT_SHARE = "10%"
ONLINE_TIMEOUT_S = 30.0
BROKER_POLL_S = 0.05
#: Nodes that must be online before the device starts, so that its first frame already passes through all tiers.
BEFORE_DEVICE = frozenset({HUB, CLOUD, EDGE})
FIRST, SECOND = "20%", "60%"
#: Exit status of a program ended by SIGTERM, as shells count it; Ctrl-C is 130.
TERMINATED = 128 + signal.SIGTERM


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="run all three tiers on this machine, on photographs",
        description="Starts a broker and one node per tier as processes, cuts EfficientNet-Lite0 twice, streams "
        "scikit-image's photographs through it and shows the results as they come.",
    )
    parser.add_argument("--first", metavar="K", help="first cut, by hand: a number, or a share such as 20%%")
    parser.add_argument("--second", metavar="K", help="second cut, by hand: a number, or a share such as 60%%")
    parser.add_argument("--codec", default="int8+zstd", metavar="NAME", help="codec of cuts by hand (%(default)s)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N results")
    parser.add_argument("--fps", type=float, default=5.0, metavar="F", help="photographs per second (default: 5)")
    parser.add_argument("--mbps", type=float, metavar="R", help="emulate a link of R Mbit/s from device and edge")
    parser.add_argument("--delay-ms", type=float, default=0.0, metavar="D", help="emulate a delay of D ms on them")
    parser.add_argument("--json", action="store_true", help="print each result as a line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the model, start the site, show results until Ctrl-C, SIGTERM or ``--frames``.

    Raises:
        SettingsError: a flag is wrong; nothing has been started then.
    """
    check(args)
    view: View = JsonLines() if args.json else LiveTable()
    return asyncio.run(_until_terminated(args, view))


def check(args: argparse.Namespace) -> None:
    """Refuse flags that no demo can follow.

    Raises:
        SettingsError: one is wrong.
    """
    if args.codec not in CODECS:
        raise _wrong("--codec", f"one of {', '.join(CODECS)}", args.codec)
    if args.frames is not None and args.frames < 1:
        raise _wrong("--frames", "1 or more", args.frames)
    for flag, value in (("--fps", args.fps), ("--mbps", args.mbps)):
        if value is not None and not 0 < value < math.inf:
            raise _wrong(flag, "a number above 0", value)
    if not 0 <= args.delay_ms < math.inf:
        raise _wrong("--delay-ms", "0 or more", args.delay_ms)


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


def prepare_profile(bundle: Bundle, folder: Path) -> None:
    """How fast this machine is, measured once and before the nodes start: together they would measure each other."""
    store = ProfileStore(folder)
    if store.load(bundle.model, this_machine(1).id) is None:
        frames = (np.asarray(Image.open(path).convert("RGB")) for path in photographs())
        store.save(measure_profile(bundle, frames, Options(threads=1, seconds=PROFILE_S)))


async def _until_terminated(args: argparse.Namespace, view: View) -> int:
    """SIGTERM stops everything in order, as Ctrl-C does; a second one kills at once."""
    loop = asyncio.get_running_loop()
    demo = asyncio.create_task(_demo(args, view), name="demo")
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        loop.remove_signal_handler(signal.SIGTERM)
        demo.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await demo
    except asyncio.CancelledError:
        if terminated:
            return TERMINATED
        raise


async def _demo(args: argparse.Namespace, view: View) -> int:
    with view, tempfile.TemporaryDirectory(prefix="tiercut-demo-") as scratch:
        view.step("preparing EfficientNet-Lite0 (the first time this takes half a minute)")
        bundle = await asyncio.to_thread(prepare_bundle, cache_folder())
        site = DemoSite(
            bundles=cache_folder(),
            model=bundle.name,
            cuts=cuts_by_hand(bundle, args),
            min_first_cut=resolve_cut(bundle, KEPT_SHARE),
            codec=args.codec,
            fps=args.fps,
            mbps=args.mbps,
            delay_ms=args.delay_ms,
        )
        if site.cuts is None:
            view.step("measuring this machine (the first time this takes some seconds)")
            await asyncio.to_thread(prepare_profile, bundle, site.profiles)
        view.step("starting broker, device, edge and cloud")
        async with site.processes(Path(scratch)) as processes:
            await processes.start(HUB)
            await _show(site, processes, view, args.frames, about=_about(site, bundle))
    return 0


def cuts_by_hand(bundle: Bundle, args: argparse.Namespace) -> tuple[int, int] | None:
    """The cuts given by hand; ``None`` where neither cuts nor a link are given: then the coordinator chooses.

    Raises:
        CutError: the model has no such cut.
        SettingsError: the first is behind the second.
    """
    if args.first is None and args.second is None and args.mbps is None and not args.delay_ms:
        return None
    first, second = (resolve_cut(bundle, text) for text in (args.first or FIRST, args.second or SECOND))
    if first > second:
        raise _wrong("--first", f"a cut up to --second, {second}{'' if args.second else ' by default'}", first)
    return first, second


def _wrong(flag: str, expected: str, came: object) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=str(came), fix=f"correct {flag}")


def _about(site: DemoSite, bundle: Bundle) -> About:
    return About(
        model=bundle.name,
        cuts=site.cuts,
        end=bundle.end,
        codec=site.codec,
        link=site.emulated,
        hint=f"mosquitto_sub -p {site.port} -V 5 -t {shlex.quote(RESULT.filter(site=site.name))}",
    )


async def _show(site: DemoSite, processes: Processes, view: View, frames: int | None, *, about: About) -> None:
    """Show results until enough have come; a program that ends by itself is an error."""
    results = asyncio.create_task(_results(site, processes, view, frames, about), name="results")
    watch = asyncio.create_task(processes.watch(), name="watch")
    try:
        done, _ = await asyncio.wait({results, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (results, watch):
            task.cancel()
        await asyncio.gather(results, watch, return_exceptions=True)
    for task in done:
        task.result()


def _plan_came(view: View, delivery: Delivery) -> None:
    delivery.ack()
    view.plan(decode_json(StreamPlan, delivery.payload))


def _explained(view: View, delivery: Delivery) -> None:
    delivery.ack()
    explanation = json.loads(delivery.payload)
    if explanation["plan"] is not None:  # before the first one something is always still missing
        view.trouble(trouble_in(explanation))


async def _answers(site: DemoSite) -> None:
    """Wait until the broker takes connections; a hub that ended is `Processes.watch`'s matter."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.close()
            return
        await asyncio.sleep(BROKER_POLL_S)


class _Online:
    """Nodes that have reported that they are online."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._missing = set(wanted)
        self._all = asyncio.Event()

    def heard(self, delivery: Delivery) -> None:
        """Take in a status."""
        delivery.ack()
        status = decode_json(NodeStatus, delivery.payload)
        if status.state == "online":
            self._missing.discard(status.node)
        if not self._missing:
            self._all.set()

    async def wait(self, processes: Processes) -> None:
        """Until all have."""
        try:
            async with asyncio.timeout(ONLINE_TIMEOUT_S):
                await self._all.wait()
        except TimeoutError as error:
            raise BusError(
                "the demo does not start",
                expected=f"hub, cloud and edge online within {ONLINE_TIMEOUT_S:.0f} s",
                came=f"nothing from {', '.join(sorted(self._missing))}",
                fix=f"see the nodes' logs:\n{processes.tails()}",
            ) from error


async def _results(site: DemoSite, processes: Processes, view: View, frames: int | None, about: About) -> None:
    """Subscribe first and start the nodes then, the device last, so that the first frame is seen too."""
    await _answers(site)
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus:
        arriving = aiter(await bus.subscribe(RESULT.filter(site=site.name)))
        await bus.subscribe(PLAN.filter(site=site.name), handler=lambda delivery: _plan_came(view, delivery))
        await bus.subscribe(EXPLAIN.filter(site=site.name), handler=lambda delivery: _explained(view, delivery))
        online = _Online(BEFORE_DEVICE)
        await bus.subscribe(STATUS.filter(site=site.name), handler=online.heard)
        for name in (CLOUD, EDGE):
            await processes.start(name)
        await online.wait(processes)
        await processes.start(DEVICE)
        view.about(about)
        count = 0
        while count != frames:
            try:
                async with asyncio.timeout(RESULT_TIMEOUT_S):
                    delivery = await anext(arriving)
            except TimeoutError as error:
                raise BusError(
                    "the demo shows no results",
                    expected=f"a result within {RESULT_TIMEOUT_S:.0f} s",
                    came="none",
                    fix=f"see the nodes' logs:\n{processes.tails()}",
                ) from error
            delivery.ack()
            view.result(delivery.payload)
            count += 1
