"""Carries out what `frame.decide` says: frames wait in lanes, threads compute, results and next hops are published.

One `Worker` per node. Events come in on the event loop (`submit`); decoding, computing and encoding of a frame happen
in one go on a thread, so that the loop stays free and a frame pays for one change of thread; what comes out is handed
to the node's `Outlets`. While a frame is being sent the next one of its stream computes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from tiercut import results
from tiercut.clock import Clock
from tiercut.clocksync import ClockOffsets
from tiercut.codecs import decode_tensor, encode_tensor
from tiercut.errors import BadMessage, TiercutError
from tiercut.frame import Drop, Finish, Forward, FrameState, Here, Run, decide
from tiercut.lanes import Lanes
from tiercut.messages import Dropped, Stage, StageKind, Work, refuse
from tiercut.plan import Tier
from tiercut.store import ModelStore

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

#: Frames of one stream that may be on their way out of a node at once. Two keep the link busy; more only wait.
SENDING_PER_STREAM = 2


@dataclass(slots=True)
class Job:
    """A frame at this node.

    Attributes:
        work: Its header; ``work.tensors`` as they came, unless ``arrays`` says otherwise.
        arrived_s: When it came, on this node's clock.
        ack: Called when another node has it, or when its outcome is published.
        arrays: The tensors alive at ``work.cut``, decoded; ``None`` until they are.
        fallback: Why this node runs more than its part.
    """

    work: Work
    arrived_s: float
    ack: Callable[[], None]
    arrays: Arrays | None = None
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """A frame that a thread has done its part for: what comes next, the result's JSON if any, the thread's seconds."""

    job: Job
    action: Forward | Finish | Drop
    result: bytes
    seconds: float


class Outlets(Protocol):
    """Where a worker's frames go."""

    def reachable(self, tier: Tier, node: str) -> bool:
        """Whether a node can be sent to now. Called from threads: must not block."""
        ...

    async def forward(self, work: Work, to: Forward) -> None:
        """Send a frame to the next node; returns when the broker has it."""
        ...

    async def finish(self, work: Work, result: bytes) -> None:
        """Publish a result; returns when the broker has it."""
        ...

    async def drop(self, work: Work, dropped: Dropped) -> None:
        """Publish that there will be no result; returns when the broker has it."""
        ...


class Worker:
    """The frames of one node.

    Args:
        tier: The node's tier.
        node: Its id.
        clock: Its clock.
        models: Its models.
        offsets: What it knows of other clocks.
        outlets: Where frames go.
        counters: Where it counts: ``frames_arrived``, ``frames_forwarded``, ``frames_finished``, ``fallbacks``,
            ``dropped.<reason>``.
        threads: Frames of different streams that compute at once.
        may_fall_back: Whether it runs the rest of a model when the next node is gone.
    """

    def __init__(
        self,
        *,
        tier: Tier,
        node: str,
        clock: Clock,
        models: ModelStore,
        offsets: ClockOffsets,
        outlets: Outlets,
        counters: Counter[str],
        threads: int = 1,
        may_fall_back: bool = True,
    ) -> None:
        self._tier: Tier = tier
        self._node = node
        self._clock = clock
        self._models = models
        self._offsets = offsets
        self._outlets = outlets
        self._counters = counters
        self._may_fall_back = may_fall_back
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="segment")
        self._lanes: Lanes[Job] = Lanes()
        self._running = 0
        #: stream → frames on their way out
        self._sending: dict[str, set[asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: seconds of thread time used for frames, ever
        self.busy_s = 0.0

    @property
    def waiting(self) -> int:
        """Frames that wait for a thread."""
        return len(self._lanes)

    def submit(self, job: Job) -> None:
        """A frame has come (event loop only)."""
        self._counters["frames_arrived"] += 1
        for late in self._lanes.put(_lane(job.work), job, job.work.delivery):
            self._spawn(self._drop(late, Drop("newer_frame", f"frame {job.work.seq} came while it waited")))
        self._start_ready()

    async def drain(self, timeout_s: float) -> int:
        """Finish what is in hand; returns how many frames were given up (they stay unacknowledged)."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        given_up = len(self._tasks) + len(self._lanes.drain())
        for task in self._tasks:
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return given_up

    def _start_ready(self) -> None:
        while self._running < self._threads and (ready := self._lanes.take()):
            lane, job = ready
            self._running += 1
            self._spawn(self._work_on(lane, job))

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _work_on(self, lane: str, job: Job) -> None:
        """Compute a frame, start sending it, and give its lane free when there is room for one more to send."""
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._pool, self._process, job)
        finally:
            self._running -= 1
        self.busy_s += done.seconds
        sending = self._sending.setdefault(lane, set())
        task = self._spawn(self._send(done))
        sending.add(task)
        task.add_done_callback(sending.discard)
        self._start_ready()
        while len(sending) >= SENDING_PER_STREAM:
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        if not sending:
            self._sending.pop(lane, None)
        self._lanes.done(lane)
        self._start_ready()

    async def _send(self, done: Processed) -> None:
        match done.action:
            case Forward():
                await self._outlets.forward(done.job.work, done.action)
                self._counters["frames_forwarded"] += 1
                done.job.ack()
            case Finish():
                await self._outlets.finish(done.job.work, done.result)
                self._counters["frames_finished"] += 1
                done.job.ack()
            case Drop():
                await self._drop(done.job, done.action)

    async def _drop(self, job: Job, drop: Drop) -> None:
        work = job.work
        self._counters[f"dropped.{drop.reason}"] += 1
        log.debug("frame dropped", extra={"stream": work.stream, "seq": work.seq, "reason": drop.reason})
        await self._outlets.drop(
            work,
            Dropped(stream=work.stream, seq=work.seq, where=self._node, reason=drop.reason, message=drop.message),
        )
        job.ack()

    # ------------------------------------------------------------------ on a thread

    def _process(self, job: Job) -> Processed:
        """All that a thread does for a frame; returns what is left to do with it on the loop."""
        started_s = self._clock.monotonic_s()
        job = _with_stage(job, self._node, "queue", started_s - job.arrived_s)
        try:
            job, action, result = self._step(job)
        except BadMessage as error:
            action, result = Drop("bad_tensors", str(error)), b""
        except TiercutError as error:
            action, result = Drop("segment_failed", str(error)), b""
        except Exception as error:  # a fault of ours in one frame must not end the node for all the others
            log.exception("frame failed", extra={"stream": job.work.stream, "seq": job.work.seq})
            action, result = Drop("segment_failed", f"{type(error).__name__}: {error}"), b""
        return Processed(job, action, result, self._clock.monotonic_s() - started_s)

    def _step(self, job: Job) -> tuple[Job, Forward | Finish | Drop, bytes]:
        """Run segments until the frame leaves, and make ready what leaves."""
        while isinstance(action := decide(self._state(job), self._here(job.work.model)), Run):
            job = self._run(job, action)
        if isinstance(action, Forward):
            return self._encode(job, action.codec), action, b""
        return job, action, self._result(job) if isinstance(action, Finish) else b""

    def _here(self, model: str) -> Here:
        bundle = self._models.find(model)
        return Here(
            tier=self._tier,
            node=self._node,
            end=None if bundle is None else bundle.end,
            reachable=self._outlets.reachable,
            may_fall_back=self._may_fall_back,
        )

    def _state(self, job: Job) -> FrameState:
        work = job.work
        return FrameState(
            plan=work.plan,
            cut=work.cut,
            delivery=work.delivery,
            age_s=self._age_s(work),
            deadline_s=work.deadline_s,
        )

    def _age_s(self, work: Work) -> float | None:
        now_s = self._clock.monotonic_s()
        offset = self._offsets.offset(work.captured.clock_id, now_s)
        return None if offset is None else now_s - (work.captured.seconds + offset.seconds)

    def _run(self, job: Job, run: Run) -> Job:
        if run.fallback is not None:
            self._counters["fallbacks"] += 1
            job = replace(job, fallback=run.fallback)
        job = self._decode(job)
        segment = self._models.segment(job.work.model, run.start, run.stop)
        started_s = self._clock.monotonic_s()
        arrays = segment(job.arrays or {})
        seconds = self._clock.monotonic_s() - started_s
        job = replace(job, arrays=arrays, work=replace(job.work, cut=run.stop, tensors=()))
        return _with_stage(job, self._node, "compute", seconds)

    def _decode(self, job: Job) -> Job:
        if job.arrays is not None:
            return job
        started_s = self._clock.monotonic_s()
        self._check_tensors(job.work)
        arrays = {tensor.name: decode_tensor(tensor) for tensor in job.work.tensors}
        job = replace(job, arrays=arrays)
        return _with_stage(job, self._node, "decode", self._clock.monotonic_s() - started_s)

    def _check_tensors(self, work: Work) -> None:
        """Before anything is decoded: exactly the tensors that are alive at the frame's cut, in their shapes."""
        bundle = self._models.find(work.model)
        if bundle is None:
            raise AssertionError("tensors are decoded for a model that the node does not have")
        expected = {spec.name: (spec.dtype, tuple(spec.shape)) for spec in bundle.cuts[work.cut].tensors}
        came = {tensor.name: (tensor.dtype, tensor.shape) for tensor in work.tensors}
        if came != expected:
            raise refuse("bad_tensors", expected=f"the tensors of cut {work.cut}: {expected}", came=came)

    def _encode(self, job: Job, codec: str) -> Job:
        plan = job.work.plan
        if job.arrays is None and plan.codecs and all(name == codec for name in plan.codecs):
            return job  # relayed as it came
        job = self._decode(job)
        started_s = self._clock.monotonic_s()
        tensors = tuple(encode_tensor(name, array, codec) for name, array in (job.arrays or {}).items())
        job = replace(job, work=replace(job.work, tensors=tensors))
        return _with_stage(job, self._node, "encode", self._clock.monotonic_s() - started_s)

    def _result(self, job: Job) -> bytes:
        bundle = self._models.find(job.work.model)
        if bundle is None:
            raise AssertionError("a frame was finished with a model that the node does not have")
        job = self._decode(job)
        return results.build(
            job.work,
            job.arrays or {},
            bundle,
            finished_by=self._node,
            latency_s=self._age_s(job.work),
            fallback=job.fallback,
        )


def _lane(work: Work) -> str:
    """Streams of different sites may have one name."""
    return f"{work.site}/{work.stream}"


def _with_stage(job: Job, where: str, kind: StageKind, seconds: float) -> Job:
    stage = Stage(where, kind, max(seconds, 0.0))
    return replace(job, work=replace(job.work, stages=(*job.work.stages, stage)))
