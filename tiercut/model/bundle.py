"""A bundle: a folder with a model's graph, its weights, and all that nodes and planners need to know of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tiercut.errors import BundleError, ChecksumError, CutError, InputError
from tiercut.model.bundle_format import GRAPH_FILE, JSON_FILE, WEIGHTS_FILE, Contents, FileMark, from_document
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.model.graph import Graph, only_outputs
from tiercut.model.onnx_file import read_model
from tiercut.model.variants import ExitSpec, Leaving, OutputSpec, Variant, exit_variant
from tiercut.plan import FULL

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tiercut.model.learned_codec import LearnedCodec
    from tiercut.model.onnx_file import OnnxModel
    from tiercut.model.preprocess import FrameSpec
    from tiercut.model.segments import Segment

__all__ = ["FULL", "Bundle", "CutPoint", "ExitSpec", "Leaving", "OutputSpec", "TensorSpec", "Variant"]


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

    @property
    def accuracy(self) -> float | None:
        """Part of held-back frames that the whole model classifies rightly; ``None`` where not measured."""
        return self.contents.accuracy

    @property
    def exits(self) -> tuple[ExitSpec, ...]:
        """Its early exits, from the first cut to the last."""
        return self.contents.exits

    @property
    def leaving(self) -> tuple[Leaving, ...]:
        """What leaves at which exit, by threshold."""
        return self.contents.leaving

    @cached_property
    def learned(self) -> Mapping[str, LearnedCodec]:
        """Codecs that were trained for it, by name; their own files are read when they are first used."""
        if not self.contents.codecs:
            return {}
        from tiercut.model.learned_codec import LearnedCodec  # noqa: PLC0415 - needs a runtime

        return {
            spec.name: LearnedCodec(spec, self.folder, self.cuts[spec.cut].tensors[0], self.contents.files)
            for spec in self.contents.codecs
        }

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Every way through the network: the whole model first, then its exits, then other input sizes."""
        contents = self.contents
        full = Variant(
            name=FULL,
            cuts=contents.cuts,
            outputs=contents.outputs,
            frame=contents.frame,
            accuracy=contents.accuracy,
            graph=GRAPH_FILE,
        )
        sizes = (
            Variant(
                name=size.name,
                cuts=size.cuts,
                outputs=size.outputs,
                frame=size.frame,
                accuracy=size.accuracy,
                graph=size.graph,
            )
            for size in contents.sizes
        )
        return (full, *(exit_variant(spec, full) for spec in contents.exits), *sizes)

    @cached_property
    def _variants(self) -> dict[str, Variant]:
        return {each.name: each for each in reversed(self.variants)}  # of one name the first

    def find_variant(self, name: str) -> Variant | None:
        """The variant of a name, if there is one."""
        return self._variants.get(name)

    def variant(self, name: str) -> Variant:
        """The variant of a name.

        Raises:
            CutError: there is none.
        """
        found = self.find_variant(name)
        if found is None:
            raise CutError(
                f"the model '{self.name}' has no variant '{name}'",
                expected=f"one of {', '.join(each.name for each in self.variants)}",
                came=f"'{name}'",
                fix="choose a variant that 'tiercut inspect BUNDLE' lists",
            )
        return found

    def exits_before(self, variant: Variant) -> tuple[ExitSpec, ...]:
        """The exits that a frame of a variant passes on its way to the variant's end."""
        if variant.graph != self.variants[0].graph:
            return ()
        end = variant.end if variant.exit is None else variant.exit.cut
        return tuple(each for each in self.exits if each.cut < end)

    def to_inputs(self, frame: NDArray[np.generic], variant: str = FULL) -> dict[str, NDArray[np.generic]]:
        """Turn one frame into all that segment ``[0, …)`` of a variant takes.

        Raises:
            InputError: the frame does not fit, or the model takes more than a frame.
            CutError: there is no such variant.
        """
        if len(self.inputs) > 1:
            raise InputError(
                f"one frame is not enough for the model '{self.name}'",
                expected=f"{len(self.inputs)} inputs: {', '.join(t.name for t in self.inputs)}",
                came="one frame",
                fix="give the inputs by name to 'segment(0, k)', or export a model with one input",
            )
        chain = self.variant(variant)
        return {chain.cuts[0].tensors[0].name: chain.frame.to_input(frame)}

    def check_segment(self, a: int, b: int, variant: str = FULL) -> None:
        """Check that ``[a, b)`` is a segment of a variant.

        Raises:
            CutError: it is not, or there is no such variant.
        """
        end = self.variant(variant).end
        if not 0 <= a <= b <= end:
            of = "" if variant == FULL else f" of its variant '{variant}'"
            raise CutError(
                f"the model '{self.name}' has no segment [{a}, {b}){of}",
                expected=f"0 <= a <= b <= {end}",
                came=f"a {a}, b {b}",
                fix="choose cuts from the table that 'tiercut inspect BUNDLE' prints",
            )

    def same_segment(self, b: int, variant: str) -> str:
        """The variant whose segments up to cut ``b`` a variant shares: an exit is the whole model up to its cut."""
        spec = self.variant(variant).exit
        return FULL if spec is not None and b <= spec.cut else variant

    def segment(self, a: int, b: int, threads: int = 1, variant: str = FULL) -> Segment:
        """The part of the model between two cuts, ready to run.

        Args:
            a: Cut whose tensors it takes.
            b: Cut whose tensors it gives; ``a == b`` gives back what it takes.
            threads: Threads that work on one operator.
            variant: Whose cuts these are; the last one of an exit is behind its head.

        Raises:
            CutError: there is no such segment or variant.
            BundleError: the files changed since they were loaded, or ONNX Runtime refuses them.
        """
        from tiercut.model.segments import Segment  # noqa: PLC0415 - a planner reads bundles without a runtime

        self.check_segment(a, b, variant)
        self._check_weights()
        chain = self.variant(variant)
        graph = self.graph_of(self.same_segment(b, variant))
        last = graph.end if b == chain.end else b
        first = last if a == b else a
        return Segment(
            graph.extract(first, last).encode() if first < last else None,
            folder=self.folder,
            takes=chain.cuts[a].tensors,
            gives=chain.cuts[b].tensors,
            title=f"{self.name}[{a}, {b})" if variant == FULL else f"{self.name}/{variant}[{a}, {b})",
            threads=threads,
            weight_bytes=graph.weight_bytes(first, last),
            activation_bytes=graph.activation_bytes(first, last),
        )

    def _check_weights(self) -> None:
        """Weights that were written again since they were checked must be the same ones."""
        path = self.folder / WEIGHTS_FILE
        stamp = _stamp(path)
        if stamp != self._weights_stamp:
            _check_file(path, self.contents.files[WEIGHTS_FILE])
            object.__setattr__(self, "_weights_stamp", stamp)

    @property
    def graph(self) -> Graph:
        """The graph of the whole model, without its exits' heads.

        Raises:
            BundleError: it is not the one that ``bundle.json`` describes.
        """
        return self.graph_of(FULL)

    def graph_of(self, variant: str) -> Graph:
        """The graph that a variant's segments are cut from: for an exit the trunk up to its cut, then all of its head.

        Raises:
            BundleError: it is not the one that ``bundle.json`` describes.
            CutError: there is no such variant.
        """
        found = self._graphs.get(variant)
        if found is None:
            found = self._graphs[variant] = self._read_graph(self.variant(variant))
        return found

    def check_graphs(self) -> None:
        """Check every graph against the cut tables, which else happens when it is first used.

        Raises:
            BundleError: one is not what ``bundle.json`` describes.
        """
        for variant in self.variants:
            self.graph_of(variant.name)

    @cached_property
    def _graphs(self) -> dict[str, Graph]:
        return {}

    @cached_property
    def _models(self) -> dict[str, OnnxModel]:
        return {}

    def _read_graph(self, variant: Variant) -> Graph:
        model = self._models.get(variant.graph)
        if model is None:
            model = self._models[variant.graph] = self._read_model(variant.graph)
        graph = Graph(only_outputs(model, [out.name for out in variant.outputs]))
        names = [node.name for node in graph.nodes]
        wanted = [cut.after for cut in variant.cuts[1:]]
        if variant.exit is not None:  # its head is one block, of any number of nodes
            names = [*names[: variant.exit.cut], *names[-1:]]
        if names != wanted:
            raise BundleError(
                f"'{self.folder / variant.graph}' does not belong to its '{JSON_FILE}'",
                expected=f"the {len(wanted)} nodes of the cut table",
                came=f"{len(names)} nodes",
                fix="export the model again",
            )
        return graph

    def _read_model(self, file: str) -> OnnxModel:
        path = self.folder / file
        _check_file(path, self.contents.files[file])
        try:
            return read_model(path.read_bytes())
        except BundleError as error:
            raise BundleError(
                f"'{path}' cannot be read", expected=error.expected, came=error.came, fix=error.fix
            ) from error


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
