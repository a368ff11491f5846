"""Cached answers of an edge: a frame that is nearly the same as an earlier one gets that one's answer.

A frame is noted when it comes and nothing like it is known. Its answer is kept when the edge finishes it, or when the
result of another node is heard on the stream's ``result`` topic. From then on frames like it get the cached answer,
until that is too old or others need the room.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_node.in_flight import FramesInFlight, SiteStream
from edge_node.tensor_distance import ComparableTensors
from tiercut.pipeline.jobs import Arrays
from tiercut.protocol import events
from tiercut.protocol.frames import Work
from tiercut.results.reading import Reading, read_result

#: Memory for all kept frames of a node, with their cached answers.
MAX_BYTES = 64 * 1024 * 1024
#: What a kept frame takes beside its tensors and its answer's text.
FRAME_BYTES = 4096
#: Frames of one stream that may wait for their answer; more than a device has in flight.
MAX_NOTED = 64


@dataclass(frozen=True, slots=True)
class Computed:
    """What was computed of a frame: only frames that are equal in all of this are comparable."""

    model: str
    variant: str
    threshold: float | None
    cut: int


@dataclass(slots=True, eq=False)
class Kept:
    """A frame that is kept.

    Attributes:
        event: Its CloudEvents id.
        computed: What was computed of it.
        tensors: Its tensors.
        since_s: When it came; from its answer on, when that came.
        nbytes: What it takes.
        twins: Event ids of the frames that it is like, and that had no answer either when it came.
        reading: What the model made of it; ``None`` while it is only noted.
    """

    event: str
    computed: Computed
    tensors: ComparableTensors
    since_s: float
    nbytes: int
    twins: frozenset[str]
    reading: Reading | None = None


class AnswerCache:
    """The `tiercut.pipeline.jobs.Answers` of an edge; safe from several threads.

    Args:
        frames: Cached answers per stream; the least recently used make room.
        distance: A frame at most so far from a kept one counts as the same: see `ComparableTensors.distance_to`.
        keep_s: How long an answer is kept.
        max_bytes: Memory for all streams together.

    Attributes:
        nbytes: What all kept frames take.
    """

    def __init__(self, *, frames: int, distance: float, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        self._max_answers = frames
        self._distance = distance
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        #: every kept frame by its stream and event id, least recently used first
        self._kept: OrderedDict[tuple[SiteStream, str], Kept] = OrderedDict()
        #: the same, per stream
        self._streams: dict[SiteStream, OrderedDict[str, Kept]] = {}
        self._ahead = FramesInFlight()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    # ------------------------------------------------------------------ what the node's threads ask and tell

    def find(self, work: Work, arrays: Arrays, now_s: float) -> Reading | None:
        """See `Answers`."""
        stream, event = _names(work)
        computed = Computed(work.model, work.plan.exit, work.plan.threshold, work.cut)
        tensors = ComparableTensors(arrays)
        with self._lock:
            self._expire(stream, now_s)
            others = [kept for kept in self._of(stream).values() if kept.computed == computed]
        nearest = self._nearest(tensors, others)
        if nearest is not None:
            with self._lock:
                self._used(stream, nearest.event)
            return nearest.reading
        noted = (kept for kept in others if kept.reading is None and kept.event != event)
        twins = frozenset(kept.event for kept in noted if self._alike(tensors, kept))
        with self._lock:
            self._note(stream, Kept(event, computed, tensors, now_s, tensors.nbytes + FRAME_BYTES, twins))
        return None

    def keep(self, work: Work, reading: Reading, now_s: float) -> None:
        """See `Answers`."""
        stream, event = _names(work)
        with self._lock:
            self._ahead.outcome(stream, event)
            self._answered(stream, event, reading, now_s)

    def sent_on(self, work: Work, now_s: float) -> None:
        """See `Answers`."""
        with self._lock:
            self._ahead.sent_on(*_names(work), work.lane or 0, now_s)

    def forget(self, work: Work) -> None:
        """See `Answers`."""
        self.dropped(*_names(work))

    def overtakes(self, work: Work, now_s: float) -> bool:
        """See `Answers`."""
        with self._lock:
            return self._ahead.of(*_names(work), work.lane or 0, now_s)

    # ------------------------------------------------------------------ what is heard on the bus

    def result(self, stream: SiteStream, event: str, payload: bytes, now_s: float) -> None:
        """A result was published; it is read only if a frame waits for it.

        Raises:
            BadEnvelope: it is none.
        """
        with self._lock:
            self._ahead.outcome(stream, event)
            noted = self._of(stream).get(event)
        if noted is None or noted.reading is not None:
            return
        journey, reading = read_result(payload)
        computed, plan = noted.computed, journey.plan
        same = (journey.model, plan.exit, plan.threshold) == (computed.model, computed.variant, computed.threshold)
        if same and not journey.cached:  # else the device has sent the frame again, by another plan
            with self._lock:
                self._answered(stream, event, reading, now_s)

    def dropped(self, stream: SiteStream, event: str) -> None:
        """A frame has no result."""
        with self._lock:
            self._ahead.outcome(stream, event)
            noted = self._of(stream).get(event)
            if noted is not None and noted.reading is None:
                self._remove(stream, event)

    # ------------------------------------------------------------------ inside

    def _nearest(self, tensors: ComparableTensors, others: Sequence[Kept]) -> Kept | None:
        """Of those with an answer that are the same, the nearest (without the lock: it may take long)."""
        nearest, least = None, self._distance
        for other in others:
            distance = tensors.distance_to(other.tensors, least) if other.reading is not None else math.inf
            if distance <= least:
                nearest, least = other, distance
        return nearest

    def _alike(self, tensors: ComparableTensors, kept: Kept) -> bool:
        return tensors.distance_to(kept.tensors, self._distance) <= self._distance

    def _of(self, stream: SiteStream) -> OrderedDict[str, Kept]:
        return self._streams.get(stream) or OrderedDict()

    def _note(self, stream: SiteStream, noted: Kept) -> None:
        self._remove(stream, noted.event)
        if noted.nbytes > self._max_bytes:
            return
        self._kept[stream, noted.event] = noted
        self._streams.setdefault(stream, OrderedDict())[noted.event] = noted
        self.nbytes += noted.nbytes
        self._make_room(stream)

    def _answered(self, stream: SiteStream, event: str, reading: Reading, now_s: float) -> None:
        own = self._of(stream)
        kept = own.get(event)
        if kept is None or kept.reading is not None:
            return
        if any((twin := own.get(each)) and twin.reading and twin.computed == kept.computed for each in kept.twins):
            self._remove(stream, event)
            return
        text = len(str(reading.said))
        kept.reading, kept.since_s = reading, now_s
        kept.nbytes += text
        self.nbytes += text
        self._used(stream, event)
        self._make_room(stream)

    def _make_room(self, stream: SiteStream) -> None:
        for answered, most in ((True, self._max_answers), (False, MAX_NOTED)):
            events = [each.event for each in self._of(stream).values() if (each.reading is not None) is answered]
            for event in events[: max(0, len(events) - most)]:
                self._remove(stream, event)
        while self.nbytes > self._max_bytes:
            self._remove(*next(iter(self._kept)))

    def _expire(self, stream: SiteStream, now_s: float) -> None:
        old = [each.event for each in self._of(stream).values() if now_s - each.since_s > self._keep_s]
        for event in old:
            self._remove(stream, event)

    def _used(self, stream: SiteStream, event: str) -> None:
        """It is the last to make room now; it may be gone already."""
        if (stream, event) in self._kept:
            self._kept.move_to_end((stream, event))
            self._streams[stream].move_to_end(event)

    def _remove(self, stream: SiteStream, event: str) -> None:
        kept = self._kept.pop((stream, event), None)
        if kept is None:
            return
        self.nbytes -= kept.nbytes
        own = self._streams[stream]
        del own[event]
        if not own:
            del self._streams[stream]


def _names(work: Work) -> tuple[SiteStream, str]:
    """A frame's stream, and its CloudEvents id there."""
    return SiteStream(work.site, work.stream), events.event_id(work.seq, work.captured_unix_s)
