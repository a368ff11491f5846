"""The models of a node: the bundles in its folder, and the segments of them that it holds ready."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from tiercut.bundle import Bundle
from tiercut.errors import BundleError
from tiercut.segments import Segment, SegmentCache
from tiercut.variants import FULL

log = logging.getLogger(__name__)


class ModelStore:
    """Bundles by identity and by name; safe to use from several threads.

    Args:
        folder: Folder of bundle folders.
        threads: ONNX Runtime threads per segment.
        cache_bytes: Memory that segments may hold; the least recently used make room.
    """

    def __init__(self, folder: Path, *, threads: int = 1, cache_bytes: int = 512 * 1024 * 1024) -> None:
        self.folder = folder
        self._threads = threads
        self._lock = threading.Lock()
        self._bundles: dict[str, Bundle] = {}
        self._segments = SegmentCache(cache_bytes)
        #: identities that were looked for in vain, so that a stream of them does not read the folder each time
        self._seen_folders: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the folder again. A damaged bundle is logged and left out: it must not stop the others."""
        with self._lock:
            for path in sorted(self.folder.glob("[!.]*/bundle.json")):  # with a dot: being written
                stamp = path.stat().st_mtime_ns
                if self._seen_folders.get(str(path)) == stamp:
                    continue
                self._seen_folders[str(path)] = stamp
                try:
                    bundle = Bundle.load(path.parent)
                except BundleError as error:
                    log.error("bundle left out", extra={"folder": str(path.parent), "error": str(error)})  # noqa: TRY400 - the sentence says it all
                    continue
                self._bundles[bundle.model] = bundle

    def names(self) -> dict[str, str]:
        """Name → identity of every bundle."""
        return {bundle.name: bundle.model for bundle in self._bundles.values()}

    def bundles(self) -> list[Bundle]:
        """Every bundle, by name."""
        return sorted(self._bundles.values(), key=lambda bundle: bundle.name)

    def find(self, model: str) -> Bundle | None:
        """The bundle of an identity; the folder is read again when it is not known (it may have come since)."""
        if model not in self._bundles:
            self.refresh()
        return self._bundles.get(model)

    def named(self, name: str) -> Bundle:
        """The bundle of a name.

        Raises:
            BundleError: there is none.
        """
        for bundle in self._bundles.values():
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
        return self._segments.get(bundle, start, stop, threads=self._threads, variant=variant)
