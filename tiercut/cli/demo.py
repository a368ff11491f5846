"""``tiercut demo``: a whole site on this machine, on real photographs, in one command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import shlex
import signal
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tiercut.cli.demo_full import CAMERAS, MOST, FullSite, cameras_of, small_photographs
from tiercut.cli.demo_full_view import FullView
from tiercut.cli.demo_run import show
from tiercut.cli.demo_site import DemoSite, SiteByHand, photographs
from tiercut.cli.demo_table import LiveTable
from tiercut.cli.demo_view import About, JsonLines, View
from tiercut.codecs.table import CODECS
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut
from tiercut.profiling.machine import this_machine
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore
from tiercut.protocol.topics import RESULT

#: Seconds spent on measuring this machine.
PROFILE_S = 4.0
#: Cuts and codec where only something else is given by hand.
FIRST, SECOND, CODEC = "20%", "60%", "int8+zstd"
#: Exit status of a program ended by SIGTERM, as shells count it; Ctrl-C is 130.
TERMINATED = 128 + signal.SIGTERM


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="run a whole site on this machine, on photographs",
        description="Starts a broker, six cameras, an edge and a cloud node as processes, all of them emulated to be "
        "slow, and streams scikit-image's photographs through EfficientNet-Lite0. Shows what the site gives and who "
        "computes what. With a cut, a codec or a link given by hand: one camera, and each result.",
    )
    parser.add_argument("--cameras", type=int, metavar="N", help=f"how many cameras, 1 to {MOST} (default: {CAMERAS})")
    parser.add_argument("--fps", type=float, default=6.0, metavar="F", help="photographs per second of each camera (6)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N results, of all cameras together")
    parser.add_argument("--json", action="store_true", help="print each result as a line of JSON")
    hand = parser.add_argument_group("one camera, cut by hand")
    hand.add_argument("--first", metavar="K", help="first cut: a number, or a share such as 20%%")
    hand.add_argument("--second", metavar="K", help="second cut: a number, or a share such as 60%%")
    hand.add_argument("--codec", metavar="NAME", help=f"codec of both hops ({CODEC})")
    hand.add_argument("--mbps", type=float, metavar="R", help="emulate a link of R Mbit/s from device and edge")
    hand.add_argument("--delay-ms", type=float, default=0.0, metavar="D", help="emulate a delay of D ms on them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the model, start the site, show results until Ctrl-C, SIGTERM or ``--frames``.

    Raises:
        SettingsError: a flag is wrong; nothing has been started then.
    """
    check(args)
    return asyncio.run(_until_terminated(args, _view(args)))


def by_hand(args: argparse.Namespace) -> bool:
    """Whether a cut, a codec or a link is given: then the coordinator chooses nothing."""
    return any(value is not None for value in (args.first, args.second, args.codec, args.mbps)) or args.delay_ms != 0


def _view(args: argparse.Namespace) -> View:
    if args.json:
        return JsonLines()
    return LiveTable() if by_hand(args) else FullView(cameras_of(args.cameras or CAMERAS), args.fps)


def check(args: argparse.Namespace) -> None:
    """Refuse flags that no demo can follow.

    Raises:
        SettingsError: one is wrong.
    """
    if args.codec is not None and args.codec not in CODECS:
        raise _wrong("--codec", f"one of {', '.join(CODECS)}", args.codec)
    if args.frames is not None and args.frames < 1:
        raise _wrong("--frames", "1 or more", args.frames)
    if args.cameras is not None and not 1 <= args.cameras <= MOST:
        raise _wrong("--cameras", f"1 to {MOST}", args.cameras)
    for flag, value in (("--fps", args.fps), ("--mbps", args.mbps)):
        if value is not None and not 0 < value < math.inf:
            raise _wrong(flag, "a number above 0", value)
    if not 0 <= args.delay_ms < math.inf:
        raise _wrong("--delay-ms", "0 or more", args.delay_ms)
    if by_hand(args) and args.cameras not in {None, 1}:
        raise _wrong("--cameras", "one camera where a cut, a codec or a link is given", args.cameras)


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


def prepare_profile(bundle: Bundle, folder: Path) -> Profile:
    """How fast this machine is, measured once and before the nodes start: together they would measure each other."""
    store = ProfileStore(folder)
    profile = store.load(bundle.model, this_machine(1).id)
    if profile is None:
        frames = (np.asarray(Image.open(path).convert("RGB")) for path in photographs())
        profile = measure_profile(bundle, frames, Options(threads=1, seconds=PROFILE_S))
        store.save(profile)
    return profile


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
        cuts = cuts_by_hand(bundle, args)
        if cuts is None:
            view.step("measuring this machine (the first time this takes some seconds)")
            site, words = await asyncio.to_thread(_full_site, bundle, args)
        else:
            site, words = _site_by_hand(bundle, cuts, args)
        view.step("starting broker, edge and cloud")
        hint = f"mosquitto_sub -p {site.port} -V 5 -t {shlex.quote(RESULT.filter(site=site.name))}"
        async with site.processes(Path(scratch)) as processes:
            about = About(words=words, emulated=site.emulated, hint=hint)
            await show(site, processes, view, args.frames, about=about)
    return 0


def _full_site(bundle: Bundle, args: argparse.Namespace) -> tuple[DemoSite, str]:
    """The cameras, an edge and a cloud node, and what that is in words."""
    folder = cache_folder()
    site = FullSite(
        bundles=folder,
        model=bundle.name,
        cameras=args.cameras or CAMERAS,
        fps=args.fps,
        profile=prepare_profile(bundle, folder.parent / "profiles"),
        pictures=small_photographs(folder.parent / "photographs"),
    )
    some = "one camera" if site.cameras == 1 else f"{site.cameras} cameras"
    return site, f"{bundle.name} on {some}, an edge and a cloud node"


def _site_by_hand(bundle: Bundle, cuts: tuple[int, int], args: argparse.Namespace) -> tuple[DemoSite, str]:
    """A node per tier, and what each computes in words."""
    codec, (first, second) = args.codec or CODEC, cuts
    site = SiteByHand(
        bundles=cache_folder(),
        model=bundle.name,
        fps=args.fps,
        cuts=cuts,
        codec=codec,
        mbps=args.mbps,
        delay_ms=args.delay_ms,
    )
    parts = f"device [0, {first}) → edge [{first}, {second}) → cloud [{second}, {bundle.end})"
    return site, f"{bundle.name} · {parts} · {codec}"


def cuts_by_hand(bundle: Bundle, args: argparse.Namespace) -> tuple[int, int] | None:
    """The cuts given by hand; ``None`` where neither they nor a codec or a link are: then the coordinator chooses.

    Raises:
        CutError: the model has no such cut.
        SettingsError: the first is behind the second.
    """
    if not by_hand(args):
        return None
    first, second = (resolve_cut(bundle, text) for text in (args.first or FIRST, args.second or SECOND))
    if first > second:
        raise _wrong("--first", f"a cut up to --second, {second}{'' if args.second else ' by default'}", first)
    return first, second


def _wrong(flag: str, expected: str, came: object) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=str(came), fix=f"correct {flag}")
