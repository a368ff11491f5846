"""The models of a node: the bundles in its folder, and those of their segments that it keeps ready."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tiercut.errors import BundleError
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import JSON_FILE
from tiercut.model.memory import BlockMemory, graph_memory
from tiercut.model.segments import Segment, SegmentCache
from tiercut.plan import FULL

log = logging.getLogger(__name__)

#: Digits of the identity in the name of a model that a newer version has replaced.
SHORT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a folder held when it was read.

    Attributes:
        stamp_ns: When its ``bundle.json`` was written.
        bundle: The bundle; ``None`` where it was damaged.
    """

    stamp_ns: int
    bundle: Bundle | None


class ModelStore:
    """Bundles by identity and by name; safe to use from several threads.

    Of two bundles with one name the one written last has it. A bundle that was replaced or deleted is still found by
    its identity: frames of it may be in flight, and its segments in memory.

    Args:
        folder: Folder of bundle folders.
        threads: ONNX Runtime threads per segment.
        cache_bytes: Memory that segments may hold; the least recently used make room.
        memory_mb: Memory that they may take at any time: those that need more alone are refused, and the others make
            room before one is loaded. ``None``: no limit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        cache_bytes: int = 512 * 1024 * 1024,
        memory_mb: float | None = None,
    ) -> None:
        self.folder = folder
        self.memory_mb = memory_mb
        self._threads = threads
        self._lock = threading.Lock()
        if memory_mb is not None:
            cache_bytes = min(cache_bytes, int(memory_mb * 1e6))
        self._segments = SegmentCache(cache_bytes, makes_room=memory_mb is not None)
        #: identity → what the blocks of each variant hold, as measured
        self._memory: dict[str, Mapping[str, BlockMemory]] = {}
        #: identity → every bundle that was ever seen; replaced, never changed, as others read it without the lock
        self._bundles: dict[str, Bundle] = {}
        #: what each folder holds; replaced as well
        self._seen: dict[Path, _Seen] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the folder again. A damaged bundle is logged and skipped: it must not stop the others."""
        with self._lock:
            seen: dict[Path, _Seen] = {}
            for path in sorted(self.folder.glob(f"[!.]*/{JSON_FILE}")):  # with a dot: being written
                try:
                    stamp_ns = path.stat().st_mtime_ns
                except OSError:  # gone, or replaced, at this moment
                    continue
                known = self._seen.get(path.parent)
                seen[path.parent] = known if known and known.stamp_ns == stamp_ns else _Seen(stamp_ns, _load(path))
            self._hold(seen)

    def add(self, bundle: Bundle) -> None:
        """Take in a bundle that has just been written to the folder and checked."""
        with self._lock:
            folder = self.folder / bundle.folder.name
            self._hold(self._seen | {folder: _Seen((folder / JSON_FILE).stat().st_mtime_ns, bundle)})

    def _hold(self, seen: dict[Path, _Seen]) -> None:
        self._seen = seen
        self._bundles = self._bundles | {each.bundle.model: each.bundle for each in seen.values() if each.bundle}

    def names(self) -> dict[str, str]:
        """Name → identity of every bundle; older ones of the same name are followed by ``-`` and twelve digits."""
        names: dict[str, str] = {}
        for bundle in self._newest_first():
            older = names.get(bundle.name, bundle.model) != bundle.model
            names[f"{bundle.name}-{bundle.model[:SHORT_DIGITS]}" if older else bundle.name] = bundle.model
        return names

    def bundles(self) -> list[Bundle]:
        """Every bundle, by name; of one name the newest first."""
        return sorted(self._newest_first(), key=lambda bundle: bundle.name)

    def _newest_first(self) -> list[Bundle]:
        """The bundles in the folder, without duplicates."""
        found: dict[str, Bundle] = {}
        for each in sorted(self._seen.values(), key=lambda each: each.stamp_ns, reverse=True):
            if each.bundle is not None:
                found.setdefault(each.bundle.model, each.bundle)
        return list(found.values())

    def has(self, model: str) -> bool:
        """Whether the bundle of an identity is in the folder, as far as it was read."""
        return any(each.bundle is not None and each.bundle.model == model for each in self._seen.values())

    def find(self, model: str) -> Bundle | None:
        """The bundle of an identity; the folder is read again when it is unknown (it may have come since)."""
        if model not in self._bundles:
            self.refresh()
        return self._bundles.get(model)

    def named(self, name: str) -> Bundle:
        """The bundle of a name.

        Raises:
            BundleError: there is none.
        """
        for bundle in self._newest_first():
            if bundle.name == name:
                return bundle
        raise BundleError(
            f"no bundle '{name}' in {self.folder}",
            expected=f"one of {sorted(self.names()) or 'those that tiercut export writes'}",
            came=f"'{name}'",
            fix=f"export it there: tiercut export MODEL --out {self.folder / name}",
        )

    def segment(self, model: str, start: int, stop: int, variant: str = FULL) -> Segment:
        """The segment ``[start, stop)`` of a model's variant, built on first use.

        Raises:
            BundleError: no such model.
            CutError: no such cuts or variant.
        """
        bundle = self.find(model)
        if bundle is None:
            raise BundleError(
                "cannot build a segment", expected="a bundle of the folder", came=model[:12], fix="export it there"
            )
        holds_bytes = None
        if self.memory_mb is not None:
            need_mb = self.needed_mb(bundle, [(start, stop, variant)])
            self.check_room(bundle, need_mb)
            holds_bytes = round(need_mb * 1e6)
        return self._segments.get(bundle, start, stop, threads=self._threads, variant=variant, holds_bytes=holds_bytes)

    def know(self, model: str, memory: Mapping[str, BlockMemory]) -> None:
        """Take what the blocks of a model's variants hold from its profile."""
        self._memory[model] = memory

    def needed_mb(self, bundle: Bundle, pieces: Iterable[tuple[int, int, str]]) -> float:
        """What segments need that are loaded together and run one after the other, MB.

        Args:
            bundle: Their model.
            pieces: First cut, last cut and variant of each.

        Raises:
            BundleError: the graph is not the one that ``bundle.json`` describes.
            CutError: there are no such cuts, or no such variant.
        """
        held = peak = 0.0
        for start, stop, variant in pieces:
            bundle.check_segment(start, stop, variant)
            memory = self._memory.get(bundle.model, {}).get(variant)
            if memory is None or len(memory.weights_mb) != bundle.variant(variant).end:
                memory = graph_memory(bundle, variant)
            whole = memory.needed_mb(start, stop)
            activations = max(memory.peak_mb[start:stop], default=0.0)
            held, peak = held + whole - activations, max(peak, activations)
        return held + peak

    def check_room(self, bundle: Bundle, need_mb: float) -> None:
        """Refuse what does not fit even when all else is let go.

        Raises:
            BundleError: it does not.
        """
        if self.memory_mb is not None and need_mb > self.memory_mb:
            raise BundleError(
                f"no memory for a segment of '{bundle.name}'",
                expected=f"at most {self.memory_mb:g} MB (memory_mb)",
                came=f"{need_mb:.4g} MB",
                fix="raise memory_mb, or cut the model elsewhere",
            )


def _load(path: Path) -> Bundle | None:
    try:
        return Bundle.load(path.parent)
    except BundleError as error:
        log.error("bundle skipped", extra={"folder": str(path.parent), "error": str(error)})  # noqa: TRY400 - the sentence says it all
        return None
