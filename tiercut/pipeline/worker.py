"""Takes frames through a node: they wait in queues, are worked on, and what comes out is dispatched.

One `Worker` per node, on its event loop. A short segment runs right there, between two turns of the loop: to hand a
frame to a thread and back costs more processor time than it saves. A longer one runs on a thread (`short_work` has the
border), and the loop stays free; a frame goes there once, for all that is done with it here. What comes out goes to the
`Dispatcher`. While a frame is being sent the next one of its stream is worked on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tiercut.pipeline.decide import Drop, Finish, Forward, Wait
from tiercut.pipeline.dispatch import Dispatch, Dispatcher, Outlet
from tiercut.pipeline.jobs import Job, Processed
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.queues import Queue, StreamQueues
from tiercut.pipeline.short_work import ShortWork

#: Frames of one queue that may be on their way out of a node at once. Two keep the link busy; more only wait.
MAX_SENDING_PER_QUEUE = 2


class Worker:
    """The frames of one node.

    Args:
        node: Its id.
        processor: What is done with them.
        outlet: Where frames go.
        counters: Counts ``frames_arrived``, ``frames_withdrawn``, ``frames_duplicate`` (came again while they waited),
            and what the dispatcher does.
        threads: Frames of different streams that are worked on at once.
        may_fall_back: Whether frames on their way to a node that is gone are taken back.
        soon: Has something done on the loop once the messages that have come are handed over (`tiercut.bus.Bus.soon`).
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
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._processor = processor
        self._outlet = outlet
        self._counters = counters
        self._dispatcher = Dispatcher(node=node, outlet=outlet, counters=counters)
        self._may_fall_back = may_fall_back
        self._soon = soon or _in_next_turn
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="segment")
        self._short = ShortWork(outlet.reachable)
        self._queues: StreamQueues[Job] = StreamQueues(_name, processor.due_still_s)
        #: frames that are worked on, or whose turn on the loop is next
        self._running = 0
        #: frames that only pass, and do not count among those
        self._beside = 0
        #: queue → frames on their way out, in order
        self._sending: dict[Queue, list[Dispatch]] = {}
        #: replaced frames whose drops are on their way out
        self._replaced: set[Dispatch] = set()
        #: queues whose next frame must wait until one of theirs is sent
        self._full: set[Queue] = set()
        #: queue → its frame whose answer is known, but not those of the frames ahead of it; the queue waits with it
        self._held: dict[Queue, Processed] = {}
        #: counts the calls of `withdraw_unreachable` that took something back
        self._withdrawn = 0
        #: set by each frame that comes: what looks after frames waits for it, and clears it when none is in hand
        self.came = asyncio.Event()
        #: set when nothing is in hand, once somebody waits for that
        self._idle: asyncio.Event | None = None
        self._ended = False
        #: seconds used for frames, ever
        self.busy_s = 0.0

    @property
    def waiting(self) -> int:
        """Frames that wait for their turn, or for those ahead of them."""
        return len(self._queues) + len(self._held)

    @property
    def running(self) -> int:
        """Frames that are worked on, or are next."""
        return self._running + self._beside

    @property
    def in_hand(self) -> bool:
        """Whether there are any frames, or drops of frames, that are not on their way yet."""
        return bool(self.running or self._sending or self._replaced or self.waiting)

    def submit(self, job: Job) -> None:
        """A frame has come (event loop only)."""
        self._counters["frames_arrived"] += 1
        self.came.set()
        work = job.work
        # streams of different sites may have one name; of plans that run at once each has a queue of its own
        queue = Queue(f"{work.site}/{work.stream}", work.lane or 0)
        if self._running < self._threads and self._queues.claim(queue):
            self._begin(queue, job)
            return
        job.due_s = self._processor.due_s(work)
        if self._passes(queue, job) and self._queues.claim(queue, beside=True):
            self._begin(queue, job, beside=True)
            return
        # A frame that others have worked on, and that may make its deadline yet, does not give way to a newer one.
        mode = "every" if work.cut > 0 and math.isfinite(self._processor.due_still_s(job)) else work.delivery
        for late in self._queues.put(queue, job, mode):
            if _name(late) == _name(job):
                self._duplicate(late)
            else:
                self._drop_replaced(late, job)
        self._start_ready()

    async def drain(self, timeout_s: float) -> int:
        """Finish what is in hand; returns how many frames were given up (they stay unacknowledged)."""
        self._idle = asyncio.Event()
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        self._ended = True
        leaving = [*self._replaced, *(each for sending in self._sending.values() for each in sending)]
        given_up = self.running + len(leaving) + len(self._held) + len(self._queues.drain())
        for each in leaving:
            each.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return given_up

    # ------------------------------------------------------------------ work, here or on a thread

    def _start_ready(self) -> None:
        while ready := self._queues.take(None if self._running < self._threads else self._passes):
            self._begin(*ready, beside=self._passes(*ready))
        if self._idle is not None:
            self._note_idle()

    def _passes(self, queue: Queue, job: Job) -> bool:
        """Whether a frame only passes through: the loop sees to it, beside the segment that runs on the thread."""
        return (
            job.due_s == -math.inf and self._threads == 1 and self._short.is_short(queue, job.work.plan, job.work.cut)
        )

    def _begin(self, queue: Queue, job: Job, *, beside: bool = False) -> None:
        """Work on a frame whose turn it is."""
        if beside:
            self._beside += 1
            self._soon(partial(self._here, queue, job, self._withdrawn, beside=True))
            return
        self._running += 1
        alone = self._threads == 1 or (self._running == 1 and not len(self._queues))
        if alone and self._short.is_short(queue, job.work.plan, job.work.cut):
            self._soon(partial(self._here, queue, job, self._withdrawn))
        else:
            self._pool.submit(self._on_thread, asyncio.get_running_loop(), queue, job, self._withdrawn)

    def _here(self, queue: Queue, job: Job, withdrawn: int, *, beside: bool = False) -> None:
        if not self._ended:
            self._processed(queue, self._processor.process(job), withdrawn, beside=beside)

    def _on_thread(self, loop: asyncio.AbstractEventLoop, queue: Queue, job: Job, withdrawn: int) -> None:
        done = self._processor.process(job)
        with contextlib.suppress(RuntimeError):  # the loop has closed: the node did not wait for this frame
            loop.call_soon_threadsafe(self._processed, queue, done, withdrawn)

    def _processed(self, queue: Queue, done: Processed, withdrawn_before: int, *, beside: bool = False) -> None:
        """Start sending a frame, and free its stream when there is room for one more to send."""
        if self._ended:
            return
        job = done.job
        if beside:
            self._beside -= 1
        else:
            self._running -= 1
        self.busy_s += job.seconds
        if isinstance(done.action, Forward | Finish) and job.left is None and job.known is None:
            to = done.action if isinstance(done.action, Forward) else None
            self._short.took(queue, job.work.plan, job.work.cut, job.seconds, to)
        if self._withdrawn != withdrawn_before:  # decided before the next node was lost: think again, in order
            self._put_back(queue, [job])
            self._queues.done(queue)
        elif isinstance(done.action, Wait):
            self._held[queue] = done
            self.resume()  # the frames ahead of it may have had their outcomes in between
        else:
            self._send(queue, done)
        self._start_ready()

    # ------------------------------------------------------------------ out

    def _send(self, queue: Queue, done: Processed) -> None:
        dispatch = Dispatch(done, partial(self._sent, queue))
        sending = self._sending.setdefault(queue, [])
        sending.append(dispatch)
        self._full.add(queue)
        self._dispatcher.start(dispatch)
        if queue in self._full and len(sending) < MAX_SENDING_PER_QUEUE:
            self._full.discard(queue)
            self._queues.done(queue)

    def _sent(self, queue: Queue, dispatch: Dispatch) -> None:
        sending = self._sending[queue]
        sending.remove(dispatch)
        if not sending:
            del self._sending[queue]
        if queue in self._full:
            self._full.discard(queue)
            self._queues.done(queue)
        self._start_ready()

    def _drop_replaced(self, late: Job, by: Job) -> None:
        def over(dispatch: Dispatch) -> None:
            self._replaced.discard(dispatch)
            self._note_idle()

        reason = Drop("newer_frame", f"frame {by.work.seq} came while it waited")
        dispatch = Dispatch(Processed(late, reason), over)
        self._replaced.add(dispatch)
        self._dispatcher.start(dispatch)

    def _put_back(self, queue: Queue, jobs: list[Job]) -> None:
        for job in self._queues.put_back(queue, jobs):
            self._duplicate(job)

    def _duplicate(self, job: Job) -> None:
        """The same frame has come again, and that one will have the outcome."""
        self._counters["frames_duplicate"] += 1
        job.ack()

    def _note_idle(self) -> None:
        if self._idle is not None and not self.in_hand:
            self._idle.set()

    # ------------------------------------------------------------------ when others are gone, or have answered

    def resume(self) -> None:
        """Frames that have waited for those ahead of them go on where there are none any more (event loop only)."""
        free = [queue for queue, held in self._held.items() if not self._processor.must_wait(held.job)]
        for queue in free:
            self._put_back(queue, [self._held.pop(queue).job])
            self._queues.done(queue)
        if free:
            self._start_ready()

    def withdraw_unreachable(self) -> None:
        """Take back frames that are being sent to a node that is gone, and decide about them again (event loop only).

        Without it they would wait for the node, and their streams behind them.
        """
        for queue, sending in list(self._sending.items()):
            lost = [each for each in sending if self._is_lost(each)]
            if not lost:
                continue
            self._withdrawn += 1
            self._counters["frames_withdrawn"] += len(lost)
            self._put_back(queue, [each.done.job for each in lost])
            for each in lost:
                each.cancel()
                self._sent(queue, each)
        self._start_ready()

    def _is_lost(self, dispatch: Dispatch) -> bool:
        to = dispatch.action
        return self._may_fall_back and isinstance(to, Forward) and not self._outlet.reachable(to.tier, to.node)


def _in_next_turn(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(call)


def _name(job: Job) -> tuple[int, float]:
    """What names a frame in its stream: a device that starts again counts from 0, so its number alone does not."""
    return job.work.seq, job.work.captured_unix_s
