"""Carries out what `frame.decide` says: frames wait in lanes, threads process them, what comes out is published.

One `Worker` per node, on its event loop. A frame goes to a thread once (`processing`), so that the loop stays free and
the frame pays for one change of thread each way; what comes back is handed to the node's `Outlets`. While a frame is
being sent the next one of its stream is processed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.limits import MAX_STAGES
from tiercut.pipeline.decide import Drop, Finish, Forward, Wait
from tiercut.pipeline.jobs import Job, Processed
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.queues import Lanes
from tiercut.plan import Tier
from tiercut.protocol.drop_reasons import LATE_REASONS
from tiercut.protocol.frames import Dropped, DroppedWay, Work

log = logging.getLogger(__name__)

#: Frames of one stream that may be on their way out of a node at once. Two keep the link busy; more only wait.
SENDING_PER_STREAM = 2


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
        node: Its id.
        processor: What its threads do.
        outlets: Where frames go.
        counters: Where it counts: ``frames_arrived``, ``frames_forwarded``, ``frames_finished``,
            ``frames_withdrawn``, ``frames_duplicate`` (came again while they waited), ``dropped.<reason>``.
        threads: Frames of different streams that are processed at once.
        may_fall_back: Whether frames on their way to a node that is gone are taken back.
    """

    def __init__(
        self,
        *,
        node: str,
        processor: Processor,
        outlets: Outlets,
        counters: Counter[str],
        threads: int = 1,
        may_fall_back: bool = True,
    ) -> None:
        self._node = node
        self._processor = processor
        self._outlets = outlets
        self._counters = counters
        self._may_fall_back = may_fall_back
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="segment")
        self._lanes: Lanes[Job] = Lanes(_name)
        #: frames on threads
        self._running = 0
        #: lane → frames on their way out, in order
        self._sending: dict[str, dict[asyncio.Task[None], Processed]] = {}
        #: lanes whose next frame must wait until one of theirs is sent
        self._full: set[str] = set()
        #: lane → its frame whose answer is known, but not those of the frames ahead of it; the lane waits with it
        self._held: dict[str, Processed] = {}
        #: counts the calls of `withdraw_unreachable` that took something back
        self._withdrawn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        #: seconds of thread time used for frames, ever
        self.busy_s = 0.0

    @property
    def waiting(self) -> int:
        """Frames that wait for a thread, or for those ahead of them."""
        return len(self._lanes) + len(self._held)

    @property
    def running(self) -> int:
        """Frames on threads."""
        return self._running

    def submit(self, job: Job) -> None:
        """A frame has come (event loop only)."""
        self._counters["frames_arrived"] += 1
        for late in self._lanes.put(_lane(job), job, job.work.delivery):
            if _name(late) == _name(job):
                self._replaced(late)
            else:
                reason = Drop("newer_frame", f"frame {job.work.seq} came while it waited")
                self._spawn(self._send(Processed(late, reason, late.work)))
        self._start_ready()

    async def drain(self, timeout_s: float) -> int:
        """Finish what is in hand; returns how many frames were given up (they stay unacknowledged)."""
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        given_up = self._running + len(self._tasks) + len(self._held) + len(self._lanes.drain())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        return given_up

    # ------------------------------------------------------------------ to the threads and back

    def _start_ready(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < self._threads and (ready := self._lanes.take()):
            self._running += 1
            self._pool.submit(self._on_thread, loop, *ready, self._withdrawn)
        self._note_idle()

    def _on_thread(self, loop: asyncio.AbstractEventLoop, lane: str, job: Job, withdrawn: int) -> None:
        done = self._processor.process(job)
        with contextlib.suppress(RuntimeError):  # the loop has closed: the node did not wait for this frame
            loop.call_soon_threadsafe(self._processed, lane, done, withdrawn)

    def _processed(self, lane: str, done: Processed, withdrawn_before: int) -> None:
        """Start sending a frame, and give its lane free when there is room for one more to send."""
        self._running -= 1
        self.busy_s += done.seconds
        if self._withdrawn != withdrawn_before:  # decided before the next node was lost: think again, in order
            self._put_back(lane, [done.job])
            self._lanes.done(lane)
        elif isinstance(done.action, Wait):
            self._held[lane] = done
            self.resume()  # the frames ahead of it may have had their outcomes in between
        else:
            task = self._spawn(self._send(done))
            sending = self._sending.setdefault(lane, {})
            sending[task] = done
            task.add_done_callback(functools.partial(self._sent, lane))
            if len(sending) < SENDING_PER_STREAM:
                self._lanes.done(lane)
            else:
                self._full.add(lane)
        self._start_ready()

    def _put_back(self, lane: str, jobs: list[Job]) -> None:
        for job in self._lanes.put_back(lane, jobs):
            self._replaced(job)

    def _replaced(self, job: Job) -> None:
        """The same frame has come again, and that one will have the outcome."""
        self._counters["frames_duplicate"] += 1
        job.ack()

    def _sent(self, lane: str, task: asyncio.Task[None]) -> None:
        sending = self._sending[lane]
        del sending[task]
        if not sending:
            del self._sending[lane]
        if lane in self._full:
            self._full.discard(lane)
            self._lanes.done(lane)
        self._start_ready()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._note_idle()

    def _note_idle(self) -> None:
        if self._running or self._tasks or self.waiting:
            self._idle.clear()
        else:
            self._idle.set()

    # ------------------------------------------------------------------ out

    def resume(self) -> None:
        """Frames that have waited for those ahead of them go on where there are none any more (event loop only)."""
        free = [lane for lane, held in self._held.items() if not self._processor.must_wait(held.job)]
        for lane in free:
            self._put_back(lane, [self._held.pop(lane).job])
            self._lanes.done(lane)
        if free:
            self._start_ready()

    def withdraw_unreachable(self) -> None:
        """Take back frames that are being sent to a node that is gone, and decide about them again (event loop only).

        Without it they would wait for the node, and their streams behind them.
        """
        for lane, sending in self._sending.items():
            lost = {task: done.job for task, done in sending.items() if self._is_lost(done)}
            if not lost:
                continue
            self._withdrawn += 1
            self._counters["frames_withdrawn"] += len(lost)
            for task in lost:
                task.cancel()
            self._put_back(lane, list(lost.values()))
        self._start_ready()

    def _is_lost(self, done: Processed) -> bool:
        to = done.action
        return self._may_fall_back and isinstance(to, Forward) and not self._outlets.reachable(to.tier, to.node)

    async def _send(self, done: Processed) -> None:
        extra = {"stream": done.job.work.stream, "seq": done.job.work.seq}
        try:
            await self._carry_out(done)
        except (PublishRefused, PacketTooLarge) as error:
            log.error("publish refused", extra=extra | {"reason": str(error)})  # noqa: TRY400 - the sentence says it all
            await self._give_up(done, Drop("refused", str(error)))
        except BusError as error:  # closed: the frame stays unacknowledged, so the broker keeps it
            log.info("frame not sent", extra=extra | {"reason": str(error)})
        except Exception as error:  # a fault of ours in one frame must not end the node for all the others
            log.exception("frame not sent", extra=extra)
            await self._give_up(done, Drop("fault", f"{type(error).__name__}: {error}"))

    async def _carry_out(self, done: Processed) -> None:
        match done.action:
            case Forward():
                await self._outlets.forward(done.work, done.action)
                self._counters["frames_forwarded"] += 1
                done.job.ack()
            case Finish():
                await self._outlets.finish(done.work, done.result)
                self._counters["frames_finished"] += 1
                done.job.ack()
            case Drop():
                await self._drop(done.job, done.action)

    async def _give_up(self, done: Processed, drop: Drop) -> None:
        """It cannot be sent on or finished: say so, and acknowledge it, or it would come again and block all others."""
        extra = {"stream": done.job.work.stream, "seq": done.job.work.seq}
        try:
            if isinstance(done.action, Drop):  # which was just tried
                self._counters[f"dropped.{drop.reason}"] += 1
            else:
                await self._drop(done.job, drop)
        except BusError as error:  # nor may it be said on the bus: the counter and the log have it
            log.warning("drop not published", extra=extra | {"reason": str(error)})
        except Exception:
            log.exception("drop not published", extra=extra)
        finally:
            done.job.ack()

    async def _drop(self, job: Job, drop: Drop) -> None:
        work = job.work
        self._counters[f"dropped.{drop.reason}"] += 1
        log.debug("frame dropped", extra={"stream": work.stream, "seq": work.seq, "reason": drop.reason})
        way = None
        if drop.reason in LATE_REASONS and job.age_s is not None:
            way = DroppedWay.of(
                model=work.model, plan=work.plan, cut=job.cut, stages=tuple(job.stages[:MAX_STAGES]), age_s=job.age_s
            )
        dropped = Dropped(
            stream=work.stream, seq=work.seq, where=self._node, reason=drop.reason, message=drop.message, way=way
        )
        await self._outlets.drop(work, dropped)
        job.ack()


def _lane(job: Job) -> str:
    """Streams of different sites may have one name."""
    return f"{job.work.site}/{job.work.stream}"


def _name(job: Job) -> tuple[int, float]:
    """What names a frame in its lane: a device that starts again counts from 0, so its number alone does not."""
    return job.work.seq, job.work.captured_unix_s
