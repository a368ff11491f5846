"""What a node does for a frame: decode, run segments, decide, encode, in one step.

Pure but for the models it runs: a frame goes in as a `Job`, and comes out as `Processed` with what is left to do.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiercut.clock import Clock
from tiercut.clocks.offsets import ClockOffsets
from tiercut.codecs.encode import decode_tensor, encode_tensor
from tiercut.codecs.encoded import EncodedTensor
from tiercut.errors import BadMessage, TiercutError, refuse
from tiercut.logs import Throttle
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import confidence
from tiercut.model.variants import Variant
from tiercut.pipeline.decide import Drop, Finish, Forward, FrameState, Here, LookUp, Run, TryExit, Wait, decide
from tiercut.pipeline.jobs import Answers, Arrays, Job, Left, Processed
from tiercut.pipeline.segment_runner import SegmentName, SegmentRunner
from tiercut.plan import Tier
from tiercut.protocol.frames import Stage, StageKind, Work
from tiercut.repository.store import ModelStore
from tiercut.results.kind import ResultKind
from tiercut.results.reading import Reading, read_outputs, write_result
from tiercut.results.table import kind_of

log = logging.getLogger(__name__)

#: Variants whose frames are remembered to come.
MAX_WAYS = 64


@dataclass(frozen=True, slots=True)
class Way:
    """What is the same for all frames of a variant of a model at this node.

    Attributes:
        bundle: The model; ``None``: the node does not have it.
        variant: Its variant; ``None``: it has none of that name.
        here: What `decide` is to know of this node.
        kind: What its results are.
    """

    bundle: Bundle | None
    variant: Variant | None
    here: Here
    kind: ResultKind[Any] | None = None

    @property
    def known(self) -> tuple[Bundle, Variant]:
        """Both, as `decide` lets only such frames pass."""
        if self.bundle is None or self.variant is None:
            raise AssertionError("decide() let a frame pass whose model the node does not have")
        return self.bundle, self.variant


class Processor:
    """Does a node's part for frames; safe from several threads at a time.

    Args:
        tier: The node's tier.
        node: Its id.
        clock: Its clock.
        models: Its models.
        segments: Runs their segments.
        offsets: What it knows of other clocks.
        reachable: Whether a node of a tier can be sent to now; must not block.
        counters: Counts ``fallbacks``, ``cache_hits``, ``cache_misses``.
        may_fall_back: Whether it runs the rest of a model when the next node is gone.

    Attributes:
        answers: What it knows of earlier frames; ``None``: each frame is worked on.
    """

    def __init__(
        self,
        *,
        tier: Tier,
        node: str,
        clock: Clock,
        models: ModelStore,
        segments: SegmentRunner,
        offsets: ClockOffsets,
        reachable: Callable[[Tier, str], bool],
        counters: Counter[str],
        may_fall_back: bool,
    ) -> None:
        self._tier: Tier = tier
        self._node = node
        self._clock = clock
        self._models = models
        self._segments = segments
        self._offsets = offsets
        self._reachable = reachable
        self._counters = counters
        self._may_fall_back = may_fall_back
        self.answers: Answers | None = None
        #: (model, variant, whether answers are kept) → what is the same for its frames
        self._ways: dict[tuple[str, str, bool], Way] = {}
        self._throttle = Throttle(10.0)

    def process(self, job: Job) -> Processed:
        """The node's part of a frame; whatever fails makes a `Drop` with its reason."""
        started_s = self._clock.monotonic_s()
        self._note(job, "queue", started_s - job.arrived_s)
        try:
            done = self._step(job)
        except BadMessage as error:
            done = Processed(job, Drop("bad_tensors", str(error)))
        except TiercutError as error:
            done = Processed(job, Drop("segment_failed", str(error)))
        except Exception as error:  # a bug that one frame triggers must not end the node for all the others
            if self._throttle.allows(type(error).__name__, started_s):
                log.exception("frame failed", extra={"stream": job.work.stream, "seq": job.work.seq})
            done = Processed(job, Drop("segment_failed", f"{type(error).__name__}: {error}"))
        job.arrived_s = self._clock.monotonic_s()
        job.seconds = job.arrived_s - started_s
        if self.answers is not None:
            self._tell_answers(self.answers, done, job.arrived_s)
        return done

    def must_wait(self, job: Job) -> bool:
        """Whether a frame that has to wait for those ahead of it still has to (from any thread)."""
        return isinstance(decide(self._state(job), self._way(job.work).here), Wait)

    def _tell_answers(self, answers: Answers, done: Processed, now_s: float) -> None:
        if isinstance(done.action, Forward):
            answers.sent_on(done.job.work, now_s)
        elif isinstance(done.action, Drop):
            answers.forget(done.job.work)

    def _way(self, work: Work) -> Way:
        """What is the same for all frames of a model's variant here."""
        key = (work.model, work.plan.exit, self.answers is not None)
        way = self._ways.get(key)
        if way is None:
            way = self._new_way(*key)
            if way.bundle is not None:  # an unknown one may come
                if len(self._ways) >= MAX_WAYS:
                    self._ways.clear()
                self._ways[key] = way
        return way

    def _new_way(self, model: str, exit_name: str, remembers: bool) -> Way:
        bundle = self._models.find(model)
        variant = None if bundle is None else bundle.find_variant(exit_name)
        exits = () if bundle is None or variant is None else bundle.exits_before(variant)
        here = Here(
            tier=self._tier,
            node=self._node,
            end=None if bundle is None else 0 if variant is None else variant.end,
            reachable=self._reachable,
            may_fall_back=self._may_fall_back,
            exits=tuple((each.cut, each.name) for each in exits),
            variant_known=variant is not None,
            remembers=remembers,
        )
        kind = None if bundle is None or variant is None else kind_of(bundle, variant)
        return Way(bundle, variant, here, kind)

    def _step(self, job: Job) -> Processed:
        """Run segments until the frame leaves, and make ready what leaves."""
        way = self._way(job.work)
        while True:
            action = decide(self._state(job), way.here)
            match action:
                case Run():
                    self._run(job, action, *way.known)
                case Forward():
                    return Processed(job, action, self._encode(job, action.codec, *way.known))
                case Finish():
                    return Processed(job, action, result=self._result(job, way))
                case LookUp():
                    self._look_up(job, *way.known)
                case TryExit():
                    self._try(job, action.name, *way.known)
                case Drop() | Wait():
                    self._note_compute(job)
                    job.age_s = self._age_s(job.work)
                    return Processed(job, action)

    def _state(self, job: Job) -> FrameState:
        work, known = job.work, job.known is not None
        in_order = known and work.outcomes != "device"  # else the device sees to it
        return FrameState(
            plan=work.plan,
            cut=job.cut,
            delivery=work.delivery,
            age_s=None if work.deadline_s is None else self._age_s(work),
            deadline_s=work.deadline_s,
            came_at=work.cut,
            tried=job.tried,
            left=job.left is not None,
            alone=job.fallback is not None,
            looked_up=job.looked_up,
            known=known,
            overtakes=in_order and self.answers is not None and self.answers.overtakes(work, self._clock.monotonic_s()),
        )

    def due_s(self, work: Work) -> float:
        """When work on a frame that has come must begin for it to make its deadline; infinity where it need not.

        One that only passes through takes no time to speak of: it is due at once.
        """
        if work.plan.passes(self._tier, work.cut):
            return -math.inf
        takes_part = self._tier == "device" or any(to == self._tier for _, to in work.plan.hops)
        age_s = self._age_s(work) if takes_part and work.deadline_s is not None else None
        if age_s is None:
            return math.inf
        return work.plan.due_s(self._tier, work.deadline_s, self._clock.monotonic_s() - age_s)

    def due_still_s(self, job: Job) -> float:
        """The same as it is seen now: a frame that cannot make its deadline any more has no hurry."""
        return job.work.plan.due_still_s(self._tier, job.due_s, self._clock.monotonic_s())

    def _age_s(self, work: Work) -> float | None:
        now_s = self._clock.monotonic_s()
        if work.captured.clock_id == self._clock.id:
            return now_s - work.captured.seconds
        offset = self._offsets.offset(work.captured.clock_id, now_s)
        return None if offset is None else now_s - (work.captured.seconds + offset.seconds)

    def _look_up(self, job: Job, bundle: Bundle, variant: Variant) -> None:
        """Look for an answer to a frame like this one; the time that it takes counts as ``decode``."""
        arrays = self._decoded(job, bundle, variant)
        started_s = self._clock.monotonic_s()
        job.looked_up = True
        job.known = None if self.answers is None else self.answers.find(job.work, arrays, started_s)
        self._counters["cache_misses" if job.known is None else "cache_hits"] += 1
        self._note(job, "decode", self._clock.monotonic_s() - started_s)

    def _run(self, job: Job, run: Run, bundle: Bundle, variant: Variant) -> None:
        if run.fallback is not None:
            self._counters["fallbacks"] += 1
            job.fallback = run.fallback
        job.arrays = self._timed(job, bundle, SegmentName(bundle.model, run.start, run.stop, variant.name), variant)
        job.cut = run.stop

    def _try(self, job: Job, name: str, bundle: Bundle, variant: Variant) -> None:
        """Run an exit's head; if it is sure enough, the frame leaves there."""
        spec = next(each for each in bundle.exits if each.name == name)
        head = SegmentName(bundle.model, spec.cut, spec.cut + 1, name)
        outputs = self._timed(job, bundle, head, variant)
        job.tried = spec.cut
        sure = confidence(outputs[spec.output.name], spec.temperature)
        threshold = job.work.plan.threshold
        if threshold is not None and sure >= threshold:
            job.left = Left(spec, outputs)
            self._counters[f"left.{name}"] += 1

    def _timed(self, job: Job, bundle: Bundle, name: SegmentName, variant: Variant) -> Arrays:
        """What a segment makes of a frame; the time it takes becomes part of the frame's ``compute``."""
        arrays = self._decoded(job, bundle, variant)
        made, seconds = self._segments.run(name, arrays)
        job.compute_s += seconds
        return made

    def _note_compute(self, job: Job) -> None:
        if job.compute_s > 0:
            self._note(job, "compute", job.compute_s, emulated=self._segments.slowdown > 1)
            job.compute_s = 0.0

    def _decoded(self, job: Job, bundle: Bundle, variant: Variant) -> Arrays:
        """The frame's tensors, decoded once; before that they must be exactly those that are alive at its cut."""
        if job.arrays is None:
            started_s = self._clock.monotonic_s()
            expected = {spec.name: (spec.dtype, spec.shape) for spec in variant.cuts[job.cut].tensors}
            came = {tensor.name: (tensor.dtype, tensor.shape) for tensor in job.work.tensors}
            if came != expected:
                raise refuse("bad_tensors", expected=f"the tensors of cut {job.cut}: {expected}", came=came)
            job.arrays = {tensor.name: decode_tensor(tensor, bundle.learned) for tensor in job.work.tensors}
            self._note(job, "decode", self._clock.monotonic_s() - started_s)
        return job.arrays

    def _encode(self, job: Job, codec: str, bundle: Bundle, variant: Variant) -> tuple[EncodedTensor, ...]:
        untouched = job.work.tensors and job.cut == job.work.cut
        if untouched and set(job.work.plan.codecs) == {codec}:
            return job.work.tensors  # relayed as they came
        arrays = self._decoded(job, bundle, variant)
        self._note_compute(job)
        started_s = self._clock.monotonic_s()
        tensors = tuple(encode_tensor(name, array, codec, bundle.learned) for name, array in arrays.items())
        self._note(job, "encode", self._clock.monotonic_s() - started_s)
        return tensors

    def _result(self, job: Job, way: Way) -> bytes:
        bundle, variant = way.known
        read = job.known or self._read(job, bundle, variant, way.kind)
        return write_result(
            job.work,
            read,
            bundle.name,
            stages=job.stages,
            finished_by=self._node,
            latency_s=self._age_s(job.work),
            fallback=job.fallback,
            cached=job.known is not None,
        )

    def _read(self, job: Job, bundle: Bundle, variant: Variant, kind: ResultKind[Any] | None) -> Reading:
        if job.left is None:
            outputs = self._decoded(job, bundle, variant)
        else:
            outputs, variant, kind = job.left.outputs, bundle.variant(job.left.exit.name), None
        self._note_compute(job)
        read = read_outputs(job.work.seq, outputs, bundle, variant, kind)
        if self.answers is not None:
            self.answers.keep(job.work, read, self._clock.monotonic_s())
        return read

    def _note(self, job: Job, kind: StageKind, seconds: float, *, emulated: bool = False) -> None:
        job.stages.append(Stage(self._node, kind, max(seconds, 0.0), emulated))
