"""A node gets ready before a plan needs it: loads the segment it is asked for, and knows how fast it is."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tiercut.bus import Bus, Delivery, Message
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage, SettingsError, TiercutError, refuse
from tiercut.model.bundle import Bundle
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.plan import Tier
from tiercut.profiling.machine import this_machine
from tiercut.profiling.measure import Options, measure_profile
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore
from tiercut.protocol.nodes import PrepareSegment, Ready
from tiercut.protocol.topics import READY
from tiercut.repository.store import ModelStore

log = logging.getLogger(__name__)


class NotHere(str):
    """Why a segment is refused: its stream is not here, or no longer. That is no fault."""

    __slots__ = ()


class Preparation:
    """Answers the hub's requests to load segments.

    Args:
        tier: The node's tier.
        node: Its id.
        models: Its models.
        site: The only site whose requests it answers; ``None`` for any.
        refuses: Says why a segment is not to be run here, ``None`` when it may.
        refusals: Counts answers that the broker does not take.
        counters: Counts ``bad.<reason>``.
    """

    def __init__(
        self,
        *,
        tier: Tier,
        node: str,
        models: ModelStore,
        site: str | None,
        refuses: Callable[[PrepareSegment], str | None],
        refusals: Refusals,
        counters: Counter[str],
    ) -> None:
        self._tier = tier
        self._node = node
        self._models = models
        self._site = site
        self._refuses = refuses
        self._refusals = refusals
        self._counters = counters

    async def answer(self, bus: Bus, delivery: Delivery) -> None:
        """Load what a request asks for, and say on the same bus that it is ready, or why it is not."""
        delivery.ack()
        try:
            asked = decode_json(PrepareSegment, delivery.payload)
            if self._site not in {None, asked.site}:
                raise refuse("wrong_site", expected=f"a stream of site {self._site}", came=asked.site)
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
            log.warning("request set aside", extra={"reason": str(error)})
            return
        trouble = self._refuses(asked) or await asyncio.to_thread(self._load, asked)
        if trouble:
            level = logging.INFO if isinstance(trouble, NotHere) else logging.ERROR
            log.log(level, "plan refused", extra={"stream": asked.stream, "epoch": asked.epoch, "reason": trouble})
        ready = Ready(
            stream=asked.stream,
            epoch=asked.epoch,
            node=self._node,
            ok=not trouble,
            message=trouble or "",
            tier=self._tier,
        )
        try:
            await bus.publish(Message(READY.of(site=asked.site, stream=asked.stream), encode_json(ready)))
        except REFUSED as error:
            self._refusals.note("ready", error)

    def _load(self, asked: PrepareSegment) -> str | None:
        try:
            for start, stop, variant in self._pieces(asked):
                self._models.segment(asked.model, start, stop, variant).warm_up()
            bundle = self._models.find(asked.model)
            for codec in () if bundle is None else bundle.learned.values():
                codec.prepare()
        except TiercutError as error:
            return str(error)
        except Exception as error:  # a runtime that fails on one segment must not end the node for all others
            log.exception("segment not loaded", extra={"model": asked.model, "start": asked.start, "stop": asked.stop})
            return f"{type(error).__name__}: {error}"
        return None

    def _pieces(self, asked: PrepareSegment) -> Iterator[tuple[int, int, str]]:
        """What is run for a frame: one segment, or the parts between the exits on the way, and these exits' heads.

        Raises:
            BundleError: no such model.
            CutError: no such variant.
        """
        bundle = self._models.find(asked.model)
        start = asked.start
        if asked.leaves_early and bundle is not None:
            for exit_ in bundle.exits_before(bundle.variant(asked.variant)):
                if start < exit_.cut <= asked.stop:
                    yield start, exit_.cut, asked.variant
                    yield exit_.cut, exit_.cut + 1, exit_.name
                    start = exit_.cut
        yield start, asked.stop, asked.variant


def find_profile(bundle: Bundle, folder: Path, *, threads: int, measure_s: float) -> Profile | None:
    """The profile of a bundle on this machine: kept, or measured now, or predicted; ``None`` when none can be had.

    Blocks for ``measure_s`` where it measures.

    Args:
        bundle: The model.
        folder: Where `tiercut profile` keeps them.
        threads: Of a segment.
        measure_s: Seconds to spend on measuring where there is none; 0 predicts instead.
    """
    store = ProfileStore(folder)
    try:
        kept = store.load(bundle.model, this_machine(threads).id)
        if kept is not None:
            return kept
        if measure_s > 0:
            profile = measure_profile(bundle, options=Options(threads=threads, seconds=measure_s))
            store.save(profile)
            return profile
        return predicted(bundle, threads)
    except SettingsError as error:
        log.error("no profile", extra={"model": bundle.name, "reason": str(error)})  # noqa: TRY400 - the sentence says it all
        return None


def predicted(bundle: Bundle, threads: int) -> Profile:
    """A profile that nobody measured, scaled to this machine by one timed convolution."""
    from tiercut.profiling.predictor import load_predictor  # noqa: PLC0415 - the same
    from tiercut.profiling.reference import reference_seconds  # noqa: PLC0415 - imports onnx, only where it is needed

    predictor = load_predictor()
    scale = reference_seconds(threads) / predictor.reference_seconds
    log.info("profile predicted", extra={"model": bundle.name, "scale": round(scale, 2)})
    return predictor.predict(bundle, scale=scale, machine=this_machine(threads))
