"""Carries out what was decided about a frame: forward it, publish its result, or say why there is none."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Protocol

from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.limits import MAX_STAGES
from tiercut.pipeline.decide import Drop, Finish, Forward
from tiercut.pipeline.jobs import Job, Processed
from tiercut.plan import Tier
from tiercut.protocol.drop_reasons import LATE_REASONS
from tiercut.protocol.frames import Dropped, DroppedWay, Work

log = logging.getLogger(__name__)


class Outlet(Protocol):
    """Where a node's frames go."""

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


class Dispatcher:
    """Hands frames to a node's outlet, and acknowledges them when another has them or their outcome is published.

    Args:
        node: Its id.
        outlet: Where frames go.
        counters: Counts ``frames_forwarded``, ``frames_finished``, ``dropped.<reason>``.
    """

    def __init__(self, *, node: str, outlet: Outlet, counters: Counter[str]) -> None:
        self._node = node
        self._outlet = outlet
        self._counters = counters

    async def dispatch(self, done: Processed) -> None:
        """Do what was decided; a failure costs this frame at most."""
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
                await self._outlet.forward(done.work, done.action)
                self._counters["frames_forwarded"] += 1
                done.job.ack()
            case Finish():
                await self._outlet.finish(done.work, done.result)
                self._counters["frames_finished"] += 1
                done.job.ack()
            case Drop():
                await self._drop(done.job, done.action)

    async def _give_up(self, done: Processed, drop: Drop) -> None:
        """It cannot be sent on or finished: say so and acknowledge it, or it would come again and block all others."""
        extra = {"stream": done.job.work.stream, "seq": done.job.work.seq}
        try:
            if isinstance(done.action, Drop):  # which was just tried
                self._counters[f"dropped.{drop.reason}"] += 1
            else:
                await self._drop(done.job, drop)
        except BusError as error:  # its drop cannot be published either: the counter and the log have it
            log.warning("drop not published", extra=extra | {"reason": str(error)})
        except Exception:  # as above: it costs this frame, no other
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
        await self._outlet.drop(work, dropped)
        job.ack()
