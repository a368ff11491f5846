"""A bundle: a folder with a model's graph, its weights, and all that nodes and planners need to know of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tiercut.bundle_format import (
    GRAPH_FILE,
    JSON_FILE,
    WEIGHTS_FILE,
    Contents,
    FileMark,
    OutputSpec,
    from_document,
)
from tiercut.cuts import CutPoint, TensorSpec
from tiercut.errors import BundleError, ChecksumError, CutError, InputError

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from tiercut.graph import Graph
    from tiercut.preprocess import FrameSpec
    from tiercut.segments import Segment

__all__ = ["Bundle", "CutPoint", "OutputSpec", "TensorSpec"]


@dataclass(frozen=True)
class Bundle:
    """A model on disk that can be cut; every file was checked when it was loaded.

    Attributes:
        folder: Where its files are.
        model: Identity: 64 hex digits that follow from all its contents but the name.
        contents: What its ``bundle.json`` says.
    """

    folder: Path
    model: str
    contents: Contents
    _weights_stamp: tuple[int, ...]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Bundle:
        """Read a bundle and check each of its files.

        Raises:
            BundleError: it is not there, damaged, or of another version.
            ChecksumError: a file is not the one that was written.
        """
        path = Path(folder).resolve()
        model, contents = from_document(_read_json(path))
        for name, mark in contents.files.items():
            _check_file(path / name, mark)
        return cls(path, model, contents, _stamp(path / WEIGHTS_FILE))

    @property
    def name(self) -> str:
        """What people call it."""
        return self.contents.name

    @property
    def frame(self) -> FrameSpec:
        """How a frame becomes the model's first input."""
        return self.contents.frame

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, in the order of the output's last dimension."""
        return self.contents.labels

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes: the tensors of cut 0."""
        return self.cuts[0].tensors

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """What the model gives."""
        return self.contents.outputs

    @property
    def cuts(self) -> tuple[CutPoint, ...]:
        """Every position where it can be cut, from 0 to the end."""
        return self.contents.cuts

    @property
    def end(self) -> int:
        """Number of the last cut point, where the model is done."""
        return len(self.cuts) - 1

    def to_inputs(self, frame: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """Turn one frame into all that segment ``[0, …)`` takes.

        Raises:
            InputError: the frame does not fit, or the model takes more than a frame.
        """
        if len(self.inputs) > 1:
            raise InputError(
                f"one frame is not enough for the model '{self.name}'",
                expected=f"{len(self.inputs)} inputs: {', '.join(t.name for t in self.inputs)}",
                came="one frame",
                fix="give the inputs by name to 'segment(0, k)', or export a model with one input",
            )
        return {self.inputs[0].name: self.frame.to_input(frame)}

    def check_segment(self, a: int, b: int) -> None:
        """Check that ``[a, b)`` is a segment.

        Raises:
            CutError: it is not.
        """
        if not 0 <= a <= b <= self.end:
            raise CutError(
                f"the model '{self.name}' has no segment [{a}, {b})",
                expected=f"0 <= a <= b <= {self.end}",
                came=f"a {a}, b {b}",
                fix="choose cuts from the table that 'tiercut inspect BUNDLE' prints",
            )

    def segment(self, a: int, b: int, threads: int = 1) -> Segment:
        """The part of the model between two cuts, ready to run.

        Args:
            a: Cut whose tensors it takes.
            b: Cut whose tensors it gives; ``a == b`` gives back what it takes.
            threads: Threads that work on one operator.

        Raises:
            CutError: there is no such segment.
            BundleError: the files changed since they were loaded, or ONNX Runtime refuses them.
        """
        from tiercut.segments import Segment  # noqa: PLC0415 - a planner reads bundles without a runtime

        self.check_segment(a, b)
        self._check_weights()
        return Segment(
            self.graph.extract(a, b).SerializeToString() if a < b else None,
            folder=self.folder,
            takes=self.cuts[a].tensors,
            gives=self.cuts[b].tensors,
            title=f"{self.name}[{a}, {b})",
            threads=threads,
            weight_bytes=self.graph.weight_bytes(a, b),
            activation_bytes=self.graph.activation_bytes(a, b),
        )

    def _check_weights(self) -> None:
        """Weights that were written again since they were checked must be the same ones."""
        path = self.folder / WEIGHTS_FILE
        stamp = _stamp(path)
        if stamp != self._weights_stamp:
            _check_file(path, self.contents.files[WEIGHTS_FILE])
            object.__setattr__(self, "_weights_stamp", stamp)

    @cached_property
    def graph(self) -> Graph:
        """The graph that is cut.

        Raises:
            BundleError: it is not the one that ``bundle.json`` describes.
        """
        import onnx  # noqa: PLC0415 - 10 MB and 0.1 s that a planner does not need

        from tiercut.graph import Graph  # noqa: PLC0415 - the same

        path = self.folder / GRAPH_FILE
        _check_file(path, self.contents.files[GRAPH_FILE])
        graph = Graph(onnx.ModelProto.FromString(path.read_bytes()))
        names = tuple(node.name for node in graph.nodes)
        if names != tuple(cut.after for cut in self.cuts[1:]):
            raise BundleError(
                f"'{path}' does not belong to its '{JSON_FILE}'",
                expected=f"the {self.end} nodes of the cut table",
                came=f"{len(names)} nodes",
                fix="export the model again",
            )
        return graph


def _read_json(folder: Path) -> object:
    path = folder / JSON_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"cannot load the bundle '{folder}'",
            expected=f"a folder with '{JSON_FILE}'",
            came=(error.strerror or str(error)).lower(),
            fix="name a folder that 'tiercut export' has written",
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"cannot read '{path}'", expected="JSON", came=str(error)[:80], fix="copy the bundle again"
        ) from error


def _check_file(path: Path, mark: FileMark) -> None:
    """Check size and checksum of one file, without holding it in memory."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise BundleError(
            f"cannot read '{path}'",
            expected="a file of the bundle",
            came=(error.strerror or str(error)).lower(),
            fix="copy the bundle again, with all its files",
        ) from error
    if (size, digest) != (mark.bytes, mark.sha256):
        raise ChecksumError(
            f"'{path}' is not the file that was written",
            expected=f"{mark.bytes} bytes, SHA-256 {mark.sha256[:16]}…",
            came=f"{size} bytes, SHA-256 {digest[:16]}…",
            fix="copy the bundle again, or export the model again",
        )


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to; empty when it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
