"""Frames as a model takes them, in batches, and what frozen layers make of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from tiercut.datasets.samples import Samples
from tiercut.errors import DataError, InputError
from tiercut.exits.recipe import Note, counted
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import GRAPH_FILE

Arrays = list[NDArray[Any]]

#: Part of the free space on a disk that kept tensors may take.
_MAX_OF_DISK = 0.5
#: Inputs of a whole set are kept in memory up to this size; beyond it they are made again for each batch.
_KEPT_BYTES = 1_000_000_000


class Inputs:
    """The inputs of a model for a set of frames.

    Args:
        bundle: The model, with one input.
        samples: The frames.

    Raises:
        DataError: a frame does not fit the model.
        InputError: the model takes more than a frame.
    """

    def __init__(self, bundle: Bundle, samples: Samples) -> None:
        self._bundle, self._samples = bundle, samples
        self._kept: NDArray[Any] | None = None
        if bundle.frame.kind == "image" and bundle.frame.views > 1:
            raise DataError(
                f"nothing can be trained for the model '{bundle.name}'",
                expected="a model that takes one frame at a time, so that frames make batches",
                came=f"one that takes {bundle.frame.views} images at once",
                fix="train the parts in torch, and export the model with its exits (--exits)",
            )
        if len(samples) and len(samples) * self._one(0).nbytes <= _KEPT_BYTES:
            self._kept = np.concatenate([self._one(i) for i in range(len(samples))])

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Some of them, ``(frames, *rest)``."""
        if self._kept is not None:
            batch: NDArray[Any] = self._kept[np.asarray(places)]
            return batch
        return np.concatenate([self._one(int(i)) for i in places])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each of them as a batch of one."""
        return (self.batch([i]) for i in range(len(self)))

    def _one(self, place: int) -> NDArray[Any]:
        frame = self._samples.frames[place]
        name = self._bundle.inputs[0].name
        if len(self._bundle.inputs) > 1:
            return self._bundle.to_inputs(frame)[name]  # refuses it
        try:
            return self._bundle.to_inputs(frame)[name]
        except InputError as error:
            raise DataError(
                f"frame {place} does not fit the model '{self._bundle.name}'",
                expected=error.expected,
                came=error.came,
                fix="give frames that the model takes",
            ) from error


class Features:
    """Some tensors of a graph for every frame, made once and kept in a file where there is room, else made again.

    Args:
        probe: Gives the tensors.
        inputs: The frames.
        folder: For the file, which is as large as all tensors.
        note: Told of progress.
    """

    def __init__(self, probe: Probe, inputs: Inputs, folder: Path, note: Note) -> None:
        self._probe, self._inputs = probe, inputs
        self._kept: Arrays = []
        first = probe(inputs.batch([0]))
        room = shutil.disk_usage(folder).free
        if sum(tensor.nbytes for tensor in first) * len(inputs) > _MAX_OF_DISK * room:
            note("not enough room for the trunk's tensors: they are recomputed in every step")
            return
        for i, tensor in enumerate(first):
            shape = (len(inputs), *tensor.shape[1:])
            self._kept.append(np.memmap(folder / f"tensor-{i}", tensor.dtype, "w+", 0, shape))
        for place, frame in counted(inputs, len(inputs), "frames that the trunk has seen", note):
            for kept, tensor in zip(self._kept, probe(frame), strict=True):
                kept[place] = tensor[0]

    def __len__(self) -> int:
        return len(self._inputs)

    def batch(self, places: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """The tensors of some frames, ``(frames, *rest)`` each."""
        if self._kept:
            return [np.array(kept[np.asarray(places)]) for kept in self._kept]
        each = [self._probe(self._inputs.batch([int(place)])) for place in places]
        return [np.concatenate(tensors) for tensors in zip(*each, strict=True)]

    def final(self) -> NDArray[Any]:
        """The last tensor of every frame, ``(frames, elements)``."""
        last = self._kept[-1] if self._kept else self.batch(range(len(self)))[-1]
        return np.array(last).reshape(len(self), -1)


class Probe:
    """A bundle's whole graph on ONNX Runtime, which gives any of its tensors.

    Args:
        bundle: The bundle.
        names: The tensors to give.
        threads: Threads that work on one operator.
    """

    def __init__(self, bundle: Bundle, names: Sequence[str], *, threads: int) -> None:
        model = onnx.load(bundle.folder / GRAPH_FILE, load_external_data=False)
        known = {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
        del model.graph.output[:]
        model.graph.output.extend(known[name] for name in names)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.folder))
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._names = list(names)

    def __call__(self, array: NDArray[Any]) -> Arrays:
        """The tensors for one input."""
        results: Arrays = self._session.run(self._names, {self._input: array})
        return results
