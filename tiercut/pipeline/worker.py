"""Takes frames through a node: they wait in queues, threads process them, and what comes out is dispatched.

One `Worker` per node, on its event loop. A frame goes to a thread once (`processor`), so that the loop stays free and
the frame pays for one change of thread each way; what comes back goes to the `Dispatcher`. While a frame is being sent
the next one of its stream is processed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tiercut.pipeline.decide import Drop, Forward, Wait
from tiercut.pipeline.dispatch import Dispatcher, Outlet
from tiercut.pipeline.jobs import Job, Processed
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.queues import StreamQueues

#: Frames of one stream that may be on their way out of a node at once. Two keep the link busy; more only wait.
MAX_SENDING_PER_STREAM = 2


class Worker:
    """The frames of one node.

    Args:
        node: Its id.
        processor: What its threads do.
        outlet: Where frames go.
        counters: Counts ``frames_arrived``, ``frames_withdrawn``, ``frames_duplicate`` (came again while they waited),
            and what the dispatcher does.
        threads: Frames of different streams that are processed at once.
        may_fall_back: Whether frames on their way to a node that is gone are taken back.
    """

    def __init__(
        self,
        *,
        node: str,
        processor: Processor,
        outlet: Outlet,
        counters: Counter[str],
        threads: int = 1,
        may_fall_back: bool = True,
    ) -> None:
        self._processor = processor
        self._outlet = outlet
        self._counters = counters
        self._dispatcher = Dispatcher(node=node, outlet=outlet, counters=counters)
        self._may_fall_back = may_fall_back
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="segment")
        self._queues: StreamQueues[Job] = StreamQueues(_name)
        #: frames on threads
        self._running = 0
        #: stream → frames on their way out, in order
        self._sending: dict[str, dict[asyncio.Task[None], Processed]] = {}
        #: streams whose next frame must wait until one of theirs is sent
        self._full: set[str] = set()
        #: stream → its frame whose answer is known, but not those of the frames ahead of it; the stream waits with it
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
        return len(self._queues) + len(self._held)

    @property
    def running(self) -> int:
        """Frames on threads."""
        return self._running

    def submit(self, job: Job) -> None:
        """A frame has come (event loop only)."""
        self._counters["frames_arrived"] += 1
        for late in self._queues.put(_stream(job), job, job.work.delivery):
            if _name(late) == _name(job):
                self._replaced(late)
            else:
                reason = Drop("newer_frame", f"frame {job.work.seq} came while it waited")
                self._spawn(self._dispatcher.dispatch(Processed(late, reason, late.work)))
        self._start_ready()

    async def drain(self, timeout_s: float) -> int:
        """Finish what is in hand; returns how many frames were given up (they stay unacknowledged)."""
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        given_up = self._running + len(self._tasks) + len(self._held) + len(self._queues.drain())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        return given_up

    # ------------------------------------------------------------------ to the threads and back

    def _start_ready(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < self._threads and (ready := self._queues.take()):
            self._running += 1
            self._pool.submit(self._on_thread, loop, *ready, self._withdrawn)
        self._note_idle()

    def _on_thread(self, loop: asyncio.AbstractEventLoop, stream: str, job: Job, withdrawn: int) -> None:
        done = self._processor.process(job)
        with contextlib.suppress(RuntimeError):  # the loop has closed: the node did not wait for this frame
            loop.call_soon_threadsafe(self._processed, stream, done, withdrawn)

    def _processed(self, stream: str, done: Processed, withdrawn_before: int) -> None:
        """Start sending a frame, and free its stream when there is room for one more to send."""
        self._running -= 1
        self.busy_s += done.seconds
        if self._withdrawn != withdrawn_before:  # decided before the next node was lost: think again, in order
            self._put_back(stream, [done.job])
            self._queues.done(stream)
        elif isinstance(done.action, Wait):
            self._held[stream] = done
            self.resume()  # the frames ahead of it may have had their outcomes in between
        else:
            task = self._spawn(self._dispatcher.dispatch(done))
            sending = self._sending.setdefault(stream, {})
            sending[task] = done
            task.add_done_callback(functools.partial(self._sent, stream))
            if len(sending) < MAX_SENDING_PER_STREAM:
                self._queues.done(stream)
            else:
                self._full.add(stream)
        self._start_ready()

    def _put_back(self, stream: str, jobs: list[Job]) -> None:
        for job in self._queues.put_back(stream, jobs):
            self._replaced(job)

    def _replaced(self, job: Job) -> None:
        """The same frame has come again, and that one will have the outcome."""
        self._counters["frames_duplicate"] += 1
        job.ack()

    def _sent(self, stream: str, task: asyncio.Task[None]) -> None:
        sending = self._sending[stream]
        del sending[task]
        if not sending:
            del self._sending[stream]
        if stream in self._full:
            self._full.discard(stream)
            self._queues.done(stream)
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
        free = [stream for stream, held in self._held.items() if not self._processor.must_wait(held.job)]
        for stream in free:
            self._put_back(stream, [self._held.pop(stream).job])
            self._queues.done(stream)
        if free:
            self._start_ready()

    def withdraw_unreachable(self) -> None:
        """Take back frames that are being sent to a node that is gone, and decide about them again (event loop only).

        Without it they would wait for the node, and their streams behind them.
        """
        for stream, sending in self._sending.items():
            lost = {task: done.job for task, done in sending.items() if self._is_lost(done)}
            if not lost:
                continue
            self._withdrawn += 1
            self._counters["frames_withdrawn"] += len(lost)
            for task in lost:
                task.cancel()
            self._put_back(stream, list(lost.values()))
        self._start_ready()

    def _is_lost(self, done: Processed) -> bool:
        to = done.action
        return self._may_fall_back and isinstance(to, Forward) and not self._outlet.reachable(to.tier, to.node)


def _stream(job: Job) -> str:
    """Streams of different sites may have one name."""
    return f"{job.work.site}/{job.work.stream}"


def _name(job: Job) -> tuple[int, float]:
    """What names a frame in its stream: a device that starts again counts from 0, so its number alone does not."""
    return job.work.seq, job.work.captured_unix_s
