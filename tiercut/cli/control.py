"""``tiercut control``: give a stream its plan by hand, freeze the one it has, or leave it to the coordinator again."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable
from typing import Any

from msgspec import structs

from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.cli.connect import add_connection, connection
from tiercut.clock import SystemClock
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage, SettingsError
from tiercut.plan import FULL, Plan
from tiercut.protocol.explanations import BY_HAND
from tiercut.protocol.nodes import StreamControl, StreamPlan
from tiercut.protocol.topics import CONTROL, EXPLAIN, PLAN
from tiercut.settings import check_names

#: How long to wait for the stream's retained plan.
KNOWN_S = 2.0
#: How long to wait for the hub's answer: a change in progress comes first, and takes ten seconds at most.
ANSWERED_S = 12.0
#: How long nodes may take after that: they load segments for ten seconds at most.
DONE_S = 17.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tiercut control``."""
    parser = subparsers.add_parser(
        "control",
        help="set a stream's plan by hand, freeze it, or let the coordinator choose again",
        description="The command is retained on the bus: it holds until 'auto', also over restarts.",
        epilog="example: tiercut control camera plan --first-cut 12 --second-cut 40 --edge porch --cloud dc "
        "--codecs int8+zstd,int8+zstd",
    )
    parser.add_argument("stream", help="name of the stream")
    parser.add_argument(
        "mode", choices=("auto", "freeze", "plan"), help="who chooses: the coordinator, nobody (the plan stays), or you"
    )
    add_connection(parser)
    by_hand = parser.add_argument_group("with plan")
    by_hand.add_argument("--first-cut", type=int, metavar="N", help="cut point at the end of the device's part")
    by_hand.add_argument("--second-cut", type=int, metavar="N", help="cut point at the end of the edge's part")
    by_hand.add_argument("--edge", metavar="NODE", help="the edge (default: none)")
    by_hand.add_argument("--cloud", metavar="NODE", help="the cloud node (default: none)")
    by_hand.add_argument("--exit", metavar="NAME", help="variant: full, an early exit, or another input size")
    by_hand.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="frames leave at any earlier exit whose confidence is at least this, 0..1",
    )
    by_hand.add_argument("--codecs", metavar="A,B", help="one codec per hop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish the command, and print what came of it.

    Raises:
        BusError: the broker cannot be reached.
        SettingsError: there is no such stream, the plan does not hold together, nobody answers, or the hub does not
            take the plan; then what was retained before is retained again.
    """
    print(asyncio.run(_control(args)))
    return 0


async def _control(args: argparse.Namespace) -> str:
    _check(args)
    names = {"site": args.site, "stream": args.stream}
    topic = CONTROL.of(**names)
    async with MqttBus(connection(args), clock=SystemClock()) as bus:
        heard = _Heard(uuid.uuid4().hex)
        await bus.subscribe(topic, handler=heard.control_came)  # before the plan, so that it is known when the plan is
        await bus.subscribe(PLAN.of(**names), handler=heard.plan_came)
        known = await heard.until(lambda: heard.plan, KNOWN_S)
        if known is None:
            raise SettingsError(
                f"the stream '{args.stream}' has no plan on {args.broker}",
                expected=f"a stream of site '{args.site}' that the hub plans",
                came="no retained plan",
                fix="see 'tiercut watch' for the names of streams, and whether the hub runs",
            )
        control = _wish(args, device=known.plan.device, identity=heard.identity)
        await bus.subscribe(EXPLAIN.of(**names), handler=heard.explanation_came)
        heard.wish = encode_json(control)
        await bus.publish(Message(topic, heard.wish, retain=True))
        try:
            return await _outcome(heard, control, args.stream)
        except _NotTakenError as error:
            if heard.overtaken:
                raise
            await bus.publish(Message(topic, heard.before, retain=True))
            error.fix += f"; {_named(heard.before)}, as before, is retained again"
            raise


class _NotTakenError(SettingsError):
    """The hub has answered, and the stream does not follow the plan."""


async def _outcome(heard: _Heard, control: StreamControl, stream: str) -> str:
    await heard.until(lambda: heard.answer or heard.overtaken, ANSWERED_S)
    if control.plan is not None and heard.answer is not None:
        wanted = control.plan
        await heard.until(lambda: _same(heard.plan, wanted) or heard.refusal or heard.overtaken, DONE_S)
    plan = heard.plan
    if heard.overtaken:
        raise _NotTakenError(
            f"somebody else has spoken of the stream '{stream}' meanwhile",
            expected="one at a time",
            came=f"{_named(heard.controls[-1])} after '{control.mode}'",
            fix="see 'tiercut watch' for what holds now",
        )
    if heard.answer is None:
        raise SettingsError(
            "nobody has answered",
            expected=f"an answer of the hub on the stream '{stream}' within {ANSWERED_S:.0f} s",
            came="nothing",
            fix=f"start the hub, or let it plan the stream (the streams table of its settings, not plans); "
            f"'{control.mode}' stays retained and takes effect when the hub is back",
        )
    if control.plan is not None and not _same(plan, control.plan):
        raise _NotTakenError(
            "the plan was not taken",
            expected="a plan that the stream's nodes can follow",
            came=heard.refusal or f"no answer of its nodes within {DONE_S:.0f} s",
            fix="correct the plan, or let the coordinator choose with 'auto'",
        )
    epoch = None if plan is None else plan.plan.epoch
    done = {
        "auto": f"the coordinator chooses the plan of '{stream}' again (now plan {epoch})",
        "freeze": f"'{stream}' keeps plan {epoch} until 'tiercut control {stream} auto'",
        "plan": f"'{stream}' follows plan {epoch}, given by hand, until 'tiercut control {stream} auto'",
    }[control.mode]
    return f"{done}; but: {heard.refusal}" if heard.refusal else done


class _Heard:
    """What the bus has said of one stream.

    Attributes:
        identity: Of what we say, echoed by the explanations that follow it.
        wish: What we say, as it is published; empty before.
        controls: What has been said so far, ours among it.
        plan: The plan that the stream follows.
        answer: The last explanation that echoes us.
        refusal: Why what we say cannot be done, of the hub or of a node; empty where it is not said.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.wish = b""
        self.controls: list[bytes] = []
        self.plan: StreamPlan | None = None
        self.answer: dict[str, Any] | None = None
        self.refusal = ""
        self._tried = False
        self._changed = asyncio.Event()

    @property
    def before(self) -> bytes:
        """The payload retained before ours; empty for none."""
        said = self.controls[: self.controls.index(self.wish)] if self.wish in self.controls else self.controls
        return said[-1] if said else b""

    @property
    def overtaken(self) -> bool:
        """Whether somebody else has published a command after ours."""
        return self.wish in self.controls and self.controls[-1] != self.wish

    def control_came(self, delivery: Delivery) -> None:
        """The command that holds now, ours or another's."""
        delivery.ack()
        self.controls.append(bytes(delivery.payload))
        self._changed.set()

    def plan_came(self, delivery: Delivery) -> None:
        """The stream's plan."""
        delivery.ack()
        with contextlib.suppress(BadMessage):  # what cannot be read is no plan
            self.plan = decode_json(StreamPlan, delivery.payload)
        self._changed.set()

    def explanation_came(self, delivery: Delivery) -> None:
        """Why it is that plan; only answers to our command count."""
        delivery.ack()
        with contextlib.suppress(ValueError):
            said = json.loads(delivery.payload)
            if isinstance(said, dict) and said.get("control_id") == self.identity:
                self._answered(said)
        self._changed.set()

    def _answered(self, said: dict[str, Any]) -> None:
        if said.get("under_way") not in {None, BY_HAND}:  # another change comes first
            return
        self.answer = said
        if said.get("under_way") == BY_HAND:
            self._tried = True
        else:
            self.refusal = str(said.get("control_trouble") or (self._tried and said.get("trouble")) or "")

    async def until(self, condition: Callable[[], Any], timeout_s: float) -> Any:
        """The condition's first value that is not empty; ``None`` when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := condition()):
                    await self._changed.wait()
                    self._changed.clear()
                return found
        except TimeoutError:
            return None


def _check(args: argparse.Namespace) -> None:
    check_names(args, "site", "stream")
    given = [
        f"--{each.replace('_', '-')}"
        for each in ("first_cut", "second_cut", "edge", "cloud", "exit", "threshold", "codecs")
        if getattr(args, each) is not None
    ]
    if args.mode != "plan" and given:
        raise SettingsError(
            f"'{args.mode}' takes no plan",
            expected="--first-cut and other plan options with 'plan' only",
            came=", ".join(given),
            fix=f"omit them, or use 'tiercut control {args.stream} plan …'",
        )
    if args.mode == "plan" and (args.first_cut is None or args.second_cut is None):
        raise SettingsError(
            "a plan by hand needs its cuts",
            expected="--first-cut and --second-cut",
            came=", ".join(given) or "neither",
            fix="choose them from the table that 'tiercut inspect BUNDLE' prints",
        )
    _wish(args, device="unknown", identity="")  # what is wrong in itself needs no broker


def _wish(args: argparse.Namespace, *, device: str, identity: str) -> StreamControl:
    """The command, checked as the hub checks it: a retained one replaces the one that works.

    Raises:
        SettingsError: it is not valid.
    """
    plan = None
    if args.mode == "plan":
        plan = Plan(
            epoch=0,
            first_cut=args.first_cut,
            second_cut=args.second_cut,
            device=device,
            edge=args.edge,
            cloud=args.cloud,
            exit=args.exit or FULL,
            threshold=args.threshold,
            codecs=tuple(name for name in (args.codecs or "").split(",") if name),
        )
    control = StreamControl(mode=args.mode, plan=plan, id=identity)
    try:
        return decode_json(StreamControl, encode_json(control))
    except BadMessage as error:
        raise SettingsError(
            "the plan is not valid", expected=error.expected, came=error.came, fix="correct it"
        ) from error


def _named(control: bytes) -> str:
    """What a retained control says, in a word."""
    if not control:
        return "'auto'"
    try:
        return f"'{decode_json(StreamControl, control).mode}'"
    except BadMessage:
        return "something that cannot be read"


def _same(followed: StreamPlan | None, wanted: Plan) -> bool:
    return followed is not None and structs.replace(followed.plan, epoch=0) == wanted
