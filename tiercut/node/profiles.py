"""A node publishes how fast it runs each of its models: as kept on disk, measured now, or predicted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tiercut.errors import TiercutError
from tiercut.heap import give_back
from tiercut.model.bundle import Bundle
from tiercut.model.memory import graph_memory
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.refusals import REFUSED
from tiercut.profiling.machine import this_machine
from tiercut.profiling.memory import estimated_memory, measure_memory
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore
from tiercut.profiling.wire import encode_profile
from tiercut.protocol.topics import PROFILE
from tiercut.repository.store import ModelStore

log = logging.getLogger(__name__)


class Profiles(Part):
    """Announces a node's profiles, one after the other.

    Args:
        context: The node's.
        models: The models it has at its start.
        found: Hears of each profile.
    """

    def __init__(self, context: NodeContext, models: ModelStore, *, found: Callable[[Profile], None]) -> None:
        self._found = found
        self._context = context
        self._models = models
        #: bundles of which no profile was announced yet
        self._to_announce: asyncio.Queue[Bundle] = asyncio.Queue()

    def tasks(self) -> Tasks:
        """One: measuring or predicting takes a while, on a thread."""
        return [("profiles", self._announce)]

    def add(self, bundle: Bundle) -> None:
        """A model has come."""
        self._to_announce.put_nowait(bundle)

    async def _announce(self) -> None:
        for bundle in self._models.bundles():
            self.add(bundle)
        settings = self._context.settings
        while True:
            bundle = await self._to_announce.get()
            profile = await asyncio.to_thread(
                find_profile,
                bundle,
                settings.profiles,
                threads=settings.threads,
                measure_s=settings.measure_s,
                memory_mb=settings.memory_mb,
                slowed=settings.emulated_slowdown if settings.emulated_profile else None,
            )
            await asyncio.to_thread(give_back)
            if profile is None:
                continue
            self._found(profile)
            self._models.know(bundle.model, profile.memory)
            topic = PROFILE.of(**self._context.names, model=bundle.model)
            try:
                await self._context.buses.home.announce(topic, encode_profile(profile))
            except REFUSED as error:
                self._context.refusals.note("profile", error)


def find_profile(
    bundle: Bundle,
    folder: Path,
    *,
    threads: int,
    measure_s: float,
    memory_mb: float | None = None,
    slowed: float | None = None,
) -> Profile | None:
    """The profile of a bundle on this machine: kept, or measured now, or predicted; ``None`` when none can be had.

    One that does not say what the model's blocks hold is given what its graph says; where that is limited, it is
    measured, which takes a second or some.

    Blocks for ``measure_s`` where it measures.

    Args:
        bundle: The model.
        folder: Where `tiercut profile` keeps them.
        threads: Of a segment.
        measure_s: Seconds to spend on measuring where there is none; 0 predicts instead.
        memory_mb: What models may take: one that needs more whole is predicted, as its times are measured whole.
        slowed: Where none is kept, that of a node which takes so many times as long as the predictor's machine: it is
            the same on all machines. ``None``: that of this machine.
    """
    try:
        profile = _found(bundle, folder, threads=threads, measure_s=measure_s, memory_mb=memory_mb, slowed=slowed)
        if profile.memory:
            return profile
        memory = estimated_memory(bundle) if memory_mb is None else measure_memory(bundle, threads)
        return replace(profile, memory=memory)
    except TiercutError as error:
        log.error("no profile", extra={"model": bundle.name, "reason": str(error)})  # noqa: TRY400 - the sentence says it all
        return None


def _found(
    bundle: Bundle, folder: Path, *, threads: int, measure_s: float, memory_mb: float | None, slowed: float | None
) -> Profile:
    store = ProfileStore(folder)
    kept = store.load(bundle.model, this_machine(threads).id)
    if kept is not None:
        return kept
    if slowed is not None:
        from tiercut.profiling.predictor import load_predictor  # noqa: PLC0415 - only where it is needed

        return load_predictor().predict(bundle, scale=slowed, machine=this_machine(threads))
    whole_mb = graph_memory(bundle).needed_mb(0, bundle.end) if memory_mb is not None else 0.0
    if memory_mb is not None and whole_mb > memory_mb:
        log.info("too large to be measured here", extra={"model": bundle.name, "needs_mb": round(whole_mb)})
    elif measure_s > 0:
        from tiercut.profiling.measure import Options, measure_profile  # noqa: PLC0415 - only where it is needed

        profile = measure_profile(bundle, options=Options(threads=threads, seconds=measure_s, memory=True))
        store.save(profile)
        return profile
    return predicted(bundle, threads)


def predicted(bundle: Bundle, threads: int) -> Profile:
    """A predicted profile, scaled to this machine by one timed convolution."""
    from tiercut.profiling.predictor import load_predictor  # noqa: PLC0415 - only where it is needed
    from tiercut.profiling.reference import reference_seconds  # noqa: PLC0415 - imports onnx, only where it is needed

    predictor = load_predictor()
    scale = reference_seconds(threads) / predictor.reference_seconds
    log.info("profile predicted", extra={"model": bundle.name, "scale": round(scale, 2)})
    return predictor.predict(bundle, scale=scale, machine=this_machine(threads))
