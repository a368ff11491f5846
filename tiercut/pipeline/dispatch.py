"""Carries out what was decided about a frame: forward it, publish its result, or say why there is none."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from tiercut.codecs.encoded import EncodedTensor
from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.limits import MAX_STAGES
from tiercut.pipeline.decide import Drop, Finish, Forward, Wait
from tiercut.pipeline.jobs import Job, Processed
from tiercut.plan import Tier
from tiercut.protocol.drop_reasons import LATE_REASONS
from tiercut.protocol.frames import Dropped, DroppedWay, Work

log = logging.getLogger(__name__)

#: Called once, on the event loop: the broker has a message, or why it does not.
Taken = Callable[[Exception | None], None]


class Posted(Protocol):
    """What is on its way out."""

    def cancel(self) -> None:
        """Take it back where that is still possible; in any case nothing is called any more."""
        ...


class Outlet(Protocol):
    """Where a node's frames go. What cannot even be posted is raised; all else is told by calling ``taken``."""

    def reachable(self, tier: Tier, node: str) -> bool:
        """Whether a node can be sent to now. Called from threads: must not block."""
        ...

    def forward(self, job: Job, tensors: tuple[EncodedTensor, ...], to: Forward, taken: Taken) -> Posted:
        """Send a frame to the next node, as far as it has got, with the tensors that are alive there."""
        ...

    def finish(self, work: Work, result: bytes, taken: Taken) -> Posted:
        """Publish a result."""
        ...

    def drop(self, work: Work, dropped: Dropped, taken: Taken) -> Posted:
        """Publish that there will be no result."""
        ...


class Dispatch:
    """One frame on its way out of a node, until the broker has it or it is given up.

    Attributes:
        done: The frame.
        action: What is being done with it.
        over: Called once, at the end.
        posted: What can be taken back.
    """

    __slots__ = ("action", "done", "over", "posted")

    def __init__(self, done: Processed, over: Callable[[Dispatch], None]) -> None:
        self.done = done
        self.action: Forward | Finish | Drop | Wait = done.action
        self.over = over
        self.posted: Posted | None = None

    def cancel(self) -> None:
        """Take it back: it is neither acknowledged nor over."""
        if self.posted is not None:
            self.posted.cancel()


class Dispatcher:
    """Hands frames to a node's outlet, and acknowledges them when another has them or their outcome is published.

    A failure costs the frame at most. Nothing waits: the frame goes on when the broker answers.

    Args:
        node: Its id.
        outlet: Where frames go.
        counters: Counts ``frames_forwarded``, ``frames_finished``, ``dropped.<reason>``.
    """

    def __init__(self, *, node: str, outlet: Outlet, counters: Counter[str]) -> None:
        self._node = node
        self._outlet = outlet
        self._counters = counters

    def start(self, dispatch: Dispatch) -> None:
        """Do what was decided; `Dispatch.over` may be called before this returns."""
        done = dispatch.done

        def taken(error: Exception | None) -> None:
            self._taken(dispatch, error)

        try:
            match dispatch.action:
                case Forward() as to:
                    dispatch.posted = self._outlet.forward(done.job, done.tensors, to, taken)
                case Finish():
                    dispatch.posted = self._outlet.finish(done.job.work, done.result, taken)
                case Drop() as drop:
                    self._counters[f"dropped.{drop.reason}"] += 1
                    dispatch.posted = self._outlet.drop(done.job.work, self._dropped(done.job, drop), taken)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one frame must not end the node for all the others
            taken(error)

    def _taken(self, dispatch: Dispatch, error: Exception | None) -> None:
        dispatch.posted = None  # it refers back: in a circle the frame would wait for the garbage collector
        if error is not None:
            self._failed(dispatch, error)
            return
        match dispatch.action:
            case Forward():
                self._counters["frames_forwarded"] += 1
            case Finish():
                self._counters["frames_finished"] += 1
        dispatch.done.job.ack()
        dispatch.over(dispatch)

    def _failed(self, dispatch: Dispatch, error: Exception) -> None:
        """It cannot be sent on or finished: say so and acknowledge it, or it would come again and block all others."""
        work, refused = dispatch.done.job.work, isinstance(error, PublishRefused | PacketTooLarge)
        extra = {"stream": work.stream, "seq": work.seq, "reason": str(error)}
        fault = None if isinstance(error, BusError) else error
        if isinstance(error, BusError) and not refused and dispatch.action is dispatch.done.action:
            log.info("frame not sent", extra=extra)  # closed: it stays unacknowledged, so the broker keeps it
            dispatch.over(dispatch)
        elif isinstance(dispatch.action, Drop):  # the counter and the log have it
            log.warning("drop not published", extra=extra, exc_info=fault)
            dispatch.done.job.ack()
            dispatch.over(dispatch)
        else:
            log.error("frame not sent", extra=extra, exc_info=fault)
            reason, why = ("refused", str(error)) if refused else ("fault", f"{type(error).__name__}: {error}")
            self._give_up(dispatch, Drop(reason, why))

    def _give_up(self, dispatch: Dispatch, drop: Drop) -> None:
        dispatch.action, dispatch.posted = drop, None
        self.start(dispatch)

    def _dropped(self, job: Job, drop: Drop) -> Dropped:
        work = job.work
        log.debug("frame dropped", extra={"stream": work.stream, "seq": work.seq, "reason": drop.reason})
        way = None
        if drop.reason in LATE_REASONS and job.age_s is not None:
            way = DroppedWay.of(
                model=work.model, plan=work.plan, cut=job.cut, stages=tuple(job.stages[:MAX_STAGES]), age_s=job.age_s
            )
        return Dropped(
            stream=work.stream, seq=work.seq, where=self._node, reason=drop.reason, message=drop.message, way=way
        )
