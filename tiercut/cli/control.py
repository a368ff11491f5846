"""``tiercut control``: give a stream its plan by hand, freeze the one it has, or leave it to the coordinator again."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tiercut.bus import Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BadMessage, SettingsError
from tiercut.jsonwire import decode_stream_plan, encode_control
from tiercut.messages import StreamControl, StreamPlan, check_name
from tiercut.plan import Plan
from tiercut.topics import CONTROL, EXPLAIN, PLAN

#: How long the stream's retained plan is waited for.
KNOWN_S = 2.0
#: How long the hub may take: nodes load segments for ten seconds at most.
DONE_S = 15.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut control``."""
    parser = subparsers.add_parser(
        "control",
        help="give a stream its plan by hand, freeze it, or let the coordinator choose again",
        description="What is said here is retained on the bus: it holds until 'auto' is said, also over restarts.",
        epilog="example: tiercut control camera plan --first-cut 12 --second-cut 40 --edge porch --cloud dc "
        "--codecs int8+zstd,int8+zstd",
    )
    parser.add_argument("stream", help="name of the stream")
    parser.add_argument("mode", choices=("auto", "freeze", "plan"), help="who chooses: coordinator, nobody, or you")
    parser.add_argument("--broker", default="mqtt://127.0.0.1:1883", metavar="URL", help="the site's broker")
    parser.add_argument("--site", default="home", metavar="NAME", help="name of the site (default: home)")
    by_hand = parser.add_argument_group("with plan")
    by_hand.add_argument("--first-cut", type=int, metavar="N", help="cut point at the end of the device's part")
    by_hand.add_argument("--second-cut", type=int, metavar="N", help="cut point at the end of the edge's part")
    by_hand.add_argument("--edge", metavar="NODE", help="the edge (default: none)")
    by_hand.add_argument("--cloud", metavar="NODE", help="the cloud node (default: none)")
    by_hand.add_argument("--codecs", default="", metavar="A,B", help="one codec per hop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say it, and what came of it.

    Raises:
        BusError: the broker cannot be reached.
        SettingsError: there is no such stream, the plan does not hold together, or the hub does not take it.
    """
    print(asyncio.run(_control(args)))
    return 0


async def _control(args: argparse.Namespace) -> str:
    _check(args)
    names = {"site": args.site, "stream": args.stream}
    async with MqttBus(MqttSettings(url=args.broker), clock=SystemClock()) as bus:
        heard = _Heard()
        await bus.subscribe(PLAN.of(**names), handler=heard.plan_came)
        known = await heard.until(lambda: heard.plan, KNOWN_S)
        if known is None:
            raise SettingsError(
                f"the stream '{args.stream}' has no plan on {args.broker}",
                expected=f"a stream of site '{args.site}' that the hub plans",
                came="no retained plan",
                fix="see 'tiercut watch' for the names of streams, and whether the hub runs",
            )
        control = StreamControl(mode=args.mode, plan=_plan(args, known) if args.mode == "plan" else None)
        await bus.subscribe(EXPLAIN.of(**names), handler=heard.explanation_came)
        heard.explanation = None  # only what is said from now on
        await bus.publish(CONTROL.of(**names), encode_control(control), retain=True)
        return await _outcome(heard, control, args.stream)


async def _outcome(heard: _Heard, control: StreamControl, stream: str) -> str:
    def answered() -> object:
        said = heard.explanation
        if said is None or said.get("control") != control.mode:
            return None
        return control.plan is None or _same(heard.plan, control.plan) or said.get("trouble")

    await heard.until(answered, DONE_S)
    said, plan = heard.explanation, heard.plan
    if said is None or said.get("control") != control.mode:
        raise SettingsError(
            "nobody has answered",
            expected=f"the hub to speak of the stream '{stream}' within {DONE_S:.0f} s",
            came="nothing",
            fix="start the hub, or let it plan the stream (the streams table of its settings, not plans)",
        )
    if control.plan is not None and not _same(plan, control.plan):
        raise SettingsError(
            "the plan was not taken",
            expected="a plan that the stream's nodes can follow",
            came=str(said.get("trouble") or "no answer in time"),
            fix="correct the plan, or let the coordinator choose with 'auto'",
        )
    epoch = None if plan is None else plan.plan.epoch
    return {
        "auto": f"the coordinator chooses the plan of '{stream}' again (now plan {epoch})",
        "freeze": f"'{stream}' keeps plan {epoch} until 'tiercut control {stream} auto'",
        "plan": f"'{stream}' follows plan {epoch}, given by hand, until 'tiercut control {stream} auto'",
    }[control.mode]


class _Heard:
    """What the bus has said of one stream."""

    def __init__(self) -> None:
        self.plan: StreamPlan | None = None
        self.explanation: dict[str, Any] | None = None
        self._changed = asyncio.Event()

    def plan_came(self, delivery: Delivery) -> None:
        delivery.ack()
        with contextlib.suppress(BadMessage):  # what cannot be read is no plan
            self.plan = decode_stream_plan(delivery.payload)
        self._changed.set()

    def explanation_came(self, delivery: Delivery) -> None:
        delivery.ack()
        with contextlib.suppress(ValueError):
            self.explanation = json.loads(delivery.payload)
        self._changed.set()

    async def until(self, condition: Callable[[], Any], timeout_s: float) -> Any:
        """What the condition gives once it gives something; ``None`` when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := condition()):
                    await self._changed.wait()
                    self._changed.clear()
                return found
        except TimeoutError:
            return None


def _check(args: argparse.Namespace) -> None:
    for name in ("site", "stream"):
        try:
            check_name(getattr(args, name), field_name=name)
        except BadMessage as error:
            raise SettingsError(
                f"bad name of the {name}", expected=error.expected, came=error.came, fix="correct it"
            ) from error
    given = [each for each in ("first_cut", "second_cut", "edge", "cloud") if getattr(args, each) is not None]
    if args.mode != "plan" and given:
        raise SettingsError(
            f"'{args.mode}' takes no plan",
            expected="--first-cut and the like with 'plan' only",
            came=", ".join(given),
            fix=f"leave them away, or say 'tiercut control {args.stream} plan …'",
        )
    if args.mode == "plan" and (args.first_cut is None or args.second_cut is None):
        raise SettingsError(
            "a plan by hand needs its cuts",
            expected="--first-cut and --second-cut",
            came=", ".join(given) or "neither",
            fix="choose them from the table that 'tiercut inspect BUNDLE' prints",
        )


def _plan(args: argparse.Namespace, known: StreamPlan) -> Plan:
    return Plan(
        epoch=0,
        first_cut=args.first_cut,
        second_cut=args.second_cut,
        device=known.plan.device,
        edge=args.edge,
        cloud=args.cloud,
        codecs=tuple(name for name in args.codecs.split(",") if name),
    )


def _same(followed: StreamPlan | None, wanted: Plan) -> bool:
    return followed is not None and replace(followed.plan, epoch=0) == wanted
