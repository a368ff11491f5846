"""A coordinator without buses: nodes that say what they are told to, and frames that take as long as they are told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import UNSET

from tests.profiles import profile_of
from tiercut import __version__
from tiercut.coordinator.actions import Action, Explain, Prepare, ProbeHop, PublishPlan, TellCapacity
from tiercut.coordinator.core import Coordinator
from tiercut.coordinator.events import (
    Event,
    ProfileHeard,
    ProgressHeard,
    ReadyHeard,
    ResultHeard,
    SourceHeard,
    StatusHeard,
    StreamWanted,
    Tick,
)
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.problem import HANDOVER_S
from tiercut.coordinator.spans import spans
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import ExitSpec, OutputSpec, Variant, exit_variant
from tiercut.plan import Plan, Tier
from tiercut.profiling.profile import Profile
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.explanations import encode_explanation
from tiercut.protocol.frames import Stage
from tiercut.protocol.nodes import NodeStatus, Probe, Progress, Ready, StatusTier, Transfer
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport

#: Four blocks of 100 ms on the device, ten times as fast on an edge, a hundred times in the cloud.
DEVICE_S = (0.0, 0.1, 0.2, 0.3, 0.4)
MODEL = "ab" * 32
#: Early exits: cut and accuracy; each head takes 10 ms on the device. The whole model is right nine times of ten.
EXITS = {"early": (1, 0.7), "middle": (2, 0.8)}
HEAD_S, ACCURACY = 0.01, 0.9


def times(factor: float) -> Profile:
    """The model's profile on a machine that takes ``factor`` times as long as the device."""
    profile = profile_of(tuple(factor * each for each in DEVICE_S))
    chains = {
        name: tuple(factor * each for each in (*DEVICE_S[: cut + 1], DEVICE_S[cut] + HEAD_S))
        for name, (cut, _) in EXITS.items()
    }
    return replace(profile, cut_bytes=tuple(50 * size for size in profile.cut_bytes), variants=chains)


def goal(name: str = "cam", *, device: str = "d", **more: Any) -> StreamGoal:
    """A stream of that model."""
    sizes = times(1).cut_bytes
    tensors = [(TensorSpec(f"cut{k}", (size,), "uint8"),) for k, size in enumerate(sizes)]
    cuts = tuple(CutPoint(index=k, after=None, tensors=t, macs=k, parameters=0) for k, t in enumerate(tensors))
    return StreamGoal(name=name, model=MODEL, model_name="m", cuts=cuts, device=device, **more)


def exits_goal(**more: Any) -> StreamGoal:
    """The same stream, with the model's early exits."""
    plain = goal(**more)
    trunk = Variant(name="full", cuts=plain.cuts, outputs=(), frame=FrameSpec(), accuracy=ACCURACY, graph="")
    specs = [
        ExitSpec(
            name=name,
            cut=cut,
            output=OutputSpec(name, (1, 10), "float32", "softmax"),
            after=name,
            macs=0,
            parameters=0,
            accuracy=accuracy,
        )
        for name, (cut, accuracy) in EXITS.items()
    ]
    return replace(plain, variants=tuple(exit_variant(spec, trunk) for spec in specs), accuracy=ACCURACY)


class Checked(Coordinator):
    """A coordinator whose state is checked after each event, and that remembers what it heard and said."""

    def __init__(self, **more: Any) -> None:
        self.events: list[Event] = []
        self.said: list[list[Action]] = []
        super().__init__("home", log=self.events, **more)

    def handle(self, event: Event) -> list[Action]:
        actions = super().handle(event)
        self.validate_state()
        self.said.append(actions)
        return actions


@dataclass
class Told:
    """A coordinator at work; nodes get ready at once unless they are in ``unready``, and probes are answered."""

    coordinator: Checked = field(default_factory=Checked)
    now_s: float = 100.0
    plans: dict[str, Plan] = field(default_factory=dict)
    mixes: dict[str, Mix] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    explained: dict[str, dict[str, Any]] = field(default_factory=dict)
    probes: list[tuple[str, Probe]] = field(default_factory=list)
    unready: dict[str, str] = field(default_factory=dict)
    mbps: dict[tuple[str, str], float] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    beside_s: float = 0.0
    seq: int = 0
    ticked_s: float = 100.0
    #: node → how many times as long as its profile it takes
    slow: dict[str, float] = field(default_factory=dict)
    #: frames that the device has counted
    done: int = 0
    #: nodes that say that they are ready and are not, and nodes that do not answer
    fails: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    #: stream → frames per second that get through
    fps: dict[str, float] = field(default_factory=dict)
    #: what the hub says of the site
    capacity: SiteCapacity | None = None
    _dealt: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def status(self, tier: StatusTier, node: str, **more: Any) -> None:
        """A node says how it is."""
        said: dict[str, Any] = {"state": "online", "version": __version__, "models": {"m": MODEL}, **more}
        said.setdefault("mixes", tier == "device")
        status = NodeStatus(node=node, tier=tier, **said)
        self.coordinator.handle(StatusHeard(status=status, site="home", now_s=self.now_s, unix_s=1e9))

    def node(self, tier: Tier, node: str, factor: float) -> None:
        """A node comes up, with its profile."""
        self.status(tier, node)
        self.coordinator.handle(ProfileHeard(tier=tier, node=node, profile=times(factor), site="home"))

    def site(self, *streams: StreamGoal) -> Told:
        """A device, two edges and a cloud node, and the first plan."""
        for stream in streams or (goal(),):
            self.coordinator.handle(StreamWanted(stream))
            self.node("device", stream.device, 1.0)
        self.node("edge", "e", 0.1)
        self.node("edge", "f", 0.15)
        self.node("cloud", "c", 0.01)
        self.passes(2.0)
        return self

    def passes(self, seconds: float) -> None:
        """Time passes, with a tick every quarter second."""
        for _ in range(round(seconds * 4)):
            self.now_s += 0.25
            self.tick()

    def tick(self) -> None:
        """The coordinator looks at its streams."""
        self.ticked_s = self.now_s
        self.do(self.coordinator.handle(Tick(self.now_s)))

    def do(self, actions: list[Action]) -> None:
        """Carry out what the coordinator says."""
        answers: list[Ready] = []
        for action in actions:
            match action:
                case Prepare() if action.node not in self.silent:
                    said = self.unready.get(action.node)
                    ready = Ready(
                        stream=action.message.stream,
                        epoch=action.message.epoch,
                        node=action.node,
                        ok=said is None,
                        message=said or "",
                        tier=action.tier,
                    )
                    answers.append(ready)
                case ProbeHop():
                    self.probes.append((action.node, action.message))
                    mbps = self.mbps.get((action.node, action.message.node), 50.0)
                    for size in action.message.sizes:
                        self.crossed(action.tier, action.node, action.message, size, 0.001 + size * 8e-6 / mbps)
                case PublishPlan():
                    self.plans[action.message.stream] = action.message.plan
                    self.mixes[action.message.stream] = Mix.heard(action.message)
                    self.reasons.append(action.message.reason)
                case TellCapacity():
                    self.capacity = action.message
                case Explain():
                    self.explained[action.message.stream] = json.loads(encode_explanation(action.message))
        for answer in answers:
            self.do(self.coordinator.handle(ReadyHeard(answer, self.now_s)))

    def crossed(self, tier: Tier, node: str, to: Probe, size: int, seconds: float, *, arrived: bool = True) -> None:
        """A node says how long a message took, or has been under way."""
        transfer = Transfer(tier=to.tier, node=to.node, payload_bytes=size, seconds=seconds, arrived=arrived)
        self.do(self.coordinator.handle(ProgressHeard((tier, node), Progress(transfers=(transfer,)), self.now_s)))

    def frames(
        self,
        count: int,
        stream: str = "cam",
        *,
        slow: dict[str, float] | None = None,
        every_s: float = 0.1,
        **more: Any,
    ) -> None:
        """Frames of a stream arrive, ten a second or as fast as they can, as its plan says; some nodes are slower."""
        for _ in range(count):
            self.seq += 1
            journey = self.journey(stream, slow or self.slow, **more)
            self.now_s += max(every_s, *(stage.seconds for stage in journey.stages if stage.kind != "queue"))
            self.do(self.coordinator.handle(ResultHeard(journey, self.now_s)))
            if self.now_s - self.ticked_s > 0.25 - 1e-9:
                self.tick()

    def source(self, *, asked_fps: float | None, done_fps: float, stream: str = "cam", seconds: float = 4.0) -> None:
        """The node that reads the sensor reports for a while, and frames arrive."""
        for _ in range(round(seconds / 2)):
            since_s = self.now_s
            self.frames(max(1, round(2 * done_fps)), stream, every_s=1 / done_fps)
            self.done += round(done_fps * (self.now_s - since_s))
            report = SourceReport(
                stream=stream,
                node=self.coordinator.goal(stream).device,
                state="running",
                frames={"captured": self.done, "done": self.done},
                frames_per_second=asked_fps or UNSET,
            )
            self.coordinator.handle(SourceHeard(report, self.now_s))

    def dealt(self, stream: str) -> Plan:
        """The plan that a stream's next frame follows: that which is furthest behind its share."""
        mix = self.mixes[stream]
        counts = self._dealt.setdefault((stream, mix.first.epoch), [0] * len(mix.plans))
        total = sum(counts) + 1
        nth = max(range(len(counts)), key=lambda each: mix.plans[each][1] * total - counts[each])
        counts[nth] += 1
        return mix.plans[nth][0]

    def journey(
        self, stream: str, slow: dict[str, float], fallback: str | None = None, left_at: str | None = None
    ) -> Journey:
        """The way of one frame; ``left_at`` says where it leaves, the plan's end if not given."""
        plan = self.dealt(stream)
        wanted = self.coordinator.goal(stream)
        ran = spans(plan, left_at or plan.exit, wanted)
        stages: list[Stage] = []
        start, sender = 0, None
        for tier in ("device", *(to for _, to in plan.hops)):
            name = plan.node(tier)
            assert name is not None
            if (tier, name) not in ran:
                break
            if name in self.fails:
                fallback = f"{name} does not do its part"
                break
            profile = self.coordinator.view.nodes[tier, name].profiles[MODEL]
            if sender is not None:
                size = profile.cut_bytes[start]
                seconds = 0.001 + size * 8e-6 / self.mbps.get((sender, name), 50.0)
                stages += [
                    Stage(name, "wire", seconds, payload_bytes=size),
                    Stage(name, "queue", HANDOVER_S + self.waits.get(name, 0.0)),
                ]
            span = ran[tier, name]
            stages.append(Stage(name, "compute", profile.span_seconds(span) * slow.get(name, 1.0)))
            start, sender = span.stop, name
        latency_s = sum(stage.seconds for stage in stages) + self.beside_s
        return Journey(
            stream=stream,
            seq=self.seq,
            model=MODEL,
            plan=plan,
            stages=tuple(stages),
            captured_unix_s=self.now_s,
            latency_s=latency_s,
            fallback=fallback,
            exit=left_at or plan.exit,
            deadline_met=None if plan.deadline is None else latency_s <= plan.deadline.seconds,
        )

    def said(self, key: str, stream: str = "cam") -> str:
        """A field of a stream's explanation as text."""
        return str(self.explained[stream].get(key))
